//! Rows without duplicates.

use super::event_time::in_time;
use super::legal::has_event_time;
use super::part::Part;
use super::{Planner, listed, wrong};
use crate::error::{Error, Result};
use crate::plan::graph::PartitionFactory;
use crate::table::event_time::DeduplicateNode;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use lotic_operators::table::{self, Deduplicate, DeduplicateSpec, Forget, TableBatch, watermark_delay};
use std::sync::Arc;

impl Planner<'_> {
    /// The first row of each key.
    pub(super) fn deduplicate(&mut self, node: &DeduplicateNode, under: bool) -> Result<Part> {
        let input = self.part(&node.input, under)?;
        let schema = node.input.schema();
        let input = input.with_schema(schema.inner())?.sealed(self);
        let exprs: Vec<Expr> = node.columns.iter().cloned().map(Expr::Column).collect();
        let keys = self.exprs(&exprs, schema)?;
        let (forget, shown) = forget(node)?;
        let instances = self.instances;
        let partition = (instances > 1).then(|| table::partition_by(keys.clone(), input.schema()));
        let partition = partition.transpose()?.map(|make| Arc::new(make) as PartitionFactory<TableBatch>);
        let (emission, output) = (input.emission(), Arc::clone(input.schema()));
        let spec = DeduplicateSpec { keys, input: Arc::clone(input.schema()), forget };
        let piped = input.into_piped().try_operator("deduplicate", false, partition, move |_| {
            Ok(in_time(Box::new(Deduplicate::new(&spec)?)))
        });
        piped.set_uid(&self.name("deduplicate"));
        piped.set_parallelism(instances);
        let within = if node.within_watermark { " within the watermark" } else { "" };
        piped.describe(format!("first row by {}{within}", listed(&exprs)), shown);
        Ok(Part::new(piped, output, emission))
    }
}

/// When the values of a deduplication are forgotten, and how that is shown.
fn forget(node: &DeduplicateNode) -> Result<(Forget, String)> {
    let schema = node.input.schema();
    let index = |column| schema.index_of_column(column).map_err(wrong);
    if node.within_watermark {
        let timed = (0..schema.fields().len()).find(|&at| has_event_time(schema.field(at)));
        let Some((at, delay)) = timed.and_then(|at| Some((at, watermark_delay(schema.field(at))?))) else {
            return Err(Error::user(
                "drop_duplicates_within_watermark needs a column with a watermark: call `with_watermark` before it",
            ));
        };
        let name = schema.field(at).name();
        let shown =
            format!("state is bounded: a value is forgotten {delay:?} after the `{name}` of its first row");
        let event_time: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, at));
        return Ok((Forget::After { event_time, delay }, shown));
    }
    for (key, column) in node.columns.iter().enumerate() {
        if has_event_time(schema.field(index(column)?)) {
            let shown = format!(
                "state is bounded: a value is forgotten when the watermark has passed its `{}`",
                column.name
            );
            return Ok((Forget::Over(key), shown));
        }
    }
    Ok((Forget::Never, "state is unbounded: every value is kept".to_owned()))
}
