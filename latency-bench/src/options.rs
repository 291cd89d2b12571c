//! What a whole invocation is asked for, and how it becomes a list of configurations.

use crate::workload::{Engine, Epochs, Load, Mode, RunConfig};
use std::num::NonZeroU64;
use std::time::Duration;

/// Keys of the keyed workloads.
pub const KEYS: u64 = 10_000;
/// The rates of a comparison unless told otherwise, in records per second.
pub const RATES: [NonZeroU64; 2] = [rate(10_000), rate(100_000)];
/// The epoch interval unless told otherwise.
pub const EPOCH: Duration = Duration::from_millis(100);
/// How long each run is measured unless told otherwise. With [`RUNS`] and the two [`RATES`] the comparison of
/// three configurations and the floor stays under 90 seconds.
pub const DURATION: Duration = Duration::from_millis(1500);
/// Runs of each configuration unless told otherwise.
pub const RUNS: u32 = 5;
/// Records that a generator hands over at once, at most.
pub const BATCH_RECORDS: usize = 1024;
/// What a run does before it is measured.
pub const WARM_UP: Duration = Duration::from_millis(400);

const fn rate(per_second: u64) -> NonZeroU64 {
    NonZeroU64::new(per_second).expect("invariant: a rate is not 0")
}

/// How an actor without work waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum WaitChoice {
    /// It parks at once: least processor use.
    Park,
    /// It spins for 30 us, then parks: the engine's default.
    #[default]
    Spin,
    /// It spins for ever: least latency, one processor. The generator runs on the engine's own thread.
    Busy,
}

/// Which modes are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Modes {
    /// Continuous alone.
    Continuous,
    /// Micro-batch alone.
    MicroBatch,
    /// Both, side by side.
    #[default]
    Both,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which modes.
    pub modes: Modes,
    /// Offered rates in records per second; empty for the workload's own.
    pub rates: Vec<NonZeroU64>,
    /// How long each run is measured; none for the workload's own.
    pub duration: Option<Duration>,
    /// Runs of each configuration.
    pub runs: u32,
    /// Instances of each stage.
    pub parallelism: usize,
    /// How actors wait.
    pub wait: WaitChoice,
    /// The epoch interval; none for the workload's own.
    pub epochs: Option<Epochs>,
    /// Whether records come independently of each other.
    pub poisson: bool,
    /// Whether other engines are measured too.
    pub peers: bool,
    /// Seed of keys and schedules.
    pub seed: u64,
    /// The brokers of the workloads over Apache Kafka; none if no such workload is asked for.
    pub bootstrap: Option<String>,
    /// The queries of the workloads of NEXMark; empty for all of them.
    pub queries: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            modes: Modes::Both,
            rates: Vec::new(),
            duration: None,
            runs: RUNS,
            parallelism: 1,
            wait: WaitChoice::default(),
            epochs: None,
            poisson: false,
            peers: false,
            seed: 1,
            bootstrap: None,
            queries: Vec::new(),
        }
    }
}

impl Options {
    /// The loads of a workload that is measured at several rates.
    pub fn loads(&self) -> Vec<Load> {
        let rates = if self.rates.is_empty() { &RATES[..] } else { &self.rates };
        rates.iter().copied().map(Load::PerSecond).collect()
    }

    /// Mode and epochs of each configuration of Lotic that is compared: continuous, micro-batch every so
    /// often, micro-batch as fast as possible.
    pub fn triggers(&self) -> Vec<(Mode, Epochs)> {
        let epochs = self.epochs.unwrap_or(Epochs::Every(EPOCH));
        let mut triggers = Vec::new();
        if self.modes != Modes::MicroBatch {
            triggers.push((Mode::Continuous, epochs));
        }
        if self.modes != Modes::Continuous {
            triggers.push((Mode::MicroBatch, epochs));
            if self.epochs.is_none() {
                triggers.push((Mode::MicroBatch, Epochs::Every(Duration::ZERO)));
            }
        }
        triggers
    }

    /// A configuration of Lotic.
    pub fn lotic(&self, workload: &'static str, load: Load, (mode, epochs): (Mode, Epochs)) -> RunConfig {
        RunConfig {
            workload,
            variety: "",
            engine: Engine::Lotic,
            mode,
            epochs,
            load,
            poisson: self.poisson,
            warm_up: WARM_UP,
            duration: self.duration.unwrap_or(DURATION),
            parallelism: self.parallelism,
            wait: self.wait,
            keys: KEYS,
            batch_records: BATCH_RECORDS,
            seed: self.seed,
            delivery: None,
            bootstrap: self.bootstrap.clone(),
        }
    }

    /// The configurations of the floor and, if asked for, of the peers.
    pub fn others(&self, workload: &'static str, load: Load) -> Vec<RunConfig> {
        let mut engines = Vec::new();
        if self.peers {
            engines.push(Engine::Timely);
        }
        engines.push(Engine::Floor);
        let plain = self.lotic(workload, load, (Mode::Continuous, Epochs::Off));
        engines.into_iter().map(|engine| RunConfig { engine, parallelism: 1, ..plain.clone() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_arguments_three_ways_are_compared_at_two_rates() {
        let options = Options::default();
        let names: Vec<String> = options
            .triggers()
            .into_iter()
            .map(|trigger| options.lotic("keyed-count", options.loads()[0], trigger).trigger())
            .collect();
        assert_eq!(names, ["continuous:100ms", "processing-time:100ms", "processing-time:0ms"]);
        assert_eq!(
            options.loads().iter().map(|load| load.rate()).collect::<Vec<_>>(),
            [Some(10_000), Some(100_000)]
        );
        let run = WARM_UP + DURATION + Duration::from_millis(200);
        assert!(run * RUNS * 8 < Duration::from_secs(90), "three ways and the floor, two rates, five runs");
    }

    #[test]
    fn an_epoch_that_was_asked_for_is_the_only_one() {
        let options = Options { epochs: Some(Epochs::Off), modes: Modes::Continuous, ..Options::default() };
        assert_eq!(options.triggers(), [(Mode::Continuous, Epochs::Off)]);
    }
}
