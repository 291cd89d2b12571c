//! From a logical plan over streams to the dataflow that runs it.
//!
//! | room | what it holds |
//! |---|---|
//! | `optimize` | the optimiser rules that are right for streams |
//! | `legal` | what a stream can do, by output mode |
//! | `part` | a part of the dataflow under construction; stateless steps fuse here |
//! | `stateful` | aggregations, limits, sorts |
//! | `event_time` | watermarks, and when operators learn of them |
//! | `windows`, `duplicates` | aggregations by sessions and sliding windows, rows without duplicates |
//! | `epoch_time` | event time that moves at the ends of epochs |
//! | `grouping` | the keys of an aggregation; grouping sets |
//! | `unnest` | lists to rows, structs to columns |
//! | `join` | a stream with a bounded table |
//! | `stream_join`, `time_bounds` | two streams, and how far apart their rows may lie |
//! | `bounded` | what DataFusion runs as a whole |
//! | `clock` | `now()` for each batch |
//!
//! A stateful operator has the id of its kind and number in the plan, from the inputs up, and says to the
//! checkpoint what it computes. So the same query text finds its state again, and another one is refused with
//! the difference.

mod bounded;
mod clock;
mod duplicates;
mod epoch_time;
mod event_time;
mod grouping;
mod join;
mod legal;
mod optimize;
mod part;
mod stateful;
mod stream_join;
#[cfg(feature = "testing")]
pub(crate) mod testing;
mod time_bounds;
mod unnest;
mod windows;

pub(crate) use bounded::Tables;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::stream::Piped;
use crate::table::OutputMode;
use crate::table::event_time::{plain_schema, with_panes};
use crate::table::is_streaming;
use bounded::{BoundedPart, stream_of};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::logical_plan::{TableScan, Union};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use legal::Emission;
use lotic_operators::table::TableBatch;
use part::Part;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Adds the operators of a plan to the session's dataflow and returns its end. The plan need not be analysed
/// or optimised; its streams are [`crate::table::StreamProvider`]s. The rows have the plan's schema.
///
/// Subqueries that stand for one value are read now; bounded sides of joins when the query is started, and
/// again whenever it is restarted.
///
/// # Errors
/// If a stream cannot do what the plan asks: what, why, and the way out.
pub(crate) fn plan(
    session: &Session,
    tables: &Tables,
    plan: &LogicalPlan,
    mode: OutputMode,
) -> Result<Piped<TableBatch>> {
    if !is_streaming(plan) {
        return Err(Error::user(
            "the query reads no stream: write its result with `write`, or read a table with `read_stream`",
        ));
    }
    let shared =
        if mode == OutputMode::Append { with_panes(plan.clone()).map_err(wrong)? } else { plan.clone() };
    let optimized = optimize::optimize(tables, &shared)?;
    legal::check(&optimized, mode)?;
    let mut planner = Planner {
        session,
        tables,
        mode,
        instances: session.settings().parallelism,
        properties: tables.state().execution_props().clone(),
        names: BTreeMap::new(),
        before_watermark: false,
    };
    let part = planner.part(&optimized, false)?;
    // What leaves the engine does not bear its metadata.
    let schema = plain_schema(plan.schema().inner());
    Ok(part.with_schema(&schema)?.sealed(&planner).into_piped())
}

/// An error of DataFusion that the query is to blame for.
fn wrong(error: DataFusionError) -> Error {
    Error::user(error.strip_backtrace())
}

/// The state of one planning.
struct Planner<'a> {
    session: &'a Session,
    tables: &'a Tables,
    mode: OutputMode,
    /// How many instances an operator has that may have several.
    instances: usize,
    properties: ExecutionProps,
    /// How often each name was given.
    names: BTreeMap<String, usize>,
    /// Whether what comes between a source and its watermark is being planned.
    before_watermark: bool,
}

impl Planner<'_> {
    /// A stable id: the name, with a number from the second on.
    fn name(&mut self, name: &str) -> String {
        let given = self.names.entry(name.to_owned()).or_default();
        *given += 1;
        if *given == 1 { name.to_owned() } else { format!("{name}-{given}") }
    }

    fn expr(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        create_physical_expr(expr, schema, &self.properties, &PhysicalPlanningContext::default())
            .map_err(wrong)
    }

    fn exprs<'e>(
        &self,
        exprs: impl IntoIterator<Item = &'e Expr>,
        schema: &DFSchema,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        exprs.into_iter().map(|expr| self.expr(expr, schema)).collect()
    }

    /// Plans a part. `under` says whether an aggregation takes its rows.
    fn part(&mut self, plan: &LogicalPlan, under: bool) -> Result<Part> {
        if !is_streaming(plan) {
            return Ok(self.bounded(plan));
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(node) => self.part(&node.input, under),
            LogicalPlan::Repartition(node) => self.part(&node.input, under),
            LogicalPlan::Projection(node) => {
                let part = self.part(&node.input, under)?;
                let columns = self.exprs(&node.expr, node.input.schema())?;
                Ok(part.project(columns, plan.schema().inner(), listed(&node.expr)))
            }
            LogicalPlan::Filter(node) => {
                let part = self.part(&node.input, under)?;
                let predicate = self.expr(&node.predicate, node.input.schema())?;
                Ok(part.filter(predicate, &node.predicate))
            }
            LogicalPlan::Union(node) => self.union(node, under),
            LogicalPlan::Join(node) if stream_join::is_of_streams(node) => self.stream_join(node, under),
            LogicalPlan::Join(node) => self.join(node, under),
            LogicalPlan::Unnest(node) => self.unnest(node, under),
            LogicalPlan::Aggregate(node) => self.aggregate(node, under),
            LogicalPlan::Limit(node) => self.limit(node, under),
            LogicalPlan::Sort(node) => self.sort(node, None, under),
            LogicalPlan::Extension(node) => self.extension(node, under),
            other => Err(Error::internal(format!("`{}` was not refused", other.display()))),
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Part> {
        let (name, table) = stream_of(&scan.source).ok_or_else(|| Error::internal("no stream"))?;
        // A row without columns is no row to a decoder.
        let columns = match scan.projection.as_deref() {
            Some([]) => Some(vec![0]),
            columns => columns.map(<[usize]>::to_vec),
        };
        let schema = match &columns {
            Some(columns) => Arc::new(table.schema().project(columns).map_err(|e| wrong(e.into()))?),
            None => table.schema(),
        };
        let piped = match bounded::typed_end(&scan.source) {
            Some(typed) => typed.piped(self.session, columns.as_deref())?,
            None => {
                let source = table.source(columns.as_deref())?;
                // As many instances up to the watermark as read: dealt out to more, rows would hold it back
                // wherever there are none.
                let reading = self.instances.min(source.traits().max_parallelism).max(1);
                let order = self.before_watermark.then_some(reading);
                let piped = Piped::source(self.session, source).keeping_order(order);
                piped.set_uid(&self.name(&format!("source-{name}")));
                piped.describe(format!("read {}", names(&schema)), String::new());
                piped
            }
        };
        let mut part = Part::new(piped, schema, Emission::Once);
        for filter in &scan.filters {
            let predicate = self.expr(filter, &scan.projected_schema)?;
            part = part.filter(predicate, filter);
        }
        Ok(part)
    }

    /// A bounded part among the inputs of a union.
    fn bounded(&mut self, plan: &LogicalPlan) -> Part {
        let name = match plan {
            LogicalPlan::TableScan(scan) => scan.table_name.table().to_owned(),
            _ => "bounded".to_owned(),
        };
        let part = BoundedPart { tables: self.tables.clone(), plan: plan.clone(), name: name.clone() };
        let piped = Piped::source(self.session, Box::new(part));
        piped.set_uid(&self.name(&format!("source-{name}")));
        let schema = Arc::clone(plan.schema().inner());
        piped.describe(format!("read {} to the end, once", names(&schema)), String::new());
        Part::new(piped, schema, Emission::Once)
    }

    fn union(&mut self, union: &Union, under: bool) -> Result<Part> {
        let schema = union.schema.inner();
        let mut emission = Emission::Once;
        let mut all: Option<Piped<TableBatch>> = None;
        for input in &union.inputs {
            let part = self.part(input, under)?;
            if part.emission() != Emission::Once {
                emission = part.emission();
            }
            let piped = part.with_schema(schema)?.sealed(self).into_piped();
            all = Some(match all {
                None => piped,
                Some(others) => others.union(piped),
            });
        }
        let all = all.ok_or_else(|| Error::internal("a union of nothing"))?;
        // Rows that replace others keep their order: all of them pass one instance.
        let one = if emission == Emission::Once { None } else { Some(1) };
        Ok(Part::new(all.keeping_order(one), Arc::clone(schema), emission))
    }
}

/// Expressions as text.
fn listed<'e>(exprs: impl IntoIterator<Item = &'e Expr>) -> String {
    exprs.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The columns of a schema by name.
fn names(schema: &Schema) -> String {
    schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
}

/// The columns of a schema by name and type.
fn typed(schema: &Schema) -> String {
    let column =
        |field: &Arc<datafusion::arrow::datatypes::Field>| format!("{} {}", field.name(), field.data_type());
    schema.fields().iter().map(column).collect::<Vec<_>>().join(", ")
}
