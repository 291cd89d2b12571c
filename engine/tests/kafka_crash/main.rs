//! Kafka to Kafka, exactly once, against a real broker: whatever is killed, engine or broker, a reader of
//! committed records sees every result once, and in order for each key.
//!
//! The parent feeds a topic, partly in transactions of its own, some of which it aborts. It runs this same
//! binary as a child ([`child`]: topic, keyed count, topic), kills it, starts it again with another
//! parallelism and mode, and so on; now and then it kills the broker instead. Kills come from outside and
//! from within, at every point of [`lotic::kill_point::POINTS`]. What a child has written is read after each
//! kill.
//!
//! `LOTIC_KAFKA_CRASH_KILLS=100 cargo test -p lotic --test kafka_crash -- --nocapture` kills the engine 100
//! times and the broker 20 times; the default is 10 and 2. `LOTIC_KAFKA_CRASH_SEED` replays the choices.
#![cfg(all(unix, feature = "kafka"))]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod campaign;
mod child;
mod outside;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with the other tests that kill")]
mod support;

use child::Settings;
use support::process::Told;
use support::seed::Names;

/// Not a test by itself: what a parent runs as its child.
#[test]
fn child() {
    if let Ok(settings) = std::env::var(Settings::CHILD) {
        child::run(&serde_json::from_str(&settings).unwrap());
    }
}

/// How this binary is told what to do.
const NAMES: Names =
    Names { binary: "kafka_crash", kills: "LOTIC_KAFKA_CRASH_KILLS", seed: "LOTIC_KAFKA_CRASH_SEED" };
