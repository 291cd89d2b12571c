//! What the query computes, and what it must come to, computed from the whole input.

use lotic::operators::aggregate::Count;
use lotic::operators::window::{Window, Windowed};
use lotic::{Stream, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const KEYS: u64 = 7;
/// How far a row may be behind one that came before it, in microseconds.
const DISORDER: u64 = 200;
const SIZE: i64 = 1_000;
const SLIDE: i64 = 300;
const GAP: i64 = 150;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// The running count of each key.
    Counts,
    /// The same, of keys that a slow service has been asked for, in flight at markers.
    Lookups,
    Tumbling,
    Sliding,
    Session,
}

/// Key, start, end, rows.
pub(crate) type Counted = (u64, i64, i64, u64);

/// When a row happened, in microseconds: out of order, with a pause after every thousand rows of all keys.
fn micros(number: u64) -> i64 {
    let early = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (number * 10 + number / 1_000 * 5_000 + DISORDER - early % DISORDER) as i64
}

fn at(number: &u64) -> Timestamp {
    Timestamp(micros(*number))
}

impl Kind {
    /// Whether the output is the running count of each key.
    pub(crate) fn is_counts(self) -> bool {
        matches!(self, Kind::Counts | Kind::Lookups)
    }

    /// The windows of the rows by key.
    pub(crate) fn windows(self, numbers: Stream<u64>) -> Stream<Counted> {
        let long = |micros: i64| Duration::from_micros(micros.unsigned_abs());
        let window: Window<u64, fn(&u64) -> Timestamp> = match self {
            Kind::Counts | Kind::Lookups | Kind::Tumbling => Window::tumbling(long(SIZE), at),
            Kind::Sliding => Window::sliding(long(SIZE), long(SLIDE), at),
            Kind::Session => Window::session(long(GAP), at),
        };
        numbers
            .with_watermark(at, Duration::from_micros(DISORDER))
            .key_by(|number| number % KEYS)
            .window(window)
            .aggregate(Count)
            .map(|window: Windowed<u64, u64>| (window.key, window.start.0, window.end.0, window.value))
    }

    /// The windows of the first `rows` rows, by a computation that sees them all.
    pub(crate) fn expected(self, rows: u64) -> BTreeSet<Counted> {
        let mut times: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        (0..rows).for_each(|number| times.entry(number % KEYS).or_default().push(micros(number)));
        let mut windows: BTreeMap<(u64, i64, i64), u64> = BTreeMap::new();
        for (key, mut times) in times {
            times.sort_unstable();
            if self == Kind::Session {
                for session in times.chunk_by(|one, next| next - one < GAP) {
                    let (first, last) = (session[0], session[session.len() - 1]);
                    windows.insert((key, first, last + GAP), session.len() as u64);
                }
                continue;
            }
            let slide = if self == Kind::Sliding { SLIDE } else { SIZE };
            for time in times {
                let mut start = time.div_euclid(slide) * slide;
                while start > time - SIZE {
                    *windows.entry((key, start, start + SIZE)).or_default() += 1;
                    start -= slide;
                }
            }
        }
        windows.into_iter().map(|((key, start, end), count)| (key, start, end, count)).collect()
    }
}
