//! `DataFrame`: a table that has not been computed.

use super::column::{ToColumn, ToCondition, in_text, resolve};
use super::grouped::GroupedData;
use super::stream_writer::DataStreamWriter;
use super::writer::DataFrameWriter;
use super::{JoinType, provider, schema};
use crate::error::{Error, Result};
use crate::session::Session;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Column;
use datafusion::dataframe::DataFrame as Inner;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// A table, bounded or not, that has not been computed: a description, as in Spark. Cheap to clone.
///
/// Each step checks its columns and types at once. A bounded table is computed by [`DataFrame::collect`],
/// [`DataFrame::show`] and [`DataFrame::write`]; a stream is started by [`DataFrame::write_stream`].
#[derive(Clone)]
#[must_use = "a DataFrame does nothing until it is computed, written or started"]
pub struct DataFrame {
    pub(super) session: Session,
    pub(super) plan: LogicalPlan,
}

impl std::fmt::Debug for DataFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataFrame({})", self.plan.schema())
    }
}

impl DataFrame {
    pub(super) fn new(session: Session, plan: LogicalPlan) -> DataFrame {
        DataFrame { session, plan }
    }

    pub(super) fn inner(&self) -> Result<Inner> {
        Ok(Inner::new(self.session.tables()?.state(), self.plan.clone()))
    }

    /// The same session's table after a step of DataFusion's.
    pub(super) fn through(
        &self,
        step: impl FnOnce(Inner) -> datafusion::common::Result<Inner>,
    ) -> Result<DataFrame> {
        let plan = step(self.inner()?)?.into_unoptimized_plan();
        Ok(DataFrame::new(self.session.clone(), plan))
    }

    pub(super) fn columns<C: ToColumn>(&self, columns: impl IntoIterator<Item = C>) -> Result<Vec<Expr>> {
        columns.into_iter().map(|column| column.to_column(self.plan.schema())).collect()
    }

    /// These columns, by name or as expressions.
    ///
    /// # Errors
    /// If there is no such column or an expression does not fit it.
    pub fn select<C: ToColumn>(&self, columns: impl IntoIterator<Item = C>) -> Result<DataFrame> {
        let columns = self.columns(columns)?;
        self.through(|frame| frame.select(columns))
    }

    /// These columns, as SQL text: `&["CAST(value AS STRING) AS v", "idade + 1", "*"]`.
    ///
    /// # Errors
    /// If the text is wrong or names a column that is not there.
    pub fn select_expr(&self, columns: &[&str]) -> Result<DataFrame> {
        self.through(|frame| frame.select_exprs(columns)).map_err(|error| in_text(&columns.join(", "), error))
    }

    /// The rows for which the condition is true: an expression, or SQL text.
    ///
    /// # Errors
    /// If the condition is wrong.
    pub fn filter(&self, condition: impl ToCondition) -> Result<DataFrame> {
        let condition = condition.to_condition(&self.session.tables()?.state(), self.plan.schema())?;
        self.through(|frame| frame.filter(condition))
    }

    /// The same as [`DataFrame::filter`].
    ///
    /// # Errors
    /// As there.
    pub fn where_(&self, condition: impl ToCondition) -> Result<DataFrame> {
        self.filter(condition)
    }

    /// Adds a column, or replaces the one of that name.
    ///
    /// # Errors
    /// If the expression is wrong.
    pub fn with_column(&self, name: &str, value: impl ToCondition) -> Result<DataFrame> {
        let value = value.to_condition(&self.session.tables()?.state(), self.plan.schema())?;
        self.through(|frame| frame.with_column(name, value))
    }

    /// Renames a column.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn with_column_renamed(&self, name: &str, new_name: &str) -> Result<DataFrame> {
        let old = resolve(name, self.plan.schema())?;
        let columns = self.plan.schema().iter().map(|(qualifier, field)| {
            let column = Column::from((qualifier, field));
            if column == old { Expr::Column(column).alias(new_name) } else { Expr::Column(column) }
        });
        let columns: Vec<Expr> = columns.collect();
        self.through(|frame| frame.select(columns))
    }

    /// All columns but these.
    ///
    /// # Errors
    /// If there is no such column, or none would be left.
    pub fn drop(&self, names: &[&str]) -> Result<DataFrame> {
        let gone = names.iter().map(|name| resolve(name, self.plan.schema())).collect::<Result<Vec<_>>>()?;
        let kept = self.plan.schema().columns().into_iter().filter(|column| !gone.contains(column));
        let kept: Vec<Expr> = kept.map(Expr::Column).collect();
        if kept.is_empty() {
            return Err(Error::user("drop: a table has at least one column"));
        }
        self.through(|frame| frame.select(kept))
    }

    /// The distinct rows.
    ///
    /// # Errors
    /// If a column has a type that cannot be compared.
    pub fn distinct(&self) -> Result<DataFrame> {
        self.through(Inner::distinct)
    }

    /// The rows of both, column by column in their order, duplicates included.
    ///
    /// # Errors
    /// If they do not have the same number of columns with types that fit.
    pub fn union(&self, other: &DataFrame) -> Result<DataFrame> {
        let other = other.inner()?;
        self.through(|frame| frame.union(other))
    }

    /// The rows of both, column by column by name; a column that one of them does not have is null there.
    ///
    /// # Errors
    /// If the types of a column do not fit.
    pub fn union_by_name(&self, other: &DataFrame) -> Result<DataFrame> {
        let other = other.inner()?;
        self.through(|frame| frame.union_by_name(other))
    }

    /// Joins where the columns of these names are equal. The result has them once, as in Spark; a semi or anti
    /// join has the columns of the left side alone.
    ///
    /// # Errors
    /// If a side does not have one of the columns.
    pub fn join(&self, other: &DataFrame, on: &[&str], kind: JoinType) -> Result<DataFrame> {
        let (left, right) = (self.plan.schema(), other.plan.schema());
        let mut pairs = Vec::with_capacity(on.len());
        for name in on {
            pairs.push((resolve(name, left)?, resolve(name, right)?));
        }
        if pairs.is_empty() {
            return Err(Error::user("join: name at least one column, or use `join_on` with a condition"));
        }
        super::grouped::join(self, other, &pairs, kind)
    }

    /// Joins where the condition is true. The result has the columns of both sides.
    ///
    /// # Errors
    /// If the condition is wrong, or the sides share a column name: give them an [`DataFrame::alias`] first.
    pub fn join_on(&self, other: &DataFrame, condition: Expr, kind: JoinType) -> Result<DataFrame> {
        let other = other.inner()?;
        self.through(|frame| frame.join_on(other, kind, [condition]))
    }

    /// Groups by these columns, by name or as expressions; by none for a single result.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn group_by<C: ToColumn>(&self, columns: impl IntoIterator<Item = C>) -> Result<GroupedData> {
        Ok(GroupedData::new(self.clone(), self.columns(columns)?))
    }

    /// One row of aggregates over all rows.
    ///
    /// # Errors
    /// If an aggregate is wrong.
    pub fn agg(&self, aggregates: impl IntoIterator<Item = Expr>) -> Result<DataFrame> {
        GroupedData::new(self.clone(), Vec::new()).agg(aggregates)
    }

    /// Sorted by these columns, ascending, nulls first as in Spark; [`DataFrame::sort`] takes other orders.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn order_by<C: ToColumn>(&self, columns: impl IntoIterator<Item = C>) -> Result<DataFrame> {
        let columns = self.columns(columns)?.into_iter().map(|column| column.sort(true, true));
        let columns: Vec<Sort> = columns.collect();
        self.through(|frame| frame.sort(columns))
    }

    /// Sorted by these orders: `[col("n").sort(false, false)]` is descending, nulls last.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn sort(&self, orders: impl IntoIterator<Item = Sort>) -> Result<DataFrame> {
        let orders: Vec<Sort> = orders.into_iter().collect();
        self.through(|frame| frame.sort(orders))
    }

    /// At most this many rows.
    ///
    /// # Errors
    /// None that a user could cause.
    pub fn limit(&self, rows: usize) -> Result<DataFrame> {
        self.through(|frame| frame.limit(0, Some(rows)))
    }

    /// The same table under a name by which `name.column` finds its columns.
    ///
    /// # Errors
    /// If two columns would have the same name.
    pub fn alias(&self, name: &str) -> Result<DataFrame> {
        self.through(|frame| frame.alias(name))
    }

    /// Gives the table a name in SQL, for as long as the session lives; replaces what had that name.
    ///
    /// # Errors
    /// If the name is none.
    pub fn create_or_replace_temp_view(&self, name: &str) -> Result<()> {
        let tables = self.session.tables()?;
        let view = self.inner()?.into_temporary_view();
        let name = datafusion::common::TableReference::parse_str(name);
        tables.datafusion.deregister_table(name.clone())?;
        tables.catalog().remove(name.table());
        tables.datafusion.register_table(name, view)?;
        Ok(())
    }

    /// The columns and their types.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(self.plan.schema().inner())
    }

    /// Prints the schema as a tree, as Spark does, to standard output.
    pub fn print_schema(&self) {
        print!("{}", schema::tree(&self.schema()));
    }

    /// Whether it reads a stream, and so has no end.
    pub fn is_streaming(&self) -> bool {
        provider::is_streaming(&self.plan)
    }

    /// Writes a bounded table.
    pub fn write(&self) -> DataFrameWriter {
        DataFrameWriter::new(self.clone())
    }

    /// Writes a stream: the settings of a query.
    pub fn write_stream(&self) -> DataStreamWriter {
        DataStreamWriter::new(self.clone())
    }

    /// The session it belongs to.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// DataFusion's plan, as written.
    pub fn logical_plan(&self) -> &LogicalPlan {
        &self.plan
    }
}
