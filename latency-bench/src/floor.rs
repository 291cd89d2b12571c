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
        |event: &Event| Arrival { intended_ns: event.intended_ns, sent_ns: event.sent_ns, records: 1 },
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
        |counted: &Counted| Arrival {
            intended_ns: counted.intended_ns,
            sent_ns: counted.sent_ns,
            records: 1,
        },
    )
}

/// `tumbling-window`: counts of each key by window, emitted when the first record of a later window comes.
/// The schedule is in order, so that nothing is late.
///
/// # Errors
/// If records were lost.
pub fn tumbling_window(config: &RunConfig, window_ns: u64) -> Result<RunResult> {
    let (mut counts, mut end_ns) = (Counts::default(), window_ns);
    let mut close = move |counts: &mut Counts, next_ns: u64, closed: &mut Vec<Counted>| {
        let results =
            counts.drain().map(|(key, count)| Counted { key, count, intended_ns: end_ns, sent_ns: end_ns });
        closed.extend(results);
        end_ns = (next_ns / window_ns + 1) * window_ns;
        end_ns
    };
    run(
        config,
        move |batch, results| {
            if batch.is_empty() {
                close(&mut counts, 0, results);
            }
            for event in batch.drain(..) {
                if event.intended_ns >= end_ns {
                    end_ns = close(&mut counts, event.intended_ns, results);
                }
                counts.add(event);
            }
        },
        |counted: &Counted| Arrival {
            intended_ns: counted.intended_ns,
            sent_ns: counted.sent_ns,
            records: counted.count,
        },
    )
}

/// What the sink is told of a result: its times, and how many records it stands for.
struct Arrival {
    intended_ns: u64,
    sent_ns: u64,
    records: u64,
}

/// Polls the generator for ever, does the work on each batch and reads the time once for its results. At the
/// end the work is done on an empty batch, to give out what it still holds.
fn run<R>(
    config: &RunConfig,
    mut work: impl FnMut(&mut Vec<Event>, &mut Vec<R>),
    arrival: impl Fn(&R) -> Arrival,
) -> Result<RunResult> {
    let timebase = Timebase::new();
    let mut due = DueRecords::new(config.traffic());
    let mut recorder = Recorder::new(config.window());
    let (mut batch, mut results) = (Vec::new(), Vec::new());
    let cpu = config.cpu_meter(&timebase, []);
    timebase.begin();
    loop {
        let ended = due.next_ns().is_none();
        if !ended && due.take_due(timebase.now_ns(), config.batch_records, &mut batch) == 0 {
            std::hint::spin_loop();
            continue;
        }
        work(&mut batch, &mut results);
        let now_ns = timebase.now_ns();
        for result in results.drain(..) {
            let arrival = arrival(&black_box(result));
            recorder.record(now_ns, arrival.intended_ns, arrival.sent_ns);
            recorder.stands_for(arrival.records);
        }
        if ended {
            break;
        }
    }
    config.result(&timebase, due.finish(), recorder.finish(), cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::workload::{Epochs, Load, Mode};
    use std::num::NonZeroU64;
    use std::time::Duration;

    fn config(load: Load) -> RunConfig {
        let plain = Options::default().lotic("test", load, (Mode::Continuous, Epochs::Off));
        let (warm_up, duration) = (Duration::from_millis(20), Duration::from_millis(100));
        RunConfig { warm_up, duration, keys: 10, ..plain }
    }

    #[test]
    fn every_record_arrives_also_through_windows() {
        let paced = config(Load::PerSecond(NonZeroU64::new(10_000).unwrap()));
        let counts = |result: RunResult| result.from_intended.len();
        assert_eq!(counts(pass_through(&paced).unwrap()), 1000);
        assert_eq!(counts(keyed_count(&paced).unwrap()), 1000);
        // Windows of 10 ms: the ten that end at 20, 30, ... 110 ms, each with ten keys.
        assert_eq!(counts(tumbling_window(&paced, 10_000_000).unwrap()), 100);
    }

    #[test]
    fn saturated_there_are_many_more() {
        let result = pass_through(&config(Load::Saturated)).unwrap();
        assert!(result.throughput_per_s > 100_000.0, "{}", result.throughput_per_s);
    }
}
