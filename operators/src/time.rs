//! Event time and processing time as data.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A point in time: microseconds since the Unix epoch.
///
/// Used for event time (when it happened) and processing time (what the runtime's clock says), never for
/// measuring latency. Arithmetic saturates, so that no input can make it wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before every other time: the watermark of a stream that has promised nothing.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// After every other time: the watermark of a stream that has ended.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// A time given in milliseconds since the Unix epoch.
    #[must_use]
    pub fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis.saturating_mul(1000))
    }

    /// This time plus a duration.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(micros(duration)))
    }

    /// This time minus a duration.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(micros(duration)))
    }

    /// The start of the fixed window of this size that holds this time. Windows are aligned to the Unix
    /// epoch and hold their start but not their end; times before 1970 are floored, not truncated.
    ///
    /// # Panics
    /// If `size` is shorter than a microsecond; window builders check it first.
    #[must_use]
    pub fn window_start(self, size: Duration) -> Timestamp {
        self.window(size).0
    }

    /// The start and the end of the fixed window of [`Timestamp::window_start`]. Each is cut off at the
    /// bounds of time by itself, so that the end is right also where the start is not to be had. A window
    /// that reaches to [`Timestamp::MAX`] holds it, since nothing is after it.
    ///
    /// # Panics
    /// As for [`Timestamp::window_start`].
    #[must_use]
    pub fn window(self, size: Duration) -> (Timestamp, Timestamp) {
        let size = micros(size);
        assert!(size > 0, "a window is at least one microsecond long");
        let past = self.0.rem_euclid(size);
        (Timestamp(self.0.saturating_sub(past)), Timestamp(self.0.saturating_add(size - past)))
    }
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Timestamp::MIN => f.write_str("-inf"),
            Timestamp::MAX => f.write_str("+inf"),
            Timestamp(micros) => write!(f, "{micros}us"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_their_start_and_not_their_end_also_before_1970() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp(1_000_000).window_start(second), Timestamp(1_000_000));
        assert_eq!(Timestamp(1_999_999).window_start(second), Timestamp(1_000_000));
        assert_eq!(Timestamp(-1).window_start(second), Timestamp(-1_000_000));
        assert_eq!(Timestamp::MIN.window_start(second), Timestamp::MIN);
    }

    #[test]
    fn windows_at_the_bounds_of_time_are_cut_off_and_meet_without_overlap() {
        for size in [Duration::from_micros(7), Duration::from_secs(10), Duration::MAX] {
            let (start, end) = Timestamp::MIN.window(size);
            assert_eq!(start, Timestamp::MIN);
            assert_eq!(end.window(size).0, end, "the next window begins where the first one ends");
            assert_eq!(Timestamp::MAX.window(size).1, Timestamp::MAX);
        }
    }
}
