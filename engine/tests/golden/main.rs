//! Checkpoints that an earlier build has written are gone on from: `data` holds savepoints that are never written
//! anew, each of a query that this test has as well.
//!
//! When the format changes on purpose, the old data stays and the new one goes beside it:
//! `LOTIC_WRITE_GOLDEN=1 cargo test -p lotic --test golden` writes savepoints into `data/next`.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[cfg(feature = "sql")]
mod tables;
mod typed;

use std::path::{Path, PathBuf};

/// The versions of which there is data.
const VERSIONS: &[&str] = &["v1", "v2"];

/// A query in two parts: what it shows of the first rows is forgotten.
trait Golden {
    /// The name of its savepoint.
    fn name(&self) -> &'static str;

    /// Starts with nothing in a new location, reads the first rows, and leaves a savepoint in the folder.
    fn save(&self, folder: &Path);

    /// Goes on from a savepoint with this parallelism, reads the rows after the first, and returns what came, in a
    /// fixed order.
    fn go_on(&self, savepoint: &Path, parallelism: usize) -> Vec<String>;
}

fn all() -> Vec<Box<dyn Golden>> {
    #[allow(unused_mut, reason = "without tables")]
    let mut all = typed::all();
    #[cfg(feature = "sql")]
    all.extend(tables::all());
    all
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data")
}

#[test]
fn a_checkpoint_of_every_version_is_gone_on_from() {
    if std::env::var_os("LOTIC_WRITE_GOLDEN").is_some() {
        all().iter().for_each(|golden| golden.save(&data().join("next").join(golden.name())));
    }
    for golden in all() {
        let fresh = tempfile::tempdir().unwrap();
        let fresh = fresh.path().join("savepoint");
        golden.save(&fresh);
        for parallelism in [1, 2] {
            // Watermarks are those of the slowest instance: what is emitted depends on how many there are.
            let expected = golden.go_on(&fresh, parallelism);
            assert!(!expected.is_empty(), "`{}` shows nothing", golden.name());
            for version in VERSIONS {
                let savepoint = data().join(version).join(golden.name());
                let seen = golden.go_on(&savepoint, parallelism);
                assert_eq!(seen, expected, "{} of {version}, {parallelism} instances", golden.name());
            }
        }
    }
}

#[test]
fn every_savepoint_has_its_query() {
    let names: Vec<_> = typed::NAMES.iter().chain(TABLE_NAMES).collect();
    for version in VERSIONS {
        for entry in data().join(version).read_dir().unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(names.iter().any(|known| **known == name), "`{name}` of {version} is not tested");
        }
    }
}

/// Those of tables, also where tables are not built.
const TABLE_NAMES: &[&str] =
    &["table-groups", "table-windows", "table-sessions", "table-distinct", "table-join"];
