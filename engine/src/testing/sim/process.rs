//! One simulated process, from its start to its end or crash: every step of every part in any order.

use super::outside::Outside;
use super::source::{SourceActor, uid};
use super::stage::StageActor;
use super::wires::{Report, Wires};
use super::{Broken, Check, broken};
use crate::checkpoint::ActorId;
use crate::checkpoint::commits::{Commits, Committers, Durable};
use crate::checkpoint::coordinator::{Action, Coordinator, Event, Until};
use crate::checkpoint::log::{Compaction, Log};
use crate::checkpoint::record::Plan;
use crate::checkpoint::writer::{Background, Job, Work, Written};
use crate::clock::Clock;
use crate::error::Result;
use crate::query::{Mode, Trigger};
use crate::runtime::control::Command;
use crate::testing::random::Random;
use lotic_connectors::Offsets;
use lotic_operators::{After, Epoch};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The input has ended and all of it is committed.
    Finished,
    /// Somebody asked for it, or the trigger did.
    Stopped,
    Failed(String),
    Crashed,
}

type Shared<T> = Arc<Mutex<T>>;

fn take<T: Default>(shared: &Shared<T>) -> T {
    std::mem::take(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Compactions and commits wait for their step.
#[derive(Clone, Default)]
struct Later {
    compaction: Shared<Option<Compaction>>,
    durable: Shared<VecDeque<Durable>>,
}

impl Background for Later {
    fn compact(&mut self, compaction: Compaction) -> Result<()> {
        *self.compaction.lock().unwrap_or_else(PoisonError::into_inner) = Some(compaction);
        Ok(())
    }

    fn commit(&mut self, durable: Durable) {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).push_back(durable);
    }

    fn finish(&mut self) {}
}

pub(super) struct Process {
    coordinator: Coordinator,
    sources: Vec<SourceActor>,
    stages: Vec<StageActor>,
    wires: Wires,
    work: Work,
    commits: Commits,
    written: Shared<Vec<Written>>,
    later: Later,
    replay: Option<Plan>,
    canary: Broken,
    started_us: u64,
    /// Rows moved when the last epoch was opened.
    activity: u64,
    last: After,
    /// Epochs that are open.
    open: usize,
    /// Until when a part does nothing.
    paused_us: Vec<u64>,
    end: Option<End>,
}

/// What a process is made of.
pub(super) struct ProcessParts {
    pub(super) sources: Vec<SourceActor>,
    pub(super) stages: Vec<StageActor>,
    pub(super) wires: Wires,
    pub(super) trigger: Trigger,
    pub(super) timeout: Duration,
    pub(super) next: Epoch,
    pub(super) log: Log,
    pub(super) committers: Committers,
    pub(super) replay: Option<Plan>,
    pub(super) canary: Broken,
    pub(super) started_us: u64,
}

impl Process {
    pub(super) fn new(parts: ProcessParts) -> Process {
        let (written, later) = (Shared::<Vec<Written>>::default(), Later::default());
        let said = Arc::clone(&written);
        let tell = move |what| said.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        let clock = Clock::simulated().0;
        let sinks = parts.committers.keys().cloned().collect();
        let work = Work::new(Some(parts.log), sinks, clock, Box::new(tell), Box::new(later.clone()));
        let sources = parts.sources.iter().map(|source| source.id).collect();
        let all =
            parts.sources.iter().map(|source| source.id).chain(parts.stages.iter().map(|stage| stage.id));
        let coordinator = Coordinator::new(all.collect(), sources, parts.trigger, parts.next, parts.timeout);
        let mut process = Process {
            coordinator,
            sources: parts.sources,
            stages: parts.stages,
            wires: parts.wires,
            work,
            commits: Commits::new(parts.committers),
            written,
            later,
            replay: parts.replay,
            canary: parts.canary,
            started_us: parts.started_us,
            activity: 0,
            last: After::Continue,
            open: 0,
            paused_us: Vec::new(),
            end: None,
        };
        process.paused_us = vec![0; process.parts()];
        process
    }

    /// The parts that take steps, by number: see [`Process::part`].
    fn parts(&self) -> usize {
        2 * self.sources.len() + self.stages.len() + self.wires.jobs.len() + self.wires.reports.len() + 3
    }

    /// All actors run.
    pub(super) fn start(&mut self, outside: &mut Outside) -> Check {
        let replay = self.replay.take().map(|plan| {
            let ends = self
                .sources
                .iter()
                .map(|source| (source.id, plan.ends.get(&uid(source.input)).cloned().unwrap_or_default()));
            (plan.epoch, ends.collect())
        });
        self.event(Event::Started { replay }, outside)
    }

    /// One step of some part, or time passes.
    pub(super) fn step(
        &mut self,
        outside: &mut Outside,
        random: &mut Random,
        declines_in: u64,
    ) -> Check<Option<End>> {
        outside.now_us += random.between(0, 20);
        let parts = self.parts();
        let first = random.below(parts);
        for part in (first..parts).chain(0..first) {
            if self.paused_us[part] > outside.now_us {
                continue;
            }
            if self.part(part, outside, random, declines_in)? {
                let died = outside.disk.has_crashed() || outside.store.lock().dead;
                return Ok(if died { Some(End::Crashed) } else { self.end.take() });
            }
        }
        self.wait(outside);
        Ok(None)
    }

    /// Nothing is to be done now: time passes.
    fn wait(&mut self, outside: &mut Outside) {
        let now_us = outside.now_us;
        let pauses = self.paused_us.iter().copied().filter(|until| *until > now_us);
        let tick = self.coordinator.wake_at().checked_add(Duration::from_micros(self.started_us));
        let tick_us = tick.and_then(|at| u64::try_from(at.as_micros()).ok());
        // Rows may come from outside at any time.
        let next = pauses.chain(tick_us).min().unwrap_or(u64::MAX).min(now_us + 1000);
        outside.now_us = next.max(now_us + 1);
    }

    fn part(
        &mut self,
        part: usize,
        outside: &mut Outside,
        random: &mut Random,
        declines_in: u64,
    ) -> Check<bool> {
        let mut at = part;
        if at < self.sources.len() {
            return self.sources[at].step(&mut self.wires, outside, random);
        }
        at -= self.sources.len();
        if at < self.sources.len() {
            return Ok(self.sources[at].deliver());
        }
        at -= self.sources.len();
        if at < self.stages.len() {
            return self.stages[at].step(&mut self.wires, outside, (random, declines_in));
        }
        at -= self.stages.len();
        if at < self.wires.jobs.len() {
            return self.job(at, outside);
        }
        at -= self.wires.jobs.len();
        if at < self.wires.reports.len() {
            return self.report(at, outside);
        }
        match at - self.wires.reports.len() {
            0 => self.compact(outside),
            1 => self.commit(outside, random),
            _ => self.tick(outside),
        }
    }

    /// The writer does the next job of one queue.
    fn job(&mut self, queue: usize, outside: &mut Outside) -> Check<bool> {
        let Some(job) = self.wires.jobs[queue].pop_front() else { return Ok(false) };
        self.work.job(job);
        if let Some(violation) = outside.store.lock().violation.take() {
            return broken(violation);
        }
        for written in take(&self.written) {
            match &written {
                Written::Event(Event::Persisted(epoch)) => {
                    outside.note(|| format!("epoch {epoch} is durable"));
                    outside.persisted(*epoch)?;
                }
                Written::Event(Event::Acknowledged { actor, .. })
                    if self.canary == Broken::AcknowledgesEarly && actor.0 as usize >= self.sources.len() =>
                {
                    continue;
                }
                _ => {}
            }
            self.wires.written(written);
        }
        Ok(true)
    }

    /// Some of the epochs that are durable are committed together, the oldest first.
    fn commit(&mut self, outside: &mut Outside, random: &mut Random) -> Check<bool> {
        let run: Vec<Durable> = {
            let mut durable = self.later.durable.lock().unwrap_or_else(PoisonError::into_inner);
            let together = random.below(durable.len() + 1).max(durable.len().min(1));
            durable.drain(..together).collect()
        };
        if run.is_empty() {
            return Ok(false);
        }
        let epochs: Vec<Epoch> = run.iter().map(|durable| durable.epoch).collect();
        let committed = self.commits.commit(run);
        outside.note(|| format!("commit of {epochs:?}: {committed:?}"));
        if let Some(violation) = outside.store.lock().violation.take() {
            return broken(violation);
        }
        match committed {
            Ok(epochs) => {
                outside.tally.together += u64::from(epochs.len() > 1);
                for epoch in epochs {
                    self.wires.written(Written::Event(Event::Committed(epoch)));
                    self.wires.committed(epoch);
                }
            }
            Err((epoch, error)) => self.wires.written(Written::Failed { epoch, error }),
        }
        Ok(true)
    }

    fn compact(&mut self, outside: &mut Outside) -> Check<bool> {
        let Some(compaction) = take(&self.later.compaction) else { return Ok(false) };
        let result = compaction.run();
        outside.note(|| format!("compaction: {result:?}"));
        outside.tally.compactions += u64::from(result.is_ok());
        self.wires.ask(Job::Compacted(result));
        Ok(true)
    }

    fn tick(&mut self, outside: &mut Outside) -> Check<bool> {
        if self.since_start(outside) < self.coordinator.wake_at() {
            return Ok(false);
        }
        let active = self.wires.moved != self.activity;
        self.event(Event::Tick { active }, outside)?;
        Ok(true)
    }

    /// The coordinator takes the next report of one sender.
    fn report(&mut self, sender: usize, outside: &mut Outside) -> Check<bool> {
        match self.wires.reports[sender].pop_front() {
            None => return Ok(false),
            Some(Report::Event(event) | Report::Written(Written::Event(event))) => {
                self.event(event, outside)?
            }
            Some(Report::Written(Written::Bytes { .. })) => {}
            Some(Report::Written(Written::Failed { error, .. })) => {
                self.end = Some(End::Failed(error.to_string()));
            }
        }
        Ok(true)
    }

    fn since_start(&self, outside: &Outside) -> Duration {
        Duration::from_micros(outside.now_us - self.started_us)
    }

    /// Gives the coordinator an event and does what it says.
    pub(super) fn event(&mut self, event: Event, outside: &mut Outside) -> Check {
        if !matches!(event, Event::Tick { .. } | Event::Acknowledged { .. }) {
            outside.note(|| format!("    {event:?}"));
        }
        for action in self.coordinator.step(self.since_start(outside), event) {
            outside.note(|| format!("    -> {action:?}"));
            self.act(action, outside)?;
        }
        Ok(())
    }

    fn tell_sources(&mut self, command: impl Fn(ActorId) -> Command) {
        for source in &mut self.sources {
            source.mailbox.push_back(command(source.id));
        }
    }

    fn act(&mut self, action: Action, outside: &mut Outside) -> Check {
        match action {
            Action::OpenGates => self.tell_sources(|_| Command::OpenGates),
            Action::Plan { epoch, unlimited } => self.tell_sources(|_| Command::Plan { epoch, unlimited }),
            Action::PersistPlan { epoch, ends } => {
                let ends = self.by_operator(ends);
                self.wires.ask(Job::Plan(Plan { epoch, ends }));
            }
            Action::Open { marker, until, mode, gates_open } => {
                self.activity = self.wires.moved;
                self.last = marker.after;
                outside.tally.batches += u64::from(mode == Mode::MicroBatch);
                outside.tally.overlapping += u64::from(self.open > 0);
                self.open += 1;
                self.tell_sources(|source| {
                    let until = match &until {
                        Until::Now => None,
                        Until::Planned(ends) => Some(ends.get(&source).cloned().unwrap_or_default()),
                    };
                    Command::Begin { marker, until, gates_open }
                });
            }
            Action::Persist { epoch, mode } => self.wires.ask(Job::Persist { epoch, mode }),
            Action::Cancel(epoch) => {
                outside.tally.cancelled += 1;
                self.open -= 1;
                if self.canary == Broken::ForgetsGivenUpEpochs {
                    self.work.forget(epoch);
                }
                self.tell_sources(|_| Command::Cancel(epoch));
            }
            Action::Completed(epoch) => {
                self.open -= 1;
                outside.completed(epoch)?;
            }
            Action::Finished => {
                self.end = Some(if self.last == After::Finish { End::Finished } else { End::Stopped });
            }
            Action::Fail { cause, .. } => self.end = Some(End::Failed(cause)),
        }
        Ok(())
    }

    fn by_operator(&self, mut ends: BTreeMap<ActorId, Offsets>) -> BTreeMap<String, Offsets> {
        let mut merged: BTreeMap<String, Offsets> = BTreeMap::new();
        for source in &self.sources {
            merged.entry(uid(source.input)).or_default().merge(ends.remove(&source.id).unwrap_or_default());
        }
        merged
    }

    /// Whether the last epoch is open.
    pub(super) fn is_ending(&self) -> bool {
        self.last != After::Continue
    }

    /// Some part does nothing for a while.
    pub(super) fn pause(&mut self, outside: &mut Outside, random: &mut Random) {
        let part = random.below(self.paused_us.len());
        self.paused_us[part] = outside.now_us + random.between(100, 30_000);
        outside.tally.pauses += 1;
    }

    /// All parts go on.
    pub(super) fn unpause(&mut self) {
        self.paused_us.fill(0);
    }

    /// The actors have stopped in order; the writer does what is left, as its thread does before it ends.
    /// Whether it got through.
    pub(super) fn tear_down(&mut self, outside: &mut Outside, random: &mut Random) -> Check<bool> {
        loop {
            let queues = self.wires.jobs.len();
            let first = random.below(queues);
            let mut worked = self.compact(outside)? | self.commit(outside, random)?;
            for queue in (first..queues).chain(0..first) {
                worked |= self.job(queue, outside)?;
                if outside.disk.has_crashed() || outside.store.lock().dead {
                    return Ok(false);
                }
            }
            if !worked {
                return Ok(true);
            }
        }
    }
}
