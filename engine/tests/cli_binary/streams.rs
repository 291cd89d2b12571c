//! Queries over streams: rows as they come, signals, checkpoints.

use super::process::{Running, lotic};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// Counts of the words in a folder of CSV files, as they change.
fn counts(folder: &Path) -> PathBuf {
    let input = folder.join("in");
    std::fs::create_dir_all(&input).unwrap();
    let script = format!(
        "CREATE UNBOUNDED EXTERNAL TABLE words (word STRING) STORED AS csv LOCATION '{}';\n\
         SELECT word, count(*) AS n FROM words GROUP BY word;",
        input.display()
    );
    let file = folder.join("counts.sql");
    std::fs::write(&file, script).unwrap();
    file
}

/// A file that appears whole.
fn drop_in(folder: &Path, name: &str, text: &str) {
    let hidden = folder.join(format!(".{name}"));
    std::fs::write(&hidden, text).unwrap();
    std::fs::rename(hidden, folder.join("in").join(name)).unwrap();
}

#[test]
fn a_signal_drains_and_a_restart_goes_on_from_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let file = counts(folder.path());
    let state = folder.path().join("state");
    let arguments =
        ["run", file.to_str().unwrap(), "--format", "json", "--checkpoint", state.to_str().unwrap()];
    let arguments = [&arguments[..], &["--trigger", "continuous:50ms"]].concat();
    drop_in(folder.path(), "a.csv", "river\nriver\n");
    let mut run = Running::start(&arguments);
    run.line_with("{\"word\":\"river\",\"n\":2}");
    run.signal("INT");
    let done = run.rest();
    assert_eq!((done.status, done.err.as_str()), (0, ""));
    drop_in(folder.path(), "b.csv", "river\n");
    let mut run = Running::start(&arguments);
    run.line_with("{\"word\":\"river\",\"n\":3}");
    run.signal("TERM");
    assert_eq!(run.rest().status, 0);
    assert!(state.join("01-select").is_dir());
}

#[test]
fn a_signal_leaves_a_savepoint_and_a_changed_query_goes_on_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = counts(folder.path());
    let place = |name: &str| folder.path().join(name).display().to_string();
    let run = ["run", file.to_str().unwrap(), "--format", "json", "--trigger", "continuous:50ms"];
    drop_in(folder.path(), "a.csv", "river\nriver\n");
    let first = ["--checkpoint", &place("one"), "--savepoint", &place("saved")];
    let mut first = Running::start(&[&run[..], &first[..]].concat());
    first.line_with("{\"word\":\"river\",\"n\":2}");
    first.signal("TERM");
    let done = first.rest();
    assert!(done.status == 0 && done.err.contains("savepoint of `select`"), "{}", done.err);
    let shown = lotic(&["checkpoint", "ls", &format!("{}/01-select", place("saved"))]);
    assert!(shown.status == 0 && shown.out.lines().count() == 2, "{}{}", shown.out, shown.err);

    // Another filter, another location: the counts go on.
    let changed =
        std::fs::read_to_string(&file).unwrap().replace("FROM words", "FROM words WHERE word <> 'sea'");
    std::fs::write(&file, changed).unwrap();
    drop_in(folder.path(), "b.csv", "river\nsea\n");
    let second = ["--checkpoint", &place("two"), "--from-savepoint", &place("saved")];
    let mut second = Running::start(&[&run[..], &second[..]].concat());
    second.line_with("{\"word\":\"river\",\"n\":3}");
    second.signal("INT");
    assert_eq!(second.rest().status, 0);

    let nowhere = lotic(&[&run[..], &["--from-savepoint", &place("nowhere")]].concat());
    assert!(nowhere.status == 2 && nowhere.err.contains("nowhere/01-select"), "{}", nowhere.err);
}

#[test]
fn what_is_there_is_worked_off_and_the_run_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = counts(folder.path());
    drop_in(folder.path(), "a.csv", "a\nb\na\n");
    for trigger in ["available-now", "once"] {
        let arguments = ["run", file.to_str().unwrap(), "--format", "csv", "--trigger", trigger];
        let done = lotic(&[&arguments[..], &["--output-mode", "complete"]].concat());
        let mut lines: Vec<&str> = done.out.lines().collect();
        lines.sort_unstable();
        assert_eq!((lines, done.status), (vec!["a,2", "b,1", "word,n"], 0), "{trigger}: {}", done.err);
    }
}

#[test]
fn several_inserts_run_side_by_side_each_with_its_own_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in");
    std::fs::create_dir(&input).unwrap();
    drop_in(folder.path(), "a.csv", "Ana,31\nRui,9\n");
    let mut script = format!(
        "CREATE UNBOUNDED EXTERNAL TABLE nomes (nome STRING, idade INT) STORED AS csv LOCATION '{}';",
        input.display()
    );
    let formats = ["csv", "json", "parquet", "orc"];
    for format in formats {
        script += &format!(
            "CREATE EXTERNAL TABLE to_{format} (nome STRING, idade INT) STORED AS {format} LOCATION '{}/{format}';
             INSERT INTO to_{format} SELECT nome, idade FROM nomes WHERE idade > 10;",
            folder.path().display()
        );
    }
    let file = folder.path().join("copy.sql");
    std::fs::write(&file, &script).unwrap();
    let state = folder.path().join("state");
    let arguments = ["run", file.to_str().unwrap(), "--checkpoint", state.to_str().unwrap()];
    let arguments = [&arguments[..], &["--trigger", "available-now"]].concat();
    for _ in 0..2 {
        let done = lotic(&arguments);
        assert_eq!((done.status, done.out.as_str()), (0, ""), "{}", done.err);
    }
    for (number, format) in (1..).zip(formats) {
        assert!(state.join(format!("{number:02}-to_{format}")).is_dir());
        let query = format!(
            "CREATE EXTERNAL TABLE t (nome STRING, idade INT) STORED AS {format} LOCATION '{}/{format}'; SELECT * FROM t",
            folder.path().display()
        );
        let done = lotic(&["sql", &query, "--format", "csv"]);
        assert_eq!(done.out, "nome,idade\nAna,31\n", "{format}, once although run twice: {}", done.err);
    }
}

/// A listener, and a script that reads lines from it.
fn socket(query: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "CREATE UNBOUNDED EXTERNAL TABLE lines (value STRING) STORED AS socket OPTIONS ('host' '127.0.0.1', 'port' '{port}');\n{query}"
    );
    (listener, script)
}

fn say(to: &mut TcpStream, line: &str) {
    to.write_all(format!("{line}\n").as_bytes()).unwrap();
    to.flush().unwrap();
}

#[test]
fn rows_of_a_stream_are_printed_as_they_come_under_one_header() {
    let (listener, script) = socket("SELECT value, length(value) AS n FROM lines");
    let mut run = Running::start(&["sql", &script]);
    let mut nc = run.accept(&listener);
    say(&mut nc, "one");
    run.line_with("| value");
    assert!(run.line_with("one").contains("| 3"));
    say(&mut nc, "three");
    assert!(run.line_with("three").contains("| 5"));
    run.signal("INT");
    let done = run.rest();
    assert_eq!((done.status, done.err.as_str()), (0, ""));
    assert!(!done.out.contains("value") && done.out.starts_with('+'), "{}", done.out);
}

#[test]
fn a_reader_that_leaves_ends_a_stream_quietly() {
    let (listener, script) = socket("SELECT value FROM lines");
    let mut run = Running::deaf(&["sql", &script, "--format", "json"]);
    let mut nc = run.accept(&listener);
    // The first line finds that nobody reads.
    say(&mut nc, "one");
    let done = run.rest();
    assert_eq!((done.status, done.err.as_str()), (0, ""));
}

#[test]
fn progress_goes_to_standard_error_as_json() {
    let (listener, script) = socket("SELECT value FROM lines");
    let arguments = ["sql", &script, "--progress", "json", "--trigger", "continuous:20ms"];
    let mut run = Running::start(&arguments);
    let mut nc = run.accept(&listener);
    say(&mut nc, "one");
    let line = run.error_with("\"rows_in\":1");
    let report: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((report["name"].as_str(), report["mode"].as_str()), (Some("select"), Some("continuous")));
    run.signal("INT");
    assert_eq!(run.rest().status, 0);
}

#[test]
fn two_selects_over_streams_are_refused_by_line() {
    let (listener, script) = socket("SELECT value FROM lines;\nSELECT upper(value) FROM lines");
    let mut run = Running::start(&["sql", &script]);
    let done = run.rest();
    drop(listener);
    assert_eq!(done.status, 2);
    assert!(done.err.contains("only one SELECT") && done.err.contains("line 2"), "{}", done.err);
}

#[test]
fn a_bounded_statement_ends_at_once_with_the_number_of_the_signal() {
    let never = "SELECT count(*) FROM range(4000000000) AS a CROSS JOIN range(4000000000) AS b WHERE a.value % 7 = b.value % 5";
    let text = format!("SELECT 'begun' AS s; {never}");
    let mut run = Running::start(&["sql", &text, "--format", "csv"]);
    run.line_with("begun");
    run.signal("TERM");
    assert_eq!(run.rest().status, 143);
}
