//! Writes that fail, disks that are full, crashes in between.

use super::history::{History, plan};
use lotic::checkpoint::log::{Log, recover};
use lotic::operators::Epoch;
use lotic::testing::{Access, FaultyStorage, Random};
use std::io::ErrorKind;

/// Runs a query whose n-th write of a kind fails. Returns whether it did.
fn run(access: Access, nth: u64, seed: u64) -> bool {
    let mut history = History::new(FaultyStorage::new(seed), 300);
    history.storage.fail(access, nth, ErrorKind::StorageFull);
    let mut good = Epoch::NONE;
    for step in 0..20 {
        match history.epoch() {
            Ok(epoch) => good = epoch,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull);
                let left = recover(&mut history.storage.clone()).unwrap();
                let image = left.expect("the header is there").image;
                // It may be whole on the disk all the same; nobody has told.
                let whole = image.epoch == good.next();
                assert!(whole || image == history.images[&good], "the last good epoch survives");
            }
        }
        // A base that cannot be written is put off; the segments serve on.
        let _ = history.compact();
        if step == 12 {
            let found = history.restart().or_else(|_| history.restart()).unwrap().unwrap();
            assert_eq!(found.image, history.images[&good]);
        }
    }
    assert_eq!(good, history.last());
    let mut survivors = history.storage.survivors();
    let found = recover(&mut survivors).unwrap().unwrap();
    assert_eq!(found.image, history.images[&good], "later epochs went on");
    history.storage.faults() > 0
}

#[test]
fn a_write_that_fails_costs_no_epoch_but_its_own() {
    for access in [Access::Append, Access::Put, Access::Remove] {
        let failing: u64 = (1..60).map(|nth| u64::from(run(access, nth, nth))).sum();
        assert!(failing > 2, "{access:?} failed {failing} times only");
    }
}

#[test]
fn a_full_disk_lets_the_last_good_epoch_survive_until_there_is_space_again() {
    for seed in 0..20 {
        let mut history = History::new(FaultyStorage::new(seed), 300);
        history.epochs(1 + seed % 6);
        let good = history.last();
        history.storage.set_full(true);
        for _ in 0..3 {
            assert_eq!(history.epoch().unwrap_err().kind(), ErrorKind::StorageFull);
            assert!(history.plan().is_err());
        }
        let mut survivors = history.storage.survivors();
        let found = recover(&mut survivors).unwrap().unwrap();
        assert!(found.image.epoch >= good, "{good} was durable");
        if found.image.epoch == good {
            assert_eq!(found.image, history.images[&good]);
        }
        history.storage.set_full(false);
        let after = history.epoch().unwrap();
        assert_eq!(after, Epoch(good.0 + 4), "epochs go on, with what the failed ones held");
        let found = recover(&mut history.storage.survivors()).unwrap().unwrap();
        assert_eq!(found.image, history.images[&after]);
        assert_eq!(found.image.handles.len(), 4, "also what their sinks prepared");
    }
}

#[test]
fn a_place_whose_first_write_failed_can_be_used_later() {
    for (full, crash) in [(true, false), (false, true)] {
        for seed in 0..10 {
            let storage = FaultyStorage::new(seed);
            storage.set_full(full);
            if crash {
                storage.crash_at(3); // list, list, put
            }
            let opened = recover(&mut storage.clone()).and_then(|found| {
                let query = super::history::query("mine");
                Log::open(Box::new(storage.clone()), query, found.as_ref())
            });
            let text = opened.unwrap_err().to_string();
            assert!(text.contains("a faulty disk") && text.contains("cannot be written to"), "{text}");
            let mut history = History::new(storage.survivors(), 300);
            assert_eq!(history.epoch().unwrap(), Epoch(1));
        }
    }
}

#[test]
fn a_place_that_cannot_be_read_is_an_error_and_no_fallback() {
    let mut history = History::new(FaultyStorage::new(1), 300);
    history.epochs(9);
    let storage = &history.storage;
    let before = storage.accesses();
    recover(&mut storage.clone()).unwrap();
    for nth in 1..=storage.accesses() - before {
        for access in [Access::List, Access::Read] {
            storage.fail(access, nth, ErrorKind::TimedOut);
            match recover(&mut storage.clone()) {
                Ok(found) => assert_eq!(found.unwrap().image.epoch, history.last(), "it was not reached"),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("a faulty disk") && text.contains("timed out"), "{text}");
                }
            }
            storage.calm();
        }
    }
}

#[test]
fn a_plan_survives_any_number_of_restarts_until_its_batch_is_durable() {
    let mut history = History::new(FaultyStorage::new(1), 300);
    history.epochs(2);
    history.plan().unwrap();
    for _ in 0..4 {
        assert_eq!(history.restart().unwrap().unwrap().plan, Some(plan(3)));
    }
    history.epoch().unwrap();
    history.plan().unwrap();
    assert_eq!(history.restart().unwrap().unwrap().plan, Some(plan(4)));
    history.epoch().unwrap();
    assert_eq!(history.restart().unwrap().unwrap().plan, None);
    // A plan made before the first checkpoint.
    let mut history = History::new(FaultyStorage::new(2), 300);
    history.plan().unwrap();
    for _ in 0..3 {
        let found = history.restart().unwrap().unwrap();
        assert_eq!((found.image.epoch, found.next, found.plan), (Epoch::NONE, Epoch(1), Some(plan(1))));
    }
}

#[test]
fn a_crash_at_any_access_loses_nothing_durable() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let mut history = History::new(FaultyStorage::new(seed), 300);
        let mut good = Epoch::NONE;
        for _ in 0..6 {
            history.storage.crash_at(random.between(1, 25));
            while !history.storage.has_crashed() {
                if random.once_in(3) {
                    let _ = history.plan();
                }
                if let Ok(epoch) = history.epoch() {
                    good = epoch;
                }
                let _ = history.compact();
            }
            history.storage = history.storage.survivors();
            let found = history.restart().unwrap().unwrap();
            if found.image.epoch == good {
                assert_eq!(found.image, history.images[&good], "seed {seed}");
            } else {
                assert_eq!(found.image.epoch, good.next(), "seed {seed}: the one that was being written");
                history.images.insert(found.image.epoch, found.image.clone());
                good = found.image.epoch;
            }
        }
    }
}

#[test]
fn what_can_be_read_and_may_not_be_durable_is_repeated_before_the_log_goes_on() {
    let (mut checkpoints, mut plans) = (0, 0);
    for seed in 0..2_000 {
        let mut history = History::new(FaultyStorage::new(seed), 300);
        history.epochs(1 + seed % 2);
        // The write goes through and the sync fails.
        history.storage.fail(Access::Append, 1, ErrorKind::TimedOut);
        let failed = if seed % 3 == 0 { history.plan().err() } else { history.epoch().err() };
        assert!(failed.is_some());
        let before = history.storage.clone();
        let found = history.restart().unwrap().unwrap();
        // Whatever a sink was told to commit now must survive the next power cut.
        history.storage = history.storage.survivors();
        let again = history.restart().unwrap().unwrap();
        assert_eq!((&again.image, &again.plan, again.next), (&found.image, &found.plan, found.next));
        checkpoints += u64::from(found.image.epoch.0 > 1 + seed % 2);
        plans += u64::from(found.plan.is_some());
        // And if there is no space to make it so, the query does not start.
        before.set_full(true);
        let unwritable = recover(&mut before.clone()).unwrap();
        let query = super::history::query("mine");
        assert!(Log::open(Box::new(before), query, unwritable.as_ref()).is_err());
    }
    assert!(
        checkpoints > 3 && plans > 3,
        "{checkpoints} checkpoints and {plans} plans were whole all the same"
    );
}
