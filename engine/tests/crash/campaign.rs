//! Many kills, one after the other, over as many inputs as it takes.

use crate::child::Settings;
use crate::kind::Kind;
use crate::parent::{check_complete, check_so_far, run};
use crate::support::mode::Mode;
use crate::support::process::{End, Kill};
use crate::support::random::Random;
use crate::support::schedule::Schedule;
use std::time::Instant;

const KILLS: u64 = 30;
/// Of the windows of each kind.
const WINDOW_KILLS: u64 = 8;
const ROWS: u64 = 150_000;
/// Small, so that segments are sealed and compacted all the time.
const SEGMENT_BYTES: u64 = 16 * 1024;

struct Campaign {
    kind: Kind,
    random: Random,
    schedule: Schedule,
    rounds: u64,
    epochs: u64,
    /// What happened in this round.
    history: Vec<String>,
}

/// A count at which the point is reached, as a rule, within a part of the input.
fn nth_max(point: &str) -> u64 {
    match point {
        "recovery-mid-commits" => 2,
        _ if point.starts_with("recovery") => 1,
        _ if point.starts_with("compaction") => 3,
        "mid-put" => 4,
        "before-plan" | "after-plan" => 12,
        "before-marker" | "after-marker" | "before-snapshot" | "after-snapshot" => 60,
        _ => 20,
    }
}

impl Campaign {
    fn new(kind: Kind, seed: u64, kills: u64) -> Campaign {
        let mut random = Random::new(seed);
        let outside =
            |random: &mut Random| Kill::Outside { commits: random.below(20), delay_us: random.below(10_000) };
        let schedule = Schedule::new(&mut random, kills, outside, nth_max);
        Campaign { kind, random, schedule, rounds: 0, epochs: 0, history: Vec::new() }
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
            kind: self.kind,
            rows: ROWS,
            rows_per_second,
            parallelism: 1 + (run % 2) as usize,
            mode,
            seed: random.next(),
        }
    }

    /// Windows are few and come together: as good as never are several commits left to a recovery.
    fn reachable(&mut self, kill: Kill) -> Kill {
        match kill {
            Kill::Point { point: "recovery-mid-commits", .. } if self.kind != Kind::Counts => {
                Kill::Outside { commits: self.random.below(20), delay_us: self.random.below(10_000) }
            }
            kill => kill,
        }
    }

    /// One input from its beginning to its end.
    fn round(&mut self, folder: &std::path::Path) -> Result<(), String> {
        self.rounds += 1;
        self.history.clear();
        let mut newest = 0;
        for number in self.rounds.. {
            let kill = self.schedule.next_kill(newest == 0);
            let kill = self.reachable(kill);
            let settings = self.settings(folder, kill, number);
            self.history.push(format!("{kill} ({:?} x{})", settings.mode, settings.parallelism));
            let outcome = run(&settings, kill, Some(SEGMENT_BYTES))?;
            newest = newest.max(outcome.epoch);
            match outcome.end {
                End::Killed => {
                    self.schedule.killed(kill);
                    check_so_far(&settings)?;
                }
                End::Finished => {
                    self.schedule.put_back(kill);
                    self.epochs += newest;
                    return check_complete(&settings);
                }
                End::Failed(said) => return Err(format!("the query failed: {said}")),
            }
        }
        Ok(())
    }
}

#[test]
fn wherever_the_process_is_killed_nothing_is_lost_and_nothing_comes_twice() {
    let seed = crate::NAMES.seed();
    let kills = crate::NAMES.kills().unwrap_or(KILLS);
    let started = Instant::now();
    let mut campaign = Campaign::new(Kind::Counts, seed, kills);
    while campaign.rounds == 0 || campaign.schedule.kills() < kills {
        let folder = tempfile::Builder::new().prefix("lotic-crash-").tempdir().unwrap();
        if let Err(problem) = campaign.round(folder.path()) {
            let problem = format!("{problem}\nkills of this round: {}", campaign.history.join(", "));
            crate::NAMES.fail("wherever_the_process", seed, folder, &problem);
        }
        assert!(campaign.rounds <= 20 + kills, "kills that never happen: {:?}", campaign.schedule.pending());
    }
    println!(
        "{} kills in {} rounds of {ROWS} rows, {} epochs committed, {:.1} s, seed {seed}: 0 lost, 0 duplicated",
        campaign.schedule.kills(),
        campaign.rounds,
        campaign.epochs,
        started.elapsed().as_secs_f64()
    );
    campaign.schedule.print();
    if kills >= KILLS {
        campaign.schedule.check_all_visited();
    }
}

/// Kills from outside and within, with another mode and parallelism after each.
fn survives(kind: Kind) {
    let seed = crate::NAMES.seed();
    let kills = crate::NAMES.kills().unwrap_or(WINDOW_KILLS);
    let mut campaign = Campaign::new(kind, seed, kills);
    while campaign.rounds == 0 || campaign.schedule.kills() < kills {
        let folder = tempfile::Builder::new().prefix("lotic-crash-").tempdir().unwrap();
        if let Err(problem) = campaign.round(folder.path()) {
            let problem = format!("{problem}\nkills of this round: {}", campaign.history.join(", "));
            crate::NAMES.fail("survives", seed, folder, &problem);
        }
        assert!(campaign.rounds <= 20 + kills, "kills that never happen: {:?}", campaign.schedule.pending());
    }
    println!("{kind:?}: {} kills in {} rounds, seed {seed}", campaign.schedule.kills(), campaign.rounds);
}

#[test]
fn rows_that_wait_for_a_service_survive_kills_and_changes_of_mode() {
    survives(Kind::Lookups);
}

#[test]
fn tumbling_windows_survive_kills_and_changes_of_mode() {
    survives(Kind::Tumbling);
}

#[test]
fn sliding_windows_survive_kills_and_changes_of_mode() {
    survives(Kind::Sliding);
}

#[test]
fn session_windows_survive_kills_and_changes_of_mode() {
    survives(Kind::Session);
}
