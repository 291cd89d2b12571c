//! What a seed stands for: the query, its input, the faults.

use crate::checkpoint::align::Consistency;
use crate::query::Trigger;
use crate::testing::random::Random;
use std::time::Duration;

/// The parts of a simulated query that stay the same over its restarts, and how often what goes wrong.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) consistency: Consistency,
    /// Partitions of each input.
    pub(super) partitions: Vec<usize>,
    /// Rows of each input.
    pub(super) rows: u32,
    pub(super) keys: u8,
    pub(super) groups: u8,
    /// Whether a stateless operator follows the keyed ones.
    pub(super) pass: bool,
    /// Items that a channel holds.
    pub(super) capacity: usize,
    pub(super) batch_rows_max: Option<u64>,
    pub(super) segment_bytes: u64,
    /// Step after which nothing goes wrong any more and all input is there.
    pub(super) calm_after: u64,
    /// A step in so many is one of these; 0 for never.
    pub(super) feed_in: u64,
    pub(super) crash_in: u64,
    pub(super) storage_in: u64,
    pub(super) pause_in: u64,
    pub(super) user_in: u64,
    pub(super) decline_in: u64,
    pub(super) sink_in: u64,
}

/// What a restart may change.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) sources: Vec<usize>,
    pub(super) stages: Vec<usize>,
    pub(super) epoch_timeout: Duration,
}

impl Setup {
    pub(super) fn of(random: &mut Random) -> Setup {
        let inputs = 1 + random.below(2);
        let often = |random: &mut Random, rates: &[u64]| *random.pick(rates);
        Setup {
            consistency: if random.once_in(8) { Consistency::AtLeastOnce } else { Consistency::ExactlyOnce },
            partitions: (0..inputs).map(|_| 1 + random.below(3)).collect(),
            rows: random.between(5, 40) as u32,
            keys: random.between(1, 9) as u8,
            groups: random.between(1, 4) as u8,
            pass: random.once_in(3),
            capacity: random.between(1, 5) as usize,
            batch_rows_max: random.once_in(2).then(|| random.between(1, 12)),
            segment_bytes: random.between(100, 3000),
            calm_after: random.between(200, 1500),
            feed_in: random.between(5, 40),
            crash_in: often(random, &[0, 700, 250]),
            storage_in: often(random, &[0, 400, 150]),
            pause_in: often(random, &[0, 200, 60]),
            user_in: often(random, &[0, 200, 50]),
            decline_in: often(random, &[0, 0, 30, 8]),
            sink_in: often(random, &[0, 0, 500]),
        }
    }

    /// Stages, without sources: the two counting operators, perhaps the stateless one, the sink.
    pub(super) fn stages(&self) -> usize {
        if self.pass { 4 } else { 3 }
    }

    pub(super) fn shape(&self, random: &mut Random, calm: bool) -> Shape {
        let timeout_ms = if calm { 60_000 } else { *random.pick(&[2, 20, 1000]) };
        Shape {
            sources: self.partitions.iter().map(|&partitions| 1 + random.below(partitions)).collect(),
            stages: (0..self.stages()).map(|_| 1 + random.below(3)).collect(),
            epoch_timeout: Duration::from_millis(timeout_ms),
        }
    }
}

/// Any trigger.
pub(super) fn trigger(random: &mut Random) -> Trigger {
    match random.below(6) {
        0 | 1 => Trigger::Continuous(Duration::from_micros(random.between(50, 1500))),
        2 => Trigger::ProcessingTime(Duration::from_micros(random.between(50, 1500))),
        3 => Trigger::ProcessingTime(Duration::ZERO),
        4 => Trigger::AvailableNow,
        _ => Trigger::Once,
    }
}
