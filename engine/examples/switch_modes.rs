//! One query, two modes, switched while it runs: a line of progress for each stretch, then it ends by itself.
//!
//! ```text
//! cargo run --release -p lotic --example switch_modes
//! ```
//! The latency from ingest to sink follows the mode, the counts go on as if nothing had happened: no row is
//! lost, repeated or out of order, which the last line checks.

use lotic::connectors::{MemorySink, RateSource};
use lotic::{QueryProgress, Session, Trigger};
use std::error::Error;
use std::time::Duration;

const ROWS: u64 = 60_000;
const ROWS_PER_SECOND: u64 = 20_000;
const KEYS: u64 = 100;
/// How long the query stays in a mode.
const STRETCH: Duration = Duration::from_millis(600);

fn print(progress: &QueryProgress) {
    println!(
        "{:<11}  epoch {:>3}  {:>6} rows  {:>6.0} rows/s  visible after {:>5.1} ms  p50 {:>6.0} us  p99 {:>6.0} us",
        progress.mode.to_string(),
        progress.epoch.0,
        progress.rows_out,
        progress.rows_out_per_second,
        progress.epoch_ms,
        progress.latency.p50_us,
        progress.latency.p99_us,
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let session = Session::builder().app_name("switch-modes").get_or_create()?;
    let counts = MemorySink::new();
    let query = session
        .source(RateSource::new(ROWS_PER_SECOND).limit(ROWS))
        .key_by(|row| row.value % KEYS)
        .count()
        .sink(counts.clone())
        .start(Trigger::continuous("200 ms"))?;
    print!("{}", query.explain());

    let mut triggers =
        [Trigger::processing_time("200 ms"), Trigger::continuous("200 ms")].into_iter().cycle();
    let mut printed = 0;
    while !query.await_termination_timeout(STRETCH)? {
        for progress in query.recent_progress().iter().skip(printed) {
            print(progress);
            printed += 1;
        }
        if let Some(trigger) = triggers.next() {
            println!("-> {trigger}");
            // The query may have ended since; then there is nothing left to switch.
            let _ = query.set_trigger(trigger);
        }
    }
    query.recent_progress().iter().skip(printed).for_each(print);

    let mut reached = vec![0; KEYS as usize];
    for (key, count) in counts.committed() {
        let held: &mut u64 = &mut reached[key as usize];
        if count != *held + 1 {
            return Err(format!("key {key} went from {held} to {count}").into());
        }
        *held = count;
    }
    println!("{} rows counted once each, in order", reached.iter().sum::<u64>());
    Ok(())
}
