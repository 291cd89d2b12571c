//! Every built-in sink against the contract.
#![allow(clippy::unwrap_used)]

use lotic_connectors::file::JsonLines;
use lotic_connectors::testing::{SinkWorld, check_sink};
use lotic_connectors::{
    Console, Egress, EgressSink, FileSink, ForEach, ForEachBatch, MemorySink, SinkFactory, egress,
};
use lotic_operators::Rows;
use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

type Factory = Box<dyn SinkFactory<Rows<u64>>>;

struct InMemory(MemorySink<u64>);

impl SinkWorld for InMemory {
    type Row = u64;
    fn open(&mut self) -> Factory {
        Box::new(self.0.clone())
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        self.0.committed()
    }
}

#[test]
fn memory() {
    check_sink(|| InMemory(MemorySink::new()));
}

struct InFolder<F>(TempDir, F);

impl<F: Clone + 'static> InFolder<F>
where
    FileSink<F>: SinkFactory<Rows<u64>>,
{
    fn new(format: F) -> Self {
        InFolder(TempDir::new().unwrap(), format)
    }
}

impl<F: Clone + 'static> SinkWorld for InFolder<F>
where
    FileSink<F>: SinkFactory<Rows<u64>>,
{
    type Row = u64;
    fn open(&mut self) -> Factory {
        Box::new(FileSink::with_format(self.0.path(), self.1.clone()))
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.0.path()).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                let text = fs::read_to_string(path).unwrap();
                assert!(text.ends_with('\n'), "files hold whole lines");
                numbers.extend(text.lines().map(|line| line.parse::<u64>().unwrap()));
            }
        }
        numbers
    }
}

#[test]
fn files() {
    check_sink(|| InFolder::new(JsonLines));
}

/// What a function was called with.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<u64>>>);

impl SinkWorld for Calls {
    type Row = u64;
    fn open(&mut self) -> Factory {
        let calls = Arc::clone(&self.0);
        Box::new(ForEach::new(move |row| calls.lock().unwrap().push(row)))
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

/// The same, called with batches.
#[derive(Clone, Default)]
struct BatchCalls(Calls);

impl SinkWorld for BatchCalls {
    type Row = u64;
    fn open(&mut self) -> Factory {
        let calls = self.0.clone();
        Box::new(ForEachBatch::new(move |batch: &mut Rows<u64>| calls.0.lock().unwrap().extend(batch)))
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        self.0.visible()
    }
}

#[test]
fn callbacks() {
    check_sink(Calls::default);
    check_sink(BatchCalls::default);
}

/// A terminal.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SinkWorld for Screen {
    type Row = u64;
    fn open(&mut self) -> Factory {
        Box::new(Console::display().to(self.clone()))
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.parse::<u64>().unwrap()).collect()
    }
}

#[test]
fn console() {
    check_sink(Screen::default);
}

/// A service that receives now and then, from a queue much smaller than an epoch.
struct Service {
    handle: Egress<u64>,
    sink: EgressSink<u64>,
    received: Vec<u64>,
}

impl SinkWorld for Service {
    type Row = u64;
    fn open(&mut self) -> Factory {
        Box::new(self.sink.clone())
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        while let Ok(row) = self.handle.try_recv() {
            self.received.push(row);
        }
        self.received.clone()
    }
}

#[test]
fn egress() {
    check_sink(|| {
        let (handle, sink) = egress::channel("received", 16);
        Service { handle, sink, received: Vec::new() }
    });
}
