//! What is wrong with the input, the options or the text of a table query, through the public API: each error
//! is read as a stranger would read it. It says what is wrong, where, and what to do; what was written before
//! stays, and a corrected restart goes on without loss or duplicates.
#![cfg(all(feature = "sql", feature = "parquet", feature = "orc"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod checkpoints;
mod files;
mod malformed;
mod options;
mod running;
mod schemas;
mod statements;

use lotic::table::DataFrameReader;
use lotic::{DataFrame, Error, ErrorKind, RestartPolicy, Session, StreamingQuery, Trigger};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
const CONTINUOUS: Trigger = Trigger::Continuous(Duration::from_millis(2));
const MICRO_BATCH: Trigger = Trigger::ProcessingTime(Duration::ZERO);
const SCHEMA: &str = "nome STRING, idade INT";

/// A session, and a folder with an input `in`, an output `out` and a checkpoint `checkpoint`.
struct Place {
    session: Session,
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place {
            session: Session::builder().app_name("table-bad-input").get_or_create().unwrap(),
            folder: TempDir::new().unwrap(),
        };
        fs::create_dir(place.path("in")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the input, that appears whole.
    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let hidden = self.path("in").join(format!(".{name}"));
        fs::write(&hidden, bytes).unwrap();
        fs::rename(hidden, self.path("in").join(name)).unwrap();
    }

    fn reader(&self, format: &str) -> DataFrameReader {
        self.session.read_stream().format(format).schema(SCHEMA)
    }

    /// The input as a stream.
    fn stream(&self, format: &str) -> DataFrame {
        self.reader(format).load_path(self.path("in")).unwrap()
    }

    /// Starts a stream into the output, that fails at its first error.
    fn start(&self, frame: &DataFrame, trigger: Trigger) -> Result<StreamingQuery, Error> {
        let writer = frame.write_stream().format("csv").trigger(trigger);
        let writer = writer.configure(|query| query.restart(RestartPolicy::NEVER));
        writer.option("checkpointLocation", self.path("checkpoint")).start_path(self.path("out"))
    }

    /// Runs a stream over all that is there.
    fn run(&self, frame: &DataFrame) -> Result<(), Error> {
        ended(&self.start(frame, Trigger::AvailableNow)?)
    }

    /// The lines of the output, sorted.
    fn output(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.path("out")).unwrap().map(Result::unwrap) {
            if !entry.file_name().to_string_lossy().starts_with(['.', '_']) {
                lines.extend(fs::read_to_string(entry.path()).unwrap().lines().map(str::to_owned));
            }
        }
        lines.sort();
        lines
    }

    /// The bytes of a file of `ana,30` and `bia,17` in a format.
    fn whole(&self, format: &str) -> Vec<u8> {
        let out = self.path(&format!("whole-{format}"));
        let rows = self.session.sql("SELECT * FROM (VALUES ('ana', 30), ('bia', 17)) AS t (nome, idade)");
        let rows = rows.unwrap().select_expr(&["nome", "CAST(idade AS INT) AS idade"]).unwrap();
        rows.write().format(format).save(&out).unwrap();
        let mut files = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
        fs::read(files.find(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')).unwrap())
            .unwrap()
    }
}

/// Waits for the end; a query that hangs fails the test.
fn ended(query: &StreamingQuery) -> Result<(), Error> {
    query.await_termination_timeout(LIMIT).map(|over| assert!(over, "the query hangs"))
}

/// The error must say all of this.
fn says(error: &Error, kind: ErrorKind, parts: &[&str]) {
    let said = error.to_string();
    assert_eq!(error.kind(), kind, "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(!said.contains("Backtrace") && !said.contains("DataFusion"), "noise: {said}");
    // For whoever reads the tests as a stranger would read the errors.
    println!("{said}\n");
}

fn shown(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}
