//! Grouping and joining by columns.

use super::JoinType;
use super::frame::DataFrame;
use crate::error::{Error, Result};
use crate::table::column::ToColumn;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::functions_aggregate::expr_fn;
use datafusion::logical_expr::{Expr, lit};

/// A grouped table: aggregates make a table of it again, one row for each group.
#[derive(Debug, Clone)]
#[must_use = "a grouping does nothing without aggregates"]
pub struct GroupedData {
    frame: DataFrame,
    keys: Vec<Expr>,
}

impl GroupedData {
    pub(super) fn new(frame: DataFrame, keys: Vec<Expr>) -> Self {
        GroupedData { frame, keys }
    }

    /// The keys and these aggregates.
    ///
    /// # Errors
    /// If an aggregate is wrong or there is none.
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Expr>) -> Result<DataFrame> {
        let (keys, aggregates) = (self.keys.clone(), aggregates.into_iter().collect::<Vec<_>>());
        if aggregates.is_empty() {
            return Err(Error::user("agg: give at least one aggregate, such as sum(col(\"n\"))"));
        }
        self.frame.through(|frame| frame.aggregate(keys, aggregates))
    }

    /// The keys and the number of rows, as `count`.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn count(&self) -> Result<DataFrame> {
        self.agg([expr_fn::count(lit(1i64)).alias("count")])
    }

    /// The keys and the sum of each column, as `sum(name)`; of all numeric columns if none is named.
    ///
    /// # Errors
    /// If there is no such column or it is no number.
    pub fn sum(&self, columns: &[&str]) -> Result<DataFrame> {
        self.each("sum", expr_fn::sum, columns)
    }

    /// The keys and the mean of each column, as `avg(name)`; of all numeric columns if none is named.
    ///
    /// # Errors
    /// As for [`GroupedData::sum`].
    pub fn avg(&self, columns: &[&str]) -> Result<DataFrame> {
        self.each("avg", expr_fn::avg, columns)
    }

    /// The same as [`GroupedData::avg`].
    ///
    /// # Errors
    /// As there.
    pub fn mean(&self, columns: &[&str]) -> Result<DataFrame> {
        self.avg(columns)
    }

    /// The keys and the least value of each column, as `min(name)`; of all numeric columns if none is named.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn min(&self, columns: &[&str]) -> Result<DataFrame> {
        self.each("min", expr_fn::min, columns)
    }

    /// The keys and the greatest value of each column, as `max(name)`; of all numeric columns if none is named.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn max(&self, columns: &[&str]) -> Result<DataFrame> {
        self.each("max", expr_fn::max, columns)
    }

    fn each(&self, name: &str, make: fn(Expr) -> Expr, columns: &[&str]) -> Result<DataFrame> {
        let schema = self.frame.plan.schema();
        let named: Vec<Expr> = if columns.is_empty() {
            let keys = |column: &Expr| self.keys.contains(column);
            let numbers = schema.iter().filter(|(_, field)| is_number(field.data_type()));
            numbers.map(|field| Expr::Column(Column::from(field))).filter(|column| !keys(column)).collect()
        } else {
            columns.iter().map(|column| column.to_column(schema)).collect::<Result<_>>()?
        };
        self.agg(named.into_iter().map(|column| {
            let shown = match &column {
                Expr::Column(column) => column.name.clone(),
                other => other.to_string(),
            };
            make(column).alias(format!("{name}({shown})"))
        }))
    }
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric()
}

/// Joins on equal columns, each of which the result has once.
pub(super) fn join(
    left: &DataFrame,
    right: &DataFrame,
    on: &[(Column, Column)],
    kind: JoinType,
) -> Result<DataFrame> {
    let one_sided =
        matches!(kind, JoinType::LeftSemi | JoinType::LeftAnti | JoinType::RightSemi | JoinType::RightAnti);
    // Sides of one table, or without names, are told apart by names of ours.
    let (left, right) = (left.alias("left_side")?, right.alias("right_side")?);
    let side = |name: &str, column: &Column| Column::new(Some(name), column.name.clone());
    let condition = on
        .iter()
        .map(|(a, b)| Expr::Column(side("left_side", a)).eq(Expr::Column(side("right_side", b))))
        .reduce(Expr::and)
        .ok_or_else(|| Error::internal("a join without columns"))?;
    let joined = left.join_on(&right, condition, kind)?;
    if one_sided {
        return joined.select(joined.plan.schema().columns().into_iter().map(|c| {
            let name = c.name.clone();
            Expr::Column(c).alias(name)
        }));
    }
    let mut columns = Vec::new();
    for (a, b) in on {
        let (l, r) = (Expr::Column(side("left_side", a)), Expr::Column(side("right_side", b)));
        let key = match kind {
            JoinType::Right => r,
            JoinType::Full => datafusion::functions::core::expr_fn::coalesce(vec![l, r]),
            _ => l,
        };
        columns.push(key.alias(a.name.clone()));
    }
    for (number, (qualifier, field)) in joined.plan.schema().iter().enumerate() {
        let is_left = number < left.plan.schema().fields().len();
        let is_key =
            on.iter().any(|(a, b)| *field.name() == if is_left { a.name.clone() } else { b.name.clone() });
        if !is_key {
            columns.push(Expr::Column(Column::from((qualifier, field))));
        }
    }
    joined.select(columns)
}
