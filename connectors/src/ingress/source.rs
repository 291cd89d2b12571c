//! The engine's side: takes what was pushed.

use super::queue::{CLOSED, EngineSide, PUSHING, SLEEPING, Shared};
use crate::error::{ConnectorError, Result};
use crate::offsets::Offsets;
use crate::source::{Latest, PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits};
use lotic_operators::{Instance, Rows};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

const PARTITION: &str = "0";

/// The engine's side of an [`Ingress`](super::Ingress): a source that takes what was pushed.
///
/// It can be created again after a restart of the query: the queue stays, and producers wait meanwhile.
/// Once it and its sources are gone, pushes fail.
///
/// # Delivery
/// Not replayable: rows taken after the last checkpoint are lost when the query restarts.
pub struct IngressSource<T> {
    shared: Arc<Shared<T>>,
    side: Arc<EngineSide<T>>,
}

impl<T> IngressSource<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        IngressSource { side: Arc::new(EngineSide(Arc::clone(&shared))), shared }
    }
}

impl<T> fmt::Debug for IngressSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IngressSource({})", self.shared.name)
    }
}

impl<T: Send + 'static> SourceFactory<Rows<T>> for IngressSource<T> {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: self.shared.name.clone(),
            replayable: false,
            polling: Polling::NonBlocking,
            max_parallelism: 1,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<T>>>> {
        if instance.parallelism != 1 {
            return Err(ConnectorError::internal(format!(
                "ingress `{}` cannot be split into {} instances",
                self.shared.name, instance.parallelism
            )));
        }
        Ok(Box::new(Taker { shared: Arc::clone(&self.shared), _side: Arc::clone(&self.side), taken: 0 }))
    }
}

struct Taker<T> {
    shared: Arc<Shared<T>>,
    _side: Arc<EngineSide<T>>,
    taken: u64,
}

impl<T> Taker<T> {
    fn take(&mut self, limit: usize) -> Option<Rows<T>> {
        let queue = &self.shared.queue;
        if queue.is_empty() {
            return None;
        }
        let limit = limit.min(queue.capacity());
        let mut rows = Vec::with_capacity(limit.min(queue.len()));
        while rows.len() < limit
            && let Some(row) = queue.pop()
        {
            rows.push(row);
        }
        if self.shared.half_empty() {
            self.shared.producers.wake_all();
        }
        self.taken += rows.len() as u64;
        self.shared.taken.store(self.taken, Ordering::Relaxed);
        if rows.is_empty() { None } else { Some(Rows::from(rows)) }
    }
}

/// Whether nothing can come any more but what is queued.
fn nobody_pushes(gate: usize) -> bool {
    gate & CLOSED != 0 && gate < PUSHING
}

impl<T: Send + 'static> Source<Rows<T>> for Taker<T> {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        let within_process = self.shared.taken.load(Ordering::Relaxed);
        self.taken = from.get(PARTITION).unwrap_or(0).max(within_process);
        Ok(())
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<Rows<T>>> {
        let room = match request.until {
            None => u64::MAX,
            Some(until) => until.get(PARTITION).unwrap_or(0).saturating_sub(self.taken),
        };
        if room == 0 {
            let gate = self.shared.gate.load(Ordering::Acquire);
            let finished = nobody_pushes(gate) && self.shared.queue.is_empty();
            return Ok(if finished { Polled::Finished } else { Polled::AtEnd });
        }
        let limit = request.max_rows.max(1).min(usize::try_from(room).unwrap_or(usize::MAX));
        if let Some(batch) = self.take(limit) {
            return Ok(Polled::Batch(batch));
        }
        self.shared.source.register(request.waker);
        let gate = self.shared.gate.fetch_or(SLEEPING, Ordering::AcqRel);
        if let Some(batch) = self.take(limit) {
            self.shared.gate.fetch_and(!SLEEPING, Ordering::AcqRel);
            return Ok(Polled::Batch(batch));
        }
        Ok(if nobody_pushes(gate) { Polled::Finished } else { Polled::Pending(None) })
    }

    fn offsets(&self) -> Offsets {
        Offsets::single(PARTITION, self.taken)
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> Result<Latest> {
        let ready = max_rows.min(self.shared.queue.len() as u64);
        Ok(Latest::At(Offsets::single(PARTITION, self.taken + ready)))
    }
}
