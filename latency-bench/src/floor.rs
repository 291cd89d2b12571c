//! The floor: the same work as plain function calls, from the same generator, on one spinning thread. What
//! it shows is the machine and the instrument, so that their noise can be told from the engine's.

use crate::clock::Timebase;
use crate::error::Result;
use crate::event::{Counted, Counts, Event, is_kept, transform};
use crate::generator::DueRecords;
use crate::recorder::Recorder;
use crate::workload::{RunConfig, RunResult};
use std::hint::black_box;

/// `pass-through`: two stateless steps.
///
/// # Errors
/// If records were lost.
pub fn pass_through(config: &RunConfig) -> Result<RunResult> {
    run(
        config,
        |batch, results| results.extend(batch.drain(..).map(transform).filter(is_kept)),
        |event: &Event| (event.intended_ns, event.sent_ns),
    )
}

/// `keyed-count`: a running count for each key, emitted with each record.
///
/// # Errors
/// If records were lost.
pub fn keyed_count(config: &RunConfig) -> Result<RunResult> {
    let mut counts = Counts::default();
    run(
        config,
        move |batch, results| results.extend(batch.drain(..).map(|event| counts.add(event))),
        |counted: &Counted| (counted.intended_ns, counted.sent_ns),
    )
}

/// Polls the generator for ever, does the work on each batch and reads the time once for its results.
fn run<R>(
    config: &RunConfig,
    mut work: impl FnMut(&mut Vec<Event>, &mut Vec<R>),
    times: impl Fn(&R) -> (u64, u64),
) -> Result<RunResult> {
    let timebase = Timebase::new();
    let mut due = DueRecords::new(config.traffic());
    let mut recorder = Recorder::new(config.window());
    let (mut batch, mut results) = (Vec::new(), Vec::new());
    let cpu = config.cpu_meter(&timebase, []);
    timebase.begin();
    while due.next_ns().is_some() {
        if due.take_due(timebase.now_ns(), config.batch_records, &mut batch) == 0 {
            std::hint::spin_loop();
            continue;
        }
        work(&mut batch, &mut results);
        let now_ns = timebase.now_ns();
        for result in results.drain(..) {
            let (intended_ns, sent_ns) = times(&black_box(result));
            recorder.record(now_ns, intended_ns, sent_ns);
        }
    }
    config.result(&timebase, due.finish(), recorder.finish(), cpu)
}
