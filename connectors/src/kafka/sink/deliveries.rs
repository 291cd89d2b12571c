//! What becomes of the messages handed to a producer: the context of its callbacks.

use super::super::complaints::{self, Complaint, Complaints};
use super::failures::Failure;
use atomic_waker::AtomicWaker;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No user code runs under these locks, so what they guard is whole even if a thread died.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages that are waited for together.
#[derive(Debug, Default)]
pub(super) struct Flight {
    in_flight: AtomicUsize,
    failure: OnceLock<Failure>,
    waiting: Mutex<()>,
    landed: Condvar,
}

/// What waiting for a flight led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Landed {
    /// Every message is acknowledged.
    All,
    /// One was not delivered; others may be on their way.
    Failed(Failure),
    /// So many are on their way still.
    Late(usize),
}

impl Flight {
    pub(super) fn depart(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn land(&self, failure: Option<Failure>) {
        let failed = failure.is_some();
        if let Some(failure) = failure {
            // The first one is told; those after it follow from it.
            let _ = self.failure.set(failure);
        }
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 || failed {
            drop(lock(&self.waiting));
            self.landed.notify_all();
        }
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) == 0
    }

    fn state(&self) -> Landed {
        let in_flight = self.in_flight.load(Ordering::Acquire);
        match self.failure.get() {
            Some(failure) => Landed::Failed(failure.clone()),
            None if in_flight == 0 => Landed::All,
            None => Landed::Late(in_flight),
        }
    }

    /// Waits until every message is acknowledged, one is not delivered, or the time is over.
    pub(super) fn wait(&self, deadline: Instant) -> Landed {
        let mut waiting = lock(&self.waiting);
        loop {
            let state = self.state();
            let left = deadline.saturating_duration_since(Instant::now());
            if !matches!(state, Landed::Late(_)) || left.is_zero() {
                return state;
            }
            let woken = self.landed.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Messages and bytes that may be on their way at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// Counts what is on its way. The sink counts for itself: librdkafka counts a message down only after its
/// callback, so that a sink woken by the last callback could still find librdkafka's queue full, and sleep
/// for ever. Its limits are set to more than these can reach.
#[derive(Debug)]
pub(super) struct Room {
    limits: Limits,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    waker: AtomicWaker,
}

impl Room {
    fn new(limits: Limits) -> Self {
        let zero = || AtomicUsize::new(0);
        Room { limits, messages: zero(), bytes: zero(), waker: AtomicWaker::new() }
    }

    fn fits(&self, size: usize) -> bool {
        let messages = self.messages.load(Ordering::Acquire);
        let bytes = self.bytes.load(Ordering::Acquire);
        // One message always fits, however large.
        messages == 0 || (messages < self.limits.messages && bytes.saturating_add(size) <= self.limits.bytes)
    }

    /// Whether a message of this size fits. If not, `waker` is woken when half of the room is free.
    pub(super) fn has(&self, size: usize, waker: &Waker) -> bool {
        if self.fits(size) {
            return true;
        }
        self.waker.register(waker);
        self.fits(size)
    }

    /// Waits until a message of this size fits.
    pub(super) fn wait_for(&self, size: usize) -> impl Future<Output = ()> {
        std::future::poll_fn(
            move |context| {
                if self.has(size, context.waker()) { Poll::Ready(()) } else { Poll::Pending }
            },
        )
    }

    pub(super) fn enter(&self, size: usize) {
        self.bytes.fetch_add(size, Ordering::AcqRel);
        self.messages.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn leave(&self, size: usize) {
        let bytes = self.bytes.fetch_sub(size, Ordering::AcqRel) - size;
        let messages = self.messages.fetch_sub(1, Ordering::AcqRel) - 1;
        if messages == 0 || (messages <= self.limits.messages / 2 && bytes <= self.limits.bytes / 2) {
            self.waker.wake();
        }
    }
}

/// The callbacks of one producer.
#[derive(Debug)]
pub(super) struct Deliveries {
    sink: String,
    room: Room,
    /// The cause to give when time runs out.
    complaints: Complaints,
    /// A partition that the brokers did not let into a transaction, which the client tells its log alone.
    refused_partition: Mutex<Option<String>>,
}

/// What librdkafka logs of such partitions, and what it logs of those that were given up for another one.
const REFUSED_PARTITION: &str = "ADDPARTS";
const GIVEN_UP_WITH_IT: &str = "not attempted";

impl Deliveries {
    pub(super) fn new(sink: &str, limits: Limits) -> Self {
        Deliveries {
            sink: sink.to_owned(),
            room: Room::new(limits),
            complaints: Complaints::default(),
            refused_partition: Mutex::default(),
        }
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// What the client said of a partition that the brokers did not let into the transaction.
    pub(super) fn take_refused_partition(&self) -> Option<String> {
        lock(&self.refused_partition).take()
    }

    /// What the client last said about its brokers.
    pub(super) fn complaint(&self) -> Option<Complaint> {
        self.complaints.last()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        complaints::log(&self.sink, level, facility, message);
        if facility == REFUSED_PARTITION && !message.contains(GIVEN_UP_WITH_IT) {
            *lock(&self.refused_partition) = Some(message.to_owned());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(sink = self.sink, %error, "{reason}");
        self.complaints.hear(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Arc<Flight>) {
        let (failure, message) = match result {
            Ok(message) => (None, message),
            Err((error, message)) => (Some(Failure::of(error, message, self.complaint())), message),
        };
        self.room.leave(size(message.key(), message.payload()));
        flight.land(failure);
    }
}

/// What a message counts for.
pub(super) fn size(key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;
    use std::time::Duration;

    struct Rang(AtomicBool);

    impl Wake for Rang {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_full_room_wakes_when_half_of_it_is_free() {
        let room = Room::new(Limits { messages: 4, bytes: 100 });
        let rang = Arc::new(Rang(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&rang));
        for _ in 0..4 {
            assert!(room.has(10, &waker));
            room.enter(10);
        }
        assert!(!room.has(10, &waker));
        room.leave(10);
        assert!(!rang.0.load(Ordering::SeqCst));
        room.leave(10);
        assert!(rang.0.load(Ordering::SeqCst) && room.has(10, &waker));
    }

    #[test]
    fn a_message_larger_than_the_room_waits_until_it_is_empty() {
        let room = Room::new(Limits { messages: 4, bytes: 100 });
        let rang = Arc::new(Rang(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&rang));
        room.enter(10);
        assert!(!room.has(200, &waker));
        room.leave(10);
        assert!(rang.0.load(Ordering::SeqCst) && room.has(200, &waker));
        room.enter(200);
        assert!(!room.has(1, &waker));
    }

    #[test]
    fn a_flight_lands_when_its_last_message_does() {
        let flight = Arc::new(Flight::default());
        flight.depart();
        flight.depart();
        flight.land(None);
        assert_eq!(flight.wait(Instant::now()), Landed::Late(1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| flight.wait(Instant::now() + Duration::from_secs(60)));
            flight.land(None);
            assert_eq!(waiting.join().unwrap(), Landed::All);
        });
        assert!(flight.is_empty());
    }
}
