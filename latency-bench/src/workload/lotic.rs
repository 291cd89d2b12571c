//! Runs a query of Lotic under a load: what all workloads have in common.

use super::probe::Probe;
use super::source::{AllSent, DueFactory};
use super::{Epochs, Load, Mode, RunConfig, RunResult};
use crate::clock::Timebase;
use crate::cpu::ThreadId;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::generator::{DueRecords, SenderThread};
use crate::options::WaitChoice;
use crate::recorder::{Recorded, Recorder};
use lotic::{Ingress, Query, Session, Stream, StreamingQuery, Trigger, WaitStrategy};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a query may take to work off what was sent.
const DRAIN: Duration = Duration::from_secs(60);
/// How long a query that has started is left alone before the run begins.
const SETTLE: Duration = Duration::from_millis(50);
/// The epoch interval of a query without checkpoints: none falls into a run.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// A run of Lotic: clock, session and what the sink sees.
pub(super) struct LoticRun<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) timebase: Timebase,
    pub(super) session: Session,
    pub(super) probe: Probe,
    folder: CheckpointFolder,
}

/// How records come in.
pub(super) enum Feed {
    /// From the generator's thread.
    Thread(Ingress<Event>),
    /// From a source on the engine's own thread.
    Inline(AllSent),
}

impl<'a> LoticRun<'a> {
    /// Starts a session. `recorder` is what the sink fills.
    pub(super) fn new(config: &'a RunConfig, timebase: Timebase, recorder: Recorder) -> Result<LoticRun<'a>> {
        LoticRun::with_chaining(config, timebase, recorder, true)
    }

    /// As [`LoticRun::new`], with each step an actor of its own if `chaining` is false.
    pub(super) fn with_chaining(
        config: &'a RunConfig,
        timebase: Timebase,
        recorder: Recorder,
        chaining: bool,
    ) -> Result<LoticRun<'a>> {
        let wait = match config.wait {
            WaitChoice::Park => WaitStrategy::Park,
            WaitChoice::Spin => WaitStrategy::default(),
            WaitChoice::Busy => WaitStrategy::BusySpin,
        };
        let session = Session::builder()
            .app_name("latency-bench")
            .workers(config.parallelism)
            .parallelism(config.parallelism)
            .wait(wait)
            .chaining(chaining)
            .get_or_create()
            .map_err(|error| config.failed(error.to_string()))?;
        let probe = Probe::new(&timebase, recorder);
        Ok(LoticRun { config, timebase, session, probe, folder: CheckpointFolder::new() })
    }

    /// The stream of events. A saturated or busy-spinning engine polls the schedule itself, as the floor and
    /// the peers do; otherwise the events come from a thread of their own, as in a service.
    pub(super) fn events(&self) -> (Stream<Event>, Feed) {
        if self.config.load == Load::Saturated || self.config.wait == WaitChoice::Busy {
            let (factory, sent) = self.due();
            (self.session.source(factory), Feed::Inline(sent))
        } else {
            let (stream, ingress) = self.session.ingress("events");
            (stream, Feed::Thread(ingress))
        }
    }

    /// The schedule as a source that the engine polls, and what it will have sent.
    pub(super) fn due(&self) -> (DueFactory, AllSent) {
        let sent = AllSent::default();
        let factory = DueFactory {
            timebase: self.timebase.clone(),
            traffic: self.config.traffic(),
            batch_records: self.config.batch_records,
            sent: sent.clone(),
        };
        (factory, sent)
    }

    /// Starts the query with the configuration's trigger, checkpoints on or off.
    pub(super) fn start(&self, query: Query) -> Result<StreamingQuery> {
        let query = query.query_name(self.config.name());
        let query = match self.config.epochs {
            Epochs::Off => query,
            Epochs::Every(_) => query.checkpoint_location(self.folder.path()),
        };
        let query = query
            .start(trigger(self.config.mode, self.config.epochs))
            .map_err(|error| self.failed(&error))?;
        std::thread::sleep(SETTLE);
        Ok(query)
    }

    /// Runs a query from the first record to the last one. `meanwhile` is called once sending has begun, on
    /// the calling thread.
    pub(super) fn drive(
        self,
        query: Query,
        feed: Feed,
        meanwhile: impl FnOnce(&StreamingQuery, &Timebase) -> Result<(), lotic::Error>,
    ) -> Result<RunResult> {
        let probe = self.probe.clone();
        self.drive_into(query, feed, meanwhile, || probe.finish())
    }

    /// As [`LoticRun::drive`], with a sink that keeps what it sees elsewhere than in the probe.
    pub(super) fn drive_into(
        self,
        query: Query,
        feed: Feed,
        meanwhile: impl FnOnce(&StreamingQuery, &Timebase) -> Result<(), lotic::Error>,
        seen: impl FnOnce() -> Recorded,
    ) -> Result<RunResult> {
        let query = self.start(query)?;
        // The sender has the only handle: when it is done, the input ends, and with it the query.
        let (sender, inline) = match feed {
            Feed::Thread(ingress) => (Some(self.sender(ingress)?), None),
            Feed::Inline(sent) => (None, Some(sent)),
        };
        let excluded: Vec<ThreadId> = sender.iter().filter_map(SenderThread::id).collect();
        let cpu = self.config.cpu_meter(&self.timebase, excluded);
        self.timebase.begin();
        meanwhile(&query, &self.timebase).map_err(|error| self.failed(&error))?;
        let sent = sender.map(SenderThread::join);
        self.await_end(&query)?;
        let sent = sent.or_else(|| inline.map(|inline| inline.total()));
        let sent = sent.expect("invariant: records come from one of the two");
        self.config.result(&self.timebase, sent, seen(), cpu)
    }

    fn sender(&self, ingress: Ingress<Event>) -> Result<SenderThread> {
        let due = DueRecords::new(self.config.traffic());
        let push = move |event| match ingress.push(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        SenderThread::start(self.timebase.clone(), due, push)
            .map_err(|error| self.config.failed(error.to_string()))
    }

    /// Waits until the query has worked off its input, which has ended or will.
    pub(super) fn await_end(&self, query: &StreamingQuery) -> Result<()> {
        let limit = self.config.warm_up + self.config.duration + DRAIN;
        match query.await_termination_timeout(limit) {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(self.config.failed(format!("the query did not end within {} s", limit.as_secs())))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// An error of the engine.
    pub(super) fn failed(&self, error: &lotic::Error) -> Error {
        self.config.failed(error.to_string())
    }
}

/// The trigger of a mode and an epoch interval.
pub(super) fn trigger(mode: Mode, epochs: Epochs) -> Trigger {
    match (mode, epochs) {
        (Mode::Continuous, Epochs::Every(interval)) => Trigger::Continuous(interval),
        (Mode::Continuous, Epochs::Off) => Trigger::Continuous(NEVER),
        (Mode::MicroBatch, Epochs::Every(interval)) => Trigger::ProcessingTime(interval),
        (Mode::MicroBatch, Epochs::Off) => Trigger::ProcessingTime(crate::options::EPOCH),
    }
}

/// A folder for the checkpoints of one run, removed afterwards.
struct CheckpointFolder(PathBuf);

impl CheckpointFolder {
    /// The engine makes the folder when it needs it.
    fn new() -> CheckpointFolder {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lotic-latency-bench-{}-{number}", std::process::id());
        CheckpointFolder(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for CheckpointFolder {
    fn drop(&mut self) {
        // Nothing was written if checkpoints are off, and a leftover in the system's folder for temporary
        // files is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
