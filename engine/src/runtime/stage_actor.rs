//! The actor of an operator or a sink: drains its channels, aligns markers, runs its stage.

use super::channel::Receiver;
use super::control::{Command, Farewell, What};
use super::core::{Core, Turn};
use super::metrics::ActorMetrics;
use super::stage::{Flow, Signal, Stage, StageSnapshot};
use super::watermarks::{Merged, Watermarks};
use crate::checkpoint::align::{Aligner, Alignment};
use crate::checkpoint::record::runtime_state_of;
use crate::checkpoint::writer::OperatorSnapshot;
use crate::clock::Now;
use crate::error::{Error, Result};
use crate::kill_point;
use crate::limits::{ITEMS_PER_TURN, MAILBOX_MESSAGES};
use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context as ActorCtx, Handler};
use lotic_operators::state::codec;
use lotic_operators::{
    After, Batch, Instance, Item, Marker, PartitionId, PartitionStatus, Snapshot, StateImage, TableSnapshot,
    Timestamp,
};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

const WATERMARK: &str = "watermark";

struct Input<I: Batch> {
    receiver: Receiver<I>,
    /// `End` was taken, or the producer is gone without one.
    over: bool,
    /// Until the input has said which partitions come through it, a partition of its own stands for them, so that
    /// no watermark is made of what the other inputs said.
    unheard: Option<PartitionId>,
}

/// The partitions that stand for the inputs of an actor with several.
fn stand_ins(operator: &str, instance: Instance, inputs: usize) -> impl Iterator<Item = Option<PartitionId>> {
    let name = format!("{operator}[{}]", instance.index);
    (0..inputs).map(move |input| {
        let stand_in = || PartitionId::of(&format!("inputs of {name}"), &input.to_string());
        (inputs > 1).then(stand_in)
    })
}

/// What comes next at the end of an epoch. Each step is whole before the next: a stage that is blocked is
/// resumed first.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The input has ended: emit what is held.
    Finish,
    /// Emit what belongs to the epoch as a whole.
    EndEpoch,
    /// Pass the marker on and take the snapshot.
    Marker,
}

/// One parallel instance of a chain of operators, with the channels that feed it.
pub(crate) struct StageActor<I: Batch> {
    core: Core,
    instance: Instance,
    /// The stable id of the first operator of the chain.
    operator: String,
    inputs: Vec<Input<I>>,
    next_input: usize,
    stage: Box<dyn Stage<I>>,
    is_sink: bool,
    aligner: Aligner,
    watermarks: Watermarks,
    /// To be passed on before anything else.
    signals: VecDeque<Signal>,
    current: Option<I>,
    ingest_ns: u64,
    completing: Option<(Marker, Step)>,
    ended: bool,
    /// Last: see there.
    _farewell: Farewell,
}

impl<I: Batch> StageActor<I> {
    pub(crate) fn new(
        core: Core,
        (operator, instance): (String, Instance),
        (receivers, watermarks): (Vec<Receiver<I>>, Watermarks),
        (stage, is_sink): (Box<dyn Stage<I>>, bool),
        aligner: Aligner,
    ) -> Self {
        let unheard = stand_ins(&operator, instance, receivers.len());
        let inputs: Vec<Input<I>> = receivers
            .into_iter()
            .zip(unheard)
            .map(|(receiver, unheard)| Input { receiver, over: false, unheard })
            .collect();
        let ids = inputs.iter().filter_map(|input| input.unheard);
        let signals =
            ids.map(|id| Signal::Partition(PartitionStatus { id, idle: false, more: true })).collect();
        let farewell = Farewell::new(core.tell.clone(), core.id);
        StageActor {
            core,
            instance,
            operator,
            inputs,
            next_input: 0,
            stage,
            is_sink,
            aligner,
            watermarks,
            signals,
            current: None,
            ingest_ns: 0,
            completing: None,
            ended: false,
            _farewell: farewell,
        }
    }

    /// Announces the watermark that a checkpoint holds, before anything else.
    pub(crate) fn restore_watermark(&mut self, image: &StateImage, waker: &Waker) -> Result<()> {
        let mut restored: Option<Timestamp> = None;
        for chunk in image.chunks(WATERMARK) {
            let watermark: Timestamp = codec::decode(WATERMARK, chunk)?;
            restored = Some(restored.map_or(watermark, |lowest| lowest.min(watermark)));
        }
        if let Some(watermark) = restored {
            self.watermarks.restore(watermark);
            let now = self.core.clock.now();
            let _ = self
                .stage
                .signal(Signal::Watermark(watermark), &mut self.core.context(waker, now, now.ns))?;
        }
        Ok(())
    }

    fn turn(&mut self, waker: &Waker) -> Result<Turn> {
        let mut rows = 0;
        let mut now = self.core.clock.now();
        for done in 0..ITEMS_PER_TURN {
            if self.stage.resume(&mut self.core.context(waker, now, self.ingest_ns))? == Flow::Blocked {
                return Ok(Turn::Blocked);
            }
            if let Some(signal) = self.signals.pop_front() {
                self.signal(signal, now, waker)?;
            } else if let Some(mut batch) = self.current.take() {
                self.push(&mut batch, now, waker)?;
                if batch.rows() > 0 {
                    self.current = Some(batch);
                }
            } else if let Some((marker, step)) = self.completing.take() {
                self.complete(marker, step, now, waker)?;
            } else if self.ended {
                return Ok(Turn::Over);
            } else if self.core.tick_due(now) {
                self.signal(Signal::Tick, now, waker)?;
            } else if let Some((input, item)) = self.next_item() {
                if let Item::Batch { rows: batch, .. } = &item {
                    rows += batch.rows();
                    now = self.core.clock.now();
                }
                self.take(input, item, now, waker)?;
                if rows >= I::ROWS_AT_ONCE {
                    break;
                }
            } else {
                self.core.idle(done > 0);
                return Ok(Turn::Idle);
            }
        }
        Ok(Turn::Again)
    }

    /// The next item, inputs in turn, leaving those that are held back.
    #[inline]
    fn next_item(&mut self) -> Option<(usize, Item<I>)> {
        let count = self.inputs.len();
        for _ in 0..count {
            let at = self.next_input;
            self.next_input = if at + 1 == count { 0 } else { at + 1 };
            let input = &mut self.inputs[at];
            if input.over || self.aligner.holds(at) {
                continue;
            }
            if let Some(item) = input.receiver.pop() {
                return Some((at, item));
            }
        }
        None
    }

    fn take(&mut self, input: usize, item: Item<I>, now: Now, waker: &Waker) -> Result<()> {
        let more = matches!(item, Item::Partition(PartitionStatus { more: true, .. }));
        if !more && let Some(id) = self.inputs[input].unheard.take() {
            self.signals.push_back(Signal::Partition(PartitionStatus { id, idle: true, more: false }));
        }
        match item {
            Item::Batch { rows: mut batch, ingest_ns, partition } => {
                self.ingest_ns = ingest_ns;
                self.core.partition = partition;
                ActorMetrics::add(&self.core.metrics.rows_in, batch.rows() as u64);
                self.push(&mut batch, now, waker)?;
                if batch.rows() > 0 {
                    self.current = Some(batch);
                }
                let seen = if self.is_sink { self.core.clock.now() } else { now };
                self.core.metrics.record_latency(seen.ns.saturating_sub(ingest_ns));
                Ok(())
            }
            Item::Watermark(watermark) => {
                let merged = self.watermarks.advance(input, watermark);
                self.announce(merged, now, waker)
            }
            Item::Idle | Item::Active => {
                let merged = self.watermarks.set_idle(input, matches!(item, Item::Idle));
                self.announce(merged, now, waker)
            }
            Item::Partition(status) => self.signal(Signal::Partition(status), now, waker),
            Item::Marker(marker) => {
                let aligned = self.aligner.marker(input, marker).map_err(Error::internal)?;
                self.aligned(aligned, now, waker)
            }
            Item::Cancel(epoch) => {
                let aligned = self.aligner.cancel(epoch);
                self.aligned(aligned, now, waker)
            }
            Item::End => {
                self.inputs[input].over = true;
                let merged = self.watermarks.end(input);
                self.announce(merged, now, waker)?;
                let aligned = self.aligner.end(input);
                self.aligned(aligned, now, waker)
            }
        }
    }

    #[inline]
    fn push(&mut self, batch: &mut I, now: Now, waker: &Waker) -> Result<()> {
        let ingest_ns = self.ingest_ns;
        // If blocked, what is left comes again after a resume.
        let _ = self.stage.push(batch, &mut self.core.context(waker, now, ingest_ns))?;
        Ok(())
    }

    fn signal(&mut self, signal: Signal, now: Now, waker: &Waker) -> Result<()> {
        // If blocked, the stage keeps the signal; the next turn begins with a resume.
        self.core.partition = PartitionId::NONE;
        let _ = self.stage.signal(signal, &mut self.core.context(waker, now, now.ns))?;
        Ok(())
    }

    fn announce(&mut self, merged: Merged, now: Now, waker: &Waker) -> Result<()> {
        // After the watermark, once the stage has taken that.
        self.signals.extend(merged.idle.map(Signal::Idle));
        self.core.metrics.hold_back_input(self.watermarks.held_by());
        let Some(watermark) = merged.watermark else { return Ok(()) };
        let shown = self.watermarks.lasting().0 as u64;
        self.core.metrics.watermark.store(shown, std::sync::atomic::Ordering::Relaxed);
        self.signal(Signal::Watermark(watermark), now, waker)
    }

    fn aligned(&mut self, aligned: Alignment, now: Now, waker: &Waker) -> Result<()> {
        match aligned {
            Alignment::Wait => Ok(()),
            Alignment::Complete(marker) => {
                let first = if marker.after == After::Finish { Step::Finish } else { Step::EndEpoch };
                self.completing = Some((marker, first));
                Ok(())
            }
            Alignment::Cancelled(epoch) => {
                self.signal(Signal::Cancel(epoch), now, waker)?;
                let next = self.aligner.next_complete();
                self.aligned(next, now, waker)
            }
        }
    }

    fn complete(&mut self, marker: Marker, step: Step, now: Now, waker: &Waker) -> Result<()> {
        let (signal, next) = match step {
            Step::Finish => (Signal::Finish, Step::EndEpoch),
            Step::EndEpoch => (Signal::EndEpoch, Step::Marker),
            Step::Marker => return self.pass_marker(marker, now, waker),
        };
        self.completing = Some((marker, next));
        self.signal(signal, now, waker)
    }

    /// All that belongs to the epoch has been passed on: the marker goes out first, then the snapshot is
    /// taken, so that alignment downstream does not wait for it.
    fn pass_marker(&mut self, marker: Marker, now: Now, waker: &Waker) -> Result<()> {
        kill_point::reach("before-marker");
        self.signal(Signal::Marker(marker), now, waker)?;
        kill_point::reach("after-marker");
        let mut snapshot = StageSnapshot::default();
        self.stage.snapshot(marker.epoch, &mut snapshot)?;
        snapshot.operators.extend(self.runtime_snapshot()?);
        self.core.hand_over(marker.epoch, snapshot);
        if marker.after != After::Continue {
            self.signal(Signal::End, now, waker)?;
            self.ended = true;
            return Ok(());
        }
        let next = self.aligner.next_complete();
        self.aligned(next, now, waker)
    }

    fn runtime_snapshot(&self) -> Result<Option<OperatorSnapshot>> {
        if self.watermarks.lasting() == Timestamp::MIN {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        codec::encode(WATERMARK, &self.watermarks.lasting(), &mut bytes)?;
        let table = TableSnapshot::single(WATERMARK, bytes);
        Ok(Some(OperatorSnapshot {
            operator: runtime_state_of(&self.operator),
            instance: self.instance,
            snapshot: Snapshot { tables: vec![table] },
        }))
    }

    fn flush(&mut self) {
        for input in &mut self.inputs {
            input.receiver.release();
        }
        self.stage.flush();
    }

    /// Registers with every input that may be read; whether one has something after all.
    fn park(&mut self, waker: &Waker) -> bool {
        let mut ready = false;
        for (at, input) in self.inputs.iter_mut().enumerate() {
            if input.over || self.aligner.holds(at) {
                continue;
            }
            if input.receiver.poll_ready(waker) {
                // A producer that is gone without an end: the query is being torn down.
                input.over = input.receiver.is_closed() && input.receiver.is_empty();
                ready |= !input.over;
            }
        }
        ready
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        self.core.poll_timer(task);
        if !self.core.running {
            return Poll::Pending;
        }
        let turn = Core::guarded(|| self.turn(task.waker()));
        match turn {
            Ok(turn) => self.after(turn, task),
            Err(error) => {
                self.core.fail(error);
                Poll::Pending
            }
        }
    }

    fn after(&mut self, turn: Turn, task: &mut Context<'_>) -> Poll<()> {
        self.flush();
        match turn {
            Turn::Again => {
                self.core.busy();
                task.waker().wake_by_ref();
            }
            Turn::Blocked => self.core.blocked(),
            Turn::Idle => {
                if !self.core.look_again(task.waker()) {
                    if self.park(task.waker()) {
                        task.waker().wake_by_ref();
                    } else {
                        self.core.arm_timer(None, task);
                    }
                }
            }
            Turn::Over => self.core.over(),
        }
        Poll::Pending
    }
}

/// The long-lived future that does an actor's work between its control messages.
struct Work;

impl<I: Batch> ActorFuture<StageActor<I>> for Work {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut StageActor<I>,
        _: &mut ActorCtx<StageActor<I>>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        actor.poll(task)
    }
}

impl<I: Batch> Actor for StageActor<I> {
    type Context = ActorCtx<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX_MESSAGES);
        context.spawn(Work);
        let control = context.address().recipient();
        self.core.tell.tell(What::Started { actor: self.core.id, control });
    }
}

impl<I: Batch> Handler<Command> for StageActor<I> {
    type Result = ();

    fn handle(&mut self, command: Command, context: &mut Self::Context) {
        match command {
            Command::Run => self.core.running = true,
            Command::Stop => context.stop(),
            _ => {}
        }
    }
}

/// Nothing in the actor is pinned: rows are moved freely.
impl<I: Batch> Unpin for StageActor<I> {}
