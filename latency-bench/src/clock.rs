//! The clock of one run.

use quanta::Clock;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// Nanoseconds since a run began, the same on every thread.
///
/// A clone shares the beginning, so that a pipeline can be built with it before the run begins. A reading
/// costs about 20 ns (the processor's time stamp counter); take one for a batch, not for a record.
#[derive(Debug, Clone)]
pub struct Timebase {
    /// None for a clock that two processes share: each calibrates its counter for itself, which would let
    /// them drift apart, so they read the system's wall clock instead, for 50 ns.
    counter: Option<Clock>,
    start: Arc<OnceLock<Start>>,
}

#[derive(Debug, Clone, Copy)]
struct Start {
    raw: u64,
    wall: SystemTime,
}

impl Default for Timebase {
    fn default() -> Self {
        Timebase::new()
    }
}

impl Timebase {
    /// A clock that has not begun. The first one in a process calibrates itself, which takes some
    /// milliseconds.
    #[must_use]
    pub fn new() -> Timebase {
        Timebase { counter: Some(Clock::new()), start: Arc::default() }
    }

    /// A clock that has not begun, and that another process can share with [`Timebase::shared`].
    #[must_use]
    pub fn shareable() -> Timebase {
        Timebase { counter: None, start: Arc::default() }
    }

    /// A shareable clock of another process, which began at this time.
    #[must_use]
    pub fn shared(began_at: SystemTime) -> Timebase {
        let start = Start { raw: 0, wall: began_at };
        Timebase { counter: None, start: Arc::new(OnceLock::from(start)) }
    }

    /// A clock that begins now.
    #[must_use]
    pub fn begun() -> Timebase {
        let timebase = Timebase::new();
        timebase.begin();
        timebase
    }

    /// Begins to count, on all clones. Further calls change nothing.
    pub fn begin(&self) {
        let raw = || self.counter.as_ref().map_or(0, Clock::raw);
        self.start.get_or_init(|| Start { raw: raw(), wall: SystemTime::now() });
    }

    /// Nanoseconds since the beginning; `None` before it.
    #[inline]
    pub fn since_begin(&self) -> Option<u64> {
        let start = self.start.get()?;
        match &self.counter {
            Some(counter) => Some(counter.delta_as_nanos(start.raw, counter.raw())),
            None => {
                Some(SystemTime::now().duration_since(start.wall).map_or(0, |since| since.as_nanos() as u64))
            }
        }
    }

    /// Nanoseconds since the beginning; 0 before it.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.since_begin().unwrap_or(0)
    }

    /// The wall-clock time of the beginning; the present if it has not begun.
    pub fn began_at(&self) -> SystemTime {
        self.start.get().map_or_else(SystemTime::now, |start| start.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn clones_share_the_beginning() {
        let timebase = Timebase::new();
        let clone = timebase.clone();
        assert_eq!(clone.since_begin(), None);
        timebase.begin();
        let first = clone.now_ns();
        timebase.begin();
        assert!(clone.now_ns() >= first, "a second begin does not reset the clock");
    }

    #[test]
    fn another_process_can_share_it() {
        let ours = Timebase::shareable();
        ours.begin();
        let theirs = Timebase::shared(ours.began_at());
        let (before, now, after) = (ours.now_ns(), theirs.now_ns(), ours.now_ns());
        assert!(before <= now && now <= after, "{before} {now} {after}");
    }

    #[test]
    fn a_nanosecond_is_a_nanosecond() {
        let timebase = Timebase::begun();
        let started = Instant::now();
        std::thread::sleep(Duration::from_millis(50));
        let (ours, theirs) = (timebase.now_ns() as f64, started.elapsed().as_nanos() as f64);
        assert!((ours / theirs - 1.0).abs() < 0.2, "{ours} ns here, {theirs} ns there");
    }
}
