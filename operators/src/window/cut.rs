//! How time is cut into windows of one size that begin at regular distances.

use crate::time::{Timestamp, micros};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Windows `k` that hold `[offset + k * slide, offset + k * slide + size)`, for every whole number `k`.
///
/// Numbers of windows and panes are wider than times, so that nothing can overflow at the bounds of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cut {
    size: i64,
    slide: i64,
    offset: i64,
}

impl Cut {
    /// # Panics
    /// If `slide` is shorter than a microsecond or longer than `size`.
    pub(crate) fn new(size: Duration, slide: Duration) -> Cut {
        let (size, slide) = (micros(size), micros(slide));
        assert!(slide >= 1, "windows are at least one microsecond long and apart");
        assert!(
            slide <= size,
            "windows that lie further apart than they are long would lose rows; filter them"
        );
        Cut { size, slide, offset: 0 }
    }

    pub(crate) fn with_offset(self, offset: Duration) -> Cut {
        Cut { offset: micros(offset) % self.slide, ..self }
    }

    /// How many windows hold a time at most.
    pub(crate) fn overlap(&self) -> u64 {
        ((self.size - 1) / self.slide + 1) as u64
    }

    /// The last window that holds a time.
    #[inline]
    pub(crate) fn last(&self, time: Timestamp) -> i128 {
        match time.0.checked_sub(self.offset) {
            Some(past) => i128::from(past.div_euclid(self.slide)),
            None => (i128::from(time.0) - i128::from(self.offset)).div_euclid(i128::from(self.slide)),
        }
    }

    /// The first window that holds a time.
    pub(crate) fn first(&self, time: Timestamp) -> i128 {
        let past = i128::from(time.0) - i128::from(self.offset) - i128::from(self.size);
        past.div_euclid(i128::from(self.slide)) + 1
    }

    /// The first window whose end lies after a time.
    pub(crate) fn first_open(&self, time: Timestamp) -> i128 {
        self.first(time)
    }

    fn start(&self, window: i128) -> i128 {
        i128::from(self.offset) + window * i128::from(self.slide)
    }

    /// The start and the end of a window, each cut off at the bounds of time.
    #[inline]
    pub(crate) fn bounds(&self, window: i128) -> (Timestamp, Timestamp) {
        let start = self.start(window);
        (within_time(start), within_time(start + i128::from(self.size)))
    }

    /// The end of a window.
    pub(crate) fn end(&self, window: i128) -> Timestamp {
        self.bounds(window).1
    }

    /// The pane that holds a time. The starts and the ends of windows cut each slide into two panes at most,
    /// numbered in order of time, and no window begins or ends within one: Krishnamurthy, Wu and Franklin,
    /// "On-the-Fly Sharing for Streamed Aggregation" (2006), section 3.
    #[inline]
    pub(crate) fn pane(&self, time: Timestamp) -> i128 {
        let last = self.last(time);
        let past = i128::from(time.0) - self.start(last);
        2 * last + i128::from(past >= i128::from(self.size % self.slide))
    }

    /// The start of a pane, cut off at the bounds of time, which is in it all the same.
    #[cfg(feature = "table")]
    pub(crate) fn start_of_pane(&self, pane: i128) -> Timestamp {
        let past = pane.rem_euclid(2) * i128::from(self.size % self.slide);
        within_time(self.start(self.last_of_pane(pane)) + past)
    }

    /// The last window that holds a pane.
    pub(crate) fn last_of_pane(&self, pane: i128) -> i128 {
        pane.div_euclid(2)
    }

    /// The first window that holds a pane.
    pub(crate) fn first_of_pane(&self, pane: i128) -> i128 {
        self.last_of_pane(pane) - i128::from(self.size / self.slide) + pane.rem_euclid(2)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |micros: i64| Duration::from_micros(micros.unsigned_abs());
        write!(f, "size {:?}", micros(self.size))?;
        if self.slide < self.size {
            write!(f, ", slide {:?}", micros(self.slide))?;
        }
        if self.offset != 0 {
            write!(f, ", offset {:?}", micros(self.offset))?;
        }
        Ok(())
    }
}

fn within_time(time: i128) -> Timestamp {
    Timestamp(time.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_time() -> impl Strategy<Value = i64> {
        prop_oneof![-100i64..100, any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
    }

    proptest! {
        #[test]
        fn windows_hold_a_time_from_the_first_to_the_last_and_panes_are_whole(
            time in any_time(), slide in 1u64..20, more in 0u64..60, offset in 0u64..100,
        ) {
            let micros = Duration::from_micros;
            let cut = Cut::new(micros(slide + more), micros(slide)).with_offset(micros(offset));
            let holds = |window: i128| {
                let start = cut.start(window);
                (start..start + i128::from(cut.size)).contains(&i128::from(time))
            };
            let (first, last) = (cut.first(Timestamp(time)), cut.last(Timestamp(time)));
            prop_assert!(!holds(first - 1) && (first..=last).all(holds) && !holds(last + 1));
            prop_assert!(last - first < i128::from(cut.overlap()));
            let pane = cut.pane(Timestamp(time));
            prop_assert_eq!((cut.first_of_pane(pane), cut.last_of_pane(pane)), (first, last));
            #[cfg(feature = "table")]
            {
                let start = cut.start_of_pane(pane);
                prop_assert!(start.0 <= time && cut.pane(start) == pane);
            }
        }
    }

    #[test]
    fn a_tumbling_window_is_that_of_the_time_itself() {
        for size in [Duration::from_micros(7), Duration::from_secs(10), Duration::MAX] {
            let cut = Cut::new(size, size);
            for time in [i64::MIN, -1, 0, 69, i64::MAX].map(Timestamp) {
                assert_eq!(cut.bounds(cut.last(time)), time.window(size));
            }
        }
    }
}
