//! Wrong input: exit status 2, the place, the text underlined, what to do.

use super::process::{lotic, with_input};

/// What the run of a script says, which must be a mistake at this line and column.
fn refused(script: &str, place: &str) -> String {
    let done = with_input(&["run", "-"], script);
    assert_eq!((done.status, done.out.as_str()), (2, ""), "{script}: {}", done.err);
    assert!(done.err.contains(&format!("standard input:{place}")), "{script}: {}", done.err);
    assert!(done.err.contains('^'), "{script}: {}", done.err);
    assert!(!done.err.contains("panicked"), "{script}: {}", done.err);
    done.err
}

#[test]
fn a_mistake_in_the_syntax_runs_nothing_and_has_a_place() {
    let said = refused("SELECT 1;\nSELECT 2 FRM t x;", "2:");
    assert!(said.contains("SELECT 2 FRM t x"), "{said}");
    refused("SELECT 1;\n\n  SELECT (1;", "3:");
    refused("CREATE EXTERNAL TABEL t (a INT)", "1:17");
    refused("SELECT 'open", "1:8");
}

#[test]
fn an_unknown_name_is_underlined_with_the_nearest_one() {
    let view = "CREATE VIEW people AS SELECT 'Ana' AS nome, 31 AS idade;\n";
    let said = refused(&format!("{view}SELECT nome,\n  idad FROM people"), "3:3");
    assert!(said.contains("idade"), "{said}");
    refused(&format!("{view}SELECT * FROM peple"), "2:15");
    let said = refused(&format!("{view}SELECT uper(nome) FROM people"), "2:");
    assert!(said.contains("upper"), "{said}");
}

#[test]
fn an_option_that_does_not_exist_points_into_the_statement() {
    let script = "CREATE EXTERNAL TABLE t (a INT) STORED AS csv LOCATION '/nowhere'\nOPTIONS ('headr' 'true');\nSELECT * FROM t";
    let said = refused(script, "2:");
    assert!(said.contains("header"), "{said}");
    let script =
        "SELECT 1 AS a;\nCREATE EXTERNAL TABLE t (a INT) STORED AS cvs LOCATION '/nowhere'; SELECT * FROM t";
    let done = with_input(&["run", "-"], script);
    assert!(done.status == 2 && done.err.contains("csv"), "{}", done.err);
}

#[test]
fn secrets_in_a_script_are_never_shown() {
    let table = |more: &str| {
        format!(
            "CREATE UNBOUNDED EXTERNAL TABLE t (a INT) STORED AS csv LOCATION '/tmp' \
             OPTIONS ('kafka.sasl.password' 'hunter2'{more})"
        )
    };
    for script in [
        table(""),
        table(", 'headr' 'true'"),
        format!("{};\nSELECT a FROM t", table("")),
        format!("EXPLAIN {}", table("")),
        "SET sasl.password = hunter2".to_owned(),
        "SET datafusion.api_key = 'hunter2'".to_owned(),
        format!("{} NONSENSE", table("")),
    ] {
        for command in ["run", "explain"] {
            let done = with_input(&[command, "-"], &script);
            assert!(done.status != 0 || script.starts_with("EXPLAIN"), "{script}: {}", done.err);
            assert!(
                !done.err.contains("hunter2") && !done.out.contains("hunter2"),
                "{}{}",
                done.out,
                done.err
            );
        }
    }
    let set = lotic(&["sql", "SELECT 1", "--set", "sasl.password=hunter2"]);
    assert!(set.status == 2 && !set.err.contains("hunter2"), "{}", set.err);
}

#[test]
fn a_stream_of_files_needs_its_columns() {
    let said =
        refused("CREATE UNBOUNDED EXTERNAL TABLE t STORED AS csv LOCATION '/tmp';\nSELECT * FROM t;", "");
    assert!(said.contains("schema") || said.contains("column"), "{said}");
}

#[test]
fn the_command_line_is_checked_with_what_to_write() {
    for (arguments, told) in [
        (&["run", "/nowhere.sql"][..], "/nowhere.sql"),
        (&["sql", "SELECT 1", "--trigger", "hourly"], "available-now"),
        (&["sql", "SELECT 1", "--set", "worker=2"], "did you mean `workers`"),
        (&["sql", "SELECT 1", "--set", "workers"], "KEY=VALUE"),
        (&["sql", "SELECT 1", "--set", "workers=many"], "expected a number"),
        (&["sql", "SELECT 1", "--parallelism", "0"], "parallelism"),
        (&["sql", "SELECT 1", "--format", "xml"], "json"),
        (&["checkpoint", "ls", "/nowhere"], "/nowhere"),
        (&["explan"], "explain"),
    ] {
        let done = lotic(arguments);
        assert_eq!(done.status, 2, "{arguments:?}: {}", done.err);
        assert!(done.err.contains(told), "{arguments:?}: {}", done.err);
    }
}

#[test]
fn a_query_that_fails_while_it_runs_is_not_the_inputs_fault() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.parquet"), "not parquet at all").unwrap();
    let script = format!(
        "CREATE EXTERNAL TABLE t (a INT) STORED AS parquet LOCATION '{}';\nSELECT a FROM t",
        folder.path().display()
    );
    let done = with_input(&["run", "-"], &script);
    assert!(done.status != 0 && done.out.is_empty(), "{}", done.err);
    assert!(done.err.contains("a.parquet") || done.err.to_lowercase().contains("parquet"), "{}", done.err);
}
