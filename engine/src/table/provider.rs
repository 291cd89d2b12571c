//! Tables of ours as DataFusion sees them.

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use lotic_connectors::table::StreamTable;
use std::sync::Arc;

/// An unbounded table. DataFusion plans with it and never runs it.
#[derive(Debug)]
pub(crate) struct StreamProvider {
    /// What to call it in errors and `explain`.
    pub(crate) name: String,
    pub(crate) table: Arc<dyn StreamTable>,
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
