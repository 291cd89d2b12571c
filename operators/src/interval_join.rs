//! The join of two keyed streams whose rows are near each other in event time.

use crate::batch::Rows;
use crate::error::Result;
use crate::key::{Key, Value, hash_of};
use crate::limits::FIRINGS_PER_CALL;
use crate::operator::Progress;
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::{KeyedState, Timers};
use crate::time::{Timestamp, micros};
use crate::two_input::TwoInputOperator;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// Which event times of right rows match that of a left row. Both ends are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinRange(Shape);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Right less left, in microseconds.
    Apart {
        least: i64,
        most: i64,
    },
    Window(Duration),
}

impl JoinRange {
    /// Right rows from `before` earlier to `after` later than the left one.
    #[must_use]
    pub fn around(before: Duration, after: Duration) -> JoinRange {
        JoinRange(Shape::Apart { least: -micros(before), most: micros(after) })
    }

    /// Right rows that are later than the left one, by `least` to `most`.
    ///
    /// # Panics
    /// If `least` is more than `most`.
    #[must_use]
    pub fn after(least: Duration, most: Duration) -> JoinRange {
        assert!(least <= most, "the least distance of a join is {least:?}, more than the most, {most:?}");
        JoinRange(Shape::Apart { least: micros(least), most: micros(most) })
    }

    /// Right rows that are earlier than the left one, by `least` to `most`.
    ///
    /// # Panics
    /// If `least` is more than `most`.
    #[must_use]
    pub fn before(least: Duration, most: Duration) -> JoinRange {
        assert!(least <= most, "the least distance of a join is {least:?}, more than the most, {most:?}");
        JoinRange(Shape::Apart { least: -micros(most), most: -micros(least) })
    }

    /// Right rows in the same window of this size; windows are aligned to the Unix epoch.
    ///
    /// # Panics
    /// If `size` is shorter than a microsecond.
    #[must_use]
    pub fn same_window(size: Duration) -> JoinRange {
        assert!(micros(size) > 0, "a window is at least one microsecond long");
        JoinRange(Shape::Window(size))
    }

    /// The first and the last right time that match a left one.
    fn of_left(self, left: Timestamp) -> (Timestamp, Timestamp) {
        match self.0 {
            Shape::Apart { least, most } => (plus(left, least), plus(left, most)),
            Shape::Window(size) => window(left, size),
        }
    }

    /// The first and the last left time that match a right one.
    fn of_right(self, right: Timestamp) -> (Timestamp, Timestamp) {
        match self.0 {
            Shape::Apart { least, most } => (plus(right, -most), plus(right, -least)),
            Shape::Window(size) => window(right, size),
        }
    }

    /// The earliest time in any result that comes once the watermark has been reached.
    fn promise(self, watermark: Timestamp) -> Timestamp {
        if watermark == Timestamp::MAX {
            return watermark;
        }
        watermark.min(self.of_left(watermark).0).min(self.of_right(watermark).0)
    }
}

impl fmt::Display for JoinRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Shape::Apart { least, most } => write!(f, "right less left is from {least} us to {most} us"),
            Shape::Window(size) => write!(f, "both in the same window of {size:?}"),
        }
    }
}

fn plus(time: Timestamp, micros: i64) -> Timestamp {
    Timestamp(time.0.saturating_add(micros))
}

fn window(time: Timestamp, size: Duration) -> (Timestamp, Timestamp) {
    let (start, end) = time.window(size);
    (start, if end == Timestamp::MAX { end } else { plus(end, -1) })
}

/// The rows of a key, each with its event time, in the order of these.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Held<L, R> {
    lefts: Vec<(Timestamp, L)>,
    rights: Vec<(Timestamp, R)>,
    /// When the next of them is forgotten.
    timer: Timestamp,
}

impl<L, R> Default for Held<L, R> {
    fn default() -> Self {
        Held { lefts: Vec::new(), rights: Vec::new(), timer: Timestamp::MAX }
    }
}

/// The inner join of two keyed streams by event time, each pair once, as soon as both rows are there.
///
/// # Event time
/// Rows before the watermark, the minimum of both inputs, are late: dropped and counted. A row is forgotten
/// once the watermark is past every time that it matches. The watermark passed on is held back by the range,
/// so that no result is late behind it, whichever row's time it bears.
///
/// # Cost
/// One look-up of the key for each row, and a binary search among its rows. State is bounded by the rows of the
/// range; a marker costs the keys that changed, with all their rows. One row may emit as many results as the
/// other side holds for it.
#[derive(Debug)]
pub struct IntervalJoin<K: Key, L: Value, R: Value, O, F, J> {
    range: JoinRange,
    read: F,
    join: J,
    held: KeyedState<K, Held<L, R>>,
    timers: Timers<K>,
    watermark: Timestamp,
    out: PhantomData<fn() -> O>,
}

/// Reads the key and the event time of the rows of both sides.
#[derive(Debug, Clone)]
pub struct JoinColumns<FL, FR, EL, ER> {
    /// The key of a left row.
    pub left_key: FL,
    /// The key of a right row.
    pub right_key: FR,
    /// The event time of a left row.
    pub left_time: EL,
    /// The event time of a right row.
    pub right_time: ER,
}

impl<K: Key, L: Value, R: Value, O, F, J> IntervalJoin<K, L, R, O, F, J> {
    /// `read` reads the rows; `join` makes a result of two that meet.
    pub fn new(range: JoinRange, read: F, join: J) -> Self {
        IntervalJoin {
            range,
            read,
            join,
            held: KeyedState::new("interval-join"),
            timers: Timers::default(),
            watermark: Timestamp::MIN,
            out: PhantomData,
        }
    }

    /// Forgets what cannot match any more, of keys whose time has come.
    fn forget(&mut self) -> Progress {
        for _ in 0..FIRINGS_PER_CALL {
            let Some((time, key)) = self.timers.pop_due(self.watermark) else { return Progress::Done };
            let hash = hash_of(&key);
            let Some(held) = self.held.get_mut(hash, &key).filter(|held| held.timer == time) else {
                continue;
            };
            let (range, watermark) = (self.range, self.watermark);
            let is_over = |last: Timestamp| last < watermark || watermark == Timestamp::MAX;
            let lefts = held.lefts.partition_point(|(time, _)| is_over(range.of_left(*time).1));
            held.lefts.drain(..lefts);
            let rights = held.rights.partition_point(|(time, _)| is_over(range.of_right(*time).1));
            held.rights.drain(..rights);
            let left = held.lefts.first().map(|(time, _)| range.of_left(*time).1);
            let right = held.rights.first().map(|(time, _)| range.of_right(*time).1);
            match left.into_iter().chain(right).min() {
                None => {
                    self.held.remove(hash, &key);
                }
                Some(last) => {
                    held.timer = plus(last, 1);
                    self.timers.add(held.timer, key);
                }
            }
        }
        Progress::Again
    }
}

/// Puts a row in its place, and says when the key has to be looked at if that is before it would be.
fn insert<T>(
    rows: &mut Vec<(Timestamp, T)>,
    time: Timestamp,
    row: T,
    last: Timestamp,
    timer: &mut Timestamp,
) -> bool {
    let at = rows.partition_point(|(held, _)| *held <= time);
    rows.insert(at, (time, row));
    let due = plus(last, 1);
    let earlier = due < *timer;
    *timer = due.min(*timer);
    earlier
}

/// The rows of times in a range, both ends in it.
fn within<T>(rows: &[(Timestamp, T)], (first, last): (Timestamp, Timestamp)) -> &[(Timestamp, T)] {
    let from = rows.partition_point(|(time, _)| *time < first);
    let to = rows.partition_point(|(time, _)| *time <= last);
    rows.get(from..to).unwrap_or_default()
}

impl<K, L, R, O, FL, FR, EL, ER, J> TwoInputOperator<Rows<L>, Rows<R>, Rows<O>>
    for IntervalJoin<K, L, R, O, JoinColumns<FL, FR, EL, ER>, J>
where
    K: Key,
    L: Value,
    R: Value,
    O: Send + 'static,
    FL: FnMut(&L) -> K + Send,
    FR: FnMut(&R) -> K + Send,
    EL: FnMut(&L) -> Timestamp + Send,
    ER: FnMut(&R) -> Timestamp + Send,
    J: FnMut(&L, &R) -> O + Send,
{
    fn process_left(&mut self, input: &mut Rows<L>, output: &mut Output<Rows<O>>) -> Result<()> {
        while !output.is_full() {
            let Some(left) = input.next() else { break };
            let time = (self.read.left_time)(&left);
            if time < self.watermark {
                output.count_late(1);
                continue;
            }
            let key = (self.read.left_key)(&left);
            let held = self.held.entry(hash_of(&key), &key, Held::default);
            let range = self.range.of_left(time);
            let found = within(&held.rights, range);
            output.builder().extend(found.iter().map(|(_, right)| (self.join)(&left, right)));
            if range.1 >= self.watermark {
                if insert(&mut held.lefts, time, left, range.1, &mut held.timer) {
                    self.timers.add(held.timer, key);
                }
            } else if held.lefts.is_empty() && held.rights.is_empty() {
                self.held.remove(hash_of(&key), &key);
            }
        }
        Ok(())
    }

    fn process_right(&mut self, input: &mut Rows<R>, output: &mut Output<Rows<O>>) -> Result<()> {
        while !output.is_full() {
            let Some(right) = input.next() else { break };
            let time = (self.read.right_time)(&right);
            if time < self.watermark {
                output.count_late(1);
                continue;
            }
            let key = (self.read.right_key)(&right);
            let held = self.held.entry(hash_of(&key), &key, Held::default);
            let range = self.range.of_right(time);
            let found = within(&held.lefts, range);
            output.builder().extend(found.iter().map(|(_, left)| (self.join)(left, &right)));
            if range.1 >= self.watermark {
                if insert(&mut held.rights, time, right, range.1, &mut held.timer) {
                    self.timers.add(held.timer, key);
                }
            } else if held.lefts.is_empty() && held.rights.is_empty() {
                self.held.remove(hash_of(&key), &key);
            }
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<Rows<O>>) -> Result<Progress> {
        self.watermark = watermark;
        let progress = self.forget();
        if progress == Progress::Done {
            output.emit_watermark(self.range.promise(watermark));
        }
        Ok(progress)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot { tables: vec![self.held.snapshot()] })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<Rows<O>>) -> Result<()> {
        self.held.restore(restore)?;
        for (key, held) in self.held.iter() {
            self.timers.add(held.timer, key.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::two_input::TwoInputOperator;

    type Row = (u8, i64);
    type Read = JoinColumns<fn(&Row) -> u8, fn(&Row) -> u8, fn(&Row) -> Timestamp, fn(&Row) -> Timestamp>;

    #[test]
    fn a_key_takes_memory_only_while_a_match_can_come() {
        let read: Read = JoinColumns {
            left_key: |row| row.0,
            right_key: |row| row.0,
            left_time: |row| Timestamp(row.1),
            right_time: |row| Timestamp(row.1),
        };
        let range = JoinRange::after(Duration::from_micros(2), Duration::from_micros(5));
        let mut join = IntervalJoin::new(range, read, |left: &Row, right: &Row| (left.1, right.1));
        let mut output = Output::default();
        join.process_left(&mut Rows::from(vec![(1, 10), (2, 12)]), &mut output).unwrap();
        assert_eq!(join.watermark(Timestamp(15), &mut output).unwrap(), Progress::Done);
        assert_eq!(join.held.len(), 2, "a right row of 15 may still come");
        assert_eq!(join.watermark(Timestamp(16), &mut output).unwrap(), Progress::Done);
        assert_eq!(join.held.len(), 1);
        // Its left rows would be of 14 and before, and late.
        join.process_right(&mut Rows::from(vec![(3, 16)]), &mut output).unwrap();
        assert_eq!(join.held.len(), 1);
        assert_eq!(join.watermark(Timestamp(18), &mut output).unwrap(), Progress::Done);
        assert!(join.held.is_empty());
        assert_eq!(join.timers.first(), None);
    }
}
