//! The programs of the notes as files of SQL, run as they stand.

use super::process::{Running, command, lotic};
use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;

const SQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/sql");

/// The text of an example that reads a socket, with a port that is free.
fn with_port(name: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let text = std::fs::read_to_string(format!("{SQL}/{name}")).unwrap();
    assert_eq!(text.matches("'9999'").count(), 1);
    (listener, text.replace("9999", &port).replace("'localhost'", "'127.0.0.1'"))
}

#[test]
fn socket_to_console_prints_each_line() {
    let (listener, script) = with_port("socket_to_console.sql");
    let mut run = Running::start(&["sql", &script]);
    let mut nc = run.accept(&listener);
    nc.write_all(b"hello\nworld\n").unwrap();
    run.line_with("hello");
    run.line_with("world");
    run.signal("INT");
    assert_eq!(run.rest().status, 0);
}

#[test]
fn running_count_prints_the_changed_count() {
    let (listener, script) = with_port("running_count.sql");
    let mut run = Running::start(&["sql", &script]);
    let mut nc = run.accept(&listener);
    nc.write_all(b"river\n").unwrap();
    assert!(run.line_with("river").contains('1'));
    nc.write_all(b"river\n").unwrap();
    assert!(run.line_with("river").contains('2'));
    run.signal("TERM");
    assert_eq!(run.rest().status, 0);
}

#[test]
fn windows_prints_each_window_once_and_says_how_far_event_time_has_come() {
    let file = format!("{SQL}/windows.sql");
    let done =
        command(&["run", &file, "--trigger", "continuous:100ms", "--progress", "json"]).output().unwrap();
    let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert!(done.status.success(), "{err}");
    let counts = out.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.first()?.starts_with("20").then(|| cells[2].parse::<u64>().unwrap())
    });
    assert_eq!(counts.sum::<u64>(), 2000, "{out}");
    assert!(err.contains("\"eventTime\":{\"watermark\":\"20"), "{err}");
    assert!(err.contains("\"numRowsDroppedByWatermark\":0"), "{err}");
}

#[test]
fn stream_join_prints_every_click_once() {
    let file = format!("{SQL}/stream_join.sql");
    let done = command(&["run", &file, "--trigger", "continuous:100ms"]).output().unwrap();
    let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert!(done.status.success(), "{err}");
    let first = |line: &str| {
        line.trim_matches('|').split('|').next().map(str::trim).and_then(|cell| cell.parse().ok())
    };
    let mut ads: Vec<i64> = out.lines().filter(|line| line.starts_with('|')).filter_map(first).collect();
    ads.sort_unstable();
    assert_eq!(ads, (0..20).map(|ad| ad * 100).collect::<Vec<_>>(), "{out}");
}

#[test]
fn csv_to_csv_writes_all_four_formats_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("nomes")).unwrap();
    std::fs::write(folder.path().join("nomes/a.csv"), "Ana,31\nRui,17\n").unwrap();
    let file = format!("{SQL}/csv_to_csv.sql");
    for _ in 0..2 {
        let mut command = command(&["run", &file, "--checkpoint", "state", "--trigger", "available-now"]);
        let done = command.current_dir(folder.path()).stderr(Stdio::inherit()).output().unwrap();
        assert_eq!((done.status.code(), done.stdout.len()), (Some(0), 0));
    }
    for format in ["csv", "json", "parquet", "orc"] {
        let query = format!(
            "CREATE EXTERNAL TABLE t (nome STRING, idade INT) STORED AS {format} LOCATION '{}/out/{format}';
             SELECT nome, idade FROM t ORDER BY nome",
            folder.path().display()
        );
        let done = lotic(&["sql", &query, "--format", "csv"]);
        assert_eq!(done.out, "nome,idade\nAna,31\nRui,17\n", "{format}: {}", done.err);
    }
    let tree = lotic(&["describe", &file, "to_csv"]);
    assert!(tree.out.contains("|-- idade: integer"), "{}{}", tree.out, tree.err);
}

#[test]
fn the_examples_can_be_explained_without_running() {
    for name in
        ["socket_to_console.sql", "running_count.sql", "csv_to_csv.sql", "windows.sql", "stream_join.sql"]
    {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("nomes")).unwrap();
        let mut command = command(&["explain", &format!("{SQL}/{name}")]);
        let done = command.current_dir(folder.path()).output().unwrap();
        let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
        assert!(done.status.success() && out.contains("== Streaming plan =="), "{name}: {out}{err}");
        if name == "csv_to_csv.sql" {
            assert_eq!(out.matches("* sink-orc x1  [exactly-once").count(), 1, "{out}");
        }
        assert!(!folder.path().join("out").exists());
    }
}
