//! The watermark of a table by its options.

use super::interval::ToInterval;
use super::watermark::WatermarkNode;
use crate::error::{Error, Result};
use crate::table::column::resolve;
use crate::table::is_streaming;
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session as Catalog, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_plan::ExecutionPlan;
use lotic_connectors::table::Options;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

const PREFIX: &str = "watermark.";
const COLUMN: &str = "watermark.column";
const DELAY: &str = "watermark.delay";

/// A watermark given as options: `watermark.column` and `watermark.delay`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatermarkOptions {
    pub(crate) column: String,
    pub(crate) delay: Duration,
}

impl WatermarkOptions {
    /// Takes the options of the watermark out of a table's.
    ///
    /// # Errors
    /// If one of the two is missing, the delay is no interval, or an option of that kind is unknown.
    pub(crate) fn take(options: &mut Options) -> Result<Option<WatermarkOptions>> {
        let (column, delay) = (options.remove(COLUMN), options.remove(DELAY));
        let unknown = options.iter().find(|(name, _)| name.to_ascii_lowercase().starts_with(PREFIX));
        if let Some((name, _)) = unknown {
            return Err(Error::user(format!(
                "there is no option `{name}`: those of a watermark are `{COLUMN}` and `{DELAY}`"
            )));
        }
        match (column, delay) {
            (None, None) => Ok(None),
            (Some(column), Some(delay)) => {
                let delay = delay.to_interval();
                let delay = delay.map_err(|error| Error::user(format!("option `{DELAY}`: {error}")))?;
                Ok(Some(WatermarkOptions { column, delay }))
            }
            (Some(_), None) => Err(Error::user(format!(
                "option `{COLUMN}` without `{DELAY}`: say how long late rows are waited for, such as '10 seconds'"
            ))),
            (None, Some(_)) => Err(Error::user(format!(
                "option `{DELAY}` without `{COLUMN}`: say which column has the event time"
            ))),
        }
    }

    /// The rows of a plan with this watermark; the plan itself if it is bounded, where a watermark does nothing.
    ///
    /// # Errors
    /// If the column is not there or is no timestamp.
    pub(crate) fn plan(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let said = |error: Error| Error::user(format!("option `{COLUMN}`: {error}"));
        let column = resolve(&self.column, plan.schema()).map_err(said)?;
        let streaming = is_streaming(&plan);
        let bounded = (!streaming).then(|| plan.clone());
        let node = WatermarkNode::new(plan, column, self.delay).map_err(|error| said(error.into()))?;
        Ok(bounded.unwrap_or_else(|| node.into_plan()))
    }

    /// A table with this watermark.
    ///
    /// # Errors
    /// As for [`WatermarkOptions::plan`].
    pub(crate) fn provider(
        &self,
        name: &str,
        table: Arc<dyn TableProvider>,
    ) -> Result<Arc<dyn TableProvider>> {
        let name = TableReference::bare(name);
        let scan = LogicalPlanBuilder::scan(name, provider_as_source(Arc::clone(&table)), None)?.build()?;
        let streaming = is_streaming(&scan);
        let plan = self.plan(scan)?;
        Ok(if streaming { Arc::new(Watermarked { table, plan }) } else { table })
    }
}

/// A stream with a watermark, under a name. It is known to plans by its own plan, as a view.
#[derive(Debug)]
struct Watermarked {
    table: Arc<dyn TableProvider>,
    plan: LogicalPlan,
}

#[async_trait]
impl TableProvider for Watermarked {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }

    async fn scan(
        &self,
        state: &dyn Catalog,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        self.table.scan(state, projection, filters, limit).await
    }
}
