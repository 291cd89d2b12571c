//! Bounded queries: rows on standard output, nothing else there.

use super::process::{command, lotic, with_input};
use std::io::Read;

fn people(folder: &std::path::Path) -> String {
    let input = folder.join("people");
    std::fs::create_dir(&input).unwrap();
    std::fs::write(input.join("a.csv"), "Ana,31\nJosé,17\n").unwrap();
    std::fs::write(input.join("b.csv"), "Rui,\n").unwrap();
    format!(
        "CREATE EXTERNAL TABLE people (nome STRING, idade INT) STORED AS csv LOCATION '{}';\n",
        input.display()
    )
}

#[test]
fn a_select_prints_in_each_format() {
    let folder = tempfile::tempdir().unwrap();
    let script = people(folder.path()) + "SELECT nome, idade FROM people ORDER BY nome;";
    let file = folder.path().join("q.sql");
    std::fs::write(&file, script).unwrap();
    let file = file.to_str().unwrap();
    let table = "+------+-------+\n| nome | idade |\n+------+-------+\n| Ana  | 31    |\n| José | 17    |\n| Rui  | NULL  |\n+------+-------+\n";
    let csv = "nome,idade\nAna,31\nJosé,17\nRui,\n";
    let json = "{\"nome\":\"Ana\",\"idade\":31}\n{\"nome\":\"José\",\"idade\":17}\n{\"nome\":\"Rui\",\"idade\":null}\n";
    for (format, expected) in [("table", table), ("csv", csv), ("json", json)] {
        let done = lotic(&["run", file, "--format", format]);
        assert_eq!((done.out.as_str(), done.status), (expected, 0), "{}", done.err);
        assert_eq!(done.err, "", "nothing to say");
    }
}

#[test]
fn statements_come_from_the_command_line_and_from_standard_input() {
    let done =
        lotic(&["sql", "CREATE VIEW v AS SELECT 20 AS n; SELECT n + 1 AS m FROM v", "--format", "csv"]);
    assert_eq!((done.out.as_str(), done.status), ("m\n21\n", 0), "{}", done.err);
    let done = with_input(&["run", "-", "--format", "json"], "SELECT 'é' AS a;\nSELECT 1 AS b");
    assert_eq!((done.out.as_str(), done.status), ("{\"a\":\"é\"}\n{\"b\":1}\n", 0), "{}", done.err);
}

#[test]
fn an_insert_of_bounded_rows_runs_to_the_end_and_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for format in ["csv", "json", "parquet", "orc"] {
        let script = format!(
            "CREATE EXTERNAL TABLE t (n BIGINT, s STRING) STORED AS {format} LOCATION '{}/{format}';
             INSERT INTO t SELECT * FROM (VALUES (CAST(1 AS BIGINT), 'a'), (2, NULL)) AS v(n, s);
             SELECT n, s FROM t ORDER BY n;",
            out.display()
        );
        let done = with_input(&["run", "-", "--format", "csv"], &script);
        assert_eq!((done.out.as_str(), done.status), ("n,s\n1,a\n2,\n", 0), "{format}: {}", done.err);
    }
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let many = "SELECT a.value AS a, b.value AS b FROM range(2000) AS a CROSS JOIN range(200) AS b";
    let mut child = command(&["sql", many, "--format", "csv"]).spawn().unwrap();
    let mut first = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((&first, child.wait().unwrap().code(), said.as_str()), (b"a,b\n", Some(0), ""));
}

#[test]
fn describe_prints_the_tree_of_the_notes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.sql");
    std::fs::write(&file, people(folder.path())).unwrap();
    let done = lotic(&["describe", file.to_str().unwrap(), "people"]);
    let tree = "root\n |-- nome: string (nullable = true)\n |-- idade: integer (nullable = true)\n";
    assert_eq!((done.out.trim_end(), done.status), (tree.trim_end(), 0), "{}", done.err);
}

#[test]
fn formats_and_completions_and_help_are_there() {
    let done = lotic(&["formats"]);
    assert_eq!(done.status, 0);
    for format in ["csv: ", "json: ", "parquet: ", "orc: ", "socket: ", "console: "] {
        assert!(done.out.contains(format), "{format}: {}", done.out);
    }
    let one = lotic(&["formats", "csv"]);
    assert!(one.out.contains("header") && !one.out.contains("parquet: "), "{}", one.out);
    let wrong = lotic(&["formats", "cvs"]);
    assert_eq!(wrong.status, 2);
    assert!(wrong.err.contains("csv"), "{}", wrong.err);
    for shell in ["bash", "zsh", "fish"] {
        let done = lotic(&["completions", shell]);
        assert!(done.status == 0 && done.out.contains("checkpoint"), "{shell}");
    }
    let help = lotic(&["--help"]);
    assert!(help.status == 0 && help.out.contains("lotic run counts.sql --checkpoint"), "{}", help.out);
}
