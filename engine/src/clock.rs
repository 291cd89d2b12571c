//! Time: monotonic nanoseconds for latency, wall time for processing time, one reading for both.

use lotic_operators::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// One reading of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since the clock was made; never goes back.
    pub ns: u64,
    /// Processing time.
    pub time: Timestamp,
}

/// Where the engine's time comes from.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System { clock: quanta::Clock, start: quanta::Instant, wall_micros: i64 },
    Simulated(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock, read from the processor's time stamp counter where that is reliable (18 ns a
    /// reading against 47 ns). Processing time is the wall time at creation plus monotonic time since.
    #[must_use]
    pub fn system() -> Clock {
        let clock = quanta::Clock::new();
        let start = clock.now();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        Clock(Kind::System { clock, start, wall_micros })
    }

    /// A clock that stands still until it is moved, starting at the Unix epoch.
    #[must_use]
    pub fn simulated() -> (Clock, ClockHand) {
        let ns = Arc::new(AtomicU64::new(0));
        (Clock(Kind::Simulated(Arc::clone(&ns))), ClockHand(ns))
    }

    /// Reads the clock.
    #[inline]
    pub fn now(&self) -> Now {
        match &self.0 {
            Kind::System { clock, start, wall_micros } => {
                let ns = clock.now().duration_since(*start).as_nanos() as u64;
                Now { ns, time: Timestamp(wall_micros.saturating_add((ns / 1000) as i64)) }
            }
            Kind::Simulated(ns) => {
                let ns = ns.load(Ordering::Acquire);
                Now { ns, time: Timestamp((ns / 1000) as i64) }
            }
        }
    }
}

/// Moves a simulated clock.
#[derive(Debug)]
pub struct ClockHand(Arc<AtomicU64>);

impl ClockHand {
    /// Moves the clock on.
    pub fn advance(&self, by: std::time::Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::AcqRel);
    }
}
