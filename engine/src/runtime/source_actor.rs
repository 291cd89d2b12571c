//! The actor of a source: polls it for what is ready, keeps the gate of micro-batches, sends markers.

use super::control::{Command, Farewell, SourceAt, What};
use super::core::{Core, Turn};
use super::metrics::ActorMetrics;
use super::source_partitions::SourcePartitions;
use super::stage::{Flow, Signal, Stage, StageSnapshot};
use crate::checkpoint::coordinator::Event;
use crate::checkpoint::writer::OperatorSnapshot;
use crate::clock::Now;
use crate::error::Result;
use crate::kill_point;
use crate::limits::{ITEMS_PER_TURN, MAILBOX_MESSAGES};
use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context as ActorCtx, Handler};
use lotic_connectors::{Latest, Offsets, PollRequest, Polled, Source};
use lotic_operators::state::codec;
use lotic_operators::{After, Batch, Epoch, Instance, Marker, PartitionId, Snapshot, TableSnapshot};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The table in which a source's offsets stand in checkpoints.
pub(crate) const OFFSETS: &str = "offsets";

/// An epoch to be ended: read up to `until`, then send the marker.
struct Begin {
    marker: Marker,
    until: Option<Offsets>,
    gates_open: bool,
}

/// One parallel instance of a source.
pub(crate) struct SourceActor<B: Batch> {
    core: Core,
    operator: String,
    instance: Instance,
    source: Box<dyn Source<B>>,
    stage: Box<dyn Stage<B>>,
    partitions: SourcePartitions,
    /// Rows that one micro-batch may hold.
    batch_rows_max: Option<u64>,
    /// Whether a stop first reads what is there: nobody could read it again.
    drains: bool,
    gate_open: bool,
    begins: VecDeque<Begin>,
    /// Offsets by epoch, until the epoch is committed.
    marked: BTreeMap<Epoch, Offsets>,
    current: Option<B>,
    completing: Option<(Marker, bool)>,
    ingest_ns: u64,
    /// Who waits for an answer to what there is to read.
    asked: Vec<u64>,
    /// How long the source said there would be nothing.
    pause: Option<Duration>,
    exhausted: bool,
    ended: bool,
    /// Last: see there.
    _farewell: Farewell,
}

impl<B: Batch> SourceActor<B> {
    pub(crate) fn new(
        core: Core,
        (operator, instance): (String, Instance),
        mut source: Box<dyn Source<B>>,
        (stage, mut partitions): (Box<dyn Stage<B>>, SourcePartitions),
        (batch_rows_max, drains): (Option<u64>, bool),
    ) -> Self {
        let farewell = Farewell::new(core.tell.clone(), core.id);
        partitions.begin(source.partitions(), core.clock.now().ns, &core.metrics);
        SourceActor {
            core,
            operator,
            instance,
            source,
            stage,
            partitions,
            batch_rows_max,
            drains,
            gate_open: false,
            begins: VecDeque::new(),
            marked: BTreeMap::new(),
            current: None,
            completing: None,
            ingest_ns: 0,
            asked: Vec::new(),
            pause: None,
            exhausted: false,
            ended: false,
            _farewell: farewell,
        }
    }

    fn turn(&mut self, waker: &Waker) -> Result<Turn> {
        let (mut rows, mut waits) = (0, false);
        self.pause = None;
        let mut now = self.core.clock.now();
        if self.partitions.are_named() && self.partitions.is_due(now.ns) {
            self.look(false, now);
        }
        for done in 0..ITEMS_PER_TURN {
            if self.stage.resume(&mut self.core.context(waker, now, self.ingest_ns))? == Flow::Blocked {
                return Ok(Turn::Blocked);
            }
            if let Some(signal) = self.partitions.signals.pop_front() {
                let _ = self.stage.signal(signal, &mut self.core.context(waker, now, now.ns))?;
                continue;
            }
            if let Some(mut batch) = self.current.take() {
                self.push(&mut batch, now, waker)?;
                if batch.rows() > 0 {
                    self.current = Some(batch);
                }
                continue;
            }
            if let Some((marker, gates_open)) = self.completing.take() {
                self.complete(marker, gates_open, now, waker)?;
                continue;
            }
            if self.ended {
                return Ok(Turn::Over);
            }
            if !waits && let Some(command) = self.core.commands.pop_front() {
                waits = !self.obey(command, now, waker)?;
                continue;
            }
            if done == 0 || !waits {
                self.answer(waker)?;
            }
            match self.poll_source(now, waker)? {
                Some(batch) => {
                    now = self.core.clock.now();
                    self.ingest_ns = now.ns;
                    rows += batch.rows();
                    self.come_from_polled_partition();
                    ActorMetrics::add(&self.core.metrics.rows_in, batch.rows() as u64);
                    self.current = Some(batch);
                    if rows >= B::ROWS_AT_ONCE {
                        break;
                    }
                }
                None if self.completing.is_some() || !self.partitions.signals.is_empty() => {}
                None => {
                    self.core.idle(done > 0);
                    return Ok(Turn::Idle);
                }
            }
        }
        Ok(Turn::Again)
    }

    /// What the source has, within the gate. `None` may also mean that an epoch has reached its end.
    fn poll_source(&mut self, now: Now, waker: &Waker) -> Result<Option<B>> {
        let until = match self.begins.front() {
            Some(Begin { until: Some(until), .. }) if !self.exhausted => Some(until),
            Some(_) => {
                self.reach_end();
                return Ok(None);
            }
            None if self.gate_open && !self.exhausted => None,
            None => return Ok(None),
        };
        let request = PollRequest { max_rows: B::ROWS_AT_ONCE, until, waker };
        match self.source.poll(request)? {
            Polled::Batch(batch) => return Ok(Some(batch)),
            Polled::Pending(pause) => {
                self.pause(pause);
                // Before a planned end it may be rows behind it that are there.
                if self.begins.is_empty() {
                    self.look_where_nothing_is(now);
                }
            }
            Polled::AtEnd => self.reach_end(),
            Polled::Finished => {
                self.exhausted = true;
                self.partitions.finish();
                self.core.tell.tell(What::Event(Event::Exhausted(self.core.id)));
                if !self.begins.is_empty() {
                    self.reach_end();
                }
            }
        }
        Ok(None)
    }

    /// The front epoch has all its rows.
    fn reach_end(&mut self) {
        if let Some(begin) = self.begins.pop_front() {
            self.completing = Some((begin.marker, begin.gates_open));
        }
    }

    /// Does what a command says. `false` if the source does not yet know what it takes: the command is the
    /// next again.
    fn obey(&mut self, command: Command, now: Now, waker: &Waker) -> Result<bool> {
        match command {
            Command::Plan { epoch, unlimited } => {
                // Without a limit of ours the source still keeps to its own.
                let rows_max = if unlimited { u64::MAX } else { self.batch_rows_max.unwrap_or(u64::MAX - 1) };
                let Some(end) = self.latest(rows_max, waker)? else { return self.put_back(command) };
                self.plan(epoch, end, waker)?;
            }
            Command::Begin { marker, ref until, gates_open } => {
                let drains = until.is_none() && marker.after == After::Stop && self.drains;
                let until = if drains {
                    let Some(end) = self.latest(u64::MAX, waker)? else { return self.put_back(command) };
                    Some(end)
                } else {
                    until.clone()
                };
                if marker.after == After::Finish {
                    let mut context = self.core.context(waker, now, now.ns);
                    let _ = self.stage.signal(Signal::Finish, &mut context)?;
                }
                self.begins.push_back(Begin { marker, until, gates_open });
            }
            Command::OpenGates => self.gate_open = true,
            Command::Cancel(epoch) => {
                self.begins.retain(|begin| begin.marker.epoch != epoch);
                let mut context = self.core.context(waker, now, now.ns);
                let _ = self.stage.signal(Signal::Cancel(epoch), &mut context)?;
            }
            Command::Latest { ticket } => self.asked.push(ticket),
            Command::Run | Command::Stop | Command::Committed(_) => {}
        }
        Ok(true)
    }

    fn put_back(&mut self, command: Command) -> Result<bool> {
        self.core.commands.push_front(command);
        Ok(false)
    }

    /// The end of what the source could read now, if it knows.
    fn latest(&mut self, rows_max: u64, waker: &Waker) -> Result<Option<Offsets>> {
        match self.source.latest(rows_max, waker)? {
            Latest::At(offsets) => Ok(Some(offsets)),
            Latest::Pending(pause) => {
                self.pause(pause);
                Ok(None)
            }
        }
    }

    /// Tells those who wait for all there is to be processed what that is.
    fn answer(&mut self, waker: &Waker) -> Result<()> {
        if self.asked.is_empty() {
            return Ok(());
        }
        let Some(offsets) = self.latest(u64::MAX, waker)? else { return Ok(()) };
        for ticket in std::mem::take(&mut self.asked) {
            let offsets = offsets.clone();
            self.core.tell.tell(What::Latest { actor: self.core.id, ticket, offsets });
        }
        Ok(())
    }

    /// The source wants to be asked again after this time.
    fn pause(&mut self, pause: Option<Duration>) {
        self.pause = match (self.pause, pause) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn plan(&mut self, epoch: Epoch, end: Offsets, waker: &Waker) -> Result<()> {
        let position = self.source.offsets();
        let has_rows = end != position;
        if !has_rows && !self.exhausted {
            // At its own position a source can only say that it waits or that its input has ended.
            let request = PollRequest { max_rows: 1, until: Some(&position), waker };
            self.exhausted = matches!(self.source.poll(request)?, Polled::Finished);
            if self.exhausted {
                self.partitions.finish();
            }
        }
        let now = self.core.clock.now();
        if self.partitions.is_due(now.ns) {
            self.look(!has_rows, now);
        }
        self.core.tell.tell(What::Event(Event::Planned {
            source: self.core.id,
            epoch,
            end,
            has_rows,
            exhausted: self.exhausted && !has_rows,
        }));
        Ok(())
    }

    /// The rows that were polled go on as of their partition.
    #[inline]
    fn come_from_polled_partition(&mut self) {
        let Some(partition) = self.source.polled_partition() else {
            self.core.partition = PartitionId::AHEAD;
            return;
        };
        if self.partitions.is_new(partition)
            && let Some(found) = self.source.partitions()
        {
            self.partitions.meet(&found, &self.core.metrics);
        }
        self.core.partition = self.partitions.rows_of(partition);
    }

    /// Looks which partitions are idle.
    fn look(&mut self, nothing_there: bool, now: Now) {
        let found = self.source.partitions();
        self.partitions.look(found.as_deref(), nothing_there, now.ns, &self.core.metrics);
    }

    /// The source has just said that nothing is there, at whatever offset.
    fn look_where_nothing_is(&mut self, now: Now) {
        if self.partitions.is_due(now.ns) {
            self.look(true, now);
        }
        self.pause(self.partitions.next_look(now.ns));
    }

    fn push(&mut self, batch: &mut B, now: Now, waker: &Waker) -> Result<()> {
        let ingest_ns = self.ingest_ns;
        // If blocked, what is left comes again after a resume.
        let _ = self.stage.push(batch, &mut self.core.context(waker, now, ingest_ns))?;
        Ok(())
    }

    fn complete(&mut self, marker: Marker, gates_open: bool, now: Now, waker: &Waker) -> Result<()> {
        let offsets = self.source.offsets();
        let last = marker.after != After::Continue;
        kill_point::reach("before-marker");
        let mut context = self.core.context(waker, now, now.ns);
        // If blocked, the stage keeps the signals; the next turn begins with a resume.
        let _ = self.stage.signal(Signal::Marker(marker), &mut context)?;
        if last {
            let _ = self.stage.signal(Signal::End, &mut context)?;
        }
        kill_point::reach("after-marker");
        let mut snapshot = StageSnapshot::default();
        self.stage.snapshot(marker.epoch, &mut snapshot)?;
        let mut bytes = Vec::new();
        codec::encode(OFFSETS, &offsets, &mut bytes)?;
        let mut tables = self.source.snapshot()?.tables;
        tables.push(TableSnapshot::single(OFFSETS, bytes));
        snapshot.operators.push(OperatorSnapshot {
            operator: self.operator.clone(),
            instance: self.instance,
            snapshot: Snapshot { tables },
        });
        let at = SourceAt { offsets: offsets.clone(), figures: self.source.figures() };
        self.core.tell.tell(What::Offsets { actor: self.core.id, epoch: marker.epoch, at });
        self.marked.insert(marker.epoch, offsets);
        self.core.hand_over(marker.epoch, snapshot);
        self.gate_open = gates_open;
        self.ended = last;
        Ok(())
    }

    /// Tells the source of the newest epoch that is durable and committed.
    fn committed(&mut self, epoch: Epoch) {
        let later = self.marked.split_off(&epoch.next());
        let committed = std::mem::replace(&mut self.marked, later);
        if let Some(offsets) = committed.get(&epoch) {
            self.source.committed(epoch, offsets);
        }
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        self.core.poll_timer(task);
        if !self.core.running {
            return Poll::Pending;
        }
        match Core::guarded(|| self.turn(task.waker())) {
            Ok(turn) => self.after(turn, task),
            Err(error) => self.core.fail(error),
        }
        Poll::Pending
    }

    fn after(&mut self, turn: Turn, task: &mut Context<'_>) {
        self.stage.flush();
        match turn {
            Turn::Again => {
                self.core.busy();
                task.waker().wake_by_ref();
            }
            Turn::Blocked => self.core.blocked(),
            Turn::Idle => {
                // The source has taken the waker, or said how long to wait, or is behind its gate.
                if !self.core.look_again(task.waker()) {
                    self.core.arm_timer(self.pause, task);
                }
            }
            Turn::Over => self.core.over(),
        }
    }
}

/// The long-lived future that does the actor's work between its control messages.
struct Work;

impl<B: Batch> ActorFuture<SourceActor<B>> for Work {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut SourceActor<B>,
        _: &mut ActorCtx<SourceActor<B>>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        actor.poll(task)
    }
}

impl<B: Batch> Actor for SourceActor<B> {
    type Context = ActorCtx<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MESSAGES);
        context.spawn(Work);
        let control = context.address().recipient();
        self.core.tell.tell(What::Started { actor: self.core.id, control });
    }
}

impl<B: Batch> Handler<Command> for SourceActor<B> {
    type Result = ();

    fn handle(&mut self, command: Command, context: &mut Self::Context) {
        match command {
            Command::Run => self.core.running = true,
            Command::Stop => context.stop(),
            Command::Committed(epoch) => self.committed(epoch),
            other => self.core.commands.push_back(other),
        }
    }
}

/// Nothing in the actor is pinned: rows are moved freely.
impl<B: Batch> Unpin for SourceActor<B> {}
