//! The time of day in a stream.
//!
//! DataFusion fixes `now()` when a query is planned, which for a stream is when it was started, perhaps weeks
//! ago. In a stream each batch has its own time: that at which it is evaluated. Rows that are processed
//! again after a restart get a new one.

use super::optimize::keep_name;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// `now()` as a function that is evaluated for each batch.
#[derive(Debug, PartialEq, Eq, Hash)]
struct BatchTime {
    signature: Signature,
    zone: Option<Arc<str>>,
}

impl ScalarUDFImpl for BatchTime {
    fn name(&self) -> &'static str {
        "now"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Nanosecond, self.zone.clone()))
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = i64::try_from(since.as_nanos()).ok();
        Ok(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(nanos, self.zone.clone())))
    }
}

/// Makes every `now()`, `current_date()` and `current_time()` of a plan one that is evaluated for each batch.
///
/// # Errors
/// If the plan cannot be rebuilt.
pub(super) fn per_batch(plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
    let zone = options.execution.time_zone.as_deref().map(Arc::from);
    let signature = Signature::nullary(Volatility::Volatile);
    let now = Arc::new(ScalarUDF::from(BatchTime { signature, zone }));
    let rewritten = plan.transform_up_with_subqueries(|node| {
        let schema = Arc::clone(node.schema());
        node.map_expressions(|expr| {
            let name = expr.schema_name().to_string();
            let rewritten = expr.transform_up(|expr| Ok(rewrite(expr, &now)))?;
            Ok(keep_name(&schema, name, rewritten))
        })
    })?;
    Ok(rewritten.data)
}

fn rewrite(expr: Expr, now: &Arc<ScalarUDF>) -> Transformed<Expr> {
    let Expr::ScalarFunction(function) = &expr else { return Transformed::no(expr) };
    let call = || {
        Expr::ScalarFunction(datafusion::logical_expr::expr::ScalarFunction::new_udf(
            Arc::clone(now),
            Vec::new(),
        ))
    };
    match function.func.name() {
        "now" if function.func.signature().volatility != Volatility::Volatile => Transformed::yes(call()),
        "current_date" => Transformed::yes(datafusion::logical_expr::cast(call(), DataType::Date32)),
        "current_time" => {
            Transformed::yes(datafusion::logical_expr::cast(call(), DataType::Time64(TimeUnit::Nanosecond)))
        }
        _ => Transformed::no(expr),
    }
}
