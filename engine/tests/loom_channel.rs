//! The wake-up and closing protocol of the channel under loom: every interleaving of a producer and a
//! consumer, up to a bound on preemptions.
//!
//! The channel's source is compiled here against a `sync` made of loom's primitives. Loom has no queue:
//! the stand-in keeps items under a mutex, but its length is an atomic of its own that may be seen late, so
//! that what the protocol says about order is not hidden by the mutex.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[allow(dead_code)]
#[path = "../src/runtime/channel.rs"]
mod channel;

mod sync {
    use loom::sync::Mutex;
    use std::collections::VecDeque;
    use std::task::Waker;

    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// What `atomic_waker::AtomicWaker` promises: a wake-up after a registration reaches that waker, a
    /// registration after a wake-up sees what preceded the wake-up. (Loom's own prints at every step.)
    pub(crate) struct AtomicWaker(Mutex<Option<Waker>>);

    impl AtomicWaker {
        pub(crate) fn new() -> Self {
            AtomicWaker(Mutex::new(None))
        }

        pub(crate) fn register(&self, waker: &Waker) {
            *self.0.lock().unwrap() = Some(waker.clone());
        }

        pub(crate) fn wake(&self) {
            let waker = self.0.lock().unwrap().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    pub(crate) struct ArrayQueue<T> {
        items: Mutex<VecDeque<T>>,
        length: AtomicUsize,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            ArrayQueue { items: Mutex::new(VecDeque::new()), length: AtomicUsize::new(0), capacity }
        }

        pub(crate) fn push(&self, item: T) -> Result<(), T> {
            let mut items = self.items.lock().unwrap();
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            self.length.store(items.len(), Ordering::Release);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            let mut items = self.items.lock().unwrap();
            let item = items.pop_front()?;
            self.length.store(items.len(), Ordering::Release);
            Some(item)
        }

        pub(crate) fn len(&self) -> usize {
            self.length.load(Ordering::Acquire)
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub(crate) fn capacity(&self) -> usize {
            self.capacity
        }
    }
}

use channel::{Receiver, Sender, channel};
use loom::future::block_on;
use loom::thread;
use lotic_operators::{Item, Rows};
use std::future::poll_fn;
use std::task::{Poll, Waker};

type Numbers = Rows<u32>;

/// Every interleaving with at most this many preemptions.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn batch(rows: std::ops::Range<u32>) -> Item<Numbers> {
    Item::Batch {
        rows: Rows::from(rows.collect::<Vec<_>>()),
        ingest_ns: 0,
        partition: lotic_operators::PartitionId::NONE,
    }
}

/// Takes what is there.
fn drain(receiver: &mut Receiver<Numbers>, seen: &mut Vec<u32>) -> bool {
    let mut ended = false;
    while let Some(item) = receiver.pop() {
        match item {
            Item::Batch { rows, .. } => seen.extend(rows),
            Item::End => ended = true,
            _ => {}
        }
    }
    receiver.release();
    ended
}

/// As a stage actor reads: drains, lets the producer go on, parks. Until the end or until nobody sends.
fn consume(mut receiver: Receiver<Numbers>) -> Vec<u32> {
    let mut seen = Vec::new();
    block_on(poll_fn(|context| {
        loop {
            let gone = receiver.is_closed();
            if drain(&mut receiver, &mut seen) || gone {
                return Poll::Ready(());
            }
            if !receiver.poll_ready(context.waker()) {
                return Poll::Pending;
            }
        }
    }));
    seen
}

/// As an edge writes: wakes the consumer, waits for room. `false` if the consumer is gone.
fn send(sender: &mut Sender<Numbers>, item: Item<Numbers>) -> bool {
    let mut held = Some(item);
    block_on(poll_fn(|context| {
        while let Some(item) = held.take() {
            if let Err(item) = sender.try_send(item) {
                if sender.is_closed() {
                    return Poll::Ready(false);
                }
                held = Some(item);
                sender.flush();
                if !sender.poll_room(context.waker()) {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(true)
    }))
}

#[test]
fn a_consumer_that_parks_is_woken_for_what_was_sent() {
    check(3, || {
        let (mut sender, receiver) = channel::<Numbers>(100, 4);
        let consumer = thread::spawn(move || consume(receiver));
        for number in 0..2 {
            assert!(send(&mut sender, batch(number..number + 1)));
            sender.flush();
        }
        assert!(send(&mut sender, Item::End));
        sender.flush();
        assert_eq!(consumer.join().unwrap(), [0, 1]);
        assert!(!sender.is_closed() || sender.try_send(Item::End).is_ok());
    });
}

#[test]
fn one_flush_serves_a_burst() {
    check(3, || {
        let (mut sender, receiver) = channel::<Numbers>(100, 4);
        let consumer = thread::spawn(move || consume(receiver));
        for item in [batch(0..1), batch(1..3), Item::End] {
            assert!(send(&mut sender, item));
        }
        sender.flush();
        assert_eq!(consumer.join().unwrap(), [0, 1, 2]);
    });
}

#[test]
fn a_producer_that_found_no_item_free_goes_on_when_half_are() {
    check(2, || {
        let (mut sender, receiver) = channel::<Numbers>(100, 2);
        let consumer = thread::spawn(move || consume(receiver));
        for item in [batch(0..1), batch(1..2), Item::End] {
            assert!(send(&mut sender, item));
        }
        sender.flush();
        assert_eq!(consumer.join().unwrap(), [0, 1]);
    });
}

#[test]
fn a_producer_that_found_no_row_free_goes_on_when_half_are() {
    check(2, || {
        let (mut sender, receiver) = channel::<Numbers>(2, 8);
        let consumer = thread::spawn(move || consume(receiver));
        for item in [batch(0..3), batch(3..4), Item::End] {
            assert!(send(&mut sender, item));
        }
        sender.flush();
        assert_eq!(consumer.join().unwrap(), [0, 1, 2, 3]);
    });
}

#[test]
fn a_producer_that_is_dropped_wakes_the_consumer_which_still_gets_all() {
    check(3, || {
        let (mut sender, receiver) = channel::<Numbers>(100, 4);
        let consumer = thread::spawn(move || consume(receiver));
        // Neither flushed nor ended: dropping must do.
        assert!(sender.try_send(batch(0..2)).is_ok());
        drop(sender);
        assert_eq!(consumer.join().unwrap(), [0, 1]);
    });
}

#[test]
fn a_consumer_that_is_dropped_wakes_a_producer_that_waits() {
    check(3, || {
        let (mut sender, mut receiver) = channel::<Numbers>(100, 1);
        let consumer = thread::spawn(move || {
            let _ = receiver.pop();
            drop(receiver);
        });
        // One fits, one is taken at most: the third finds nobody or no room until nobody is there.
        let sent = (0..3).take_while(|number| send(&mut sender, batch(*number..number + 1))).count();
        assert!((1..=2).contains(&sent), "{sent}");
        assert!(sender.is_closed());
        consumer.join().unwrap();
    });
}

/// The channel's consumer side with the second look left out.
fn looks_once(receiver: &Receiver<Numbers>, waker: &Waker) -> bool {
    if !receiver.is_empty() || receiver.is_closed() {
        return true;
    }
    // Registers; what it finds behind the registration is ignored.
    let _ = receiver.poll_ready(waker);
    false
}

/// Runs a broken protocol in a process of its own, since loom's way out of a deadlock may abort: the model
/// must find the deadlock.
fn expect_deadlock(test: &str, model: impl FnOnce()) {
    const INSIDE: &str = "LOTIC_LOOM_CANARY";
    if std::env::var_os(INSIDE).is_some() {
        return model();
    }
    let program = std::env::current_exe().unwrap();
    let run = std::process::Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && said.contains("deadlock"), "the broken protocol goes unnoticed: {said}");
}

#[test]
fn a_consumer_that_does_not_look_again_after_registering_is_caught() {
    expect_deadlock("a_consumer_that_does_not_look_again_after_registering_is_caught", || {
        check(3, || {
            let (mut sender, mut receiver) = channel::<Numbers>(100, 4);
            let consumer = thread::spawn(move || {
                let mut seen = Vec::new();
                block_on(poll_fn(|context| {
                    loop {
                        if drain(&mut receiver, &mut seen) {
                            return Poll::Ready(());
                        }
                        if !looks_once(&receiver, context.waker()) {
                            return Poll::Pending;
                        }
                    }
                }));
            });
            assert!(sender.try_send(Item::End).is_ok());
            sender.flush();
            consumer.join().unwrap();
        });
    });
}

#[test]
fn a_producer_that_does_not_flush_is_caught() {
    expect_deadlock("a_producer_that_does_not_flush_is_caught", || {
        check(3, || {
            let (mut sender, receiver) = channel::<Numbers>(100, 4);
            let consumer = thread::spawn(move || consume(receiver));
            assert!(sender.try_send(Item::End).is_ok());
            consumer.join().unwrap();
        });
    });
}
