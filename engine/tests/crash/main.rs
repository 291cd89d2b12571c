//! Crash consistency: whatever kills the process, whenever, the output is that of an uninterrupted run.
//!
//! The parent runs this same binary as a child ([`child`]: rate source, keyed count or windows, file sink), kills it,
//! starts it again with another parallelism and mode, and so on until the input is processed; then it reads
//! the output. Kills come from outside (SIGKILL after a random number of commits) and from within, at every
//! point of [`lotic::kill_point::POINTS`].
//!
//! `LOTIC_CRASH_KILLS=200 cargo test -p lotic --test crash -- --nocapture` kills 200 times; the default is
//! 30. `LOTIC_CRASH_SEED` replays the choices of a run; the instant of a SIGKILL cannot be replayed.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod campaign;
mod child;
mod damage;
mod in_process;
mod kind;
mod parent;
#[path = "../support/mod.rs"]
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
const NAMES: Names = Names { binary: "crash", kills: "LOTIC_CRASH_KILLS", seed: "LOTIC_CRASH_SEED" };
