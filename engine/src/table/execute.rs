//! Statements with effects: external tables, views, inserts.

use super::catalog::ExternalTable;
use super::ddl::table_columns;
use super::errors::missing_table;
use super::event_time::WatermarkOptions;
use super::frame::DataFrame;
use super::provider::is_streaming;
use super::reader::frame_of;
use super::statement::Statement;
use crate::error::{Error, Result};
use crate::query::{StreamingQuery, Trigger};
use crate::session::Session;
use crate::table::{OutputMode, SaveMode};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DdlStatement, DmlStatement, LogicalPlan, WriteOp};
use datafusion::sql::parser::{CreateExternalTable, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{Insert, Statement as SqlStatement, TableObject, Value};
use lotic_connectors::table::Options;
use std::path::PathBuf;
use std::sync::Arc;

/// How the queries of `INSERT` statements over streams are started. What is not set has its default.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// When epochs begin; the default is that of [`DataFrame::write_stream`].
    pub trigger: Option<Trigger>,
    /// Where checkpoints are kept; the default is the table's option `checkpointLocation`, or nowhere.
    pub checkpoint: Option<PathBuf>,
    /// The savepoint where an empty checkpoint location begins; see [`crate::Query::from_savepoint`].
    pub from_savepoint: Option<PathBuf>,
    /// See [`crate::Query::allow_non_restored_state`].
    pub allow_non_restored_state: bool,
    /// Which rows are written; the default is append.
    pub output_mode: Option<OutputMode>,
    /// The query's name.
    pub query_name: Option<String>,
}

/// What a statement has led to.
#[derive(Debug, Clone)]
pub enum StatementResult {
    /// A table was created, a setting changed: nothing to show.
    Done,
    /// A table to be shown: of a SELECT, EXPLAIN, DESCRIBE or SHOW. It may be a stream.
    Rows(DataFrame),
    /// An INSERT of a bounded table has written all its rows.
    Written,
    /// An INSERT of a stream has been started.
    Started(StreamingQuery),
}

impl Statement {
    /// Runs the statement.
    ///
    /// # Errors
    /// If it is wrong, with the place in the text where that is known, or what it does fails.
    pub fn run(&self, session: &Session, options: &RunOptions) -> Result<StatementResult> {
        let located = |error: Error| match error.location() {
            None if error.kind() == crate::error::ErrorKind::User => error.at_location(self.location()),
            _ => error,
        };
        self.run_parsed(session, options).map_err(located)
    }

    fn run_parsed(&self, session: &Session, options: &RunOptions) -> Result<StatementResult> {
        match &self.parsed {
            Parsed::CreateExternalTable(create) => create_external(session, create),
            Parsed::CopyTo(_) => {
                Err(Error::user("COPY is not supported: create an external table and INSERT INTO it"))
            }
            Parsed::Statement(statement) => {
                if let SqlStatement::Insert(insert) = statement.as_ref()
                    && let Some(result) = insert_without_columns(session, insert, options)?
                {
                    return Ok(result);
                }
                run_plan(session, self.plan(session)?, options)
            }
            _ => run_plan(session, self.plan(session)?, options),
        }
    }

    /// DataFusion's plan of it.
    pub(super) fn plan(&self, session: &Session) -> Result<LogicalPlan> {
        plan_of(session, self.parsed.clone())
    }
}

fn plan_of(session: &Session, statement: Parsed) -> Result<LogicalPlan> {
    let tables = session.tables()?;
    tables.refresh()?;
    let state = tables.state();
    let names = state.resolve_table_references(&statement)?;
    let planned = tables.wait(async move { state.statement_to_plan(statement).await });
    // A table without columns is the reason for whatever else is said.
    let error = match planned {
        // `*` over a table that cannot be read has no columns.
        Ok(plan) if plan.schema().fields().is_empty() && !changes(&plan) => {
            match tables.unread_reason(&names) {
                Some(reason) => reason,
                None => return Ok(plan),
            }
        }
        Ok(plan) => return Ok(plan),
        Err(error) => tables.unread_reason(&names).unwrap_or(error),
    };
    Err(match missing_table(&error) {
        Some(name) => match error.location() {
            Some(location) => session.no_table(&name)?.at_location(location),
            None => session.no_table(&name)?,
        },
        None => error,
    })
}

fn changes(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Statement(_))
}

fn run_plan(session: &Session, plan: LogicalPlan, options: &RunOptions) -> Result<StatementResult> {
    match plan {
        LogicalPlan::Dml(dml) => insert(session, dml, options),
        LogicalPlan::Ddl(ddl) => define(session, ddl),
        LogicalPlan::Statement(_) => {
            run_effect(session, plan)?;
            Ok(StatementResult::Done)
        }
        LogicalPlan::Copy(_) => Err(Error::user("COPY is not supported: INSERT INTO an external table")),
        LogicalPlan::Explain(explain) if is_streaming(&explain.plan) => {
            let text = DataFrame::new(session.clone(), explain.plan.as_ref().clone()).explain()?;
            lines(session, "plan", &text).map(StatementResult::Rows)
        }
        plan => Ok(StatementResult::Rows(DataFrame::new(session.clone(), plan))),
    }
}

/// Lets DataFusion carry out what changes its catalog or settings.
fn run_effect(session: &Session, plan: LogicalPlan) -> Result<()> {
    let tables = session.tables()?;
    let context = tables.datafusion.clone();
    tables.wait(async move { context.execute_logical_plan(plan).await?.collect().await.map(|_| ()) })
}

fn define(session: &Session, ddl: DdlStatement) -> Result<StatementResult> {
    let gone = match &ddl {
        DdlStatement::DropTable(drop) => Some(drop.name.clone()),
        DdlStatement::DropView(drop) => Some(drop.name.clone()),
        DdlStatement::CreateMemoryTable(create) if is_streaming(&create.input) => {
            return Err(Error::user(
                "CREATE TABLE AS over a stream never ends: use CREATE VIEW, or INSERT INTO an external table",
            ));
        }
        _ => None,
    };
    run_effect(session, LogicalPlan::Ddl(ddl))?;
    if let Some(name) = gone {
        session.tables()?.catalog().remove(name.table());
    }
    Ok(StatementResult::Done)
}

fn lines(session: &Session, name: &str, text: &str) -> Result<DataFrame> {
    let column = Arc::new(StringArray::from(text.lines().collect::<Vec<_>>())) as ArrayRef;
    let rows = RecordBatch::try_from_iter([(name, column)]);
    let rows = rows.map_err(|error| Error::internal(error.to_string()))?;
    frame_of(session, name, Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
}

fn insert(session: &Session, dml: DmlStatement, options: &RunOptions) -> Result<StatementResult> {
    let WriteOp::Insert(op) = dml.op else {
        return Err(Error::user(format!("{} is not supported: tables are only added to", dml.op)));
    };
    let name = dml.table_name.table().to_owned();
    if session.tables()?.external(&name).is_err() {
        if is_streaming(&dml.input) {
            return Err(Error::user(format!(
                "`{name}` is a table in memory and takes no stream: INSERT INTO an external table"
            )));
        }
        run_effect(session, LogicalPlan::Dml(dml))?;
        return Ok(StatementResult::Written);
    }
    let frame = DataFrame::new(session.clone(), dml.input.as_ref().clone());
    insert_frame(&frame, &name, op == InsertOp::Overwrite, options)
}

fn insert_frame(
    frame: &DataFrame,
    name: &str,
    overwrite: bool,
    options: &RunOptions,
) -> Result<StatementResult> {
    if !frame.is_streaming() {
        let mode = if overwrite { SaveMode::Overwrite } else { SaveMode::Append };
        frame.write().mode(mode).into_table(name)?.save_default()?;
        return Ok(StatementResult::Written);
    }
    if overwrite {
        return Err(Error::user("INSERT OVERWRITE of a stream: a stream only adds; use INSERT INTO"));
    }
    let mut writer = frame.write_stream().into_table(name)?;
    if let Some(trigger) = options.trigger {
        writer = writer.trigger(trigger);
    }
    if let Some(folder) = &options.checkpoint {
        writer = writer.option("checkpointLocation", folder);
    }
    if let Some(savepoint) = options.from_savepoint.clone() {
        writer = writer.configure(move |query| query.from_savepoint(&savepoint));
    }
    if options.allow_non_restored_state {
        writer = writer.configure(|query| query.allow_non_restored_state(true));
    }
    if let Some(mode) = options.output_mode {
        writer = writer.output_mode(mode);
    }
    if let Some(name) = &options.query_name {
        writer = writer.query_name(name.clone());
    }
    writer.start().map(StatementResult::Started)
}

/// An INSERT into a table without columns of its own (a console) takes the query's.
fn insert_without_columns(
    session: &Session,
    insert: &Insert,
    options: &RunOptions,
) -> Result<Option<StatementResult>> {
    let (TableObject::TableName(name), Some(source)) = (&insert.table, &insert.source) else {
        return Ok(None);
    };
    let Some(ident) = name.0.last().and_then(|part| part.as_ident()) else { return Ok(None) };
    let name = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
    let table = match session.tables()?.external(&name) {
        Ok(table) if table.schema.is_none() => table,
        _ => return Ok(None),
    };
    if !insert.columns.is_empty() {
        return Err(Error::user(format!(
            "table `{}` was created without columns: leave out the list of columns",
            table.name
        )));
    }
    let query = Parsed::Statement(Box::new(SqlStatement::Query(source.clone())));
    let frame = DataFrame::new(session.clone(), plan_of(session, query)?);
    insert_frame(&frame, &table.name, insert.overwrite, options).map(Some)
}

fn create_external(session: &Session, create: &CreateExternalTable) -> Result<StatementResult> {
    let tables = session.tables()?;
    let ident = create.name.0.last().and_then(|part| part.as_ident());
    let ident = ident.ok_or_else(|| Error::user(format!("`{}` is no name of a table", create.name)))?;
    let name = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
    if tables.datafusion.table_exist(name.as_str())? && !create.or_replace {
        if create.if_not_exists {
            return Ok(StatementResult::Done);
        }
        return Err(Error::user(format!(
            "there is already a table `{name}`: write CREATE OR REPLACE or IF NOT EXISTS, or take another name"
        )));
    }
    if !create.constraints.is_empty() || !create.order_exprs.is_empty() {
        return Err(Error::user(format!("table `{name}`: constraints and WITH ORDER mean nothing here")));
    }
    let mut options = Options::default();
    for (option, value) in &create.options {
        options.set(option_name(option), option_value(option, value)?);
    }
    match &create.locations[..] {
        [path] if path.is_empty() => {}
        [path] => options.set("path", path.clone()),
        _ => return Err(Error::user(format!("table `{name}`: give one LOCATION, a folder or a file"))),
    }
    let watermark = WatermarkOptions::take(&mut options)
        .map_err(|error| Error::user(format!("table `{name}`: {error}")))?;
    let columns = table_columns(&create.columns)?;
    let schema = (!columns.fields().is_empty()).then(|| Arc::new(columns));
    tables.create_external(ExternalTable {
        name,
        format: tables.format(&create.file_type)?,
        options,
        schema,
        partition_by: create.table_partition_cols.clone(),
        unbounded: create.unbounded,
        watermark,
    })?;
    Ok(StatementResult::Done)
}

/// The option by our name: DataFusion's come with a prefix and sometimes another word.
fn option_name(name: &str) -> &str {
    let name = name.strip_prefix("format.").unwrap_or(name);
    match name {
        "has_header" => "header",
        "delimiter" => "sep",
        "null_value" => "nullValue",
        "date_format" => "dateFormat",
        "timestamp_format" => "timestampFormat",
        other => other,
    }
}

fn option_value(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::SingleQuotedString(text)
        | Value::DoubleQuotedString(text)
        | Value::DollarQuotedString(datafusion::sql::sqlparser::ast::DollarQuotedString {
            value: text,
            ..
        })
        | Value::EscapedStringLiteral(text)
        | Value::Number(text, _) => Ok(text.clone()),
        Value::Boolean(value) => Ok(value.to_string()),
        other => {
            Err(Error::user(format!("option `{name}` is `{other}`: write text, a number, true or false")))
        }
    }
}
