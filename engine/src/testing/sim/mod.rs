//! A seeded, single-threaded simulator of a whole query.
//!
//! It runs the engine's own [aligner](crate::checkpoint::align), [coordinator](crate::checkpoint::coordinator),
//! checkpoint writer, [log and recovery](crate::checkpoint::log) over a [`FaultyStorage`] and a virtual
//! clock; sources, channels and operator actors are modelled after `runtime`. Sources and keyed state are
//! real ones. Every step of every part happens in an order that the seed decides: channels of a few items,
//! reports and snapshots under way for any time, the writer's queue in any order that keeps the order of
//! each actor. The seed also decides what goes wrong: the process dies at any step, at any access to the
//! disk, between two commits, during recovery; writes fail or are torn; operators decline, parts stand
//! still until epochs time out; users switch triggers, stop, and start again with another parallelism.
//!
//! After a while nothing goes wrong any more, all input is there, and the query has to come to its end in a
//! bounded number of steps. Checked all along: rows committed once, epochs in order, markers in order on
//! every channel, nothing durable is lost, a batch run again holds the same rows; at the end: the output is
//! that of an uninterrupted run.
//!
//! ```
//! use lotic::testing::Simulation;
//! let tally = Simulation::new(1).run().unwrap();
//! assert!(tally.epochs > 0);
//! ```
//!
//! [`FaultyStorage`]: super::FaultyStorage

mod channel;
mod launch;
mod operators;
mod outside;
mod process;
mod setup;
mod source;
mod stage;
mod wires;

use super::random::Random;
use super::storage::Access;
use crate::checkpoint::coordinator::Event;
use crate::query::Trigger;
use outside::Outside;
use process::{End, Process};
use setup::Setup;
use std::fmt;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of a check; the error says what was found broken.
type Check<T = ()> = Result<T, String>;

fn broken<T>(what: String) -> Check<T> {
    Err(what)
}

fn ill(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Steps that a query may take to its end once nothing goes wrong any more.
const STEPS_TO_END: u64 = 60_000;

/// A rule broken on purpose, to see that the simulator would notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Broken {
    /// None.
    #[default]
    Nothing,
    /// Actors go on reading inputs whose marker has arrived, although the query is exactly-once.
    HoldsNoInputs,
    /// What actors gave for an epoch that was given up is thrown away.
    ForgetsGivenUpEpochs,
    /// Sinks show what they prepared before the checkpoint is durable.
    CommitsBeforeDurable,
    /// An epoch is acknowledged before its snapshot is gathered.
    AcknowledgesEarly,
    /// A batch that was planned before a restart is planned again.
    ForgetsPlans,
}

/// What happened in a simulation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Steps taken.
    pub steps: u64,
    /// Times the query was started.
    pub runs: u64,
    /// Starts that failed.
    pub failed_starts: u64,
    /// Times the process died.
    pub crashes: u64,
    /// Times the query failed.
    pub failures: u64,
    /// Epochs committed.
    pub epochs: u64,
    /// Times several epochs were committed together.
    pub together: u64,
    /// Epochs opened while another one was open.
    pub overlapping: u64,
    /// Micro-batches begun.
    pub batches: u64,
    /// Micro-batches replayed after a restart.
    pub replays: u64,
    /// Parts of batches that were read again.
    pub reruns: u64,
    /// Epochs given up and cancelled.
    pub cancelled: u64,
    /// Snapshots declined.
    pub declined: u64,
    /// Parts that stood still for a while.
    pub pauses: u64,
    /// Triggers changed while the query ran.
    pub switches: u64,
    /// Bases written.
    pub compactions: u64,
}

impl Tally {
    /// Adds another simulation's.
    pub fn add(&mut self, other: &Tally) {
        self.steps += other.steps;
        self.runs += other.runs;
        self.failed_starts += other.failed_starts;
        self.crashes += other.crashes;
        self.failures += other.failures;
        self.epochs += other.epochs;
        self.together += other.together;
        self.overlapping += other.overlapping;
        self.batches += other.batches;
        self.replays += other.replays;
        self.reruns += other.reruns;
        self.cancelled += other.cancelled;
        self.declined += other.declined;
        self.pauses += other.pauses;
        self.switches += other.switches;
        self.compactions += other.compactions;
    }
}

/// A simulation that found something broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that shows it again.
    pub seed: u64,
    /// What was found.
    pub what: String,
    /// What happened before, if the simulation was traced.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl std::error::Error for Failure {}

/// A query to be simulated; all about it follows from the seed.
#[derive(Debug, Clone)]
pub struct Simulation {
    seed: u64,
    broken: Broken,
    traced: bool,
}

impl Simulation {
    /// The simulation of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Simulation {
        Simulation { seed, broken: Broken::Nothing, traced: false }
    }

    /// Breaks a rule on purpose.
    #[must_use]
    pub fn breaking(mut self, rule: Broken) -> Simulation {
        self.broken = rule;
        self
    }

    /// Writes down what happens, for [`Failure::trace`].
    #[must_use]
    pub fn traced(mut self) -> Simulation {
        self.traced = true;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// What was found broken, panics included.
    pub fn run(&self) -> Result<Tally, Failure> {
        let mut random = Random::new(self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let setup = Setup::of(&mut random);
        let outside = Outside::new(&setup, &mut random, self.traced);
        let trigger = setup::trigger(&mut random);
        let mut world = World {
            setup,
            outside,
            random,
            canary: self.broken,
            was_calm: false,
            trigger,
            promised: Vec::new(),
        };
        let ended = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            broken(format!("panic: {}", said.unwrap_or_default()))
        });
        let trace = world.outside.trace.take().unwrap_or_default();
        ended.map(|()| world.outside.tally).map_err(|what| Failure { seed: self.seed, what, trace })
    }
}

struct World {
    setup: Setup,
    outside: Outside,
    random: Random,
    canary: Broken,
    was_calm: bool,
    trigger: Trigger,
    /// The rows of each input that were there when the trigger was set: those that `AvailableNow` and `Once`
    /// have to read before they stop.
    promised: Vec<u32>,
}

impl World {
    fn is_calm(&self) -> bool {
        self.outside.tally.steps >= self.setup.calm_after
    }

    fn run(&mut self) -> Check {
        loop {
            self.calm_down();
            let calm = self.is_calm();
            let shape = self.setup.shape(&mut self.random, calm);
            let run = self.outside.tally.runs as u32;
            let launched =
                launch::launch(&self.setup, &mut self.outside, (&shape, self.trigger), (self.canary, run))?;
            self.count_step()?;
            let Some(mut process) = launched else {
                self.outside.tally.failed_starts += 1;
                self.restart_machine();
                continue;
            };
            self.outside.tally.runs += 1;
            self.promised = self.outside.fed();
            if self.random.once_in(self.setup.user_in) && !self.is_calm() {
                // Users do not wait until all actors run.
                self.user(&mut process)?;
            }
            process.start(&mut self.outside)?;
            let end = self.live(&mut process)?;
            self.outside.note(|| format!("end: {end:?}"));
            match end {
                End::Finished => return self.outside.verify(&self.setup),
                End::Stopped if !self.outside.has_committed(&self.promised) => {
                    return broken(format!("{} stopped before all that was there was read", self.trigger));
                }
                End::Stopped => {}
                End::Failed(_) => self.outside.tally.failures += 1,
                End::Crashed => self.outside.tally.crashes += 1,
            }
            let orderly = end != End::Crashed
                && (self.is_calm() || !self.random.once_in(3))
                && process.tear_down(&mut self.outside, &mut self.random)?;
            if !orderly {
                self.restart_machine();
            }
            if matches!(end, End::Stopped) || self.random.once_in(2) {
                self.trigger = setup::trigger(&mut self.random);
            }
        }
    }

    fn count_step(&mut self) -> Check {
        self.outside.tally.steps += 1;
        if self.outside.tally.steps > self.setup.calm_after + STEPS_TO_END {
            return broken("the query does not come to its end".to_owned());
        }
        Ok(())
    }

    /// The process is gone; the next one finds what survived.
    fn restart_machine(&mut self) {
        self.outside.disk = self.outside.disk.survivors();
        let mut store = self.outside.store.lock();
        (store.dead, store.dies_after) = (false, None);
    }

    fn live(&mut self, process: &mut Process) -> Check<End> {
        loop {
            self.count_step()?;
            if self.is_calm() {
                if !self.was_calm {
                    self.calm_down();
                    process.unpause();
                }
            } else if let Some(end) = self.trouble(process)? {
                return Ok(end);
            }
            let declines_in = if self.is_calm() { 0 } else { self.setup.decline_in };
            if let Some(end) = process.step(&mut self.outside, &mut self.random, declines_in)? {
                return Ok(end);
            }
        }
    }

    /// From here on nothing goes wrong, once the time has come.
    fn calm_down(&mut self) {
        if !self.is_calm() {
            return;
        }
        self.was_calm = true;
        self.outside.disk.calm();
        {
            let mut store = self.outside.store.lock();
            (store.dies_after, store.fails) = (None, 0);
        }
        for input in 0..self.setup.partitions.len() {
            self.outside.feed(&self.setup, input, u32::MAX);
        }
    }

    /// What the outside does to the query.
    fn trouble(&mut self, process: &mut Process) -> Check<Option<End>> {
        let World { setup, outside, random, .. } = self;
        if random.once_in(setup.feed_in) {
            let input = random.below(setup.partitions.len());
            outside.feed(setup, input, random.between(1, 6) as u32);
        }
        if random.once_in(setup.crash_in) {
            return Ok(Some(End::Crashed));
        }
        if random.once_in(setup.storage_in) {
            storage_trouble(outside, random);
        }
        if random.once_in(setup.pause_in) {
            process.pause(outside, random);
        }
        if random.once_in(setup.sink_in) {
            let mut store = outside.store.lock();
            match random.below(2) {
                0 => store.dies_after = Some(random.below(3) as u32),
                _ => store.fails = random.between(1, 4) as u32,
            }
        }
        if random.once_in(setup.user_in) {
            self.user(process)?;
        }
        Ok(None)
    }

    /// What the user of the query does to it.
    fn user(&mut self, process: &mut Process) -> Check {
        let event = match self.random.below(12) {
            0 => {
                self.promised.clear();
                Event::Stop
            }
            1..=3 => Event::ForceEpoch,
            _ => {
                self.trigger = setup::trigger(&mut self.random);
                self.outside.tally.switches += 1;
                if !self.promised.is_empty() && !process.is_ending() {
                    self.promised = self.outside.fed();
                }
                Event::SetTrigger(self.trigger)
            }
        };
        process.event(event, &mut self.outside)
    }
}

fn storage_trouble(outside: &mut Outside, random: &mut Random) {
    let kinds = [ErrorKind::StorageFull, ErrorKind::PermissionDenied, ErrorKind::TimedOut];
    let accesses = [Access::List, Access::Read, Access::Append, Access::Append, Access::Put, Access::Remove];
    match random.below(5) {
        0 | 1 => outside.disk.fail(*random.pick(&accesses), random.between(1, 4), *random.pick(&kinds)),
        2 => outside.disk.set_full(true),
        3 => outside.disk.crash_at(random.between(1, 8)),
        _ => outside.disk.calm(),
    }
}
