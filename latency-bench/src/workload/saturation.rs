//! `saturation`: how many records per second.

use super::{Engine, Epochs, Load, Mode, Peer, RunConfig, RunResult, Workload, keyed_count, pass_through};
use crate::error::Result;
use crate::floor;
use crate::options::{EPOCH, Modes, Options};
use std::time::Duration;

/// What is saturated, and how many records the generator hands over at once: many, which shows the cost of
/// a record, and few, which shows that of a batch.
const VARIETIES: [(&str, Peer, usize); 4] = [
    ("pass-through/batch-1024", Peer::PassThrough, 1024),
    ("pass-through/batch-64", Peer::PassThrough, 64),
    ("keyed-count/batch-1024", Peer::KeyedCount, 1024),
    ("keyed-count/batch-64", Peer::KeyedCount, 64),
];

/// `pass-through` and `keyed-count` with a generator that always has one more record.
#[derive(Debug)]
pub(super) struct Saturation;

impl Workload for Saturation {
    fn name(&self) -> &'static str {
        "saturation"
    }

    fn description(&self) -> &'static str {
        "records per second of pass-through and keyed-count when there is always one more"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let mut triggers = Vec::new();
        if options.modes != Modes::MicroBatch {
            triggers.push((Mode::Continuous, Epochs::Off));
            triggers.push((Mode::Continuous, options.epochs.unwrap_or(Epochs::Every(EPOCH))));
            triggers.dedup();
        }
        if options.modes != Modes::Continuous {
            triggers.push((Mode::MicroBatch, options.epochs.unwrap_or(Epochs::Every(Duration::ZERO))));
        }
        let mut cases = Vec::new();
        for (variety, _, batch_records) in VARIETIES {
            let ours = triggers.iter().map(|&trigger| options.lotic(self.name(), Load::Saturated, trigger));
            let all = ours.chain(options.others(self.name(), Load::Saturated));
            cases.extend(all.map(|config| RunConfig { variety, batch_records, ..config }));
        }
        cases
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        let (_, work, _) = VARIETIES
            .iter()
            .find(|(variety, ..)| *variety == config.variety)
            .expect("invariant: a configuration is one of `cases`");
        match (config.engine, *work) {
            (Engine::Floor, Peer::PassThrough) => floor::pass_through(config),
            (Engine::Floor, Peer::KeyedCount) => floor::keyed_count(config),
            (Engine::Timely | Engine::DataFusion, work) => super::peer(config, work),
            (Engine::Lotic, Peer::PassThrough) => pass_through::on_lotic(config),
            (Engine::Lotic, Peer::KeyedCount) => keyed_count::on_lotic(config),
        }
    }
}
