//! Every table that is not a file against the contracts.
#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod table_support;

use arrow::array::AsArray;
use lotic_connectors::SinkFactory;
use lotic_connectors::table::blackhole::Blackhole;
use lotic_connectors::table::console::TableConsole;
use lotic_connectors::table::foreach::ForEachTable;
use lotic_connectors::table::memory::MemoryTable;
use lotic_connectors::table::show::Show;
use lotic_connectors::table::{OutputMode, StreamTable, registry};
use lotic_connectors::testing::{SinkWorld, check_sink, check_source};
use lotic_operators::Rows;
use lotic_operators::table::TableBatch;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use table_support::{LastColumn, OfNumbers, Screen, numbers, read_request, schema, values};

fn stream(format: &str, options: &[(&str, &str)]) -> Arc<dyn StreamTable> {
    registry().get(format).unwrap().stream(&read_request(options)).unwrap()
}

#[test]
fn memory_as_a_source() {
    for (partitions, batch_rows) in [(1, 50), (1, 7), (3, 1), (3, 7), (4, 50)] {
        let make = || {
            let table = MemoryTable::partitioned("numbers", schema(), partitions);
            for first in (0..50).step_by(batch_rows) {
                table.add(numbers(first..(first + batch_rows as i64).min(50))).unwrap();
            }
            table.finish();
            LastColumn::of(Arc::new(table))
        };
        let mut rows = check_source(make, |row| row);
        rows.sort_unstable();
        assert!(rows.into_iter().eq(0..50), "{partitions} partitions, batches of {batch_rows}");
    }
}

#[test]
fn rate() {
    for rows_per_second in ["0", "50000"] {
        for partitions in ["1", "3"] {
            let options =
                [("rowsPerSecond", rows_per_second), ("numPartitions", partitions), ("limit", "50")];
            let rows = check_source(|| LastColumn::of(stream("rate", &options)), |row| row);
            assert!(rows.into_iter().eq(0..50));
        }
    }
    let ramping = [("rowsPerSecond", "100000"), ("rampUpTime", "2 ms"), ("limit", "50")];
    let rows = check_source(|| LastColumn::of(stream("rate", &ramping)), |row| row);
    assert!(rows.into_iter().eq(0..50));
}

#[test]
fn socket() {
    let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let text: &'static [u8] = Box::leak(expected.join("\n").into_boxed_str().into_boxed_bytes());
    let lines = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let answer = move || listener.accept().unwrap().0.write_all(text).unwrap();
        thread::Builder::new().spawn(answer).unwrap();
        LastColumn::<String> {
            table: stream("socket", &[("host", "127.0.0.1"), ("port", &port)]),
            key: |column, row| column.as_string::<i32>().value(row).to_owned(),
        }
    };
    assert_eq!(check_source(lines, |line| line), expected);
}

type Factory = Box<dyn SinkFactory<Rows<u64>>>;

struct InMemory(MemoryTable);

impl SinkWorld for InMemory {
    type Row = u64;
    fn open(&mut self) -> Factory {
        Box::new(OfNumbers(self.0.sink(OutputMode::Append)))
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        values(&self.0.rows()).into_iter().map(|number| number as u64).collect()
    }
}

#[test]
fn memory_as_a_sink() {
    check_sink(|| InMemory(MemoryTable::new("results", schema())));
    check_sink(|| InMemory(MemoryTable::partitioned("results", schema(), 3)));
}

impl SinkWorld for Screen {
    type Row = u64;
    fn open(&mut self) -> Factory {
        let show = Show::default().rows(usize::MAX);
        Box::new(OfNumbers(Box::new(TableConsole::new(schema(), show, OutputMode::Append).to(self.clone()))))
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        let text = self.text();
        let cells = text.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
        cells.filter_map(|cell| cell.trim().parse().ok()).collect()
    }
}

#[test]
fn console() {
    check_sink(Screen::default);
}

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<u64>>>);

impl SinkWorld for Calls {
    type Row = u64;
    fn open(&mut self) -> Factory {
        let calls = Arc::clone(&self.0);
        let foreach = ForEachTable::new(move |rows| {
            calls.lock().unwrap().extend(values(&rows).into_iter().map(|number| number as u64));
        });
        Box::new(OfNumbers(Box::new(foreach)))
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn foreach() {
    check_sink(Calls::default);
}

#[test]
fn a_blackhole_takes_all_and_counts() {
    let sink = Blackhole::new("blackhole");
    let mut instance = sink.create(lotic_operators::Instance::ONLY).unwrap();
    let mut rows = TableBatch::from(numbers(0..7));
    instance.write(&mut rows, std::task::Waker::noop()).unwrap();
    assert_eq!((sink.rows(), lotic_operators::Batch::rows(&rows)), (7, 0));
}
