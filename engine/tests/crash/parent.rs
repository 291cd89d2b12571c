//! The parent's side: starts children, reads what they have written.

use crate::child::{KEYS, Settings};
use crate::kind::Counted;
use crate::support::process::{self, Kill, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Runs a child; an error is something that must never happen.
pub(crate) fn run(settings: &Settings, kill: Kill, segment_bytes: Option<u64>) -> Result<Outcome, String> {
    process::run(settings, kill, segment_bytes, None)
}

/// The files that a reader of the output sees, in the order of epochs, and those that nobody should see.
fn files(output: &Path) -> (Vec<String>, Vec<String>) {
    let mut names: Vec<String> = fs::read_dir(output)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names.into_iter().partition(|name| !name.starts_with('.'))
}

/// The output so far must be, for each key, the counts 1, 2, 3, … in order: no gap, no repetition. Returns
/// how far each key has come.
pub(crate) fn counts(settings: &Settings) -> Result<BTreeMap<u64, u64>, String> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for name in files(&settings.output()).0 {
        let text =
            fs::read_to_string(settings.output().join(&name)).map_err(|error| format!("{name}: {error}"))?;
        for (number, line) in text.lines().enumerate() {
            let parsed: (u64, u64) =
                serde_json::from_str(line).map_err(|error| format!("{name}: {error}"))?;
            let (key, count) = parsed;
            let held = counts.entry(key).or_insert(0);
            if count != *held + 1 {
                let what = if count <= *held { "DUPLICATED" } else { "LOST" };
                return Err(format!(
                    "{what}: line {} of {name}: key {key} counts {count} after {held}",
                    number + 1
                ));
            }
            *held = count;
        }
    }
    Ok(counts)
}

/// Every window of the output so far must be one of an uninterrupted run, and none be there twice. Returns how
/// many there are.
pub(crate) fn windows(settings: &Settings) -> Result<usize, String> {
    let expected = settings.kind.expected(settings.rows);
    let mut seen = BTreeSet::new();
    for name in files(&settings.output()).0 {
        let text =
            fs::read_to_string(settings.output().join(&name)).map_err(|error| format!("{name}: {error}"))?;
        for line in text.lines() {
            let window: Counted = serde_json::from_str(line).map_err(|error| format!("{name}: {error}"))?;
            if !expected.contains(&window) {
                return Err(format!(
                    "WRONG: {name} has the window {window:?}, which is not one of the input"
                ));
            }
            if !seen.insert(window) {
                return Err(format!("DUPLICATED: {name} has the window {window:?} again"));
            }
        }
    }
    Ok(seen.len())
}

/// The output so far must be right.
pub(crate) fn check_so_far(settings: &Settings) -> Result<(), String> {
    if settings.kind.is_counts() { counts(settings).map(drop) } else { windows(settings).map(drop) }
}

/// The output must be that of an uninterrupted run.
pub(crate) fn check_complete(settings: &Settings) -> Result<(), String> {
    if !settings.kind.is_counts() {
        let (found, expected) = (windows(settings)?, settings.kind.expected(settings.rows).len());
        return if found == expected {
            nothing_hidden(settings)
        } else {
            Err(format!("LOST: {found} windows of {expected}"))
        };
    }
    let expected: BTreeMap<u64, u64> =
        (0..KEYS).map(|key| (key, (settings.rows - key).div_ceil(KEYS))).collect();
    let counts = counts(settings)?;
    if counts != expected {
        let missing = expected.iter().find(|(key, count)| counts.get(key) != Some(count));
        return Err(format!("LOST: the counts end too early, for example (key, rows) {missing:?}"));
    }
    nothing_hidden(settings)
}

fn nothing_hidden(settings: &Settings) -> Result<(), String> {
    let (_, hidden) = files(&settings.output());
    if hidden.is_empty() { Ok(()) } else { Err(format!("left behind in the output: {hidden:?}")) }
}
