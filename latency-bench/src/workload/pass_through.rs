//! `pass-through`: the way through the engine itself.

use super::{Engine, RunConfig, RunResult, Workload};
use crate::error::Result;
use crate::floor;
use crate::options::Options;

/// Source, two stateless operators, sink.
#[derive(Debug)]
pub(super) struct PassThrough;

impl Workload for PassThrough {
    fn name(&self) -> &'static str {
        "pass-through"
    }

    fn description(&self) -> &'static str {
        "source, two stateless operators, sink"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        options.loads().into_iter().flat_map(|load| options.others(self.name(), load)).collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        match config.engine {
            Engine::Floor => floor::pass_through(config),
            #[cfg(feature = "peers")]
            Engine::Timely => crate::peer_timely::pass_through(config),
            _ => Err(config.failed("not wired")),
        }
    }
}
