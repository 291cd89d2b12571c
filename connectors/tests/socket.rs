//! Lines over TCP: what arrives, what ends the input, what is an error.
#![allow(clippy::unwrap_used)]

mod support;

use lotic_connectors::socket::{InvalidUtf8, LongLine, Reconnect};
use lotic_connectors::{ErrorKind, Offsets, PollRequest, Polled, SocketSource, SourceFactory};
use lotic_operators::{Instance, Rows};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::task::Waker;
use std::time::Duration;
use support::{poll, read, source_at, source_of};

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port that nobody listens on, and that no listener is given unasked.
const DESERTED: u16 = 1;

/// The next peer, after these bytes were sent to it.
fn greet(listener: &TcpListener, bytes: &[u8]) -> TcpStream {
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(bytes).unwrap();
    peer
}

fn at_once() -> Reconnect {
    let wait = Duration::from_millis(1);
    Reconnect { wait_min: wait, wait_max: wait, attempts_max: Some(500) }
}

#[test]
fn lines_up_to_the_end_of_the_connection() {
    let (listener, port) = listen();
    let mut source = source_of(&SocketSource::new("localhost", port));
    drop(greet(&listener, "one\r\n\nzwölf\nlast".as_bytes()));
    assert_eq!(read(&mut source, usize::MAX).unwrap(), ["one", "", "zwölf", "last"]);
    assert!(matches!(poll(&mut source, 1, Waker::noop()).unwrap(), Polled::Finished));
    assert_eq!(source.offsets(), Offsets::single("0", 4));
}

#[test]
fn a_line_is_delivered_when_it_is_complete_and_not_before() {
    let (listener, port) = listen();
    let mut source = source_of(&SocketSource::new("127.0.0.1", port));
    let mut peer = greet(&listener, b"who");
    assert!(matches!(poll(&mut source, 9, Waker::noop()).unwrap(), Polled::Pending(Some(_))));
    peer.write_all(b"le\nnext").unwrap();
    assert_eq!(read(&mut source, 1).unwrap(), ["whole"]);
}

#[test]
fn a_refused_connection_says_where_and_what_to_do() {
    let source = SocketSource::new("127.0.0.1", DESERTED);
    let error = source_at(&source, &Offsets::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::External);
    let message = error.to_string();
    assert!(message.contains("127.0.0.1:1;"), "{message}");
    assert!(message.contains("start the server first") && message.contains("refused"), "{message}");
    assert!(error.retry_after().is_some());
}

#[test]
fn a_host_that_does_not_exist_is_named() {
    let source = SocketSource::new("host.invalid", 1);
    let error = source_at(&source, &Offsets::default()).err().unwrap().to_string();
    assert!(error.contains("host.invalid:1"), "{error}");
}

#[test]
fn a_server_that_comes_late_and_goes_again_is_waited_for() {
    let (mut source, listener) = loop {
        let port = listen().1;
        let source = source_of(&SocketSource::new("127.0.0.1", port).reconnect(at_once()));
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            break (source, listener);
        }
        // Another test was given the port meanwhile.
    };
    for visit in ["one", "two", "three"] {
        // Connects first: nobody accepts meanwhile, the operating system answers.
        let mut lines = Vec::new();
        while lines.is_empty() {
            if let Ok(mut peer) = accept_now(&listener) {
                peer.write_all(visit.as_bytes()).unwrap();
            }
            if let Polled::Batch(batch) = poll(&mut source, 9, Waker::noop()).unwrap() {
                lines.extend(batch);
            }
        }
        assert_eq!(lines, [visit], "the last line of a visit needs no end");
    }
}

fn accept_now(listener: &TcpListener) -> std::io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let (peer, _) = listener.accept()?;
    peer.set_nonblocking(false)?;
    Ok(peer)
}

#[test]
fn attempts_are_counted_and_then_given_up() {
    let reconnect = Reconnect { attempts_max: Some(3), ..at_once() };
    let mut source = source_of(&SocketSource::new("127.0.0.1", DESERTED).reconnect(reconnect));
    let error = read(&mut source, 1).unwrap_err().to_string();
    assert!(error.contains("gave up on") && error.contains("after 3 attempts"), "{error}");
}

#[test]
fn a_source_that_reconnects_may_still_end_with_its_peer() {
    let (listener, port) = listen();
    let factory = SocketSource::new("127.0.0.1", port).reconnect(at_once()).end_when_closed(true);
    let mut source = source_of(&factory);
    drop(greet(&listener, b"a\n"));
    assert_eq!(read(&mut source, usize::MAX).unwrap(), ["a"]);

    let endless = SocketSource::new("127.0.0.1", port).end_when_closed(false);
    let error = SourceFactory::<Rows<String>>::create(&endless, Instance::ONLY).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.to_string().contains("call `reconnect`"), "{error}");
}

#[test]
fn a_long_line_is_an_error_that_names_it_or_is_skipped_and_counted() {
    let sent = format!("short\n{}\nafter\n", "x".repeat(100_000));
    let (listener, port) = listen();
    let factory = SocketSource::new("127.0.0.1", port).line_bytes_max(1000);
    let mut source = source_of(&factory);
    let _peer = greet(&listener, sent.as_bytes());
    assert_eq!(read(&mut source, 1).unwrap(), ["short"]);
    let error = read(&mut source, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    let message = error.to_string();
    for part in [&*format!("127.0.0.1:{port}"), "line 2", "bytes so far", "limit is 1000", "`line_bytes_max`"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }

    let factory = factory.long_line(LongLine::Skip);
    let mut source = source_of(&factory);
    let _peer = greet(&listener, sent.as_bytes());
    assert_eq!(read(&mut source, 2).unwrap(), ["short", "after"]);
    assert_eq!(factory.skipped_lines(), 1);
}

#[test]
fn bytes_that_are_not_text_are_an_error_or_replaced() {
    let (listener, port) = listen();
    let factory = SocketSource::new("127.0.0.1", port);
    let mut source = source_of(&factory);
    let _peer = greet(&listener, b"ok\n\xff\xfe\n");
    assert_eq!(read(&mut source, 1).unwrap(), ["ok"]);
    let message = read(&mut source, 1).unwrap_err().to_string();
    assert!(message.contains("line 2 is not UTF-8") && message.contains("`Replace`"), "{message}");

    let mut source = source_of(&factory.invalid_utf8(InvalidUtf8::Replace));
    let _peer = greet(&listener, b"\xff!\n");
    assert_eq!(read(&mut source, 1).unwrap(), ["\u{fffd}!"]);
}

#[test]
fn times_of_receipt_do_not_go_back() {
    let (listener, port) = listen();
    let mut source = source_of(&SocketSource::new("127.0.0.1", port).with_time());
    let mut peer = greet(&listener, b"a\n");
    let first = read(&mut source, 1).unwrap();
    peer.write_all(b"b\n").unwrap();
    let second = read(&mut source, 1).unwrap();
    assert!(first[0].received.0 > 1_600_000_000_000_000, "microseconds since 1970");
    assert!(second[0].received >= first[0].received);
}

#[test]
fn a_micro_batch_reads_ahead_as_far_as_it_is_asked_and_in_bounds() {
    let (listener, port) = listen();
    let mut source = source_of(&SocketSource::new("127.0.0.1", port));
    assert_eq!(
        source.latest(10, Waker::noop()).unwrap().known().unwrap(),
        source.offsets(),
        "nothing is there"
    );
    let lines: String = (0..100_000).map(|line| format!("{line}\n")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| drop(greet(&listener, lines.as_bytes())));
        let mut rows: Vec<String> = Vec::new();
        loop {
            let until = source.latest(30_000, Waker::noop()).unwrap().known().unwrap();
            let planned = until.get("0").unwrap() - rows.len() as u64;
            assert!(planned <= 30_000);
            loop {
                let request = PollRequest { max_rows: 7_000, until: Some(&until), waker: Waker::noop() };
                match source.poll(request).unwrap() {
                    Polled::Batch(batch) => rows.extend(batch),
                    Polled::AtEnd => break,
                    Polled::Finished => {
                        assert!(rows.into_iter().eq(lines.lines()));
                        return;
                    }
                    Polled::Pending(_) => unreachable!("what was planned is there"),
                }
            }
        }
    });
}
