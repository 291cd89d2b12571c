//! Every built-in source against the contract.
#![allow(clippy::unwrap_used)]

use lotic_connectors::testing::check_source;
use lotic_connectors::{MemorySource, RateSource, SocketSource, ingress, memory};
use std::io::Write;
use std::net::TcpListener;
use std::thread;

#[test]
fn memory() {
    let rows: Vec<u64> = (0..50).collect();
    assert_eq!(check_source(|| MemorySource::new(0..50u64), |row| row), rows);
    assert_eq!(check_source(|| MemorySource::partitioned(0..50u64, 3), |row| row), rows);
    assert!(check_source(|| MemorySource::partitioned(0..0u64, 2), |row| row).is_empty());
    let grown = || {
        let (handle, source) = memory::stream::<u64>("grown", 4);
        handle.add(0..20);
        handle.add(20..50);
        handle.finish();
        source
    };
    assert_eq!(check_source(grown, |row| row), rows);
}

#[test]
fn rate() {
    let rows: Vec<u64> = (0..50).collect();
    for rows_per_second in [0, 50_000] {
        for partitions in [1, 3] {
            let source = || RateSource::new(rows_per_second).partitions(partitions).limit(50);
            assert_eq!(check_source(source, |row| row.value), rows);
        }
    }
}

#[test]
fn ingress() {
    let source = || {
        let (handle, source) = ingress::channel::<u64>("pushed", 64);
        handle.push_all(0..50).unwrap();
        source
    };
    assert_eq!(check_source(source, |row| row), (0..50).collect::<Vec<_>>());
}

/// A server that sends this to whoever comes first, and closes.
fn serve(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = move || listener.accept().unwrap().0.write_all(bytes).unwrap();
    thread::Builder::new().spawn(answer).unwrap();
    port
}

#[test]
fn socket() {
    let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let text: &'static [u8] = Box::leak(expected.join("\n").into_boxed_str().into_boxed_bytes());
    let source = || SocketSource::new("127.0.0.1", serve(text));
    assert_eq!(check_source(source, |line: String| line), expected);
    let timed = || SocketSource::new("127.0.0.1", serve(text)).with_time();
    assert_eq!(check_source(timed, |row| row.line), expected);
}
