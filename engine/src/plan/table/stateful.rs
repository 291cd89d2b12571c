//! Operators with state: aggregations, limits, sorts.

use super::event_time::in_time;
use super::grouping::Keyed;
use super::legal::{Emission, aggregate_emission, is_distinct, over};
use super::part::Part;
use super::{Planner, listed, typed, wrong};
use crate::error::{Error, Result};
use crate::plan::graph::PartitionFactory;
use crate::table::event_time::{panes_at, session_at};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::logical_expr::logical_plan::{Aggregate, FetchType, Limit, SkipType, Sort};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::create_physical_sort_exprs;
use lotic_operators::table::{self, AggregateCall, Emit, GroupedAggregate, Grouping, SortEpoch, TableBatch};
use std::sync::Arc;

impl Planner<'_> {
    /// A grouped aggregation, or the distinct rows.
    pub(super) fn aggregate(&mut self, node: &Aggregate, under: bool) -> Result<Part> {
        if let Some(at) = session_at(&node.group_expr) {
            return self.sessions(node, at, under);
        }
        if let Some(at) = panes_at(&node.group_expr) {
            return self.sliding(node, at);
        }
        let input = self.part(&node.input, true)?;
        let emission = aggregate_emission(node, self.mode, under);
        let distinct = is_distinct(node);
        let (emit, shown) = match emission {
            Emission::Once if distinct => (Emit::New, "emits each row when it is first seen"),
            Emission::Once => (Emit::Closed, "emits each group once, when it is over"),
            Emission::Changed => {
                (Emit::Update, "emits the groups that a batch has changed, in a micro-batch once at its end")
            }
            Emission::Whole => (Emit::Complete, "emits all groups at the end of an epoch that changed one"),
        };
        let over = over(node).filter(|_| emission != Emission::Whole);
        // A complete result is emitted by one instance, which alone knows whether any of it has changed.
        let one = node.group_expr.is_empty() || emission == Emission::Whole;
        let instances = if one { 1 } else { self.instances };
        let Keyed { input, keys, always } = self.keyed(input, node, instances)?;
        let partition = (instances > 1).then(|| table::partition_by(keys.clone(), input.schema()));
        let partition = partition.transpose()?.map(|make| Arc::new(make) as PartitionFactory<TableBatch>);
        let grouping = Grouping {
            keys,
            aggregates: self.calls(node, input.schema())?,
            input: Arc::clone(input.schema()),
            output: Arc::clone(node.schema.inner()),
            emit,
            over,
        };
        let schema = Arc::clone(node.schema.inner());
        let kind = if distinct { "distinct" } else { "aggregate" };
        let piped = input.into_piped().try_operator(kind, false, partition, move |instance| {
            let aggregate = GroupedAggregate::new(&grouping)?.with_always(&always, instance)?;
            Ok(in_time(Box::new(aggregate)))
        });
        piped.set_uid(&self.name(kind));
        piped.set_parallelism(instances);
        piped.describe(detail(node, distinct), format!("{shown}; {}", bounds(node, over)));
        let order = (emission != Emission::Once).then_some(instances);
        Ok(Part::new(piped.keeping_order(order), schema, emission))
    }

    pub(super) fn calls(&self, node: &Aggregate, input: &SchemaRef) -> Result<Vec<AggregateCall>> {
        let logical = node.input.schema();
        let context = PhysicalPlanningContext::default();
        let lower = |expr: &Expr| {
            let (name, expr) = match expr {
                Expr::Alias(alias) => (alias.name.clone(), alias.expr.as_ref()),
                other => (other.schema_name().to_string(), other),
            };
            let built =
                LoweredAggregateBuilder::new(expr, logical, logical.inner(), &self.properties, &context)
                    .with_name(name)
                    .build()
                    .map_err(wrong)?;
            Ok(AggregateCall { function: built.aggregate, filter: built.filter, input: Arc::clone(input) })
        };
        node.aggr_expr.iter().map(lower).collect()
    }

    /// The first rows: of the stream, or of each complete result.
    pub(super) fn limit(&mut self, node: &Limit, under: bool) -> Result<Part> {
        let skip = match node.get_skip_type().map_err(wrong)? {
            SkipType::Literal(rows) => rows,
            SkipType::UnsupportedExpr => return Err(not_a_number("OFFSET")),
        };
        let fetch = match node.get_fetch_type().map_err(wrong)? {
            FetchType::Literal(rows) => rows,
            FetchType::UnsupportedExpr => return Err(not_a_number("LIMIT")),
        };
        let input = match node.input.as_ref() {
            LogicalPlan::Sort(sort) => {
                self.sort(sort, fetch.map(|fetch| fetch.saturating_add(skip)), under)?
            }
            other => self.part(other, under)?,
        };
        let (emission, schema) = (input.emission(), Arc::clone(input.schema()));
        let rows = (skip as u64, fetch.map(|fetch| fetch as u64));
        let limit = match emission {
            Emission::Whole => table::Limit::each_epoch(rows.0, rows.1),
            _ => table::Limit::new(rows.0, rows.1),
        };
        let piped = input.sealed(self).into_piped();
        let piped = piped.operator("limit", false, None, move |_| Box::new(limit.clone()));
        piped.set_uid(&self.name("limit"));
        piped.set_parallelism(1);
        let fetch = fetch.map_or_else(|| "all".to_owned(), |fetch| fetch.to_string());
        let of = if emission == Emission::Whole { "each epoch" } else { "the stream" };
        piped.describe(format!("skip {skip}, take {fetch}, of {of}"), String::new());
        Ok(Part::new(piped.keeping_order(Some(1)), schema, emission))
    }

    /// A complete result in order.
    pub(super) fn sort(&mut self, node: &Sort, fetch: Option<usize>, under: bool) -> Result<Part> {
        let input = self.part(&node.input, under)?.sealed(self);
        let fetch = match (fetch, node.fetch) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let context = PhysicalPlanningContext::default();
        let order = create_physical_sort_exprs(&node.expr, node.input.schema(), &self.properties, &context)
            .map_err(wrong)?;
        let (emission, schema) = (input.emission(), Arc::clone(input.schema()));
        let piped = input
            .into_piped()
            .operator("sort", true, None, move |_| Box::new(SortEpoch::new(order.clone(), fetch)));
        piped.set_uid(&self.name("sort"));
        piped.set_parallelism(1);
        let by = node.expr.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let first = fetch.map_or_else(String::new, |fetch| format!(", the first {fetch}"));
        piped.describe(format!("each epoch by {by}{first}"), String::new());
        Ok(Part::new(piped.keeping_order(Some(1)), schema, emission))
    }
}

fn not_a_number(clause: &str) -> Error {
    Error::user(format!("{clause} over a stream takes a number: write it as a literal"))
}

/// How much state an aggregation keeps, as text.
fn bounds(node: &Aggregate, over: Option<usize>) -> String {
    match over {
        Some(key) => format!(
            "state is bounded: a group is forgotten when the watermark has passed its `{}`",
            node.schema.field(key).name()
        ),
        None if node.group_expr.is_empty() => "state is one group".to_owned(),
        None => "state is unbounded: every group is kept".to_owned(),
    }
}

/// What an aggregation computes: part of what a checkpoint has to match.
pub(super) fn detail(node: &Aggregate, distinct: bool) -> String {
    let columns = typed(node.schema.as_arrow());
    if distinct {
        return format!("rows by {} -> {columns}", listed(&node.group_expr));
    }
    let by =
        if node.group_expr.is_empty() { String::new() } else { format!(" by {}", listed(&node.group_expr)) };
    format!("{}{by} -> {columns}", listed(&node.aggr_expr))
}
