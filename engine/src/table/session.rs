//! What a session offers for tables.

use super::execute::{RunOptions, StatementResult};
use super::frame::DataFrame;
use super::provider::is_streaming;
use super::reader::DataFrameReader;
use super::statement::{Statement, statements};
use crate::error::{Error, Result};
use crate::session::Session;
use datafusion::common::TableReference;
use datafusion::logical_expr::{AggregateUDF, LogicalPlan, ScalarUDF};
use lotic_connectors::table::TableFormat;
use lotic_connectors::table::memory::MemoryTables;
use lotic_connectors::table::options::nearest;
use std::sync::Arc;

impl Session {
    /// Reads bounded tables.
    pub fn read(&self) -> DataFrameReader {
        DataFrameReader::new(self.clone(), false)
    }

    /// Reads streams.
    pub fn read_stream(&self) -> DataFrameReader {
        DataFrameReader::new(self.clone(), true)
    }

    /// A table or view by name.
    ///
    /// # Errors
    /// If there is none, with the nearest name.
    pub fn table(&self, name: &str) -> Result<DataFrame> {
        let tables = self.tables()?;
        tables.refresh()?;
        let reference = TableReference::parse_str(name);
        if !tables.datafusion.table_exist(reference.clone())? {
            return Err(self.no_table(name)?);
        }
        let context = tables.datafusion.clone();
        let frame = tables.wait(async move { context.table(reference).await })?;
        Ok(DataFrame::new(self.clone(), frame.into_unoptimized_plan()))
    }

    pub(super) fn no_table(&self, name: &str) -> Result<Error> {
        let names = self.table_names()?;
        let hint = match nearest(name, names.iter().map(String::as_str)) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if names.is_empty() => "there are none; create one, or a view".to_owned(),
            None => format!("there are: {}", names.join(", ")),
        };
        Ok(Error::user(format!("there is no table `{name}`: {hint}")))
    }

    /// The names of the tables and views.
    ///
    /// # Errors
    /// If threads for tables cannot be started.
    pub fn table_names(&self) -> Result<Vec<String>> {
        let tables = self.tables()?;
        let mut names: Vec<String> = Vec::new();
        for catalog in tables.datafusion.catalog_names() {
            let Some(catalog) = tables.datafusion.catalog(&catalog) else { continue };
            for schema in catalog.schema_names().iter().filter(|name| *name != "information_schema") {
                names.extend(catalog.schema(schema).iter().flat_map(|schema| schema.table_names()));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// A query in SQL as a table: `SELECT`, `VALUES`, `EXPLAIN`, `DESCRIBE`, `SHOW`. Statements with effects are
    /// for [`Session::execute`].
    ///
    /// # Errors
    /// If the text is wrong ([`Error::location`] says where) or is no query.
    pub fn sql(&self, query: &str) -> Result<DataFrame> {
        let [statement] = &self.statements(query)?[..] else {
            return Err(Error::user("`sql` takes one statement: use `execute` for several"));
        };
        let plan = statement.plan(self)?;
        match plan {
            LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_) => {
                Err(Error::user("`sql` takes a query: use `execute` for statements with effects"))
            }
            LogicalPlan::Explain(explain) if is_streaming(&explain.plan) => {
                match statement.run(self, &RunOptions::default())? {
                    StatementResult::Rows(frame) => Ok(frame),
                    _ => Err(Error::internal("an EXPLAIN without rows")),
                }
            }
            plan => Ok(DataFrame::new(self.clone(), plan)),
        }
    }

    /// The statements of a text, parsed, to be run one by one with [`Statement::run`].
    ///
    /// # Errors
    /// If the text is no SQL; [`Error::location`] says where.
    pub fn statements(&self, text: &str) -> Result<Vec<Statement>> {
        statements(text)
    }

    /// Runs the statements of a text in order: `CREATE [UNBOUNDED] EXTERNAL TABLE`, `CREATE VIEW`, `DROP`, `SET`,
    /// `INSERT INTO` (a stream is started, a bounded table written to the end), and queries. Nothing is run
    /// unless all of it can be parsed.
    ///
    /// # Errors
    /// The first that fails; [`Error::location`] says where. Those before it have had their effects.
    pub fn execute(&self, text: &str) -> Result<Vec<StatementResult>> {
        self.execute_with(text, &RunOptions::default())
    }

    /// The same as [`Session::execute`], with settings for the queries that are started.
    ///
    /// # Errors
    /// As there.
    pub fn execute_with(&self, text: &str, options: &RunOptions) -> Result<Vec<StatementResult>> {
        self.statements(text)?.iter().map(|statement| statement.run(self, options)).collect()
    }

    /// Makes a scalar function known to SQL and to expressions as text.
    ///
    /// # Errors
    /// If threads for tables cannot be started.
    pub fn register_udf(&self, function: ScalarUDF) -> Result<()> {
        self.tables()?.datafusion.register_udf(function);
        Ok(())
    }

    /// Makes an aggregate function known to SQL and to expressions as text.
    ///
    /// # Errors
    /// If threads for tables cannot be started.
    pub fn register_udaf(&self, function: AggregateUDF) -> Result<()> {
        self.tables()?.datafusion.register_udaf(function);
        Ok(())
    }

    /// Makes a format known by its name, in place of one that had it.
    ///
    /// # Errors
    /// If threads for tables cannot be started.
    pub fn register_format(&self, format: Arc<dyn TableFormat>) -> Result<()> {
        self.tables()?.register_format(format);
        Ok(())
    }

    /// The formats, by name.
    ///
    /// # Errors
    /// If threads for tables cannot be started.
    pub fn formats(&self) -> Result<Vec<Arc<dyn TableFormat>>> {
        Ok(self.tables()?.formats())
    }

    /// The tables that the format `memory` reads and writes.
    ///
    /// # Errors
    /// If threads for tables cannot be started.
    pub fn memory_tables(&self) -> Result<MemoryTables> {
        Ok(self.tables()?.memory())
    }

    /// Changes a setting of SQL, such as `datafusion.execution.batch_size`, as `SET` does.
    ///
    /// # Errors
    /// If there is no such setting, with the nearest one, or the value is wrong.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let tables = self.tables()?;
        let names: Vec<String> =
            tables.state().config_options().entries().into_iter().map(|entry| entry.key).collect();
        if !names.iter().any(|known| known == name) {
            let hint = nearest(name, names.iter().map(String::as_str))
                .map_or(String::new(), |nearest| format!(": did you mean `{nearest}`?"));
            return Err(Error::user(format!("there is no setting `{name}`{hint}")));
        }
        let state = tables.datafusion.state_ref();
        let mut state = state.write();
        Ok(state.config_mut().options_mut().set(name, value)?)
    }
}
