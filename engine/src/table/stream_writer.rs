//! Writing a stream: `frame.write_stream()`.

use super::event_time::plain_schema;
use super::frame::DataFrame;
use super::provider::reads;
use super::reader::OptionValue;
use super::writer::plain;
use crate::error::{Error, Result};
use crate::query::{StreamingQuery, Trigger};
use crate::stream::{Piped, Query};
use crate::table::OutputMode;
use datafusion::arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use lotic_connectors::callback::{ForEach, Outcome};
use lotic_connectors::table::foreach::ForEachBatchTable;
use lotic_connectors::table::{Options, WriteRequest};
use lotic_connectors::{ConnectorError, SinkFactory};
use lotic_operators::table::TableBatch;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// When epochs end unless a trigger says so: rows flow at once, and results of exactly-once sinks become
/// visible this often.
const EPOCH: Duration = Duration::from_secs(1);

/// An output mode: [`OutputMode`] or its name, `"append"`, `"update"` or `"complete"`.
pub trait ToOutputMode {
    /// The mode.
    ///
    /// # Errors
    /// If there is no mode of that name.
    fn to_output_mode(self) -> Result<OutputMode>;
}

impl ToOutputMode for OutputMode {
    fn to_output_mode(self) -> Result<OutputMode> {
        Ok(self)
    }
}

impl ToOutputMode for &str {
    fn to_output_mode(self) -> Result<OutputMode> {
        match self.to_ascii_lowercase().as_str() {
            "append" => Ok(OutputMode::Append),
            "update" => Ok(OutputMode::Update),
            "complete" => Ok(OutputMode::Complete),
            _ => Err(Error::user(format!("there is no output mode `{self}`: append, update or complete"))),
        }
    }
}

type EndIn = Arc<dyn Fn(&DataFrame, OutputMode) -> Result<Query> + Send + Sync>;

/// Where the rows go.
#[derive(Clone)]
enum Target {
    Nowhere,
    Format(String),
    /// A function for each row.
    Rows(EndIn),
    /// A function for each batch.
    Batches(EndIn),
}

/// How a stream is written: format, options, output mode, trigger.
///
/// The trigger is `Trigger::continuous("1 second")` unless another is given: rows flow as they come. With
/// [`DataStreamWriter::foreach_batch`] it is `Trigger::processing_time` as fast as possible.
#[derive(Clone)]
#[must_use = "a stream is not written until it is started"]
pub struct DataStreamWriter {
    frame: DataFrame,
    target: Target,
    options: Options,
    partition_by: Vec<String>,
    mode: Result<OutputMode>,
    trigger: Option<Trigger>,
    name: Option<String>,
    change: Vec<Arc<dyn Fn(Query) -> Query + Send + Sync>>,
}

impl std::fmt::Debug for DataStreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataStreamWriter({:?}, {:?}, {:?})", self.name, self.mode, self.options)
    }
}

impl DataStreamWriter {
    pub(super) fn new(frame: DataFrame) -> Self {
        DataStreamWriter {
            frame,
            target: Target::Nowhere,
            options: Options::default(),
            partition_by: Vec::new(),
            mode: Ok(OutputMode::Append),
            trigger: None,
            name: None,
            change: Vec::new(),
        }
    }

    /// The format, by name in any case. An unknown one is an error at the start.
    pub fn format(mut self, name: &str) -> Self {
        self.target = Target::Format(name.to_owned());
        self
    }

    /// Sets an option of the format, `path`, or `checkpointLocation` (a folder from which a later start goes
    /// on). An unknown one is an error at the start, which names the nearest known one.
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

    /// Which rows each epoch writes: [`OutputMode`] or its name. The default is append.
    pub fn output_mode(mut self, mode: impl ToOutputMode) -> Self {
        self.mode = mode.to_output_mode();
        self
    }

    /// When epochs begin, and with it the mode.
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = Some(trigger);
        self
    }

    /// Names the query.
    pub fn query_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Columns whose values become folders, for sinks that are folders of files.
    pub fn partition_by<N: AsRef<str>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.partition_by = columns.into_iter().map(|name| name.as_ref().to_owned()).collect();
        self
    }

    /// Changes settings of the query that have no name here, such as its restart policy.
    pub fn configure(mut self, change: impl Fn(Query) -> Query + Send + Sync + 'static) -> Self {
        self.change.push(Arc::new(change));
        self
    }

    /// Calls a function with each row, as a value of your own type, by column name. It runs on a data thread
    /// and must not block; it returns nothing or a `Result`, whose error ends the query.
    ///
    /// # Delivery
    /// At least once: rows since the last checkpoint come again after a restart.
    pub fn foreach<T, F, R>(mut self, function: F) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        F: FnMut(T) -> R + Clone + Send + Sync + 'static,
        R: Outcome,
    {
        self.target = Target::Rows(Arc::new(move |frame, mode| {
            let rows: Piped<lotic_operators::Rows<T>> = frame.rows_of(mode)?;
            Ok(rows.sink(Box::new(ForEach::new(function.clone()).named("foreach"))))
        }));
        self
    }

    /// Calls a function with the rows of each micro-batch, as a bounded table, and the number of the batch. It
    /// runs off the data path, before the batch is acknowledged; it returns nothing or a `Result`, whose error
    /// ends the query. In output mode update a group that a batch has changed comes once. Needs a micro-batch
    /// trigger.
    ///
    /// # Delivery
    /// At least once. After a crash a batch comes again with the same number and, from replayable sources, the
    /// same rows, so that a function that remembers the last number has the effect of exactly-once.
    pub fn foreach_batch<F, R>(mut self, function: F) -> Self
    where
        F: Fn(DataFrame, u64) -> R + Send + Sync + 'static,
        R: Outcome,
    {
        let function = Arc::new(function);
        self.target = Target::Batches(Arc::new(move |frame, mode| {
            let (function, session) = (Arc::clone(&function), frame.session.clone());
            let schema = plain_schema(&frame.schema());
            let tables = session.tables()?;
            // The query must not hold the session, since the session's threads hold the query.
            let session = session.downgrade();
            let sink =
                ForEachBatchTable::new(move |rows: Vec<RecordBatch>, epoch: lotic_operators::Epoch| {
                    let session = session.upgrade().ok_or_else(|| "the session was dropped".to_owned())?;
                    let table = MemTable::try_new(Arc::clone(&schema), vec![rows]);
                    let table = table.map_err(|error| Error::from(error).to_string())?;
                    let batch = super::reader::frame_of(&session, "batch", Arc::new(table));
                    function(batch.map_err(|error| error.to_string())?, epoch.0).into_result()
                });
            let piped = tables.plan(&frame.session, &frame.plan, mode)?;
            Ok(piped.sink(Box::new(sink.named("foreach_batch"))))
        }));
        self
    }

    /// The plan that a start would run, with the sink and its promise. Nothing is left behind.
    ///
    /// # Errors
    /// As for [`DataStreamWriter::start`].
    pub fn explain(&self) -> Result<String> {
        let query = self.query()?;
        let shown = query.explain();
        query.discard();
        Ok(format!(
            "== Logical plan ==\n{}\n\n== Streaming plan ==\n{}",
            self.frame.plan.display_indent(),
            shown?
        ))
    }

    /// The query, with its settings, not started: for settings that have no name here.
    ///
    /// # Errors
    /// As for [`DataStreamWriter::start`].
    pub fn query(&self) -> Result<Query> {
        if !self.frame.is_streaming() {
            return Err(Error::user(
                "`write_stream` needs a stream, and this table is bounded: use `write()`, or read with \
                 `read_stream()`",
            ));
        }
        let mode = self.mode.clone()?;
        let frame = plain(&self.frame)?;
        let mut options = self.options.clone();
        let checkpoint = options.remove("checkpointLocation");
        let query = match &self.target {
            Target::Nowhere => {
                return Err(Error::user(
                    "no sink was given: say `.format(\"console\")`, `.foreach(..)` or `.foreach_batch(..)`",
                ));
            }
            Target::Rows(end) | Target::Batches(end) => {
                options.check("foreach", &[]).map_err(Error::from)?;
                end(&frame, mode)?
            }
            Target::Format(name) => {
                let sink = self.sink(name, options, &frame, mode)?;
                frame.session.tables()?.plan(&frame.session, &frame.plan, mode)?.sink(sink)
            }
        };
        let query = match checkpoint {
            Some(folder) => query.checkpoint_location(PathBuf::from(folder)),
            None => query,
        };
        let query = match &self.name {
            Some(name) => query.query_name(name.clone()),
            None => query,
        };
        Ok(self.change.iter().fold(query, |query, change| change(query)))
    }

    fn sink(
        &self,
        name: &str,
        options: Options,
        frame: &DataFrame,
        output_mode: OutputMode,
    ) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        let request = WriteRequest {
            options,
            schema: plain_schema(&frame.schema()),
            partition_by: self.partition_by.clone(),
            output_mode,
            save_mode: None,
        };
        let format = frame.session.tables()?.format(name)?;
        if let Some(folder) = format.folder(&request)
            && reads(&frame.plan, |stream| stream.table.reads(&folder))
        {
            return Err(Error::user(format!(
                "the query would read what it writes, without end: it reads the files of `{}`; write to another \
                 folder",
                folder.display()
            )));
        }
        format.sink(&request).map_err(|error: ConnectorError| Error::from(error))
    }

    /// Starts the query and returns its handle. Goes on from the checkpoint location if that holds something.
    ///
    /// # Errors
    /// If the table is bounded, the sink or its options are wrong, a stream cannot do what the plan asks in this
    /// output mode, the checkpoint belongs to another query, or the outside cannot be reached.
    pub fn start(&self) -> Result<StreamingQuery> {
        let default = match self.target {
            Target::Batches(_) => Trigger::ProcessingTime(Duration::ZERO),
            _ => Trigger::Continuous(EPOCH),
        };
        self.query()?.start(self.trigger.unwrap_or(default))
    }

    /// The same as [`DataStreamWriter::start`], with the option `path`.
    ///
    /// # Errors
    /// As there.
    pub fn start_path(self, path: impl Into<OptionValue>) -> Result<StreamingQuery> {
        self.option("path", path).start()
    }

    /// Starts the query into an external table of the session: its format, options and columns.
    ///
    /// # Errors
    /// If there is no such table or the columns do not fit; otherwise as [`DataStreamWriter::start`].
    pub fn to_table(self, name: &str) -> Result<StreamingQuery> {
        self.into_table(name)?.start()
    }

    /// A writer into an external table of the session, not started.
    ///
    /// # Errors
    /// If there is no such table or the columns do not fit.
    pub fn into_table(mut self, name: &str) -> Result<DataStreamWriter> {
        let table = self.frame.session.tables()?.external(name)?;
        self.frame = table.fit(&self.frame)?;
        self.target = Target::Format(table.format.name().to_owned());
        let mut options = table.stream_options();
        for (name, value) in self.options.iter() {
            options.set(name, value);
        }
        self.options = options;
        if self.partition_by.is_empty() {
            self.partition_by.clone_from(&table.partition_by);
        }
        Ok(self)
    }
}
