//! The public test kit: runs any operator the ways the engine can run it and compares the results.
//!
//! [`OperatorHarness`] covers: batches of 1, 2, 7 and all rows, and empty ones; an output that refuses at
//! every row, at every third and never; snapshots at each marker that are thrown away, or restored at once
//! into a new instance built by the factory, or encoded late, as a slow background writer does, and restored
//! after a crash that undoes what came after the marker. [`OperatorHarness::rescaled`] changes the number of
//! instances at each marker. In every run the watermarks emitted never move back, and with
//! [`OperatorHarness::timed`] no row comes behind one.
//!
//! It does not cover: threads, alignment of several inputs, time passing during a call.
//!
//! ```
//! use lotic_operators::aggregate::{Count, RunningAggregate};
//! use lotic_operators::testing::{Event, OperatorHarness};
//!
//! let harness = OperatorHarness::new(|| RunningAggregate::new(|word: &&'static str| word.to_string(), Count));
//! let rows = harness.run(&[Event::Row("a"), Event::Row("b"), Event::Marker, Event::Row("a")]);
//! assert_eq!(rows, [("a".into(), 1), ("b".into(), 1), ("a".into(), 2)]);
//! ```

#[cfg(feature = "arrow")]
mod by_row;
mod driver;
mod rescale;
mod stored;

#[cfg(feature = "arrow")]
pub use by_row::{ByRow, rows_as_text};
pub use stored::Stored;

use crate::batch::{Batch, Rows};
use crate::key::Instance;
use crate::operator::Operator;
use crate::partition::{PartitionId, PartitionStatus};
use crate::time::Timestamp;
use crate::two_input::{Side, TwoInput, TwoInputOperator};
use driver::{Driver, Feed};
use std::fmt::Debug;

/// One step of a test input.
#[derive(Debug, Clone)]
pub enum Event<T> {
    /// A row. For two inputs `T` is [`Side`] of a left or a right row.
    Row(T),
    /// A watermark; never lower than the one before.
    Watermark(Timestamp),
    /// Processing time has moved on.
    Time(Timestamp),
    /// A source speaks of one of its partitions.
    Partition(PartitionStatus),
    /// The rows that follow come from this partition.
    From(PartitionId),
    /// A marker.
    Marker,
}

/// What an operator made of a test input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<O> {
    /// The rows emitted.
    pub rows: Vec<O>,
    /// Rows that the operator counted as late.
    pub late_rows: u64,
    /// The last watermark emitted; [`Timestamp::MIN`] if there was none.
    pub watermark: Timestamp,
}

/// Runs an operator through the whole matrix and checks that every run comes to the same.
#[derive(Debug)]
pub struct OperatorHarness<F> {
    factory: F,
    finish: bool,
    ordered: bool,
}

/// What becomes of the snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restarts {
    /// They are stored and not needed.
    Never,
    /// Each is restored at once.
    AtMarkers,
    /// They are encoded late; what follows each second marker, and the last one, runs twice.
    Crashes,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    batch_rows: usize,
    output_rows: usize,
    restarts: Restarts,
}

/// The way the plainest engine runs it: what all other ways are compared with.
const PLAIN: Run = Run { batch_rows: usize::MAX, output_rows: usize::MAX, restarts: Restarts::Never };

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
    /// If two ways of running it differ in rows, late rows or the last watermark, naming both; if the
    /// operator makes no progress, or a watermark moves back.
    pub fn run<T, O, P>(&self, events: &[Event<T>]) -> Vec<O>
    where
        T: Clone + Send + 'static,
        O: Debug + Ord + Clone + Send + 'static,
        P: Operator<Rows<T>, Rows<O>>,
        F: Fn() -> P,
    {
        self.outcome(events).rows
    }

    /// As [`OperatorHarness::run`], and returns late rows and the last watermark too.
    ///
    /// # Panics
    /// As for [`OperatorHarness::run`].
    pub fn outcome<T, O, P>(&self, events: &[Event<T>]) -> Outcome<O>
    where
        T: Clone + Send + 'static,
        O: Debug + Ord + Clone + Send + 'static,
        P: Operator<Rows<T>, Rows<O>>,
        F: Fn() -> P,
    {
        self.matrix(&self.factory, Feed::new(events, one_input))
    }

    /// As [`OperatorHarness::outcome`]; besides, no row may be emitted whose event time lies before a
    /// watermark emitted earlier. For the result of a window that is its last time, not its first.
    ///
    /// # Panics
    /// As for [`OperatorHarness::run`], or if a row breaks the promise of a watermark.
    pub fn timed<T, O, P>(&self, events: &[Event<T>], event_time: impl Fn(&O) -> Timestamp) -> Outcome<O>
    where
        T: Clone + Send + 'static,
        O: Debug + Ord + Clone + Send + 'static,
        P: Operator<Rows<T>, Rows<O>>,
        F: Fn() -> P,
    {
        let feed = Feed { event_time: Some(&event_time), ..Feed::new(events, one_input) };
        self.matrix(&self.factory, feed)
    }

    /// As [`OperatorHarness::outcome`] for an operator of two inputs. A batch holds successive rows of one
    /// side.
    ///
    /// # Panics
    /// As for [`OperatorHarness::run`].
    pub fn two_inputs<L, R, O, P>(&self, events: &[Event<Side<L, R>>]) -> Outcome<O>
    where
        L: Clone + Send + 'static,
        R: Clone + Send + 'static,
        O: Debug + Ord + Clone + Send + 'static,
        P: TwoInputOperator<Rows<L>, Rows<R>, Rows<O>>,
        F: Fn() -> P,
    {
        self.matrix(&|| TwoInput((self.factory)()), Feed::new(events, two_inputs))
    }

    fn matrix<T, B, O, P>(&self, build: &dyn Fn() -> P, feed: Feed<'_, T, B, O>) -> Outcome<O>
    where
        T: Clone,
        B: Batch,
        O: Debug + Ord + Clone + Send + 'static,
        P: Operator<B, Rows<O>>,
    {
        let plain = self.once(PLAIN, build, feed);
        let expected = self.comparable(&plain);
        for batch_rows in [1, 2, 7, usize::MAX] {
            for output_rows in [1, 3, usize::MAX] {
                for restarts in [Restarts::Never, Restarts::AtMarkers, Restarts::Crashes] {
                    let run = Run { batch_rows, output_rows, restarts };
                    let got = self.once(run, build, feed);
                    assert_eq!(self.comparable(&got), expected, "{run:?} against {PLAIN:?}");
                }
            }
        }
        plain
    }

    fn comparable<O: Ord + Clone>(&self, outcome: &Outcome<O>) -> Outcome<O> {
        let mut outcome = outcome.clone();
        if !self.ordered {
            outcome.rows.sort();
        }
        outcome
    }

    fn once<T, B, O, P>(&self, run: Run, build: &dyn Fn() -> P, feed: Feed<'_, T, B, O>) -> Outcome<O>
    where
        T: Clone,
        B: Batch,
        O: Debug + Send + 'static,
        P: Operator<B, Rows<O>>,
    {
        let feed = Feed { batch_rows: run.batch_rows, ..feed };
        let mut driver = Driver::new(build(), run.output_rows, feed.event_time);
        let mut stored = Stored::default();
        let mut unwritten = Vec::new();
        let segments: Vec<&[Event<T>]> = feed.segments().collect();
        let last = segments.len() - 1;
        for (number, segment) in segments.into_iter().enumerate() {
            let twice = number > 0 && (number % 2 == 0 || number == last);
            if run.restarts == Restarts::Crashes && twice {
                let mark = driver.mark();
                driver.play(segment, feed);
                unwritten.drain(..).for_each(|snapshot| stored.store(&snapshot));
                driver = driver.successor(build(), &stored.image(), Instance::ONLY, mark);
            }
            driver.play(segment, feed);
            if number == last {
                break;
            }
            let snapshot = driver.snapshot();
            match run.restarts {
                Restarts::Never => stored.store(&snapshot),
                Restarts::AtMarkers => {
                    stored.store(&snapshot);
                    let mark = driver.mark();
                    driver = driver.successor(build(), &stored.image(), Instance::ONLY, mark);
                }
                Restarts::Crashes => unwritten.push(snapshot),
            }
        }
        driver.end(self.finish)
    }
}

fn one_input<T: Send + 'static>(rows: Vec<T>) -> Vec<Rows<T>> {
    vec![Rows::from(rows)]
}

fn two_inputs<L: Send + 'static, R: Send + 'static>(rows: Vec<Side<L, R>>) -> Vec<Side<Rows<L>, Rows<R>>> {
    let mut batches = Vec::new();
    let (mut lefts, mut rights) = (Vec::new(), Vec::new());
    for row in rows {
        match row {
            Side::Left(row) => {
                batches.extend(Rows::seal(&mut rights).map(Side::Right));
                lefts.push(row);
            }
            Side::Right(row) => {
                batches.extend(Rows::seal(&mut lefts).map(Side::Left));
                rights.push(row);
            }
        }
    }
    batches.extend(Rows::seal(&mut lefts).map(Side::Left));
    batches.extend(Rows::seal(&mut rights).map(Side::Right));
    batches
}
