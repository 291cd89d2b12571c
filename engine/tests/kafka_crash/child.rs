//! The child process: counts the records of a topic by key into another topic, until somebody kills it or
//! all that was fed is counted.

use crate::support::announced::Announced;
use crate::support::mode::Mode;
use crate::support::process::Told;
use crate::support::random::Random;
use lotic::connectors::kafka::{
    KafkaMessage, KafkaOffsets, KafkaParameters, KafkaSink, KafkaSource, KafkaTopics,
};
use lotic::{Session, StreamingQuery};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// How the child runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
    pub(crate) brokers: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) parallelism: usize,
    pub(crate) mode: Mode,
    pub(crate) seed: u64,
}

impl Settings {
    /// The file by which the parent says that all is fed.
    pub(crate) fn all_is_fed(&self) -> PathBuf {
        self.folder.join("all-is-fed")
    }
}

impl Told for Settings {
    const CHILD: &'static str = "LOTIC_KAFKA_CRASH_CHILD";

    fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Whether a committed epoch lies behind all that was fed.
fn is_over(settings: &Settings, query: &StreamingQuery) -> bool {
    // If the query has failed, its end says so.
    settings.all_is_fed().exists() && { query.process_all_available().is_ok() || !query.is_active() }
}

/// Runs until all is counted.
pub(crate) fn run(settings: &Settings) {
    let mut random = Random::new(settings.seed);
    let parallelism = settings.parallelism;
    let session = Session::builder()
        .app_name("kafka-crash")
        .workers(2)
        .parallelism(parallelism)
        .get_or_create()
        .unwrap();
    let parameters = KafkaParameters::new(&settings.brokers);
    let source = KafkaSource::new(parameters.clone(), KafkaTopics::subscribe([&settings.input]))
        .starting_offsets(KafkaOffsets::Earliest)
        .connect_wait_max(Duration::from_secs(30));
    let sink = KafkaSink::new(parameters)
        .to_topic(&settings.output)
        .exactly_once()
        .connect_wait_max(Duration::from_secs(30));
    let (commits, committed) = mpsc::channel();
    let query = session
        .source(source)
        .map(|record| record.key_str().ok().flatten().unwrap_or("no key").to_owned())
        .key_by(|key| key.clone())
        .count()
        .map(|(key, count)| KafkaMessage::new(count.to_string()).with_key(key))
        .sink(Announced { sink: Box::new(sink), commits })
        .checkpoint_location(settings.folder.join("checkpoint"))
        .max_rows_per_batch(500)
        .start(settings.mode.trigger(&mut random))
        .unwrap_or_else(|error| panic!("start: {error}"));
    settings.mode.drive(&query, &committed, &mut random, || is_over(settings, &query));
    if query.is_active() {
        query.stop().unwrap_or_else(|error| panic!("stop: {error}"));
    }
    query.await_termination().unwrap_or_else(|error| panic!("end: {error}"));
}
