//! Writing a bounded table: `frame.write()`.

use super::bounded::BoundedProvider;
use super::frame::DataFrame;
use super::provider::scans;
use super::reader::OptionValue;
use super::rows::BoundedRows;
use crate::error::{Error, Result};
use crate::query::Trigger;
use crate::stream::Piped;
use crate::table::{OutputMode, SaveMode};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, cast};
use lotic_connectors::table::{Options, WriteRequest};
use std::time::Duration;

/// The one epoch of a batch write ends with the input, long before this.
const ONE_EPOCH: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A save mode: [`SaveMode`] or its name, `"append"`, `"overwrite"`, `"ignore"` or `"error"`.
pub trait ToSaveMode {
    /// The mode.
    ///
    /// # Errors
    /// If there is no mode of that name.
    fn to_save_mode(self) -> Result<SaveMode>;
}

impl ToSaveMode for SaveMode {
    fn to_save_mode(self) -> Result<SaveMode> {
        Ok(self)
    }
}

impl ToSaveMode for &str {
    fn to_save_mode(self) -> Result<SaveMode> {
        match self.to_ascii_lowercase().as_str() {
            "append" => Ok(SaveMode::Append),
            "overwrite" => Ok(SaveMode::Overwrite),
            "ignore" => Ok(SaveMode::Ignore),
            "error" | "errorifexists" | "default" => Ok(SaveMode::ErrorIfExists),
            _ => Err(Error::user(format!(
                "there is no save mode `{self}`: append, overwrite, ignore or error"
            ))),
        }
    }
}

/// How a bounded table is written: format, options, what to do with what is there.
///
/// # Delivery
/// All rows or none: they are one epoch, shown when it is committed.
#[derive(Debug, Clone)]
#[must_use = "a table is not written until it is saved"]
pub struct DataFrameWriter {
    frame: DataFrame,
    format: Option<String>,
    options: Options,
    mode: Result<SaveMode>,
    partition_by: Vec<String>,
}

impl DataFrameWriter {
    pub(super) fn new(frame: DataFrame) -> Self {
        DataFrameWriter {
            frame,
            format: None,
            options: Options::default(),
            mode: Ok(SaveMode::ErrorIfExists),
            partition_by: Vec::new(),
        }
    }

    /// The format, by name in any case. An unknown one is an error when saving.
    pub fn format(mut self, name: &str) -> Self {
        self.format = Some(name.to_owned());
        self
    }

    /// Sets an option. An unknown one is an error when saving, which names the nearest known one.
    pub fn option(mut self, name: &str, value: impl Into<OptionValue>) -> Self {
        self.options.set(name, value.into().0);
        self
    }

    /// Sets several options.
    pub fn options<N: AsRef<str>, V: Into<OptionValue>>(
        mut self,
        options: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        for (name, value) in options {
            self.options.set(name.as_ref(), value.into().0);
        }
        self
    }

    /// What to do with what is already there: [`SaveMode`] or its name. The default is to refuse.
    pub fn mode(mut self, mode: impl ToSaveMode) -> Self {
        self.mode = mode.to_save_mode();
        self
    }

    /// Columns whose values become folders, for formats that are folders of files.
    pub fn partition_by<N: AsRef<str>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.partition_by = columns.into_iter().map(|name| name.as_ref().to_owned()).collect();
        self
    }

    /// Writes to a path. Waits until all is written.
    ///
    /// # Errors
    /// If the table is a stream, the format or its options are wrong, or it cannot be computed or written.
    pub fn save(self, path: impl Into<OptionValue>) -> Result<()> {
        self.option("path", path).save_default()
    }

    /// Writes to where the format and its options say. Waits until all is written.
    ///
    /// # Errors
    /// As for [`DataFrameWriter::save`].
    pub fn save_default(&self) -> Result<()> {
        if self.frame.is_streaming() {
            return Err(Error::user(
                "`write` needs a bounded table, and this is a stream: use `write_stream().start()`",
            ));
        }
        let name = self.format.as_deref().ok_or_else(|| {
            Error::user("no format was given: say `.format(\"csv\")`, or use a shortcut such as `.csv(path)`")
        })?;
        let frame = plain(&self.frame)?;
        let session = &frame.session;
        let tables = session.tables()?;
        let request = WriteRequest {
            options: self.options.clone(),
            schema: frame.schema(),
            partition_by: self.partition_by.clone(),
            output_mode: OutputMode::Append,
            save_mode: Some(self.mode.clone()?),
        };
        let format = tables.format(name)?;
        if let Some(folder) =
            format.folder(&request).filter(|_| request.save_mode == Some(SaveMode::Overwrite))
            && scans(&frame.plan, |table| {
                table.downcast_ref::<BoundedProvider>().is_some_and(|table| table.0.reads(&folder))
            })
        {
            return Err(Error::user(format!(
                "the query reads files of `{}`, which save mode Overwrite would delete: write to another folder",
                folder.display()
            )));
        }
        let sink = format.sink(&request)?;
        let batches_only = sink.traits().batches_only;
        let rows = BoundedRows { tables, plan: frame.plan.clone() };
        let query = Piped::source(session, Box::new(rows)).sink(sink);
        let trigger = if batches_only { Trigger::Once } else { Trigger::Continuous(ONE_EPOCH) };
        query.query_name(format!("write-{name}")).start(trigger)?.await_termination()
    }

    /// Writes CSV files into a folder.
    ///
    /// # Errors
    /// As for [`DataFrameWriter::save`].
    pub fn csv(self, path: impl Into<OptionValue>) -> Result<()> {
        self.format("csv").save(path)
    }

    /// Writes files of JSON objects, one a line, into a folder.
    ///
    /// # Errors
    /// As for [`DataFrameWriter::save`].
    pub fn json(self, path: impl Into<OptionValue>) -> Result<()> {
        self.format("json").save(path)
    }

    /// Writes Parquet files into a folder.
    ///
    /// # Errors
    /// As for [`DataFrameWriter::save`].
    pub fn parquet(self, path: impl Into<OptionValue>) -> Result<()> {
        self.format("parquet").save(path)
    }

    /// Writes ORC files into a folder.
    ///
    /// # Errors
    /// As for [`DataFrameWriter::save`].
    pub fn orc(self, path: impl Into<OptionValue>) -> Result<()> {
        self.format("orc").save(path)
    }

    /// Writes text files into a folder; the table has one column of text.
    ///
    /// # Errors
    /// As for [`DataFrameWriter::save`].
    pub fn text(self, path: impl Into<OptionValue>) -> Result<()> {
        self.format("text").save(path)
    }

    /// Adds the rows to an external table of the session: its format, options and columns.
    ///
    /// # Errors
    /// If there is no such table or the columns do not fit; otherwise as [`DataFrameWriter::save`].
    pub fn insert_into(self, name: &str) -> Result<()> {
        self.mode("append").into_table(name)?.save_default()
    }

    /// A writer into an external table of the session; the mode stays as it was set.
    pub(super) fn into_table(mut self, name: &str) -> Result<DataFrameWriter> {
        let table = self.frame.session.tables()?.external(name)?;
        self.frame = table.fit(&self.frame)?;
        self.format = Some(table.format.name().to_owned());
        self.options = table.write_options();
        self.partition_by = table.partition_by;
        Ok(self)
    }

    /// Writes to where the format and its options say, and gives it a name in SQL, as
    /// `CREATE EXTERNAL TABLE` does.
    ///
    /// # Errors
    /// If there is a table of that name and the mode does not replace it; otherwise as
    /// [`DataFrameWriter::save`].
    pub fn save_as_table(&self, name: &str) -> Result<()> {
        let session = self.frame.session.clone();
        let tables = session.tables()?;
        let mode = self.mode.clone()?;
        let exists = tables.external(name).is_ok();
        match mode {
            SaveMode::Append if exists => return self.clone().insert_into(name),
            SaveMode::Ignore if exists => return Ok(()),
            SaveMode::ErrorIfExists if exists => {
                return Err(Error::user(format!(
                    "there is already a table `{name}`: use mode append or overwrite, or another name"
                )));
            }
            _ => {}
        }
        self.save_default()?;
        let format = tables.format(self.format.as_deref().unwrap_or_default())?;
        tables.create_external(super::catalog::ExternalTable {
            name: name.to_owned(),
            format,
            options: self.options.clone(),
            schema: Some(plain(&self.frame)?.schema()),
            partition_by: self.partition_by.clone(),
            unbounded: false,
            watermark: None,
        })
    }
}

/// The same table with text and bytes in the one form that all sinks take.
pub(super) fn plain(frame: &DataFrame) -> Result<DataFrame> {
    let target = |kind: &DataType| match kind {
        DataType::Utf8View | DataType::LargeUtf8 => Some(DataType::Utf8),
        DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
        DataType::Dictionary(_, value) => Some(DataType::clone(value)),
        _ => None,
    };
    if frame.plan.schema().fields().iter().all(|field| target(field.data_type()).is_none()) {
        return Ok(frame.clone());
    }
    let columns = frame.plan.schema().iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match target(field.data_type()) {
            Some(kind) => cast(column, kind).alias(field.name()),
            None => column,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    frame.select(columns)
}
