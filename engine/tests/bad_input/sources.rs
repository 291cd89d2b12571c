//! The socket source and its peers.

use crate::{CONTINUOUS, MICRO_BATCH, ended, says, session};
use lotic::ErrorKind;
use lotic::connectors::socket::{LongLine, Reconnect, SocketSource};
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

/// A peer that sends this to the first who connects, and closes; its port.
fn peer(bytes: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (mut connection, _) = listener.accept().unwrap();
        // A source that has had enough closes the connection.
        let _ = connection.write_all(&bytes);
    };
    std::thread::Builder::new().spawn(serve).unwrap();
    port
}

fn source(port: u16) -> SocketSource {
    SocketSource::new("127.0.0.1", port).named("events").line_bytes_max(1000)
}

fn lines(long: usize) -> Vec<u8> {
    ["first", &"x".repeat(long), "last", ""].join("\n").into_bytes()
}

#[test]
fn an_over_long_line_ends_the_query_and_says_which() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let port = peer(lines(5000));
        let (query, rows) = session().source(source(port)).egress("rows");
        let query = query.start(trigger).unwrap();
        let error = ended(&query).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        assert_eq!(error.operator(), Some("source-events[0]"));
        assert!(error.epoch().is_some());
        let address = format!("127.0.0.1:{port}");
        says(&error, &["`events`", &address, "line 2", "too long", "1000", "line_bytes_max", "Skip"]);
        let seen: Vec<String> = std::iter::from_fn(|| rows.recv()).collect();
        assert!(!seen.iter().any(|line| line.starts_with('x') || line == "last"), "{seen:?}");
    }
}

#[test]
fn an_over_long_line_of_any_length_can_be_skipped() {
    for long in [1001, 3_000_000] {
        let source = source(peer(lines(long))).long_line(LongLine::Skip);
        let (query, rows) = session().source(source.clone()).egress("rows");
        let query = query.start(CONTINUOUS).unwrap();
        let seen: Vec<String> = std::iter::from_fn(|| rows.recv()).collect();
        ended(&query).unwrap();
        assert_eq!((seen, source.skipped_lines()), (vec!["first".to_owned(), "last".to_owned()], 1));
    }
}

#[test]
fn bytes_that_are_no_text_end_the_query_and_say_where() {
    let port = peer(b"fine\nb\xffd\n".to_vec());
    let query = session().source(source(port)).for_each(|_| {}).start(CONTINUOUS).unwrap();
    says(&ended(&query).unwrap_err(), &["`events`", "line 2", "not UTF-8", "invalid_utf8"]);
}

/// A port at which nobody listens and which is given to nobody.
const CLOSED: u16 = 1;

#[test]
fn a_refused_connection_is_told_at_the_start_with_the_address() {
    let session = session();
    let error = session.source(source(CLOSED)).for_each(|_| {}).start(CONTINUOUS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External);
    says(&error, &["`events`", &format!("127.0.0.1:{CLOSED}"), "refused", "start the server first"]);
    assert!(session.active_queries().is_empty());
}

#[test]
fn a_source_that_reconnects_gives_up_after_its_attempts() {
    let reconnect = Reconnect {
        wait_min: Duration::from_millis(1),
        wait_max: Duration::from_millis(2),
        attempts_max: Some(3),
    };
    let started = session().source(source(CLOSED).reconnect(reconnect)).for_each(|_| {}).start(CONTINUOUS);
    let error = started.and_then(|query| ended(&query)).unwrap_err();
    says(&error, &["`events`", &format!("127.0.0.1:{CLOSED}"), "after 3 attempts", "refused"]);
}
