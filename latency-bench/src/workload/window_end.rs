//! `window-end`: how long after the end of a window its last result comes.
//!
//! One latency for each window, from its end to the last of its rows. A window can only close once the
//! watermark has passed its end, which takes the first record after it: at 100,000 records/s up to 10 us of it
//! is waiting for that record, on every engine.

use super::keyed_count::{CountEvents, Tally};
use super::lotic::LoticRun;
use super::tumbling_window::event_time;
use super::{Engine, Epochs, Load, Mode, RunConfig, RunResult, Workload, nanos};
use crate::clock::Timebase;
use crate::error::Result;
use crate::event::Event;
use crate::floor;
use crate::options::Options;
use crate::recorder::Recorder;
use crate::window_ends::WindowEnds;
use lotic::Timestamp;
use lotic::operators::Rows;
use lotic::operators::window::{Tumbling, Windowed};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const WINDOW: Duration = Duration::from_secs(1);
const RATE: NonZeroU64 = NonZeroU64::new(100_000).expect("invariant: the rate is not 0");
/// Ten windows.
const DURATION: Duration = Duration::from_secs(10);

/// Counts of each key in windows of one second of event time, and when they were complete.
#[derive(Debug)]
pub(super) struct WindowEnd;

impl Workload for WindowEnd {
    fn name(&self) -> &'static str {
        "window-end"
    }

    fn description(&self) -> &'static str {
        "counts of 10,000 keys in windows of 1 s at 100,000 records/s; from the end of a window to its last row"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let rates = if options.rates.is_empty() { vec![RATE] } else { options.rates.clone() };
        let duration = options.duration.unwrap_or(DURATION);
        let at = |rate| {
            let load = Load::PerSecond(rate);
            let mut triggers = options.triggers();
            if options.epochs.is_none() && triggers[0].0 == Mode::Continuous {
                triggers.insert(1, (Mode::Continuous, Epochs::Off));
            }
            let ours = triggers.into_iter().map(move |trigger| options.lotic(self.name(), load, trigger));
            ours.chain(options.others(self.name(), load)).map(move |config| RunConfig { duration, ..config })
        };
        rates.into_iter().flat_map(at).collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        match config.engine {
            Engine::Floor => floor::tumbling_window(config, nanos(WINDOW)),
            Engine::Timely | Engine::DataFusion => on_peer(config),
            Engine::Lotic => on_lotic(config),
        }
    }
}

#[cfg(feature = "peers")]
fn on_peer(config: &RunConfig) -> Result<RunResult> {
    match config.engine {
        Engine::Timely => crate::peer_timely::window_end(config, nanos(WINDOW)),
        _ => Err(config.failed("there is no such program for this engine")),
    }
}

#[cfg(not(feature = "peers"))]
fn on_peer(config: &RunConfig) -> Result<RunResult> {
    Err(super::no_peer(config, "window-end"))
}

fn on_lotic(config: &RunConfig) -> Result<RunResult> {
    let run = LoticRun::new(config, Timebase::new(), Recorder::new(config.window()))?;
    let (events, feed) = run.events();
    let ends = Arc::new(Mutex::new(WindowEnds::new(config.window())));
    let (sink, timebase) = (Arc::clone(&ends), run.timebase.clone());
    let query = events
        .with_watermark(event_time, Duration::ZERO)
        .key_by(|event| event.key)
        .window(Tumbling::new(WINDOW, event_time as fn(&Event) -> Timestamp))
        .aggregate(CountEvents)
        .for_each_batch(move |rows: &mut Rows<Windowed<u64, Tally>>| {
            let now_ns = timebase.now_ns();
            let mut ends = sink.lock().unwrap_or_else(PoisonError::into_inner);
            for window in rows {
                ends.row(now_ns, window.end.0 as u64 * 1000, window.value.count);
            }
        });
    run.drive_into(
        query,
        feed,
        |_, _| Ok(()),
        || ends.lock().unwrap_or_else(PoisonError::into_inner).clone().finish(),
    )
}
