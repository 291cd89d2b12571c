//! Many kills, one after the other, over as many inputs, formats and sinks as it takes.

use crate::NAMES;
use crate::check::Checker;
use crate::child::{Output, Settings};
use crate::data::{FILES, FORMATS, stage, write_inputs};
use crate::support::mode::Mode;
use crate::support::process::{End, Kill, Meanwhile, run};
use crate::support::random::Random;
use crate::support::schedule::Schedule;
use crate::windows::{KINDS, Kind};
use lotic::Session;
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KILLS: u64 = 24;
/// After that many kills in a round the rest of its input comes at once, so that all formats have their turn.
const KILLS_OF_ROUND: u64 = 4;
/// From this many kills on every point must have been visited.
const KILLS_OF_ALL_POINTS: u64 = 100;
/// Small, so that segments are sealed and compacted all the time.
const SEGMENT_BYTES: u64 = 4 * 1024;
/// A child that commits nothing is given the next file after this.
const QUIET: Duration = Duration::from_millis(20);
/// How often a child is heard after its last file before it is told to stop.
const LINGER: u32 = 8;

/// A count at which the point is reached, as a rule, within a run of a few files.
fn nth_max(point: &str) -> u64 {
    match point {
        "before-marker" | "after-marker" | "before-snapshot" | "after-snapshot" => 16,
        "before-append" | "mid-append" | "before-commit" => 8,
        "mid-commit" | "after-commit" => 3,
        "before-plan" | "after-plan" | "compaction-before-base" | "mid-put" => 2,
        _ => 1,
    }
}

fn outside(random: &mut Random) -> Kill {
    let commits = random.below(4);
    let delay_us = random.below(if commits == 0 { 500_000 } else { 30_000 });
    Kill::Outside { commits, delay_us }
}

/// Files that appear in the input while a child runs.
struct Feeder {
    staged: VecDeque<PathBuf>,
    input: PathBuf,
}

impl Feeder {
    /// One more file, whole from the first.
    fn feed(&mut self) {
        if let Some(file) = self.staged.pop_front() {
            fs::rename(&file, self.input.join(file.file_name().unwrap())).unwrap();
        }
    }
}

struct Campaign {
    random: Random,
    schedule: Schedule,
    session: Session,
    /// The input in every format.
    inputs: tempfile::TempDir,
    formats: ([&'static str; 5], [&'static str; 5]),
    rounds: u64,
    epochs: u64,
    /// Batches that `foreach_batch` saw again.
    again: u64,
    pairs: BTreeSet<String>,
    /// What happened in this round.
    history: Vec<String>,
}

impl Campaign {
    fn new(seed: u64, kills: u64) -> Campaign {
        let mut random = Random::new(seed);
        let schedule = Schedule::new(&mut random, kills, outside, nth_max);
        let mut formats = (FORMATS, FORMATS);
        random.shuffle(&mut formats.0);
        random.shuffle(&mut formats.1);
        let session = Session::builder().app_name("parent").get_or_create().unwrap();
        let inputs = tempfile::Builder::new().prefix("lotic-table-inputs-").tempdir().unwrap();
        write_inputs(&session, inputs.path()).unwrap();
        let (rounds, epochs, again) = (0, 0, 0);
        let (pairs, history) = (BTreeSet::new(), Vec::new());
        Campaign { random, schedule, session, inputs, formats, rounds, epochs, again, pairs, history }
    }

    /// One of three rounds is by event time, two of seven others end in `foreach_batch`; the rest goes through
    /// all pairs of formats.
    fn settings(&mut self, folder: &Path) -> Settings {
        let (number, random) = (self.rounds as usize - 1, &mut self.random);
        let input = self.formats.0[number % 5].to_owned();
        let output = match number % 7 {
            _ if number % 3 == 1 => {
                let kind = random.choose(&KINDS);
                // What has to be over is closed by the last file, which several instances would wait for in turn
                // until those that have no more files are idle.
                Output::Windows { kind, ordered: kind != Kind::Duplicates || random.below(3) > 0 }
            }
            2 => Output::Batches { counted: true },
            5 => Output::Batches { counted: false },
            _ => {
                let format = self.formats.1[(number + number / 5) % 5].to_owned();
                Output::Files { format, partitioned: random.below(2) == 0 }
            }
        };
        let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut read_options = vec![option("pollInterval", random.choose(&["5 ms", "20 ms", "100 ms"]))];
        if random.below(2) == 0 {
            read_options.push(option("maxFilesPerTrigger", random.choose(&["1", "2", "3"])));
        }
        let mut write_options = Vec::new();
        if random.below(2) == 0 {
            write_options.push(option("maxRowsPerFile", random.choose(&["30", "500"])));
        }
        if random.below(3) == 0
            && matches!(&output, Output::Files { format, .. } if ["csv", "json", "text"].contains(&format.as_str()))
        {
            write_options.push(option("compression", "gzip"));
        }
        let (mode, parallelism, seed) = (Mode::MicroBatch, 1, 0);
        let folder = folder.to_owned();
        Settings {
            folder,
            input,
            read_options,
            output,
            write_options,
            parallelism,
            mode,
            available_now: false,
            seed,
        }
    }

    /// What may change from run to run.
    fn vary(&mut self, settings: &mut Settings, kill: Kill, fed: bool) {
        let random = &mut self.random;
        settings.mode = match (kill, &settings.output) {
            (Kill::Point { point: "before-plan" | "after-plan", .. }, _) | (_, Output::Batches { .. }) => {
                Mode::MicroBatch
            }
            _ => random.choose(&[Mode::Continuous, Mode::MicroBatch, Mode::Switching]),
        };
        settings.available_now = fed || random.below(5) == 0;
        if settings.available_now {
            // Another trigger would go on for ever.
            settings.mode = Mode::MicroBatch;
        }
        settings.parallelism = match settings.output {
            Output::Windows { ordered: true, .. } => 1,
            _ => random.between(1, 3) as usize,
        };
        settings.seed = random.next();
    }

    /// One run of the child, in which a few more files appear.
    fn run(
        &mut self,
        settings: &Settings,
        kill: Kill,
        feeder: &mut Feeder,
        rest: bool,
    ) -> Result<End, String> {
        let mut share = if rest { FILES as u64 + 1 } else { self.random.between(1, 4) };
        let _ = fs::remove_file(settings.stop());
        if settings.available_now {
            (0..share).for_each(|_| feeder.feed());
        }
        let (mut heard, mut linger) = (0, LINGER);
        let mut feed = || {
            heard += 1;
            if settings.available_now || heard % 2 == 1 {
                return;
            }
            if share > 0 {
                share -= 1;
                feeder.feed();
            } else if linger > 0 {
                linger -= 1;
            } else {
                fs::write(settings.stop(), "").unwrap();
            }
        };
        let meanwhile = Meanwhile { quiet: QUIET, feed: &mut feed };
        let outcome = run(settings, kill, Some(SEGMENT_BYTES), Some(meanwhile))?;
        self.epochs = self.epochs.max(outcome.epoch);
        Ok(outcome.end)
    }

    /// One input from its first file to its last.
    fn round(&mut self, folder: &Path) -> Result<(), String> {
        self.rounds += 1;
        let mut settings = self.settings(folder);
        self.history = vec![format!("{settings:?}")];
        self.pairs.insert(format!("{} to {:?}", settings.input, settings.output));
        let closer = matches!(settings.output, Output::Windows { .. });
        let staged = stage(self.inputs.path(), &settings.input, &folder.join("staged"), closer).into();
        let mut feeder = Feeder { staged, input: settings.input_folder() };
        fs::create_dir(&feeder.input).unwrap();
        let session = self.session.clone();
        let mut checker = Checker::new(&session, &settings.output);
        let kills_before = self.schedule.kills();
        for number in 0.. {
            let fed = feeder.staged.is_empty();
            let kill = self.schedule.next_kill(number == 0);
            self.vary(&mut settings, kill, fed);
            let Settings { mode, parallelism, available_now, .. } = settings;
            self.history.push(format!("{kill} ({mode:?} x{parallelism}, available now: {available_now})"));
            let rest = self.schedule.kills() - kills_before >= KILLS_OF_ROUND;
            match self.run(&settings, kill, &mut feeder, rest)? {
                End::Killed => {
                    self.schedule.killed(kill);
                    checker.check(&settings)?;
                }
                End::Finished => {
                    self.schedule.put_back(kill);
                    checker.check(&settings)?;
                    if fed {
                        break;
                    }
                }
                End::Failed(said) => return Err(format!("the query failed: {said}")),
            }
        }
        self.again += fs::metadata(settings.again()).map_or(0, |again| again.len());
        checker.check_complete(&settings)
    }
}

#[test]
fn wherever_the_process_is_killed_a_folder_holds_the_batch_answer() {
    let seed = NAMES.seed();
    let kills = NAMES.kills().unwrap_or(KILLS);
    let started = Instant::now();
    println!("seed {seed}");
    let mut campaign = Campaign::new(seed, kills);
    while campaign.rounds == 0 || campaign.schedule.kills() < kills {
        let folder = tempfile::Builder::new().prefix("lotic-table-crash-").tempdir().unwrap();
        if let Err(problem) = campaign.round(folder.path()) {
            let problem = format!("{problem}\nthis round: {}", campaign.history.join("\n  "));
            NAMES.fail("wherever_the_process", seed, folder, &problem);
        }
        let pending = campaign.schedule.pending();
        assert!(campaign.rounds <= 20 + kills, "kills that never happen: {pending:?}");
    }
    println!(
        "{} kills in {} rounds ({} kinds), newest epoch {}, {} batches seen again with the same rows, {:.1} s, \
         seed {seed}: 0 lost, 0 duplicated",
        campaign.schedule.kills(),
        campaign.rounds,
        campaign.pairs.len(),
        campaign.epochs,
        campaign.again,
        started.elapsed().as_secs_f64()
    );
    campaign.schedule.print();
    if kills >= KILLS_OF_ALL_POINTS {
        campaign.schedule.check_all_visited();
        assert!(campaign.again > 0, "no batch came a second time");
    }
}
