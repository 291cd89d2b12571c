//! Many kills, one after the other, over as many inputs as it takes.

use crate::child::{Mode, Settings};
use crate::parent::{End, Kill, check_complete, counts, run};
use crate::random::Random;
use lotic::kill_point::POINTS;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

const KILLS: u64 = 30;
const ROWS: u64 = 150_000;
/// Small, so that segments are sealed and compacted all the time.
const SEGMENT_BYTES: u64 = 16 * 1024;
/// Kills from outside for each time that every point was visited.
const OUTSIDE_PER_CYCLE: usize = 10;

struct Campaign {
    random: Random,
    pending: VecDeque<Kill>,
    /// Kills done, by point.
    done: BTreeMap<&'static str, u64>,
    rounds: u64,
    epochs: u64,
    /// What happened in this round.
    history: Vec<String>,
}

fn is_recovery(kill: Kill) -> bool {
    matches!(kill, Kill::Point { point, .. } if point.starts_with("recovery"))
}

/// A count at which the point is reached, as a rule, within a part of the input.
fn nth(point: &str, random: &mut Random) -> u64 {
    let last = match point {
        "recovery-mid-commits" => 2,
        _ if point.starts_with("recovery") => 1,
        _ if point.starts_with("compaction") => 3,
        "mid-put" => 4,
        "before-plan" | "after-plan" => 12,
        "before-marker" | "after-marker" | "before-snapshot" | "after-snapshot" => 60,
        _ => 20,
    };
    random.between(1, last)
}

impl Campaign {
    fn new(seed: u64, kills: u64) -> Campaign {
        let mut random = Random::new(seed);
        let mut pending = VecDeque::new();
        while (pending.len() as u64) < kills {
            let mut cycle: Vec<Kill> =
                POINTS.iter().map(|point| Kill::Point { point, nth: nth(point, &mut random) }).collect();
            for _ in 0..OUTSIDE_PER_CYCLE {
                cycle.push(Kill::Outside { commits: random.below(20), delay_us: random.below(10_000) });
            }
            random.shuffle(&mut cycle);
            pending.extend(cycle);
        }
        pending.truncate(kills as usize);
        Campaign { random, pending, done: BTreeMap::new(), rounds: 0, epochs: 0, history: Vec::new() }
    }

    /// The next kill; recovery can be interrupted only where there is something to recover.
    fn next_kill(&mut self, fresh: bool) -> Kill {
        let at = self.pending.iter().position(|kill| !fresh || !is_recovery(*kill));
        at.and_then(|at| self.pending.remove(at)).unwrap_or(Kill::Never)
    }

    fn settings(&mut self, folder: &std::path::Path, kill: Kill, run: u64) -> Settings {
        let random = &mut self.random;
        let mode = match kill {
            Kill::Point { point: "before-plan" | "after-plan", .. } => Mode::MicroBatch,
            _ => random.choose(&[Mode::Continuous, Mode::MicroBatch, Mode::Switching]),
        };
        let rows_per_second = if kill == Kill::Never { 0 } else { random.choose(&[20_000, 50_000, 200_000]) };
        Settings {
            folder: folder.to_owned(),
            rows: ROWS,
            rows_per_second,
            parallelism: 1 + (run % 2) as usize,
            mode,
            seed: random.next(),
        }
    }

    /// One input from its beginning to its end.
    fn round(&mut self, folder: &std::path::Path) -> Result<(), String> {
        self.rounds += 1;
        self.history.clear();
        let mut newest = 0;
        for number in self.rounds.. {
            let kill = self.next_kill(newest == 0);
            let settings = self.settings(folder, kill, number);
            self.history.push(format!("{kill} ({:?} x{})", settings.mode, settings.parallelism));
            let outcome = run(&settings, kill, Some(SEGMENT_BYTES))?;
            newest = newest.max(outcome.epoch);
            match outcome.end {
                End::Killed => {
                    let place = match kill {
                        Kill::Point { point, .. } => point,
                        _ => "from outside",
                    };
                    *self.done.entry(place).or_default() += 1;
                    counts(&settings)?;
                }
                End::Finished => {
                    self.put_back(kill);
                    self.epochs += newest;
                    return check_complete(&settings);
                }
                End::Failed(said) => return Err(format!("the query failed: {said}")),
            }
        }
        Ok(())
    }

    /// A kill that came too late is tried again, sooner.
    fn put_back(&mut self, kill: Kill) {
        match kill {
            Kill::Never => {}
            Kill::Outside { .. } => self.pending.push_front(Kill::Outside { commits: 1, delay_us: 0 }),
            Kill::Point { point, nth } if is_recovery(kill) => {
                let nth = nth.div_ceil(2);
                self.pending.push_back(Kill::Point { point, nth });
            }
            Kill::Point { point, nth } => {
                self.pending.push_front(Kill::Point { point, nth: nth.div_ceil(2) })
            }
        }
    }

    fn kills(&self) -> u64 {
        self.done.values().sum()
    }
}

#[test]
fn wherever_the_process_is_killed_nothing_is_lost_and_nothing_comes_twice() {
    let seed = crate::seed();
    let kills = crate::variable("LOTIC_CRASH_KILLS").unwrap_or(KILLS);
    let started = Instant::now();
    let mut campaign = Campaign::new(seed, kills);
    while campaign.rounds == 0 || campaign.kills() < kills {
        let folder = tempfile::Builder::new().prefix("lotic-crash-").tempdir().unwrap();
        if let Err(problem) = campaign.round(folder.path()) {
            let problem = format!("{problem}\nkills of this round: {}", campaign.history.join(", "));
            crate::fail("wherever_the_process", seed, folder, &problem);
        }
        assert!(campaign.rounds <= 20 + kills, "kills that never happen: {:?}", campaign.pending);
    }
    println!(
        "{} kills in {} rounds of {ROWS} rows, {} epochs committed, {:.1} s, seed {seed}: 0 lost, 0 duplicated",
        campaign.kills(),
        campaign.rounds,
        campaign.epochs,
        started.elapsed().as_secs_f64()
    );
    for (place, count) in &campaign.done {
        println!("{count:>5}  {place}");
    }
    if kills >= KILLS {
        let missed: Vec<_> = POINTS.iter().filter(|point| !campaign.done.contains_key(**point)).collect();
        assert!(missed.is_empty(), "no kill at {missed:?}");
    }
}
