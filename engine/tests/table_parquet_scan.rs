//! Bounded reads of Parquet: what a filter rules out is not read, and the rows are those of our own reader.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "parquet")]

use lotic::table::arrow::util::pretty::pretty_format_batches;
use lotic::{DataFrame, ErrorKind, Session};
use std::fs;
use std::path::Path;

fn session() -> Session {
    Session::builder().app_name("parquet").get_or_create().unwrap()
}

/// Files of a thousand rows each, in the order of `n`.
fn numbers(session: &Session, folder: &Path) {
    let rows = session
        .sql(
            "SELECT value AS n, CAST(value % 7 AS INT) AS g, concat('row ', value) AS name,
                    CAST(value AS DOUBLE) / 4 AS x, value % 2 = 0 AS b, CAST(value AS DECIMAL(9, 2)) AS d,
                    to_timestamp(value * 3600) AS at, CAST(to_timestamp(value * 86400) AS DATE) AS day,
                    CASE WHEN value % 5 = 0 THEN NULL ELSE value END AS gaps, make_array(value) AS list
             FROM generate_series(1, 5000)",
        )
        .unwrap();
    rows.write().option("maxRowsPerFile", 1000).parquet(folder).unwrap();
    for (at, file) in fs::read_dir(folder).unwrap().enumerate() {
        // Names that a URL would spell another way.
        fs::rename(file.unwrap().path(), folder.join(format!("a b#%41é{at}.parquet"))).unwrap();
    }
}

fn text(frame: &DataFrame) -> String {
    pretty_format_batches(&frame.collect().unwrap()).unwrap().to_string()
}

#[test]
fn a_filter_leaves_out_what_cannot_match() {
    let (session, folder) = (session(), tempfile::tempdir().unwrap());
    numbers(&session, folder.path());
    let table = session.read().parquet(folder.path()).unwrap();
    table.create_or_replace_temp_view("t").unwrap();
    let plan = text(&session.sql("EXPLAIN ANALYZE SELECT name FROM t WHERE n > 4500").unwrap());
    assert!(plan.contains("file_type=parquet") && plan.contains("projection=[n, name]"), "{plan}");
    assert!(plan.contains("row_groups_pruned_statistics=5 total → 1 matched"), "{plan}");
}

#[test]
fn the_rows_are_those_of_our_own_reader() {
    let (session, folder) = (session(), tempfile::tempdir().unwrap());
    numbers(&session, folder.path());
    let plain = session.read().parquet(folder.path()).unwrap();
    // An option that DataFusion's reader does not know.
    let own = session.read().option("ignoreMissingFiles", true).parquet(folder.path()).unwrap();
    assert_eq!(plain.schema(), own.schema());
    plain.create_or_replace_temp_view("plain").unwrap();
    own.create_or_replace_temp_view("own").unwrap();
    for query in [
        "SELECT * FROM $ ORDER BY n",
        "SELECT n, g, name, x, b, d, at, day, gaps FROM $ ORDER BY n",
        "SELECT at, gaps, n FROM $ WHERE n BETWEEN 990 AND 1010 OR name = 'row 3000' ORDER BY n",
        "SELECT n FROM $ WHERE gaps IS NULL AND b ORDER BY n DESC LIMIT 7",
        "SELECT n FROM $ WHERE day > DATE '1980-01-01' AND d < 4800.5 ORDER BY n",
        "SELECT n FROM $ WHERE n > 6000",
        "SELECT count(*) FROM $",
        "SELECT count(*) FROM (SELECT 1 FROM $ LIMIT 1500)",
        "SELECT g, sum(x), max(at), min(name), count(gaps) FROM $ t GROUP BY g ORDER BY g",
        "SELECT a.n FROM $ a JOIN $ b ON a.n = b.n * 1000 ORDER BY 1",
        "SELECT list FROM $ WHERE n = 17",
    ] {
        let rows = |table: &str| text(&session.sql(&query.replace('$', table)).unwrap());
        assert_eq!(rows("plain"), rows("own"), "{query}");
    }
}

#[test]
fn files_of_other_columns_are_read_by_our_own_reader() {
    let (session, folder) = (session(), tempfile::tempdir().unwrap());
    let save = |query: &str, mode: &str| {
        session.sql(query).unwrap().write().mode(mode).parquet(folder.path()).unwrap();
    };
    save("SELECT CAST(1 AS INT) AS n", "append");
    save("SELECT CAST(2 AS BIGINT) AS n, 'b' AS name", "append");
    let table = session.read().schema("n BIGINT, name STRING, more INT").parquet(folder.path()).unwrap();
    table.create_or_replace_temp_view("t").unwrap();
    let rows = text(&session.sql("SELECT * FROM t ORDER BY n").unwrap());
    let expected = "+---+------+------+\n| n | name | more |\n+---+------+------+\n\
                    | 1 |      |      |\n| 2 | b    |      |\n+---+------+------+";
    assert_eq!(rows, expected);
    let plan = text(&session.sql("EXPLAIN SELECT * FROM t").unwrap());
    assert!(!plan.contains("file_type=parquet"), "{plan}");

    fs::write(folder.path().join("c.parquet"), "PAR1 but cut off").unwrap();
    let error = table.collect().unwrap_err();
    assert!(error.to_string().contains("c.parquet"), "{error}");
}

#[test]
fn a_query_does_not_write_over_what_it_reads() {
    let (session, folder) = (session(), tempfile::tempdir().unwrap());
    let place = folder.path().join("t");
    session.sql("SELECT 1 AS n").unwrap().write().parquet(&place).unwrap();
    let table = session.read().parquet(&place).unwrap();
    let refused = table.write().mode("overwrite").parquet(&place).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::User);
    assert!(refused.to_string().contains("Overwrite would delete"), "{refused}");
    table.write().mode("append").parquet(&place).unwrap();
    assert_eq!(table.count().unwrap(), 2);

    let stream = session.read_stream().schema("n BIGINT").parquet(&place).unwrap();
    let start = |path: &Path| {
        let writer = stream.write_stream().format("parquet").option("path", path);
        writer.option("checkpointLocation", folder.path().join("checkpoint")).start()
    };
    let refused = start(&place).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::User);
    assert!(refused.to_string().contains("read what it writes"), "{refused}");
    start(&place.join("out")).unwrap().stop().unwrap();
}
