//! The optimiser rules that are right for streams.
//!
//! Left out of DataFusion's own list: rules that turn part of a stream into nothing (a filter that is never
//! true, `LIMIT 0`), since the query would end instead of going on; those that push limits down or split one
//! aggregation in two, since each costs an operator with state; and those that pay only with statistics.

use super::bounded::Tables;
use super::clock;
use super::wrong;
use crate::error::{Error, Result};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result as PlanResult, ScalarValue};
use datafusion::logical_expr::expr::Alias;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Optimizer, OptimizerContext, OptimizerRule};
use std::sync::Arc;

fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}

/// The plan as it will run. Names that the rules make up depend on the plan alone, so that a restart of the
/// same query finds its own state.
///
/// Subqueries that stand for one value are read here: the value holds until the query is started anew.
///
/// # Errors
/// If the plan is wrong, or a subquery that stands for one value is over a stream or has several rows.
pub(super) fn optimize(tables: &Tables, plan: &LogicalPlan) -> Result<LogicalPlan> {
    let state = tables.state();
    let mut options = ConfigOptions::clone(state.config_options());
    options.optimizer.skip_failed_rules = false;
    let plan = clock::per_batch(plan.clone(), &options).map_err(wrong)?;
    let plan = state.analyzer().execute_and_check(plan, &options, |_, _| {}).map_err(wrong)?;
    let plan = read_values(tables, plan)?;
    let context =
        OptimizerContext::new_with_config_options(Arc::new(options)).without_query_execution_start_time();
    Optimizer::with_rules(rules()).optimize(plan, &context, |_, _| {}).map_err(wrong)
}

/// Replaces each subquery that stands for one value, and does not look at the row around it, by its value.
fn read_values(tables: &Tables, plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut failed = None;
    let read = plan.transform_up_with_subqueries(|node| {
        let schema = Arc::clone(node.schema());
        node.map_expressions(|expr| {
            let name = expr.schema_name().to_string();
            let read = expr.transform_up(|expr| match expr {
                Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() => {
                    read_value(tables, &subquery, &mut failed)
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(keep_name(&schema, name, read))
        })
    });
    match (failed, read) {
        (Some(error), _) => Err(error),
        (None, read) => Ok(read.map_err(wrong)?.data),
    }
}

/// Gives a rewritten expression the name that nodes above know its column by, if it makes one.
pub(super) fn keep_name(schema: &DFSchema, name: String, rewritten: Transformed<Expr>) -> Transformed<Expr> {
    let renamed = rewritten.transformed && rewritten.data.schema_name().to_string() != name;
    if renamed && schema.fields().iter().any(|field| field.name() == &name) {
        rewritten.update_data(|expr| Expr::Alias(Alias::new(expr, None::<&str>, name)))
    } else {
        rewritten
    }
}

fn read_value(
    tables: &Tables,
    subquery: &Subquery,
    failed: &mut Option<Error>,
) -> PlanResult<Transformed<Expr>> {
    let value = value_of(tables, subquery).unwrap_or_else(|error| {
        failed.get_or_insert(error);
        ScalarValue::Null
    });
    Ok(Transformed::yes(Expr::Literal(value, None)))
}

fn value_of(tables: &Tables, subquery: &Subquery) -> Result<ScalarValue> {
    if crate::table::is_streaming(&subquery.subquery) {
        return Err(super::legal::subquery_over_stream());
    }
    let field = subquery.subquery.schema().field(0);
    let batches = tables.collect(&subquery.subquery)?;
    let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
    match batches.iter().find(|batch| batch.num_rows() > 0) {
        _ if rows > 1 => Err(Error::user(format!(
            "the subquery for `{}` stands for one value but has {rows} rows: use an aggregate, or LIMIT 1",
            field.name()
        ))),
        Some(batch) => ScalarValue::try_from_array(batch.column(0), 0).map_err(wrong),
        None => ScalarValue::try_from(field.data_type()).map_err(wrong),
    }
}
