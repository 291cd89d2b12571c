//! Tables: Arrow record batches as batches, and the operators over them.
//!
//! [`TableBatch`] (feature `arrow`) is what flows through the channels of a DataFrame or SQL query. The
//! operators (feature `table`) evaluate DataFusion's physical expressions on it; DataFusion parses, resolves
//! and optimises, these run.
//!
//! | operator | what it does | instances |
//! |---|---|---|
//! | [`Steps`] | filters and projections, fused | any |
//! | [`AssignWatermark`] | makes the watermark of a column with event time | any |
//! | [`GroupedAggregate`] | grouped aggregation, of windows too; DISTINCT | any, behind [`partition_by`]; one without group columns |
//! | [`SessionAggregate`] | aggregation by session | any, behind [`partition_by`]; one without keys |
//! | [`SlidingAggregate`] | aggregation by sliding window, in append mode | any, behind [`partition_by`]; one without keys |
//! | [`Deduplicate`] | the first row of each key | any, behind [`partition_by`] |
//! | [`Expand`] | each row once for each grouping set | any |
//! | [`Unnest`] | lists to rows, structs to columns | any |
//! | [`StaticJoin`] | joins the stream with a table that does not change | any |
//! | [`StreamJoin`] | joins two streams | any, behind [`partition_by`] the keys |
//! | [`SortEpoch`] | the rows of an epoch in order | one |
//! | [`Limit`] | the first rows | one |

mod batch;

#[cfg(feature = "table")]
mod aggregate;
#[cfg(feature = "table")]
mod deduplicate;
#[cfg(feature = "table")]
mod event_time;
#[cfg(feature = "table")]
mod expand;
#[cfg(feature = "table")]
mod expression;
#[cfg(feature = "table")]
mod join;
#[cfg(feature = "table")]
mod keys;
#[cfg(feature = "table")]
mod limit;
#[cfg(feature = "table")]
mod partition;
#[cfg(feature = "table")]
mod sort;
#[cfg(feature = "table")]
mod state_shape;
#[cfg(feature = "table")]
mod steps;
#[cfg(feature = "table")]
mod stream_join;
#[cfg(feature = "table")]
mod unnest;

pub use batch::{TableBatch, TableBuilder};

#[cfg(feature = "table")]
pub use {
    aggregate::{
        AggregateCall, Emit, GroupedAggregate, Grouping, SessionAggregate, SessionGrouping, SlidingAggregate,
        SlidingGrouping,
    },
    deduplicate::{Deduplicate, DeduplicateSpec, Forget},
    event_time::{
        AssignWatermark, WATERMARK_DELAY, bears_event_time, end_times, event_times, watermark_delay,
        with_watermark_delay,
    },
    expand::{Expand, GroupingSet},
    join::{JoinKind, JoinSpec, StaticJoin, StaticTable},
    limit::Limit,
    partition::{PartitionTable, partition_by},
    sort::SortEpoch,
    steps::{Step, Steps},
    stream_join::{StreamJoin, StreamJoinKind, StreamJoinSide, StreamJoinSpec, TimeBounds},
    unnest::{ListColumn, Unnest, UnnestSpec},
};
