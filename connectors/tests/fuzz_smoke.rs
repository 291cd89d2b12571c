//! The fuzz targets of `connectors/fuzz` on stable Rust: valid inputs, damaged in a seeded, bounded number of
//! ways. `LOTIC_FUZZ_INPUTS` says how many for each target, `LOTIC_FUZZ_SEED` where to begin.
#![cfg(all(feature = "orc", feature = "parquet"))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(unreachable_pub, reason = "a crate of its own for the fuzzer")]
#[path = "../fuzz/src/mutate.rs"]
mod mutate;
#[allow(dead_code, reason = "shared")]
#[path = "support/random_tables.rs"]
mod random_tables;
#[allow(unreachable_pub, reason = "a crate of its own for the fuzzer")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use arrow::datatypes::{Field, Fields};
use lotic_connectors::table::Options;
use lotic_connectors::table::format::FileFormat;
use lotic_connectors::table::format::csv::Csv;
use lotic_connectors::table::format::json::Json;
use lotic_connectors::table::format::orc::Orc;
use lotic_connectors::table::format::parquet::Parquet;
use mutate::{Mutator, number_of};
use std::io::Write;

/// A file of random rows.
fn written(format: &dyn FileFormat, fields: Vec<Field>, options: &[(&str, &str)], seed: u64) -> Vec<u8> {
    let batch = random_tables::rows(&Fields::from(fields), 20, seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let options: Options = options.iter().copied().collect();
    let mut writer =
        format.create(batch.schema_ref(), &options, std::fs::File::create(&path).unwrap()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap().flush().unwrap();
    std::fs::read(path).unwrap()
}

/// The bytes behind the one that chooses a way.
fn way(number: u8, bytes: Vec<u8>) -> Vec<u8> {
    [vec![number], bytes].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Valid inputs of a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let csv = |seed| written(&Csv, targets::flat(), &[], seed);
    let lines = b"a\nb\r\n\nma\xc3\xa7\xc3\xa3||c".to_vec();
    match target {
        "csv" => (0..4).map(|at| way(at, csv(u64::from(at) + 1))).chain([way(4, gzip(&csv(9)))]).collect(),
        "json" => {
            (0..4).map(|at| way(at, written(&Json, targets::nested(), &[], u64::from(at) + 1))).collect()
        }
        "text" => (0..3).map(|at| way(at, lines.clone())).chain([way(3, gzip(&lines))]).collect(),
        "parquet" => ["snappy", "none", "zstd"]
            .iter()
            .zip(1..)
            .map(|(name, seed)| written(&Parquet, targets::nested(), &[("compression", name)], seed))
            .collect(),
        "orc" => ["zstd", "none", "zlib"]
            .iter()
            .zip(1..)
            .map(|(name, seed)| written(&Orc, targets::flat(), &[("compression", name)], seed))
            .collect(),
        "options" => {
            ["maxFileAge\n10 seconds", "maxFileBytes\n64m", "sep\n\\t", "dateFormat\nyyyy-MM-dd['T']"]
                .map(Into::into)
                .into()
        }
        "partition_paths" => ["day=2024-01-01/n=1", "a=%2F%20x/__HIVE_DEFAULT_PARTITION__", "plain/_x/.y"]
            .map(Into::into)
            .into(),
        "commit_handles" => [
            r#"{"version":1,"files":[]}"#,
            r#"{"version":1,"files":[[".part-1-0-0-0.inprogress","mine.csv"],["../outside.csv","out.csv"]]}"#,
        ]
        .map(Into::into)
        .into(),
        other => panic!("no seeds for {other}"),
    }
}

fn run(target: &str, inputs: u64) {
    let (_, function) = *targets::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let seeds = seeds(target);
    let rows: usize = seeds.iter().map(|seed| function(seed)).sum();
    assert_eq!(rows > 0, !matches!(target, "options" | "commit_handles"), "whole inputs are read");
    let first = number_of("LOTIC_FUZZ_SEED", 1);
    for seed in first..first + number_of("LOTIC_FUZZ_INPUTS", inputs) {
        let input = Mutator::new(seed).damage(&seeds);
        let outcome = std::panic::catch_unwind(|| function(&input));
        assert!(
            outcome.is_ok(),
            "again: LOTIC_FUZZ_SEED={seed} LOTIC_FUZZ_INPUTS=1 cargo test {target}: {input:?}"
        );
    }
}

macro_rules! targets {
    ($($name:ident: $inputs:expr),*) => {$(
        #[test]
        fn $name() {
            run(stringify!($name), $inputs);
        }
    )*};
}

targets!(
    csv: 300, json: 300, text: 300, parquet: 200, orc: 200, options: 300, partition_paths: 200, commit_handles: 200
);

#[test]
fn every_target_is_run() {
    assert!(targets::TARGETS.iter().all(|(name, _)| !seeds(name).is_empty()));
}
