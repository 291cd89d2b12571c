//! Files of others, of other versions, of other queries; sinks that know more than the log.

use super::history::{History, query, rich};
use lotic::checkpoint::log::{Log, recover};
use lotic::checkpoint::record::{Frame, Frames, Header, QueryIdentity, VERSION, write_frame};
use lotic::checkpoint::recover::{Differences, check_committed, match_operators};
use lotic::operators::Epoch;
use lotic::testing::FaultyStorage;

#[test]
fn files_that_are_not_ours_are_left_alone() {
    let names = [
        "notes.txt",
        "log-7",
        "log-00000000007",
        "log-+000000007",
        "log-0000000007.bak",
        "base-x",
        "log-",
        ".log",
    ];
    let mut history = History::new(FaultyStorage::new(1), 300);
    names.iter().for_each(|name| history.storage.set_file(name, "ours"));
    history.epochs(12);
    let found = history.restart().unwrap().unwrap();
    assert_eq!(found.image, history.images[&history.last()]);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let files = history.storage.files();
    assert!(files.keys().any(|name| name.starts_with("base-0")), "it was compacted");
    names.iter().for_each(|name| assert_eq!(files[*name], b"ours", "{name}"));
}

#[test]
fn a_file_with_the_name_of_the_last_possible_segment_is_refused() {
    let storage = rich().storage;
    let name = format!("log-{}", u64::MAX);
    storage.set_file(&name, "x");
    let found = recover(&mut storage.clone()).unwrap();
    let error = Log::open(Box::new(storage), query("mine"), found.as_ref()).unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
}

fn log_of(header: Header) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&Frame::Header(header), &mut bytes);
    bytes
}

#[test]
fn another_version_is_refused_and_never_passed_over() {
    for name in ["log-0000000099", "log-0000000000"] {
        let storage = rich().storage;
        let header = Header {
            version: VERSION + 1,
            query: query("mine"),
            continues: None,
            seen: Epoch::NONE,
            repeats: 0,
        };
        storage.set_file(name, log_of(header));
        match recover(&mut storage.clone()) {
            Err(error) => {
                let text = error.to_string();
                let versions = format!("version {}, this build reads 1 to {VERSION}", VERSION + 1);
                assert!(text.contains(name) && text.contains(&versions), "{text}");
            }
            Ok(_) => assert_eq!(name, "log-0000000000", "what is no longer needed is not read"),
        }
    }
}

#[test]
fn a_segment_of_another_query_is_not_built_upon() {
    let mut mine = History::new(FaultyStorage::new(1), u64::MAX);
    mine.epochs(2);
    mine.restart().unwrap();
    mine.epochs(2);
    let header =
        Header { version: VERSION, query: query("other"), continues: None, seen: Epoch::NONE, repeats: 0 };
    mine.storage.set_file("log-0000000000", log_of(header));
    let text = recover(&mut mine.storage.clone()).unwrap_err().to_string();
    assert!(text.contains("log-0000000000") && text.contains("belongs to another query"), "{text}");
    // A segment cannot continue itself or a later one.
    for before in [1, 2] {
        let continues = Some((before, Epoch(2)));
        let header =
            Header { version: VERSION, query: query("mine"), continues, seen: Epoch::NONE, repeats: 0 };
        mine.storage.set_file("log-0000000001", log_of(header));
        assert!(recover(&mut mine.storage.clone()).is_err());
    }
}

#[test]
fn a_base_of_another_query_is_done_without() {
    let history = rich();
    let whole = history.storage.files();
    let base = whole.keys().rfind(|name| name.starts_with("base-")).unwrap();
    let mut frames: Vec<Frame> = Frames::new(&whole[base]).collect();
    if let Frame::Header(header) = &mut frames[0] {
        header.query.id = "other".to_owned();
    }
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| write_frame(frame, &mut bytes));
    history.storage.set_file(base, bytes);
    let found = recover(&mut history.storage.clone()).unwrap().unwrap();
    assert_eq!(found.image, history.images[&history.last()]);
    assert!(found.warnings[0].contains(base), "{:?}", found.warnings);
}

#[test]
fn an_identity_that_differs_is_refused_with_the_differences() {
    let stored = query("stored");
    let same = match_operators("here", &stored, &query("now"), false).unwrap();
    assert_eq!(same, Differences::default(), "the id is made anew and does not count");
    let other = |operators: &[(&str, &str)]| QueryIdentity {
        id: "now".to_owned(),
        operators: operators.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect(),
    };
    let cases: [(&[(&str, &str)], &[&str]); 3] = [
        (&[], &["it has `count` (count by key), which this query lacks"]),
        (&[("count", "join")], &["its `count` is a count by key, here it is a join"]),
        (
            &[("counts", "count by key")],
            &[
                "it has `count` (count by key), which this query lacks",
                "this query has `counts` (count by key), which it lacks",
                ".uid(",
            ],
        ),
    ];
    for (operators, expected) in cases {
        let text = match_operators("here", &stored, &other(operators), false).unwrap_err().to_string();
        assert!(text.contains("`here`") && text.contains("stored"), "{text}");
        expected.iter().for_each(|part| assert!(text.contains(part), "{text}"));
    }
    let changed = match_operators("here", &stored, &other(&[("count", "join")]), true);
    assert!(changed.is_err(), "state of one kind is never given to another");
    let more = other(&[("count", "count by key"), ("window", "window")]);
    let begun = Differences { begun: vec!["window".to_owned()], left: Vec::new() };
    assert_eq!(match_operators("here", &stored, &more, false).unwrap(), begun);
    let left = Differences { begun: Vec::new(), left: vec!["count".to_owned()] };
    assert_eq!(match_operators("here", &stored, &other(&[]), true).unwrap(), left);
}

#[test]
fn nobody_falls_back_behind_what_a_sink_has_shown() {
    let sinks = |epochs: &[u64]| -> Vec<(String, Epoch)> {
        epochs.iter().enumerate().map(|(at, epoch)| (format!("sink-{at}"), Epoch(*epoch))).collect()
    };
    assert!(check_committed("here", Epoch(5), &sinks(&[]), false).is_ok());
    assert!(check_committed("here", Epoch(5), &sinks(&[0, 4, 5]), false).is_ok());
    assert!(check_committed("here", Epoch::NONE, &sinks(&[0]), false).is_ok());
    for (durable, epochs) in [(5, vec![5, 6]), (0, vec![0, 1])] {
        let text = check_committed("here", Epoch(durable), &sinks(&epochs), false).unwrap_err().to_string();
        for part in ["sink-1", "`here`", "accept_duplicates", &format!("epoch {}", epochs[1])] {
            assert!(text.contains(part), "{text}");
        }
        assert!(check_committed("here", Epoch(durable), &sinks(&epochs), true).is_ok());
    }
}
