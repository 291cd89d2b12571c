//! A source that makes its own rows, at a fixed rate.

use crate::error::Result;
use crate::limits::UNPACED_BATCH_ROWS;
use crate::offsets::Offsets;
use crate::partitions::Partitions;
use crate::source::{Latest, PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits};
use lotic_operators::{Instance, Rows, Timestamp};
use serde::{Deserialize, Serialize};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

const NANOS: u128 = 1_000_000_000;

/// A row of a [`RateSource`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateRow {
    /// The number of the row, from 0: the same after every restart.
    pub value: u64,
    /// When the schedule meant it to be sent, in nanoseconds since [`RateSource::origin`]; unpaced, when it
    /// was polled. Latency is counted from here, so that a source that is held up cannot hide it.
    pub intended_ns: u64,
    /// The same as a point in time.
    pub timestamp: Timestamp,
}

/// A source that makes rows at a fixed rate, in an open loop: a row is due at its time whether or not the
/// query keeps up.
///
/// Row `i` goes to partition `i % partitions`, and is due `i / rows_per_second` after the start. After a
/// restart the values continue at the offset, and the schedule starts anew from there.
///
/// ```
/// use lotic_connectors::RateSource;
/// let source = RateSource::new(10_000).partitions(2).limit(1_000_000);
/// # let _ = source;
/// ```
///
/// # Delivery
/// Replayable: values depend on offsets alone. Times are those of the run.
#[derive(Debug, Clone)]
pub struct RateSource {
    name: String,
    rows_per_second: u64,
    ramp_up: Duration,
    partitions: usize,
    limit: u64,
    origin: Instant,
}

impl RateSource {
    /// This many rows per second over all partitions; 0 means as fast as they are taken.
    #[must_use]
    pub fn new(rows_per_second: u64) -> Self {
        let origin = Instant::now();
        RateSource {
            name: "rate".to_owned(),
            rows_per_second,
            ramp_up: Duration::ZERO,
            partitions: 1,
            limit: u64::MAX,
            origin,
        }
    }

    /// What to call the source in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Lets the rate rise evenly from 0 over this long, at each start. Of no effect if the rate is 0.
    #[must_use]
    pub fn ramp_up(mut self, time: Duration) -> Self {
        self.ramp_up = time;
        self
    }

    /// The number of partitions, at least one: how many instances can share the work.
    #[must_use]
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = partitions.max(1);
        self
    }

    /// Ends the input after this many rows in all.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.limit = rows;
        self
    }

    /// The instant from which [`RateRow::intended_ns`] counts: when this value was made by
    /// [`RateSource::new`].
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Where a partition ends if the stream has this many rows.
    fn end_of(&self, partition: usize, rows: u64) -> u64 {
        rows.saturating_sub(partition as u64).div_ceil(self.partitions as u64)
    }

    fn row_of(&self, partition: usize, offset: u64) -> u64 {
        offset.saturating_mul(self.partitions as u64).saturating_add(partition as u64)
    }
}

impl SourceFactory<Rows<RateRow>> for RateSource {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: self.name.clone(),
            replayable: true,
            polling: Polling::NonBlocking,
            max_parallelism: self.partitions,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<RateRow>>>> {
        Ok(Box::new(Generator {
            partitions: Partitions::of(instance, self.partitions),
            schedule: Schedule::new(self, 0, self.origin),
            rate: self.clone(),
        }))
    }
}

/// When each row of a run is due.
#[derive(Debug)]
struct Schedule {
    rows_per_second: u128,
    /// How long the rate rises.
    ramp_ns: u128,
    /// The row due at the start.
    first_row: u64,
    start: Instant,
    /// From the origin to the start.
    start_ns: u64,
    start_time: Timestamp,
}

impl Schedule {
    fn new(rate: &RateSource, first_row: u64, start: Instant) -> Self {
        Schedule {
            rows_per_second: u128::from(rate.rows_per_second),
            ramp_ns: rate.ramp_up.as_nanos(),
            first_row,
            start,
            start_ns: nanos(start.saturating_duration_since(rate.origin)),
            start_time: wall_clock(),
        }
    }

    /// Rows of the whole stream that are due, counted from row 0.
    fn due(&self, now: Instant) -> u64 {
        if self.rows_per_second == 0 {
            return u64::MAX;
        }
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        // The area under the rate: a triangle while it rises, then a rectangle beside it.
        let rows = if elapsed < self.ramp_ns {
            let area = elapsed.saturating_mul(elapsed).saturating_mul(self.rows_per_second);
            area / self.ramp_ns.saturating_mul(2 * NANOS)
        } else {
            (2 * elapsed - self.ramp_ns).saturating_mul(self.rows_per_second) / (2 * NANOS)
        };
        self.first_row.saturating_add(u64::try_from(rows).unwrap_or(u64::MAX)).saturating_add(1)
    }

    /// From the start to the time at which a row is due.
    fn delay_ns(&self, row: u64) -> u64 {
        let rows = u128::from(row.saturating_sub(self.first_row));
        let ramp_rows = self.ramp_ns.saturating_mul(self.rows_per_second) / (2 * NANOS);
        let delay = if rows <= ramp_rows && self.ramp_ns > 0 {
            let square = (2 * NANOS * rows).saturating_mul(self.ramp_ns).div_ceil(self.rows_per_second);
            let root = square.isqrt();
            if root * root < square { root + 1 } else { root }
        } else {
            let twice = 2 * NANOS * rows + self.ramp_ns.saturating_mul(self.rows_per_second);
            twice.div_ceil(2 * self.rows_per_second)
        };
        u64::try_from(delay).unwrap_or(u64::MAX)
    }

    fn row(&self, value: u64, now_ns: u64) -> RateRow {
        let delay_ns = if self.rows_per_second == 0 { now_ns } else { self.delay_ns(value) };
        RateRow {
            value,
            intended_ns: self.start_ns.saturating_add(delay_ns),
            timestamp: self.start_time.plus(Duration::from_nanos(delay_ns)),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of day, read once for each start.
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[derive(Debug)]
struct Generator {
    rate: RateSource,
    partitions: Partitions,
    schedule: Schedule,
}

impl Generator {
    fn bound(&mut self, until: Option<&Offsets>, now: Instant) {
        let rows = self.schedule.due(now).min(self.rate.limit);
        self.partitions.bound(until, |partition| self.rate.end_of(partition, rows));
    }
}

impl Source<Rows<RateRow>> for Generator {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        self.partitions.start(&self.rate.name, from)?;
        // The first row that no instance has made yet, so that all instances follow one schedule.
        let next = |partition: usize| from.get(&partition.to_string()).unwrap_or(0);
        let rows = (0..self.rate.partitions).map(|partition| self.rate.row_of(partition, next(partition)));
        let first_row = rows.min().unwrap_or(0);
        self.schedule = Schedule::new(&self.rate, first_row, Instant::now());
        Ok(())
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<Rows<RateRow>>> {
        let now = Instant::now();
        self.bound(request.until, now);
        let ready = usize::try_from(self.partitions.ready()).unwrap_or(usize::MAX);
        let ready = ready.min(request.max_rows.max(1));
        let now_ns = nanos(now.saturating_duration_since(self.schedule.start));
        if ready > 0 {
            let mut rows = Vec::with_capacity(ready);
            self.partitions.take(ready, |partition, offset| {
                rows.push(self.schedule.row(self.rate.row_of(partition, offset), now_ns));
            });
            return Ok(Polled::Batch(Rows::from(rows)));
        }
        if self.partitions.exhausted(|partition| self.rate.end_of(partition, self.rate.limit)) {
            return Ok(Polled::Finished);
        }
        if request.until.is_some_and(|until| self.partitions.reached(until)) {
            return Ok(Polled::AtEnd);
        }
        let next_rows = self.partitions.next_rows(request.until);
        let rows = next_rows.map(|(partition, next)| self.rate.row_of(partition, next));
        let due_ns = rows.map(|row| self.schedule.delay_ns(row)).min();
        Ok(Polled::Pending(due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(now_ns)))))
    }

    fn polled_partition(&self) -> Option<usize> {
        (!self.partitions.read_ahead()).then_some(0)
    }

    fn offsets(&self) -> Offsets {
        self.partitions.offsets()
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> Result<Latest> {
        self.bound(None, Instant::now());
        let unpaced = self.rate.rows_per_second == 0;
        let max_rows = if unpaced { max_rows.min(UNPACED_BATCH_ROWS) } else { max_rows };
        Ok(Latest::At(self.partitions.plan(max_rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_is_due_at_its_time_and_not_before(
            rows_per_second in 1u64..2_000_000,
            ramp_ms in prop_oneof![Just(0u64), 1u64..100_000],
            row in 0u64..10_000_000,
            first_row in 0u64..1000,
        ) {
            let rate = RateSource::new(rows_per_second).ramp_up(Duration::from_millis(ramp_ms));
            let schedule = Schedule::new(&rate, first_row, rate.origin);
            let row = first_row + row;
            let delay = schedule.delay_ns(row);
            prop_assert!(schedule.due(rate.origin + Duration::from_nanos(delay)) > row);
            if let Some(before) = delay.checked_sub(1) {
                prop_assert!(schedule.due(rate.origin + Duration::from_nanos(before)) <= row);
            }
        }
    }

    #[test]
    fn half_of_the_rows_come_while_the_rate_rises() {
        let rate = RateSource::new(100).ramp_up(Duration::from_secs(2));
        let schedule = Schedule::new(&rate, 0, rate.origin);
        let due = |millis| schedule.due(rate.origin + Duration::from_millis(millis)) - 1;
        assert_eq!([due(0), due(1000), due(2000), due(3000)], [0, 25, 100, 200]);
    }
}
