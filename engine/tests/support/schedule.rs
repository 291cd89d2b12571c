//! Which kills are still to come, and which were done.

use crate::support::process::Kill;
use crate::support::random::Random;
use lotic::kill_point::POINTS;
use std::collections::{BTreeMap, VecDeque};

/// Kills from outside for each time that every point was visited.
const OUTSIDE_PER_CYCLE: usize = 10;

/// Kills: every point and some from outside, in a random order, again and again.
pub(crate) struct Schedule {
    pending: VecDeque<Kill>,
    /// Kills done, by point.
    done: BTreeMap<&'static str, u64>,
}

fn is_recovery(kill: Kill) -> bool {
    matches!(kill, Kill::Point { point, .. } if point.starts_with("recovery"))
}

impl Schedule {
    /// That many kills. `nth_max` is the count up to which a point is reached, as a rule, within a run;
    /// `outside` draws a kill from outside.
    pub(crate) fn new(
        random: &mut Random,
        kills: u64,
        outside: fn(&mut Random) -> Kill,
        nth_max: fn(&str) -> u64,
    ) -> Schedule {
        let mut pending = VecDeque::new();
        while (pending.len() as u64) < kills {
            let mut cycle: Vec<Kill> = Vec::new();
            for point in POINTS {
                cycle.push(Kill::Point { point, nth: random.between(1, nth_max(point)) });
            }
            for _ in 0..OUTSIDE_PER_CYCLE {
                cycle.push(outside(random));
            }
            random.shuffle(&mut cycle);
            pending.extend(cycle);
        }
        pending.truncate(kills as usize);
        Schedule { pending, done: BTreeMap::new() }
    }

    /// The next kill; recovery can be interrupted only where there is something to recover.
    pub(crate) fn next_kill(&mut self, fresh: bool) -> Kill {
        let at = self.pending.iter().position(|kill| !fresh || !is_recovery(*kill));
        at.and_then(|at| self.pending.remove(at)).unwrap_or(Kill::Never)
    }

    /// A kill has happened.
    pub(crate) fn killed(&mut self, kill: Kill) {
        let place = match kill {
            Kill::Point { point, .. } => point,
            _ => "from outside",
        };
        *self.done.entry(place).or_default() += 1;
    }

    /// A kill that came too late is tried again, sooner.
    pub(crate) fn put_back(&mut self, kill: Kill) {
        match kill {
            Kill::Never => {}
            Kill::Outside { .. } => self.pending.push_front(Kill::Outside { commits: 1, delay_us: 0 }),
            Kill::Point { point, nth } if is_recovery(kill) => {
                let nth = nth.div_ceil(2);
                self.pending.push_back(Kill::Point { point, nth });
            }
            Kill::Point { point, nth } => {
                self.pending.push_front(Kill::Point { point, nth: nth.div_ceil(2) });
            }
        }
    }

    /// Kills done.
    pub(crate) fn kills(&self) -> u64 {
        self.done.values().sum()
    }

    /// Kills to come.
    pub(crate) fn pending(&self) -> &VecDeque<Kill> {
        &self.pending
    }

    /// Prints how often the process died where.
    pub(crate) fn print(&self) {
        for (place, count) in &self.done {
            println!("{count:>5}  {place}");
        }
    }

    /// Fails if some point was never visited.
    pub(crate) fn check_all_visited(&self) {
        let missed: Vec<_> = POINTS.iter().filter(|point| !self.done.contains_key(**point)).collect();
        assert!(missed.is_empty(), "no kill at {missed:?}");
    }
}
