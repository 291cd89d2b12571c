//! Sessions of a bounded table, by window functions.

use super::functions::{Kind, gap_of};
use super::spec::window_type;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Column, Result};
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_window::lead_lag::lag;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprFunctionExt, ExprSchemable, LogicalPlan, LogicalPlanBuilder,
    WindowFunctionDefinition, cast, lit, when,
};
use std::sync::Arc;

const TIME: &str = "__time";
const NEW: &str = "__new_session";
const NUMBER: &str = "__session";

fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// The column that a window function makes.
fn made(function: &Expr) -> Expr {
    column(&function.schema_name().to_string())
}

fn over(function: &Arc<AggregateUDF>, argument: Expr) -> Expr {
    let definition = WindowFunctionDefinition::AggregateUDF(Arc::clone(function));
    Expr::from(WindowFunction::new(definition, vec![argument]))
}

/// The rows, all of which have a time, with the session of each as a column. Rows are of one session if they
/// have the same keys and none of them is further from the one before it than the gap; a session ends a gap
/// after its last row.
///
/// # Errors
/// If the arguments of the call are wrong.
pub(super) fn numbered(
    input: Arc<LogicalPlan>,
    keys: Vec<Expr>,
    call: &Expr,
    arguments: &[Expr],
    name: &str,
) -> Result<Arc<LogicalPlan>> {
    let (_, gap, time_type) = gap_of(arguments, input.schema())?;
    let metadata = call.to_field(input.schema())?.1.metadata().clone();
    let time = match arguments[0].get_type(input.schema())? {
        DataType::Struct(_) => Kind::Time.function().call(vec![arguments[0].clone()]),
        _ => arguments[0].clone(),
    };
    let kept: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let with = |more: &[Expr]| kept.iter().cloned().chain(more.iter().cloned()).collect::<Vec<_>>();
    let key = |number: usize| format!("__key_{number}");
    let named = keys.iter().enumerate().map(|(number, expr)| expr.clone().alias(key(number)));
    let named: Vec<Expr> = named.collect();
    let keys: Vec<Expr> = (0..keys.len()).map(|number| column(&key(number))).collect();
    let carried = |more: Expr| {
        let mut columns = keys.clone();
        columns.extend([column(TIME), more]);
        columns
    };
    let by_time = || vec![column(TIME).sort(true, true)];

    let before = lag(column(TIME), Some(1), None);
    let before = before.partition_by(keys.clone()).order_by(by_time()).build()?;
    let is_new = when((column(TIME) - made(&before)).lt_eq(lit(gap)), lit(0i64)).otherwise(lit(1i64))?;
    let number = over(&sum_udaf(), column(NEW)).partition_by(keys.clone()).order_by(by_time()).build()?;
    let session = || keys.iter().cloned().chain([column(NUMBER)]).collect::<Vec<_>>();
    let first = over(&min_udaf(), column(TIME)).partition_by(session()).build()?;
    let last = over(&max_udaf(), column(TIME)).partition_by(session()).build()?;
    let bounds = named_struct(vec![
        lit("start"),
        cast(made(&first), time_type.clone()),
        lit("end"),
        cast(made(&last) + lit(gap), time_type.clone()),
    ]);
    let window =
        cast(bounds, window_type(&time_type)).alias_with_metadata(name, Some(FieldMetadata::from(metadata)));

    let mut timed = named;
    timed.push(cast(time, DataType::Int64).alias(TIME));
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(input))
        .project(with(&timed))?
        .window([before])?
        .project(with(&carried(is_new.alias(NEW))))?
        .window([number.clone()])?
        .project(with(&carried(made(&number).alias(NUMBER))))?
        .window([first, last])?
        .project(with(&[window]))?;
    Ok(Arc::new(plan.build()?))
}
