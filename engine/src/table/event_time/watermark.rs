//! The plan nodes of event time that are not DataFusion's: a watermark, and rows without duplicates.

use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use lotic_operators::table::{WATERMARK_DELAY, bears_event_time, with_watermark_delay};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Gives a stream event time: `withWatermark`. The rows of the input, with the metadata of event time on one
/// column, and on no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatermarkNode {
    pub(crate) input: LogicalPlan,
    pub(crate) column: Column,
    pub(crate) delay: Duration,
    schema: DFSchemaRef,
}

impl WatermarkNode {
    /// # Errors
    /// If there is no such column, or it is neither a timestamp nor a window.
    pub(crate) fn new(input: LogicalPlan, column: Column, delay: Duration) -> Result<WatermarkNode> {
        let at = input.schema().index_of_column(&column)?;
        let data_type = input.schema().field(at).data_type();
        if !bears_event_time(data_type) {
            return plan_err!(
                "a watermark needs a timestamp, and column `{}` is {data_type}: cast it to TIMESTAMP first",
                column.name
            );
        }
        let fields = input.schema().iter().enumerate().map(|(number, (qualifier, field))| {
            let field = field.as_ref().clone();
            let field =
                if number == at { with_watermark_delay(field, delay) } else { without_event_time(field) };
            (qualifier.cloned(), Arc::new(field))
        });
        let schema = DFSchema::new_with_metadata(fields.collect(), input.schema().metadata().clone())?;
        Ok(WatermarkNode { input, column, delay, schema: Arc::new(schema) })
    }

    pub(crate) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node of a plan, if it is one.
    pub(crate) fn of(extension: &Extension) -> Option<&WatermarkNode> {
        extension.node.as_any().downcast_ref()
    }

    /// Where the column stands.
    pub(crate) fn index(&self) -> Result<usize> {
        self.schema.index_of_column(&self.column)
    }
}

fn without_event_time(field: datafusion::arrow::datatypes::Field) -> datafusion::arrow::datatypes::Field {
    if !field.metadata().contains_key(WATERMARK_DELAY) {
        return field;
    }
    let mut metadata = field.metadata().clone();
    metadata.remove(WATERMARK_DELAY);
    field.with_metadata(metadata)
}

/// A schema without the metadata of event time: for what leaves the engine.
pub(crate) fn plain_schema(
    schema: &datafusion::arrow::datatypes::SchemaRef,
) -> datafusion::arrow::datatypes::SchemaRef {
    if !schema.fields().iter().any(|field| field.metadata().contains_key(WATERMARK_DELAY)) {
        return Arc::clone(schema);
    }
    let fields = schema.fields().iter().map(|field| without_event_time(field.as_ref().clone()));
    let fields: Vec<_> = fields.collect();
    Arc::new(datafusion::arrow::datatypes::Schema::new_with_metadata(fields, schema.metadata().clone()))
}

impl PartialOrd for WatermarkNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.column, self.delay, &self.input).partial_cmp(&(&other.column, other.delay, &other.input))
    }
}

impl Hash for WatermarkNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.input, &self.column, self.delay).hash(state);
    }
}

impl UserDefinedLogicalNodeCore for WatermarkNode {
    fn name(&self) -> &'static str {
        "Watermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watermark: {} - {:?}", self.column.flat_name(), self.delay)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => WatermarkNode::new(input, self.column.clone(), self.delay),
            None => plan_err!("a watermark without an input"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = output_columns.to_vec();
        needed.push(self.index().ok()?);
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

/// The first row of each key: `dropDuplicates` and `dropDuplicatesWithinWatermark` of a stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct DeduplicateNode {
    pub(crate) input: LogicalPlan,
    pub(crate) columns: Vec<Column>,
    /// Whether keys are forgotten once the watermark is past their first row.
    pub(crate) within_watermark: bool,
}

impl DeduplicateNode {
    pub(crate) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node of a plan, if it is one.
    pub(crate) fn of(extension: &Extension) -> Option<&DeduplicateNode> {
        extension.node.as_any().downcast_ref()
    }
}

impl UserDefinedLogicalNodeCore for DeduplicateNode {
    fn name(&self) -> &'static str {
        "Deduplicate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.columns.iter().cloned().map(Expr::Column).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<String> = self.columns.iter().map(Column::flat_name).collect();
        let within = if self.within_watermark { " within the watermark" } else { "" };
        write!(f, "Deduplicate: {}{within}", columns.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let columns = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => plan_err!("`{other}` is no column to tell duplicates by"),
        });
        let columns = columns.collect::<Result<_>>()?;
        match inputs.pop() {
            Some(input) => Ok(DeduplicateNode { input, columns, within_watermark: self.within_watermark }),
            None => plan_err!("duplicates of nothing"),
        }
    }
}

/// An aggregation of a stream by sessions or by panes of sliding windows. Its input is that aggregation; no
/// filter passes below it, since the windows are not known there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct WindowsNode {
    pub(crate) input: LogicalPlan,
}

impl WindowsNode {
    pub(crate) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }

    /// The node of a plan, if it is one.
    pub(crate) fn of(extension: &Extension) -> Option<&WindowsNode> {
        extension.node.as_any().downcast_ref()
    }
}

impl UserDefinedLogicalNodeCore for WindowsNode {
    fn name(&self) -> &'static str {
        "Windows"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Windows")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Ok(WindowsNode { input }),
            None => plan_err!("windows of nothing"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}
