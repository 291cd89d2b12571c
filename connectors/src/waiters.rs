//! Threads and tasks that wait for a queue to have rows, or room.
//!
//! # No lost wake-up
//! A waiter registers *first* and looks at the queue *again* before it sleeps; the other side changes the
//! queue *first* and looks for waiters *then*. A sequentially consistent fence between the two steps of
//! either side means that at least one of them sees the other.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

/// Any number of waiters, woken together.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// The length of the list, readable without its lock.
    waiting: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    last_ticket: u64,
    wakers: Vec<(u64, Waker)>,
}

/// The place of one waiter in the list; `None` before it first waits.
pub(crate) type Ticket = Option<u64>;

impl Waiters {
    fn list(&self) -> MutexGuard<'_, List> {
        // No user code runs under the lock, so its contents are whole even if a thread died.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a waiter on the list, or replaces its waker. Look at the queue again afterwards.
    pub(crate) fn register(&self, ticket: &mut Ticket, waker: &Waker) {
        let mut list = self.list();
        let number = *ticket.get_or_insert_with(|| {
            list.last_ticket += 1;
            list.last_ticket
        });
        match list.wakers.iter_mut().find(|(other, _)| *other == number) {
            Some((_, known)) => known.clone_from(waker),
            None => list.wakers.push((number, waker.clone())),
        }
        self.waiting.store(list.wakers.len(), Ordering::Relaxed);
        drop(list);
        fence(Ordering::SeqCst);
    }

    /// Takes a waiter that gave up off the list.
    pub(crate) fn cancel(&self, ticket: Ticket) {
        if let Some(number) = ticket {
            let mut list = self.list();
            list.wakers.retain(|(other, _)| *other != number);
            self.waiting.store(list.wakers.len(), Ordering::Relaxed);
        }
    }

    /// Wakes all. Call it after the change that the waiters wait for.
    ///
    /// # Cost
    /// A fence and a load when nobody waits.
    #[inline]
    pub(crate) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.wake_listed();
        }
    }

    #[cold]
    fn wake_listed(&self) {
        let mut list = self.list();
        let wakers = std::mem::take(&mut list.wakers);
        self.waiting.store(0, Ordering::Relaxed);
        drop(list);
        for (_, waker) in wakers {
            waker.wake();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks the calling thread until the future is done, or the deadline is past (`None`).
pub(crate) fn block_on<F: Future>(future: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        match deadline {
            None => std::thread::park(),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                std::thread::park_timeout(left);
            }
        }
    }
}
