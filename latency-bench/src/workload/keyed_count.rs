//! `keyed-count`: the headline.

use super::lotic::LoticRun;
use super::{Engine, RunConfig, RunResult, Workload};
use crate::clock::Timebase;
use crate::error::Result;
use crate::event::Event;
use crate::floor;
use crate::options::Options;
use crate::recorder::Recorder;
use lotic::Stream;
use lotic::operators::Rows;
use lotic::operators::aggregate::Aggregate;
use serde::{Deserialize, Serialize};

/// A running count for each key, emitted with each record.
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
        super::side_by_side(self.name(), options)
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        match config.engine {
            Engine::Floor => floor::keyed_count(config),
            Engine::Timely | Engine::DataFusion => super::peer(config, super::Peer::KeyedCount),
            Engine::Lotic => on_lotic(config),
        }
    }
}

/// The count of a key, with the times of its last record, so that the sink can tell the latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
}

/// Counts events.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountEvents;

impl Aggregate<Event> for CountEvents {
    type State = Tally;
    type Out = Tally;

    fn init(&self) -> Tally {
        Tally::default()
    }

    #[inline]
    fn add(&self, state: &mut Tally, event: Event) {
        *state = Tally { count: state.count + 1, intended_ns: event.intended_ns, sent_ns: event.sent_ns };
    }

    #[inline]
    fn result(&self, state: &Tally) -> Tally {
        *state
    }
}

/// The keyed count itself: as in the peers, the state of a key is its count, and what is emitted carries the
/// times of the record.
pub(super) fn counted(events: Stream<Event>) -> Stream<(u64, Tally)> {
    events.key_by(|event| event.key).map_with_state(|count: &mut u64, event: Event| {
        *count += 1;
        (event.key, Tally { count: *count, intended_ns: event.intended_ns, sent_ns: event.sent_ns })
    })
}

/// The run on Lotic.
pub(super) fn on_lotic(config: &RunConfig) -> Result<RunResult> {
    let run = LoticRun::new(config, Timebase::new(), Recorder::new(config.window()))?;
    let (events, feed) = run.events();
    let probe = run.probe.clone();
    let query = counted(events).for_each_batch(move |rows: &mut Rows<(u64, Tally)>| {
        probe.record(|now_ns, recorder| {
            for (_, tally) in rows {
                recorder.record(now_ns, tally.intended_ns, tally.sent_ns);
            }
        });
    });
    run.drive(query, feed, |_, _| Ok(()))
}
