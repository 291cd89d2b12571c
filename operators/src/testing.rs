//! The public test kit: runs any operator the ways the engine can run it and compares the results.
//!
//! It covers: batches of 1, 2, 7 and all rows; an output that refuses at every row, at every third and
//! never; a snapshot at each marker that is thrown away, or restored into a new instance built by the
//! factory. It does not cover: threads, alignment of several inputs, time passing during a call.

use crate::batch::{Batch, Rows};
use crate::key::Instance;
use crate::operator::{Operator, Progress};
use crate::output::{Emitted, Output};
use crate::snapshot::{Restore, Snapshot, StateImage};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// One step of a test input.
#[derive(Debug, Clone)]
pub enum Event<T> {
    /// A row.
    Row(T),
    /// A watermark; never lower than the one before.
    Watermark(Timestamp),
    /// Processing time has moved on.
    Time(Timestamp),
    /// A marker.
    Marker,
}

/// What was stored for one operator: the latest bytes of each chunk, as the engine's checkpoint log keeps.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    tables: BTreeMap<&'static str, BTreeMap<u32, Vec<u8>>>,
}

impl Stored {
    /// Takes in a snapshot.
    ///
    /// # Panics
    /// If a chunk cannot be encoded.
    pub fn store(&mut self, snapshot: &Snapshot) {
        for table in &snapshot.tables {
            let stored = self.tables.entry(table.table).or_default();
            if table.full {
                stored.clear();
            }
            for (number, chunk) in &table.chunks {
                let mut bytes = Vec::new();
                chunk.encode(&mut bytes).expect("the snapshot can be encoded");
                stored.insert(*number, bytes);
            }
        }
    }

    /// What a restore reads.
    pub fn image(&self) -> StateImage {
        let tables = self
            .tables
            .iter()
            .map(|(name, chunks)| ((*name).to_owned(), chunks.values().cloned().collect()))
            .collect();
        StateImage { tables }
    }
}

/// Runs an operator through the whole matrix and checks that every run emits the same rows.
#[derive(Debug)]
pub struct OperatorHarness<F> {
    factory: F,
    finish: bool,
    ordered: bool,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    batch_rows: usize,
    output_rows: usize,
    restore: bool,
}

impl<F> OperatorHarness<F> {
    /// `factory` builds a fresh instance each time.
    pub fn new(factory: F) -> Self {
        OperatorHarness { factory, finish: true, ordered: true }
    }

    /// Stops the input instead of ending it: `finish` is not called.
    #[must_use]
    pub fn stopped(mut self) -> Self {
        self.finish = false;
        self
    }

    /// Compares results as multisets: for operators that promise no order between keys.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// Runs the matrix over `events` and returns the rows emitted.
    ///
    /// # Panics
    /// If two ways of running it differ, naming both, or if the operator makes no progress.
    pub fn run<T, O, P>(&self, events: &[Event<T>]) -> Vec<O>
    where
        T: Clone + Send + 'static,
        O: Debug + Ord + Clone + Send + 'static,
        P: Operator<Rows<T>, Rows<O>>,
        F: Fn() -> P,
    {
        let plain = Run { batch_rows: usize::MAX, output_rows: usize::MAX, restore: false };
        let expected = self.once(plain, events);
        for batch_rows in [1, 2, 7, usize::MAX] {
            for output_rows in [1, 3, usize::MAX] {
                for restore in [false, true] {
                    let run = Run { batch_rows, output_rows, restore };
                    let got = self.once(run, events);
                    assert_eq!(self.comparable(&got), self.comparable(&expected), "{run:?} against {plain:?}");
                }
            }
        }
        expected
    }

    fn comparable<O: Ord + Clone>(&self, rows: &[O]) -> Vec<O> {
        let mut rows = rows.to_vec();
        if !self.ordered {
            rows.sort();
        }
        rows
    }

    fn once<T, O, P>(&self, run: Run, events: &[Event<T>]) -> Vec<O>
    where
        T: Clone + Send + 'static,
        O: Send + 'static,
        P: Operator<Rows<T>, Rows<O>>,
        F: Fn() -> P,
    {
        let mut driver = Driver::new((self.factory)(), run.output_rows);
        let mut stored = Stored::default();
        let mut batch: Vec<T> = Vec::new();
        for event in events {
            if let Event::Row(row) = event {
                batch.push(row.clone());
                if batch.len() < run.batch_rows {
                    continue;
                }
            }
            driver.process(Rows::from(std::mem::take(&mut batch)));
            match event {
                Event::Row(_) => {}
                Event::Watermark(time) => driver.watermark(*time),
                Event::Time(time) => driver.advance(*time),
                Event::Marker => {
                    stored.store(&driver.operator.snapshot().expect("a snapshot"));
                    if run.restore {
                        driver = driver.successor((self.factory)(), &stored.image());
                    }
                }
            }
        }
        driver.process(Rows::from(batch));
        if self.finish {
            driver.repeat(|operator, output| operator.finish(output));
        }
        driver.rows
    }
}

/// Plays the runtime for one operator: drains the output whenever it refuses, and repeats the call.
#[derive(Debug)]
struct Driver<P, O: Send + 'static> {
    operator: P,
    output: Output<Rows<O>>,
    output_rows: usize,
    rows: Vec<O>,
    now: Timestamp,
    watermark: Timestamp,
    wake_at: Option<Timestamp>,
}

impl<P, O: Send + 'static> Driver<P, O> {
    fn new(operator: P, output_rows: usize) -> Self {
        Driver {
            operator,
            output: Output::with_limit(output_rows),
            output_rows,
            rows: Vec::new(),
            now: Timestamp::MIN,
            watermark: Timestamp::MIN,
            wake_at: None,
        }
    }

    fn drain(&mut self) {
        while let Some(emitted) = self.output.take() {
            if let Emitted::Batch(batch) = emitted {
                self.rows.extend(batch);
            }
        }
        if let Some(time) = self.output.take_wake_at() {
            self.wake_at = Some(self.wake_at.map_or(time, |earlier| earlier.min(time)));
        }
    }

    fn successor<I: Batch>(self, operator: P, image: &StateImage) -> Self
    where
        P: Operator<I, Rows<O>>,
    {
        let mut next = Driver::new(operator, self.output_rows);
        next.rows = self.rows;
        next.output.set_now(self.now);
        next.now = self.now;
        let restore = Restore { image, instance: Instance::ONLY };
        next.operator.restore(restore, &mut next.output).expect("the snapshot can be restored");
        next.drain();
        if self.watermark > Timestamp::MIN {
            // The runtime keeps each input's watermark in the checkpoint and announces it again.
            next.watermark(self.watermark);
        }
        next
    }

    fn process<I: Batch>(&mut self, mut batch: I)
    where
        P: Operator<I, Rows<O>>,
    {
        while batch.rows() > 0 {
            let before = batch.rows();
            self.operator.process(&mut batch, &mut self.output).expect("rows are processed");
            assert!(batch.rows() < before, "an empty output was refused rows: no progress");
            assert!(batch.rows() == 0 || self.output.is_full(), "rows were left although the output had room");
            self.drain();
        }
    }

    fn repeat(&mut self, mut call: impl FnMut(&mut P, &mut Output<Rows<O>>) -> crate::Result<Progress>) {
        while call(&mut self.operator, &mut self.output).expect("the call succeeds") == Progress::Again {
            self.drain();
        }
        self.drain();
    }

    fn watermark<I: Batch>(&mut self, time: Timestamp)
    where
        P: Operator<I, Rows<O>>,
    {
        self.watermark = time;
        self.repeat(|operator, output| operator.watermark(time, output));
    }

    fn advance<I: Batch>(&mut self, time: Timestamp)
    where
        P: Operator<I, Rows<O>>,
    {
        self.now = time;
        self.output.set_now(time);
        while self.wake_at.is_some_and(|due| due <= time) {
            self.wake_at = None;
            self.repeat(|operator, output| operator.tick(output));
        }
    }
}
