//! The epoch protocol under the seeded simulator: no schedule and no failure may lose, repeat or stop
//! anything. `LOTIC_SIM_SEED` is the first seed, `LOTIC_SIM_SEEDS` how many.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::testing::{Broken, Failure, Simulation, Tally};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

const SEEDS: u64 = 2_000;
const TRACE_LINES: usize = 150;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Runs it again to tell what happened, and how to see it once more.
fn explain(failure: &Failure) -> String {
    let again =
        Simulation::new(failure.seed).traced().run().expect_err("a simulation is the same every time");
    let from = again.trace.len().saturating_sub(TRACE_LINES);
    format!(
        "{}\n\n{failure}\nreplay it: LOTIC_SIM_SEED={} LOTIC_SIM_SEEDS=1 cargo test -p lotic --test simulation",
        again.trace[from..].join("\n"),
        failure.seed
    )
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a simulation without the noise of its panics, which are reported with their seed.
fn quietly(simulation: &Simulation) -> Result<Tally, Failure> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    QUIET.set(true);
    let result = simulation.run();
    QUIET.set(false);
    result
}

fn simulate(first: u64, seeds: u64) -> Result<Tally, Failure> {
    let next = AtomicU64::new(first);
    let total = Mutex::new(Ok(Tally::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let result = quietly(&Simulation::new(seed));
            let mut total = total.lock().unwrap();
            match (&mut *total, result) {
                (Ok(total), Ok(tally)) => total.add(&tally),
                (Ok(_), Err(failure)) => {
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                    *total = Err(failure);
                }
                (Err(_), _) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    total.into_inner().unwrap()
}

#[test]
fn no_schedule_and_no_failure_loses_repeats_or_stops_anything() {
    let first = number("LOTIC_SIM_SEED").unwrap_or(0);
    let seeds = number("LOTIC_SIM_SEEDS").unwrap_or(SEEDS);
    let tally = match simulate(first, seeds) {
        Ok(tally) => tally,
        Err(failure) => panic!("{}", explain(&failure)),
    };
    println!("{seeds} seeds from {first}: {tally:#?}");
    if seeds >= SEEDS {
        let covered = [
            ("crashes", tally.crashes),
            ("failed starts", tally.failed_starts),
            ("failures", tally.failures),
            ("epochs committed together", tally.together),
            ("overlapping epochs", tally.overlapping),
            ("batches", tally.batches),
            ("replays", tally.replays),
            ("parts read again", tally.reruns),
            ("cancelled epochs", tally.cancelled),
            ("declined snapshots", tally.declined),
            ("switches", tally.switches),
            ("compactions", tally.compactions),
        ];
        for (what, count) in covered {
            assert!(count >= seeds / 20, "{what}: only {count} in {seeds} seeds, so they are hardly tested");
        }
    }
}

#[test]
fn a_broken_rule_is_noticed() {
    let rules = [
        Broken::HoldsNoInputs,
        Broken::ForgetsGivenUpEpochs,
        Broken::CommitsBeforeDurable,
        Broken::AcknowledgesEarly,
        Broken::ForgetsPlans,
    ];
    for rule in rules {
        let noticed = (0..300).find_map(|seed| quietly(&Simulation::new(seed).breaking(rule)).err());
        match noticed {
            Some(failure) => println!("{rule:?} is noticed: {failure}"),
            None => panic!("{rule:?} goes unnoticed"),
        }
    }
}
