//! From a physical plan to wired actors, not yet running.

use super::blocking::Blocking;
use super::channel::{Receiver, Sender, channel};
use super::control::Tell;
use super::core::{Core, CoreParts};
use super::edge::{EdgeStage, Routing};
use super::link::Link;
use super::lookup::{Bell, LookupLink};
use super::metrics::ActorMetrics;
use super::sink_stage::SinkStage;
use super::source_actor::{OFFSETS, SourceActor};
use super::source_partitions::SourcePartitions;
use super::stage::Stage;
use super::stage_actor::StageActor;
use super::threads::Threads;
use super::wait::{WaitStrategy, Waiting};
use super::watermarks::{MultipleWatermarkPolicy, Watermarks};
use crate::checkpoint::ActorId;
use crate::checkpoint::align::{Aligner, Consistency};
use crate::checkpoint::record::{Image, runtime_state_of};
use crate::checkpoint::writer::Job;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::limits::{CHANNEL_BATCHES, CHANNEL_ITEMS};
use crate::plan::graph::{EdgeId, NodeBuilder, NodeId, Outputs, PartitionFactory, Role};
use crate::plan::physical::{EdgeKind, PhysicalPlan, PlannedNode};
use actix::Actor;
use lotic_connectors::{Committer, ModeWatch, Offsets, Polling, SinkFactory, SourceFactory};
use lotic_operators::state::codec;
use lotic_operators::{Batch, Epoch, Instance, Operator, Restore};
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// An actor, wired and restored, to be started on its worker.
pub(crate) struct Launch {
    pub(crate) id: ActorId,
    pub(crate) worker: usize,
    pub(crate) uid: String,
    pub(crate) is_source: bool,
    pub(crate) is_sink: bool,
    pub(crate) metrics: Arc<ActorMetrics>,
    pub(crate) start: Box<dyn FnOnce() + Send>,
}

/// What the parts of a run have in common.
pub(crate) struct RunSettings {
    /// What the query is called.
    pub(crate) name: String,
    pub(crate) wait: WaitStrategy,
    pub(crate) consistency: Consistency,
    pub(crate) batch_rows_max: Option<u64>,
    pub(crate) worker_offset: usize,
    pub(crate) watermark_policy: MultipleWatermarkPolicy,
    /// After which a quiet partition is idle, if ever.
    pub(crate) idle_after: Option<Duration>,
    /// Says the mode to the sinks; set by the query's actor.
    pub(crate) mode: ModeWatch,
}

/// The channels that feed one instance.
struct Receivers<B: Batch> {
    receivers: Vec<Receiver<B>>,
    /// Of each channel, the input it belongs to.
    inputs: Vec<usize>,
    /// Of each channel, the stable id and instance that feeds it.
    names: Vec<String>,
    /// Whether any of those runs on another thread.
    other_thread: bool,
}

/// The state of a build. Nodes are built from the sinks up, so that what a node feeds is there before it.
pub(crate) struct BuildContext<'a> {
    pub(crate) plan: &'a PhysicalPlan,
    pub(crate) threads: &'a Threads,
    pub(crate) settings: &'a RunSettings,
    pub(crate) image: &'a Image,
    pub(crate) next: Epoch,
    pub(crate) tell: Tell,
    pub(crate) jobs: crossbeam::channel::Sender<Job>,
    pub(crate) clock: Clock,
    pub(crate) launches: Vec<Launch>,
    /// Sender halves whose receivers are taken, by edge, upstream and downstream instance.
    senders: HashMap<(EdgeId, usize, usize), Box<dyn Any + Send>>,
    /// Stages that will run in the actor of the node before them.
    stages: HashMap<(NodeId, usize), Box<dyn Any + Send>>,
}

impl<'a> BuildContext<'a> {
    #[allow(clippy::too_many_arguments, reason = "the parts of one struct, taken once")]
    pub(crate) fn new(
        plan: &'a PhysicalPlan,
        threads: &'a Threads,
        settings: &'a RunSettings,
        (image, next): (&'a Image, Epoch),
        tell: Tell,
        jobs: crossbeam::channel::Sender<Job>,
        clock: Clock,
    ) -> Self {
        BuildContext {
            plan,
            threads,
            settings,
            image,
            next,
            tell,
            jobs,
            clock,
            launches: Vec::new(),
            senders: HashMap::new(),
            stages: HashMap::new(),
        }
    }

    fn worker(&self, instance: usize) -> usize {
        self.threads.worker(instance + self.settings.worker_offset)
    }

    /// The receivers of one instance, one for each upstream instance that feeds it.
    fn receivers<B: Batch>(&mut self, node: &PlannedNode, instance: Instance) -> Receivers<B> {
        let mut all =
            Receivers { receivers: Vec::new(), inputs: Vec::new(), names: Vec::new(), other_thread: false };
        for (input, incoming) in node.incoming.iter().enumerate() {
            let forward = self.plan.edges[&incoming.edge] == EdgeKind::Forward;
            let from = self.plan.node(incoming.from);
            for upstream in 0..from.parallelism {
                if forward && upstream != instance.index {
                    continue;
                }
                let (sender, receiver) = channel::<B>(CHANNEL_BATCHES * B::ROWS_AT_ONCE, CHANNEL_ITEMS);
                self.senders.insert((incoming.edge, upstream, instance.index), Box::new(sender));
                all.receivers.push(receiver);
                all.inputs.push(input);
                all.names.push(format!("{}[{upstream}]", from.uid));
                all.other_thread |= self.worker(upstream) != self.worker(instance.index);
            }
        }
        all
    }

    /// The senders of one upstream instance on an edge, by downstream instance.
    pub(crate) fn senders<B: Batch>(&mut self, edge: EdgeId, instance: Instance) -> Result<Vec<Sender<B>>> {
        let mut targets: Vec<usize> = self
            .senders
            .keys()
            .filter(|(of, from, _)| *of == edge && *from == instance.index)
            .map(|(_, _, to)| *to)
            .collect();
        targets.sort_unstable();
        let mut senders = Vec::with_capacity(targets.len());
        for target in targets {
            let sender = self.senders.remove(&(edge, instance.index, target));
            let sender = sender.and_then(|sender| sender.downcast::<Sender<B>>().ok());
            senders.push(*sender.ok_or_else(|| Error::internal("a channel has ends of different types"))?);
        }
        Ok(senders)
    }

    /// How an upstream instance chooses among the targets of an edge.
    pub(crate) fn routing<O: Batch>(
        &self,
        edge: EdgeId,
        targets: usize,
        instance: Instance,
        partition: Option<&PartitionFactory<O>>,
    ) -> Routing<O> {
        match (self.plan.edges[&edge], partition) {
            (EdgeKind::ByKey, Some(partition)) if targets > 1 => Routing::Hash {
                partition: partition(),
                builders: (0..targets).map(|_| O::Builder::default()).collect(),
            },
            (EdgeKind::RoundRobin, _) if targets > 1 => Routing::RoundRobin(instance.index % targets),
            _ => Routing::Single,
        }
    }

    /// What follows a node: the stage of the node fused with it, or edges.
    fn next_stage<O: Batch>(
        &mut self,
        outputs: &Outputs<O>,
        instance: Instance,
    ) -> Result<Box<dyn Stage<O>>> {
        let outputs = outputs.lock();
        if let [only] = &outputs.edges[..]
            && self.plan.node(only.to).fused
        {
            let stage = self.stages.remove(&(only.to, instance.index));
            let stage = stage.and_then(|stage| stage.downcast::<Box<dyn Stage<O>>>().ok());
            return Ok(*stage.ok_or_else(|| Error::internal("a fused operator has another input type"))?);
        }
        let mut edges = Vec::with_capacity(outputs.edges.len());
        for outgoing in &outputs.edges {
            edges.push((outgoing.connect)(self, instance)?);
        }
        let spread = outputs.spread.as_ref().map(|make| make());
        Ok(Box::new(EdgeStage { edges, spread }))
    }

    fn core(
        &mut self,
        node: &PlannedNode,
        instance: Instance,
        (inputs, fed_by_other_thread): (Vec<String>, bool),
    ) -> Core {
        let label = format!("{}[{}]", node.uid, instance.index);
        Core::new(CoreParts {
            id: ActorId(self.launches.len() as u32),
            label: label.clone(),
            tell: self.tell.clone(),
            jobs: self.jobs.clone(),
            clock: self.clock.clone(),
            metrics: ActorMetrics::new(label, inputs),
            waiting: Waiting::new(self.settings.wait),
            fed_by_other_thread,
        })
    }

    fn launch<A: Actor<Context = actix::Context<A>> + Send>(
        &mut self,
        node: &PlannedNode,
        instance: Instance,
        (id, metrics): (ActorId, Arc<ActorMetrics>),
        (is_source, is_sink): (bool, bool),
        actor: A,
    ) {
        self.launches.push(Launch {
            id,
            worker: self.worker(instance.index),
            uid: node.uid.clone(),
            is_source,
            is_sink,
            metrics,
            start: Box::new(move || {
                actor.start();
            }),
        });
    }

    /// Ends the building of one instance: as a part of the actor before it, or as an actor of its own.
    fn place<I: Batch>(
        &mut self,
        node: &PlannedNode,
        instance: Instance,
        mut stage: Box<dyn Stage<I>>,
        is_sink: bool,
    ) -> Result<()> {
        if node.fused {
            self.stages.insert((node.id, instance.index), Box::new(stage));
            return Ok(());
        }
        let fed = self.receivers::<I>(node, instance);
        let mut core = self.core(node, instance, (fed.names, fed.other_thread));
        let (image, next, now) = (self.image, self.next, self.clock.now());
        stage.start(&|uid| image.state_of(uid), next, &mut core.context(Waker::noop(), now, now.ns))?;
        let watermarks = Watermarks::new(&fed.inputs, self.settings.watermark_policy);
        let aligner = Aligner::new(fed.receivers.len(), self.settings.consistency);
        let (id, metrics) = (core.id, Arc::clone(&core.metrics));
        let mut actor = StageActor::new(
            core,
            (node.uid.clone(), instance),
            (fed.receivers, watermarks),
            (stage, is_sink),
            aligner,
        );
        actor.restore_watermark(&image.state_of(&runtime_state_of(&node.uid)), Waker::noop())?;
        self.launch(node, instance, (id, metrics), (false, is_sink), actor);
        Ok(())
    }
}

/// A source with the edges behind it.
pub(crate) struct SourceNode<B: Batch> {
    pub(crate) factory: Box<dyn SourceFactory<B>>,
    pub(crate) outputs: Outputs<B>,
}

impl<B: Batch> NodeBuilder for SourceNode<B> {
    fn build(&mut self, node: NodeId, instance: Instance, context: &mut BuildContext<'_>) -> Result<()> {
        let node = context.plan.node(node).clone();
        let named = |error| Error::from(error).at_operator(&format!("{}[{}]", node.uid, instance.index));
        let mut source = self.factory.create(instance).map_err(named)?;
        source.identify(&format!("{}-{}", context.settings.name, node.uid));
        let traits = self.factory.traits();
        if traits.polling == Polling::Blocking {
            source = Box::new(Blocking::new(traits.name, source));
        }
        let from = offsets_of(context.image, &node.uid)?;
        let state = context.image.state_of(&node.uid);
        if !state.tables.is_empty() {
            source.restore(Restore { image: &state, instance }).map_err(named)?;
        }
        source.start(&from).map_err(named)?;
        let mut stage = context.next_stage(&self.outputs, instance)?;
        let mut core = context.core(&node, instance, (Vec::new(), true));
        let (image, now) = (context.image, context.clock.now());
        stage.start(
            &|uid| image.state_of(uid),
            context.next,
            &mut core.context(Waker::noop(), now, now.ns),
        )?;
        let (id, metrics) = (core.id, Arc::clone(&core.metrics));
        let limits = (context.settings.batch_rows_max, !traits.replayable);
        let partitions = SourcePartitions::new(node.uid.clone(), instance, context.settings.idle_after);
        let actor = SourceActor::new(core, (node.uid.clone(), instance), source, (stage, partitions), limits);
        context.launch(&node, instance, (id, metrics), (true, false), actor);
        Ok(())
    }

    fn outgoing(&self) -> usize {
        self.outputs.lock().edges.len()
    }
}

/// The offsets of a source in a checkpoint: those of all its instances.
pub(crate) fn offsets_of(image: &Image, uid: &str) -> Result<Offsets> {
    let mut all = Offsets::default();
    for chunk in image.state_of(uid).chunks(OFFSETS) {
        let offsets: Offsets =
            codec::decode(OFFSETS, chunk).map_err(|error| Error::from(error).at_operator(uid))?;
        all.merge(offsets);
    }
    Ok(all)
}

/// An operator with the edges behind it.
pub(crate) struct OperatorNode<I: Batch, O: Batch> {
    pub(crate) factory: Box<dyn FnMut(Instance) -> Result<Box<dyn Operator<I, O>>> + Send>,
    pub(crate) outputs: Outputs<O>,
}

impl<I: Batch, O: Batch> NodeBuilder for OperatorNode<I, O> {
    fn build(&mut self, node: NodeId, instance: Instance, context: &mut BuildContext<'_>) -> Result<()> {
        let node = context.plan.node(node).clone();
        let next = context.next_stage(&self.outputs, instance)?;
        let operator = (self.factory)(instance)?;
        let mode = ModeWatch::clone(&context.settings.mode);
        let stateless = matches!(node.role, Role::Operator { stateless: true });
        let link = Link::new((node.uid.clone(), instance), operator, (mode, stateless), next);
        context.place::<I>(&node, instance, Box::new(link), false)
    }

    fn outgoing(&self) -> usize {
        self.outputs.lock().edges.len()
    }
}

/// A lookup join with the edges behind it.
pub(crate) struct LookupNode<I: Batch, O: Batch> {
    pub(crate) factory: Box<dyn FnMut(Arc<Bell>) -> Box<dyn Operator<I, O>> + Send>,
    pub(crate) outputs: Outputs<O>,
}

impl<I: Batch, O: Batch> NodeBuilder for LookupNode<I, O> {
    fn build(&mut self, node: NodeId, instance: Instance, context: &mut BuildContext<'_>) -> Result<()> {
        let node = context.plan.node(node).clone();
        let next = context.next_stage(&self.outputs, instance)?;
        let bell = Bell::new();
        let operator = (self.factory)(Arc::clone(&bell));
        let mode = ModeWatch::clone(&context.settings.mode);
        let link = Link::new((node.uid.clone(), instance), operator, (mode, false), next);
        context.place::<I>(&node, instance, Box::new(LookupLink::new(link, bell)), false)
    }

    fn outgoing(&self) -> usize {
        self.outputs.lock().edges.len()
    }
}

/// A sink.
pub(crate) struct SinkNode<B: Batch> {
    pub(crate) factory: Box<dyn SinkFactory<B>>,
}

impl<B: Batch> NodeBuilder for SinkNode<B> {
    fn build(&mut self, node: NodeId, instance: Instance, context: &mut BuildContext<'_>) -> Result<()> {
        let node = context.plan.node(node).clone();
        let label = format!("{}[{}]", node.uid, instance.index);
        let mut sink =
            self.factory.create(instance).map_err(|error| Error::from(error).at_operator(&label))?;
        sink.watch(&context.settings.mode);
        let stage = SinkStage::new(node.uid.clone(), instance.index, sink);
        context.place::<B>(&node, instance, Box::new(stage), true)
    }

    fn committer(&self, writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(self.factory.committer(writer)?)
    }

    fn outgoing(&self) -> usize {
        0
    }
}
