//! Random queries over folders of random files, through the public API: the batch answer is that of the stream,
//! in micro-batches and continuously, with files that arrive while it runs, with stops and restarts.
//!
//! `LOTIC_FILES_CASES` sets how many cases run, `LOTIC_FILES_SEED` where they begin.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "sql")]

mod data;
mod queries;
mod world;

use data::texts;
use lotic::testing::Random;
use lotic::{OutputMode, Session};
use queries::Case;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use world::{Outcome, World};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// Compares what the stream has shown with the batch answer.
fn compare(case: &Case, shown: &[Vec<String>], expected: &[Vec<String>]) -> Outcome<()> {
    let sorted = |rows: &[Vec<String>]| {
        let mut rows = rows.to_vec();
        rows.sort();
        rows
    };
    let same = match (case.mode, case.keys) {
        (OutputMode::Update, Some(keys)) => {
            let last = |rows: &[Vec<String>]| {
                rows.iter().map(|row| (row[..keys].to_vec(), row.clone())).collect::<BTreeMap<_, _>>()
            };
            last(shown) == last(expected)
        }
        _ => sorted(shown) == sorted(expected),
    };
    if same { Ok(()) } else { Err(format!("shown {shown:?}\nexpected {expected:?}").into()) }
}

fn check(seed: u64, session: &Session) -> Result<(), String> {
    let mut random = Random::new(seed);
    let world = World::new(session, &mut random, seed).map_err(|error| format!("seed {seed}: {error}"))?;
    // DataFusion refuses some, such as two keys of the same text.
    let (case, expected) = (0..9)
        .find_map(|_| {
            let case = queries::case(&mut random, &world.schema);
            let batches = world.batch(&case.sql).ok()?;
            Some((case, texts(&batches)))
        })
        .ok_or_else(|| format!("seed {seed}: no query that DataFusion can answer"))?;
    for continuous in [false, true] {
        let told = |error: &dyn std::fmt::Display| {
            let mode = if continuous { "continuous" } else { "micro-batch" };
            format!("seed {seed}, {mode}, {:?}, {world}: {}\n{error}", case.mode, case.sql)
        };
        let shown = world.stream(&case, continuous, &mut random).map_err(|error| told(&error))?;
        let shown = texts(&shown);
        // An aggregation of no rows at all has a batch answer, but no batch for which to emit it.
        let nothing = case.keys == Some(0) && shown.is_empty() && world.has_no_rows(&case.sql);
        if !nothing {
            compare(&case, &shown, &expected).map_err(|error| told(&error))?;
        }
    }
    Ok(())
}

#[test]
fn files_give_the_same_rows_in_every_mode() {
    let cases = number("LOTIC_FILES_CASES", 100);
    let first = number("LOTIC_FILES_SEED", 1);
    println!("LOTIC_FILES_SEED={first} LOTIC_FILES_CASES={cases}");
    let next = AtomicU64::new(first);
    let work = || {
        let session =
            |parallelism| Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
        let sessions = [session(1), session(3)];
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + cases || failed.len() > 4 {
                return failed;
            }
            failed.extend(check(seed, &sessions[(seed % 2) as usize]).err());
        }
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{} of {cases} cases failed:\n{}", failed.len(), failed.join("\n\n"));
}
