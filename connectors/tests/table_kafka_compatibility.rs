//! Records that a client nobody here wrote can read and has written: kafka-python, by
//! `kafka_compatibility/check.py`, over the same broker.
//!
//! Needs `python3` with `venv`, and PyPI the first time. Without them the test says that it was skipped; where
//! `CI` is set, it fails.
#![cfg(all(feature = "kafka", feature = "table"))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/python.rs"]
mod python;
mod table_kafka_support;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use lotic_connectors::Offsets;
use lotic_connectors::testing::kafka::TestBroker;
use python::{Scripts, succeed};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use table_kafka_support::{bounded, kafka, read_all, read_rows, start, stream, write_epoch, write_request};

const SCRIPTS: Scripts =
    Scripts { folder: "kafka_compatibility", imports: "kafka, crc32c, lz4, snappy, zstandard" };

fn theirs(python: &Path, words: &[&str]) -> Vec<Value> {
    let said = succeed(Command::new(python).arg(SCRIPTS.check()).args(words))
        .unwrap_or_else(|said| panic!("{said}"));
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn hex(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
    })
}

/// The rows as the script shows them.
fn ours(rows: &RecordBatch) -> Vec<Value> {
    let (key, value) = (rows["key"].as_binary::<i32>(), rows["value"].as_binary::<i32>());
    let lists = rows["headers"].as_list::<i32>();
    let headers = |row: usize| -> Vec<Value> {
        if lists.is_null(row) {
            return Vec::new();
        }
        let pairs = lists.value(row);
        let (names, values) = (pairs.as_struct().column(0), pairs.as_struct().column(1));
        let (names, values) = (names.as_string::<i32>(), values.as_binary::<i32>());
        names.iter().zip(values).map(|(name, value)| json!([name, hex(value)])).collect()
    };
    let time = |row| rows["timestamp"].as_primitive::<TimestampMicrosecondType>().value(row) / 1000;
    let show = |row: usize| {
        json!({
            "partition": rows["partition"].as_primitive::<Int32Type>().value(row),
            "offset": rows["offset"].as_primitive::<Int64Type>().value(row),
            "timestamp": time(row),
            "timestampType": rows["timestampType"].as_primitive::<Int32Type>().value(row),
            "key": hex(key.is_valid(row).then(|| key.value(row))),
            "value": hex(value.is_valid(row).then(|| value.value(row))),
            "headers": headers(row),
        })
    };
    (0..rows.num_rows()).map(show).collect()
}

/// By partition and offset.
fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| (row["partition"].as_i64(), row["offset"].as_i64()));
    rows
}

#[test]
fn another_client_reads_our_records_and_we_read_its() {
    let Some(broker) = TestBroker::shared() else { return };
    let python = match SCRIPTS.python() {
        Ok(python) => python,
        Err(cause) if std::env::var_os("CI").is_some() => panic!("no Python for this test: {cause}"),
        Err(cause) => {
            eprintln!("SKIPPED: nothing was compared with kafka-python, for want of a Python: {cause}");
            return;
        }
    };
    let topic = broker.topic("theirs", 2);
    let written = sorted(theirs(&python, &["produce", broker.bootstrap(), &topic]));
    assert_eq!(written.len(), 240, "five codecs and a committed transaction");
    let options = [("subscribe", &*topic), ("includeHeaders", "true")];
    let table = bounded(broker, &options).unwrap();
    let read = read_all(table.as_ref(), None).unwrap();
    assert_eq!(sorted(ours(&read)), written);
    let table = stream(broker, &[&options[..], &[("startingOffsets", "earliest")]].concat());
    let mut source = start(table.as_ref(), None, &Offsets::default()).unwrap();
    assert_eq!(sorted(ours(&read_rows(&mut source, written.len()))), written);

    for (guarantee, codec) in [
        ("at-least-once", "none"),
        ("at-least-once", "gzip"),
        ("at-least-once", "snappy"),
        ("exactly-once", "lz4"),
        ("exactly-once", "zstd"),
    ] {
        let copy = broker.topic(&format!("ours-{codec}"), 2);
        let columns =
            ["key", "value", "partition", "headers"].map(|name| read.schema().index_of(name).unwrap());
        let rows = read.project(&columns).unwrap();
        let options =
            [("topic", &*copy), ("deliveryGuarantee", guarantee), ("kafka.compression.codec", codec)];
        let sink = kafka().sink(&write_request(broker, &rows.schema(), &options, None)).unwrap();
        write_epoch(sink.as_ref(), &format!("{copy}/sink"), &rows).unwrap();
        let found = sorted(theirs(&python, &["consume", broker.bootstrap(), &copy, "read_committed"]));
        let parts = |row: &Value| ["partition", "key", "value", "headers"].map(|part| row[part].to_string());
        let by_partition = |rows: &[Value]| {
            let mut all: BTreeMap<String, Vec<[String; 4]>> = BTreeMap::new();
            for row in rows {
                all.entry(row["partition"].to_string()).or_default().push(parts(row));
            }
            all
        };
        assert_eq!(by_partition(&found), by_partition(&ours(&read)), "{guarantee}, {codec}");
    }
}
