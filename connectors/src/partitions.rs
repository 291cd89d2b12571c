//! Reading several numbered partitions in one fixed order.
//!
//! The next row is always that of the partition read least so far, the lowest number first. So the order
//! depends on the offsets alone: not on how the rows are split into batches, nor on where a restart falls.

use crate::error::{ConnectorError, Result};
use crate::offsets::Offsets;
use lotic_operators::Instance;

/// The partitions of one instance, each with the next row to read and the row before which to stop.
#[derive(Debug)]
pub(crate) struct Partitions {
    count: usize,
    parts: Vec<Partition>,
    /// See [`Partitions::read_ahead`].
    ahead: bool,
}

#[derive(Debug)]
struct Partition {
    number: usize,
    next: u64,
    end: u64,
    /// Whether it has rows beyond the end, which a plan holds back.
    held: bool,
}

/// Where a plan ends a partition: at once if it does not name it.
fn planned(part: &Partition, until: Option<&Offsets>) -> u64 {
    until.map_or(u64::MAX, |until| until.get(&part.number.to_string()).unwrap_or(0))
}

impl Partition {
    /// Whether the plan holds back a row that comes before this one.
    #[inline]
    fn holds_back_before(&self, row: u64, number: usize) -> bool {
        self.held && self.next >= self.end && (self.next, self.number) < (row, number)
    }
}

impl Partitions {
    /// Of `count` partitions, numbered from 0, those that fall to an instance.
    pub(crate) fn of(instance: Instance, count: usize) -> Self {
        let parts = (instance.index..count)
            .step_by(instance.parallelism.max(1))
            .map(|number| Partition { number, next: 0, end: 0, held: false })
            .collect();
        Partitions { count, parts, ahead: false }
    }

    /// Continues at the offsets of a checkpoint.
    pub(crate) fn start(&mut self, source: &str, from: &Offsets) -> Result<()> {
        let known = |name: &String| name.parse::<usize>().is_ok_and(|number| number < self.count);
        if !from.0.is_empty() && (from.0.len() != self.count || !from.0.keys().all(known)) {
            return Err(ConnectorError::user(format!(
                "source `{source}` has {} partitions, but the checkpoint has {} ({from}): keep the number of \
                 partitions, or start from a new checkpoint location",
                self.count,
                from.0.len(),
            )));
        }
        for part in &mut self.parts {
            part.next = from.get(&part.number.to_string()).unwrap_or(0);
        }
        Ok(())
    }

    /// Sets where each partition ends for now, as the source has it and the plan of a micro-batch allows.
    pub(crate) fn bound(&mut self, until: Option<&Offsets>, end_of: impl Fn(usize) -> u64) {
        for part in &mut self.parts {
            let (there, planned) = (end_of(part.number), planned(part, until));
            part.end = there.min(planned).max(part.next);
            part.held = planned < there;
        }
    }

    /// The partition and its next row, if there is only one.
    #[cfg(feature = "table")]
    pub(crate) fn single(&self) -> Option<(usize, u64)> {
        let [only] = self.parts.as_slice() else { return None };
        Some((only.number, only.next))
    }

    /// Whether nothing is left of a plan.
    pub(crate) fn reached(&self, until: &Offsets) -> bool {
        self.parts.iter().all(|part| part.next >= planned(part, Some(until)))
    }

    /// Whether every partition was read up to its end for good.
    pub(crate) fn exhausted(&self, end_of: impl Fn(usize) -> u64) -> bool {
        self.parts.iter().all(|part| part.next >= end_of(part.number))
    }

    /// Rows before the bounds.
    pub(crate) fn ready(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.end - part.next))
    }

    /// Reads up to `max_rows` rows before the bounds, calling `read(partition, row)` for each, in order: fewer
    /// where it changes whether they are ahead ([`Partitions::read_ahead`]).
    #[inline]
    pub(crate) fn take(&mut self, max_rows: usize, mut read: impl FnMut(usize, u64)) {
        if let [only] = self.parts.as_mut_slice() {
            let end = only.end.min(only.next.saturating_add(max_rows as u64));
            (only.next..end).for_each(|row| read(only.number, row));
            only.next = end.max(only.next);
            return;
        }
        let holds_back = self.parts.iter().any(|part| part.held);
        for taken in 0..max_rows {
            let unread = self.parts.iter().enumerate().filter(|(_, part)| part.next < part.end);
            let next = unread.map(|(at, part)| (part.next, part.number, at)).min();
            let Some((row, number, at)) = next else { return };
            let ahead = holds_back && self.parts.iter().any(|part| part.holds_back_before(row, number));
            if taken > 0 && ahead != self.ahead {
                return;
            }
            self.ahead = ahead;
            read(number, row);
            self.parts[at].next += 1;
        }
    }

    /// Whether the rows taken last lie ahead of rows that a plan holds back. So they do where a micro-batch was
    /// planned by several instances, one of which was behind, and is read again by fewer.
    pub(crate) fn read_ahead(&self) -> bool {
        self.ahead
    }

    /// The next row of each partition of which the plan leaves something to read, if there is a plan.
    pub(crate) fn next_rows(&self, until: Option<&Offsets>) -> impl Iterator<Item = (usize, u64)> {
        let left = move |part: &&Partition| planned(part, until) > part.next;
        self.parts.iter().filter(left).map(|part| (part.number, part.next))
    }

    /// Where the instance stands.
    pub(crate) fn offsets(&self) -> Offsets {
        Offsets(self.parts.iter().map(|part| (part.number.to_string(), part.next)).collect())
    }

    /// Where it would stand after reading `max_rows` rows before the bounds.
    pub(crate) fn plan(&self, max_rows: u64) -> Offsets {
        // All partitions are read up to a common level first, which is found by bisection; the few rows
        // left over go to the partitions in turn.
        let next_at = |part: &Partition, level: u64| part.end.min(part.next.max(level));
        let rows_at = |level: u64| {
            let rows = self.parts.iter().map(|part| next_at(part, level) - part.next);
            rows.fold(0u64, u64::saturating_add)
        };
        let (mut fits, mut above) = (0u64, u64::MAX);
        while above - fits > 1 {
            let middle = fits + (above - fits) / 2;
            if rows_at(middle) <= max_rows { fits = middle } else { above = middle }
        }
        let mut left = max_rows - rows_at(fits);
        let planned = self.parts.iter().map(|part| {
            let mut next = next_at(part, fits);
            if left > 0 && next == fits && next < part.end {
                next += 1;
                left -= 1;
            }
            (part.number.to_string(), next)
        });
        Offsets(planned.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plan_is_what_reading_that_many_rows_leads_to(
            rows in proptest::collection::vec((0u64..20, 0u64..20), 1..5),
            max_rows in 0usize..60,
        ) {
            let mut partitions = Partitions::of(Instance::ONLY, rows.len());
            for (part, (next, more)) in partitions.parts.iter_mut().zip(&rows) {
                part.next = *next;
                part.end = next + more;
            }
            let plan = partitions.plan(max_rows as u64);
            partitions.take(max_rows, |_, _| {});
            prop_assert_eq!(plan, partitions.offsets());
        }
    }

    #[test]
    fn rows_ahead_of_those_that_a_plan_holds_back_are_told_apart() {
        let mut partitions = Partitions::of(Instance::ONLY, 3);
        let plan = Offsets([("0", 3), ("1", 1), ("2", 2)].map(|(name, end)| (name.to_owned(), end)).into());
        let read = |partitions: &mut Partitions, plan: Option<&Offsets>, ends: [u64; 3]| {
            let (mut batches, mut rows) = (Vec::new(), Vec::new());
            partitions.bound(plan, |number| ends[number]);
            while partitions.ready() > 0 {
                partitions.take(100, |number, row| rows.push((row, number)));
                batches.push((std::mem::take(&mut rows), partitions.read_ahead()));
            }
            batches
        };
        let even = vec![(0, 0), (0, 1), (0, 2), (1, 0)];
        let ahead = vec![(1, 2), (2, 0)];
        assert_eq!(
            read(&mut partitions, Some(&plan), [9; 3]),
            [(even.clone(), false), (ahead.clone(), true)]
        );
        // What was held back is read next, and is ahead of nothing.
        assert_eq!(read(&mut partitions, None, [4; 3])[0].0[..3], [(1, 1), (2, 1), (2, 2)]);
        assert!(!partitions.read_ahead());
        // A partition that simply has no more rows holds nothing back.
        let mut partitions = Partitions::of(Instance::ONLY, 3);
        let all = even.into_iter().chain(ahead).collect();
        assert_eq!(read(&mut partitions, Some(&plan), [3, 1, 2]), [(all, false)]);
    }

    #[test]
    fn a_plan_without_bounds_does_not_overflow() {
        let mut partitions = Partitions::of(Instance::ONLY, 3);
        partitions.bound(None, |_| u64::MAX);
        let plan = partitions.plan(u64::MAX);
        assert!(plan.0.values().all(|next| *next >= u64::MAX / 3), "{plan}");
        assert_eq!(partitions.plan(4).to_string(), "0:2,1:1,2:1");
    }
}
