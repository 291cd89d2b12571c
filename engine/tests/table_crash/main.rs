//! Crash consistency of tables: whatever kills the process, whenever, the folder that a query writes to holds
//! what a batch would have written, no more while it runs and no less at the end.
//!
//! The parent runs this same binary as a child ([`child`]: a folder of files, filter, projection and cast,
//! perhaps windows, sessions or the first of duplicates by event time, a folder of files or `foreach_batch`), kills it, adds files to its input, starts it again with another
//! parallelism and mode, and so on until the input is processed. At every kill it reads the output with
//! `session.read()`, as a user would. Every format is read and every format is written; kills come from
//! outside (SIGKILL) and from within, at every point of [`lotic::kill_point::POINTS`].
//!
//! `LOTIC_TABLE_CRASH_KILLS=200 cargo test -p lotic --test table_crash -- --nocapture` kills 200 times; the
//! default is 24. `LOTIC_TABLE_CRASH_SEED` replays the choices of a run; the instant of a SIGKILL cannot be
//! replayed.
#![cfg(all(unix, feature = "sql", feature = "parquet", feature = "orc"))]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod campaign;
mod check;
mod child;
mod data;
#[path = "../support/mod.rs"]
mod support;
mod windows;

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
    Names { binary: "table_crash", kills: "LOTIC_TABLE_CRASH_KILLS", seed: "LOTIC_TABLE_CRASH_SEED" };
