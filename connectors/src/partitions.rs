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
}

#[derive(Debug)]
struct Partition {
    number: usize,
    next: u64,
    end: u64,
}

/// Where a plan ends a partition: at once if it does not name it.
fn planned(part: &Partition, until: Option<&Offsets>) -> u64 {
    until.map_or(u64::MAX, |until| until.get(&part.number.to_string()).unwrap_or(0))
}

impl Partitions {
    /// Of `count` partitions, numbered from 0, those that fall to an instance.
    pub(crate) fn of(instance: Instance, count: usize) -> Self {
        let parts = (instance.index..count)
            .step_by(instance.parallelism.max(1))
            .map(|number| Partition { number, next: 0, end: 0 })
            .collect();
        Partitions { count, parts }
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
            part.end = end_of(part.number).min(planned(part, until)).max(part.next);
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

    /// Reads up to `max_rows` rows before the bounds, calling `read(partition, row)` for each, in order.
    #[inline]
    pub(crate) fn take(&mut self, max_rows: usize, mut read: impl FnMut(usize, u64)) {
        if let [only] = self.parts.as_mut_slice() {
            let end = only.end.min(only.next.saturating_add(max_rows as u64));
            (only.next..end).for_each(|row| read(only.number, row));
            only.next = end.max(only.next);
            return;
        }
        for _ in 0..max_rows {
            let unread = self.parts.iter_mut().filter(|part| part.next < part.end);
            let Some(part) = unread.min_by_key(|part| (part.next, part.number)) else { return };
            read(part.number, part.next);
            part.next += 1;
        }
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
    fn a_plan_without_bounds_does_not_overflow() {
        let mut partitions = Partitions::of(Instance::ONLY, 3);
        partitions.bound(None, |_| u64::MAX);
        let plan = partitions.plan(u64::MAX);
        assert!(plan.0.values().all(|next| *next >= u64::MAX / 3), "{plan}");
        assert_eq!(partitions.plan(4).to_string(), "0:2,1:1,2:1");
    }
}
