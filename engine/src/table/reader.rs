//! Reading: `session.read()` and `session.read_stream()`.

use super::bounded::BoundedProvider;
use super::ddl::parse_ddl;
use super::event_time::WatermarkOptions;
use super::frame::DataFrame;
use super::provider::StreamProvider;
use crate::error::{Error, Result};
use crate::session::Session;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use lotic_connectors::table::{Options, ReadRequest, TableFormat};
use std::sync::Arc;

/// The value of an option: text, a number or a truth value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionValue(pub(super) String);

macro_rules! option_values {
    ($($kind:ty),*) => {$(
        impl From<$kind> for OptionValue {
            fn from(value: $kind) -> Self {
                OptionValue(value.to_string())
            }
        }
    )*};
}

option_values!(&str, &String, char, bool, i8, i16, i32, i64, u8, u16, u32, u64, usize, isize, f32, f64);

impl From<String> for OptionValue {
    fn from(value: String) -> Self {
        OptionValue(value)
    }
}

impl From<&std::path::Path> for OptionValue {
    fn from(value: &std::path::Path) -> Self {
        OptionValue(value.display().to_string())
    }
}

impl From<&std::path::PathBuf> for OptionValue {
    fn from(value: &std::path::PathBuf) -> Self {
        value.as_path().into()
    }
}

impl From<std::path::PathBuf> for OptionValue {
    fn from(value: std::path::PathBuf) -> Self {
        value.as_path().into()
    }
}

/// A schema: text as `"nome STRING, idade INT"`, or an Arrow schema.
#[derive(Debug, Clone)]
pub enum SchemaSource {
    /// Text, read by [`super::parse_ddl`] when the table is loaded.
    Ddl(String),
    /// Columns.
    Arrow(SchemaRef),
}

impl SchemaSource {
    pub(super) fn resolve(&self) -> Result<SchemaRef> {
        match self {
            SchemaSource::Ddl(text) => parse_ddl(text),
            SchemaSource::Arrow(schema) => Ok(Arc::clone(schema)),
        }
    }
}

impl From<&str> for SchemaSource {
    fn from(text: &str) -> Self {
        SchemaSource::Ddl(text.to_owned())
    }
}

impl From<String> for SchemaSource {
    fn from(text: String) -> Self {
        SchemaSource::Ddl(text)
    }
}

impl From<SchemaRef> for SchemaSource {
    fn from(schema: SchemaRef) -> Self {
        SchemaSource::Arrow(schema)
    }
}

impl From<Schema> for SchemaSource {
    fn from(schema: Schema) -> Self {
        SchemaSource::Arrow(Arc::new(schema))
    }
}

/// What to read: format, options, schema. From [`Session::read`] for a bounded table, from
/// [`Session::read_stream`] for a stream.
#[derive(Debug, Clone)]
#[must_use = "a reader does nothing until it loads"]
pub struct DataFrameReader {
    session: Session,
    streaming: bool,
    format: Option<String>,
    options: Options,
    schema: Option<SchemaSource>,
}

impl DataFrameReader {
    pub(super) fn new(session: Session, streaming: bool) -> Self {
        DataFrameReader { session, streaming, format: None, options: Options::default(), schema: None }
    }

    /// The format, by name in any case: `csv`, `socket`, ... An unknown one is an error when loading.
    pub fn format(mut self, name: &str) -> Self {
        self.format = Some(name.to_owned());
        self
    }

    /// Sets an option. `watermark.column` and `watermark.delay` give a stream its watermark, as
    /// [`DataFrame::with_watermark`]; the others are the format's. Names are Spark's, in any case; an unknown one is an error when loading, which names the
    /// nearest known one.
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

    /// The columns, as text such as `"nome STRING, idade INT"` or as an Arrow schema. Wrong text is an error
    /// when loading.
    pub fn schema(mut self, schema: impl Into<SchemaSource>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// The table. Nothing is read but what is needed to know its columns.
    ///
    /// # Errors
    /// If there is no such format or option, the schema is wrong or missing, or the outside cannot be asked.
    pub fn load(&self) -> Result<DataFrame> {
        let tables = self.session.tables()?;
        let name = self.format.as_deref().ok_or_else(|| {
            Error::user("no format was given: say `.format(\"csv\")`, or use a shortcut such as `.csv(path)`")
        })?;
        let format = tables.format(name)?;
        let schema = self.schema.as_ref().map(SchemaSource::resolve).transpose()?;
        let mut options = self.options.clone();
        let watermark = WatermarkOptions::take(&mut options)?;
        let request = ReadRequest { options, schema };
        let provider = open(format.as_ref(), format.name(), &request, self.streaming)?;
        let frame = frame_of(&self.session, format.name(), provider)?;
        match watermark {
            Some(watermark) => Ok(DataFrame::new(self.session.clone(), watermark.plan(frame.plan)?)),
            None => Ok(frame),
        }
    }

    /// The table at a path.
    ///
    /// # Errors
    /// As for [`DataFrameReader::load`].
    pub fn load_path(self, path: impl Into<OptionValue>) -> Result<DataFrame> {
        self.option("path", path).load()
    }

    /// CSV files of a folder.
    ///
    /// # Errors
    /// As for [`DataFrameReader::load`].
    pub fn csv(self, path: impl Into<OptionValue>) -> Result<DataFrame> {
        self.format("csv").load_path(path)
    }

    /// Files of JSON objects, one a line.
    ///
    /// # Errors
    /// As for [`DataFrameReader::load`].
    pub fn json(self, path: impl Into<OptionValue>) -> Result<DataFrame> {
        self.format("json").load_path(path)
    }

    /// Parquet files.
    ///
    /// # Errors
    /// As for [`DataFrameReader::load`].
    pub fn parquet(self, path: impl Into<OptionValue>) -> Result<DataFrame> {
        self.format("parquet").load_path(path)
    }

    /// ORC files.
    ///
    /// # Errors
    /// As for [`DataFrameReader::load`].
    pub fn orc(self, path: impl Into<OptionValue>) -> Result<DataFrame> {
        self.format("orc").load_path(path)
    }

    /// Text files: each line is a row of one column, `value`.
    ///
    /// # Errors
    /// As for [`DataFrameReader::load`].
    pub fn text(self, path: impl Into<OptionValue>) -> Result<DataFrame> {
        self.format("text").load_path(path)
    }

    /// A table or view of the session by name.
    ///
    /// # Errors
    /// If there is none, or it is a stream and was asked for as a bounded table, or the other way round.
    pub fn table(&self, name: &str) -> Result<DataFrame> {
        let frame = self.session.table(name)?;
        match (self.streaming, frame.is_streaming()) {
            (true, false) => Err(Error::user(format!(
                "table `{name}` is bounded: use `read().table(..)`, or create it as UNBOUNDED"
            ))),
            (false, true) => {
                Err(Error::user(format!("table `{name}` is a stream: use `read_stream().table(..)`")))
            }
            _ => Ok(frame),
        }
    }
}

/// A format's table as DataFusion sees it.
pub(super) fn open(
    format: &dyn TableFormat,
    name: &str,
    request: &ReadRequest,
    streaming: bool,
) -> Result<Arc<dyn TableProvider>> {
    Ok(if streaming {
        Arc::new(StreamProvider::new(name, format.stream(request)?))
    } else {
        Arc::new(BoundedProvider(format.bounded(request)?))
    })
}

/// A table that has no name in SQL. Its columns are found by their bare names.
pub(super) fn frame_of(session: &Session, name: &str, provider: Arc<dyn TableProvider>) -> Result<DataFrame> {
    let plan = LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?.build()?;
    Ok(DataFrame::new(session.clone(), plan))
}
