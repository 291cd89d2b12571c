//! Folders of files of every built-in format: what a sink writes, a bounded read and a stream read back.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(all(feature = "table", feature = "parquet", feature = "orc"))]

mod table_files_support;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use lotic_connectors::table::files::FilesFormat;
use lotic_connectors::table::format::{csv::Csv, json::Json, orc::Orc, parquet::Parquet};
use lotic_connectors::table::{OutputMode, ReadRequest, SaveMode, TableFormat, WriteRequest};
use lotic_connectors::{Offsets, PollRequest, Polled};
use lotic_operators::table::TableBatch;
use lotic_operators::{Epoch, Instance};
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use table_files_support::{lines_of, options, put, schema, tree};
use tempfile::TempDir;

fn formats() -> Vec<Box<dyn TableFormat>> {
    vec![
        Box::new(FilesFormat::new(Csv)),
        Box::new(FilesFormat::new(Json)),
        Box::new(FilesFormat::new(Parquet)),
        Box::new(FilesFormat::new(Orc)),
    ]
}

/// Three epochs of a hundred rows each, in two partition folders.
fn write(format: &dyn TableFormat, folder: &Path) {
    let request = WriteRequest {
        options: options(folder, &[]),
        schema: schema(),
        partition_by: vec!["name".to_owned()],
        output_mode: OutputMode::Append,
        save_mode: None,
    };
    let factory = format.sink(&request).unwrap();
    let (mut sink, mut committer) =
        (factory.create(Instance::ONLY).unwrap(), factory.committer("query/sink").unwrap().unwrap());
    sink.start(Epoch(1)).unwrap();
    for epoch in 1..=3 {
        let numbers: Int64Array = (0..100).map(|row| epoch * 100 + row).collect();
        let names: StringArray = (0..100).map(|row| Some(["a/b", "São"][row % 2])).collect();
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(numbers), Arc::new(names)]).unwrap();
        sink.write(&mut TableBatch::from(rows), Waker::noop()).unwrap();
        let prepare = sink.pre_commit(Epoch(epoch as u64)).unwrap().unwrap();
        committer.commit(Epoch(epoch as u64), &[&prepare().unwrap()]).unwrap();
    }
}

#[test]
fn what_a_sink_writes_is_read_back_as_a_table_and_as_a_stream() {
    let names = ["a/b", "São"];
    let mut expected: Vec<String> =
        (100..400usize).map(|number| format!("{number}|{}", names[number % 2])).collect();
    expected.sort();
    for format in formats() {
        let folder = TempDir::new().unwrap();
        write(format.as_ref(), folder.path());
        assert_eq!(tree(folder.path()).len(), 6, "{}", format.name());
        // What other programs leave is not read.
        put(folder.path(), "_SUCCESS", "", 0);
        let request = ReadRequest { options: options(folder.path(), &[]), schema: Some(schema()) };

        let table = format.bounded(&request).unwrap();
        let parts = (0..table.partitions().unwrap()).flat_map(|part| table.read(part, None).unwrap());
        let mut lines: Vec<String> = parts.flat_map(|rows| lines_of(&rows.unwrap())).collect();
        lines.sort();
        assert_eq!(lines, expected, "{} as a table", format.name());
        let counted: usize = (0..table.partitions().unwrap())
            .flat_map(|part| table.read(part, Some(&[])).unwrap())
            .map(|rows| rows.unwrap().num_rows())
            .sum();
        assert_eq!(counted, 300, "{} without columns", format.name());

        let factory = format.stream(&request).unwrap().source(Some(&[1, 0])).unwrap();
        let mut source = factory.create(Instance::ONLY).unwrap();
        source.start(&Offsets::default()).unwrap();
        // Files written just now have to settle first.
        let until = loop {
            if let Some(until) = source.latest(u64::MAX, Waker::noop()).unwrap().known() {
                break until;
            }
            std::thread::yield_now();
        };
        let mut lines = Vec::new();
        loop {
            let request = PollRequest { max_rows: 7, until: Some(&until), waker: Waker::noop() };
            match source.poll(request).unwrap() {
                Polled::Batch(rows) => lines.extend(lines_of(rows.rows_left())),
                Polled::AtEnd => break,
                Polled::Pending(_) => {}
                Polled::Finished => unreachable!("a stream of files does not end"),
            }
        }
        let swap =
            |line: &String| line.split_once('|').map(|(name, number)| format!("{number}|{name}")).unwrap();
        let mut lines: Vec<String> = lines.iter().map(swap).collect();
        lines.sort();
        assert_eq!(lines, expected, "{} as a stream", format.name());
    }
}

#[test]
fn options_of_files_and_of_the_format_are_known_together() {
    for format in formats() {
        let mut names: Vec<&str> = format.read_options().iter().map(|spec| spec.name).collect();
        assert!(
            names.contains(&"path") && names.contains(&"maxFilesPerTrigger"),
            "{}: {names:?}",
            format.name()
        );
        let all = names.len();
        names.sort_unstable_by_key(|name| name.to_ascii_lowercase());
        names.dedup_by_key(|name| name.to_ascii_lowercase());
        assert_eq!(names.len(), all, "{} has an option twice", format.name());
    }
}

/// A bounded write by this many instances, none of which has rows but perhaps the last.
fn save(
    format: &dyn TableFormat,
    folder: &Path,
    mode: SaveMode,
    instances: usize,
    rows: Option<&RecordBatch>,
) {
    let header: &[(&str, &str)] = if format.name() == "csv" { &[("header", "true")] } else { &[] };
    let request = WriteRequest {
        options: options(folder, header),
        schema: schema(),
        partition_by: Vec::new(),
        output_mode: OutputMode::Append,
        save_mode: Some(mode),
    };
    let factory = format.sink(&request).unwrap();
    let mut handles = Vec::new();
    for index in 0..instances {
        let mut sink = factory.create(Instance { index, parallelism: instances }).unwrap();
        sink.start(Epoch(1)).unwrap();
        if let Some(rows) = rows.filter(|_| index + 1 == instances) {
            sink.write(&mut TableBatch::from(rows.clone()), Waker::noop()).unwrap();
        }
        handles.extend(sink.pre_commit(Epoch(1)).unwrap().map(|prepare| prepare().unwrap()));
    }
    let mut committer = factory.committer("query/sink").unwrap().unwrap();
    for handle in handles.iter().chain(&handles) {
        committer.commit(Epoch(1), &[handle]).unwrap();
    }
}

#[test]
fn a_bounded_write_of_no_rows_leaves_a_file_that_tells_the_columns() {
    for format in formats() {
        let (name, folder) = (format.name(), TempDir::new().unwrap());
        let inferred = || {
            let mut options = options(folder.path(), &[]);
            if name == "csv" {
                options.set("header", "true");
            }
            format.bounded(&ReadRequest { options, schema: None })
        };
        save(format.as_ref(), folder.path(), SaveMode::ErrorIfExists, 3, None);
        assert_eq!(tree(folder.path()).len(), 1, "{name}");
        if name != "json" {
            let table = inferred().unwrap();
            let names: Vec<String> =
                table.schema().fields().iter().map(|field| field.name().clone()).collect();
            assert_eq!(names, ["n", "name"], "{name}");
            let parts = table.partitions().unwrap();
            assert!((0..parts).all(|part| table.read(part, None).unwrap().next().is_none()), "{name}");
        }
        save(format.as_ref(), folder.path(), SaveMode::Append, 2, None);
        assert_eq!(tree(folder.path()).len(), 1, "{name}: there is a file already");

        let numbers: Int64Array = (0..9).collect();
        let names: StringArray = (0..9).map(|_| Some("a")).collect();
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(numbers), Arc::new(names)]).unwrap();
        save(format.as_ref(), folder.path(), SaveMode::Overwrite, 3, Some(&rows));
        assert_eq!(tree(folder.path()).len(), 1, "{name}: no file without rows beside one with rows");
        let table = inferred().unwrap();
        let parts = (0..table.partitions().unwrap()).flat_map(|part| table.read(part, None).unwrap());
        assert_eq!(parts.map(|rows| rows.unwrap().num_rows()).sum::<usize>(), 9, "{name}");

        save(format.as_ref(), folder.path(), SaveMode::Overwrite, 3, None);
        assert_eq!(tree(folder.path()).len(), 1, "{name}: what was there is gone");
        if name != "json" {
            let table = inferred().unwrap();
            let parts = table.partitions().unwrap();
            assert!((0..parts).all(|part| table.read(part, None).unwrap().next().is_none()), "{name}");
        }
    }
}
