//! The query as data: the graph as written and the plan that runs.

pub(crate) mod graph;
pub(crate) mod physical;
#[cfg(feature = "sql")]
pub(crate) mod table;
