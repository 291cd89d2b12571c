//! The bounded lock-free queue from one actor to the next.
//!
//! One producer, one consumer. Bounded by rows and by items: a channel that is full takes nothing more, the
//! producer waits and resumes once the channel is half empty, so that the two do not wake each other for
//! every item. A batch larger than the row bound still passes when the channel has any room.
//!
//! # Wake-ups
//! Waking a parked thread costs the waker 5-9 us, so neither side wakes for each item: the producer calls
//! [`Sender::flush`] after a burst, the consumer [`Receiver::release`] after a drain. Nothing is lost
//! because each side registers its waker *first* and looks at the queue *again* before it parks. Model
//! checked in `tests/loom_channel.rs`.

use crate::sync::{Arc, ArrayQueue, AtomicBool, AtomicUsize, AtomicWaker, Ordering};
use lotic_operators::{Batch, Item};
use std::task::Waker;

struct Shared<B> {
    queue: ArrayQueue<Item<B>>,
    rows: AtomicUsize,
    rows_max: usize,
    consumer: AtomicWaker,
    producer: AtomicWaker,
    sender_gone: AtomicBool,
    receiver_gone: AtomicBool,
}

/// The producer's end.
pub(crate) struct Sender<B: Batch> {
    shared: Arc<Shared<B>>,
    unflushed: bool,
}

/// The consumer's end.
pub(crate) struct Receiver<B: Batch> {
    shared: Arc<Shared<B>>,
    unreleased: bool,
}

/// A channel for at most `rows_max` rows in at most `items_max` items.
pub(crate) fn channel<B: Batch>(rows_max: usize, items_max: usize) -> (Sender<B>, Receiver<B>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(items_max),
        rows: AtomicUsize::new(0),
        rows_max,
        consumer: AtomicWaker::new(),
        producer: AtomicWaker::new(),
        sender_gone: AtomicBool::new(false),
        receiver_gone: AtomicBool::new(false),
    });
    (Sender { shared: Arc::clone(&shared), unflushed: false }, Receiver { shared, unreleased: false })
}

fn rows_of<B: Batch>(item: &Item<B>) -> usize {
    match item {
        Item::Batch { rows, .. } => rows.rows(),
        _ => 0,
    }
}

impl<B> Shared<B> {
    fn half_empty(&self) -> bool {
        self.queue.len() <= self.queue.capacity() / 2
            && self.rows.load(Ordering::Acquire) <= self.rows_max / 2
    }
}

impl<B: Batch> Sender<B> {
    /// Puts an item in, or gives it back if the channel is full. The consumer is not woken before
    /// [`Sender::flush`].
    pub(crate) fn try_send(&mut self, item: Item<B>) -> Result<(), Item<B>> {
        let rows = rows_of(&item);
        if rows > 0 {
            if self.shared.rows.load(Ordering::Acquire) >= self.shared.rows_max {
                return Err(item);
            }
            self.shared.rows.fetch_add(rows, Ordering::AcqRel);
        }
        match self.shared.queue.push(item) {
            Ok(()) => {
                self.unflushed = true;
                Ok(())
            }
            Err(item) => {
                self.shared.rows.fetch_sub(rows, Ordering::AcqRel);
                Err(item)
            }
        }
    }

    /// Wakes the consumer if anything was sent since the last call.
    pub(crate) fn flush(&mut self) {
        if self.unflushed {
            self.unflushed = false;
            self.shared.consumer.wake();
        }
    }

    /// Whether a producer that found the channel full may go on. If not, `waker` is woken when it may.
    pub(crate) fn poll_room(&self, waker: &Waker) -> bool {
        if self.shared.half_empty() {
            return true;
        }
        self.shared.producer.register(waker);
        self.shared.half_empty() || self.is_closed()
    }

    /// Whether the consumer is gone: what is sent now is dropped with the channel.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::Acquire)
    }
}

impl<B: Batch> Drop for Sender<B> {
    fn drop(&mut self) {
        self.shared.sender_gone.store(true, Ordering::Release);
        self.shared.consumer.wake();
    }
}

impl<B: Batch> Receiver<B> {
    /// Takes the next item. The producer is not woken before [`Receiver::release`].
    pub(crate) fn pop(&mut self) -> Option<Item<B>> {
        let item = self.shared.queue.pop()?;
        let rows = rows_of(&item);
        if rows > 0 {
            self.shared.rows.fetch_sub(rows, Ordering::AcqRel);
        }
        self.unreleased = true;
        Some(item)
    }

    /// Wakes a waiting producer if the channel has become half empty since the last call.
    pub(crate) fn release(&mut self) {
        if self.unreleased && self.shared.half_empty() {
            self.unreleased = false;
            self.shared.producer.wake();
        }
    }

    /// Whether there is something to take or to learn. If not, `waker` is woken when there is.
    pub(crate) fn poll_ready(&self, waker: &Waker) -> bool {
        if !self.shared.queue.is_empty() {
            return true;
        }
        self.shared.consumer.register(waker);
        !self.shared.queue.is_empty() || self.is_closed()
    }

    /// Whether there is nothing to take now.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Whether the producer is gone. What it sent before can still be taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.sender_gone.load(Ordering::Acquire)
    }
}

impl<B: Batch> Drop for Receiver<B> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
        self.shared.producer.wake();
    }
}
