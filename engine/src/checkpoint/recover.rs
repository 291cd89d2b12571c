//! What a restart may resume from. Pure decisions over observed facts.

use super::record::QueryIdentity;
use crate::error::{Error, Result};
use lotic_operators::Epoch;

/// Refuses a location that belongs to another query, saying what differs.
///
/// # Errors
/// If an operator of either query is missing in the other or is of another kind.
pub fn check_identity(place: &str, stored: &QueryIdentity, now: &QueryIdentity) -> Result<()> {
    let mut differences = Vec::new();
    for (name, kind) in &stored.operators {
        match now.operators.get(name) {
            None => differences.push(format!("it has `{name}` ({kind}), which this query lacks")),
            Some(other) if other != kind => {
                differences.push(format!("its `{name}` is a {kind}, here it is a {other}"));
            }
            Some(_) => {}
        }
    }
    for (name, kind) in &now.operators {
        if !stored.operators.contains_key(name) {
            differences.push(format!("this query has `{name}` ({kind}), which it lacks"));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::user(format!(
        "checkpoint location `{place}` belongs to another query ({}): {}; use the query that wrote it or \
         another location",
        stored.id,
        differences.join("; ")
    )))
}

/// Refuses to fall back behind what a sink has already shown to the world.
///
/// # Errors
/// If a sink has committed an epoch newer than `durable`, unless duplicates are accepted.
pub fn check_committed(
    place: &str,
    durable: Epoch,
    sinks: &[(String, Epoch)],
    accept_duplicates: bool,
) -> Result<()> {
    for (sink, committed) in sinks {
        if *committed > durable && !accept_duplicates {
            if durable == Epoch::NONE {
                return Err(Error::external(format!(
                    "sink `{sink}` already holds the output of epoch {committed}, but the checkpoint location \
                     `{place}` holds no checkpoint: starting there would write rows twice; use the location that \
                     the output belongs to, restore the checkpoint files from a copy, or choose an empty output \
                     (or set `accept_duplicates(true)` to go on all the same)"
                )));
            }
            return Err(Error::external(format!(
                "sink `{sink}` has committed epoch {committed}, but the newest whole checkpoint in `{place}` \
                 is of epoch {durable}: resuming there would write rows twice; restore the checkpoint files \
                 from a copy, or set `accept_duplicates(true)` to go on all the same"
            )));
        }
    }
    Ok(())
}
