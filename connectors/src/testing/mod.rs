//! The public test kit: holds a connector to its contract, the way the engine uses it.
//!
//! [`check_source`] covers: batches of 1, 2, 7 and all rows; micro-batches planned with `latest` and ended
//! by `until`; for a replayable source, a restart at every offset, and with another parallelism. It does
//! not cover: an input that never ends.
//!
//! [`check_sink`] covers: a crash at every step of an epoch's life, with one epoch open or the next one
//! begun, with a parallelism that stays or changes; a commit that comes twice; epochs without rows; a sink
//! that takes only part of a batch. It does not cover: losing what was not synced when the machine fails.

#[cfg(feature = "kafka")]
pub mod kafka;
mod sink;
mod source;

pub use sink::{SinkWorld, check_sink};
pub use source::check_source;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a connector may keep a check waiting.
const PATIENCE: Duration = Duration::from_secs(20);

/// A waker that unparks the thread that made it, and remembers.
struct Alarm {
    thread: Thread,
    rang: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Alarm {
    fn new() -> (Arc<Alarm>, Waker) {
        let alarm = Arc::new(Alarm { thread: thread::current(), rang: AtomicBool::new(false) });
        (Arc::clone(&alarm), Waker::from(alarm))
    }

    /// Waits until woken, or for this long. Whether it was woken.
    fn wait(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        loop {
            if self.rang.swap(false, Ordering::SeqCst) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::park_timeout(left);
        }
    }
}
