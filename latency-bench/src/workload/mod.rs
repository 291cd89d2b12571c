//! What is measured: the workload contract, what a run is told and what it returns, and the list of names.

use crate::clock::Timebase;
use crate::cpu::{CpuMeter, ThreadId};
use crate::error::{Error, Result};
use crate::generator::{Sent, Traffic};
use crate::options::{Options, WaitChoice};
use crate::recorder::{Intervals, Recorded, Window};
use crate::schedule::{Pace, Share};
use hdrhistogram::Histogram;
use std::fmt;
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

mod checkpointing;
mod idle;
#[cfg(feature = "kafka")]
pub mod kafka;
mod keyed_count;
mod large_state;
mod live_switch;
mod lotic;
#[cfg(any(test, feature = "tables"))]
pub(crate) mod nexmark;
mod pass_through;
mod probe;
mod saturation;
pub mod socket;
mod source;
#[cfg(feature = "tables")]
mod table;
mod tumbling_window;
mod window_end;

/// Every workload, in the order of `list`.
pub static WORKLOADS: &[&dyn Workload] = &[
    &pass_through::PassThrough,
    &keyed_count::KeyedCount,
    &tumbling_window::TumblingWindow,
    &window_end::WindowEnd,
    #[cfg(feature = "tables")]
    &table::Table,
    #[cfg(feature = "tables")]
    &table::TableFiles,
    #[cfg(any(test, feature = "tables"))]
    &nexmark::Rated,
    #[cfg(any(test, feature = "tables"))]
    &nexmark::Saturated,
    &socket::Socket,
    #[cfg(feature = "kafka")]
    &kafka::STATELESS,
    #[cfg(feature = "kafka")]
    &kafka::GROUPED,
    #[cfg(feature = "kafka")]
    &kafka::JOIN,
    &checkpointing::Checkpointing,
    &live_switch::LiveSwitch,
    &saturation::Saturation,
    &large_state::LargeState,
    &idle::Idle,
];

/// Something to measure, by name.
pub trait Workload: Sync {
    /// What it is called on the command line and in reports.
    fn name(&self) -> &'static str;

    /// What it measures, in one line.
    fn description(&self) -> &'static str;

    /// Whether it runs over a broker of Apache Kafka.
    fn needs_broker(&self) -> bool {
        false
    }

    /// The configurations to compare, in the order of the table. They are run in turns: A B C A B C.
    fn cases(&self, options: &Options) -> Vec<RunConfig>;

    /// Runs one configuration once.
    ///
    /// # Errors
    /// If the run failed, or if records were lost or came twice.
    fn run(&self, config: &RunConfig) -> Result<RunResult>;
}

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Lotic.
    Lotic,
    /// The same work as plain function calls: what the machine itself costs.
    Floor,
    /// timely dataflow, one worker (feature `peers`).
    Timely,
    /// DataFusion, one partition (feature `tables`).
    DataFusion,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Lotic => "lotic",
            Engine::Floor => "floor",
            Engine::Timely => "timely",
            Engine::DataFusion => "datafusion",
        })
    }
}

/// The two ways to run a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Each record flows through as it comes.
    Continuous,
    /// Records wait for their batch.
    MicroBatch,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Continuous => "continuous",
            Mode::MicroBatch => "micro-batch",
        })
    }
}

/// When epochs begin, and whether they leave a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Epochs {
    /// None: the engine has no epochs, or checkpoints are off.
    Off,
    /// One every so often, with a checkpoint; zero is as fast as possible.
    Every(Duration),
}

/// What a sink promises about each record after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// It may come again; it is visible at once.
    AtLeastOnce,
    /// It comes once; it is visible when its epoch is committed.
    ExactlyOnce,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::ExactlyOnce => "exactly-once",
        })
    }
}

/// How much is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Load {
    /// Nothing.
    Idle,
    /// This many records per second, by an open loop.
    PerSecond(NonZeroU64),
    /// As many as are taken.
    Saturated,
}

impl Load {
    /// The rate of a report: 0 for idle, none for saturated.
    pub fn rate(self) -> Option<u64> {
        match self {
            Load::Idle => Some(0),
            Load::PerSecond(rate) => Some(rate.get()),
            Load::Saturated => None,
        }
    }
}

/// What one run is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunConfig {
    /// The workload.
    pub workload: &'static str,
    /// Which of the workload's own varieties, if it has several: part of its name in reports.
    pub variety: &'static str,
    /// Who does the work.
    pub engine: Engine,
    /// In which mode.
    pub mode: Mode,
    /// When epochs begin.
    pub epochs: Epochs,
    /// How much is sent.
    pub load: Load,
    /// Whether records come independently of each other (Poisson) rather than at equal distances.
    pub poisson: bool,
    /// How long it runs before it is measured.
    pub warm_up: Duration,
    /// How long it is measured.
    pub duration: Duration,
    /// Instances of each stage.
    pub parallelism: usize,
    /// How an actor without work waits.
    pub wait: WaitChoice,
    /// Number of different keys.
    pub keys: u64,
    /// Records that a saturated generator hands over at once.
    pub batch_records: usize,
    /// Seed of keys and of a Poisson schedule.
    pub seed: u64,
    /// What the sink promises, where the workload compares that.
    pub delivery: Option<Delivery>,
    /// The brokers of a workload over Apache Kafka.
    pub bootstrap: Option<String>,
}

impl RunConfig {
    /// The name in reports: `keyed-count`, or with a variety `saturation/keyed-count`.
    pub fn name(&self) -> String {
        if self.variety.is_empty() {
            self.workload.to_owned()
        } else {
            format!("{}/{}", self.workload, self.variety)
        }
    }

    /// The part of the run that is measured.
    pub fn window(&self) -> Window {
        let from_ns = nanos(self.warm_up);
        Window { from_ns, to_ns: from_ns + nanos(self.duration) }
    }

    /// What a single generator sends. Not for an idle run.
    ///
    /// # Panics
    /// If the load is idle.
    pub fn traffic(&self) -> Traffic {
        let pace = match self.load {
            Load::Idle => panic!("invariant: an idle run has no traffic"),
            Load::Saturated => Pace::Unpaced,
            Load::PerSecond(per_second) if self.poisson => Pace::Poisson { per_second, seed: self.seed },
            Load::PerSecond(per_second) => Pace::Constant { per_second },
        };
        Traffic { pace, share: Share::ALL, keys: self.keys, seed: self.seed, window: self.window() }
    }

    /// The trigger as a report names it: `continuous:100ms`, `processing-time:0ms`, `none`.
    pub fn trigger(&self) -> String {
        match (self.engine, self.mode, self.epochs) {
            (Engine::Floor | Engine::Timely | Engine::DataFusion, ..) => "none".to_owned(),
            (_, Mode::Continuous, Epochs::Off) => "continuous:off".to_owned(),
            (_, Mode::MicroBatch, Epochs::Off) => "processing-time:off".to_owned(),
            (_, Mode::Continuous, Epochs::Every(length)) => format!("continuous:{}ms", length.as_millis()),
            (_, Mode::MicroBatch, Epochs::Every(length)) => {
                format!("processing-time:{}ms", length.as_millis())
            }
        }
    }

    /// Who does it and how, for people: `lotic continuous 100 ms`, `lotic continuous 10 ms, exactly-once`.
    pub fn label(&self) -> String {
        let label = match (self.engine, self.epochs) {
            (Engine::Floor | Engine::Timely | Engine::DataFusion, _) => self.engine.to_string(),
            (Engine::Lotic, Epochs::Off) => format!("lotic {}, no checkpoints", self.mode),
            (Engine::Lotic, Epochs::Every(length)) => {
                format!("lotic {} {} ms", self.mode, length.as_millis())
            }
        };
        self.delivery.map_or(label.clone(), |delivery| format!("{label}, {delivery}"))
    }

    /// An error of this run.
    pub fn failed(&self, cause: impl Into<String>) -> Error {
        Error::Run { workload: self.name(), engine: self.label(), cause: cause.into() }
    }

    /// Starts to measure the processors in use.
    pub fn cpu_meter(&self, timebase: &Timebase, excluded: impl IntoIterator<Item = ThreadId>) -> CpuMeter {
        CpuMeter::start(timebase, self.window(), excluded.into_iter().collect())
    }

    /// Puts together what was seen of a run, and checks that nothing was lost or came twice.
    ///
    /// # Errors
    /// If the sink did not see as many records as were sent.
    pub fn result(
        &self,
        timebase: &Timebase,
        sent: Sent,
        seen: Recorded,
        cpu: CpuMeter,
    ) -> Result<RunResult> {
        if seen.seen != sent.records {
            return Err(self.failed(format!("{} records were sent and {} arrived", sent.records, seen.seen)));
        }
        Ok(RunResult {
            from_intended: seen.from_intended,
            from_send: seen.from_send,
            late: sent.late,
            throughput_per_s: seen.throughput_per_s,
            cpu_cores: cpu.cores(),
            intervals: seen.intervals,
            marks: Vec::new(),
            notes: Vec::new(),
            began_at: timebase.began_at(),
        })
    }
}

/// The nanoseconds of a duration; saturates.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The usual configurations: Lotic's triggers side by side, peers and floor, at each rate.
fn side_by_side(workload: &'static str, options: &Options) -> Vec<RunConfig> {
    let at = |load| {
        let ours = options.triggers().into_iter().map(move |trigger| options.lotic(workload, load, trigger));
        ours.chain(options.others(workload, load))
    };
    options.loads().into_iter().flat_map(at).collect()
}

/// What the peers can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    PassThrough,
    KeyedCount,
}

/// A run on a peer.
#[cfg(feature = "peers")]
fn peer(config: &RunConfig, what: Peer) -> Result<RunResult> {
    match what {
        _ if config.engine != Engine::Timely => {
            Err(config.failed("there is no such program for this engine"))
        }
        Peer::PassThrough => crate::peer_timely::pass_through(config),
        Peer::KeyedCount => crate::peer_timely::keyed_count(config),
    }
}

/// A run on a peer that this build does not have.
#[cfg(not(feature = "peers"))]
fn peer(config: &RunConfig, what: Peer) -> Result<RunResult> {
    Err(no_peer(config, &format!("{what:?}")))
}

#[cfg(not(feature = "peers"))]
fn no_peer(config: &RunConfig, what: &str) -> Error {
    config.failed(format!("this build has no {what} of a peer: build with `--features peers`"))
}

/// What one run returns. Latencies are in nanoseconds.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// From the intended send times.
    pub from_intended: Histogram<u64>,
    /// From the actual send times.
    pub from_send: Histogram<u64>,
    /// Actual minus intended send times: the instrument's own error.
    pub late: Histogram<u64>,
    /// Records per second at the sink.
    pub throughput_per_s: f64,
    /// Processors in use, without the generator's thread if it has one of its own.
    pub cpu_cores: Option<f64>,
    /// Latency over time, if the workload keeps it.
    pub intervals: Option<Intervals>,
    /// What happened when, for the plot over time: nanoseconds since the run began, and a few words.
    pub marks: Vec<(u64, String)>,
    /// What the reader should know beside the figures.
    pub notes: Vec<String>,
    /// The wall-clock time at which the run began.
    pub began_at: SystemTime,
}
