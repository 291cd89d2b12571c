//! `lotic checkpoint` over what a real run wrote.

use super::process::lotic;
use std::path::{Path, PathBuf};

/// The checkpoints of a copy that ran twice.
fn state(folder: &Path) -> PathBuf {
    let input = folder.join("in");
    std::fs::create_dir(&input).unwrap();
    let script = format!(
        "CREATE UNBOUNDED EXTERNAL TABLE nomes (nome STRING) STORED AS csv LOCATION '{}';\n\
         CREATE EXTERNAL TABLE copy (nome STRING) STORED AS csv LOCATION '{}';\n\
         INSERT INTO copy SELECT nome FROM nomes;",
        input.display(),
        folder.join("out").display()
    );
    let state = folder.join("state");
    for (number, name) in ["Ana", "Rui"].iter().enumerate() {
        std::fs::write(input.join(format!("{number}.csv")), format!("{name}\n")).unwrap();
        let checkpoint = state.to_str().unwrap();
        let done = lotic(&["sql", &script, "--checkpoint", checkpoint, "--trigger", "available-now"]);
        assert_eq!(done.status, 0, "{}", done.err);
    }
    state
}

#[test]
fn epochs_are_listed_shown_and_verified_and_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let outer = state(folder.path());
    let done = lotic(&["checkpoint", "ls", outer.to_str().unwrap()]);
    assert!(done.status == 2 && done.err.contains("01-copy"), "{}", done.err);

    let state = outer.join("01-copy");
    let state_text = state.to_str().unwrap();
    let done = lotic(&["checkpoint", "ls", state_text]);
    assert!(done.status == 0 && done.out.contains("micro-batch"), "{}{}", done.out, done.err);
    let epochs: Vec<&str> =
        done.out.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(epochs.len() >= 2 && epochs[0] == "1", "{}", done.out);
    // The second run wrote the last epoch of the first anew.
    assert!(!done.out.contains("cannot be used"), "{}", done.out);

    let newest = lotic(&["checkpoint", "show", state_text]);
    assert!(newest.status == 0 && newest.out.contains("next row"), "{}{}", newest.out, newest.err);
    let first = lotic(&["checkpoint", "show", state_text, "1"]);
    assert!(first.status == 0 && first.out.contains("epoch 1\n"), "{}{}", first.out, first.err);
    let missing = lotic(&["checkpoint", "show", state_text, "999"]);
    assert!(missing.status == 2 && missing.err.contains("epoch 999"), "{}", missing.err);

    let done = lotic(&["checkpoint", "verify", state_text]);
    assert!(done.status == 0 && done.out.contains("a restart goes on from epoch"), "{}", done.out);
    let mut logs: Vec<PathBuf> = std::fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-"))
        .collect();
    logs.sort();
    let log = logs.last().unwrap();
    let mut bytes = std::fs::read(log).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(log, bytes).unwrap();
    let done = lotic(&["checkpoint", "verify", state_text]);
    assert!(done.status == 1 && done.out.contains("cannot be read from byte"), "{}", done.out);
}
