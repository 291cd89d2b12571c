//! The child process: runs the query until it is told to stop or somebody kills it.

use crate::data;
use crate::support::announced::{Announced, announce};
use crate::support::mode::Mode;
use crate::support::process::Told;
use crate::support::random::Random;
use crate::windows::{self, Kind};
use lotic::connectors::SinkFactory;
use lotic::connectors::table::{
    BoundedTable, OptionSpec, ReadRequest, StreamTable, TableFormat, WriteRequest,
};
use lotic::operators::Epoch;
use lotic::operators::table::TableBatch;
use lotic::{DataFrame, Session, StreamingQuery, Trigger};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

/// Where the rows go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Output {
    Files {
        format: String,
        partitioned: bool,
    },
    /// Lines of CSV by event time. The input is read by one instance, in order, or by several.
    Windows {
        kind: Kind,
        ordered: bool,
    },
    /// A file for each number of a batch, written by `foreach_batch`.
    Batches {
        /// A running count in update mode, else the rows.
        counted: bool,
    },
}

/// How the child runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
    pub(crate) input: String,
    pub(crate) read_options: Vec<(String, String)>,
    pub(crate) output: Output,
    pub(crate) write_options: Vec<(String, String)>,
    pub(crate) parallelism: usize,
    pub(crate) mode: Mode,
    /// Micro-batches over what is there, whatever the mode.
    pub(crate) available_now: bool,
    pub(crate) seed: u64,
}

impl Told for Settings {
    const CHILD: &'static str = "LOTIC_TABLE_CRASH_CHILD";

    fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Settings {
    /// Where files appear.
    pub(crate) fn input_folder(&self) -> PathBuf {
        self.folder.join("input")
    }

    /// Where the query writes.
    pub(crate) fn output_folder(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// When this file is there the query is to process what is there and stop.
    pub(crate) fn stop(&self) -> PathBuf {
        self.folder.join("stop")
    }

    /// A byte for each batch that came again.
    pub(crate) fn again(&self) -> PathBuf {
        self.folder.join("again")
    }
}

/// A format whose sinks say what they have committed.
#[derive(Debug)]
struct AnnouncedFormat {
    format: Arc<dyn TableFormat>,
    commits: Sender<Epoch>,
}

type Connected<T> = lotic::connectors::Result<T>;

impl TableFormat for AnnouncedFormat {
    fn name(&self) -> &'static str {
        self.format.name()
    }

    fn summary(&self) -> &'static str {
        self.format.summary()
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        self.format.read_options()
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        self.format.write_options()
    }

    fn stream(&self, request: &ReadRequest) -> Connected<Arc<dyn StreamTable>> {
        self.format.stream(request)
    }

    fn bounded(&self, request: &ReadRequest) -> Connected<Arc<dyn BoundedTable>> {
        self.format.bounded(request)
    }

    fn sink(&self, request: &WriteRequest) -> Connected<Box<dyn SinkFactory<TableBatch>>> {
        Ok(Box::new(Announced { sink: self.format.sink(request)?, commits: self.commits.clone() }))
    }
}

/// Writes a batch under its number, or makes sure that it is the same as the first time.
fn write_batch(settings: &Settings, batch: &DataFrame, number: u64) -> Result<(), String> {
    let rows = match settings.output {
        Output::Batches { counted: true } => data::sorted(batch),
        _ => data::lines_of(batch, "csv", false),
    };
    let rows = rows.map_err(|error| error.to_string())?.join("\n");
    let folder = settings.output_folder();
    let path = folder.join(format!("batch-{number:06}"));
    match fs::read_to_string(&path) {
        Ok(first) if first == rows => {
            let again = OpenOptions::new().create(true).append(true).open(settings.again());
            again.and_then(|mut file| file.write_all(b".")).map_err(|error| error.to_string())
        }
        Ok(first) => {
            let (first, rows) = (first.lines().count(), rows.lines().count());
            Err(format!(
                "DIFFERENT: batch {number} had {first} rows the first time and now has {rows}, or others"
            ))
        }
        Err(_) => {
            let hidden = folder.join(format!(".batch-{number:06}"));
            let written = fs::write(&hidden, rows).and_then(|()| fs::rename(&hidden, &path));
            written.map_err(|error| error.to_string())
        }
    }
}

fn start(session: &Session, settings: &Settings, trigger: Trigger, commits: Sender<Epoch>) -> StreamingQuery {
    let schema = data::input_schema(&settings.input);
    let reader = session.read_stream().format(&settings.input).schema(schema);
    let input = reader.options(settings.read_options.clone()).load_path(settings.input_folder()).unwrap();
    let result = data::query(&input, &settings.input).unwrap();
    let writer = match &settings.output {
        Output::Files { format, partitioned } => {
            let rows = data::shaped(&result, format, *partitioned).unwrap();
            let shards: &[&str] = if *partitioned { &["shard"] } else { &[] };
            let writer = rows.write_stream().format(format).options(settings.write_options.clone());
            writer.option("path", settings.output_folder()).partition_by(shards)
        }
        Output::Windows { kind, ordered } => {
            let lines = windows::query(&result, *kind, *ordered).unwrap();
            let writer = lines.write_stream().format("csv").options(settings.write_options.clone());
            writer.option("path", settings.output_folder())
        }
        Output::Batches { counted } => {
            fs::create_dir_all(settings.output_folder()).unwrap();
            let (rows, mode) = match counted {
                true => (data::counted(&result).unwrap(), "update"),
                false => (data::shaped(&result, "csv", false).unwrap(), "append"),
            };
            let settings = settings.clone();
            rows.write_stream().output_mode(mode).foreach_batch(move |batch: DataFrame, number: u64| {
                let written = write_batch(&settings, &batch, number);
                announce(Epoch(number), &commits);
                written
            })
        }
    };
    let writer = writer.option("checkpointLocation", settings.folder.join("checkpoint"));
    writer.trigger(trigger).start().unwrap_or_else(|error| panic!("start: {error}"))
}

/// Runs until all is processed that is there when it is told to stop, or that was there at the start.
pub(crate) fn run(settings: &Settings) {
    let mut random = Random::new(settings.seed);
    let session = Session::builder()
        .app_name("table-crash")
        .workers(2)
        .parallelism(settings.parallelism)
        .get_or_create()
        .unwrap();
    let (commits, committed) = mpsc::channel();
    for format in session.formats().unwrap() {
        if data::FORMATS.contains(&format.name()) {
            let announced = AnnouncedFormat { format, commits: commits.clone() };
            session.register_format(Arc::new(announced)).unwrap();
        }
    }
    let trigger = match settings.available_now {
        true => Trigger::AvailableNow,
        false => settings.mode.trigger(&mut random),
    };
    let query = start(&session, settings, trigger, commits);
    let stop = settings.stop();
    let over = || !settings.available_now && stop.exists();
    settings.mode.drive(&query, &committed, &mut random, over);
    if over() && query.is_active() {
        query.process_all_available().unwrap_or_else(|error| panic!("end: {error}"));
        query.stop().unwrap_or_else(|error| panic!("stop: {error}"));
    }
    query.await_termination().unwrap_or_else(|error| panic!("end: {error}"));
}
