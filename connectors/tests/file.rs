//! Files: what is where and when, and what goes wrong.
#![allow(clippy::unwrap_used)]

mod support;

use lotic_connectors::file::{FileSink, JsonLines, Lines};
use lotic_connectors::{Committer, ErrorKind, Prepare, Sink, SinkFactory};
use lotic_operators::{Epoch, Instance, Rows};
use serde::Serialize;
use std::fs;
use std::path::Path;
use support::{sink_of, write};
use tempfile::TempDir;

#[derive(Serialize, Clone)]
struct Order {
    user: &'static str,
    note: &'static str,
}

/// All names in the folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn lines_sink(folder: &Path) -> (FileSink<Lines>, Box<dyn Sink<Rows<String>>>) {
    let factory = FileSink::lines(folder).named("results");
    let sink = sink_of(&factory, 1);
    (factory, sink)
}

fn committer_of(factory: &FileSink<Lines>) -> Box<dyn Committer> {
    SinkFactory::<Rows<String>>::committer(factory, "query/sink").unwrap().unwrap()
}

fn text(rows: &[&str]) -> Vec<String> {
    rows.iter().map(|row| (*row).to_owned()).collect()
}

fn marker(sink: &mut Box<dyn Sink<Rows<String>>>, epoch: u64) -> Prepare {
    sink.pre_commit(Epoch(epoch)).unwrap().unwrap()
}

#[test]
fn an_epoch_is_one_file_per_instance_that_appears_with_the_commit() {
    let folder = TempDir::new().unwrap();
    let factory = FileSink::json_lines(folder.path().join("not/there/yet"));
    let path = folder.path().join("not/there/yet");
    let mut committer = SinkFactory::<Rows<Order>>::committer(&factory, "query/sink").unwrap().unwrap();
    assert_eq!(committer.last_committed().unwrap(), Epoch::NONE);
    committer.abort_prepared().unwrap();
    let mut sink = factory.create(Instance { index: 3, parallelism: 4 }).unwrap();
    sink.start(Epoch(7)).unwrap();
    write(&mut sink, vec![Order { user: "ana", note: "two\nlines" }, Order { user: "bo", note: "" }])
        .unwrap();
    assert!(names(&path).is_empty(), "a small epoch costs no file before it is prepared");
    let prepare = sink.pre_commit(Epoch(7)).unwrap().unwrap();
    let handle = prepare().unwrap();
    assert_eq!(names(&path), [".part-000000000007-003-0.inprogress"]);
    committer.commit(Epoch(7), &[&handle]).unwrap();
    assert_eq!(names(&path), ["part-000000000007-003.jsonl"]);
    let written = fs::read_to_string(path.join("part-000000000007-003.jsonl")).unwrap();
    assert_eq!(written, "{\"user\":\"ana\",\"note\":\"two\\nlines\"}\n{\"user\":\"bo\",\"note\":\"\"}\n");
    assert_eq!(committer.last_committed().unwrap(), Epoch(7));
    assert!(sink.pre_commit(Epoch(8)).unwrap().is_none(), "an epoch without rows leaves no file");
}

#[test]
fn epochs_in_flight_do_not_touch_each_other() {
    let folder = TempDir::new().unwrap();
    let (factory, mut sink) = lines_sink(folder.path());
    let mut committer = committer_of(&factory);
    let long = "x".repeat(100_000);
    write(&mut sink, vec![long.clone(), "one".to_owned()]).unwrap();
    let first = marker(&mut sink, 1);
    write(&mut sink, vec![long.clone()]).unwrap();
    let second = marker(&mut sink, 2);
    write(&mut sink, text(&["three"])).unwrap();
    let second = second().unwrap();
    let first = first().unwrap();
    let third = marker(&mut sink, 3)().unwrap();
    for (epoch, handle) in [(1, first), (2, second), (3, third)] {
        committer.commit(Epoch(epoch), &[&handle]).unwrap();
        assert_eq!(committer.last_committed().unwrap(), Epoch(epoch));
    }
    let contents: Vec<String> = names(folder.path())
        .iter()
        .map(|name| fs::read_to_string(folder.path().join(name)).unwrap())
        .collect();
    assert_eq!(contents, [format!("{long}\none\n"), format!("{long}\n"), "three\n".to_owned()]);
}

#[test]
fn recovery_deletes_what_was_prepared_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let foreign = [".hidden", ".part-x.inprogress", "notes.txt", "part-0.txt", "part-000000000001-000.txt"];
    for name in foreign {
        fs::write(folder.path().join(name), "mine").unwrap();
    }
    let factory = FileSink::lines(folder.path());
    let mut sink = sink_of::<String>(&factory, 2);
    write(&mut sink, text(&["a"])).unwrap();
    marker(&mut sink, 2)().unwrap();
    write(&mut sink, vec!["x".repeat(100_000)]).unwrap();
    let hidden = [".part-000000000002-000-0.inprogress", ".part-000000000003-000-0.inprogress"];
    assert!(hidden.iter().all(|name| names(folder.path()).iter().any(|other| other == name)));
    assert_eq!(names(folder.path()).len(), foreign.len() + hidden.len());
    committer_of(&factory).abort_prepared().unwrap();
    assert_eq!(names(folder.path()), foreign);
}

#[test]
fn an_attempt_that_was_not_cleaned_up_does_not_mix_with_the_next() {
    let folder = TempDir::new().unwrap();
    let (factory, mut dead) = lines_sink(folder.path());
    write(&mut dead, text(&["dead"])).unwrap();
    let dead = marker(&mut dead, 1)().unwrap();
    let mut alive = sink_of::<String>(&factory, 1);
    write(&mut alive, text(&["alive"])).unwrap();
    let alive = marker(&mut alive, 1)().unwrap();
    assert_ne!(dead, alive);
    committer_of(&factory).commit(Epoch(1), &[&alive]).unwrap();
    let visible = fs::read_to_string(folder.path().join("part-000000000001-000.txt")).unwrap();
    assert_eq!(visible, "alive\n");
    let error = committer_of(&factory).commit(Epoch(1), &[&dead]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.to_string().contains("another query writes to the same folder"), "{error}");
}

#[test]
fn a_handle_cannot_reach_beyond_the_folder() {
    let outside = TempDir::new().unwrap();
    let folder = outside.path().join("results");
    let (factory, _sink) = lines_sink(&folder);
    let mut committer = committer_of(&factory);
    let secret = outside.path().join(".part-000000000001-000-0.inprogress");
    fs::write(&secret, "secret").unwrap();
    let (hidden, visible) = (".part-000000000001-000-0.inprogress", "part-000000000001-000.txt");
    for (hidden, visible) in [
        (&*format!("../{hidden}"), visible),
        (secret.to_str().unwrap(), visible),
        (hidden, &*format!("../{visible}")),
        (hidden, ".bashrc"),
        ("", ""),
    ] {
        let handle = serde_json::json!({ "version": 1, "hidden": hidden, "visible": visible }).to_string();
        let error = committer.commit(Epoch(1), &[handle.as_bytes()]).unwrap_err();
        assert!(error.to_string().contains("does not understand its handle for epoch 1"), "{error}");
    }
    for damaged in [
        &b""[..],
        b"\x00",
        b"{}",
        br#"{"version":2,"hidden":".part-000000000001-000-0.inprogress","visible":"part-000000000001-000.txt"}"#,
    ] {
        assert_eq!(committer.commit(Epoch(1), &[damaged]).unwrap_err().kind(), ErrorKind::User);
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert!(names(&folder).is_empty());
}

#[test]
fn a_prepared_file_that_is_gone_is_named() {
    let folder = TempDir::new().unwrap();
    let (factory, mut sink) = lines_sink(folder.path());
    write(&mut sink, text(&["a"])).unwrap();
    let handle = marker(&mut sink, 1)().unwrap();
    committer_of(&factory).abort_prepared().unwrap();
    let error = committer_of(&factory).commit(Epoch(1), &[&handle]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External);
    let message = error.to_string();
    assert!(message.contains("sink `results` cannot commit epoch 1"), "{message}");
    assert!(message.contains(".part-000000000001-000-0.inprogress` was deleted"), "{message}");
}

#[test]
fn a_folder_of_another_checkpoint_is_refused() {
    let folder = TempDir::new().unwrap();
    let (factory, mut sink) = lines_sink(folder.path());
    write(&mut sink, text(&["a"])).unwrap();
    let handle = marker(&mut sink, 5)().unwrap();
    committer_of(&factory).commit(Epoch(5), &[&handle]).unwrap();
    let start =
        |epoch| SinkFactory::<Rows<u64>>::create(&factory, Instance::ONLY).unwrap().start(Epoch(epoch));
    let error = start(5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.to_string().contains("already holds the output of epoch 5"), "{error}");
    start(6).unwrap();
}

#[test]
fn errors_of_the_file_system_name_the_file_and_the_cause() {
    let outside = TempDir::new().unwrap();
    let path = outside.path().join("results");
    fs::write(&path, "a file, not a folder").unwrap();
    let factory = FileSink::with_format(&path, JsonLines);
    let error =
        SinkFactory::<Rows<u64>>::create(&factory, Instance::ONLY).unwrap().start(Epoch(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    fs::remove_file(&path).unwrap();

    let (_, mut sink) = lines_sink(&path);
    write(&mut sink, text(&["a"])).unwrap();
    let prepare = marker(&mut sink, 1);
    fs::remove_dir(&path).unwrap();
    for error in [prepare().unwrap_err(), write(&mut sink, vec!["x".repeat(100_000)]).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::External);
        let message = error.to_string();
        assert!(message.contains("cannot create `") && message.contains(path.to_str().unwrap()), "{message}");
        assert!(message.contains("No such file"), "{message}");
    }
}

#[test]
fn a_row_that_is_not_one_line_is_refused_and_leaves_no_trace() {
    let folder = TempDir::new().unwrap();
    let (_, mut sink) = lines_sink(folder.path());
    write(&mut sink, text(&["fine"])).unwrap();
    let error = write(&mut sink, text(&["two\nlines"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    let message = error.to_string();
    assert!(message.contains("row 2 of epoch 1") && message.contains("JSON lines"), "{message}");

    let json = FileSink::json_lines(folder.path().join("json"));
    let mut sink = sink_of(&json, 1);
    let key_that_json_cannot_have = std::collections::BTreeMap::from([(vec![1], 2)]);
    let error = write(&mut sink, vec![key_that_json_cannot_have]).unwrap_err();
    assert!(error.to_string().contains("key must be a string"), "{error}");
    assert!(sink.pre_commit(Epoch(1)).unwrap().is_none(), "a refused row is not half written");
}
