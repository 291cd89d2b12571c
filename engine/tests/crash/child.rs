//! The child process: runs the query until its input has ended or somebody kills it.

use crate::kind::Kind;
use crate::support::announced::Announced;
use crate::support::mode::Mode;
use crate::support::process::Told;
use crate::support::random::Random;
use lotic::Session;
use lotic::connectors::{FileSink, RateSource};
use lotic::operators::lookup::{LookupOptions, LookupOrder};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// Keys that are counted.
pub(crate) const KEYS: u64 = 1_000;

/// How the child runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) rows: u64,
    /// 0: as fast as they are taken.
    pub(crate) rows_per_second: u64,
    pub(crate) parallelism: usize,
    pub(crate) mode: Mode,
    pub(crate) seed: u64,
}

impl Settings {
    /// Where the query writes.
    pub(crate) fn output(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// Where the query keeps its checkpoints.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }
}

impl Told for Settings {
    const CHILD: &'static str = "LOTIC_CRASH_CHILD";

    fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A service that takes its time, not always the same.
async fn half_of(key: u64) -> Result<Option<u64>, std::convert::Infallible> {
    tokio::time::sleep(std::time::Duration::from_millis(key % 4)).await;
    Ok(Some(key / 2))
}

/// Runs to the end of the input.
pub(crate) fn run(settings: &Settings) {
    let mut random = Random::new(settings.seed);
    let session = Session::builder()
        .app_name("crash")
        .workers(2)
        .parallelism(settings.parallelism)
        .get_or_create()
        .unwrap();
    let (commits, committed) = mpsc::channel();
    let numbers = session
        .source(RateSource::new(settings.rows_per_second).partitions(4).limit(settings.rows))
        .map(|row| row.value);
    let query = match settings.kind {
        Kind::Counts => {
            let counts = numbers.map(|number| number % KEYS).key_by(|key| *key).count();
            counts.sink(Announced { sink: Box::new(FileSink::json_lines(settings.output())), commits })
        }
        Kind::Lookups => {
            let options = LookupOptions::default().capacity(1_000).order(LookupOrder::Unordered);
            let keys = numbers.key_by(|number| *number % KEYS).lookup_join(options, half_of);
            let counts = keys.map(|(number, half)| half * 2 + number % 2).key_by(|key| *key).count();
            counts.sink(Announced { sink: Box::new(FileSink::json_lines(settings.output())), commits })
        }
        kind => {
            let windows = kind.windows(numbers);
            windows.sink(Announced { sink: Box::new(FileSink::json_lines(settings.output())), commits })
        }
    };
    let query = query
        .checkpoint_location(settings.checkpoint())
        .start(settings.mode.trigger(&mut random))
        .unwrap_or_else(|error| panic!("start: {error}"));
    settings.mode.drive(&query, &committed, &mut random, || false);
    query.await_termination().unwrap_or_else(|error| panic!("end: {error}"));
}
