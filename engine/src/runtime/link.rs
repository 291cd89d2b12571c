//! One operator in a chain.

use super::metrics::ActorMetrics;
use super::stage::{Flow, Signal, Stage, StageContext, StageSnapshot};
use crate::checkpoint::writer::OperatorSnapshot;
use crate::error::{Error, Result};
use lotic_connectors::ModeWatch;
use lotic_operators::{
    Batch, Emitted, Epoch, Instance, Operator, OperatorError, Output, PartitionId, Progress, Restore,
    StateImage,
};

/// What has to happen before anything else is taken in.
#[derive(Debug, Clone, Copy)]
enum Pending {
    /// The operator has to be called again for this signal.
    Call(Signal),
    /// The operator may take what has come for it from outside.
    Answers,
    /// The next stage has to get this signal, after what the operator emitted.
    Pass(Signal),
}

/// An operator and the stage behind it.
pub(crate) struct Link<I: Batch, O: Batch> {
    operator: Box<dyn Operator<I, O>>,
    name: String,
    instance: Instance,
    output: Output<O>,
    mode: ModeWatch,
    /// Whether rows go on as of the partition that they came from: the operator has no state.
    keeps_partitions: bool,
    /// A batch that the next stage has not taken whole.
    held: Option<O>,
    pending: Option<Pending>,
    /// The operator has left rows in its input until something comes from outside ([`Output::wait`]).
    waits: bool,
    next: Box<dyn Stage<O>>,
}

impl<I: Batch, O: Batch> Link<I, O> {
    pub(crate) fn new(
        (name, instance): (String, Instance),
        operator: Box<dyn Operator<I, O>>,
        (mode, keeps_partitions): (ModeWatch, bool),
        next: Box<dyn Stage<O>>,
    ) -> Self {
        let output = Output::default();
        let (held, pending, waits) = (None, None, false);
        Link { operator, name, instance, output, mode, keeps_partitions, held, pending, waits, next }
    }

    fn named(&self, error: OperatorError) -> Error {
        Error::from(error).at_operator(&format!("{}[{}]", self.name, self.instance.index))
    }

    /// Hands on what the operator has emitted.
    #[inline]
    fn pass_on(&mut self, context: &mut StageContext<'_>) -> Result<Flow> {
        if self.keeps_partitions {
            return self.pass_emitted(context);
        }
        let partition = std::mem::replace(&mut context.partition, PartitionId::NONE);
        let flow = self.pass_emitted(context);
        context.partition = partition;
        flow
    }

    #[inline]
    fn pass_emitted(&mut self, context: &mut StageContext<'_>) -> Result<Flow> {
        if let Some(batch) = &mut self.held {
            if self.next.push(batch, context)? == Flow::Blocked {
                return Ok(Flow::Blocked);
            }
            self.held = None;
        }
        while let Some(emitted) = self.output.take() {
            let flow = match emitted {
                Emitted::Batch(mut batch) => {
                    let flow = self.next.push(&mut batch, context)?;
                    if flow == Flow::Blocked && batch.rows() > 0 {
                        self.held = Some(batch);
                    }
                    flow
                }
                Emitted::Watermark(watermark) => self.next.signal(Signal::Watermark(watermark), context)?,
                Emitted::Idle(idle) => self.next.signal(Signal::Idle(idle), context)?,
            };
            if flow == Flow::Blocked {
                return Ok(Flow::Blocked);
            }
        }
        Ok(Flow::Ready)
    }

    /// Says what the operator may know of a call.
    #[inline]
    fn prepare(&mut self, context: &StageContext<'_>) {
        self.output.set_now(context.now.time);
        self.output.set_by_epoch(self.mode.is_micro_batch());
    }

    /// Takes over what the operator asked for besides rows.
    #[inline]
    fn settle(&mut self, context: &mut StageContext<'_>) {
        if let Some(time) = self.output.take_wake_at() {
            *context.wake_at = Some(context.wake_at.map_or(time, |earlier| earlier.min(time)));
        }
        let late = self.output.take_late();
        if late > 0 {
            ActorMetrics::add(&context.metrics.late_rows, late);
        }
        if let Some(partition) = self.output.take_held_back_by() {
            context.metrics.hold_back(partition);
        }
    }

    fn call(&mut self, signal: Signal, context: &mut StageContext<'_>) -> Result<Progress> {
        self.prepare(context);
        let called = match signal {
            Signal::Watermark(watermark) => self.operator.watermark(watermark, &mut self.output),
            Signal::Idle(idle) => self.operator.idle(idle, &mut self.output).map(|()| Progress::Done),
            Signal::Partition(status) => {
                self.operator.partition(status, &mut self.output).map(|()| Progress::Done)
            }
            Signal::Tick => self.operator.tick(&mut self.output),
            Signal::Finish => self.operator.finish(&mut self.output),
            Signal::EndEpoch => self.operator.end_epoch(&mut self.output),
            _ => Ok(Progress::Done),
        };
        self.settle(context);
        called.map_err(|error| self.named(error))
    }

    /// Hands on what is held, then does what is pending.
    fn advance(&mut self, context: &mut StageContext<'_>) -> Result<Flow> {
        loop {
            if self.pass_on(context)? == Flow::Blocked {
                return Ok(Flow::Blocked);
            }
            let signal = match self.pending.take() {
                None => return Ok(Flow::Ready),
                Some(Pending::Pass(Signal::Marker(mut marker))) => {
                    marker.whole |= self.output.take_whole();
                    return self.next.signal(Signal::Marker(marker), context);
                }
                Some(Pending::Pass(signal)) => return self.next.signal(signal, context),
                Some(Pending::Call(signal)) => Some(signal),
                Some(Pending::Answers) => None,
            };
            if self.call(signal.unwrap_or(Signal::Tick), context)? == Progress::Again {
                self.pending = Some(signal.map_or(Pending::Answers, Pending::Call));
                let waits = self.output.take_waits();
                if self.pass_on(context)? == Flow::Ready && !waits {
                    // A slice is done: let other actors and this one's mailbox have the thread.
                    context.waker.wake_by_ref();
                }
                return Ok(Flow::Blocked);
            }
            self.pending = match signal {
                // An operator emits watermarks itself, in order with its rows, and says itself that it is idle.
                None | Some(Signal::Watermark(_) | Signal::Idle(_)) => None,
                Some(Signal::Partition(_)) if !self.keeps_partitions => None,
                Some(signal) => Some(Pending::Pass(signal)),
            };
        }
    }

    /// Something has come from outside: the operator may take it, and then takes rows again.
    pub(crate) fn take_answers(&mut self, context: &mut StageContext<'_>) -> Result<Flow> {
        self.waits = false;
        self.pending = Some(Pending::Answers);
        self.advance(context)
    }

    /// Whether the operator takes no rows until something comes from outside.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }
}

impl<I: Batch, O: Batch> Stage<I> for Link<I, O> {
    fn push(&mut self, input: &mut I, context: &mut StageContext<'_>) -> Result<Flow> {
        self.prepare(context);
        self.output.set_partition(context.partition);
        loop {
            let processed = self.operator.process(input, &mut self.output);
            self.settle(context);
            processed.map_err(|error| self.named(error))?;
            if self.pass_on(context)? == Flow::Blocked {
                self.output.take_waits();
                return Ok(Flow::Blocked);
            }
            if input.rows() == 0 {
                return Ok(Flow::Ready);
            }
            if self.output.take_waits() {
                self.waits = true;
                return Ok(Flow::Blocked);
            }
        }
    }

    fn signal(&mut self, signal: Signal, context: &mut StageContext<'_>) -> Result<Flow> {
        self.pending = Some(Pending::Call(signal));
        self.advance(context)
    }

    fn resume(&mut self, context: &mut StageContext<'_>) -> Result<Flow> {
        if self.next.resume(context)? == Flow::Blocked {
            return Ok(Flow::Blocked);
        }
        if self.held.is_none() && self.pending.is_none() && self.output.is_empty() {
            return Ok(Flow::Ready);
        }
        self.advance(context)
    }

    fn flush(&mut self) {
        self.next.flush();
    }

    fn snapshot(&mut self, epoch: Epoch, into: &mut StageSnapshot) -> Result<()> {
        let snapshot = self.operator.snapshot().map_err(|error| self.named(error))?;
        if !snapshot.tables.is_empty() {
            into.operators.push(OperatorSnapshot {
                operator: self.name.clone(),
                instance: self.instance,
                snapshot,
            });
        }
        self.next.snapshot(epoch, into)
    }

    fn start(
        &mut self,
        image: &dyn Fn(&str) -> StateImage,
        next: Epoch,
        context: &mut StageContext<'_>,
    ) -> Result<()> {
        self.next.start(image, next, context)?;
        let state = image(&self.name);
        if !state.tables.is_empty() {
            self.prepare(context);
            let restore = Restore { image: &state, instance: self.instance };
            self.operator.restore(restore, &mut self.output).map_err(|error| self.named(error))?;
            self.settle(context);
        }
        Ok(())
    }
}
