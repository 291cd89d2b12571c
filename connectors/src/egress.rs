//! Rows handed to the service itself: a sink on one side, a receiving handle on the other.
//!
//! ```
//! use lotic_connectors::SinkFactory;
//! use lotic_operators::{Epoch, Instance, Rows};
//!
//! let (alerts, factory) = lotic_connectors::egress::channel::<u64>("alerts", 1024);
//! let mut sink = factory.create(Instance::ONLY).unwrap();
//! sink.start(Epoch(1)).unwrap();
//! sink.write(&mut Rows::from(vec![1, 2]), std::task::Waker::noop()).unwrap();
//! drop((sink, factory)); // the query has ended
//! assert_eq!(alerts.iter().collect::<Vec<_>>(), [1, 2]);
//! ```

use crate::error::{ConnectorError, Result};
use crate::limits::PARALLELISM;
use crate::sink::{Delivery, Sink, SinkFactory, SinkTraits};
use crate::waiters::{Ticket, Waiters, block_on};
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use lotic_operators::{Batch, Epoch, Instance, Rows};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

struct Shared<T> {
    name: String,
    queue: ArrayQueue<T>,
    /// Rows that fit, less those an instance has reserved: it takes from a batch only what it can place.
    room: CachePadded<AtomicUsize>,
    ended: AtomicBool,
    abandoned: AtomicBool,
    receivers: Waiters,
    sinks: Waiters,
}

impl<T> Shared<T> {
    /// Whether a sink that found the queue full may go on.
    fn half_empty(&self) -> bool {
        self.room.load(Ordering::SeqCst) >= self.queue.capacity().div_ceil(2)
    }

    fn pop(&self) -> Option<T> {
        let row = self.queue.pop()?;
        let room = self.room.fetch_add(1, Ordering::SeqCst) + 1;
        if room >= self.queue.capacity().div_ceil(2) {
            self.sinks.wake_all();
        }
        Some(row)
    }

    /// Takes a row, or says that none is there, or that none will come (`Some(None)`).
    fn attempt(&self) -> Option<Option<T>> {
        // Asked first: what was put in before the end is still found by the pop.
        let ended = self.ended.load(Ordering::Acquire);
        match self.pop() {
            None if !ended => None,
            row => Some(row),
        }
    }

    fn reserve(&self, wanted: usize) -> usize {
        let mut room = self.room.load(Ordering::SeqCst);
        loop {
            let granted = wanted.min(room);
            if granted == 0 {
                return 0;
            }
            match self.room.compare_exchange_weak(room, room - granted, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return granted,
                Err(now) => room = now,
            }
        }
    }
}

/// Shared by the factory and its sinks: ends the output when the last is gone.
struct EngineSide<T>(Arc<Shared<T>>);

impl<T> Drop for EngineSide<T> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.receivers.wake_all();
    }
}

/// Why [`Egress::try_recv`] or [`Egress::recv_timeout`] returned no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRow {
    /// None is there now, or none came in time.
    #[error("no row is ready")]
    Empty,
    /// None will come: the query has ended and all its rows were received.
    #[error("the query has ended")]
    Ended,
}

/// A bounded queue out of a query: the handle for the service, the factory for the engine.
///
/// Holds at most `capacity_rows` rows, and at least one.
pub fn channel<T: Send + 'static>(
    name: impl Into<String>,
    capacity_rows: usize,
) -> (Egress<T>, EgressSink<T>) {
    let capacity = capacity_rows.max(1);
    let shared = Arc::new(Shared {
        name: name.into(),
        queue: ArrayQueue::new(capacity),
        room: CachePadded::new(AtomicUsize::new(capacity)),
        ended: AtomicBool::new(false),
        abandoned: AtomicBool::new(false),
        receivers: Waiters::default(),
        sinks: Waiters::default(),
    });
    let sink = EgressSink { side: Arc::new(EngineSide(Arc::clone(&shared))), shared: Arc::clone(&shared) };
    (Egress { shared }, sink)
}

/// The service's handle on the output of a query.
///
/// Methods take `&self`: several threads or tasks may receive, each row goes to one of them. Rows of one
/// sink instance keep their order. While nobody receives, the queue fills, and then the query waits.
///
/// Dropping it while the query runs ends the query with an error at its next row, rather than losing rows
/// silently: stop the query first.
///
/// # Delivery
/// At least once, visible at once: after a restart of the query, rows since its last checkpoint come again.
pub struct Egress<T> {
    shared: Arc<Shared<T>>,
}

impl<T> fmt::Debug for Egress<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Egress({}, {} rows)", self.shared.name, self.len())
    }
}

impl<T> Egress<T> {
    /// The next row; parks the calling thread until there is one. `None` once the query has ended and all
    /// its rows were received. Not for async code: see [`Egress::next`].
    pub fn recv(&self) -> Option<T> {
        match self.shared.attempt() {
            Some(row) => row,
            None => block_on(self.receiving(), None).expect("invariant: no deadline was set"),
        }
    }

    /// The next row, waited for at most this long.
    ///
    /// # Errors
    /// [`NoRow`], if none came in time or none will come.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, NoRow> {
        let row = match self.shared.attempt() {
            Some(row) => row,
            None => match Instant::now().checked_add(timeout) {
                Some(deadline) => block_on(self.receiving(), Some(deadline)).ok_or(NoRow::Empty)?,
                None => self.recv(),
            },
        };
        row.ok_or(NoRow::Ended)
    }

    /// The next row if it is there; never waits.
    ///
    /// # Errors
    /// [`NoRow`], if none is there now or none will come.
    pub fn try_recv(&self) -> Result<T, NoRow> {
        self.shared.attempt().ok_or(NoRow::Empty)?.ok_or(NoRow::Ended)
    }

    /// The next row; waits for it without holding up the thread. `None` as for [`Egress::recv`].
    ///
    /// # Delivery
    /// A future that is dropped before it is done has taken no row.
    pub async fn next(&self) -> Option<T> {
        self.receiving().await
    }

    /// All rows to the end of the query, each waited for as by [`Egress::recv`].
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv())
    }

    /// Rows ready to be received.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether no row is ready.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    fn receiving(&self) -> Receiving<'_, T> {
        Receiving { shared: &self.shared, ticket: None }
    }
}

impl<T> Drop for Egress<T> {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::SeqCst);
        self.shared.sinks.wake_all();
        // Whoever waits for what the rows own learns that they go nowhere.
        while self.shared.pop().is_some() {}
    }
}

/// Waits for a row.
struct Receiving<'a, T> {
    shared: &'a Shared<T>,
    ticket: Ticket,
}

impl<T> Future for Receiving<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if let Some(row) = this.shared.attempt() {
            return Poll::Ready(row);
        }
        this.shared.receivers.register(&mut this.ticket, context.waker());
        this.shared.attempt().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for Receiving<'_, T> {
    fn drop(&mut self) {
        self.shared.receivers.cancel(self.ticket);
    }
}

/// The engine's side of an [`Egress`]: a sink that hands rows to the service.
///
/// It can be created again after a restart of the query: the handle stays. Once it, its clones and its sinks
/// are gone, the handle sees the end.
///
/// # Delivery
/// At least once, visible at once. Back-pressure: while the queue is full the query waits, until it is half
/// empty.
pub struct EgressSink<T> {
    shared: Arc<Shared<T>>,
    side: Arc<EngineSide<T>>,
}

impl<T> Clone for EgressSink<T> {
    fn clone(&self) -> Self {
        EgressSink { shared: Arc::clone(&self.shared), side: Arc::clone(&self.side) }
    }
}

impl<T> fmt::Debug for EgressSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EgressSink({})", self.shared.name)
    }
}

impl<T: Send + 'static> SinkFactory<Rows<T>> for EgressSink<T> {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.shared.name.clone(),
            delivery: Delivery::AtLeastOnce,
            max_parallelism: PARALLELISM,
            batches_only: false,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<Rows<T>>>> {
        Ok(Box::new(Giver { shared: Arc::clone(&self.shared), _side: Arc::clone(&self.side), ticket: None }))
    }
}

struct Giver<T> {
    shared: Arc<Shared<T>>,
    _side: Arc<EngineSide<T>>,
    ticket: Ticket,
}

impl<T> Giver<T> {
    fn fill(&self, batch: &mut Rows<T>) {
        let granted = self.shared.reserve(batch.len());
        if granted > 0 {
            for row in batch.take(granted) {
                let placed = self.shared.queue.push(row).is_ok();
                assert!(placed, "invariant: room was reserved");
            }
            self.shared.receivers.wake_all();
        }
    }
}

impl<T: Send + 'static> Sink<Rows<T>> for Giver<T> {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut Rows<T>, waker: &Waker) -> Result<()> {
        loop {
            if self.shared.abandoned.load(Ordering::SeqCst) {
                return Err(ConnectorError::user(format!(
                    "egress `{}` was dropped while the query still has rows for it: stop the query first, or \
                     keep the handle as long as the query",
                    self.shared.name
                )));
            }
            self.fill(batch);
            if batch.rows() == 0 {
                return Ok(());
            }
            self.shared.sinks.register(&mut self.ticket, waker);
            if !self.shared.half_empty() && !self.shared.abandoned.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        self.shared.sinks.cancel(self.ticket);
    }
}
