//! `checkpointing`: what checkpoints cost, by their interval and the size of the state.

use super::{Engine, Epochs, Load, Mode, RunConfig, RunResult, Workload, keyed_count};
use crate::error::Result;
use crate::floor;
use crate::options::{Modes, Options};
use std::time::Duration;

/// Long enough for several epochs of a second.
const DURATION: Duration = Duration::from_secs(4);
/// Name, number of keys, and how long it takes until most of the keys are there.
const SIZES: [(&str, u64, Duration); 2] =
    [("10000-keys", 10_000, Duration::from_secs(1)), ("100000-keys", 100_000, Duration::from_secs(4))];
const EPOCHS: [Epochs; 4] = [
    Epochs::Off,
    Epochs::Every(Duration::from_secs(1)),
    Epochs::Every(Duration::from_millis(100)),
    Epochs::Every(Duration::from_millis(10)),
];

/// `keyed-count` with checkpoints off and at several intervals.
#[derive(Debug)]
pub(super) struct Checkpointing;

impl Checkpointing {
    fn sized(&self, options: &Options, load: Load, size: (&'static str, u64, Duration)) -> Vec<RunConfig> {
        let mode = if options.modes == Modes::MicroBatch { Mode::MicroBatch } else { Mode::Continuous };
        let epochs = match options.epochs {
            Some(asked) if asked != Epochs::Off => vec![Epochs::Off, asked],
            _ => EPOCHS.to_vec(),
        };
        let ours = epochs.into_iter().map(|epochs| options.lotic(self.name(), load, (mode, epochs)));
        let duration = options.duration.unwrap_or(DURATION);
        let (variety, keys, warm_up) = size;
        ours.chain(options.others(self.name(), load))
            .filter(|config| config.engine != Engine::Timely)
            .map(|config| RunConfig { variety, keys, warm_up, duration, ..config })
            .collect()
    }
}

impl Workload for Checkpointing {
    fn name(&self) -> &'static str {
        "checkpointing"
    }

    fn description(&self) -> &'static str {
        "keyed-count with checkpoints off and every 1 s, 100 ms and 10 ms, 10,000 and 100,000 keys"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let loads = options.loads();
        SIZES
            .iter()
            .flat_map(|&size| loads.iter().flat_map(move |&load| self.sized(options, load, size)))
            .collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        match config.engine {
            Engine::Floor => floor::keyed_count(config),
            Engine::Timely | Engine::DataFusion => super::peer(config, super::Peer::KeyedCount),
            Engine::Lotic => keyed_count::on_lotic(config),
        }
    }
}
