//! What is wrong outside or in the user's code, end to end: each error is read as a stranger would read it.
//! It says what is wrong, where, and what to do; what was good before stays good.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod checkpoints;
mod settings;
mod sinks;
mod sources;
mod user_code;

use lotic::{Error, Session, StreamingQuery, Trigger};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const CONTINUOUS: Trigger = Trigger::Continuous(Duration::from_millis(2));
const MICRO_BATCH: Trigger = Trigger::ProcessingTime(Duration::ZERO);

fn session() -> Session {
    Session::builder().app_name("bad-input").get_or_create().unwrap()
}

/// Waits for the end; a query that hangs fails the test.
fn ended(query: &StreamingQuery) -> Result<(), Error> {
    query.await_termination_timeout(LIMIT).map(|over| assert!(over, "the query hangs"))
}

/// The error must say all of this.
fn says(error: &Error, parts: &[&str]) {
    let said = error.to_string();
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}
