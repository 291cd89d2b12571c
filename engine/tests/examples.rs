//! The examples over tables and the tour of the README, run as processes against real input.
#![cfg(all(feature = "cli", feature = "parquet", feature = "orc", unix))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "cli_binary/process.rs"]
#[allow(dead_code, reason = "shared with the tests of the binary")]
mod process;

use process::{Running, command, example, lotic, with_input};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A server on a free port, in place of `nc -lk 9999`.
fn server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

/// Types a line and waits until a row with these parts is printed.
fn type_and_see(peer: &mut TcpStream, line: &str, running: &Running, parts: &[&str]) {
    peer.write_all(format!("{line}\n").as_bytes()).unwrap();
    let row = running.line_with(parts[0]);
    assert_eq!(cells(&row), parts, "after `{line}`");
}

/// The cells of a printed row.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn lines_of_a_socket_are_printed_as_they_come() {
    let (listener, port) = server();
    let mut running = example("notes_socket_to_console", &["127.0.0.1", &port]);
    let mut peer = running.accept(&listener);
    type_and_see(&mut peer, "olá", &running, &["olá"]);
    type_and_see(&mut peer, "mundo", &running, &["mundo"]);
    running.signal("INT");
    assert_eq!(running.rest().status, 0);
}

#[test]
fn a_program_without_its_server_ends_with_what_to_do() {
    let (listener, port) = server();
    drop(listener);
    for name in ["notes_socket_to_console", "running_aggregation"] {
        let kind = if name == "running_aggregation" { &["socket"][..] } else { &[] };
        let done = example(name, &[kind, &["127.0.0.1", &port]].concat()).rest();
        assert_eq!((done.status, done.out.as_str()), (1, ""), "{name}");
        assert!(
            done.err.starts_with("error: ") && done.err.contains("start the server first"),
            "{}",
            done.err
        );
    }
    let done = example("running_aggregation", &["mean"]).rest();
    assert!(done.status == 1 && done.err.contains("usage: running_aggregation"), "{}", done.err);
}

/// The rows of a folder, in order, as CSV with a header.
fn rows(format: &str, folder: &Path) -> String {
    let read = format!(
        "CREATE EXTERNAL TABLE t (nome STRING, idade INT) STORED AS {format} LOCATION '{}';
         SELECT nome, idade FROM t ORDER BY nome",
        folder.display()
    );
    let done = lotic(&["sql", &read, "--format", "csv"]);
    assert_eq!(done.status, 0, "{}", done.err);
    done.out
}

#[test]
fn a_folder_of_csv_files_goes_to_each_format_once_over_a_restart() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/nomes");
    for format in ["csv", "json", "parquet", "orc"] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("in")).unwrap();
        let copy = |name: &str| {
            std::fs::copy(sample.join(name), at("hidden")).unwrap();
            std::fs::rename(at("hidden"), at("in").join(name)).unwrap();
        };
        let paths: Vec<PathBuf> = ["in", "out", "state"].map(at).to_vec();
        let arguments: Vec<&str> =
            std::iter::once(format).chain(paths.iter().map(|path| path.to_str().unwrap())).collect();
        copy("1.csv");
        let mut running = example("notes_csv_to_files", &arguments);
        running.line_with("|-- nome: string (nullable = true)");
        running.line_with("|-- idade: integer (nullable = true)");
        running.line_with("was written to");
        let first = "nome,idade\nAna,31\nBia,45\nRui,17\n";
        assert_eq!(rows(format, &at("out")), first, "{format}: visible while the program runs");
        running.signal("INT");
        assert_eq!(running.rest().status, 0);
        copy("2.csv");
        let mut running = example("notes_csv_to_files", &arguments);
        running.line_with("was written to");
        running.signal("INT");
        assert_eq!(running.rest().status, 0);
        let all = "nome,idade\nAna,31\nBia,45\nCaio,22\nEva,\nRui,17\n";
        assert_eq!(rows(format, &at("out")), all, "{format}");
    }
}

#[test]
fn a_running_count_prints_the_groups_that_changed() {
    let (listener, port) = server();
    let mut running = example("running_aggregation", &["socket", "127.0.0.1", &port]);
    let mut peer = running.accept(&listener);
    type_and_see(&mut peer, "river", &running, &["river", "1"]);
    type_and_see(&mut peer, "sea", &running, &["sea", "1"]);
    type_and_see(&mut peer, "river", &running, &["river", "2"]);
    drop(peer);
    assert_eq!(running.rest().status, 0, "the program ends with the connection");
}

#[test]
fn json_text_is_taken_apart_and_what_is_none_is_left_out() {
    let (listener, port) = server();
    let mut running = example("running_aggregation", &["json", "127.0.0.1", &port]);
    let mut peer = running.accept(&listener);
    type_and_see(&mut peer, r#"{"nome": "Ana", "idade": 31}"#, &running, &["Ana", "1", "31.0"]);
    peer.write_all(b"no JSON\n").unwrap();
    type_and_see(&mut peer, r#"{"nome": "Ana", "idade": 32}"#, &running, &["Ana", "2", "31.5"]);
    running.signal("INT");
    assert_eq!(running.rest().status, 0);
}

#[test]
fn numbers_at_a_rate_are_summed_by_their_last_digit() {
    let done = example("running_aggregation", &["rate", "100000", "1000"]).rest();
    assert_eq!(done.status, 0, "{}", done.err);
    for digit in 0..10 {
        let sum = (0..1000).filter(|n| n % 10 == digit).sum::<u64>().to_string();
        let last = done.out.lines().rfind(|row| cells(row)[0] == digit.to_string()).unwrap();
        assert_eq!(cells(last), [digit.to_string(), "100".to_owned(), sum]);
    }
}

/// A block of the README: its language and its text.
struct Block {
    language: String,
    text: String,
}

/// The fenced blocks of a section of the README.
fn section(title: &str) -> Vec<Block> {
    let readme = include_str!("../../README.md");
    let start = readme.find(&format!("\n## {title}\n")).unwrap() + 4;
    let text = &readme[start..];
    let text = &text[..text.find("\n## ").unwrap_or(text.len())];
    let fenced = text.split("```").skip(1).step_by(2);
    let block = |block: &str| {
        let (language, text) = block.split_once('\n').unwrap();
        Block { language: language.to_owned(), text: text.to_owned() }
    };
    fenced.map(block).collect()
}

/// A shell that runs a block of the README in a folder of its own, with `lotic` on its path.
fn shell(text: &str, folder: &Path) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_lotic")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let text = text.replace("/tmp/lotic-tour", folder.to_str().unwrap());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", &text]).env("PATH", path).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn the_tour_of_the_readme_gives_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = section("Five minutes");
    let (mut steps, mut typed) = (0, 0);
    let mut at = 0;
    while let Some(block) = blocks.get(at) {
        let expected = blocks.get(at + 1).filter(|next| next.language == "text");
        if block.text.contains("cargo build") {
            // What is built here is what is tested.
        } else if block.text.starts_with("nc -lk 9999") {
            // The other terminal, what is typed into the first, and what the second prints.
            let (run, said, printed) = (&blocks[at + 1], &blocks[at + 2], &blocks[at + 3]);
            typed += say_and_compare(&run.text, &said.text, &printed.text, folder.path());
            at += 3;
        } else {
            let done = shell(&block.text, folder.path()).output().unwrap();
            let (out, err) =
                (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
            assert!(done.status.success() && err.is_empty(), "{}\n{err}", block.text);
            assert_eq!(out, expected.map_or("", |block| &block.text), "{}", block.text);
            steps += 1;
            at += usize::from(expected.is_some());
        }
        at += 1;
    }
    assert!(steps == 2 && typed == 3, "the tour has steps: {steps}, lines typed: {typed}");
}

/// Runs a query over a socket, types lines one after the other and compares each row that comes.
fn say_and_compare(run: &str, said: &str, printed: &str, folder: &Path) -> usize {
    let (listener, port) = server();
    let run =
        run.replace("9999", &port).replace("localhost", "127.0.0.1").replace("lotic run", "exec lotic run");
    let mut running = Running::of(shell(&run, folder).spawn().unwrap());
    let mut peer = running.accept(&listener);
    let mut expected = printed.lines();
    for line in said.lines() {
        peer.write_all(format!("{line}\n").as_bytes()).unwrap();
        loop {
            // The header comes with the first row.
            let expected = expected.next().unwrap();
            assert_eq!(running.line_with(""), expected, "after `{line}`");
            if expected.contains(line) {
                break;
            }
        }
    }
    running.signal("INT");
    assert_eq!(running.rest().status, 0);
    said.lines().count()
}

#[test]
fn what_else_the_readme_says_of_the_binary_is_so() {
    let readme = include_str!("../../README.md");
    let help = lotic(&["--help"]);
    for word in ["run", "sql", "explain", "describe", "formats", "checkpoint", "completions"] {
        assert!(help.out.contains(word) && readme.contains(&format!("`{word}`")), "`{word}`");
    }
    let done = with_input(&["run", "-", "--format", "csv"], "SELECT 1 + 1 AS two");
    assert_eq!(done.out, "two\n2\n", "{}", done.err);
    let spoiled = command(&["sql", "SELECT nme FROM (VALUES (1)) AS t(nome)"]).output().unwrap();
    assert_eq!(spoiled.status.code(), Some(2), "a mistake in the statement");
}

#[test]
fn windows_are_shown_once_when_they_are_over() {
    for (kind, counted_times) in [("tumbling", 1), ("sliding", 2), ("sessions", 1)] {
        let done = example("windows", &[kind, "append", "1000"]).rest();
        assert_eq!(done.status, 0, "{}", done.err);
        let rows = done.out.lines().map(cells).filter(|row| row.len() == 4 && row[0].starts_with("20"));
        let counts: Vec<u64> = rows.map(|row| row[3].parse().unwrap()).collect();
        assert!(counts.len() >= 10, "{}", done.out);
        assert_eq!(counts.iter().sum::<u64>(), 1000 * counted_times, "{kind}: {}", done.out);
    }
    let done = example("windows", &["hopping"]).rest();
    assert!(done.status == 1 && done.err.contains("usage: windows"), "{}", done.err);
    let done = example("windows", &["sessions", "update"]).rest();
    assert!(done.status == 1 && done.err.contains("sessions grow and merge"), "{}", done.err);
}
