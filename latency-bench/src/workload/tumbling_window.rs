//! `tumbling-window`: many results at once.
//!
//! A window's results can only come once the watermark has passed its end, which takes the first record
//! after it. Latency is therefore counted from the end of the window, in intended time: at 10,000 records/s
//! up to 100 us of it is waiting for that record.

use super::keyed_count::CountEvents;
use super::lotic::LoticRun;
use super::{Engine, RunConfig, RunResult, Workload, keyed_count::Tally, nanos};
use crate::clock::Timebase;
use crate::error::Result;
use crate::event::Event;
use crate::floor;
use crate::options::Options;
use crate::recorder::Recorder;
use lotic::Timestamp;
use lotic::operators::Rows;
use lotic::operators::window::{Tumbling, Windowed};
use std::time::Duration;

const WINDOW: Duration = Duration::from_millis(100);

/// Counts of each key in windows of 100 ms of event time.
#[derive(Debug)]
pub(super) struct TumblingWindow;

impl Workload for TumblingWindow {
    fn name(&self) -> &'static str {
        "tumbling-window"
    }

    fn description(&self) -> &'static str {
        "counts of 10,000 keys in windows of 100 ms; latency from the end of the window"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let cases = super::side_by_side(self.name(), options).into_iter();
        cases.filter(|config| config.engine != Engine::Timely).collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        match config.engine {
            Engine::Floor => floor::tumbling_window(config, nanos(WINDOW)),
            Engine::Timely | Engine::DataFusion => {
                Err(config.failed("there is no such program for this engine"))
            }
            Engine::Lotic => on_lotic(config),
        }
    }
}

/// Event time is the intended send time.
pub(super) fn event_time(event: &Event) -> Timestamp {
    Timestamp((event.intended_ns / 1000) as i64)
}

fn on_lotic(config: &RunConfig) -> Result<RunResult> {
    let run = LoticRun::new(config, Timebase::new(), Recorder::new(config.window()))?;
    let (events, feed) = run.events();
    let probe = run.probe.clone();
    let query = events
        .with_watermark(event_time, Duration::ZERO)
        .key_by(|event| event.key)
        .window(Tumbling::new(WINDOW, event_time as fn(&Event) -> Timestamp))
        .aggregate(CountEvents)
        .for_each_batch(move |rows: &mut Rows<Windowed<u64, Tally>>| {
            probe.record(|now_ns, recorder| {
                for window in rows {
                    let end_ns = window.end.0 as u64 * 1000;
                    recorder.record(now_ns, end_ns, end_ns);
                    recorder.stands_for(window.value.count);
                }
            });
        });
    run.drive(query, feed, |_, _| Ok(()))
}
