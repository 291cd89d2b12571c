//! `keyed-count`: the headline.

use super::{Engine, RunConfig, RunResult, Workload};
use crate::error::Result;
use crate::floor;
use crate::options::Options;

/// A running count for each of 10,000 keys, emitted with each record.
#[derive(Debug)]
pub(super) struct KeyedCount;

impl Workload for KeyedCount {
    fn name(&self) -> &'static str {
        "keyed-count"
    }

    fn description(&self) -> &'static str {
        "running count of 10,000 keys, emitted with each record"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        options.loads().into_iter().flat_map(|load| options.others(self.name(), load)).collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        match config.engine {
            Engine::Floor => floor::keyed_count(config),
            #[cfg(feature = "peers")]
            Engine::Timely => crate::peer_timely::keyed_count(config),
            _ => Err(config.failed("not wired")),
        }
    }
}
