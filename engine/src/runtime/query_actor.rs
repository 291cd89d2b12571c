//! The actor of a query: carries out what the coordinator's state machine decides, supervises the actors,
//! restarts them by policy.

use super::active::{Active, ActorInfo, Waiter};
use super::control::{Command, Report, Tell, What};
use super::run::{PreparedRun, RunSpec};
use super::threads;
use crate::checkpoint::ActorId;
use crate::checkpoint::coordinator::{Action, Event, Until};
use crate::checkpoint::record::Plan;
use crate::checkpoint::writer::{Borrower, Job, Written};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::limits::{MAILBOX_MESSAGES, PROGRESS_INTERVAL, TICK};
use crate::query::progress::Reporter;
use crate::query::shared::Shared;
use crate::query::{Ask, Mode, QueryStatus, Trigger};
use crate::session::RestartPolicy;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle};
use lotic_connectors::Offsets;
use lotic_operators::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A run that is ready, or the reason why there is none.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Ready {
    pub(crate) spec: RunSpec,
    pub(crate) run: Result<PreparedRun>,
}

/// What the handle asks.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Asked(pub(crate) Ask);

/// The actor.
pub(crate) struct QueryActor {
    shared: Arc<Shared>,
    clock: Clock,
    policy: RestartPolicy,
    trigger: Trigger,
    restarts: u32,
    /// Counts runs, so that what an earlier one still says is recognised.
    runs: u32,
    active: Option<Active>,
    stop_asked: bool,
    waiters: Vec<Waiter>,
    /// Who waits for checkpoints to read, and the first epoch that will do; none if it has to be the last.
    borrowers: Vec<(Option<Epoch>, Borrower)>,
    tickets: u64,
    timer: Option<SpawnHandle>,
}

type Ctx = Context<QueryActor>;

impl QueryActor {
    pub(crate) fn new(shared: Arc<Shared>, clock: Clock, policy: RestartPolicy, trigger: Trigger) -> Self {
        QueryActor {
            shared,
            clock,
            policy,
            trigger,
            restarts: 0,
            runs: 0,
            active: None,
            stop_asked: false,
            waiters: Vec::new(),
            borrowers: Vec::new(),
            tickets: 0,
            timer: None,
        }
    }

    fn launch(&mut self, spec: RunSpec, run: PreparedRun, context: &mut Ctx) {
        let now_ns = self.clock.now().ns;
        if self.runs == 0 {
            self.shared.started(&run.id);
        }
        if let Some(epoch) = run.recovered {
            tracing::info!("query `{}` resumes after epoch {epoch}", self.shared.name);
        }
        let counters =
            run.launches.iter().map(|launch| (Arc::clone(&launch.metrics), launch.is_source, launch.is_sink));
        let reporter = Reporter::new(counters.collect(), now_ns);
        let mut actors = BTreeMap::new();
        for launch in run.launches {
            let name = launch.metrics.name.clone();
            actors.insert(launch.id, ActorInfo { name, uid: launch.uid, is_source: launch.is_source });
            let threads = spec.threads.upgrade();
            if !threads.is_some_and(|threads| threads.data(launch.worker).spawn_fn(launch.start)) {
                let error = Error::internal("a worker thread has ended");
                let tell = Tell { coordinator: context.address().recipient(), run: self.runs };
                tell.tell(What::Failed(error));
            }
        }
        self.active = Some(Active {
            number: self.runs,
            spec,
            writer: Some(run.writer),
            coordinator: run.coordinator,
            replay: run.replay,
            actors,
            controls: BTreeMap::new(),
            offsets: BTreeMap::new(),
            modes: BTreeMap::new(),
            figures: BTreeMap::new(),
            activity: reporter.activity(),
            reporter,
            started_ns: now_ns,
            ending: None,
            stopped: BTreeSet::new(),
        });
    }

    fn started(&mut self, actor: ActorId, control: Recipient<Command>, context: &mut Ctx) {
        let Some(active) = &mut self.active else { return };
        active.controls.insert(actor, control);
        if active.ending.is_some() {
            active.tell(actor, Command::Stop);
        } else if active.controls.len() == active.actors.len() {
            for id in active.actors.keys() {
                active.tell(*id, Command::Run);
            }
            for waiter in &mut self.waiters {
                waiter.targets.clear();
                active.tell_sources(|_| Command::Latest { ticket: waiter.ticket });
            }
            let replay = active.take_replay();
            self.shared.set_status(QueryStatus::Running);
            let trigger = active.coordinator.trigger();
            self.step(Event::Started { replay }, context);
            if trigger != self.trigger {
                // Asked for between two runs.
                self.step(Event::SetTrigger(self.trigger), context);
            }
            if self.stop_asked {
                self.step(Event::Stop, context);
            }
            if !self.borrowers.is_empty() {
                self.step(Event::ForceEpoch, context);
            }
        }
    }

    /// Gives the state machine an event and does what it says.
    fn step(&mut self, event: Event, context: &mut Ctx) {
        let now_ns = self.clock.now().ns;
        let Some(active) = self.active.as_mut().filter(|active| active.ending.is_none()) else { return };
        let actions = active.coordinator.step(active.since_start(now_ns), event);
        for action in actions {
            self.act(action, now_ns, context);
        }
        self.schedule(now_ns, context);
    }

    /// Arranges the next tick.
    fn schedule(&mut self, now_ns: u64, context: &mut Ctx) {
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        let Some(active) = self.active.as_ref().filter(|active| active.ending.is_none()) else { return };
        let delay = active.coordinator.wake_at().saturating_sub(active.since_start(now_ns)).max(TICK);
        self.timer = Some(context.run_later(delay, |actor, context| {
            actor.timer = None;
            let moved = actor.active.as_ref().is_some_and(|run| run.reporter.activity() != run.activity);
            actor.step(Event::Tick { active: moved }, context);
        }));
    }

    fn act(&mut self, action: Action, now_ns: u64, context: &mut Ctx) {
        let Some(active) = &mut self.active else { return };
        match action {
            Action::OpenGates => {
                active.spec.settings.mode.set_micro_batch(false);
                active.tell_sources(|_| Command::OpenGates);
            }
            Action::Plan { epoch, unlimited } => active.tell_sources(|_| Command::Plan { epoch, unlimited }),
            Action::PersistPlan { epoch, ends } => {
                let ends = active.by_operator(ends);
                active.job(Job::Plan(Plan { epoch, ends }));
            }
            Action::Open { marker, until, mode, gates_open } => {
                active.activity = active.reporter.activity();
                // Known to the sinks before the sources send the rows.
                active.spec.settings.mode.set_micro_batch(mode == Mode::MicroBatch && !gates_open);
                active.modes.insert(marker.epoch, mode);
                active.figures.entry(marker.epoch).or_default().opened_ns = now_ns;
                active.tell_sources(|source| {
                    let until = match &until {
                        Until::Now => None,
                        Until::Planned(ends) => Some(ends.get(&source).cloned().unwrap_or_default()),
                    };
                    Command::Begin { marker, until, gates_open }
                });
            }
            Action::Persist { epoch, mode } => {
                active.figures.entry(epoch).or_default().persist_ns = now_ns;
                active.job(Job::Persist { epoch, mode });
            }
            Action::Cancel(epoch) => {
                tracing::warn!("query `{}`: epoch {epoch} was given up", self.shared.name);
                active.tell_sources(|_| Command::Cancel(epoch));
            }
            Action::Completed(epoch) => self.completed(epoch, now_ns, context),
            Action::Finished => self.end(Ok(())),
            Action::Fail { epoch, cause } => self.end(Err(Error::external(cause).at_epoch(epoch))),
        }
    }

    fn completed(&mut self, epoch: Epoch, now_ns: u64, context: &mut Ctx) {
        let Some(active) = &mut self.active else { return };
        active.tell_sources(|_| Command::Committed(epoch));
        let nothing = BTreeMap::new();
        let reached = active.offsets.get(&epoch).unwrap_or(&nothing);
        let (released, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| waiter.reached(reached));
        self.waiters = waiting;
        let since = Duration::from_nanos(now_ns.saturating_sub(active.reporter.last_ns()));
        let wanted = !released.is_empty() || active.coordinator.is_over() || self.shared.recent(1).is_empty();
        if wanted || since >= PROGRESS_INTERVAL {
            let report = active.report(epoch, &self.shared, self.clock.now());
            self.shared.progressed(report);
        }
        active.offsets = active.offsets.split_off(&epoch.next());
        active.figures = active.figures.split_off(&epoch.next());
        active.modes = active.modes.split_off(&epoch.next());
        for waiter in released {
            // Whoever asked may have given up waiting.
            let _ = waiter.done.send(());
        }
        let over = active.coordinator.is_over();
        let due = |from: &Option<Epoch>| from.map_or(over, |from| from <= epoch);
        for (_, borrower) in self.borrowers.extract_if(.., |(from, _)| due(from)) {
            active.job(Job::Lend(borrower, epoch));
        }
        if !self.waiters.is_empty() || !self.borrowers.is_empty() {
            context.notify(ForceEpoch);
        }
    }

    /// Begins the end of the run: actors stop, then the writer, then [`QueryActor::torn_down`].
    fn end(&mut self, result: Result<()>) {
        let Some(active) = self.active.as_mut().filter(|active| active.ending.is_none()) else { return };
        if let Err(error) = &result {
            tracing::error!("query `{}`: {error}", self.shared.name);
        }
        active.ending = Some(result);
        for id in active.controls.keys() {
            active.tell(*id, Command::Stop);
        }
    }

    fn actor_stopped(&mut self, actor: ActorId, context: &mut Ctx) {
        let Some(active) = &mut self.active else { return };
        active.stopped.insert(actor);
        if active.ending.is_none() {
            let name = active.name(actor);
            self.end(Err(Error::internal("the actor stopped unasked").at_operator(&name)));
        } else if active.stopped.len() == active.actors.len() {
            // Waiting for the writer blocks: elsewhere.
            let writer = active.writer.take();
            let tell = Tell { coordinator: context.address().recipient(), run: active.number };
            let spawned = threads::spawn("lotic-teardown", move || {
                drop(writer);
                tell.tell(What::TornDown);
            });
            if spawned.is_err() {
                self.torn_down(context);
            }
        }
    }

    /// Nothing of the run is left: restart or end.
    fn torn_down(&mut self, context: &mut Ctx) {
        let Some(Active { ending, spec, .. }) = self.active.take() else { return };
        match ending.unwrap_or(Ok(())) {
            Ok(()) => {
                drop(spec);
                self.over(None, context);
            }
            Err(error) => self.failed(error, spec, context),
        }
    }

    /// A run has failed, or could not be prepared: another one by policy, or the end.
    fn failed(&mut self, error: Error, spec: RunSpec, context: &mut Ctx) {
        if self.restarts >= self.policy.attempts || self.stop_asked {
            drop(spec);
            self.over(Some(error), context);
            return;
        }
        self.restarts += 1;
        self.shared.restarted();
        self.shared.set_status(QueryStatus::Restarting);
        let (name, restarts, attempts) = (&self.shared.name, self.restarts, self.policy.attempts);
        let delay = self.policy.delay(restarts);
        tracing::warn!("query `{name}`: restart {restarts} of {attempts} in {delay:?} after: {error}");
        let mut spec = Some(spec);
        context.run_later(delay, move |actor, context| {
            if let Some(spec) = spec.take() {
                actor.restart(spec, context);
            }
        });
    }

    fn restart(&mut self, mut spec: RunSpec, context: &mut Ctx) {
        self.runs += 1;
        let tell = Tell { coordinator: context.address().recipient(), run: self.runs };
        let ready: Recipient<Ready> = context.address().recipient();
        let trigger = self.trigger;
        let spawned = threads::spawn("lotic-restart", move || {
            let run = Error::catch(|| spec.prepare(&tell, trigger));
            if ready.try_send(Ready { spec, run }).is_err() {
                tracing::error!("a restarted query found no coordinator");
            }
        });
        if let Err(error) = spawned {
            self.over(Some(error), context);
        }
    }

    fn over(&mut self, exception: Option<Error>, context: &mut Ctx) {
        self.waiters.clear();
        self.borrowers.clear();
        self.shared.terminated(exception);
        context.stop();
    }

    fn written(&mut self, written: Written, context: &mut Ctx) {
        match written {
            Written::Event(event) => {
                if let (Event::Persisted(epoch), Some(active)) = (&event, &mut self.active) {
                    active.figures.entry(*epoch).or_default().durable_ns = self.clock.now().ns;
                }
                self.step(event, context);
            }
            Written::Bytes { epoch, bytes } => {
                if let Some(active) = &mut self.active {
                    active.figures.entry(epoch).or_default().bytes = bytes;
                }
            }
            Written::Failed { epoch, error } => self.end(Err(error.at_epoch(epoch))),
        }
    }

    fn latest(&mut self, actor: ActorId, ticket: u64, offsets: Offsets, context: &mut Ctx) {
        let Some(active) = &self.active else { return };
        let sources = active.actors.values().filter(|actor| actor.is_source).count();
        if let Some(waiter) = self.waiters.iter_mut().find(|waiter| waiter.ticket == ticket) {
            waiter.targets.insert(actor, offsets);
            if waiter.targets.len() == sources {
                self.step(Event::ForceEpoch, context);
            }
        }
    }
}

impl Actor for QueryActor {
    type Context = Ctx;

    fn started(&mut self, context: &mut Ctx) {
        context.set_mailbox_capacity(MAILBOX_MESSAGES);
    }
}

impl Handler<Ready> for QueryActor {
    type Result = ();

    fn handle(&mut self, ready: Ready, context: &mut Ctx) {
        match ready.run {
            Ok(run) => self.launch(ready.spec, run, context),
            Err(error) => self.failed(error, ready.spec, context),
        }
    }
}

impl Handler<Report> for QueryActor {
    type Result = ();

    fn handle(&mut self, report: Report, context: &mut Ctx) {
        if report.run != self.runs {
            return;
        }
        match report.what {
            What::Started { actor, control } => self.started(actor, control, context),
            What::Event(event) => self.step(event, context),
            What::Offsets { actor, epoch, at } => {
                if let Some(active) = &mut self.active {
                    active.offsets.entry(epoch).or_default().insert(actor, at);
                }
            }
            What::Latest { actor, ticket, offsets } => self.latest(actor, ticket, offsets, context),
            What::Written(written) => self.written(written, context),
            What::Failed(error) => {
                let epoch = self.active.as_ref().map(|active| active.coordinator.current());
                self.end(Err(error.at_epoch(epoch.unwrap_or_default())));
            }
            What::Stopped(actor) => self.actor_stopped(actor, context),
            What::TornDown => self.torn_down(context),
        }
    }
}

impl Handler<Asked> for QueryActor {
    type Result = ();

    fn handle(&mut self, asked: Asked, context: &mut Ctx) {
        match asked.0 {
            Ask::SetTrigger(trigger) => {
                self.trigger = trigger;
                self.step(Event::SetTrigger(trigger), context);
            }
            Ask::Stop => {
                self.stop_asked = true;
                if self.active.is_some() {
                    self.shared.set_status(QueryStatus::Stopping);
                    self.step(Event::Stop, context);
                } else {
                    // Between two runs: the last checkpoint is where a later start goes on.
                    self.over(None, context);
                }
            }
            Ask::Checkpoint { borrower, last: true } => self.borrowers.push((None, borrower)),
            Ask::Checkpoint { borrower, last: false } => {
                // Between two runs any epoch of the next one will do.
                let next = self.active.as_ref().map_or(Epoch::NONE, |active| active.coordinator.next());
                self.borrowers.push((Some(next), borrower));
                self.step(Event::ForceEpoch, context);
            }
            Ask::ProcessAvailable(done) => {
                self.tickets += 1;
                self.waiters.push(Waiter { ticket: self.tickets, targets: BTreeMap::new(), done });
                let ticket = self.tickets;
                if let Some(active) = &self.active {
                    active.tell_sources(|_| Command::Latest { ticket });
                }
            }
        }
    }
}

/// To itself: somebody waits for an epoch.
#[derive(Message)]
#[rtype(result = "()")]
struct ForceEpoch;

impl Handler<ForceEpoch> for QueryActor {
    type Result = ();

    fn handle(&mut self, _: ForceEpoch, context: &mut Ctx) {
        self.step(Event::ForceEpoch, context);
    }
}
