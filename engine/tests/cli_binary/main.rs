//! The binary `lotic`, run as a user runs it.
#![cfg(all(feature = "cli", feature = "parquet", feature = "orc", unix))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod checkpoints;
mod errors;
mod examples;
mod process;
mod results;
mod streams;
