//! Sinks that cannot commit.

use crate::{CONTINUOUS, MICRO_BATCH, ended, says, session};
use lotic::connectors::memory::{MemorySink, MemorySource};
use lotic::connectors::{Committer, ConnectorError, FileSink, Result, Sink, SinkFactory, SinkTraits};
use lotic::operators::{Epoch, Instance, Rows};
use lotic::{ErrorKind, Query, RestartPolicy, Trigger};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const ROWS: u64 = 3_000;

/// A memory sink whose commits go wrong.
#[derive(Clone)]
struct Flaky {
    sink: MemorySink<u64>,
    /// How many commits go well before the trouble.
    good: u64,
    /// How many then fail.
    bad: u64,
    panics: bool,
    commits: Arc<AtomicU64>,
}

impl Flaky {
    fn new(good: u64, bad: u64) -> Flaky {
        let sink = MemorySink::new().named("ledger");
        Flaky { sink, good, bad, panics: false, commits: Arc::default() }
    }
}

impl SinkFactory<Rows<u64>> for Flaky {
    fn traits(&self) -> SinkTraits {
        self.sink.traits()
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<Rows<u64>>>> {
        self.sink.create(instance)
    }

    fn committer(&self, _writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(Some(Box::new(self.clone())))
    }
}

impl Committer for Flaky {
    fn last_committed(&mut self) -> Result<Epoch> {
        Ok(self.sink.last_committed())
    }

    fn commit(&mut self, epoch: Epoch, handles: &[&[u8]]) -> Result<()> {
        let number = self.commits.fetch_add(1, Ordering::SeqCst);
        if (self.good..self.good + self.bad).contains(&number) {
            assert!(!self.panics, "the ledger fell off the table");
            return Err(ConnectorError::external("sink `ledger` at ledger.example:7", "the peer says 503"));
        }
        self.sink.commit(epoch, handles)
    }

    fn abort_prepared(&mut self) -> Result<()> {
        self.sink.abort_prepared()
    }
}

fn query(sink: &Flaky, folder: &tempfile::TempDir) -> Query {
    let numbers = session().source(MemorySource::new(0..ROWS)).sink(sink.clone());
    numbers.max_rows_per_batch(200).checkpoint_location(folder.path())
}

fn exact(sink: &Flaky) {
    assert_eq!(sink.sink.committed(), (0..ROWS).collect::<Vec<_>>());
}

#[test]
fn a_commit_that_fails_twice_is_tried_a_third_time() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let (folder, sink) = (tempfile::tempdir().unwrap(), Flaky::new(0, 2));
        ended(&query(&sink, &folder).start(trigger).unwrap()).unwrap();
        exact(&sink);
    }
}

#[test]
fn a_sink_that_cannot_commit_ends_the_query_and_the_epoch_is_committed_once_after_a_restart() {
    // In continuous mode all rows may be in the first epoch, so that a second never comes.
    for (trigger, good) in [(CONTINUOUS, 0), (MICRO_BATCH, 0), (MICRO_BATCH, 1), (Trigger::AvailableNow, 2)] {
        let (folder, sink) = (tempfile::tempdir().unwrap(), Flaky::new(good, 3));
        let error = ended(&query(&sink, &folder).start(trigger).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::External);
        assert_eq!((error.operator(), error.epoch()), (Some("sink-ledger"), Some(Epoch(good + 1))));
        says(&error, &["`ledger`", "ledger.example:7", "503", &format!("(in epoch {})", good + 1)]);
        assert_eq!(sink.sink.committed().len() as u64, 200 * good);
        ended(&query(&sink, &folder).start(trigger).unwrap()).unwrap();
        exact(&sink);
    }
}

#[test]
fn a_sink_that_comes_back_late_is_waited_for_as_the_restart_policy_says() {
    // Three attempts in the first run, and three more when the first restart recovers.
    let (folder, sink) = (tempfile::tempdir().unwrap(), Flaky::new(0, 6));
    let policy = RestartPolicy::attempts(2, Duration::from_millis(1));
    let query = query(&sink, &folder).restart(policy).start(MICRO_BATCH).unwrap();
    ended(&query).unwrap();
    assert_eq!(query.restarts(), 2);
    exact(&sink);
}

#[test]
fn a_committer_that_panics_ends_the_query_with_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Flaky { panics: true, ..Flaky::new(1, 1) };
    let error = ended(&query(&sink, &folder).start(MICRO_BATCH).unwrap()).unwrap_err();
    says(&error, &["panicked", "the ledger fell off the table", "(in epoch 2)"]);
    ended(&query(&sink, &folder).start(MICRO_BATCH).unwrap()).unwrap();
    exact(&sink);
}

#[test]
fn an_output_folder_that_cannot_be_made_is_named_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("results");
    let numbers = session().source(MemorySource::new(0..ROWS));
    let error = numbers.sink(FileSink::json_lines(&folder).named("results")).start(CONTINUOUS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External);
    says(&error, &["`results`", &folder.display().to_string()]);
}
