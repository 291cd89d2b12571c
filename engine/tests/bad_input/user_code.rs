//! Closures that panic, operators that fail, values that cannot be written down.

use crate::{CONTINUOUS, MICRO_BATCH, ended, says, session};
use lotic::connectors::memory::{self, MemorySink, MemorySource};
use lotic::connectors::{
    self, Latest, Offsets, PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits,
};
use lotic::operators::{Instance, Operator, OperatorError, Output, Rows};
use lotic::{ErrorKind, Mode, QueryStatus, RestartPolicy, Session};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::{Duration, Instant};

#[test]
fn a_panic_is_named_with_operator_instance_epoch_and_cause_and_others_live_on() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let session = Session::builder().workers(2).parallelism(2).get_or_create().unwrap();
        let (good_input, source) = memory::stream::<u64>("good", 2);
        let good = session.source(source).map(|n| n).sink(MemorySink::new()).start(trigger).unwrap();
        let (input, source) = memory::stream::<u64>("bad", 2);
        let counts =
            session.source(source).key_by(|n| n % 7).fold(0u64, |_, n| assert_ne!(n, 40, "forty is wrong"));
        let bad = counts.sink(MemorySink::new()).start(trigger).unwrap();
        input.add(0..30);
        bad.process_all_available().unwrap();
        let committed = bad.last_progress().unwrap().epoch;
        input.add(30..50);
        let error = ended(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        let operator = error.operator().unwrap();
        assert!(["aggregate[0]", "aggregate[1]"].contains(&operator), "{operator}");
        assert!(error.epoch().unwrap() > committed, "{error} is after epoch {committed}");
        says(&error, &[operator, "panicked", "forty is wrong", "(in epoch "]);
        good_input.add(0..100);
        good.process_all_available().unwrap();
        assert_eq!(good.status(), QueryStatus::Running);
        good.stop().unwrap();
    }
}

/// An operator that says no to 13.
struct Picky;

impl Operator<Rows<u64>, Rows<u64>> for Picky {
    fn process(
        &mut self,
        input: &mut Rows<u64>,
        output: &mut Output<Rows<u64>>,
    ) -> lotic::operators::Result<()> {
        for row in input {
            if row == 13 {
                return Err(OperatorError::User("13 brings bad luck: leave it out".to_owned()));
            }
            output.push(row);
        }
        Ok(())
    }
}

#[test]
fn an_error_of_an_operator_is_passed_on_as_it_was_said() {
    let query = session().source(MemorySource::new(0..20u64)).apply("picky", |_| Picky).uid("choice");
    let error = ended(&query.for_each(|_| {}).start(CONTINUOUS).unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.operator()), (ErrorKind::User, Some("choice[0]")));
    says(&error, &["13 brings bad luck: leave it out", "`choice[0]`", "(in epoch 1)"]);
}

/// A state that panics when a checkpoint is written.
#[derive(Debug, Clone, Default, Deserialize)]
struct Unwritable(u64);

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 < 5, "five cannot be written down");
        serializer.serialize_u64(self.0)
    }
}

#[test]
fn a_panic_while_a_checkpoint_is_written_ends_the_query_and_not_the_process() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let folder = tempfile::tempdir().unwrap();
        let states = session().source(MemorySource::new(0..20u64)).key_by(|n| n % 2);
        let states = states.fold(Unwritable::default(), |state, _| state.0 += 1);
        let query =
            states.map(|_| ()).for_each(|()| {}).checkpoint_location(folder.path()).start(trigger).unwrap();
        let error = ended(&query).unwrap_err();
        says(&error, &["panicked", "five cannot be written down", "(in epoch "]);
    }
}

#[test]
fn the_restart_policy_is_kept_in_count_and_in_backoff() {
    let deaths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&deaths);
    let backoff = Duration::from_millis(20);
    let rows = session().source(MemorySource::new(0..10u64)).map(move |n| {
        seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Instant::now());
        assert!(n > 100, "never good");
        n
    });
    let query =
        rows.sink(MemorySink::new()).restart(RestartPolicy::attempts(3, backoff)).start(CONTINUOUS).unwrap();
    let error = ended(&query).unwrap_err();
    says(&error, &["`map[0]`", "never good", "(in epoch 1)"]);
    assert_eq!((query.restarts(), query.status()), (3, QueryStatus::Failed));
    let deaths = deaths.lock().unwrap();
    assert_eq!(deaths.len(), 4, "the first run and three more");
    for (number, pair) in deaths.windows(2).enumerate() {
        let waited = pair[1] - pair[0];
        assert!(waited >= backoff * (1 << number), "restart {number} came after {waited:?}");
    }
}

#[test]
fn a_failure_while_it_restarts_is_an_attempt_like_any_other() {
    let built = Arc::new(Mutex::new(0));
    let count = Arc::clone(&built);
    let picky = session().source(MemorySource::new(0..20u64)).apply("picky", move |_| {
        let mut built = count.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *built += 1;
        assert!(*built != 2, "cannot be built the second time");
        Picky
    });
    let policy = RestartPolicy::attempts(3, Duration::from_millis(1));
    let query = picky.sink(MemorySink::new()).restart(policy).start(CONTINUOUS).unwrap();
    let error = ended(&query).unwrap_err();
    says(&error, &["13 brings bad luck"]);
    assert_eq!((query.restarts(), *built.lock().unwrap_or_else(std::sync::PoisonError::into_inner)), (3, 4));
}

#[test]
fn a_trigger_set_while_the_query_waits_for_its_restart_is_kept() {
    let session = session();
    let (input, source) = memory::stream::<u64>("numbers", 1);
    let good = Arc::new(AtomicBool::new(false));
    let is_good = Arc::clone(&good);
    let rows = session.source(source).map(move |n| {
        assert!(is_good.load(Ordering::SeqCst), "not yet");
        n
    });
    let sink = MemorySink::new();
    let policy = RestartPolicy::attempts(5, Duration::from_millis(100));
    let query = rows.sink(sink.clone()).restart(policy).start(CONTINUOUS).unwrap();
    input.add(0..10);
    while query.status() != QueryStatus::Restarting {
        std::thread::yield_now();
    }
    good.store(true, Ordering::SeqCst);
    query.set_trigger(MICRO_BATCH).unwrap();
    query.process_all_available().unwrap();
    assert_eq!(query.last_progress().unwrap().mode, Mode::MicroBatch);
    assert_eq!(sink.committed(), (0..10).collect::<Vec<_>>());
    query.stop().unwrap();
}

/// A source whose thread panics at its second poll.
#[derive(Clone)]
struct Fainting;

impl SourceFactory<Rows<u64>> for Fainting {
    fn traits(&self) -> SourceTraits {
        let name = "fainting".to_owned();
        SourceTraits { name, replayable: false, polling: Polling::Blocking, max_parallelism: 1 }
    }

    fn create(&self, _: Instance) -> connectors::Result<Box<dyn Source<Rows<u64>>>> {
        Ok(Box::new(Faint { read: 0 }))
    }
}

struct Faint {
    read: u64,
}

impl Source<Rows<u64>> for Faint {
    fn start(&mut self, _: &Offsets) -> connectors::Result<()> {
        Ok(())
    }

    fn poll(&mut self, _: PollRequest<'_>) -> connectors::Result<Polled<Rows<u64>>> {
        assert!(self.read == 0, "the source fainted");
        self.read += 1;
        Ok(Polled::Batch(Rows::from(vec![1])))
    }

    fn offsets(&self) -> Offsets {
        Offsets::single("0", self.read)
    }

    fn latest(&mut self, _: u64, _: &Waker) -> connectors::Result<Latest> {
        Ok(Latest::At(self.offsets()))
    }
}

#[test]
fn a_source_that_panics_on_its_own_thread_ends_the_query_with_the_cause() {
    for trigger in [CONTINUOUS, MICRO_BATCH] {
        let query = session().source(Fainting).for_each(|_| {}).start(trigger).unwrap();
        let error = ended(&query).unwrap_err();
        assert_eq!(error.operator(), Some("source-fainting[0]"));
        says(&error, &["panicked: the source fainted", "(in epoch "]);
    }
}
