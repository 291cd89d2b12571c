//! From calls of `window` and `session_window` to plans that can be run: a rule of the analyser, for bounded
//! tables and streams alike.
//!
//! Rows without event time are left out, as in Spark. A sliding window becomes the list of a row's windows,
//! taken apart; a session of a bounded table becomes window functions; a session of a stream stays a call
//! among the keys of its aggregation, where the planner of streams finds it. What is computed from event time
//! and is another time loses the metadata of event time.

use super::functions::{Kind, spec_of};
use super::sessions;
use super::watermark::WindowsNode;
use crate::table::is_streaming;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, UnnestOptions, plan_err};
use datafusion::logical_expr::expr::Alias;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Projection, Union,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use lotic_operators::table::{WATERMARK_DELAY, bears_event_time, watermark_delay};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The windows of a row, while they are taken apart.
const WINDOW: &str = "__window";

/// The rule.
#[derive(Debug)]
pub(crate) struct Windows;

impl AnalyzerRule for Windows {
    fn name(&self) -> &'static str {
        "event_time_windows"
    }

    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(node)?;
        if !rewritten.transformed {
            return Ok(rewritten.data);
        }
        TypeCoercion::new().analyze(rewritten.data, options)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let calls = calls(&plan)?;
    if calls.is_empty() && !has_event_time(&plan) {
        return Ok(Transformed::no(plan));
    }
    let plan = plan.recompute_schema()?;
    let plan = match plan {
        LogicalPlan::Projection(projection) => match &calls[..] {
            [] => LogicalPlan::Projection(projection),
            [call] => project(projection, call)?,
            _ => return several(),
        },
        LogicalPlan::Aggregate(aggregate) => match &calls[..] {
            [] => LogicalPlan::Aggregate(aggregate),
            [call] => group(aggregate, call)?,
            _ => return several(),
        },
        LogicalPlan::Union(union) => together(union)?,
        other => {
            for call in &calls {
                elsewhere(call, &other)?;
            }
            other
        }
    };
    without_other_times(plan).map(Transformed::yes)
}

/// A union has event time where all of its inputs have, with the longest of their delays.
fn together(union: Union) -> Result<LogicalPlan> {
    let delay = |schema: &DFSchema, at: usize| {
        let field = schema.field(at);
        watermark_delay(field).filter(|_| bears_event_time(field.data_type()))
    };
    let of_inputs = |at: usize| {
        let delays = union.inputs.iter().map(|input| delay(input.schema(), at));
        delays.collect::<Vec<Option<Duration>>>()
    };
    let columns = union.schema.columns();
    let all: Vec<_> = (0..columns.len()).map(of_inputs).collect();
    if all.iter().all(|delays| delays.windows(2).all(|pair| pair[0] == pair[1])) {
        return Ok(LogicalPlan::Union(union));
    }
    let exprs = columns.into_iter().zip(all).map(|(column, delays)| {
        if delays.iter().all(Option::is_none) {
            return Expr::Column(column);
        }
        let longest =
            delays.into_iter().collect::<Option<Vec<_>>>().and_then(|delays| delays.into_iter().max());
        let delay = longest.map_or_else(String::new, |delay| delay.as_micros().to_string());
        let (relation, name) = (column.relation.clone(), column.name.clone());
        Expr::Alias(Alias::new(Expr::Column(column), relation, name).with_metadata(Some(marked(delay))))
    });
    let exprs: Vec<Expr> = exprs.collect();
    Projection::try_new(exprs, Arc::new(LogicalPlan::Union(union))).map(LogicalPlan::Projection)
}

/// Metadata with this delay. What is no number is no delay: metadata can be overridden, not removed.
fn marked(delay: String) -> FieldMetadata {
    FieldMetadata::new(BTreeMap::from([(WATERMARK_DELAY.to_owned(), delay)]))
}

fn several<T>() -> Result<T> {
    plan_err!(
        "several windows in one step would make each row one for every pair of them: group by one after the \
         other, each in a query of its own"
    )
}

/// A window that is no tumbling one, where it cannot be.
fn elsewhere(call: &Expr, plan: &LogicalPlan) -> Result<()> {
    let Some((kind, arguments)) = Kind::of(call) else { return Ok(()) };
    let tumbling = || match plan.inputs().first() {
        Some(input) => spec_of(arguments, input.schema()).map(|(spec, _)| spec.is_tumbling()),
        None => Ok(true),
    };
    match kind {
        Kind::Session => plan_err!("`session_window` can stand in GROUP BY alone"),
        Kind::Window if !tumbling()? => plan_err!(
            "a sliding `window` makes several rows of a row: it can stand in GROUP BY or SELECT alone"
        ),
        _ => Ok(()),
    }
}

/// The calls of windows in a step, each once.
fn calls(plan: &LogicalPlan) -> Result<Vec<Expr>> {
    let mut found: Vec<Expr> = Vec::new();
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            let is_window = matches!(Kind::of(expr), Some((Kind::Window | Kind::Session, _)));
            if is_window && !found.contains(expr) {
                found.push(expr.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

fn has_event_time(plan: &LogicalPlan) -> bool {
    let has = |schema: &DFSchema| schema.fields().iter().any(|f| f.metadata().contains_key(WATERMARK_DELAY));
    has(plan.schema()) || plan.inputs().iter().any(|input| has(input.schema()))
}

/// The rows that have a time.
fn with_time(input: Arc<LogicalPlan>, time: &Expr) -> Result<Arc<LogicalPlan>> {
    if !time.nullable(input.schema())? {
        return Ok(input);
    }
    let filter = Filter::try_new(time.clone().is_not_null(), input)?;
    Ok(Arc::new(LogicalPlan::Filter(filter)))
}

/// The rows with each of their windows, as the column [`WINDOW`].
fn expanded(input: Arc<LogicalPlan>, call: &Expr, arguments: &[Expr]) -> Result<Arc<LogicalPlan>> {
    let kept: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let (_, field) = call.to_field(input.schema())?;
    let windows = Kind::Windows.function().call(arguments.to_vec()).alias(WINDOW);
    let expanded = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input))
        .project(kept.iter().cloned().chain([windows]))?
        .unnest_column_with_options(
            Column::from_name(WINDOW),
            UnnestOptions::new().with_preserve_nulls(false),
        )?;
    // Taking a list apart loses what was known of its column.
    let metadata = FieldMetadata::from(field.metadata().clone());
    let window = Expr::Column(Column::from_name(WINDOW)).alias_with_metadata(WINDOW, Some(metadata));
    Ok(Arc::new(expanded.project(kept.into_iter().chain([window]))?.build()?))
}

/// Puts a column in place of a call and keeps the name of what was computed from it.
pub(crate) fn replaced(expr: Expr, call: &Expr, column: &str) -> Result<Expr> {
    let (qualifier, name) = expr.qualified_name();
    let replaced = expr.transform_up(|expr| {
        if &expr == call {
            Ok(Transformed::yes(Expr::Column(Column::from_name(column))))
        } else {
            Ok(Transformed::no(expr))
        }
    })?;
    if !replaced.transformed || replaced.data.qualified_name() == (qualifier.clone(), name.clone()) {
        return Ok(replaced.data);
    }
    Ok(Expr::Alias(Alias::new(replaced.data, qualifier, name)))
}

fn project(node: Projection, call: &Expr) -> Result<LogicalPlan> {
    let Some((kind, arguments)) = Kind::of(call) else { return Ok(LogicalPlan::Projection(node)) };
    if kind == Kind::Session {
        return plan_err!("`session_window` can stand in GROUP BY alone");
    }
    let (spec, _) = spec_of(arguments, node.input.schema())?;
    let input = with_time(node.input, &arguments[0])?;
    if spec.is_tumbling() {
        return Projection::try_new(node.expr, input).map(LogicalPlan::Projection);
    }
    let input = expanded(input, call, arguments)?;
    let exprs = node.expr.into_iter().map(|expr| replaced(expr, call, WINDOW)).collect::<Result<Vec<_>>>()?;
    Projection::try_new(exprs, input).map(LogicalPlan::Projection)
}

fn group(node: Aggregate, call: &Expr) -> Result<LogicalPlan> {
    let Some((kind, arguments)) = Kind::of(call) else { return Ok(LogicalPlan::Aggregate(node)) };
    let input = with_time(Arc::clone(&node.input), &arguments[0])?;
    let (input, column) = match kind {
        Kind::Session => {
            let Some(at) = session_at(&node.group_expr) else {
                return plan_err!(
                    "`session_window` stands in GROUP BY by itself, beside other keys and not in ROLLUP, CUBE or \
                     GROUPING SETS"
                );
            };
            if is_streaming(&input) {
                let aggregate = Aggregate::try_new(input, node.group_expr, node.aggr_expr)?;
                return Ok(WindowsNode { input: LogicalPlan::Aggregate(aggregate) }.into_plan());
            }
            let others = node.group_expr.iter().enumerate().filter(|(number, _)| *number != at);
            let others: Vec<Expr> = others.map(|(_, key)| key.clone().unalias()).collect();
            (sessions::numbered(input, others, call, arguments, WINDOW)?, WINDOW)
        }
        _ if spec_of(arguments, input.schema())?.0.is_tumbling() => {
            let aggregate = Aggregate::try_new(input, node.group_expr, node.aggr_expr)?;
            return Ok(LogicalPlan::Aggregate(aggregate));
        }
        _ => (expanded(input, call, arguments)?, WINDOW),
    };
    let replace = |exprs: Vec<Expr>| {
        exprs.into_iter().map(|expr| in_sets(expr, call, column)).collect::<Result<Vec<_>>>()
    };
    Aggregate::try_new(input, replace(node.group_expr)?, replace(node.aggr_expr)?).map(LogicalPlan::Aggregate)
}

/// As [`replaced`]; the keys of grouping sets have their names by themselves.
fn in_sets(expr: Expr, call: &Expr, column: &str) -> Result<Expr> {
    let Expr::GroupingSet(_) = expr else { return replaced(expr, call, column) };
    plan_err!(
        "a sliding `{call}` in ROLLUP, CUBE or GROUPING SETS is not supported: write the groupings as queries \
         of their own"
    )
}

/// Where the keys of an aggregation have a session.
pub(crate) fn session_at(keys: &[Expr]) -> Option<usize> {
    keys.iter().position(|key| matches!(Kind::of(unaliased(key)), Some((Kind::Session, _))))
}

/// Where the keys of an aggregation have sliding windows whose panes it shares.
pub(crate) fn panes_at(keys: &[Expr]) -> Option<usize> {
    keys.iter().position(|key| matches!(Kind::of(unaliased(key)), Some((Kind::Panes, _))))
}

/// Makes the aggregations of streams by sliding windows such as share the panes of their windows, where that is
/// possible: for output mode append, in which each window is emitted once.
///
/// # Errors
/// If the plan cannot be rebuilt.
pub(crate) fn with_panes(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(share_panes).map(|shared| shared.data)
}

fn share_panes(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let calls = calls(&plan)?;
    let LogicalPlan::Aggregate(node) = plan else { return Ok(Transformed::no(plan)) };
    let shared = match &calls[..] {
        [call] if is_streaming(&node.input) => shared(&node, call)?,
        _ => None,
    };
    match shared {
        Some(plan) => Ok(Transformed::yes(plan)),
        None => Ok(Transformed::no(LogicalPlan::Aggregate(node))),
    }
}

fn shared(node: &Aggregate, call: &Expr) -> Result<Option<LogicalPlan>> {
    let Some((Kind::Window, arguments)) = Kind::of(call) else { return Ok(None) };
    // The order of rows is lost in panes, and a window that is not a key by itself is not known in them.
    let ordered = |expr: &Expr| match unaliased(expr) {
        Expr::AggregateFunction(function) => !function.params.order_by.is_empty(),
        _ => true,
    };
    let within =
        |expr: &Expr| unaliased(expr) != call && expr.exists(|part| Ok(part == call)).unwrap_or(true);
    let is_key = node.group_expr.iter().filter(|key| unaliased(key) == call).count() == 1;
    let plain = !node.aggr_expr.is_empty() && !node.aggr_expr.iter().any(ordered);
    let elsewhere = node.group_expr.iter().any(within) || node.aggr_expr.iter().any(within);
    if !is_key || !plain || elsewhere || spec_of(arguments, node.input.schema())?.0.is_tumbling() {
        return Ok(None);
    }
    let panes = Kind::Panes.function().call(arguments.to_vec());
    let keys = node.group_expr.iter().map(|key| {
        if unaliased(key) != call {
            return key.clone();
        }
        let (relation, name) = key.qualified_name();
        Expr::Alias(Alias::new(panes.clone(), relation, name))
    });
    let input = with_time(Arc::clone(&node.input), &arguments[0])?;
    let aggregate = Aggregate::try_new(input, keys.collect(), node.aggr_expr.clone())?;
    Ok(Some(WindowsNode { input: LogicalPlan::Aggregate(aggregate) }.into_plan()))
}

/// What an alias stands for.
pub(crate) fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// Takes the metadata of event time from what is another time than that of the rows.
fn without_other_times(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(node) => {
            let exprs = plain_all(node.expr, node.input.schema())?;
            Projection::try_new(exprs, node.input).map(LogicalPlan::Projection)
        }
        LogicalPlan::Extension(node) if WindowsNode::of(&node).is_some() => {
            let aggregate = node.node.inputs()[0].clone();
            Ok(WindowsNode { input: without_other_times(aggregate)? }.into_plan())
        }
        LogicalPlan::Aggregate(node) => {
            let schema = node.input.schema();
            let keys = match &node.group_expr[..] {
                [Expr::GroupingSet(_)] => node.group_expr,
                _ => plain_all(node.group_expr, schema)?,
            };
            let aggregates = plain_all(node.aggr_expr, schema)?;
            Aggregate::try_new(node.input, keys, aggregates).map(LogicalPlan::Aggregate)
        }
        other => Ok(other),
    }
}

fn plain_all(exprs: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    exprs.into_iter().map(|expr| plain(expr, schema)).collect()
}

fn plain(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let (qualifier, field) = expr.to_field(schema)?;
    let delay = field.metadata().get(WATERMARK_DELAY);
    let claims = delay.is_some_and(|delay| !delay.is_empty()) && bears_event_time(field.data_type());
    if !claims || keeps_time(&expr, schema)? {
        return Ok(expr);
    }
    let none = Some(marked(String::new()));
    Ok(Expr::Alias(Alias::new(expr.unalias(), qualifier, field.name()).with_metadata(none)))
}

/// Whether an expression has the event time of its row.
fn keeps_time(expr: &Expr, schema: &DFSchema) -> Result<bool> {
    Ok(match expr {
        Expr::Column(_) => true,
        // A mark that was put on purpose stays.
        Expr::Alias(alias) => alias.metadata.is_some() || keeps_time(&alias.expr, schema)?,
        Expr::Cast(cast) => {
            let from = cast.expr.to_field(schema)?.1;
            is_as_fine(from.data_type(), cast.field.data_type()) && keeps_time(&cast.expr, schema)?
        }
        other => Kind::of(other).is_some(),
    })
}

/// Whether a timestamp of one type can be told in the other.
fn is_as_fine(from: &DataType, to: &DataType) -> bool {
    let order = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    match (from, to) {
        (DataType::Timestamp(from, _), DataType::Timestamp(to, _)) => order(to) >= order(from),
        _ => from == to,
    }
}
