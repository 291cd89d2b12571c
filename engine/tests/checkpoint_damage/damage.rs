//! Damaged bytes.

use super::history::{History, plan, query, rich, segments};
use lotic::checkpoint::log::{Log, Recovered, recover};
use lotic::checkpoint::record::{Frame, Frames};
use lotic::operators::Epoch;
use lotic::testing::FaultyStorage;
use std::collections::BTreeMap;

fn recovered(files: &BTreeMap<String, Vec<u8>>) -> lotic::Result<Option<Recovered>> {
    recover(&mut FaultyStorage::with_files(3, files.clone()))
}

/// What must hold whatever was done to the file: an image as it was recorded, with a warning that names the
/// file if it is not the newest, or a refusal that names a file.
fn check(history: &History, files: &BTreeMap<String, Vec<u8>>, damaged: &str, how: &str) -> Option<Epoch> {
    let newest = *history.images.keys().next_back().unwrap();
    match recovered(files) {
        Ok(Some(found)) => {
            let epoch = found.image.epoch;
            assert_eq!(
                Some(&found.image),
                history.images.get(&epoch),
                "{damaged} {how}: image {epoch} differs"
            );
            let named = found.warnings.iter().any(|warning| warning.contains(damaged));
            // A log that ends between two records looks like one that was never longer.
            let unnoticed = how == "cut between records";
            assert!(
                epoch == newest || named || unnoticed,
                "{damaged} {how}: epoch {epoch} and only {:?}",
                found.warnings
            );
            assert!(found.next > epoch, "{damaged} {how}");
            if let Some(planned) = found.plan {
                assert_eq!(planned, plan(found.next.0), "{damaged} {how}: a plan is for the next epoch");
            }
            Some(epoch)
        }
        Ok(None) => panic!("{damaged} {how}: something was there"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("log-") || text.contains("base-"), "{damaged} {how}: {text}");
            None
        }
    }
}

/// After the recovery the query goes on: what it writes then is found by the recovery after that.
fn goes_on(files: &BTreeMap<String, Vec<u8>>) {
    let mut storage = FaultyStorage::with_files(4, files.clone());
    let Ok(found) = recover(&mut storage) else { return };
    let mut expected = found.as_ref().unwrap().image.clone();
    let mut log = Log::open(Box::new(storage.clone()), query("mine"), found.as_ref()).unwrap();
    let mut record = expected.clone().into_record(lotic::Mode::Continuous, 0);
    record.epoch = found.unwrap().next;
    record.deltas.extend(super::history::part(200, false).deltas);
    log.append_checkpoint(record.clone()).unwrap();
    expected.apply(record);
    let again = recover(&mut storage).unwrap().unwrap();
    assert_eq!(again.image, expected);
    assert_eq!(again.next, expected.epoch.next());
}

#[test]
fn undamaged_logs_are_read_to_their_end() {
    for history in [rich(), segments()] {
        let found = recovered(&history.storage.files()).unwrap().unwrap();
        assert_eq!(found.image, history.images[&history.last()]);
        assert_eq!(found.next, history.last().next());
        assert!(found.warnings.is_empty(), "{:?}", found.warnings);
        assert_eq!(found.query, query("mine"));
    }
    assert_eq!(recovered(&rich().storage.files()).unwrap().unwrap().plan, Some(plan(20)));
}

#[test]
fn a_file_truncated_anywhere_gives_a_recorded_image_or_a_refusal() {
    for history in [rich(), segments()] {
        let whole = history.storage.files();
        let newest = whole.keys().rfind(|name| name.starts_with("log-")).unwrap().clone();
        for (name, bytes) in &whole {
            let mut last = Some(Epoch::NONE);
            for length in 0..bytes.len() {
                let mut files = whole.clone();
                files.insert(name.clone(), bytes[..length].to_vec());
                let between = *name == newest && ends_with_a_whole_frame(&bytes[..length]);
                let how = if between { "cut between records".to_owned() } else { format!("cut at {length}") };
                let found = check(&history, &files, name, &how);
                if *name == newest {
                    assert!(found.is_some() && found >= last, "the more is left, the newer what is found");
                    last = found;
                }
                goes_on(&files);
            }
        }
    }
}

#[test]
fn a_bit_flipped_anywhere_gives_a_recorded_image_or_a_refusal() {
    for history in [rich(), segments()] {
        let whole = history.storage.files();
        for (name, bytes) in &whole {
            for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                // All bits of heads of frames and of the smaller log, one of every other byte.
                if whole.len() > 4 && bit != at % 8 {
                    continue;
                }
                let mut files = whole.clone();
                files.get_mut(name).unwrap()[at] ^= 1 << bit;
                check(&history, &files, name, &format!("bit {bit} of byte {at} flipped"));
                if at % 3 == 0 {
                    goes_on(&files);
                }
            }
        }
    }
}

#[test]
fn zeros_at_the_end_as_some_file_systems_leave_them_are_a_torn_tail() {
    let history = rich();
    let mut files = history.storage.files();
    let newest = files.keys().rfind(|name| name.starts_with("log-")).unwrap().clone();
    files.get_mut(&newest).unwrap().extend([0; 64]);
    assert_eq!(check(&history, &files, &newest, "with zeros"), Some(history.last()));
    goes_on(&files);
}

#[test]
fn a_damaged_base_is_done_without() {
    let history = rich();
    let whole = history.storage.files();
    let base = whole.keys().rfind(|name| name.starts_with("base-")).unwrap();
    for at in 0..whole[base].len() {
        let mut files = whole.clone();
        files.get_mut(base).unwrap()[at] ^= 0x10;
        assert_eq!(check(&history, &files, base, "flipped"), Some(history.last()), "byte {at}");
        let found = recovered(&files).unwrap().unwrap();
        assert!(found.warnings.iter().any(|warning| warning.contains(base)), "{:?}", found.warnings);
    }
}

#[test]
fn a_missing_file_gives_a_recorded_image_or_a_refusal() {
    for history in [rich(), segments()] {
        let whole = history.storage.files();
        let newest = whole.keys().rfind(|name| name.starts_with("log-")).unwrap().clone();
        for name in whole.keys() {
            let mut files = whole.clone();
            files.remove(name);
            match recovered(&files) {
                Ok(found) => {
                    let found = found.unwrap();
                    assert_eq!(found.image, history.images[&found.image.epoch], "without {name}");
                    // Nothing tells of a newest segment that is gone, unless a sink does.
                    assert!(found.image.epoch == history.last() || *name == newest, "without {name}");
                }
                Err(error) => assert!(error.to_string().contains(name), "without {name}: {error}"),
            }
        }
        let only_bases = whole.into_iter().filter(|(name, _)| name.starts_with("base-")).collect();
        match recovered(&only_bases) {
            Ok(found) => assert!(found.is_none(), "there is no base in this log"),
            Err(error) => {
                assert!(error.to_string().contains("log-") && error.to_string().contains("missing"))
            }
        }
    }
}

#[test]
fn numbers_are_not_given_again_after_a_fallback() {
    let mut history = segments();
    let first = "log-0000000000";
    let mut bytes = history.storage.files()[first].clone();
    let second = frame_end(&bytes, Epoch(1)) + 12;
    bytes[second] ^= 1;
    history.storage.set_file(first, bytes);
    for restart in 0..3 {
        let found = history.restart().unwrap().unwrap();
        assert_eq!(found.image, history.images[&Epoch(1)], "restart {restart}");
        assert_eq!(found.next, Epoch(10), "epochs up to 9 were durable once; restart {restart}");
        assert_eq!(found.warnings.is_empty(), restart > 0, "the damage lies behind; restart {restart}");
    }
    assert_eq!(history.epoch().unwrap(), Epoch(10));
    assert_eq!(history.restart().unwrap().unwrap().image, history.images[&Epoch(10)]);
}

#[test]
fn what_was_fallen_back_from_stays_void_even_if_it_can_be_read_again() {
    let mut history = History::new(FaultyStorage::new(5), u64::MAX);
    history.epochs(5);
    let name = "log-0000000000";
    let whole = history.storage.files()[name].clone();
    let mut cut = whole.clone();
    let fourth = frame_end(&whole, Epoch(3)) + 3;
    cut[fourth] ^= 1;
    history.storage.set_file(name, cut);
    assert_eq!(history.restart().unwrap().unwrap().image.epoch, Epoch(3));
    history.epoch().unwrap();
    let expected = history.images[&Epoch(4)].clone();
    history.storage.set_file(name, whole);
    let found = history.restart().unwrap().unwrap();
    assert_eq!(found.image, expected, "of the two epochs 4 the later one holds");
    assert!(found.next > Epoch(5), "the number 5 was given once");
}

fn ends_with_a_whole_frame(bytes: &[u8]) -> bool {
    let mut frames = Frames::new(bytes);
    frames.by_ref().count() > 0 && frames.position() == bytes.len()
}

fn frame_end(bytes: &[u8], epoch: Epoch) -> usize {
    let mut frames = Frames::new(bytes);
    let found =
        frames.by_ref().find(|frame| matches!(frame, Frame::Checkpoint(record) if record.epoch == epoch));
    assert!(found.is_some());
    frames.position()
}
