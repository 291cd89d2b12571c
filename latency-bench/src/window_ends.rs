//! When windows were complete at the sink.

use crate::recorder::{Recorded, Recorder, Window};

/// The last row of each window: one latency for each of them, from the end of the window to that row.
#[derive(Debug, Clone)]
pub struct WindowEnds {
    measured: Window,
    ends: Vec<WindowEnd>,
}

#[derive(Debug, Clone, Copy)]
struct WindowEnd {
    end_ns: u64,
    last_ns: u64,
    /// What the rows stand for.
    records: u64,
}

impl WindowEnds {
    /// No window yet. Those that end within `measured` count.
    #[must_use]
    pub fn new(measured: Window) -> WindowEnds {
        WindowEnds { measured, ends: Vec::new() }
    }

    /// A row of the window that ends at `end_ns` has arrived; it stands for some records. Rows of several
    /// instances may come in any order.
    #[inline]
    pub fn row(&mut self, now_ns: u64, end_ns: u64, records: u64) {
        // Nearly always the newest one.
        match self.ends.iter_mut().rev().find(|window| window.end_ns == end_ns) {
            Some(window) => {
                window.last_ns = window.last_ns.max(now_ns);
                window.records += records;
            }
            None => self.ends.push(WindowEnd { end_ns, last_ns: now_ns, records }),
        }
    }

    /// What was seen.
    #[must_use]
    pub fn finish(self) -> Recorded {
        let mut recorder = Recorder::new(self.measured);
        for window in self.ends {
            recorder.record(window.last_ns, window.end_ns, window.end_ns);
            recorder.stands_for(window.records);
        }
        recorder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_each_window_counts_once() {
        let mut ends = WindowEnds::new(Window { from_ns: 1_000, to_ns: 4_000 });
        for (now_ns, end_ns) in
            [(1_100, 1_000), (2_300, 2_000), (1_500, 1_000), (2_200, 2_000), (9_000, 4_000)]
        {
            ends.row(now_ns, end_ns, 10);
        }
        let seen = ends.finish();
        assert_eq!(
            (seen.seen, seen.from_intended.len()),
            (50, 2),
            "the window that ends after the run is left out"
        );
        // A histogram keeps three digits.
        let (least, most) = (seen.from_intended.min(), seen.from_intended.max());
        assert!((290..=310).contains(&least) && (490..=510).contains(&most), "{least} to {most}");
    }
}
