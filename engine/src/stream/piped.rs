//! What all doors have in common: a position in the dataflow to which steps are added.

use super::sunk::Query;
use crate::plan::graph::{
    EdgeId, Incoming, Node, NodeBuilder, NodeId, Outgoing, Outputs, PartitionFactory, Role,
};
use crate::runtime::build::{LookupNode, OperatorNode, SinkNode, SourceNode};
use crate::runtime::edge::Spread;
use crate::runtime::lookup::Bell;
use crate::session::Session;
use lotic_connectors::{SinkFactory, SourceFactory};
use lotic_operators::{Batch, Instance, Operator, Output, Result};
use std::sync::Arc;

/// The end of a dataflow so far: the outputs of one node or, after a union, of several.
pub(crate) struct Piped<B: Batch> {
    session: Session,
    ends: Vec<(NodeId, Outputs<B>)>,
    /// Instances of what comes next, where it has to keep the order of rows.
    instances: Option<usize>,
}

impl<B: Batch> std::fmt::Debug for Piped<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "after {:?}", self.ends.iter().map(|(node, _)| node.0).collect::<Vec<_>>())
    }
}

/// Passes batches on as they are: what a split or fork hangs on.
struct Pass;

impl<B: Batch> Operator<B, B> for Pass {
    fn process(&mut self, input: &mut B, output: &mut Output<B>) -> Result<()> {
        if let Some(batch) = input.take() {
            output.emit(batch);
        }
        Ok(())
    }
}

impl<B: Batch> Piped<B> {
    pub(crate) fn new(session: Session, node: NodeId, outputs: Outputs<B>) -> Self {
        Piped { session, ends: vec![(node, outputs)], instances: None }
    }

    /// The beginning of a dataflow.
    pub(crate) fn source(session: &Session, factory: Box<dyn SourceFactory<B>>) -> Self {
        let outputs = Outputs::default();
        let traits = factory.traits();
        let node = Node {
            kind: format!("source-{}", traits.name),
            detail: String::new(),
            note: String::new(),
            uid: None,
            role: Role::Source(traits),
            parallelism: None,
            incoming: Vec::new(),
            builder: Box::new(SourceNode { factory, outputs: outputs.clone() }),
        };
        let id = session.graph().add(node);
        Piped::new(session.clone(), id, outputs)
    }

    /// What comes next, the sink included, has this many instances, so that instance i feeds instance i and
    /// the order of rows is kept; one if it cannot have as many.
    #[cfg(feature = "sql")]
    pub(crate) fn keeping_order(mut self, instances: Option<usize>) -> Self {
        self.instances = instances;
        self
    }

    /// The place itself, which is one node. Not for what comes after a union.
    #[cfg(feature = "sql")]
    pub(crate) fn into_end(mut self) -> (NodeId, Outputs<B>) {
        self.ends.swap_remove(0)
    }

    /// The same place once more.
    pub(crate) fn other(&self) -> Self {
        Piped { session: self.session.clone(), ends: self.ends.clone(), instances: self.instances }
    }

    pub(crate) fn union(mut self, other: Self) -> Self {
        self.ends.extend(other.ends);
        self
    }

    /// Leads edges from here to a node about to be added as number `to`, whose batches are `I`.
    fn connect<I: Batch>(
        &self,
        to: NodeId,
        wrap: fn(B) -> I,
        (partition, plain): (Option<&PartitionFactory<B>>, bool),
    ) -> Vec<Incoming> {
        let mut incoming = Vec::new();
        for (from, outputs) in &self.ends {
            let edge = EdgeId(self.session.graph().number());
            outputs.lock().edges.push(Outgoing::new(edge, to, wrap, partition.cloned()));
            incoming.push(Incoming { edge, from: *from, by_key: partition.is_some(), plain });
        }
        incoming
    }

    fn reserve(&self) -> NodeId {
        NodeId(self.session.graph().number())
    }

    fn place(&self, id: NodeId, node: Node) {
        self.session.graph().nodes.insert(id, node);
    }

    /// Adds an operator; `make` builds each instance. With a partition rows go to the owner of their key.
    pub(crate) fn operator<O: Batch>(
        self,
        kind: &str,
        stateless: bool,
        partition: Option<PartitionFactory<B>>,
        mut make: impl FnMut(Instance) -> Box<dyn Operator<B, O>> + Send + 'static,
    ) -> Piped<O> {
        self.try_operator(kind, stateless, partition, move |instance| Ok(make(instance)))
    }

    /// Adds an operator that may fail to be built, when the query is started or started again.
    pub(crate) fn try_operator<O: Batch>(
        self,
        kind: &str,
        stateless: bool,
        partition: Option<PartitionFactory<B>>,
        make: impl FnMut(Instance) -> crate::error::Result<Box<dyn Operator<B, O>>> + Send + 'static,
    ) -> Piped<O> {
        let id = self.reserve();
        let incoming = self.connect::<B>(id, |batch| batch, (partition.as_ref(), true));
        self.operator_node(id, kind, stateless, incoming, make)
    }

    fn operator_node<I: Batch, O: Batch>(
        &self,
        id: NodeId,
        kind: &str,
        stateless: bool,
        incoming: Vec<Incoming>,
        make: impl FnMut(Instance) -> crate::error::Result<Box<dyn Operator<I, O>>> + Send + 'static,
    ) -> Piped<O> {
        let outputs = Outputs::default();
        let builder = OperatorNode { factory: Box::new(make), outputs: outputs.clone() };
        self.built_node(id, (kind, stateless), incoming, Box::new(builder), outputs)
    }

    /// Adds an operator that waits for what comes from outside; the bell that `make` is given tells its actor.
    pub(crate) fn lookup<O: Batch>(
        self,
        kind: &str,
        partition: PartitionFactory<B>,
        make: impl FnMut(Arc<Bell>) -> Box<dyn Operator<B, O>> + Send + 'static,
    ) -> Piped<O> {
        let id = self.reserve();
        let incoming = self.connect::<B>(id, |batch| batch, (Some(&partition), true));
        let outputs = Outputs::default();
        let builder = LookupNode { factory: Box::new(make), outputs: outputs.clone() };
        self.built_node(id, (kind, false), incoming, Box::new(builder), outputs)
    }

    fn built_node<O: Batch>(
        &self,
        id: NodeId,
        (kind, stateless): (&str, bool),
        incoming: Vec<Incoming>,
        builder: Box<dyn NodeBuilder>,
        outputs: Outputs<O>,
    ) -> Piped<O> {
        let node = Node {
            kind: kind.to_owned(),
            detail: String::new(),
            note: String::new(),
            uid: None,
            role: Role::Operator { stateless },
            parallelism: self.instances,
            incoming,
            builder,
        };
        self.place(id, node);
        let mut piped = Piped::new(self.session.clone(), id, outputs);
        piped.instances = self.instances;
        piped
    }

    /// Adds an operator with two inputs, each with its own partition; `left` and `right` wrap their batches.
    #[allow(clippy::too_many_arguments, reason = "two of everything")]
    pub(crate) fn two_inputs<R: Batch, I: Batch, O: Batch>(
        self,
        other: Piped<R>,
        kind: &str,
        (left, right): (fn(B) -> I, fn(R) -> I),
        partitions: (PartitionFactory<B>, PartitionFactory<R>),
        mut make: impl FnMut(Instance) -> Box<dyn Operator<I, O>> + Send + 'static,
    ) -> Piped<O> {
        self.try_two_inputs(other, kind, (left, right), partitions, move |instance| Ok(make(instance)))
    }

    /// As [`Piped::two_inputs`], for an operator that may fail to be built.
    #[allow(clippy::too_many_arguments, reason = "two of everything")]
    pub(crate) fn try_two_inputs<R: Batch, I: Batch, O: Batch>(
        self,
        other: Piped<R>,
        kind: &str,
        (left, right): (fn(B) -> I, fn(R) -> I),
        partitions: (PartitionFactory<B>, PartitionFactory<R>),
        make: impl FnMut(Instance) -> crate::error::Result<Box<dyn Operator<I, O>>> + Send + 'static,
    ) -> Piped<O> {
        let id = self.reserve();
        let mut incoming = self.connect::<I>(id, left, (Some(&partitions.0), false));
        incoming.extend(other.connect::<I>(id, right, (Some(&partitions.1), false)));
        self.operator_node(id, kind, false, incoming, make)
    }

    /// Adds a place with several outputs; `make` gives the rule of each instance.
    pub(crate) fn spread(self, kind: &str, make: impl Fn() -> Spread<B> + Send + 'static) -> Piped<B> {
        let piped = self.operator(kind, true, None, |_| Box::new(Pass));
        piped.ends[0].1.lock().spread = Some(Box::new(make));
        piped
    }

    pub(crate) fn sink(self, factory: Box<dyn SinkFactory<B>>) -> Query {
        let id = self.reserve();
        let incoming = self.connect::<B>(id, |batch| batch, (None, true));
        let traits = factory.traits();
        let fits = |instances| if instances <= traits.max_parallelism { instances } else { 1 };
        let parallelism = self.instances.map(fits);
        let node = Node {
            kind: format!("sink-{}", traits.name),
            detail: String::new(),
            note: String::new(),
            uid: None,
            role: Role::Sink(traits),
            parallelism,
            incoming,
            builder: Box::new(SinkNode { factory }),
        };
        self.place(id, node);
        Query::new(self.session, id)
    }

    pub(crate) fn set_uid(&self, uid: &str) {
        self.change(|node| node.uid = Some(uid.to_owned()), "uid");
    }

    /// Says what exactly the last step does, for checkpoints and `explain`, and more for `explain` alone.
    pub(crate) fn describe(&self, detail: String, note: String) {
        let describe = |node: &mut Node| (node.detail, node.note) = (detail, note);
        self.change(describe, "describe");
    }

    pub(crate) fn set_parallelism(&self, parallelism: usize) {
        self.change(|node| node.parallelism = Some(parallelism), "parallelism");
    }

    fn change(&self, change: impl FnOnce(&mut Node), setting: &str) {
        let mut graph = self.session.graph();
        let id = self.ends[0].0;
        if self.ends.len() > 1 {
            graph.mistakes.push((id, format!("`{setting}` after a union: a union is no step of its own")));
        } else if let Some(node) = graph.nodes.get_mut(&id) {
            change(node);
        }
    }
}
