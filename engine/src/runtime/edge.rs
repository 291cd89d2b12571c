//! Edges: how an actor's output reaches the channels of the next actors.

use super::channel::Sender;
use super::metrics::ActorMetrics;
use super::stage::{Flow, Signal, Stage, StageContext, StageSnapshot};
use crate::error::Result;
use lotic_operators::{Batch, Epoch, Item, PartitionId, StateImage};
use std::collections::VecDeque;
use std::task::Waker;

/// Splits a batch among the instances of the next actor: one builder for each.
pub(crate) type Partition<O> = Box<dyn FnMut(&mut O, &mut [<O as Batch>::Builder]) + Send>;

/// Gives each edge its own batch of what was one.
pub(crate) type Spread<O> = Box<dyn FnMut(O, usize) -> Vec<O> + Send>;

/// Which instance of the next actor a batch goes to.
pub(crate) enum Routing<O: Batch> {
    /// There is one, or one is this instance's own.
    Single,
    /// The batch as a whole, in turn.
    RoundRobin(usize),
    /// Row by row, by the owner of the row's key.
    Hash { partition: Partition<O>, builders: Vec<O::Builder> },
}

/// Where and when the rows of a batch entered the engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) ingest_ns: u64,
    pub(crate) partition: PartitionId,
}

/// One edge, seen from one upstream instance.
pub(crate) trait Edge<O: Batch>: Send {
    /// Takes a batch; called only when the last call or `resume` returned `Ready`.
    fn push(&mut self, batch: O, from: Origin, waker: &Waker) -> Flow;
    /// Takes a control item for every target.
    fn control(&mut self, item: Control, waker: &Waker) -> Flow;
    /// Sends what is held.
    fn resume(&mut self, waker: &Waker) -> Flow;
    /// Wakes the consumers, once per burst.
    fn flush(&mut self);
}

/// An item without rows.
pub(crate) type Control = Item<std::convert::Infallible>;

fn control<I>(item: &Control) -> Item<I> {
    match item {
        Item::Watermark(time) => Item::Watermark(*time),
        Item::Idle => Item::Idle,
        Item::Active => Item::Active,
        Item::Partition(status) => Item::Partition(*status),
        Item::Marker(marker) => Item::Marker(*marker),
        Item::Cancel(epoch) => Item::Cancel(*epoch),
        Item::End => Item::End,
        Item::Batch { rows, .. } => match *rows {},
    }
}

struct Target<I: Batch> {
    sender: Sender<I>,
    /// What did not fit: at most one batch and the control items behind it.
    held: VecDeque<Item<I>>,
}

impl<I: Batch> Target<I> {
    #[inline]
    fn send(&mut self, item: Item<I>) {
        if !self.held.is_empty() {
            self.held.push_back(item);
        } else if let Err(item) = self.sender.try_send(item) {
            self.held.push_back(item);
        }
    }

    fn resume(&mut self, waker: &Waker) -> Flow {
        if self.held.is_empty() {
            return Flow::Ready;
        }
        loop {
            if self.sender.is_closed() {
                // The consumer is gone: the query is being torn down.
                self.held.clear();
                return Flow::Ready;
            }
            self.sender.flush();
            if !self.sender.poll_room(waker) {
                return Flow::Blocked;
            }
            while let Some(item) = self.held.pop_front() {
                if let Err(item) = self.sender.try_send(item) {
                    self.held.push_front(item);
                    break;
                }
            }
            if self.held.is_empty() {
                return Flow::Ready;
            }
        }
    }
}

/// An edge over channels whose batches are `I`, made of the upstream's `O` by `wrap`.
pub(crate) struct ChannelEdge<O: Batch, I: Batch> {
    targets: Vec<Target<I>>,
    routing: Routing<O>,
    wrap: fn(O) -> I,
}

impl<O: Batch, I: Batch> ChannelEdge<O, I> {
    pub(crate) fn new(senders: Vec<Sender<I>>, routing: Routing<O>, wrap: fn(O) -> I) -> Self {
        let targets = senders.into_iter().map(|sender| Target { sender, held: VecDeque::new() }).collect();
        ChannelEdge { targets, routing, wrap }
    }

    fn flow(&mut self, waker: &Waker) -> Flow {
        let mut flow = Flow::Ready;
        for target in &mut self.targets {
            if target.resume(waker) == Flow::Blocked {
                flow = Flow::Blocked;
            }
        }
        flow
    }
}

impl<O: Batch, I: Batch> Edge<O> for ChannelEdge<O, I> {
    #[inline]
    fn push(&mut self, mut batch: O, from: Origin, waker: &Waker) -> Flow {
        let Origin { ingest_ns, partition: source } = from;
        match &mut self.routing {
            Routing::Single => {
                let item = Item::Batch { rows: (self.wrap)(batch), ingest_ns, partition: source };
                let target = &mut self.targets[0];
                target.send(item);
                return target.resume(waker);
            }
            Routing::RoundRobin(next) => {
                let target = *next;
                *next = (target + 1) % self.targets.len();
                let rows = (self.wrap)(batch);
                self.targets[target].send(Item::Batch { rows, ingest_ns, partition: source });
            }
            Routing::Hash { partition, builders } => {
                partition(&mut batch, builders);
                for (target, builder) in self.targets.iter_mut().zip(builders) {
                    if let Some(part) = O::seal(builder) {
                        target.send(Item::Batch { rows: (self.wrap)(part), ingest_ns, partition: source });
                    }
                }
            }
        }
        self.flow(waker)
    }

    fn control(&mut self, item: Control, waker: &Waker) -> Flow {
        for target in &mut self.targets {
            target.send(control(&item));
        }
        self.flow(waker)
    }

    fn resume(&mut self, waker: &Waker) -> Flow {
        self.flow(waker)
    }

    fn flush(&mut self) {
        for target in &mut self.targets {
            target.sender.flush();
        }
    }
}

/// The end of a chain: one edge, or several with a rule that gives each its share.
pub(crate) struct EdgeStage<O: Batch> {
    pub(crate) edges: Vec<Box<dyn Edge<O>>>,
    pub(crate) spread: Option<Spread<O>>,
}

impl<O: Batch> EdgeStage<O> {
    fn all(&mut self, mut call: impl FnMut(&mut Box<dyn Edge<O>>) -> Flow) -> Flow {
        let mut flow = Flow::Ready;
        for edge in &mut self.edges {
            if call(edge) == Flow::Blocked {
                flow = Flow::Blocked;
            }
        }
        flow
    }
}

impl<O: Batch> Stage<O> for EdgeStage<O> {
    #[inline]
    fn push(&mut self, input: &mut O, context: &mut StageContext<'_>) -> Result<Flow> {
        ActorMetrics::add(&context.metrics.rows_out, input.rows() as u64);
        let Some(batch) = O::take(input) else { return Ok(Flow::Ready) };
        let from = Origin { ingest_ns: context.ingest_ns, partition: context.partition };
        let Some(spread) = &mut self.spread else {
            return Ok(self.edges[0].push(batch, from, context.waker));
        };
        let parts = spread(batch, self.edges.len());
        let mut flow = Flow::Ready;
        for (edge, part) in self.edges.iter_mut().zip(parts) {
            if part.rows() > 0 && edge.push(part, from, context.waker) == Flow::Blocked {
                flow = Flow::Blocked;
            }
        }
        Ok(flow)
    }

    fn signal(&mut self, signal: Signal, context: &mut StageContext<'_>) -> Result<Flow> {
        let item = match signal {
            Signal::Watermark(time) => Item::Watermark(time),
            Signal::Idle(true) => Item::Idle,
            Signal::Idle(false) => Item::Active,
            Signal::Partition(status) => Item::Partition(status),
            Signal::Marker(marker) => Item::Marker(marker),
            Signal::Cancel(epoch) => Item::Cancel(epoch),
            Signal::End => Item::End,
            Signal::Tick | Signal::Finish | Signal::EndEpoch => return Ok(Flow::Ready),
        };
        Ok(self.all(|edge| edge.control(item.clone(), context.waker)))
    }

    #[inline]
    fn resume(&mut self, context: &mut StageContext<'_>) -> Result<Flow> {
        Ok(self.all(|edge| edge.resume(context.waker)))
    }

    fn flush(&mut self) {
        for edge in &mut self.edges {
            edge.flush();
        }
    }

    fn snapshot(&mut self, _epoch: Epoch, _into: &mut StageSnapshot) -> Result<()> {
        Ok(())
    }

    fn start(
        &mut self,
        _image: &dyn Fn(&str) -> StateImage,
        _next: Epoch,
        _context: &mut StageContext<'_>,
    ) -> Result<()> {
        Ok(())
    }
}
