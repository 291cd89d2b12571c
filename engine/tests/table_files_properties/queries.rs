//! Random queries over the streams `s` and `t`, of the same columns, and the bounded table `d (id, name)`.

use arrow::datatypes::{DataType, Schema};
use lotic::OutputMode;
use lotic::testing::Random;

pub(crate) struct Case {
    pub(crate) sql: String,
    pub(crate) mode: OutputMode,
    /// For an aggregation: how many columns of the result, from the first, are its key.
    pub(crate) keys: Option<usize>,
}

/// What a column of this type can be made into.
fn of_column(kind: &DataType, c: &str) -> Vec<String> {
    let texts: &[&str] = match kind {
        DataType::Boolean => &["$", "NOT $", "CAST($ AS INT)"],
        DataType::Float32 | DataType::Float64 => &["$", "$ * 2", "CAST($ AS BIGINT)", "CAST($ AS STRING)"],
        DataType::Utf8 => &["$", "upper($)", "concat($, '-')", "length($)", "TRY_CAST($ AS BIGINT)"],
        DataType::Binary => &["$", "encode($, 'hex')"],
        DataType::Date32 => &["$", "CAST($ AS TIMESTAMP)", "date_part('year', $)", "CAST($ AS STRING)"],
        DataType::Timestamp(_, _) => &["$", "date_trunc('month', $)", "CAST($ AS DATE)"],
        DataType::Decimal128(_, _) => &["$", "$ * 2", "CAST($ AS DOUBLE)", "CAST($ AS DECIMAL(12, 4))"],
        DataType::List(_) => &["$", "$[1]", "array_length($)", "array_append($, k)"],
        DataType::Struct(_) => &["$", "$['a']", "$['b']"],
        DataType::Map(_, _) => &["cardinality($)", "map_keys($)"],
        _ => &["$", "$ + 1", "CAST($ AS BIGINT)", "CAST($ AS STRING)", "coalesce($, 0)"],
    };
    texts.iter().map(|text| text.replace('$', c)).collect()
}

fn condition(random: &mut Random, schema: &Schema) -> String {
    let field = &schema.fields()[random.below(schema.fields().len())];
    let c = field.name();
    if random.once_in(3) {
        return (*random.pick(&[format!("{c} IS NULL"), format!("{c} IS NOT NULL"), "true".to_owned()]))
            .clone();
    }
    match field.data_type() {
        DataType::Boolean => c.clone(),
        DataType::Utf8 => format!("{c} <> 'a'"),
        DataType::Binary => format!("{c} = X'616263'"),
        DataType::Date32 => format!("{c} > DATE '1970-06-01'"),
        DataType::Timestamp(_, _) => format!("CAST({c} AS DATE) >= DATE '1970-01-01'"),
        DataType::List(_) => format!("array_length({c}) > 1"),
        DataType::Struct(_) => format!("{c}['a'] > 0"),
        DataType::Map(_, _) => format!("cardinality({c}) > 0"),
        _ => format!("{c} > 1"),
    }
}

fn value(random: &mut Random, schema: &Schema) -> String {
    let field = &schema.fields()[random.below(schema.fields().len())];
    random.pick(&of_column(field.data_type(), field.name())).clone()
}

fn call(random: &mut Random, schema: &Schema) -> String {
    let field = &schema.fields()[random.below(schema.fields().len())];
    let (kind, c) = (field.data_type(), field.name());
    if random.once_in(4) {
        return "count(*)".to_owned();
    }
    if kind.is_nested() || *kind == DataType::Binary || *kind == DataType::Boolean {
        return format!("count({c})");
    }
    let mut calls = vec!["count", "min", "max"];
    if kind.is_numeric() {
        calls.extend(["sum", "avg"]);
    }
    match random.below(6) {
        0 => format!("count(DISTINCT {c})"),
        _ => format!("{}({c})", random.pick(&calls)),
    }
}

/// A query with the mode it runs in.
pub(crate) fn case(random: &mut Random, schema: &Schema) -> Case {
    let relations = [
        "s",
        "s",
        "(SELECT * FROM s UNION ALL SELECT * FROM t) s",
        "(SELECT s.* FROM s JOIN d ON s.k = d.id) s",
        "(SELECT s.* FROM s LEFT JOIN d ON s.k = d.id AND d.name <> 'a') s",
        "(SELECT s.* FROM s WHERE k IN (SELECT id FROM d)) s",
        "(SELECT * FROM s WHERE k > -2) s",
    ];
    let (from, filter) = (*random.pick(&relations), condition(random, schema));
    if random.once_in(2) {
        let keys: Vec<String> = (0..random.below(3)).map(|_| value(random, schema)).collect();
        let calls: Vec<String> = (0..1 + random.below(3)).map(|_| call(random, schema)).collect();
        let columns: Vec<String> =
            keys.iter().chain(&calls).enumerate().map(|(at, expr)| format!("{expr} AS r{at}")).collect();
        let mut sql = format!("SELECT {} FROM {from} WHERE {filter}", columns.join(", "));
        if !keys.is_empty() {
            let by: Vec<String> = (1..=keys.len()).map(|at| at.to_string()).collect();
            sql = format!("{sql} GROUP BY {}", by.join(", "));
        }
        let mode = if random.once_in(2) { OutputMode::Update } else { OutputMode::Complete };
        return Case { sql, mode, keys: Some(keys.len()) };
    }
    let distinct = if random.once_in(3) { "DISTINCT " } else { "" };
    let columns: Vec<String> =
        (0..1 + random.below(4)).map(|at| format!("{} AS r{at}", value(random, schema))).collect();
    let sql = format!("SELECT {distinct}{} FROM {from} WHERE {filter}", columns.join(", "));
    Case { sql, mode: OutputMode::Append, keys: None }
}
