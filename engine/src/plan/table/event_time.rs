//! Watermarks, and when operators learn of them.

use super::epoch_time::EpochTime;
use super::part::Part;
use super::{Planner, wrong};
use crate::error::{Error, Result};
use crate::table::event_time::{DeduplicateNode, WatermarkNode, WindowsNode};
use datafusion::logical_expr::logical_plan::Extension;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use lotic_operators::table::{AssignWatermark, TableBatch};
use lotic_operators::{Batch, Operator};
use std::sync::Arc;

/// The operator as it learns of event time: at once, or in micro-batches at the ends of epochs.
pub(super) fn in_time<I: Batch>(
    operator: Box<dyn Operator<I, TableBatch>>,
) -> Box<dyn Operator<I, TableBatch>> {
    Box::new(EpochTime::new(operator))
}

impl Planner<'_> {
    /// The nodes that are Lotic's own.
    pub(super) fn extension(&mut self, node: &Extension, under: bool) -> Result<Part> {
        if let Some(watermark) = WatermarkNode::of(node) {
            return self.watermark(watermark, under);
        }
        if let Some(sessions) = WindowsNode::of(node) {
            return self.part(&sessions.input, under);
        }
        match DeduplicateNode::of(node) {
            Some(duplicates) => self.deduplicate(duplicates, under),
            None => Err(Error::internal(format!("`{}` was not refused", node.node.name()))),
        }
    }

    fn watermark(&mut self, node: &WatermarkNode, under: bool) -> Result<Part> {
        let outer = std::mem::replace(&mut self.before_watermark, true);
        let input = self.part(&node.input, under);
        self.before_watermark = outer;
        let input = input?.with_schema(node.input.schema().inner())?.sealed(self);
        let at = node.index().map_err(wrong)?;
        let schema = Arc::clone(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).inner());
        let emission = input.emission();
        let event_time: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(at).name(), at));
        let delay = node.delay;
        let piped = input.into_piped().operator("watermark", false, None, move |_| {
            Box::new(AssignWatermark::new(Arc::clone(&event_time), delay))
        });
        piped.set_uid(&self.name("watermark"));
        // Another delay is no other query: what was kept for the old one goes on with the new one.
        let name = schema.field(at).name();
        piped.describe(format!("by {name}"), format!("watermark: the latest `{name}` less {delay:?}"));
        Ok(Part::new(piped.keeping_order(None), schema, emission))
    }
}
