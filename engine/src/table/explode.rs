//! `explode` and `explode_outer`, by Spark's names: a row for each element of a list.
//!
//! The calls are placeholders. A rule of the analyser puts the plan node in their place that takes lists apart, for
//! bounded tables and streams alike.

use super::event_time::{replaced, unaliased};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullHandling, Result, UnnestOptions, exec_err, internal_err, plan_err};
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, Projection, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

/// A row for each element of a list; a row whose list is empty or null gives none. The column is called `col`
/// unless it is given a name. One column of a `select` may be such a call.
///
/// ```
/// use lotic::Session;
/// use lotic::functions::{col, explode, lit, split};
///
/// let session = Session::builder().get_or_create()?;
/// let lines = session.sql("SELECT 'to be or not to be' AS line")?;
/// let words = lines.select([explode(split(col("line"), lit(" "))).alias("word")])?;
/// assert_eq!(words.count()?, 6);
/// # Ok::<(), lotic::Error>(())
/// ```
pub fn explode(list: Expr) -> Expr {
    Explode::function(false).call(vec![list])
}

/// As [`explode`]; a row whose list is empty or null gives one, with null for the element.
pub fn explode_outer(list: Expr) -> Expr {
    Explode::function(true).call(vec![list])
}

/// Makes the functions known, and the rule that makes plans of them.
pub(super) fn install(context: &SessionContext) {
    for outer in [false, true] {
        context.register_udf(Explode::function(outer));
    }
    context.add_analyzer_rule(Arc::new(Explosions));
}

/// What Spark calls the column.
const COLUMN: &str = "col";
/// The list, while it is taken apart.
const LIST: &str = "__exploded";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Explode {
    /// Whether rows without elements stay.
    outer: bool,
    signature: Signature,
}

impl Explode {
    fn function(outer: bool) -> ScalarUDF {
        ScalarUDF::from(Explode { outer, signature: Signature::any(1, Volatility::Immutable) })
    }

    /// The call that an expression is, with its list.
    fn of(expr: &Expr) -> Option<(&Explode, &Expr)> {
        let Expr::ScalarFunction(call) = expr else { return None };
        Some((call.func.inner().downcast_ref::<Explode>()?, call.args.first()?))
    }
}

impl ScalarUDFImpl for Explode {
    fn name(&self) -> &str {
        if self.outer { "explode_outer" } else { "explode" }
    }

    fn schema_name(&self, _arguments: &[Expr]) -> Result<String> {
        Ok(COLUMN.to_owned())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of {} is that of its list's elements", self.name())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        use DataType::{FixedSizeList, LargeList, List, Map};
        let name = self.name();
        match arguments.arg_fields[0].data_type() {
            List(item) | LargeList(item) | FixedSizeList(item, _) => {
                Ok(Arc::new(Field::new(COLUMN, item.data_type().clone(), true)))
            }
            Map(..) => plan_err!("{name} takes a list; of a map, write {name}(map_entries(..))"),
            other => plan_err!("{name} takes a list, and its argument is {other}"),
        }
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{} makes several rows of one: it can stand in SELECT alone", self.name())
    }
}

/// The rule.
#[derive(Debug)]
struct Explosions;

impl AnalyzerRule for Explosions {
    fn name(&self) -> &'static str {
        "explosions"
    }

    fn analyze(&self, plan: LogicalPlan, _options: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(exploded).map(|plan| plan.data)
    }
}

fn exploded(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let calls = calls(&plan)?;
    let Some(first) = calls.first() else { return Ok(Transformed::no(plan)) };
    let Some((explode, list)) = Explode::of(first) else { return Ok(Transformed::no(plan)) };
    let name = explode.name();
    let LogicalPlan::Projection(node) = plan else {
        return plan_err!("{name} makes several rows of one: it can stand in SELECT alone, as a column");
    };
    if calls.len() > 1 {
        return plan_err!(
            "several calls of {name} in one SELECT would give a row for every pair of elements: write one after the \
             other, each in a query of its own"
        );
    }
    if !node.expr.iter().any(|expr| unaliased(expr) == first) {
        return plan_err!(
            "{name} is a column by itself: compute from its elements in a query around this one"
        );
    }
    let null_handling = if explode.outer { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
    let kept = node.input.schema().columns().into_iter().map(Expr::Column);
    let rows = LogicalPlanBuilder::from(Arc::unwrap_or_clone(Arc::clone(&node.input)))
        .project(kept.chain([list.clone().alias(LIST)]))?
        .unnest_column_with_options(
            Column::from_name(LIST),
            UnnestOptions::new().with_null_handling(null_handling),
        )?
        .build()?;
    let columns = node.expr.into_iter().map(|expr| replaced(expr, first, LIST));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(rows))?)))
}

/// The calls in a step.
fn calls(plan: &LogicalPlan) -> Result<Vec<Expr>> {
    let mut found = Vec::new();
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            if Explode::of(expr).is_some() {
                found.push(expr.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}
