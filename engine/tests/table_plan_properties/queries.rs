//! Random queries over the streams `s` and `t` and the bounded table `d`.

use lotic::OutputMode;
use lotic::testing::Random;

pub(crate) struct Case {
    pub(crate) sql: String,
    pub(crate) mode: OutputMode,
    /// For an aggregation: how many columns of the result, from the first, are its key.
    pub(crate) keys: Option<usize>,
    /// Whether the order of the result is part of it.
    pub(crate) ordered: bool,
}

const INTEGERS: &[&str] = &[
    "n",
    "g",
    "n + 1",
    "n * 2 - g",
    "abs(n)",
    "coalesce(n, 0)",
    "CASE WHEN b THEN n ELSE g END",
    "CAST(x AS BIGINT)",
    "length(k)",
    "TRY_CAST(k AS BIGINT)",
    "CAST(n AS INT)",
];
const TEXTS: &[&str] =
    &["k", "upper(k)", "concat(k, '-')", "CAST(n AS VARCHAR)", "coalesce(k, 'none')", "k || k"];
const FLOATS: &[&str] = &["x", "x * 2", "x + n", "CAST(n AS DOUBLE)", "x - 0.25"];
const DECIMALS: &[&str] = &["CAST(x AS DECIMAL(8, 2))", "CAST(n AS DECIMAL(20, 3)) / 4"];
const TIMES: &[&str] = &[
    "to_timestamp(n * 86400)",
    "CAST(to_timestamp(g * 86400) AS DATE)",
    "date_trunc('month', to_timestamp(n * 864000))",
    "CAST(to_timestamp(n) AS TIMESTAMP) + INTERVAL '1 day'",
];
const NESTED: &[&str] =
    &["make_array(n, g)", "named_struct('n', n, 'k', k)", "make_array(named_struct('k', k))"];
const TRUTHS: &[&str] = &[
    "b",
    "n > 2",
    "k = 'a'",
    "k IS NULL",
    "x >= 1.5 OR b",
    "g IN (1, 3)",
    "NOT b",
    "n BETWEEN -3 AND 6 AND g IS NOT NULL",
    "k LIKE '%a%'",
    "n > (SELECT min(id) FROM d)",
    "b OR g IN (SELECT id FROM d)",
    "NOT EXISTS (SELECT 1 FROM d WHERE d.id = s.n) OR k = 'a'",
];

/// What the rows `(k, g, n, x, b)` come from.
pub(crate) const RELATIONS: &[&str] = &[
    "s",
    "s",
    "(SELECT k, g, n + 1 AS n, x, NOT b AS b FROM s WHERE n < 8) s",
    "(SELECT * FROM s UNION ALL SELECT * FROM t) s",
    "(SELECT k, g, n, x, b FROM s UNION ALL SELECT k, n AS g, CAST(g AS INT) AS n, x + n AS x, b FROM t WHERE b) s",
    "(SELECT * FROM s UNION ALL SELECT name, id, id * 2, CAST(id AS DOUBLE), id > 1 FROM d) s",
    "(SELECT DISTINCT k, g, n, x, b FROM s) s",
    "(SELECT k, g, n, x, b FROM s UNION SELECT k, g, n, x, b FROM t) s",
    "(SELECT d.name AS k, s.g, s.n, s.x, s.b FROM s JOIN d ON s.g = d.id) s",
    "(SELECT s.k, d.id AS g, s.n, s.x, s.b FROM s LEFT JOIN d ON s.g = d.id AND s.k <> d.name) s",
    "(SELECT s.k, s.g, d.id AS n, s.x, s.b FROM d RIGHT JOIN s ON s.k = d.name AND d.id > 1) s",
    "(SELECT s.k, s.g, s.n + d.id AS n, s.x, s.b FROM s, d WHERE s.n > d.id) s",
    "(SELECT d.name AS k, d.id AS g, d.id AS n, 1.5 AS x, true AS b FROM s CROSS JOIN d) s",
    "(SELECT * FROM s WHERE g IN (SELECT id FROM d)) s",
    "(SELECT * FROM s WHERE g NOT IN (SELECT id FROM d)) s",
    "(SELECT * FROM s WHERE g NOT IN (SELECT id FROM d WHERE id IS NOT NULL)) s",
    "(SELECT * FROM s WHERE NOT EXISTS (SELECT 1 FROM d WHERE d.id = s.g AND d.name <> s.k)) s",
    "(SELECT unnest(make_array(k, upper(k))) AS k, g, n, x, b FROM s WHERE n > -5) s",
    "(SELECT k, unnest(range(0, g)) AS g, unnest(CASE WHEN b THEN make_array(n, g, x) END) AS n, x, b FROM s) s",
    "(SELECT unnest(l) AS k, g, unnest(unnest(ll)) AS n, x, b FROM (SELECT make_array(k) AS l, g, \
       make_array(range(0, g), make_array(n, NULL)) AS ll, x, b FROM s)) s",
    "(SELECT k, g, unnest(range(0, g + 1)) AS n, x, b FROM s CROSS JOIN d WHERE s.g < d.id) s",
    "(SELECT s.k, s.g, m.n, s.x, s.b FROM s JOIN (SELECT id, count(*) AS n FROM d GROUP BY id) m ON s.g = m.id) s",
];

fn truth(random: &mut Random) -> String {
    match random.below(4) {
        0 => "true".to_owned(),
        1 => format!("({}) AND ({})", random.pick(TRUTHS), random.pick(TRUTHS)),
        _ => (*random.pick(TRUTHS)).to_owned(),
    }
}

fn value(random: &mut Random) -> &'static str {
    let kinds = [INTEGERS, INTEGERS, TEXTS, TEXTS, FLOATS, TRUTHS, DECIMALS, TIMES, NESTED];
    let kind = random.pick(&kinds);
    // A subquery is a condition of its own, not a value of a row.
    kind[random.below(kind.len().min(9))]
}

fn call(random: &mut Random) -> String {
    let integer = *random.pick(INTEGERS);
    let float = *random.pick(FLOATS);
    let kind = *random.pick(&[INTEGERS, TEXTS, FLOATS, DECIMALS, TIMES]);
    let any = *random.pick(kind);
    match random.below(15) {
        13 => format!("sum({})", random.pick(DECIMALS)),
        14 => format!("avg({})", random.pick(DECIMALS)),
        0 | 1 => "count(*)".to_owned(),
        2 => format!("count({any})"),
        3 => format!("sum({integer})"),
        4 => format!("sum({float})"),
        5 => format!("avg({integer})"),
        6 => format!("avg({float})"),
        7 => format!("min({any})"),
        8 => format!("max({any})"),
        9 => format!("count(DISTINCT {any})"),
        10 => format!("sum({integer}) FILTER (WHERE {})", value_of(random, TRUTHS)),
        11 => format!("bool_or({})", value_of(random, TRUTHS)),
        _ => format!("sum(DISTINCT {integer})"),
    }
}

fn value_of<'a>(random: &mut Random, of: &[&'a str]) -> &'a str {
    of[random.below(of.len().min(9))]
}

/// The keys, as plain ones or in grouping sets.
fn grouping(random: &mut Random, keys: &[&str]) -> String {
    let all = keys.join(", ");
    match random.below(8) {
        0 => format!("ROLLUP ({all})"),
        1 => format!("CUBE ({all})"),
        2 => format!("GROUPING SETS (({all}), ({}))", keys[1..].join(", ")),
        3 => format!("GROUPING SETS (({0}), ({all}), ({0}))", keys[0]),
        _ => all,
    }
}

fn aggregation(random: &mut Random, from: &str, filter: &str) -> Case {
    let mode = if random.once_in(2) { OutputMode::Update } else { OutputMode::Complete };
    let keys: Vec<&str> = (0..random.below(4)).map(|_| value(random)).collect();
    let columns: Vec<String> = keys
        .iter()
        .map(|key| (*key).to_owned())
        .chain((0..1 + random.below(3)).map(|_| call(random)))
        .enumerate()
        .map(|(at, expr)| format!("{expr} AS c{at}"))
        .collect();
    let mut sql = format!("SELECT {} FROM {from} WHERE {filter}", columns.join(", "));
    let mut sorts = true;
    if !keys.is_empty() {
        // In update mode a row is known by its key, which in grouping sets is not all of it.
        let by = if mode == OutputMode::Complete { grouping(random, &keys) } else { keys.join(", ") };
        // DataFusion takes a key that a condition fixes for a constant, though it is null in some sets, and does
        // not sort by it.
        sorts &= by == keys.join(", ");
        sql = format!("{sql} GROUP BY {by}");
    }
    if mode == OutputMode::Complete && random.once_in(3) {
        // In update mode a group that no longer fulfils it would have to be taken back.
        let having = ["count(*) < 4", "count(n) = 2", "max(n) < 3", "count(DISTINCT k) <= 1"];
        sql = format!("{sql} HAVING {}", random.pick(&having));
    }
    let ordered = sorts && mode == OutputMode::Complete && random.once_in(2);
    if ordered {
        let by: Vec<String> = (0..columns.len()).rev().map(|at| format!("c{at}")).collect();
        let order = if random.once_in(2) { "" } else { " DESC NULLS LAST" };
        sql = format!(
            "{sql} ORDER BY {}",
            by.iter().map(|by| format!("{by}{order}")).collect::<Vec<_>>().join(", ")
        );
        match random.below(3) {
            0 => sql = format!("{sql} LIMIT {}", 1 + random.below(4)),
            1 => sql = format!("{sql} LIMIT {} OFFSET 1", 1 + random.below(4)),
            _ => {}
        }
    }
    Case { sql, mode, keys: Some(keys.len()), ordered }
}

/// A query with the mode it runs in.
pub(crate) fn case(random: &mut Random) -> Case {
    let from = *random.pick(RELATIONS);
    let filter = truth(random);
    if random.once_in(2) {
        return aggregation(random, from, &filter);
    }
    let distinct = if random.once_in(3) { "DISTINCT " } else { "" };
    let columns: Vec<String> =
        (0..1 + random.below(4)).map(|at| format!("{} AS c{at}", value(random))).collect();
    let sql = format!("SELECT {distinct}{} FROM {from} WHERE {filter}", columns.join(", "));
    let mode = match random.below(4) {
        0 => OutputMode::Update,
        1 if !distinct.is_empty() => OutputMode::Complete,
        _ => OutputMode::Append,
    };
    Case { sql, mode, keys: None, ordered: false }
}
