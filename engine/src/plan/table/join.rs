//! A stream with a bounded table: the table is read when the query is started, and again at each restart,
//! and held by every instance.

use super::bounded::Tables;
use super::part::Part;
use super::{Planner, listed, wrong};
use crate::error::{Error, Result};
use crate::table::is_streaming;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::logical_plan::Join;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, lit};
use lotic_operators::Operator;
use lotic_operators::table::{JoinKind, JoinSpec, StaticJoin, StaticTable, Step, Steps, TableBatch};
use std::sync::Arc;

/// The bounded side of a join, to be read.
struct Side {
    tables: Tables,
    plan: LogicalPlan,
    schema: SchemaRef,
    on: Vec<Arc<dyn PhysicalExpr>>,
    null_equals_null: bool,
    /// Whether a null among the keys means that no row of the stream passes: `NOT IN`.
    null_aware: bool,
}

/// The bounded side as it was read.
#[derive(Clone)]
enum Held {
    Table(Arc<StaticTable>),
    /// No row of the stream can pass.
    Nothing,
}

impl Planner<'_> {
    pub(super) fn join(&mut self, node: &Join, under: bool) -> Result<Part> {
        let stream_first = is_streaming(&node.left);
        let (stream, bounded) =
            if stream_first { (&node.left, &node.right) } else { (&node.right, &node.left) };
        let kind = match node.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left | JoinType::Right => JoinKind::Left,
            JoinType::LeftSemi | JoinType::RightSemi => JoinKind::Semi,
            JoinType::LeftAnti | JoinType::RightAnti => JoinKind::Anti,
            JoinType::LeftMark | JoinType::RightMark => JoinKind::Mark,
            other => return Err(Error::internal(format!("a {other} join was not refused"))),
        };
        if node.null_aware && node.filter.is_some() {
            return Err(Error::user(
                "NOT IN with a subquery that looks at the row around it is not supported over a stream: \
                 write it with NOT EXISTS",
            ));
        }
        let of_stream = node.on.iter().map(|(left, right)| if stream_first { left } else { right });
        let of_bounded = node.on.iter().map(|(left, right)| if stream_first { right } else { left });
        let on = self.exprs(of_stream, stream.schema())?;
        let both = node.left.schema().join(node.right.schema()).map_err(wrong)?;
        let residual = node.filter.as_ref().map(|filter| self.expr(filter, &both)).transpose()?;
        let side = Side {
            tables: self.tables.clone(),
            plan: bounded.as_ref().clone(),
            schema: Arc::clone(bounded.schema().inner()),
            on: self.exprs(of_bounded, bounded.schema())?,
            null_equals_null: node.null_equality == NullEquality::NullEqualsNull || node.null_aware,
            null_aware: node.null_aware,
        };
        let input = self.part(stream, under)?;
        let input = input.with_schema(stream.schema().inner())?.sealed(self);
        let emission = input.emission();
        let output = Arc::clone(node.schema.inner());
        let spec = JoinSpec {
            kind,
            on,
            residual,
            stream_first,
            input: Arc::clone(input.schema()),
            output: Arc::clone(&output),
        };
        let mut held = None;
        let piped = input.into_piped().try_operator("join", true, None, move |instance| {
            // Every start builds the instances in order: the first reads for all.
            let table = match held.take().filter(|_| instance.index > 0) {
                Some(table) => table,
                None => side.read()?,
            };
            held = Some(Held::clone(&table));
            operator(table, &spec)
        });
        piped.describe(detail(node, kind, bounded), String::new());
        Ok(Part::new(piped, output, emission))
    }
}

fn operator(table: Held, spec: &JoinSpec) -> Result<Box<dyn Operator<TableBatch, TableBatch>>> {
    match table {
        Held::Table(table) => Ok(Box::new(StaticJoin::new(table, spec.clone())?)),
        Held::Nothing => Ok(Box::new(Steps::new(vec![Step::Filter(lit(false))]))),
    }
}

impl Side {
    fn read(&self) -> Result<Held> {
        let batches = self.tables.collect(&self.plan)?;
        if self.null_aware {
            return self.not_in(&batches);
        }
        let table = StaticTable::new(&self.schema, &batches, &self.on, self.null_equals_null)?;
        Ok(Held::Table(table))
    }

    /// `x NOT IN (keys)` is true if `x` is none of the keys; not if a key is null, or if `x` is null and
    /// there are keys. So among keys, null is put as one more.
    fn not_in(&self, batches: &[RecordBatch]) -> Result<Held> {
        let [key] = &self.on[..] else {
            return Err(Error::internal("NOT IN compares one value"));
        };
        let data_type = key.data_type(&self.schema).map_err(wrong)?;
        let schema = Arc::new(Schema::new(vec![Field::new("key", data_type.clone(), true)]));
        let column = |values: ArrayRef| {
            RecordBatch::try_new(Arc::clone(&schema), vec![values]).map_err(|error| wrong(error.into()))
        };
        let rows = concat_batches(&self.schema, batches).map_err(|error| wrong(error.into()))?;
        let keys = key.evaluate(&rows).and_then(|keys| keys.into_array(rows.num_rows())).map_err(wrong)?;
        if keys.null_count() > 0 {
            return Ok(Held::Nothing);
        }
        let mut keys = vec![column(keys)?];
        if rows.num_rows() > 0 {
            keys.push(column(new_null_array(&data_type, 1))?);
        }
        let on: [Arc<dyn PhysicalExpr>; 1] = [Arc::new(Column::new("key", 0))];
        Ok(Held::Table(StaticTable::new(&schema, &keys, &on, true)?))
    }
}

/// What a join does, as text.
fn detail(node: &Join, kind: JoinKind, bounded: &LogicalPlan) -> String {
    let kind = match kind {
        JoinKind::Inner => "rows that match in",
        JoinKind::Left => "all rows, with what matches in",
        JoinKind::Semi => "rows with a match in",
        JoinKind::Anti => "rows without a match in",
        JoinKind::Mark => "all rows, with whether they match in",
    };
    let on: Vec<Expr> = node
        .on
        .iter()
        .map(|(left, right)| left.clone().eq(right.clone()))
        .chain(node.filter.clone())
        .collect();
    let on = if on.is_empty() { "every row".to_owned() } else { listed(&on) };
    let columns = super::names(bounded.schema().as_arrow());
    format!("{kind} a bounded table ({columns}), read at each start, on {on}")
}
