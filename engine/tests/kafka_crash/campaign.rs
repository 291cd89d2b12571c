//! Many kills, one after the other, over as many topics as it takes.

use crate::child::Settings;
use crate::outside::{Feeder, counts};
use crate::support::mode::Mode;
use crate::support::process::{End, Kill, Meanwhile, run};
use crate::support::random::Random;
use crate::support::schedule::Schedule;
use lotic::connectors::testing::kafka::TestBroker;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const KILLS: u64 = 10;
/// Kills of the engine for each kill of the broker.
const KILLS_PER_BROKER_KILL: u64 = 5;
/// Records fed in a round, before those that end it.
const ROWS: u64 = 6_000;
/// How long a child may be without a commit before it is fed.
const QUIET: Duration = Duration::from_millis(20);

/// A count at which the point is reached, as a rule, within a part of the input.
fn nth_max(point: &str) -> u64 {
    match point {
        _ if point.starts_with("recovery") || point.starts_with("compaction") => 1,
        "mid-put" => 2,
        "before-plan" | "after-plan" => 4,
        _ => 8,
    }
}

struct Campaign {
    broker: TestBroker,
    random: Random,
    schedule: Schedule,
    rounds: u64,
    broker_kills: u64,
    /// What happened in this round.
    history: Vec<String>,
}

impl Campaign {
    fn settings(
        &mut self,
        folder: &Path,
        (input, output): (&str, &str),
        kill: Kill,
        number: u64,
    ) -> Settings {
        let mode = match kill {
            Kill::Point { point: "before-plan" | "after-plan", .. } => Mode::MicroBatch,
            _ => self.random.choose(&[Mode::Continuous, Mode::MicroBatch, Mode::Switching]),
        };
        Settings {
            folder: folder.to_owned(),
            brokers: self.broker.bootstrap().to_owned(),
            input: input.to_owned(),
            output: output.to_owned(),
            parallelism: 1 + (number % 2) as usize,
            mode,
            seed: self.random.next(),
        }
    }

    /// Whether this run is to lose its broker.
    fn loses_broker(&self) -> bool {
        self.broker_kills < self.schedule.kills() / KILLS_PER_BROKER_KILL
    }

    /// One pair of topics, until all that was fed is counted.
    fn round(&mut self, folder: &Path) -> Result<(), String> {
        self.rounds += 1;
        self.history.clear();
        let input = self.broker.topic(&format!("crash-in-{}", self.rounds), 3);
        let output = self.broker.topic(&format!("crash-out-{}", self.rounds), 2);
        let mut feeder = Feeder::new(self.broker.bootstrap(), &input);
        let mut fresh = true;
        for number in self.rounds.. {
            let kill = self.schedule.next_kill(fresh);
            let settings = self.settings(folder, (&input, &output), kill, number);
            let loses_broker = self.loses_broker();
            self.history.push(format!("{kill} ({:?} x{})", settings.mode, settings.parallelism));
            let (broker, random, mut broker_killed) = (&self.broker, &mut self.random, false);
            let mut feed = || {
                let enough = if matches!(kill, Kill::Point { .. }) { 3 * ROWS } else { ROWS };
                if settings.all_is_fed().exists() {
                    // Nothing follows the end that a child before this one was told.
                } else if feeder.fed < enough {
                    feeder.feed(random);
                } else {
                    fs::write(settings.all_is_fed(), "").unwrap();
                }
                if loses_broker && !broker_killed && random.below(4) == 0 {
                    broker_killed = true;
                    broker.kill();
                    broker.restart();
                }
            };
            let outcome =
                run(&settings, kill, Some(16 * 1024), Some(Meanwhile { quiet: QUIET, feed: &mut feed }))?;
            if broker_killed {
                self.broker_kills += 1;
                self.history.push("the broker was killed meanwhile".to_owned());
            }
            fresh &= outcome.epoch == 0;
            match outcome.end {
                End::Killed => {
                    self.schedule.killed(kill);
                    counts(self.broker.bootstrap(), &output)?;
                }
                End::Finished => {
                    self.schedule.put_back(kill);
                    let (seen, expected) = (counts(self.broker.bootstrap(), &output)?, feeder.expected());
                    if seen != expected {
                        let missing = expected.iter().find(|(key, count)| seen.get(*key) != Some(count));
                        return Err(format!("LOST: the counts end too early, for example {missing:?}"));
                    }
                    return Ok(());
                }
                End::Failed(said) => return Err(format!("the query failed: {said}")),
            }
        }
        Ok(())
    }
}

#[test]
fn whatever_is_killed_a_reader_of_committed_records_sees_every_result_once() {
    let Some(broker) = TestBroker::start_own() else { return };
    let seed = crate::NAMES.seed();
    let kills = crate::NAMES.kills().unwrap_or(KILLS);
    let started = Instant::now();
    let mut random = Random::new(seed);
    let outside =
        |random: &mut Random| Kill::Outside { commits: random.below(12), delay_us: random.below(20_000) };
    let schedule = Schedule::new(&mut random, kills, outside, nth_max);
    let mut campaign = Campaign { broker, random, schedule, rounds: 0, broker_kills: 0, history: Vec::new() };
    while campaign.schedule.kills() < kills {
        let folder = tempfile::Builder::new().prefix("lotic-kafka-crash-").tempdir().unwrap();
        if let Err(problem) = campaign.round(folder.path()) {
            let problem = format!("{problem}\nkills of this round: {}", campaign.history.join(", "));
            crate::NAMES.fail("whatever_is_killed", seed, folder, &problem);
        }
        assert!(campaign.rounds <= 20 + kills, "kills that never happen: {:?}", campaign.schedule.pending());
    }
    println!(
        "{} kills of the engine and {} of the broker in {} rounds, {:.1} s, seed {seed}: 0 lost, 0 duplicated",
        campaign.schedule.kills(),
        campaign.broker_kills,
        campaign.rounds,
        started.elapsed().as_secs_f64()
    );
    campaign.schedule.print();
}
