//! When each record should be sent: the schedule of an open loop.
//!
//! The schedule knows nothing of the system it loads. A record's intended time is fixed before the run, so
//! that a system which stalls cannot slow down the questions it is asked (coordinated omission); latency is
//! counted from the intended time.

use crate::event::splitmix;
use std::num::NonZeroU64;

const SECOND_NS: u64 = 1_000_000_000;

/// How records follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At equal distances.
    Constant {
        /// Records per second.
        per_second: NonZeroU64,
    },
    /// Independently of each other, with exponential distances: what many independent clients send.
    Poisson {
        /// Records per second, on average.
        per_second: NonZeroU64,
        /// The same seed gives the same times.
        seed: u64,
    },
    /// As fast as they are taken: for throughput. Such records have no intended time of their own.
    Unpaced,
}

/// Which part of the records a generator sends, when several share a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Counted from 0.
    pub index: u64,
    /// How many generators there are.
    pub of: NonZeroU64,
}

impl Share {
    /// All records.
    pub const ALL: Share = Share { index: 0, of: NonZeroU64::MIN };
}

/// The intended send times, in nanoseconds since the run began; never ends.
///
/// # Cost
/// A few additions for a record at a constant rate, one logarithm for a Poisson one.
#[derive(Debug, Clone)]
pub struct Schedule(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// `next_ns + remainder / divisor` is exact, so that no rounding accumulates.
    Constant {
        next_ns: u64,
        remainder: u64,
        step_ns: u64,
        step_remainder: u64,
        divisor: u64,
    },
    Poisson {
        next_ns: f64,
        mean_ns: f64,
        seed: u64,
        drawn: u64,
    },
    Unpaced,
}

impl Schedule {
    /// The schedule of all records.
    #[must_use]
    pub fn new(pace: Pace) -> Schedule {
        Schedule::shared(pace, Share::ALL)
    }

    /// The schedule of one share: at a constant rate the records take turns, with Poisson each share is a
    /// Poisson process of its own, so that together they are the whole one.
    #[must_use]
    pub fn shared(pace: Pace, share: Share) -> Schedule {
        let parts = share.of.get();
        assert!(share.index < parts, "share {} of {parts} does not exist", share.index);
        Schedule(match pace {
            Pace::Constant { per_second } => {
                let divisor = per_second.get();
                let (first, step) = (share.index * SECOND_NS, parts * SECOND_NS);
                Kind::Constant {
                    next_ns: first / divisor,
                    remainder: first % divisor,
                    step_ns: step / divisor,
                    step_remainder: step % divisor,
                    divisor,
                }
            }
            Pace::Poisson { per_second, seed } => {
                let mean_ns = SECOND_NS as f64 * parts as f64 / per_second.get() as f64;
                let mut poisson = Kind::Poisson {
                    next_ns: 0.0,
                    mean_ns,
                    seed: splitmix(seed ^ splitmix(share.index)),
                    drawn: 0,
                };
                poisson.advance();
                poisson
            }
            Pace::Unpaced => Kind::Unpaced,
        })
    }

    /// The intended time of the next record; `None` if it has none, so that it may go out at once.
    #[inline]
    pub fn next_ns(&self) -> Option<u64> {
        match &self.0 {
            Kind::Constant { next_ns, .. } => Some(*next_ns),
            Kind::Poisson { next_ns, .. } => Some(*next_ns as u64),
            Kind::Unpaced => None,
        }
    }

    /// Moves on to the record after it.
    #[inline]
    pub fn advance(&mut self) {
        self.0.advance();
    }
}

impl Kind {
    #[inline]
    fn advance(&mut self) {
        match self {
            Kind::Constant { next_ns, remainder, step_ns, step_remainder, divisor } => {
                *next_ns += *step_ns;
                *remainder += *step_remainder;
                if *remainder >= *divisor {
                    *remainder -= *divisor;
                    *next_ns += 1;
                }
            }
            Kind::Poisson { next_ns, mean_ns, seed, drawn } => {
                let random = splitmix(seed.wrapping_add(drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                *drawn += 1;
                // 53 random bits in (0, 1]: the logarithm is finite.
                let uniform = ((random >> 11) + 1) as f64 / (1u64 << 53) as f64;
                *next_ns -= uniform.ln() * *mean_ns;
            }
            Kind::Unpaced => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u64) -> NonZeroU64 {
        NonZeroU64::new(per_second).unwrap()
    }

    fn times(mut schedule: Schedule, count: usize) -> Vec<u64> {
        (0..count)
            .map(|_| {
                let next = schedule.next_ns().unwrap();
                schedule.advance();
                next
            })
            .collect()
    }

    #[test]
    fn a_constant_rate_is_exact_however_long_it_runs() {
        for per_second in [1, 3, 7, 10_000, 99_999, 1_000_000, 3_000_000_000] {
            let seen = times(Schedule::new(Pace::Constant { per_second: rate(per_second) }), 20_000);
            for (index, &at) in seen.iter().enumerate() {
                let exact = index as u128 * 1_000_000_000 / u128::from(per_second);
                assert_eq!(u128::from(at), exact, "record {index} at {per_second}/s");
            }
        }
    }

    #[test]
    fn shares_of_a_constant_rate_are_together_the_whole() {
        let pace = Pace::Constant { per_second: rate(30_001) };
        let mut together = Vec::new();
        for index in 0..3 {
            together.extend(times(Schedule::shared(pace, Share { index, of: rate(3) }), 1000));
        }
        together.sort_unstable();
        assert_eq!(together, times(Schedule::new(pace), 3000));
    }

    #[test]
    fn poisson_has_the_mean_the_spread_and_the_seed_it_was_given() {
        let pace = |seed| Pace::Poisson { per_second: rate(10_000), seed };
        let seen = times(Schedule::new(pace(5)), 100_000);
        assert!(seen.is_sorted());
        let gaps: Vec<f64> = seen.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 100_000.0 - 1.0).abs() < 0.02, "mean gap {mean} ns");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "an exponential gap deviates by its mean");
        assert_eq!(seen[..100], times(Schedule::new(pace(5)), 100));
        assert_ne!(seen[..100], times(Schedule::new(pace(6)), 100));
    }

    #[test]
    fn poisson_shares_add_up_to_the_rate() {
        let pace = Pace::Poisson { per_second: rate(10_000), seed: 9 };
        let in_ten_seconds: usize = (0..2)
            .map(|index| {
                let share = Schedule::shared(pace, Share { index, of: rate(2) });
                times(share, 80_000).iter().filter(|&&at| at < 10_000_000_000).count()
            })
            .sum();
        assert!((99_000..101_000).contains(&in_ten_seconds), "{in_ten_seconds}");
    }

    #[test]
    fn unpaced_records_have_no_time_of_their_own() {
        let mut schedule = Schedule::new(Pace::Unpaced);
        schedule.advance();
        assert_eq!(schedule.next_ns(), None);
    }
}
