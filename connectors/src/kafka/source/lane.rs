//! The rows of one partition that wait for the query.

use super::super::record::KafkaRecord;
use super::chunk::Chunk;
use super::gauge::Gauge;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::vec::IntoIter;

#[derive(Debug)]
struct Waiting {
    rows: IntoIter<KafkaRecord>,
    bytes: u64,
}

/// One partition, as the source sees it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: String,
    /// The offset of the next row.
    next: i64,
    /// Nothing is left before this offset but what waits here.
    read_to: i64,
    waiting: VecDeque<Waiting>,
    rows: u64,
    gauge: Arc<Gauge>,
}

impl Lane {
    pub(super) fn new(name: String, next: i64, gauge: Arc<Gauge>) -> Self {
        Lane { name, next, read_to: next, waiting: VecDeque::new(), rows: 0, gauge }
    }

    pub(super) fn next(&self) -> u64 {
        u64::try_from(self.next).unwrap_or(0)
    }

    pub(super) fn figures(&self) -> BTreeMap<&'static str, f64> {
        self.gauge.figures()
    }

    /// Whether nothing waits and nothing more is known of.
    pub(super) fn is_caught_up(&self) -> bool {
        let gauge = &self.gauge;
        self.rows == 0
            && gauge.end_known.load(Ordering::Relaxed)
            && self.next >= gauge.end.load(Ordering::Relaxed)
    }

    /// Rows that wait.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn put(&mut self, chunk: Chunk) {
        let Some(last) = chunk.rows.last() else { return };
        self.read_to = self.read_to.max(last.offset + 1);
        self.rows += chunk.rows.len() as u64;
        self.waiting.push_back(Waiting { rows: chunk.rows.into_iter(), bytes: chunk.bytes });
    }

    /// Nothing comes any more before this offset: what is there are control records, or records that were
    /// compacted or removed.
    pub(super) fn pass(&mut self, offset: i64) {
        self.read_to = self.read_to.max(offset);
    }

    /// The partition goes on at another offset, perhaps an earlier one: the topic was made anew.
    pub(super) fn restart(&mut self, offset: i64) {
        self.read_to = offset;
        if self.waiting.is_empty() {
            self.next = offset;
        }
    }

    /// Moves rows before the offset `until` to `taken`, up to `limit` rows there.
    pub(super) fn take(&mut self, taken: &mut Vec<KafkaRecord>, limit: usize, until: u64) {
        let until = i64::try_from(until).unwrap_or(i64::MAX);
        while taken.len() < limit {
            let Some(waiting) = self.waiting.front_mut() else { break };
            let ready = waiting.rows.as_slice();
            let allowed = ready.partition_point(|row| row.offset < until).min(limit - taken.len());
            let Some(last) = allowed.checked_sub(1) else { break };
            self.next = ready[last].offset + 1;
            let whole = allowed == ready.len();
            // A part of a chunk counts for its share of bytes.
            let bytes =
                if whole { waiting.bytes } else { waiting.bytes * allowed as u64 / ready.len() as u64 };
            waiting.bytes -= bytes;
            if whole && taken.is_empty() {
                // Collecting all that is left of a vector keeps its allocation.
                *taken = std::mem::take(&mut waiting.rows).collect();
            } else {
                taken.extend(waiting.rows.by_ref().take(allowed));
            }
            if whole {
                self.waiting.pop_front();
            }
            self.rows -= allowed as u64;
            self.count(allowed as u64, bytes);
        }
        // Between the last row taken and the first that waits there is nothing to read: control records, or
        // what was compacted. A planned end may lie there.
        let first_waiting = self.waiting.front().and_then(|waiting| waiting.rows.as_slice().first());
        let nothing_before = first_waiting.map_or(self.read_to, |row| row.offset);
        self.next = self.next.max(nothing_before.min(until));
        self.gauge.position.store(self.next, Ordering::Relaxed);
    }

    fn count(&self, rows: u64, bytes: u64) {
        self.gauge.ahead_rows.fetch_sub(rows, Ordering::AcqRel);
        self.gauge.ahead_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.gauge.rows.fetch_add(rows, Ordering::Relaxed);
        self.gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The offset after this many of the rows that wait.
    pub(super) fn after(&self, rows: u64) -> u64 {
        let end = if rows >= self.rows { self.read_to } else { self.offset_after(rows) };
        u64::try_from(end.max(self.next)).unwrap_or(0)
    }

    fn offset_after(&self, rows: u64) -> i64 {
        let mut left = usize::try_from(rows).unwrap_or(usize::MAX);
        for waiting in &self.waiting {
            let ready = waiting.rows.as_slice();
            if left < ready.len() {
                return left.checked_sub(1).map_or(self.next, |last| ready[last].offset + 1);
            }
            left -= ready.len();
            if left == 0 {
                return ready.last().map_or(self.next, |row| row.offset + 1);
            }
        }
        self.read_to
    }
}

/// Shares `limit` rows out among lanes with this many rows each, in proportion to them.
pub(super) fn share(limit: u64, waiting: &[u64]) -> Vec<u64> {
    let total: u64 = waiting.iter().sum();
    if total <= limit {
        return waiting.to_vec();
    }
    let part = |rows: &u64| {
        let part = u128::from(*rows) * u128::from(limit) / u128::from(total);
        u64::try_from(part).unwrap_or(*rows)
    };
    let mut shares: Vec<u64> = waiting.iter().map(part).collect();
    let mut left = limit - shares.iter().sum::<u64>();
    // Fewer rows are left than there are lanes.
    for (share, rows) in shares.iter_mut().zip(waiting) {
        let more = left.min(u64::from(*share < *rows));
        *share += more;
        left -= more;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::super::super::record::TimestampType;
    use super::*;

    fn lane(offsets: &[&[i64]]) -> Lane {
        let gauge = Arc::new(Gauge::default());
        let mut lane = Lane::new("t-0".to_owned(), offsets[0][0], Arc::clone(&gauge));
        for chunk in offsets {
            let row = |offset: &i64| KafkaRecord {
                topic: "t".into(),
                partition: 0,
                offset: *offset,
                timestamp: None,
                timestamp_type: TimestampType::None,
                key: None,
                value: None,
                headers: Vec::new(),
            };
            gauge.ahead_rows.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            gauge.ahead_bytes.fetch_add(10, Ordering::Relaxed);
            lane.put(Chunk { rows: chunk.iter().map(row).collect(), bytes: 10 });
        }
        lane
    }

    fn take(lane: &mut Lane, limit: usize, until: u64) -> Vec<i64> {
        let mut taken = Vec::new();
        lane.take(&mut taken, limit, until);
        taken.iter().map(|row| row.offset).collect()
    }

    #[test]
    fn takes_rows_up_to_a_limit_and_an_end() {
        let mut lane = lane(&[&[0, 1, 2], &[5, 6]]);
        assert_eq!([0, 1, 3, 4, 5, 9].map(|rows| lane.after(rows)), [0, 1, 3, 6, 7, 7]);
        assert_eq!(take(&mut lane, 2, u64::MAX), [0, 1]);
        assert_eq!((lane.next(), lane.rows(), lane.after(1), lane.after(2)), (2, 3, 3, 6));
        assert_eq!(take(&mut lane, 9, 6), [2, 5]);
        assert_eq!(lane.next(), 6);
        assert_eq!(take(&mut lane, 9, 6), [0i64; 0]);
        assert_eq!(take(&mut lane, 9, u64::MAX), [6]);
        assert_eq!((lane.next(), lane.rows()), (7, 0));
        assert_eq!(lane.gauge.ahead_rows.load(Ordering::Relaxed), 0);
        assert_eq!(lane.gauge.ahead_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_planned_end_where_no_record_is_is_reached_before_the_rows_behind_it() {
        let mut lane = lane(&[&[0, 1], &[5, 6]]);
        assert_eq!(take(&mut lane, 9, 4), [0, 1]);
        assert_eq!(lane.next(), 4);
        assert_eq!(take(&mut lane, 1, u64::MAX), [5]);
        assert_eq!((lane.next(), lane.rows()), (6, 1));
    }

    #[test]
    fn what_is_passed_counts_once_nothing_waits() {
        let mut lane = lane(&[&[0]]);
        lane.pass(3);
        assert_eq!((lane.next(), lane.after(0), lane.after(1)), (0, 0, 3));
        assert_eq!(take(&mut lane, 9, 2), [0]);
        assert_eq!(lane.next(), 2);
        assert_eq!(take(&mut lane, 9, u64::MAX), [0i64; 0]);
        assert_eq!(lane.next(), 3);
    }

    #[test]
    fn shares_are_in_proportion_and_add_up() {
        assert_eq!(share(10, &[3, 0, 4]), [3, 0, 4]);
        assert_eq!(share(10, &[90, 10, 0]), [9, 1, 0]);
        assert_eq!(share(2, &[1, 1, 1]), [1, 1, 0]);
        assert_eq!(share(0, &[1, 1]), [0, 0]);
        assert_eq!(share(u64::MAX - 1, &[u64::MAX / 2, 7]), [u64::MAX / 2, 7]);
    }
}
