//! The queue and its gate.
//!
//! A bounded lock-free queue and one atomic word, the *gate*: a closed flag, a flag that the source sleeps,
//! and the number of pushes under way. A push enters the gate, puts the row in and leaves again; leaving
//! shows whether the source sleeps, so that only the push that finds it asleep pays for a wake-up. The
//! source reports the end of its input only when the gate is closed and nobody is inside, so that no row
//! whose push succeeded is left behind.

use crate::waiters::Waiters;
use atomic_waker::AtomicWaker;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

// The bits of the gate; the rest counts pushes under way.
pub(super) const CLOSED: usize = 1;
pub(super) const SLEEPING: usize = 2;
pub(super) const ABANDONED: usize = 4;
pub(super) const PUSHING: usize = 8;

pub(super) struct Shared<T> {
    pub(super) name: String,
    pub(super) queue: ArrayQueue<T>,
    pub(super) gate: CachePadded<AtomicUsize>,
    pub(super) source: AtomicWaker,
    pub(super) producers: Waiters,
    /// Rows taken over the life of the queue, which survives restarts of the query.
    pub(super) taken: AtomicU64,
}

/// A push under way.
pub(super) struct Entry<'a, T>(&'a Shared<T>);

impl<T> Shared<T> {
    pub(super) fn new(name: String, capacity_rows: usize) -> Self {
        Shared {
            name,
            queue: ArrayQueue::new(capacity_rows),
            gate: CachePadded::new(AtomicUsize::new(0)),
            source: AtomicWaker::new(),
            producers: Waiters::default(),
            taken: AtomicU64::new(0),
        }
    }

    /// Begins a push; `None` if the input is closed.
    #[inline]
    pub(super) fn enter(&self) -> Option<Entry<'_, T>> {
        let before = self.gate.fetch_add(PUSHING, Ordering::AcqRel);
        let entry = Entry(self);
        if before & CLOSED == 0 { Some(entry) } else { None }
    }

    #[cold]
    fn left(&self, gate: usize) {
        if gate & ABANDONED != 0 {
            self.discard();
        } else {
            self.wake_source();
        }
    }

    fn wake_source(&self) {
        // Of several producers that find the source asleep, one wakes it.
        if self.gate.fetch_and(!SLEEPING, Ordering::AcqRel) & SLEEPING != 0 {
            self.source.wake();
        }
    }

    pub(super) fn close(&self) {
        if self.gate.fetch_or(CLOSED, Ordering::AcqRel) & SLEEPING != 0 {
            self.wake_source();
        }
        self.producers.wake_all();
    }

    /// Nobody will take rows any more: drops them, so that whoever waits for what they own learns of it.
    fn abandon(&self) {
        self.gate.fetch_or(CLOSED | ABANDONED, Ordering::AcqRel);
        self.producers.wake_all();
        self.discard();
    }

    fn discard(&self) {
        while self.queue.pop().is_some() {}
    }

    pub(super) fn is_closed(&self) -> bool {
        self.gate.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether a producer that found the queue full may go on.
    pub(super) fn half_empty(&self) -> bool {
        self.queue.len() <= self.queue.capacity() / 2
    }
}

impl<T> Drop for Entry<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let gate = self.0.gate.fetch_sub(PUSHING, Ordering::AcqRel);
        if gate & (SLEEPING | ABANDONED) != 0 {
            self.0.left(gate);
        }
    }
}

/// Shared by all handles: closes the input when the last is gone.
pub(super) struct ProducerSide<T>(pub(super) Arc<Shared<T>>);

impl<T> Drop for ProducerSide<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Shared by the factory and its sources: abandons the queue when the last is gone.
pub(super) struct EngineSide<T>(pub(super) Arc<Shared<T>>);

impl<T> Drop for EngineSide<T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
