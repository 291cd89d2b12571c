//! The checks of a source.

use super::{Alarm, PATIENCE};
use crate::offsets::Offsets;
use crate::source::{Latest, PollRequest, Polled, Source, SourceFactory};
use lotic_operators::{Instance, Rows};
use std::fmt::Debug;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Runs a source through the whole matrix and returns its rows.
///
/// `make` makes a factory over an input that ends; each call gives the same input again. `key` is what makes
/// two rows the same, leaving out what may differ between runs, such as times.
///
/// # Panics
/// If the source breaks its contract, saying how.
pub fn check_source<F, T, K>(make: impl Fn() -> F, key: impl Fn(T) -> K) -> Vec<K>
where
    F: SourceFactory<Rows<T>>,
    T: Send + 'static,
    K: Ord + Clone + Debug,
{
    let check = Check { make, key };
    let traits = (check.make)().traits();
    assert!(!traits.name.is_empty(), "a source has a name");
    assert!(traits.max_parallelism >= 1, "a source has at least one instance");
    let expected = check.whole(usize::MAX);
    for max_rows in [1, 2, 7] {
        assert_eq!(check.whole(max_rows), expected, "batches of {max_rows} rows");
    }
    for max_rows in [1, 3, u64::MAX] {
        assert_eq!(check.planned(max_rows), expected, "micro-batches of {max_rows} rows");
    }
    if traits.replayable {
        check.resumed(&expected);
        for parallelism in 1..=traits.max_parallelism.min(4) {
            for later in [1, traits.max_parallelism.min(3)] {
                check.shared(parallelism, later, &expected);
            }
        }
    }
    expected
}

struct Check<M, P> {
    make: M,
    key: P,
}

/// Plays the engine for one instance.
struct Driver<T> {
    source: Box<dyn Source<Rows<T>>>,
    alarm: Arc<Alarm>,
    waker: Waker,
}

impl<T: Send + 'static> Driver<T> {
    fn start(factory: &impl SourceFactory<Rows<T>>, instance: Instance, from: &Offsets) -> Self {
        let mut source = factory.create(instance).expect("an instance is created");
        source.start(from).expect("the source starts");
        let (alarm, waker) = Alarm::new();
        Driver { source, alarm, waker }
    }

    /// Polls until there is something else than `Pending`.
    fn poll(&mut self, max_rows: usize, until: Option<&Offsets>) -> Polled<Rows<T>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.source.offsets();
            let request = PollRequest { max_rows, until, waker: &self.waker };
            let polled = self.source.poll(request).expect("the source is polled");
            let moved = distance(&before, &self.source.offsets());
            match &polled {
                Polled::Batch(batch) => {
                    let rows = batch.len();
                    assert!((1..=max_rows).contains(&rows), "a batch of {rows} rows, asked for {max_rows}");
                    assert_eq!(moved, rows as u64, "offsets move by the rows returned");
                }
                Polled::Pending(wait) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    assert!(left > Duration::ZERO, "the source stands still, at {before}");
                    self.alarm.wait(wait.unwrap_or(left).min(left));
                    continue;
                }
                _ => assert_eq!(moved, 0, "offsets move by rows alone"),
            }
            return polled;
        }
    }

    /// Asks for the end of what could be read until it is known.
    fn latest(&mut self, max_rows: u64) -> Offsets {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.source.latest(max_rows, &self.waker).expect("a batch is planned") {
                Latest::At(offsets) => return offsets,
                Latest::Pending(wait) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    assert!(left > Duration::ZERO, "the source does not say what there is to read");
                    self.alarm.wait(wait.unwrap_or(left).min(left));
                }
            }
        }
    }

    fn rest(&mut self, max_rows: usize) -> Vec<T> {
        let mut rows = Vec::new();
        while let Polled::Batch(batch) = self.poll(max_rows, None) {
            rows.extend(batch);
        }
        for _ in 0..2 {
            let polled = self.poll(max_rows, None);
            assert!(matches!(polled, Polled::Finished), "a source that has finished says so again");
        }
        rows
    }
}

/// Rows between two positions.
fn distance(from: &Offsets, to: &Offsets) -> u64 {
    let moved = to.0.iter().map(|(partition, next)| {
        let before = from.get(partition).unwrap_or(0);
        next.checked_sub(before).expect("offsets never move back")
    });
    moved.sum()
}

impl<M, P> Check<M, P> {
    fn keys<T, K>(&self, rows: Vec<T>) -> Vec<K>
    where
        P: Fn(T) -> K,
    {
        rows.into_iter().map(&self.key).collect()
    }

    fn whole<F, T, K>(&self, max_rows: usize) -> Vec<K>
    where
        M: Fn() -> F,
        F: SourceFactory<Rows<T>>,
        T: Send + 'static,
        P: Fn(T) -> K,
    {
        let mut driver = Driver::start(&(self.make)(), Instance::ONLY, &Offsets::default());
        self.keys(driver.rest(max_rows))
    }

    /// Reads in micro-batches.
    fn planned<F, T, K>(&self, max_rows: u64) -> Vec<K>
    where
        M: Fn() -> F,
        F: SourceFactory<Rows<T>>,
        T: Send + 'static,
        P: Fn(T) -> K,
    {
        let mut driver = Driver::start(&(self.make)(), Instance::ONLY, &Offsets::default());
        let mut rows = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "micro-batches stand still, at {}", driver.source.offsets());
            let before = driver.source.offsets();
            let until = driver.latest(max_rows);
            assert!(distance(&before, &until) <= max_rows, "at most {max_rows} rows from {before}: {until}");
            assert_eq!(driver.source.offsets(), before, "a plan reads nothing");
            let finished = loop {
                match driver.poll(2, Some(&until)) {
                    Polled::Batch(batch) => rows.extend(batch),
                    Polled::AtEnd => break false,
                    Polled::Finished => break true,
                    Polled::Pending(_) => unreachable!("pending polls are waited out"),
                }
            };
            assert_eq!(driver.source.offsets(), until, "a batch ends where it was planned to end");
            let nothing = driver.poll(1, Some(&Offsets::default()));
            assert!(
                !matches!(nothing, Polled::Batch(_)),
                "a partition that a plan does not name is not read"
            );
            if finished {
                assert_eq!(driver.rest(1).len(), 0, "nothing follows the end");
                return self.keys(rows);
            }
        }
    }

    /// Restarts at every row.
    fn resumed<F, T, K>(&self, expected: &[K])
    where
        M: Fn() -> F,
        F: SourceFactory<Rows<T>>,
        T: Send + 'static,
        K: Ord + Debug,
        P: Fn(T) -> K,
    {
        let factory = (self.make)();
        let mut driver = Driver::start(&factory, Instance::ONLY, &Offsets::default());
        for read in 0..=expected.len() {
            let from = driver.source.offsets();
            let mut successor = Driver::start(&factory, Instance::ONLY, &from);
            assert_eq!(successor.source.offsets(), from, "a start leads to its offsets");
            assert_eq!(self.keys(successor.rest(3)), expected[read..], "restarted at {from}");
            drop(driver.poll(1, None));
        }
    }

    /// Reads a part with one parallelism and the rest with another.
    fn shared<F, T, K>(&self, parallelism: usize, later: usize, expected: &[K])
    where
        M: Fn() -> F,
        F: SourceFactory<Rows<T>>,
        T: Send + 'static,
        K: Ord + Clone + Debug,
        P: Fn(T) -> K,
    {
        let factory = (self.make)();
        let instances = |parallelism| (0..parallelism).map(move |index| Instance { index, parallelism });
        let (mut rows, mut offsets) = (Vec::new(), Offsets::default());
        for instance in instances(parallelism) {
            let mut driver = Driver::start(&factory, instance, &Offsets::default());
            if let Polled::Batch(batch) = driver.poll(2 + instance.index, None) {
                rows.extend(batch);
            }
            offsets.merge(driver.source.offsets());
        }
        for instance in instances(later) {
            rows.extend(Driver::start(&factory, instance, &offsets).rest(5));
        }
        let (mut keys, mut expected) = (self.keys(rows), expected.to_vec());
        keys.sort();
        expected.sort();
        assert_eq!(keys, expected, "{parallelism} instances up to {offsets}, then {later}");
    }
}
