//! Streams as DataFusion sees them.

use super::typed::TypedEnd;
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use lotic_connectors::table::StreamTable;
use std::sync::Arc;

/// An unbounded table. DataFusion plans with it and never runs it.
#[derive(Debug)]
pub(crate) struct StreamProvider {
    /// What to call it in errors and `explain`.
    pub(crate) name: String,
    pub(crate) table: Arc<dyn StreamTable>,
    /// For a table that was made of a typed stream: where that stands. The planner goes on from here instead of
    /// asking `table` for a source.
    pub(crate) typed: Option<TypedEnd>,
}

impl StreamProvider {
    /// A stream from a format.
    pub(crate) fn new(name: impl Into<String>, table: Arc<dyn StreamTable>) -> Self {
        StreamProvider { name: name.into(), table, typed: None }
    }
}

/// Whether a plan reads a stream, in a subquery too.
pub(crate) fn is_streaming(plan: &LogicalPlan) -> bool {
    reads(plan, |_| true)
}

/// Whether a plan reads such a stream, in a subquery too.
pub(crate) fn reads(plan: &LogicalPlan, such: impl Fn(&StreamProvider) -> bool) -> bool {
    scans(plan, |provider| provider.downcast_ref::<StreamProvider>().is_some_and(&such))
}

/// Whether a plan scans such a table, in a subquery too.
pub(super) fn scans(plan: &LogicalPlan, such: impl Fn(&dyn TableProvider) -> bool) -> bool {
    let mut found = false;
    // The closure does not fail.
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
        {
            found |= such(provider.as_ref());
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

#[async_trait]
impl TableProvider for StreamProvider {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan_err!(
            "`{}` is a stream and has no end: a query over it is started with `write_stream().start()`",
            self.name
        )
    }
}
