//! Aggregations by windows that an operator finds by itself: sessions, and sliding windows that share panes.

use super::event_time::in_time;
use super::grouping::Keyed;
use super::legal::{Emission, aggregate_emission};
use super::part::Part;
use super::stateful::detail;
use super::{Planner, wrong};
use crate::error::{Error, Result};
use crate::plan::graph::PartitionFactory;
use crate::table::event_time::{Kind, gap_of, panes_of, unaliased};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::logical_plan::Aggregate;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;
use lotic_operators::table::{
    self, AggregateCall, Emit, SessionAggregate, SessionGrouping, SlidingAggregate, SlidingGrouping,
    TableBatch,
};
use std::sync::Arc;

/// What an aggregation by such windows is made of.
struct Grouped {
    input: Part,
    /// The keys beside the window.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    event_time: Arc<dyn PhysicalExpr>,
    aggregates: Vec<AggregateCall>,
    schema: SchemaRef,
    instances: usize,
    partition: Option<PartitionFactory<TableBatch>>,
}

/// The arguments of the window among the keys.
fn arguments(node: &Aggregate, at: usize) -> Result<&[Expr]> {
    match Kind::of(unaliased(&node.group_expr[at])) {
        Some((_, arguments)) => Ok(arguments),
        None => Err(Error::internal("a window that is none")),
    }
}

impl Planner<'_> {
    fn grouped(&mut self, node: &Aggregate, at: usize, whole: bool) -> Result<Grouped> {
        let logical = node.input.schema();
        let input = self.part(&node.input, true)?;
        let keys = (0..node.group_expr.len()).filter(|number| *number != at);
        let exprs: Vec<Expr> = keys.clone().map(|key| node.group_expr[key].clone()).collect();
        let fields: Vec<&Field> = keys.map(|key| node.schema.field(key).as_ref()).collect();
        let instances = if exprs.is_empty() || whole { 1 } else { self.instances };
        let Keyed { input, keys, .. } = self.by(input, logical, (&exprs, &fields), instances)?;
        let partition = (instances > 1).then(|| table::partition_by(keys.clone(), input.schema()));
        let partition = partition.transpose()?.map(|make| Arc::new(make) as PartitionFactory<TableBatch>);
        let event_time = self.expr(&arguments(node, at)?[0], logical)?;
        let (aggregates, schema) = (self.calls(node, input.schema())?, Arc::clone(input.schema()));
        Ok(Grouped { input, keys, event_time, aggregates, schema, instances, partition })
    }

    /// An aggregation by sessions.
    pub(super) fn sessions(&mut self, node: &Aggregate, at: usize, under: bool) -> Result<Part> {
        let emission = aggregate_emission(node, self.mode, under);
        let whole = emission == Emission::Whole;
        let (emit, shown) = match whole {
            true => (
                Emit::Complete,
                "emits all sessions at the end of an epoch that changed one; state is unbounded: every session \
                 is kept",
            ),
            false => (
                Emit::Closed,
                "emits each session once, when it is over; state is bounded: a session is forgotten when the \
                 watermark has passed its end",
            ),
        };
        let (gap, ..) = gap_of(arguments(node, at)?, node.input.schema()).map_err(wrong)?;
        let gap = i64::try_from(gap.as_micros()).unwrap_or(i64::MAX);
        let grouped = self.grouped(node, at, whole)?;
        let output = Arc::clone(node.schema.inner());
        let grouping = SessionGrouping {
            keys: grouped.keys,
            event_time: grouped.event_time,
            gap: lit(ScalarValue::DurationMicrosecond(Some(gap))),
            session: at,
            aggregates: grouped.aggregates,
            input: grouped.schema,
            output: Arc::clone(&output),
            emit,
        };
        let instances = grouped.instances;
        let piped = grouped.input.into_piped();
        let piped = piped.try_operator("sessions", false, grouped.partition, move |_| {
            Ok(in_time(Box::new(SessionAggregate::new(&grouping)?)))
        });
        piped.set_uid(&self.name("sessions"));
        piped.set_parallelism(instances);
        piped.describe(detail(node, false), shown.to_owned());
        Ok(Part::new(piped.keeping_order(whole.then_some(instances)), output, emission))
    }

    /// An aggregation by sliding windows in output mode append.
    pub(super) fn sliding(&mut self, node: &Aggregate, at: usize) -> Result<Part> {
        let (size, slide, offset) = panes_of(arguments(node, at)?, node.input.schema()).map_err(wrong)?;
        let grouped = self.grouped(node, at, false)?;
        let output = Arc::clone(node.schema.inner());
        let grouping = SlidingGrouping {
            keys: grouped.keys,
            event_time: grouped.event_time,
            size,
            slide,
            offset,
            window: at,
            aggregates: grouped.aggregates,
            input: grouped.schema,
            output: Arc::clone(&output),
        };
        let instances = grouped.instances;
        let piped = grouped.input.into_piped();
        let piped = piped.try_operator("sliding", false, grouped.partition, move |_| {
            Ok(in_time(Box::new(SlidingAggregate::new(&grouping)?)))
        });
        piped.set_uid(&self.name("sliding"));
        piped.set_parallelism(instances);
        let note = "emits each window once, when it is over; windows share panes; state is bounded: a pane is \
                    forgotten when the watermark has passed its last window";
        piped.describe(detail(node, false), note.to_owned());
        Ok(Part::new(piped.keeping_order(None), output, Emission::Once))
    }
}
