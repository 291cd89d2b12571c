//! Two streams: rows of both are held for as long as the watermark says that a match can come.

use super::event_time::in_time;
use super::legal::{Emission, subquery_over_stream};
use super::part::Part;
use super::time_bounds::{self, EventTimes};
use super::{Planner, listed};
use crate::error::{Error, Result};
use crate::plan::graph::PartitionFactory;
use crate::table::is_streaming;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::logical_plan::Join;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use lotic_connectors::table::OutputMode;
use lotic_operators::table::{
    StreamJoin, StreamJoinKind, StreamJoinSide, StreamJoinSpec, TableBatch, TimeBounds, partition_by,
};
use lotic_operators::{Side, TwoInput};
use std::sync::Arc;
use std::time::Duration;

/// Whether both sides of a join are streams.
pub(super) fn is_of_streams(node: &Join) -> bool {
    is_streaming(&node.left) && is_streaming(&node.right)
}

/// The kind of a join, and whether its right side takes the left place.
fn kind(join: JoinType) -> Option<(StreamJoinKind, bool)> {
    Some(match join {
        JoinType::Inner => (StreamJoinKind::Inner, false),
        JoinType::Left => (StreamJoinKind::Left, false),
        JoinType::Right => (StreamJoinKind::Right, false),
        JoinType::Full => (StreamJoinKind::Full, false),
        JoinType::LeftSemi => (StreamJoinKind::Semi, false),
        JoinType::RightSemi => (StreamJoinKind::Semi, true),
        JoinType::LeftAnti => (StreamJoinKind::Anti, false),
        JoinType::RightAnti => (StreamJoinKind::Anti, true),
        JoinType::LeftMark | JoinType::RightMark => return None,
    })
}

/// What bounds left and right rows, where the sides may have changed places.
fn event_times(node: &Join, swapped: bool) -> EventTimes {
    let found = time_bounds::find(node);
    if !swapped {
        return found;
    }
    let negated = |bound: Option<i64>| bound.map(i64::saturating_neg);
    let bounds = TimeBounds { lower: negated(found.bounds.upper), upper: negated(found.bounds.lower) };
    EventTimes { left: found.right, right: found.left, bounds }
}

/// What a join of two streams whose rows stay true has to fulfil: Spark's rules.
///
/// # Errors
/// What it does not, why, and the way out.
pub(super) fn check(node: &Join, mode: OutputMode) -> Result<()> {
    let refuse = |message: String| Err(Error::user(message));
    let semi = matches!(node.join_type, JoinType::LeftSemi | JoinType::LeftAnti);
    if node.null_equality == NullEquality::NullEqualsNull && semi {
        return refuse(
            "EXCEPT and INTERSECT of two streams would have to keep both for ever: read one side as a bounded \
             table with `read`"
                .to_owned(),
        );
    }
    let Some((kind, swapped)) = kind(node.join_type) else { return Err(subquery_over_stream()) };
    if node.null_aware {
        return refuse(
            "NOT IN over a stream cannot be answered before its end, since one null would decide it: use NOT \
             EXISTS, with a bound between the event times of both sides"
                .to_owned(),
        );
    }
    if mode != OutputMode::Append {
        return refuse(
            "a join of two streams gives rows that never change: use output mode append (an aggregation over it \
             needs a watermark and a window, too)"
                .to_owned(),
        );
    }
    let keys = node.on.iter().flat_map(|(left, right)| [left, right]);
    if let Some(expr) = keys.chain(&node.filter).find(|expr| expr.is_volatile()) {
        return refuse(format!(
            "`{expr}` in a join condition has another value each time it is computed: leave it out"
        ));
    }
    if node.on.is_empty() {
        return refuse(
            "a join of two streams needs an equality between them, such as `ON l.id = r.id`, by which rows are \
             found: without one every row would have to be compared with every other; join on a column, or read \
             one side as a bounded table with `read`"
                .to_owned(),
        );
    }
    let bounds = event_times(node, swapped).bounds;
    let (left, right) = match kind {
        StreamJoinKind::Inner => return Ok(()),
        StreamJoinKind::Left | StreamJoinKind::Semi | StreamJoinKind::Anti => (true, false),
        StreamJoinKind::Right => (false, true),
        StreamJoinKind::Full => (true, true),
    };
    if (left && bounds.lower.is_none()) || (right && bounds.upper.is_none()) {
        let name = node.join_type.to_string().to_lowercase();
        return refuse(format!(
            "a {name} join of two streams has to know when no match can come any more: give both streams a \
             watermark (`with_watermark`, or the table option 'watermark.column') and bound their event times \
             in the join condition on both ends, such as `l.ts BETWEEN r.ts - INTERVAL '1 minute' AND r.ts + \
             INTERVAL '1 minute'` or by equal windows; or use an inner join"
        ));
    }
    Ok(())
}

/// One side, ready to be joined.
struct Joined {
    part: Part,
    side: StreamJoinSide,
    partition: PartitionFactory<TableBatch>,
}

impl Planner<'_> {
    /// A join of two streams.
    pub(super) fn stream_join(&mut self, node: &Join, under: bool) -> Result<Part> {
        let Some((kind, swapped)) = kind(node.join_type) else { return Err(subquery_over_stream()) };
        let times = event_times(node, swapped);
        let on = node.on.iter().map(|(left, right)| if swapped { (right, left) } else { (left, right) });
        let (left_on, right_on): (Vec<&Expr>, Vec<&Expr>) = on.unzip();
        let (left, right) = if swapped { (&node.right, &node.left) } else { (&node.left, &node.right) };
        let types = self.key_types(left, &left_on)?;
        let left_side = self.joined(left, &left_on, &types, times.left, under)?;
        let right_side = self.joined(right, &right_on, &types, times.right, under)?;
        let both = left.schema().join(right.schema()).map_err(super::wrong)?;
        let output = Arc::clone(node.schema.inner());
        let spec = StreamJoinSpec {
            kind,
            residual: node.filter.as_ref().map(|filter| self.expr(filter, &both)).transpose()?,
            bounds: times.bounds,
            null_equals_null: node.null_equality == NullEquality::NullEqualsNull,
            left: left_side.side,
            right: right_side.side,
            output: Arc::clone(&output),
        };
        let schemas = [&left_side.part, &right_side.part].map(|part| Arc::clone(part.schema()));
        // What cannot be held is told now, and not when the query is started.
        StreamJoin::new(spec.clone(), &schemas[0], &schemas[1])?;
        let wraps = (Side::Left as fn(TableBatch) -> _, Side::Right as fn(TableBatch) -> _);
        let piped = left_side.part.into_piped().try_two_inputs(
            right_side.part.into_piped(),
            "stream-join",
            wraps,
            (left_side.partition, right_side.partition),
            move |_| {
                let join = StreamJoin::new(spec.clone(), &schemas[0], &schemas[1])?;
                Ok(in_time(Box::new(TwoInput(join))))
            },
        );
        piped.set_uid(&self.name("stream-join"));
        piped.set_parallelism(self.instances);
        piped.describe(detail(node), note(node));
        Ok(Part::new(piped.keeping_order(None), output, Emission::Once))
    }

    /// The types of the left keys, which the right ones are converted to where they differ.
    fn key_types(&self, left: &LogicalPlan, on: &[&Expr]) -> Result<Vec<DataType>> {
        let keys = self.exprs(on.iter().copied(), left.schema())?;
        keys.iter().map(|key| key.data_type(left.schema().as_arrow()).map_err(super::wrong)).collect()
    }

    /// Plans a side, with its keys as columns: they are computed once, where an operator can say if they fail.
    fn joined(
        &mut self,
        plan: &LogicalPlan,
        on: &[&Expr],
        types: &[DataType],
        event_time: Option<usize>,
        under: bool,
    ) -> Result<Joined> {
        let schema = plan.schema().inner();
        let part = self.part(plan, under)?.with_schema(schema)?;
        let keys = self.exprs(on.iter().copied(), plan.schema())?.into_iter().zip(types);
        let keys = keys.map(|(key, wanted)| converted(key, wanted, schema)).collect::<Result<Vec<_>>>()?;
        let is_column = |key: &Arc<dyn PhysicalExpr>| key.downcast_ref::<Column>().is_some();
        let mut columns: Vec<Arc<dyn PhysicalExpr>> =
            (0..schema.fields().len()).map(|at| column(schema, at)).collect();
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        let mut computed = Vec::new();
        let mut on_columns = Vec::new();
        for (key, expr) in keys.into_iter().zip(on) {
            if is_column(&key) {
                on_columns.push(key);
                continue;
            }
            let data_type = key.data_type(schema).map_err(super::wrong)?;
            let name = format!("__join_key_{}", computed.len());
            on_columns.push(Arc::new(Column::new(&name, fields.len())) as _);
            fields.push(Arc::new(Field::new(name, data_type, true)));
            columns.push(key);
            computed.push((*expr).clone());
        }
        let part = match computed.is_empty() {
            true => part,
            false => {
                let with_keys = Arc::new(Schema::new(fields));
                part.project(columns, &with_keys, format!("and {}", listed(&computed)))
            }
        };
        let part = part.sealed(self);
        let partition = Arc::new(partition_by(on_columns.clone(), part.schema())?);
        let side = StreamJoinSide {
            columns: Arc::clone(schema),
            on: on_columns,
            event_time: event_time.map(|at| column(schema, at)),
        };
        Ok(Joined { part, side, partition })
    }
}

fn column(schema: &SchemaRef, at: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema.field(at).name(), at))
}

/// A key as the type that the other side has; how it is encoded in memory does not matter.
fn converted(
    key: Arc<dyn PhysicalExpr>,
    wanted: &DataType,
    schema: &SchemaRef,
) -> Result<Arc<dyn PhysicalExpr>> {
    let plain = |data_type: &DataType| match data_type {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        other => other.clone(),
    };
    let (own, wanted) = (plain(&key.data_type(schema).map_err(super::wrong)?), plain(wanted));
    Ok(if own == wanted { key } else { Arc::new(CastExpr::new(key, wanted, None)) })
}

/// What a join computes, part of what a checkpoint has to match.
fn detail(node: &Join) -> String {
    let on = node.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let on: Vec<Expr> = on.chain(node.filter.clone()).collect();
    format!("{} join on {} -> {}", node.join_type, listed(&on), super::typed(node.schema.as_arrow()))
}

/// The bounds, and how long rows are held.
fn note(node: &Join) -> String {
    let times = time_bounds::find(node);
    let name = |plan: &LogicalPlan, at: Option<usize>| at.map(|at| plan.schema().field(at).name().clone());
    let (left, right) = (name(&node.left, times.left), name(&node.right, times.right));
    let TimeBounds { lower, upper } = times.bounds;
    let sides = [("left", left.clone(), lower.map(i64::saturating_neg)), ("right", right.clone(), upper)];
    let mut said = Vec::new();
    if let (Some(left), Some(right)) = (&left, &right) {
        let lower = lower.map(|lower| format!("from {}", span(lower)));
        let upper = upper.map(|upper| format!("to {}", span(upper)));
        let both: Vec<String> = lower.into_iter().chain(upper).collect();
        if !both.is_empty() {
            said.push(format!("left `{left}` less right `{right}` is {}", both.join(" ")));
        }
    }
    for (side, column, after) in sides {
        said.push(match (column, after) {
            (Some(column), Some(after)) => format!(
                "a {side} row is held until the watermark reaches its `{column}` {}",
                if after == 0 { "itself".to_owned() } else { format!("plus {}", span(after)) }
            ),
            _ => format!(
                "WARNING: {side} rows are held for ever, since nothing says when no match can come: give both \
                 streams a watermark and bound their event times in the join condition"
            ),
        });
    }
    said.join("; ")
}

fn span(micros: i64) -> String {
    let length = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { format!("-{length:?}") } else { format!("{length:?}") }
}
