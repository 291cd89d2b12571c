//! Event time on the table door: watermarks, windows, sessions, duplicates, in SQL and in DataFrames.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "sql")]

mod api;
mod data;
mod properties;
