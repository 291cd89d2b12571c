//! The child process: runs the query until its input has ended or somebody kills it.

use crate::random::Random;
use lotic::connectors::file::JsonLines;
use lotic::connectors::{Committer, FileSink, RateSource, Result, Sink, SinkFactory, SinkTraits};
use lotic::operators::{Epoch, Instance, Rows};
use lotic::{Session, Trigger};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// The environment variable that makes the test binary a child: [`Settings`] as JSON.
pub(crate) const CHILD: &str = "LOTIC_CRASH_CHILD";

/// Keys that are counted.
pub(crate) const KEYS: u64 = 1_000;

/// The mode of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    Continuous,
    MicroBatch,
    /// Switches again and again while it runs.
    Switching,
}

/// How the child runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
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

/// The file sink, which says on stdout what it has committed.
struct Announced {
    sink: FileSink<JsonLines>,
    commits: Sender<Epoch>,
}

impl SinkFactory<Rows<(u64, u64)>> for Announced {
    fn traits(&self) -> SinkTraits {
        SinkFactory::<Rows<(u64, u64)>>::traits(&self.sink)
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<Rows<(u64, u64)>>>> {
        self.sink.create(instance)
    }

    fn committer(&self) -> Result<Option<Box<dyn Committer>>> {
        let inner = SinkFactory::<Rows<(u64, u64)>>::committer(&self.sink)?;
        let commits = self.commits.clone();
        Ok(inner.map(|inner| Box::new(AnnouncingCommitter { inner, commits }) as Box<dyn Committer>))
    }
}

struct AnnouncingCommitter {
    inner: Box<dyn Committer>,
    commits: Sender<Epoch>,
}

impl Committer for AnnouncingCommitter {
    fn last_committed(&mut self) -> Result<Epoch> {
        self.inner.last_committed()
    }

    fn commit(&mut self, epoch: Epoch, handle: &[u8]) -> Result<()> {
        self.inner.commit(epoch, handle)?;
        let _ = writeln!(std::io::stdout(), "committed {epoch}");
        let _ = self.commits.send(epoch);
        Ok(())
    }

    fn abort_prepared(&mut self) -> Result<()> {
        self.inner.abort_prepared()
    }
}

fn trigger(mode: Mode, random: &mut Random) -> Trigger {
    let continuous = match mode {
        Mode::Continuous => true,
        Mode::MicroBatch => false,
        Mode::Switching => random.below(2) == 0,
    };
    match (continuous, random.below(3)) {
        (true, choice) => Trigger::continuous(Duration::from_millis([2, 5, 10][choice as usize])),
        (false, 0) => Trigger::processing_time(Duration::ZERO),
        (false, choice) => Trigger::processing_time(Duration::from_millis([1, 5, 10][choice as usize])),
    }
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
    let query = session
        .source(RateSource::new(settings.rows_per_second).partitions(4).limit(settings.rows))
        .map(|row| row.value % KEYS)
        .key_by(|key| *key)
        .count()
        .sink(Announced { sink: FileSink::json_lines(settings.output()), commits })
        .checkpoint_location(settings.checkpoint())
        .start(trigger(settings.mode, &mut random))
        .unwrap_or_else(|error| panic!("start: {error}"));
    let mut until_switch = random.between(1, 8);
    loop {
        match committed.recv_timeout(Duration::from_secs(1)) {
            Ok(_) if settings.mode == Mode::Switching => until_switch -= 1,
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) if query.is_active() => {}
            Err(_) => break,
        }
        if until_switch == 0 {
            until_switch = random.between(1, 8);
            // The query may have ended meanwhile.
            let _ = query.set_trigger(trigger(settings.mode, &mut random));
        }
    }
    query.await_termination().unwrap_or_else(|error| panic!("end: {error}"));
}
