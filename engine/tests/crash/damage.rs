//! The newest checkpoint is damaged between two runs: the one before it is used, or the query refuses
//! clearly because the sink has shown more. Never a wrong answer.

use crate::child::Settings;
use crate::kind::Kind;
use crate::parent::{check_complete, run};
use crate::support::mode::Mode;
use crate::support::process::{End, Kill};
use crate::support::random::Random;
use std::fs;
use std::path::{Path, PathBuf};

const ROWS: u64 = 40_000;

fn settings(folder: &Path, mode: Mode, rows_per_second: u64) -> Settings {
    Settings {
        folder: folder.to_owned(),
        kind: Kind::Counts,
        rows: ROWS,
        rows_per_second,
        parallelism: 2,
        mode,
        seed: 7,
    }
}

fn newest_log(settings: &Settings) -> PathBuf {
    let entries = fs::read_dir(settings.checkpoint()).unwrap().map(|entry| entry.unwrap().path());
    let is_log = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("log-");
    entries.filter(is_log).max().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A folder as a kill left it.
fn killed(mode: Mode, kill: Kill, segment_bytes: Option<u64>) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("lotic-damage-").tempdir().unwrap();
    // Slow enough that the input does not end before the kill, however busy the machine.
    let settings = settings(folder.path(), mode, 5_000);
    assert_eq!(run(&settings, kill, segment_bytes).unwrap().end, End::Killed);
    folder
}

/// Runs on a damaged copy; whether the query went on. If it refused, it must go on with the file restored.
fn resume(killed: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> Result<bool, String> {
    let folder = tempfile::Builder::new().prefix("lotic-damaged-").tempdir().unwrap();
    copy(killed, folder.path());
    let settings = settings(folder.path(), Mode::Continuous, 0);
    let log = newest_log(&settings);
    let whole = fs::read(&log).unwrap();
    let mut damaged = whole.clone();
    damage(&mut damaged);
    fs::write(&log, damaged).unwrap();
    let went_on = match run(&settings, Kill::Never, None)?.end {
        End::Finished => true,
        End::Failed(said) => {
            check_refusal(&said, &settings)?;
            fs::write(&log, whole).unwrap();
            if run(&settings, Kill::Never, None)?.end != End::Finished {
                return Err("with its checkpoint restored the query should go on".to_owned());
            }
            false
        }
        End::Killed => return Err("nobody killed it".to_owned()),
    };
    check_complete(&settings)?;
    Ok(went_on)
}

/// A refusal says where, what and what to do.
fn check_refusal(said: &str, settings: &Settings) -> Result<(), String> {
    let place = settings.checkpoint().display().to_string();
    let what = ["would write rows twice", "holds no readable checkpoint", "is damaged"];
    let clear = said.contains("start: ")
        && said.contains(&place)
        && what.iter().any(|what| said.contains(what))
        && said.contains("restore the");
    if clear { Ok(()) } else { Err(format!("not a clear refusal: {said}")) }
}

#[test]
fn a_damaged_checkpoint_that_no_sink_has_committed_is_fallen_back_from() {
    let kill = Kill::Point { point: "before-commit", nth: 12 };
    let folder = killed(Mode::MicroBatch, kill, None);
    assert_eq!(resume(folder.path(), |bytes| bytes.truncate(bytes.len() - 1)), Ok(true));
    assert_eq!(resume(folder.path(), |bytes| *bytes.last_mut().unwrap() ^= 0x10), Ok(true));
}

#[test]
fn a_damaged_checkpoint_that_a_sink_has_committed_is_refused() {
    let kill = Kill::Point { point: "after-commit", nth: 12 };
    let folder = killed(Mode::MicroBatch, kill, None);
    assert_eq!(resume(folder.path(), |bytes| bytes.truncate(bytes.len() - 1)), Ok(false));
    assert_eq!(resume(folder.path(), |bytes| *bytes.last_mut().unwrap() ^= 0x10), Ok(false));
}

#[test]
fn damage_anywhere_in_the_newest_segment_never_gives_a_wrong_answer() {
    let seed = crate::NAMES.seed();
    let mut random = Random::new(seed);
    let kill = Kill::Outside { commits: random.between(8, 16), delay_us: random.below(3_000) };
    let folder = killed(Mode::Switching, kill, Some(24 * 1024));
    let mut went_on = 0;
    for number in 0..6 {
        let (place, bit) = (random.next() as usize, random.below(8));
        let resumed = resume(folder.path(), |bytes| {
            let place = place % bytes.len();
            if number % 2 == 0 { bytes.truncate(place) } else { bytes[place] ^= 1 << bit }
        });
        match resumed {
            Ok(resumed) => went_on += u32::from(resumed),
            Err(problem) => crate::NAMES.fail("damage_anywhere", seed, folder, &problem),
        }
    }
    println!("6 damages, seed {seed}: {went_on} fallen back from, {} refused", 6 - went_on);
}
