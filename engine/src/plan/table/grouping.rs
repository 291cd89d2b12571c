//! The keys of an aggregation.

use super::part::Part;
use super::{Planner, listed, wrong};
use crate::error::{Error, Result};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::GroupingSet as Sets;
use datafusion::logical_expr::logical_plan::Aggregate;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::scalar::ScalarValue;
use lotic_operators::table::{Expand, GroupingSet};
use std::collections::HashMap;
use std::sync::Arc;

type Keys = Vec<Arc<dyn PhysicalExpr>>;

/// The rows to be aggregated, nothing of them pending.
pub(super) struct Keyed {
    pub(super) input: Part,
    pub(super) keys: Keys,
    /// The keys of the groups that are there without rows: those of grouping sets without columns.
    pub(super) always: Vec<Vec<ScalarValue>>,
}

impl Planner<'_> {
    /// The rows to be aggregated and their keys. Keys by which rows are sent to one of
    /// several instances are columns: computed once, and where they fail, by an operator that can say so.
    pub(super) fn keyed(&mut self, input: Part, node: &Aggregate, instances: usize) -> Result<Keyed> {
        if let [Expr::GroupingSet(sets)] = &node.group_expr[..] {
            return self.expand(input, node, sets);
        }
        let fields = node.schema.fields().iter().take(node.group_expr.len());
        let fields: Vec<&Field> = fields.map(AsRef::as_ref).collect();
        self.by(input, node.input.schema(), (&node.group_expr, &fields), instances)
    }

    /// The rows and the keys that these expressions are, which make these columns.
    pub(super) fn by(
        &mut self,
        input: Part,
        schema: &DFSchema,
        (exprs, fields): (&[Expr], &[&Field]),
        instances: usize,
    ) -> Result<Keyed> {
        let keys = self.exprs(exprs, schema)?;
        if instances == 1 || keys.iter().all(|key| key.downcast_ref::<Column>().is_some()) {
            return Ok(Keyed { input: input.sealed(self), keys, always: Vec::new() });
        }
        let schema = with_columns(input.schema(), exprs.len(), |key| key_field(fields[key], key));
        let mut columns: Keys = input_columns(input.schema());
        let first = columns.len();
        columns.extend(keys);
        let shown = format!("and {}", listed(exprs));
        let input = input.project(columns, &schema, shown).sealed(self);
        let keys = columns_from(input.schema(), first);
        Ok(Keyed { input, keys, always: Vec::new() })
    }

    /// Each row once for each grouping set.
    fn expand(&mut self, input: Part, node: &Aggregate, sets: &Sets) -> Result<Keyed> {
        let exprs = sets.distinct_expr();
        let keys = self.exprs(exprs.iter().copied(), node.input.schema())?;
        let input = input.sealed(self);
        let output = node.schema.inner();
        let id_type = output.field(exprs.len()).data_type();
        let schema = with_columns(input.schema(), exprs.len() + 1, |key| match key {
            key if key == exprs.len() => Field::new("__grouping_id", id_type.clone(), false),
            key => key_field(output.field(key), key),
        });
        let first = input.schema().fields().len();
        let emission = input.emission();
        let sets = sets_of(&exprs, sets, id_type)?;
        let totals = sets.iter().filter(|set| !set.counts.contains(&true));
        let always = totals.map(|set| total_key(set, schema.fields(), first)).collect::<Result<Vec<_>>>()?;
        let expand = Expand::new(keys, sets, Arc::clone(&schema));
        let piped = input.into_piped().operator("expand", true, None, move |_| Box::new(expand.clone()));
        piped.describe(format!("each row for each of {}", listed(&node.group_expr)), String::new());
        let keys = columns_from(&schema, first);
        Ok(Keyed { input: Part::new(piped, schema, emission), keys, always })
    }
}

/// The key of the one group of a grouping set without columns.
fn total_key(set: &GroupingSet, fields: &Fields, first: usize) -> Result<Vec<ScalarValue>> {
    let nulls = fields.iter().skip(first).take(set.counts.len());
    let nulls = nulls.map(|field| ScalarValue::try_from(field.data_type()).map_err(wrong));
    nulls.chain([Ok(set.id.clone())]).collect()
}

fn key_field(field: &Field, key: usize) -> Field {
    Field::new(format!("__key_{key}"), field.data_type().clone(), true)
}

/// The columns of a schema, and more behind them.
fn with_columns(schema: &SchemaRef, more: usize, field: impl Fn(usize) -> Field) -> SchemaRef {
    let more = (0..more).map(|number| Arc::new(field(number)));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

fn input_columns(schema: &SchemaRef) -> Keys {
    columns_from(schema, 0)
}

/// The columns of a schema from one on.
fn columns_from(schema: &SchemaRef, first: usize) -> Keys {
    let columns = schema.fields().iter().enumerate().skip(first);
    columns.map(|(at, field)| Arc::new(Column::new(field.name(), at)) as Arc<dyn PhysicalExpr>).collect()
}

/// The grouping sets, each with the id that DataFusion gives it: a bit for each key that does not count, the
/// first key the highest, and above them how many times the same set came before.
fn sets_of(exprs: &[&Expr], sets: &Sets, id_type: &DataType) -> Result<Vec<GroupingSet>> {
    let counts = |held: &dyn Fn(&Expr) -> bool| exprs.iter().map(|expr| held(expr)).collect::<Vec<bool>>();
    let all: Vec<Vec<bool>> = match sets {
        Sets::Rollup(of) => (0..=of.len()).map(|kept| counts(&|expr| of[..kept].contains(expr))).collect(),
        Sets::Cube(of) => {
            if of.len() > CUBE_COLUMNS {
                return Err(Error::user(format!(
                    "CUBE of {} columns makes 2^{0} groups of each row, but {CUBE_COLUMNS} columns are the most: \
                     write the groupings you need as GROUPING SETS",
                    of.len()
                )));
            }
            let within = |set: usize, expr: &Expr| {
                of.iter().enumerate().any(|(at, other)| set & (1 << at) != 0 && other == expr)
            };
            (0..1usize << of.len()).map(|set| counts(&|expr| within(set, expr))).collect()
        }
        Sets::GroupingSets(sets) => sets.iter().map(|set| counts(&|expr| set.contains(expr))).collect(),
    };
    let mut before: HashMap<Vec<bool>, u64> = HashMap::new();
    let with_id = |counts: Vec<bool>| {
        let nulls = counts.iter().fold(0u64, |bits, &counts| (bits << 1) | u64::from(!counts));
        let ordinal = before.entry(counts.clone()).or_default();
        let id = nulls | (*ordinal << counts.len());
        *ordinal += 1;
        let id = ScalarValue::UInt64(Some(id)).cast_to(id_type).map_err(wrong)?;
        Ok(GroupingSet { counts, id })
    };
    all.into_iter().map(with_id).collect()
}

/// The most columns of a CUBE.
const CUBE_COLUMNS: usize = 12;
