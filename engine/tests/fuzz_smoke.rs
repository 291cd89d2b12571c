//! The fuzz targets of `engine/fuzz` on stable Rust: valid texts, damaged in a seeded, bounded number of ways.
//! `LOTIC_FUZZ_INPUTS` says how many for each target, `LOTIC_FUZZ_SEED` where to begin.
#![cfg(feature = "sql")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[allow(unreachable_pub, reason = "a crate of its own for the fuzzer")]
#[path = "../../connectors/fuzz/src/mutate.rs"]
mod mutate;
#[allow(unreachable_pub, reason = "a crate of its own for the fuzzer")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use mutate::{Mutator, number_of};

fn run(name: &str, function: fn(&[u8]), seeds: &[&str], inputs: u64) {
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|text| text.as_bytes().to_vec()).collect();
    seeds.iter().for_each(|seed| function(seed));
    let first = number_of("LOTIC_FUZZ_SEED", 1);
    for seed in first..first + number_of("LOTIC_FUZZ_INPUTS", inputs) {
        let input = Mutator::new(seed).damage(&seeds);
        let outcome = std::panic::catch_unwind(|| function(&input));
        let text = String::from_utf8_lossy(&input);
        assert!(
            outcome.is_ok(),
            "again: LOTIC_FUZZ_SEED={seed} LOTIC_FUZZ_INPUTS=1 cargo test {name}: {text:?}"
        );
    }
}

#[test]
fn ddl() {
    let seeds = [
        "nome STRING, idade INT NOT NULL COMMENT 'years'",
        "a ARRAY<STRUCT<x: INT, y: MAP<STRING, DECIMAL(12,3)>>>, `b c` TIMESTAMP_NTZ",
        "a LONG, b VARCHAR(10), c BINARY, d DATE, e DOUBLE, f BOOLEAN, g BYTE",
    ];
    run("ddl", targets::ddl, &seeds, 3000);
}

#[test]
fn statements() {
    let seeds = [
        "CREATE UNBOUNDED EXTERNAL TABLE nomes (nome STRING, idade INT) STORED AS CSV LOCATION '/x' \
         OPTIONS ('header' 'true');\n-- a comment; with a semicolon\nINSERT INTO t SELECT * FROM nomes;",
        "SELECT word, count(*) AS n FROM (SELECT unnest(string_to_array(value, ' ')) AS word FROM lines)\n\
         GROUP BY word HAVING count(*) > 1 ORDER BY n DESC LIMIT 10",
        "CREATE VIEW v AS SELECT CASE WHEN a > 1 THEN 'x;y' ELSE \"b\" END FROM t /* why */ WHERE a IN (1, 2)",
        "EXPLAIN SELECT 1; SHOW TABLES; DESCRIBE t; DROP TABLE IF EXISTS t",
    ];
    run("statements", targets::statements, &seeds, 1500);
}
