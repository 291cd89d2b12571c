//! The dataflow as the user writes it: nodes and typed edges, before anything runs.

use crate::error::Result;
use crate::runtime::build::BuildContext;
use crate::runtime::edge::{ChannelEdge, Edge, Partition, Spread};
use lotic_connectors::{Committer, SinkTraits, SourceTraits};
use lotic_operators::{Batch, Instance};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A node, unique within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) usize);

/// An edge, unique within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EdgeId(pub(crate) usize);

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    Source(SourceTraits),
    /// `stateless` operators may be fused with their neighbours.
    Operator {
        stateless: bool,
    },
    Sink(SinkTraits),
}

/// An edge into a node.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) edge: EdgeId,
    pub(crate) from: NodeId,
    /// Rows go to the owner of their key.
    pub(crate) by_key: bool,
    /// Whether the rows arrive unchanged, so that the node may be fused with `from`.
    pub(crate) plain: bool,
}

/// Makes the parts that run a node.
pub(crate) trait NodeBuilder: Send {
    /// Builds one instance into the context: a stage for the node before it, or an actor.
    fn build(&mut self, node: NodeId, instance: Instance, context: &mut BuildContext<'_>) -> Result<()>;

    /// The committer of a sink.
    fn committer(&self, _writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(None)
    }

    /// Edges that leave the node.
    fn outgoing(&self) -> usize;
}

/// A node of the dataflow.
pub(crate) struct Node {
    /// What it does, as `explain` shows it: `map`, `aggregate`, `source events`.
    pub(crate) kind: String,
    /// What exactly it does: its expressions. Of a stateful operator, part of what a checkpoint has to match.
    pub(crate) detail: String,
    /// More about it for `explain` alone.
    pub(crate) note: String,
    /// The stable id the user gave it.
    pub(crate) uid: Option<String>,
    pub(crate) role: Role,
    pub(crate) parallelism: Option<usize>,
    pub(crate) incoming: Vec<Incoming>,
    pub(crate) builder: Box<dyn NodeBuilder>,
}

/// All nodes of a session that do not belong to a started query yet.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    numbered: usize,
    /// Mistakes made while the query was written, told when it is started.
    pub(crate) mistakes: Vec<(NodeId, String)>,
}

impl Graph {
    pub(crate) fn number(&mut self) -> usize {
        self.numbered += 1;
        self.numbered
    }

    pub(crate) fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.number());
        self.nodes.insert(id, node);
        id
    }

    /// Puts back what [`Graph::take_component`] took out.
    pub(crate) fn put_back(&mut self, nodes: BTreeMap<NodeId, Node>, of: NodeId, mistakes: Vec<String>) {
        self.nodes.extend(nodes);
        self.mistakes.extend(mistakes.into_iter().map(|mistake| (of, mistake)));
    }

    /// Takes out the nodes that hang together with this one.
    pub(crate) fn take_component(&mut self, of: NodeId) -> (BTreeMap<NodeId, Node>, Vec<String>) {
        let mut members = vec![of];
        let mut at = 0;
        while let Some(&node) = members.get(at) {
            at += 1;
            let before =
                self.nodes.get(&node).into_iter().flat_map(|node| &node.incoming).map(|edge| edge.from);
            let after = self
                .nodes
                .iter()
                .filter(|(_, other)| other.incoming.iter().any(|edge| edge.from == node))
                .map(|(id, _)| *id);
            for neighbour in before.chain(after).collect::<Vec<_>>() {
                if !members.contains(&neighbour) {
                    members.push(neighbour);
                }
            }
        }
        let (ours, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.mistakes).into_iter().partition(|(node, _)| members.contains(node));
        self.mistakes = others;
        let nodes = members.into_iter().filter_map(|id| Some((id, self.nodes.remove(&id)?))).collect();
        (nodes, ours.into_iter().map(|(_, mistake)| mistake).collect())
    }
}

/// Makes a partition function for one upstream instance.
pub(crate) type PartitionFactory<O> = Arc<dyn Fn() -> Partition<O> + Send + Sync>;

type Connect<O> = Box<dyn Fn(&mut BuildContext<'_>, Instance) -> Result<Box<dyn Edge<O>>> + Send>;

/// One edge that leaves a node, with the types of both of its ends.
pub(crate) struct Outgoing<O: Batch> {
    pub(crate) to: NodeId,
    pub(crate) connect: Connect<O>,
}

impl<O: Batch> Outgoing<O> {
    /// An edge whose channels carry `I`.
    pub(crate) fn new<I: Batch>(
        edge: EdgeId,
        to: NodeId,
        wrap: fn(O) -> I,
        partition: Option<PartitionFactory<O>>,
    ) -> Self {
        let connect: Connect<O> = Box::new(move |context, instance| {
            let senders = context.senders::<I>(edge, instance)?;
            let routing = context.routing(edge, senders.len(), instance, partition.as_ref());
            Ok(Box::new(ChannelEdge::new(senders, routing, wrap)))
        });
        Outgoing { to, connect }
    }
}

/// The edges that leave a node, shared between the node's builder and the stream the user holds.
pub(crate) struct Outputs<O: Batch>(Arc<Mutex<OutputList<O>>>);

pub(crate) struct OutputList<O: Batch> {
    pub(crate) edges: Vec<Outgoing<O>>,
    /// Makes the rule that gives each of several edges its share.
    pub(crate) spread: Option<Box<dyn Fn() -> Spread<O> + Send>>,
}

impl<O: Batch> Clone for Outputs<O> {
    fn clone(&self) -> Self {
        Outputs(Arc::clone(&self.0))
    }
}

impl<O: Batch> Default for Outputs<O> {
    fn default() -> Self {
        Outputs(Arc::new(Mutex::new(OutputList { edges: Vec::new(), spread: None })))
    }
}

impl<O: Batch> Outputs<O> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, OutputList<O>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
