//! `live-switch`: latency over time across a switch of the mode and back, and whether every record came
//! through it once and in order.

use super::keyed_count::{Tally, counted};
use super::lotic::{LoticRun, trigger};
use super::{Engine, Epochs, Mode, RunConfig, RunResult, Workload, nanos};
use crate::clock::Timebase;
use crate::error::Result;
use crate::floor;
use crate::generator::wait_until;
use crate::options::{EPOCH, Options};
use crate::recorder::{Intervals, Recorder, histogram};
use crate::report::micros;
use crate::report::table::microseconds;
use lotic::operators::Rows;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Two seconds each of continuous, micro-batch and continuous again.
const DURATION: Duration = Duration::from_secs(6);
const INTERVAL: Duration = Duration::from_millis(100);

/// `keyed-count`, switched to micro-batch after a third of the time and back after two.
#[derive(Debug)]
pub(super) struct LiveSwitch;

impl Workload for LiveSwitch {
    fn name(&self) -> &'static str {
        "live-switch"
    }

    fn description(&self) -> &'static str {
        "keyed-count switched to micro-batch and back while it runs: latency over time"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let epochs = options.epochs.unwrap_or(Epochs::Every(EPOCH));
        let at = |load| {
            let ours = options.lotic(self.name(), load, (Mode::Continuous, epochs));
            let floor = options.others(self.name(), load).into_iter().filter(|c| c.engine == Engine::Floor);
            std::iter::once(ours).chain(floor)
        };
        let duration = options.duration.unwrap_or(DURATION);
        options.loads().into_iter().flat_map(at).map(|config| RunConfig { duration, ..config }).collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        match config.engine {
            Engine::Floor => floor::keyed_count(config),
            Engine::Timely | Engine::DataFusion => super::peer(config, super::Peer::KeyedCount),
            Engine::Lotic => on_lotic(config),
        }
    }
}

/// When the mode is switched, in nanoseconds since the run began.
fn switches(config: &RunConfig) -> [u64; 2] {
    let third = nanos(config.duration) / 3;
    [nanos(config.warm_up) + third, nanos(config.warm_up) + 2 * third]
}

fn on_lotic(config: &RunConfig) -> Result<RunResult> {
    let recorder = Recorder::new(config.window()).with_intervals(nanos(INTERVAL));
    let run = LoticRun::new(config, Timebase::new(), recorder)?;
    let (events, feed) = run.events();
    let (probe, mut order) = (run.probe.clone(), Order::new(config.keys));
    let wrong = Arc::clone(&order.wrong);
    let query = counted(events).for_each_batch(move |rows: &mut Rows<(u64, Tally)>| {
        probe.record(|now_ns, recorder| {
            for (key, tally) in rows {
                order.check(key, tally);
                recorder.record(now_ns, tally.intended_ns, tally.sent_ns);
            }
        });
    });
    let [to_micro_batch, back] = switches(config);
    let mut result = run.drive(query, feed, |query, timebase| {
        wait_until(timebase, to_micro_batch);
        query.set_trigger(trigger(Mode::MicroBatch, config.epochs))?;
        wait_until(timebase, back);
        query.set_trigger(trigger(Mode::Continuous, config.epochs))
    })?;
    let wrong = wrong.load(Ordering::Relaxed);
    if wrong > 0 {
        return Err(
            config.failed(format!("{wrong} records were lost, came twice or out of order within a key"))
        );
    }
    result.marks = vec![(to_micro_batch, "to micro-batch".to_owned()), (back, "to continuous".to_owned())];
    result.notes = notes(config, result.intervals.as_ref());
    Ok(result)
}

fn notes(config: &RunConfig, intervals: Option<&Intervals>) -> Vec<String> {
    let mut notes = vec!["no record lost, twice or out of order within its key".to_owned()];
    if let Some(intervals) = intervals {
        let [to_micro_batch, back] = switches(config);
        let epoch = match config.epochs {
            Epochs::Every(epoch) => nanos(epoch),
            Epochs::Off => nanos(EPOCH),
        };
        // A switch takes effect at the end of the epoch that is open when it is asked for.
        let after = back + epoch;
        let p99 = |from, to| microseconds(p99_between(intervals, from, to));
        notes.push(format!(
            "p99 before the switch {} us, in micro-batch {} us, in the second after the switch back {} us",
            p99(nanos(config.warm_up), to_micro_batch),
            p99(to_micro_batch + epoch, back),
            p99(after, after + 1_000_000_000 + nanos(INTERVAL)),
        ));
    }
    notes
}

/// The 99th percentile of the intervals that lie within a stretch, in microseconds.
fn p99_between(intervals: &Intervals, from_ns: u64, to_ns: u64) -> f64 {
    let mut merged = histogram();
    for (start_ns, latencies) in intervals.iter() {
        if start_ns >= from_ns && start_ns + intervals.length_ns() <= to_ns {
            merged.add(latencies).expect("invariant: the bounds are the same");
        }
    }
    micros(merged.value_at_quantile(0.99))
}

/// Checks that the counts of each key go up one by one, and intended times with them. The engine clones it
/// for each instance of the sink, whose keys are its own.
#[derive(Debug)]
struct Order {
    last: Vec<Tally>,
    wrong: Arc<AtomicU64>,
}

impl Order {
    fn new(keys: u64) -> Order {
        Order { last: vec![Tally::default(); keys as usize], wrong: Arc::default() }
    }

    #[inline]
    fn check(&mut self, key: u64, tally: Tally) {
        let last = &mut self.last[key as usize];
        let earlier = last.count > 0 && tally.intended_ns <= last.intended_ns;
        if tally.count != last.count + 1 || earlier {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        *last = tally;
    }
}

impl Clone for Order {
    fn clone(&self) -> Self {
        Order { last: vec![Tally::default(); self.last.len()], wrong: Arc::clone(&self.wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_duplicates_and_swaps_are_found() {
        let tally = |count, intended_ns| Tally { count, intended_ns, sent_ns: 0 };
        let wrong_of = |tallies: &[Tally]| {
            let mut order = Order::new(1).clone();
            for &tally in tallies {
                order.check(0, tally);
            }
            order.wrong.load(Ordering::Relaxed)
        };
        assert_eq!(wrong_of(&[tally(1, 0), tally(2, 10), tally(3, 20)]), 0);
        assert!(wrong_of(&[tally(1, 0), tally(3, 20)]) > 0, "lost");
        assert!(wrong_of(&[tally(1, 0), tally(2, 10), tally(2, 10)]) > 0, "twice");
        assert!(wrong_of(&[tally(1, 10), tally(2, 0)]) > 0, "swapped");
    }
}
