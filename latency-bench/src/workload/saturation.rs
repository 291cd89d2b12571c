//! `saturation`: how many records per second.

use super::{Engine, Load, RunConfig, RunResult, Workload};
use crate::error::Result;
use crate::floor;
use crate::options::Options;

/// What is saturated, and how many records the generator hands over at once: many, which shows the cost of
/// a record, and few, which shows that of a batch.
const VARIETIES: [(&str, Work, usize); 4] = [
    ("pass-through/batch-1024", Work::PassThrough, 1024),
    ("pass-through/batch-64", Work::PassThrough, 64),
    ("keyed-count/batch-1024", Work::KeyedCount, 1024),
    ("keyed-count/batch-64", Work::KeyedCount, 64),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    PassThrough,
    KeyedCount,
}

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
        let mut cases = Vec::new();
        for (variety, _, batch_records) in VARIETIES {
            let others = options.others(self.name(), Load::Saturated).into_iter();
            cases.extend(others.map(|config| RunConfig { variety, batch_records, ..config }));
        }
        cases
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        let work = VARIETIES.iter().find(|(variety, ..)| *variety == config.variety);
        let work = work.map_or(Work::KeyedCount, |(_, work, _)| *work);
        match (config.engine, work) {
            (Engine::Floor, Work::PassThrough) => floor::pass_through(config),
            (Engine::Floor, Work::KeyedCount) => floor::keyed_count(config),
            #[cfg(feature = "peers")]
            (Engine::Timely, Work::PassThrough) => crate::peer_timely::pass_through(config),
            #[cfg(feature = "peers")]
            (Engine::Timely, Work::KeyedCount) => crate::peer_timely::keyed_count(config),
            _ => Err(config.failed("not wired")),
        }
    }
}
