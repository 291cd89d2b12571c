//! A source over rows in memory, fixed or growing.

use crate::error::{ConnectorError, Result};
use crate::offsets::Offsets;
use crate::partitions::Partitions;
use crate::source::{Latest, PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits};
use crate::waiters::{Ticket, Waiters};
use lotic_operators::{Instance, Rows};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

struct Log<T> {
    /// Row `i` of the stream is row `i / n` of partition `i % n`.
    partitions: Vec<Vec<T>>,
    rows: usize,
    finished: bool,
}

impl<T> Log<T> {
    fn add(&mut self, rows: impl IntoIterator<Item = T>) {
        let count = self.partitions.len();
        for row in rows {
            self.partitions[self.rows % count].push(row);
            self.rows += 1;
        }
    }

    fn end_of(&self, partition: usize) -> u64 {
        self.partitions[partition].len() as u64
    }
}

struct Shared<T> {
    log: Mutex<Log<T>>,
    sources: Waiters,
}

impl<T> Shared<T> {
    fn new(partitions: usize, finished: bool) -> Arc<Self> {
        let partitions = (0..partitions.max(1)).map(|_| Vec::new()).collect();
        let log = Mutex::new(Log { partitions, rows: 0, finished });
        Arc::new(Shared { log, sources: Waiters::default() })
    }

    fn log(&self) -> MutexGuard<'_, Log<T>> {
        // A row whose `Clone` panicked leaves the log as it was.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A growing input in memory: the handle for the test, the factory for the engine. Spark calls it
/// `MemoryStream`.
///
/// ```
/// let (numbers, source) = lotic_connectors::memory::stream::<u64>("numbers", 2);
/// numbers.add([1, 2, 3]);
/// numbers.finish();
/// # drop(source);
/// ```
pub fn stream<T: Clone + Send + 'static>(
    name: impl Into<String>,
    partitions: usize,
) -> (MemoryStream<T>, MemorySource<T>) {
    let shared = Shared::new(partitions, false);
    (MemoryStream { shared: Arc::clone(&shared) }, MemorySource { name: name.into(), shared })
}

/// The handle on a growing [`MemorySource`]: adds rows. They stay in memory, so that they can be read again.
///
/// Dropping it finishes the input.
pub struct MemoryStream<T> {
    shared: Arc<Shared<T>>,
}

impl<T> fmt::Debug for MemoryStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStream({} rows)", self.shared.log().rows)
    }
}

impl<T> MemoryStream<T> {
    /// Adds rows, dealt out to the partitions in turn. They are seen together, not one by one.
    pub fn add(&self, rows: impl IntoIterator<Item = T>) {
        // The user's iterator runs before the lock is taken.
        let rows: Vec<T> = rows.into_iter().collect();
        self.shared.log().add(rows);
        self.shared.sources.wake_all();
    }

    /// Ends the input: nothing is added any more.
    pub fn finish(self) {}
}

impl<T> Drop for MemoryStream<T> {
    fn drop(&mut self) {
        self.shared.log().finished = true;
        self.shared.sources.wake_all();
    }
}

/// A source over rows in memory, dealt out to partitions in turn. A single instance reads them in their
/// original order.
///
/// Clones read the same rows.
///
/// # Delivery
/// Replayable while the process lives.
pub struct MemorySource<T> {
    name: String,
    shared: Arc<Shared<T>>,
}

impl<T> Clone for MemorySource<T> {
    fn clone(&self) -> Self {
        MemorySource { name: self.name.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for MemorySource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemorySource({})", self.name)
    }
}

impl<T: Clone + Send + 'static> MemorySource<T> {
    /// A bounded source of these rows, in one partition.
    pub fn new(rows: impl IntoIterator<Item = T>) -> Self {
        MemorySource::partitioned(rows, 1)
    }

    /// A bounded source of these rows, in `partitions` partitions, at least one.
    pub fn partitioned(rows: impl IntoIterator<Item = T>, partitions: usize) -> Self {
        let shared = Shared::new(partitions, true);
        shared.log().add(rows);
        MemorySource { name: "memory".to_owned(), shared }
    }

    /// What to call the source in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl<T: Clone + Send + 'static> SourceFactory<Rows<T>> for MemorySource<T> {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: self.name.clone(),
            replayable: true,
            polling: Polling::NonBlocking,
            max_parallelism: self.shared.log().partitions.len(),
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<T>>>> {
        let partitions = Partitions::of(instance, self.shared.log().partitions.len());
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Reader { name: self.name.clone(), shared, partitions, ticket: None }))
    }
}

struct Reader<T> {
    name: String,
    shared: Arc<Shared<T>>,
    partitions: Partitions,
    ticket: Ticket,
}

impl<T: Clone> Reader<T> {
    /// What is ready, or why nothing is; `None` if the rows to come have to be waited for.
    fn attempt(&mut self, until: Option<&Offsets>, max_rows: usize) -> Option<Polled<Rows<T>>> {
        let log = self.shared.log();
        self.partitions.bound(until, |partition| log.end_of(partition));
        let ready = usize::try_from(self.partitions.ready()).unwrap_or(usize::MAX).min(max_rows);
        if ready > 0 {
            let mut rows = Vec::with_capacity(ready);
            self.partitions.take(ready, |partition, row| {
                rows.push(log.partitions[partition][row as usize].clone());
            });
            Some(Polled::Batch(Rows::from(rows)))
        } else if log.finished && self.partitions.exhausted(|partition| log.end_of(partition)) {
            Some(Polled::Finished)
        } else if until.is_some_and(|until| self.partitions.reached(until)) {
            Some(Polled::AtEnd)
        } else {
            None
        }
    }
}

impl<T: Clone + Send + 'static> Source<Rows<T>> for Reader<T> {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        self.partitions.start(&self.name, from)?;
        let log = self.shared.log();
        match self.partitions.next_rows(None).find(|(partition, next)| *next > log.end_of(*partition)) {
            None => Ok(()),
            Some((partition, next)) => Err(ConnectorError::user(format!(
                "source `{}` holds {} rows in partition {partition}, but the checkpoint continues at row \
                 {next}: rows in memory do not outlive their process; start from a new checkpoint location",
                self.name,
                log.end_of(partition),
            ))),
        }
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<Rows<T>>> {
        let max_rows = request.max_rows.max(1);
        if let Some(polled) = self.attempt(request.until, max_rows) {
            return Ok(polled);
        }
        self.shared.sources.register(&mut self.ticket, request.waker);
        Ok(self.attempt(request.until, max_rows).unwrap_or(Polled::Pending(None)))
    }

    fn polled_partition(&self) -> Option<usize> {
        (!self.partitions.read_ahead()).then_some(0)
    }

    fn offsets(&self) -> Offsets {
        self.partitions.offsets()
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> Result<Latest> {
        let log = self.shared.log();
        self.partitions.bound(None, |partition| log.end_of(partition));
        Ok(Latest::At(self.partitions.plan(max_rows)))
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.shared.sources.cancel(self.ticket);
    }
}
