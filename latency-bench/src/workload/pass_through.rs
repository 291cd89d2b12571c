//! `pass-through`: the way through the engine itself.

use super::lotic::LoticRun;
use super::{Engine, RunConfig, RunResult, Workload};
use crate::clock::Timebase;
use crate::error::Result;
use crate::event::{Event, is_kept, transform};
use crate::floor;
use crate::options::Options;
use crate::recorder::Recorder;
use lotic::operators::Rows;

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
        super::side_by_side(self.name(), options)
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        match config.engine {
            Engine::Floor => floor::pass_through(config),
            Engine::Timely | Engine::DataFusion => super::peer(config, super::Peer::PassThrough),
            Engine::Lotic => on_lotic(config),
        }
    }
}

/// The run on Lotic.
pub(super) fn on_lotic(config: &RunConfig) -> Result<RunResult> {
    let run = LoticRun::new(config, Timebase::new(), Recorder::new(config.window()))?;
    let (events, feed) = run.events();
    let probe = run.probe.clone();
    let query = events.map(transform).filter(is_kept).for_each_batch(move |rows: &mut Rows<Event>| {
        probe.record(|now_ns, recorder| {
            for event in rows {
                recorder.record(now_ns, event.intended_ns, event.sent_ns);
            }
        });
    });
    run.drive(query, feed, |_, _| Ok(()))
}
