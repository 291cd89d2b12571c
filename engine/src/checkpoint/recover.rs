//! What a restart may resume from. Pure decisions over observed facts.

use super::record::QueryIdentity;
use crate::error::{Error, Result};
use lotic_operators::Epoch;

/// How a query and a checkpoint that fits it differ: operators by stable id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// The query has them and the checkpoint lacks them: they begin without state.
    pub begun: Vec<String>,
    /// The checkpoint has them and the query lacks them: their state is left behind.
    pub left: Vec<String>,
}

/// Finds out what of a checkpoint a query takes over: operators are matched by their stable ids.
///
/// # Errors
/// If an operator is of another kind than the checkpoint's, or if the checkpoint has state of one that the query
/// lacks, unless `leave` says that it may be left behind.
pub fn match_operators(
    place: &str,
    stored: &QueryIdentity,
    now: &QueryIdentity,
    leave: bool,
) -> Result<Differences> {
    let mut found = Differences::default();
    let mut changed = Vec::new();
    for (name, kind) in &stored.operators {
        match now.operators.get(name) {
            None => found.left.push(name.clone()),
            Some(other) if other != kind => {
                changed.push(format!("its `{name}` is a {kind}, here it is a {other}"))
            }
            Some(_) => {}
        }
    }
    let new = now.operators.iter().filter(|(name, _)| !stored.operators.contains_key(*name));
    found.begun = new.map(|(name, _)| name.clone()).collect();
    if changed.is_empty() && (found.left.is_empty() || leave) {
        return Ok(found);
    }
    let described = |name: &String, of: &QueryIdentity| format!("`{name}` ({})", of.operators[name]);
    changed.extend(
        found.left.iter().map(|name| format!("it has {}, which this query lacks", described(name, stored))),
    );
    changed.extend(
        found.begun.iter().map(|name| format!("this query has {}, which it lacks", described(name, now))),
    );
    Err(Error::user(format!(
        "checkpoint location `{place}` belongs to another query ({}), or to this one before it was changed: {}. Use the \
         query that wrote it or another location; give an operator that is the same under another name its id of then with `.uid(\"..\")`, \
         one that is another under the same name an id of its own; `allow_non_restored_state(true)` leaves the state \
         of operators that are no longer there behind",
        stored.id,
        changed.join("; ")
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
