//! The lookup join: each row meets what a service outside says of its key.
//!
//! The operator holds the rows that wait, their order, the limits and what is remembered; it knows no future
//! and no clock. Who really asks is a [`LookupService`], made by the runtime.
//!
//! ```
//! use lotic_operators::lookup::{Answer, Lookup, LookupOptions, LookupService};
//! use lotic_operators::{Emitted, Operator, Output, Rows};
//!
//! /// Knows the squares of even numbers.
//! #[derive(Default)]
//! struct Squares(Vec<(u64, u32)>);
//!
//! impl LookupService<u32, u32> for Squares {
//!     fn ask(&mut self, request: u64, key: u32) {
//!         self.0.push((request, key));
//!     }
//!     fn answer(&mut self) -> Option<(u64, Answer<u32>)> {
//!         self.0.pop().map(|(request, key)| (request, Ok((key % 2 == 0).then_some(key * key))))
//!     }
//! }
//!
//! let options = LookupOptions::default();
//! let mut lookup = Lookup::new(|n: &u32| *n, Squares::default(), options, |n, square| Some((n, square)));
//! let mut output = Output::default();
//! lookup.process(&mut Rows::from(vec![2, 3, 4]), &mut output).unwrap();
//! while lookup.finish(&mut output).unwrap() != lotic_operators::Progress::Done {}
//! let Emitted::Batch(rows) = output.take().unwrap() else { unreachable!() };
//! assert_eq!(rows.collect::<Vec<_>>(), [(2, Some(4)), (3, None), (4, Some(16))]);
//! ```

mod cache;
mod held;
mod options;

pub use options::{LookupCache, LookupOptions, LookupOrder, OnFailure};

use crate::batch::Rows;
use crate::error::{OperatorError, Result};
use crate::key::{Key, Value, hash_of};
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{EncodeChunk, Restore, Snapshot, TableSnapshot};
use crate::state::codec;
use crate::time::Timestamp;
use cache::Cache;
use held::HeldRows;
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

const ROWS: &str = "in-flight";
const WATERMARK: &str = "emitted-watermark";

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupFailure {
    /// All attempts have failed or taken too long; what the last one said.
    Failed(String),
    /// The function that asks panicked. That is no matter of [`OnFailure`]: the query fails.
    Panicked(String),
}

/// What a request comes to: the value of the key, or that there is none.
pub type Answer<V> = Result<Option<V>, LookupFailure>;

/// Asks outside, for a [`Lookup`].
///
/// The time that a request takes, its attempts and pauses are the service's business: each request is
/// answered once, sooner or later. It is called by the operator alone, on the thread where that is called;
/// what is still under way when it is dropped is of no interest.
pub trait LookupService<K, V>: Send {
    /// Begins to ask for a key, and returns at once. Not called while the operator is restored.
    fn ask(&mut self, request: u64, key: K);

    /// The next request that has been answered, if one has. When one is answered later, the runtime calls the
    /// operator's `tick`, or repeats the call that waits.
    fn answer(&mut self) -> Option<(u64, Answer<V>)>;
}

struct Request<K> {
    key: K,
    /// The rows that wait for it.
    rows: Vec<u64>,
}

/// The lookup join. `join` makes of a row and its match what is emitted, if anything.
///
/// # Order
/// By [`LookupOrder`]. Rows of one key stay in order in both if the order is kept or answers are merged.
/// Watermarks wait behind the rows before them.
///
/// # Waiting
/// At the capacity the operator leaves rows in its input and says so ([`Output::wait`]). At a marker it does
/// not wait: rows in flight are part of the snapshot and asked for again after a restore, by the instances
/// that own their keys. In micro-batch mode ([`Output::by_epoch`]) an epoch ends when all its rows have left,
/// and so does the input.
///
/// # Delivery
/// Each row is joined once in what is committed. Its key may be asked for more than once: after a crash, and
/// by attempts. Two answers may differ, if the service changes.
///
/// # Cost
/// A snapshot copies the rows in flight, at most the capacity. A row that waits takes part in two ordered or
/// hashed maps.
pub struct Lookup<T, K, V, F, S, J> {
    key: F,
    service: S,
    options: LookupOptions,
    join: J,
    held: HeldRows<T, V>,
    requests: HashMap<u64, Request<K>>,
    /// The request that asks for a key, where requests are merged.
    asking: HashMap<K, u64>,
    next_request: u64,
    cache: Option<Cache<K, V>>,
    /// Restored rows, still to be asked for.
    unasked: VecDeque<u64>,
    /// Whether a checkpoint may hold rows.
    stored_rows: bool,
    stored_watermark: Option<Timestamp>,
}

impl<T, K, V, F, S, J> Debug for Lookup<T, K, V, F, S, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lookup({:?}, requests: {})", self.options, self.requests.len())
    }
}

/// The rows in flight at a marker.
struct InFlight<T>(Vec<T>);

impl<T: Value> EncodeChunk for InFlight<T> {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<()> {
        codec::encode(ROWS, &self.0, bytes)
    }
}

impl<T, K, V, F, S, J> Lookup<T, K, V, F, S, J>
where
    T: Value,
    K: Key + Debug,
    V: Clone + Send + 'static,
    F: Fn(&T) -> K,
    S: LookupService<K, V>,
{
    /// A join of rows with what `service` says of their keys.
    #[must_use]
    pub fn new(key: F, service: S, options: LookupOptions, join: J) -> Self {
        Lookup {
            key,
            service,
            options,
            join,
            held: HeldRows::new(options.order),
            requests: HashMap::new(),
            asking: HashMap::new(),
            next_request: 0,
            cache: options.cache.map(Cache::new),
            unasked: VecDeque::new(),
            stored_rows: true,
            stored_watermark: None,
        }
    }

    /// Answers a row from memory, or asks, or joins those that are asking.
    fn begin(&mut self, row: u64, now: Timestamp) {
        let key = (self.key)(self.held.row(row));
        if let Some(cache) = &self.cache {
            if let Some(answer) = cache.get(&key, now) {
                let answer = answer.clone();
                self.held.answer(row, answer);
                return;
            }
            let asking = self.asking.get(&key).and_then(|request| self.requests.get_mut(request));
            if let Some(request) = asking {
                request.rows.push(row);
                return;
            }
            self.asking.insert(key.clone(), self.next_request);
        }
        let number = self.next_request;
        self.next_request += 1;
        self.requests.insert(number, Request { key: key.clone(), rows: vec![row] });
        self.service.ask(number, key);
    }

    /// Takes what has been answered, and asks for restored rows where there is room.
    fn take_answers(&mut self, now: Timestamp) -> Result<()> {
        while let Some((number, answer)) = self.service.answer() {
            let Some(Request { key, rows }) = self.requests.remove(&number) else { continue };
            let answer = match answer {
                Ok(answer) => {
                    if let Some(cache) = &mut self.cache {
                        cache.insert(key.clone(), answer.clone(), now);
                    }
                    answer
                }
                Err(LookupFailure::Failed(_)) if self.options.on_failure == OnFailure::NoMatch => None,
                Err(failure) => return Err(failed(&key, failure)),
            };
            self.asking.remove(&key);
            for row in rows {
                self.held.answer(row, answer.clone());
            }
        }
        while self.requests.len() < self.options.capacity
            && let Some(row) = self.unasked.pop_front()
        {
            self.begin(row, now);
        }
        Ok(())
    }
}

#[cold]
fn failed<K: Debug>(key: &K, failure: LookupFailure) -> OperatorError {
    match failure {
        LookupFailure::Failed(cause) => OperatorError::Lookup { key: format!("{key:?}"), cause },
        LookupFailure::Panicked(cause) => OperatorError::User(format!("{cause}; it was asked for {key:?}")),
    }
}

impl<T, K, V, F, S, J, O> Lookup<T, K, V, F, S, J>
where
    T: Value,
    K: Key + Debug,
    V: Clone + Send + 'static,
    F: Fn(&T) -> K,
    S: LookupService<K, V>,
    O: Send + 'static,
    J: FnMut(T, Option<V>) -> Option<O>,
{
    /// Emits what has been answered; [`Progress::Again`] if more may leave than the output takes.
    fn emit_answered(&mut self, output: &mut Output<Rows<O>>) -> Result<Progress> {
        self.take_answers(output.now())?;
        Ok(self.emit(output))
    }

    fn emit(&mut self, output: &mut Output<Rows<O>>) -> Progress {
        if self.held.emit(output, &mut self.join) { Progress::Done } else { Progress::Again }
    }

    /// Goes on until all rows have left.
    fn complete(&mut self, output: &mut Output<Rows<O>>) -> Result<Progress> {
        if self.emit_answered(output)? == Progress::Again {
            return Ok(Progress::Again);
        }
        if self.held.len() == 0 {
            return Ok(Progress::Done);
        }
        output.wait();
        Ok(Progress::Again)
    }
}

impl<T, K, V, F, S, J, O> Operator<Rows<T>, Rows<O>> for Lookup<T, K, V, F, S, J>
where
    T: Value,
    K: Key + Debug,
    V: Clone + Send + 'static,
    F: Fn(&T) -> K + Send,
    S: LookupService<K, V>,
    O: Send + 'static,
    J: FnMut(T, Option<V>) -> Option<O> + Send,
{
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<O>>) -> Result<()> {
        loop {
            if self.emit_answered(output)? == Progress::Again {
                // What may leave and did not is emitted by a tick, if no row comes before it.
                output.wake_at(output.now());
                return Ok(());
            }
            if input.len() == 0 {
                return Ok(());
            }
            let room = self.options.capacity.saturating_sub(self.held.len());
            if room == 0 {
                output.wait();
                return Ok(());
            }
            for row in input.by_ref().take(room) {
                let number = self.held.push(row);
                self.begin(number, output.now());
            }
        }
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<Rows<O>>) -> Result<Progress> {
        // Repeated, it is the same fence.
        self.held.fence(Some(watermark), None);
        Ok(self.emit(output))
    }

    fn idle(&mut self, idle: bool, output: &mut Output<Rows<O>>) -> Result<()> {
        self.held.fence(None, Some(idle));
        if self.emit(output) == Progress::Again {
            output.wake_at(output.now());
        }
        Ok(())
    }

    fn tick(&mut self, output: &mut Output<Rows<O>>) -> Result<Progress> {
        self.emit_answered(output)
    }

    fn end_epoch(&mut self, output: &mut Output<Rows<O>>) -> Result<Progress> {
        if output.by_epoch() { self.complete(output) } else { self.emit_answered(output) }
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut tables = Vec::new();
        let rows: Vec<T> = self.held.rows().cloned().collect();
        let none = rows.is_empty();
        if self.stored_rows || !none {
            self.stored_rows = !none;
            let chunks = if none { Vec::new() } else { vec![(0, Arc::new(InFlight(rows)) as _)] };
            tables.push(TableSnapshot { table: ROWS, full: true, chunks, entries: None });
            self.held.fence(None, None);
        }
        let watermark = self.held.watermark();
        if self.stored_watermark != Some(watermark) {
            self.stored_watermark = Some(watermark);
            let mut bytes = Vec::new();
            codec::encode(WATERMARK, &watermark, &mut bytes)?;
            tables.push(TableSnapshot::single(WATERMARK, bytes));
        }
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<O>>) -> Result<()> {
        for chunk in restore.image.chunks(ROWS) {
            for row in codec::decode::<Vec<T>>(ROWS, chunk)? {
                if restore.instance.owns(hash_of(&(self.key)(&row))) {
                    let number = self.held.push(row);
                    self.unasked.push_back(number);
                }
            }
        }
        // Rows in flight may be late for what follows, which counts them by the watermark that it had seen.
        let mut watermark: Option<Timestamp> = None;
        for chunk in restore.image.chunks(WATERMARK) {
            let one: Timestamp = codec::decode(WATERMARK, chunk)?;
            watermark = Some(watermark.map_or(one, |lowest| lowest.min(one)));
        }
        if let Some(watermark) = watermark.filter(|&watermark| watermark > Timestamp::MIN) {
            self.held.restore_watermark(watermark, output);
        }
        Ok(())
    }

    fn finish(&mut self, output: &mut Output<Rows<O>>) -> Result<Progress> {
        self.complete(output)
    }
}
