//! From an optimised logical plan over streams to the dataflow that runs it.

use crate::error::{Error, Result};
use crate::session::Session;
use crate::stream::Piped;
use crate::table::OutputMode;
use datafusion::logical_expr::LogicalPlan;
use lotic_operators::table::TableBatch;

/// Adds the operators of a plan to the session's dataflow and returns its end. The plan was optimised by the
/// session's DataFusion state; its streams are [`crate::table::StreamProvider`]s.
///
/// # Errors
/// If a stream cannot do what the plan asks: what, why, and the way out.
pub(crate) fn plan(_session: &Session, _plan: &LogicalPlan, _mode: OutputMode) -> Result<Piped<TableBatch>> {
    Err(Error::internal("not here yet"))
}
