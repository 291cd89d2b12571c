//! External tables: a format with options and columns, under a name, for reading and for writing.

use super::bounded::BoundedProvider;
use super::context::TableContext;
use super::event_time::WatermarkOptions;
use super::frame::DataFrame;
use super::provider::StreamProvider;
use crate::error::{Error, Result};
use crate::table::{OutputMode, SaveMode};
use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, TableReference, plan_err};
use datafusion::logical_expr::{Expr, TableType, cast};
use datafusion::physical_plan::ExecutionPlan;
use lotic_connectors::table::options::nearest;
use lotic_connectors::table::{OptionSpec, Options, ReadRequest, TableFormat, WriteRequest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The option that says where a query that writes to the table keeps its checkpoints.
const CHECKPOINT: &str = "checkpointLocation";

/// A table outside, as `CREATE EXTERNAL TABLE` describes it.
#[derive(Debug, Clone)]
pub(crate) struct ExternalTable {
    pub(crate) name: String,
    pub(crate) format: Arc<dyn TableFormat>,
    pub(crate) options: Options,
    /// The columns, if they were given.
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) partition_by: Vec<String>,
    pub(crate) unbounded: bool,
    /// Its watermark, if it has one. Of a bounded table only checked.
    pub(crate) watermark: Option<WatermarkOptions>,
}

/// The external tables by name.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    tables: BTreeMap<String, ExternalTable>,
    /// Those that could not be read when they were created: sinks, and folders that are not there yet.
    unread: Vec<String>,
}

impl Catalog {
    pub(crate) fn remove(&mut self, name: &str) {
        self.tables.remove(name);
        self.unread.retain(|unread| unread != name);
    }

    fn get(&self, name: &str) -> Option<&ExternalTable> {
        self.tables.get(name).or_else(|| self.tables.get(&name.to_lowercase()))
    }
}

fn knows(specs: &[OptionSpec], name: &str) -> bool {
    specs.iter().any(|spec| spec.covers(name))
}

impl ExternalTable {
    fn said(&self, error: &Error) -> Error {
        Error::user(format!("table `{}`: {error}", self.name))
    }

    /// Makes sure that every option is known for reading or for writing.
    fn check(&self) -> Result<()> {
        let mut known = self.format.read_options();
        known.extend(self.format.write_options());
        known.push(OptionSpec::new("path", "", ""));
        known.push(OptionSpec::new(CHECKPOINT, "", ""));
        let said = |error| Error::user(format!("table `{}`: {error}", self.name));
        self.options.check(self.format.name(), &known).map_err(said)
    }

    /// The options without those that only `others` know.
    fn options_for(&self, own: &[OptionSpec], others: &[OptionSpec]) -> Options {
        let kept = self.options.iter().filter(|(name, _)| {
            !name.eq_ignore_ascii_case(CHECKPOINT) && (knows(own, name) || !knows(others, name))
        });
        kept.collect()
    }

    /// The options for a batch write.
    pub(crate) fn write_options(&self) -> Options {
        self.options_for(&self.format.write_options(), &self.format.read_options())
    }

    /// The options for a streaming write.
    pub(crate) fn stream_options(&self) -> Options {
        let mut options = self.write_options();
        if let Some(folder) = self.options.get(CHECKPOINT) {
            options.set(CHECKPOINT, folder);
        }
        options
    }

    fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        let options = self.options_for(&self.format.read_options(), &self.format.write_options());
        let request = ReadRequest { options, schema: self.schema.clone() };
        let provider: Arc<dyn TableProvider> = if self.unbounded {
            Arc::new(StreamProvider::new(self.name.clone(), self.format.stream(&request)?))
        } else {
            Arc::new(BoundedProvider(self.format.bounded(&request)?))
        };
        match &self.watermark {
            Some(watermark) => watermark.provider(&self.name, provider).map_err(|error| self.said(&error)),
            None => Ok(provider),
        }
    }

    /// Whether the format could write it. Without columns that is a guess: a format that has options for
    /// reading and none for writing does not write.
    fn can_be_written(&self) -> bool {
        let Some(schema) = &self.schema else {
            return !self.format.write_options().is_empty() || self.format.read_options().is_empty();
        };
        let request = WriteRequest {
            options: self.write_options(),
            schema: Arc::clone(schema),
            partition_by: self.partition_by.clone(),
            output_mode: OutputMode::Append,
            save_mode: (!self.unbounded).then_some(SaveMode::Append),
        };
        self.format.sink(&request).is_ok()
    }

    /// The rows of a table as this table's columns: by position, cast to their types.
    ///
    /// # Errors
    /// If their numbers differ or a type cannot be cast.
    pub(crate) fn fit(&self, frame: &DataFrame) -> Result<DataFrame> {
        let Some(schema) = &self.schema else { return Ok(frame.clone()) };
        let (given, wanted) = (frame.plan.schema().fields().len(), schema.fields().len());
        if given != wanted {
            return Err(Error::user(format!(
                "table `{}` has {wanted} columns, and {given} were given",
                self.name
            )));
        }
        let columns = frame.plan.schema().iter().zip(schema.fields()).map(|((qualifier, given), wanted)| {
            let column = Expr::Column(Column::from((qualifier, given)));
            let same = given.data_type() == wanted.data_type();
            let column = if same { column } else { cast(column, wanted.data_type().clone()) };
            column.alias(wanted.name())
        });
        let columns: Vec<Expr> = columns.collect();
        frame.select(columns)
    }
}

impl TableContext {
    /// The external table of that name.
    ///
    /// # Errors
    /// If there is none: the nearest, or all there are.
    pub(crate) fn external(&self, name: &str) -> Result<ExternalTable> {
        let catalog = self.catalog();
        if let Some(table) = catalog.get(name) {
            return Ok(table.clone());
        }
        let names: Vec<&str> = catalog.tables.keys().map(String::as_str).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if names.is_empty() => "create it with CREATE EXTERNAL TABLE".to_owned(),
            None => format!("there are: {}", names.join(", ")),
        };
        Err(Error::user(format!("there is no external table `{name}`: {hint}")))
    }

    /// Adds an external table, in place of what had that name.
    ///
    /// # Errors
    /// If an option is unknown, or the table can be neither read nor written.
    pub(crate) fn create_external(&self, table: ExternalTable) -> Result<()> {
        table.check()?;
        let (provider, unread) = match table.provider() {
            Ok(provider) => (provider, false),
            // With a watermark it is there to be read.
            Err(error) if table.watermark.is_none() && table.can_be_written() => {
                (unread(&table, &error), true)
            }
            Err(error) => return Err(error),
        };
        self.replace(&table.name, provider)?;
        let mut catalog = self.catalog();
        catalog.remove(&table.name);
        if unread {
            catalog.unread.push(table.name.clone());
        }
        catalog.tables.insert(table.name.clone(), table);
        Ok(())
    }

    fn replace(&self, name: &str, provider: Arc<dyn TableProvider>) -> Result<()> {
        let name = TableReference::bare(name);
        self.datafusion.deregister_table(name.clone())?;
        self.datafusion.register_table(name, provider)?;
        Ok(())
    }

    /// Why one of these tables cannot be read and has no columns, if that is so.
    pub(crate) fn unread_reason(&self, names: &[TableReference]) -> Option<Error> {
        let tables: Vec<ExternalTable> = {
            let catalog = self.catalog();
            let unread =
                names.iter().filter(|name| catalog.unread.iter().any(|unread| unread == name.table()));
            unread.filter_map(|name| catalog.get(name.table()).cloned()).collect()
        };
        tables.iter().filter(|table| table.schema.is_none()).find_map(|table| {
            let error = table.provider().err()?;
            Some(Error::user(format!("table `{}` cannot be read: {error}", table.name)))
        })
    }

    /// Looks again at tables that could not be read before: by now something may have been written there.
    pub(crate) fn refresh(&self) -> Result<()> {
        let tables: Vec<ExternalTable> = {
            let catalog = self.catalog();
            catalog.unread.iter().filter_map(|name| catalog.tables.get(name).cloned()).collect()
        };
        for table in tables {
            if let Ok(provider) = table.provider() {
                self.replace(&table.name, provider)?;
                self.catalog().unread.retain(|unread| *unread != table.name);
            }
        }
        Ok(())
    }
}

fn unread(table: &ExternalTable, error: &Error) -> Arc<dyn TableProvider> {
    let schema = table.schema.clone().unwrap_or_else(|| Arc::new(Schema::empty()));
    Arc::new(Unread { name: table.name.clone(), schema, reason: error.to_string() })
}

/// A table that can be written and, so far, not be read.
#[derive(Debug)]
struct Unread {
    name: String,
    schema: SchemaRef,
    reason: String,
}

#[async_trait]
impl TableProvider for Unread {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        plan_err!("table `{}` cannot be read: {}", self.name, self.reason)
    }
}
