//! Aggregation of tables.
//!
//! | room | what it holds |
//! |---|---|
//! | `calls` | the aggregates of a query, whatever the rows are grouped by: what is kept for a group, how rows go in, how groups merge, what comes out |
//! | `grouped` | [`GroupedAggregate`]: groups of equal keys, windows among them; DISTINCT |
//! | `session` | [`SessionAggregate`]: groups of rows that lie close together in event time |
//! | `sliding` | [`SlidingAggregate`]: sliding windows that share panes |
//! | `bounds` | the column that says from when to when a window or a session goes |
//! | `part` | keys of state of which a group key has several |
//! | `numbered` | the groups that a batch touches |
//!
//! Groups are kept in keyed state, so that a marker costs what changed since the last one. Counts, sums,
//! averages, minima and maxima are computed here, a batch at a time; every other aggregate by DataFusion's
//! own accumulators, one for each group.

mod bounds;
mod calls;
mod grouped;
mod numbered;
mod part;
mod session;
mod sliding;

pub use calls::AggregateCall;
pub use grouped::GroupedAggregate;
pub use session::{SessionAggregate, SessionGrouping};
pub use sliding::{SlidingAggregate, SlidingGrouping};

use super::expression::failed;
use crate::error::Result;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// When a group is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// After each batch the groups it touched, each once, with their current values. An aggregation without
    /// group columns has its one row from the first epoch on.
    Update,
    /// At the end of each epoch the groups that changed in it, each once, so that an epoch has the same rows
    /// however its input was cut into batches. An aggregation without group columns has its one row from the
    /// first epoch on. A changed group that is over is emitted when the watermark says so, within the epoch.
    EpochUpdate,
    /// All groups at the end of each epoch in which one changed; an aggregation without group columns has
    /// its one row from the first epoch on. What is restored counts as unchanged. Nothing is ever over.
    Complete,
    /// All groups once the input has ended. Nothing is over before.
    Final,
    /// Each new group as it is first seen: DISTINCT. Only without aggregates.
    New,
    /// Each group once, when it is over ([`Grouping::over`]) or the input has ended, and then never again:
    /// append mode.
    Closed,
}

/// What is grouped by what, and when it is emitted.
#[derive(Debug, Clone)]
pub struct Grouping {
    /// The group columns, evaluated on the input; none make one group of all rows, in one instance.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The aggregates, evaluated on the input.
    pub aggregates: Vec<AggregateCall>,
    /// The schema of the input.
    pub input: SchemaRef,
    /// The schema of the output: the group columns, then the aggregates.
    pub output: SchemaRef,
    /// When groups are emitted.
    pub emit: Emit,
    /// The group column with event time, a timestamp or a window
    /// ([`bears_event_time`](super::bears_event_time)), that says when a group is over: once the watermark
    /// has reached the timestamp or the window's end. Rows of a group that is over are late: dropped and
    /// counted. A group that is over is forgotten. Null is over when the input has ended.
    pub over: Option<usize>,
}

/// The types of expressions on rows of a schema.
///
/// # Errors
/// If an expression does not fit the schema.
pub(super) fn types_of(expressions: &[Arc<dyn PhysicalExpr>], input: &SchemaRef) -> Result<Vec<DataType>> {
    expressions
        .iter()
        .map(|expression| expression.data_type(input).map_err(|error| failed(expression.as_ref(), &error)))
        .collect()
}
