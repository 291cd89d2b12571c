//! Latency, as a sink sees it: histograms of fixed bounds, one recorder for each thread, merged at the end.
//!
//! Two latencies are kept of each record: from the *intended* send time, which is the one that counts, and
//! from the *actual* one, which shows what a closed loop would have reported. Neither is corrected: the
//! schedule already holds what a correction would guess.

use hdrhistogram::Histogram;

/// The lowest latency that is told from others.
pub const LOWEST_NS: u64 = 10;
/// The highest latency; what is above counts as this.
pub const HIGHEST_NS: u64 = 60_000_000_000;
/// Significant decimal digits that are kept.
pub const DIGITS: u8 = 3;

/// An empty histogram with the bounds of this crate; it never allocates while recording.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).expect("invariant: the bounds are valid")
}

/// Adds `count` values, the out-of-range ones as the highest there is.
#[inline]
fn add(histogram: &mut Histogram<u64>, value_ns: u64, count: u64) {
    histogram.saturating_record_n(value_ns.min(HIGHEST_NS), count);
}

/// The part of a run that is measured, by intended time: from the end of the warm-up to the end of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first intended time that counts.
    pub from_ns: u64,
    /// The first that no longer does.
    pub to_ns: u64,
}

impl Window {
    /// Whether a record with this intended time counts.
    #[inline]
    pub fn holds(&self, intended_ns: u64) -> bool {
        (self.from_ns..self.to_ns).contains(&intended_ns)
    }
}

/// Latency over time: one histogram for each interval of intended time.
#[derive(Debug, Clone)]
pub struct Intervals {
    length_ns: u64,
    from_ns: u64,
    histograms: Vec<Histogram<u64>>,
}

impl Intervals {
    /// One histogram for each `length_ns` of the window, all of them allocated here.
    ///
    /// # Panics
    /// If `length_ns` is 0.
    #[must_use]
    pub fn new(window: Window, length_ns: u64) -> Intervals {
        assert!(length_ns > 0, "an interval has a length");
        let count = (window.to_ns - window.from_ns).div_ceil(length_ns);
        let empty = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 2).expect("invariant: valid bounds");
        Intervals {
            length_ns,
            from_ns: window.from_ns,
            histograms: (0..count).map(|_| empty.clone()).collect(),
        }
    }

    /// The start of each interval and its latencies from intended times, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Histogram<u64>)> {
        (0u64..).map(|at| self.from_ns + at * self.length_ns).zip(&self.histograms)
    }

    /// How long an interval is.
    pub fn length_ns(&self) -> u64 {
        self.length_ns
    }

    fn add(&mut self, intended_ns: u64, latency_ns: u64, count: u64) {
        let at = (intended_ns - self.from_ns) / self.length_ns;
        if let Some(histogram) = self.histograms.get_mut(at as usize) {
            add(histogram, latency_ns, count);
        }
    }

    fn merge(&mut self, other: &Intervals) {
        for (ours, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            ours.add(theirs).expect("invariant: all intervals have the same bounds");
        }
    }
}

/// Records of one batch with the same times: in saturation they are many, and recorded at once.
#[derive(Debug, Clone, Copy, Default)]
struct Alike {
    now_ns: u64,
    intended_ns: u64,
    sent_ns: u64,
    count: u64,
}

/// Collects the latencies that one thread sees.
///
/// # Cost
/// About 15 ns for a record; nearly nothing for further records with the same times. It does not allocate.
#[derive(Debug, Clone)]
pub struct Recorder {
    window: Window,
    from_intended: Histogram<u64>,
    from_send: Histogram<u64>,
    intervals: Option<Intervals>,
    alike: Alike,
    seen: u64,
    last_ns: u64,
}

impl Recorder {
    /// A recorder of this window.
    #[must_use]
    pub fn new(window: Window) -> Recorder {
        Recorder {
            window,
            from_intended: histogram(),
            from_send: histogram(),
            intervals: None,
            alike: Alike::default(),
            seen: 0,
            last_ns: 0,
        }
    }

    /// Keeps latency over time as well.
    #[must_use]
    pub fn with_intervals(mut self, length_ns: u64) -> Recorder {
        self.intervals = Some(Intervals::new(self.window, length_ns));
        self
    }

    /// A record has arrived. `now_ns` may be read once for a whole batch.
    #[inline]
    pub fn record(&mut self, now_ns: u64, intended_ns: u64, sent_ns: u64) {
        self.seen += 1;
        let alike = &mut self.alike;
        if alike.intended_ns == intended_ns && alike.now_ns == now_ns && alike.sent_ns == sent_ns {
            alike.count += 1;
        } else {
            self.flush();
            self.alike = Alike { now_ns, intended_ns, sent_ns, count: 1 };
        }
    }

    /// One thing that arrived stood for this many records: they count as seen.
    #[inline]
    pub fn stands_for(&mut self, records: u64) {
        self.seen += records.saturating_sub(1);
    }

    /// Records seen so far, in or out of the window.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    fn flush(&mut self) {
        let Alike { now_ns, intended_ns, sent_ns, count } = std::mem::take(&mut self.alike);
        if count == 0 || !self.window.holds(intended_ns) {
            return;
        }
        let latency_ns = now_ns.saturating_sub(intended_ns);
        add(&mut self.from_intended, latency_ns, count);
        add(&mut self.from_send, now_ns.saturating_sub(sent_ns), count);
        self.last_ns = self.last_ns.max(now_ns);
        if let Some(intervals) = &mut self.intervals {
            intervals.add(intended_ns, latency_ns, count);
        }
    }

    /// Takes in what another thread recorded in the same window.
    pub fn merge(&mut self, other: Recorder) {
        let other = other.flushed();
        let same = "invariant: all recorders have the same bounds";
        self.from_intended.add(&other.from_intended).expect(same);
        self.from_send.add(&other.from_send).expect(same);
        if let (Some(ours), Some(theirs)) = (&mut self.intervals, &other.intervals) {
            ours.merge(theirs);
        }
        self.seen += other.seen;
        self.last_ns = self.last_ns.max(other.last_ns);
    }

    fn flushed(mut self) -> Recorder {
        self.flush();
        self
    }

    /// What was seen.
    #[must_use]
    pub fn finish(self) -> Recorded {
        let recorder = self.flushed();
        let elapsed_ns = recorder.last_ns.saturating_sub(recorder.window.from_ns);
        let count = recorder.from_intended.len();
        Recorded {
            throughput_per_s: if elapsed_ns == 0 { 0.0 } else { count as f64 * 1e9 / elapsed_ns as f64 },
            from_intended: recorder.from_intended,
            from_send: recorder.from_send,
            intervals: recorder.intervals,
            seen: recorder.seen,
        }
    }
}

/// What all recorders of a run saw together.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Latency from the intended send times, in nanoseconds.
    pub from_intended: Histogram<u64>,
    /// Latency from the actual send times, in nanoseconds.
    pub from_send: Histogram<u64>,
    /// Latency over time, if asked for.
    pub intervals: Option<Intervals>,
    /// Records of the window that arrived, by the time it took all of them to arrive.
    pub throughput_per_s: f64,
    /// All records that arrived, in or out of the window.
    pub seen: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { from_ns: 1_000_000, to_ns: 2_000_000 };

    #[test]
    fn warm_up_is_discarded_by_intended_time() {
        let mut recorder = Recorder::new(WINDOW);
        recorder.record(5_000_000, 999_999, 4_999_000); // arrived late, but was meant for the warm-up
        recorder.record(5_000_000, 1_000_000, 4_999_000);
        recorder.record(5_000_000, 2_000_000, 4_999_000);
        let seen = recorder.finish();
        assert_eq!((seen.from_intended.len(), seen.from_send.len(), seen.seen), (1, 1, 3));
        assert!((seen.from_intended.max() as f64 / 4_000_000.0 - 1.0).abs() < 0.001);
        assert!((seen.from_send.max() as f64 / 1_000.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn threads_are_merged() {
        let mut one = Recorder::new(WINDOW).with_intervals(500_000);
        let mut two = Recorder::new(WINDOW).with_intervals(500_000);
        one.record(1_100_000, 1_000_000, 1_000_000);
        two.record(1_900_000, 1_600_000, 1_700_000);
        two.record(2_000_000, 1_600_000, 1_700_000);
        one.merge(two);
        let seen = one.finish();
        assert_eq!(seen.from_intended.len(), 3);
        let counts: Vec<(u64, u64)> =
            seen.intervals.unwrap().iter().map(|(at, histogram)| (at, histogram.len())).collect();
        assert_eq!(counts, [(1_000_000, 1), (1_500_000, 2)]);
        assert!((seen.throughput_per_s - 3_000.0).abs() < 1.0, "3 records in one millisecond");
    }

    #[test]
    fn records_alike_are_counted_each() {
        let mut recorder = Recorder::new(WINDOW);
        for _ in 0..1000 {
            recorder.record(1_500_100, 1_500_000, 1_500_000);
        }
        let seen = recorder.finish();
        assert_eq!((seen.from_intended.len(), seen.from_send.len()), (1000, 1000));
    }

    #[test]
    fn the_unthinkable_counts_as_the_highest() {
        let mut recorder = Recorder::new(WINDOW);
        recorder.record(u64::MAX, 1_000_000, 1_000_000);
        recorder.record(0, 1_000_000, 1_000_000);
        let seen = recorder.finish();
        assert_eq!(seen.from_intended.len(), 2);
        assert!(seen.from_intended.max() >= HIGHEST_NS);
        assert_eq!(seen.from_intended.min(), 0);
    }
}
