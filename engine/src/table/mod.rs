//! The table door: DataFrames and SQL on DataFusion, run by the same actors as typed streams.

mod provider;

pub use lotic_connectors::table::{OutputMode, SaveMode};
pub(crate) use provider::StreamProvider;

use crate::session::Session;
use datafusion::logical_expr::LogicalPlan;

/// A table, bounded or not, that has not been computed: a description, as in Spark.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "the skeleton")]
pub struct DataFrame {
    session: Session,
    plan: LogicalPlan,
}
