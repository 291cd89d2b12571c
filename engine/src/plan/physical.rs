//! From the dataflow as written to what runs: names, parallelism, fusion, routing.

use super::graph::{EdgeId, Incoming, Node, NodeId, Role};
use crate::checkpoint::record::QueryIdentity;
use crate::error::{Error, Result};
use lotic_connectors::Delivery;
use lotic_operators::limits::KEY_GROUPS;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// How rows cross an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EdgeKind {
    /// Within one actor.
    Fused,
    /// From instance i to instance i.
    Forward,
    /// In turn to all instances.
    RoundRobin,
    /// To the owner of the key.
    ByKey,
}

/// A node as it runs.
#[derive(Debug, Clone)]
pub(crate) struct PlannedNode {
    pub(crate) id: NodeId,
    /// The stable id under which its state stands in checkpoints.
    pub(crate) uid: String,
    pub(crate) kind: String,
    pub(crate) detail: String,
    pub(crate) note: String,
    pub(crate) role: Role,
    pub(crate) parallelism: usize,
    pub(crate) incoming: Vec<Incoming>,
    /// Whether it runs in the actor of the node before it.
    pub(crate) fused: bool,
}

/// What runs.
#[derive(Debug, Clone)]
pub(crate) struct PhysicalPlan {
    /// In the order written: upstream before downstream.
    pub(crate) nodes: Vec<PlannedNode>,
    pub(crate) edges: BTreeMap<EdgeId, EdgeKind>,
}

/// The choices that shape a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanOptions {
    pub(crate) parallelism: usize,
    pub(crate) chaining: bool,
}

impl PhysicalPlan {
    pub(crate) fn new(nodes: &BTreeMap<NodeId, Node>, options: PlanOptions) -> Result<PhysicalPlan> {
        let mut plan = PhysicalPlan { nodes: Vec::new(), edges: BTreeMap::new() };
        let mut uids = stable_ids(nodes)?;
        for (id, node) in nodes {
            let outgoing = node.builder.outgoing();
            if outgoing == 0 && !matches!(node.role, Role::Sink(_)) {
                return Err(Error::user(format!(
                    "the output of `{}` goes nowhere: end every stream in a sink, for instance with `for_each`",
                    node.kind
                )));
            }
            let parallelism = parallelism(node, options)?;
            let uid = uids.remove(id).expect("invariant: every node was given an id");
            let fused = options.chaining && plan.can_fuse(nodes, node, parallelism);
            plan.route(node, parallelism, fused);
            plan.nodes.push(PlannedNode {
                id: *id,
                uid,
                kind: node.kind.clone(),
                detail: node.detail.clone(),
                note: node.note.clone(),
                role: node.role.clone(),
                parallelism,
                incoming: node.incoming.clone(),
                fused,
            });
        }
        Ok(plan)
    }

    pub(crate) fn node(&self, id: NodeId) -> &PlannedNode {
        self.nodes.iter().find(|node| node.id == id).expect("invariant: edges end at nodes of the plan")
    }

    /// Adjacent stateless steps run in one actor.
    fn can_fuse(&self, nodes: &BTreeMap<NodeId, Node>, node: &Node, parallelism: usize) -> bool {
        let [Incoming { from, by_key: false, plain: true, .. }] = node.incoming[..] else { return false };
        matches!(node.role, Role::Operator { stateless: true })
            && matches!(nodes[&from].role, Role::Operator { stateless: true })
            && nodes[&from].builder.outgoing() == 1
            && self.node(from).parallelism == parallelism
    }

    fn route(&mut self, node: &Node, parallelism: usize, fused: bool) {
        for incoming in &node.incoming {
            let kind = if fused {
                EdgeKind::Fused
            } else if incoming.by_key {
                EdgeKind::ByKey
            } else if self.node(incoming.from).parallelism == parallelism {
                EdgeKind::Forward
            } else {
                EdgeKind::RoundRobin
            };
            self.edges.insert(incoming.edge, kind);
        }
    }

    /// Whether every source can be read again from an offset.
    pub(crate) fn is_replayable(&self) -> bool {
        self.nodes.iter().all(|node| !matches!(&node.role, Role::Source(traits) if !traits.replayable))
    }

    /// A sink that needs whole batches, if there is one.
    pub(crate) fn batches_only(&self) -> Option<Arc<str>> {
        self.nodes.iter().find_map(|node| match &node.role {
            Role::Sink(traits) if traits.batches_only => Some(Arc::from(traits.name.as_str())),
            _ => None,
        })
    }

    /// What a checkpoint of this query has to match.
    pub(crate) fn identity(&self, id: String) -> QueryIdentity {
        let keeps = |node: &&PlannedNode| !matches!(node.role, Role::Operator { stateless: true });
        let operators =
            self.nodes.iter().filter(keeps).map(|node| (node.uid.clone(), node.identity())).collect();
        QueryIdentity { id, operators }
    }

    /// The plan as text: one line for each operator, actors set apart.
    pub(crate) fn explain(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let inputs: Vec<String> = node
                .incoming
                .iter()
                .map(|incoming| {
                    let how = match self.edges[&incoming.edge] {
                        EdgeKind::Fused => "fused with",
                        EdgeKind::Forward => "forward from",
                        EdgeKind::RoundRobin => "in turn from",
                        EdgeKind::ByKey => "by key from",
                    };
                    format!("{how} {}", self.node(incoming.from).uid)
                })
                .collect();
            let promise = match &node.role {
                Role::Source(traits) if traits.replayable => "replayable",
                Role::Source(_) => "cannot be replayed: what is in flight is lost in a crash",
                Role::Sink(traits) => match traits.delivery {
                    Delivery::ExactlyOnce => "exactly-once, visible when its epoch is committed",
                    Delivery::AtLeastOnce => "at-least-once, visible at once",
                },
                Role::Operator { stateless: true } => "stateless",
                Role::Operator { .. } => "stateful, exactly-once",
            };
            let mark = if node.fused { "   + " } else { " * " };
            let _ = write!(text, "{mark}{} x{}  [{promise}]", node.uid, node.parallelism);
            if !inputs.is_empty() {
                let _ = write!(text, "  <- {}", inputs.join(", "));
            }
            text.push('\n');
            for line in [&node.detail, &node.note].into_iter().filter(|line| !line.is_empty()) {
                let _ = writeln!(text, "       {line}");
            }
        }
        text
    }
}

/// The id of each node: the one it was given, else its kind, with a number from the second of a kind on.
///
/// What keeps something in checkpoints is numbered without regard to what does not, so that steps without state can
/// be added and removed and the checkpoint still fits.
fn stable_ids(nodes: &BTreeMap<NodeId, Node>) -> Result<BTreeMap<NodeId, String>> {
    let mut ids = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (id, node) in nodes {
        let Some(uid) = &node.uid else { continue };
        if !taken.insert(uid.clone()) {
            return Err(Error::user(format!("two operators have the id `{uid}`: ids are unique in a query")));
        }
        ids.insert(*id, uid.clone());
    }
    let (stateless, keeping): (Vec<_>, Vec<_>) =
        nodes.iter().partition(|(_, node)| matches!(node.role, Role::Operator { stateless: true }));
    for (id, node) in keeping.into_iter().chain(stateless) {
        if !ids.contains_key(id) {
            let numbered = (2..).map(|number| format!("{}-{number}", node.kind));
            let mut free =
                std::iter::once(node.kind.clone()).chain(numbered).filter(|uid| !taken.contains(uid));
            let uid = free.next().expect("invariant: there is always another number");
            taken.insert(uid.clone());
            ids.insert(*id, uid);
        }
    }
    Ok(ids)
}

impl PlannedNode {
    /// What a checkpoint has to match: for a stateful operator of a table, its expressions too.
    fn identity(&self) -> String {
        match self.role {
            Role::Operator { .. } if !self.detail.is_empty() => format!("{} {}", self.kind, self.detail),
            _ => self.kind.clone(),
        }
    }
}

fn parallelism(node: &Node, options: PlanOptions) -> Result<usize> {
    let limit = match &node.role {
        Role::Source(traits) => traits.max_parallelism,
        Role::Sink(traits) => traits.max_parallelism,
        Role::Operator { .. } => usize::from(KEY_GROUPS),
    };
    match node.parallelism {
        Some(0) => Err(Error::user(format!("parallelism 0 of `{}`: it is at least 1", node.kind))),
        Some(asked) if asked > limit => Err(Error::user(format!(
            "parallelism {asked} of `{}`: it can run in at most {limit} instances",
            node.kind
        ))),
        Some(asked) => Ok(asked),
        None => Ok(options.parallelism.min(limit).max(1)),
    }
}
