//! Lookup joins end to end, with a service that answers when the test says so.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::connectors::memory::{self, MemorySource};
use lotic::operators::lookup::{LookupCache, LookupOptions, LookupOrder, OnFailure};
use lotic::{Error, ErrorKind, Session, Stream, StreamingQuery, Trigger};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

const LIMIT: Duration = Duration::from_secs(60);
const CONTINUOUS: Trigger = Trigger::Continuous(Duration::from_millis(2));
const MICRO_BATCH: Trigger = Trigger::ProcessingTime(Duration::ZERO);
const TRIGGERS: [Trigger; 2] = [CONTINUOUS, MICRO_BATCH];

type Reply = Result<Option<u64>, String>;
type Joined = (u64, Option<u64>);

#[derive(Default)]
struct Requests {
    asked: Vec<u64>,
    open: Vec<(u64, oneshot::Sender<Reply>)>,
    most_open: usize,
}

/// Holds each request until the test answers it.
#[derive(Clone, Default)]
struct Service(Arc<(Mutex<Requests>, Condvar)>);

impl Service {
    fn ask(&self, key: u64) -> impl Future<Output = Reply> + use<> {
        let (answer, answered) = oneshot::channel();
        let mut requests = self.0.0.lock().unwrap();
        requests.asked.push(key);
        requests.open.retain(|(_, waiting)| !waiting.is_closed());
        requests.open.push((key, answer));
        requests.most_open = requests.most_open.max(requests.open.len());
        self.0.1.notify_all();
        async move { answered.await.unwrap_or_else(|_| Err("the test is over".to_owned())) }
    }

    /// Waits until the keys have been asked for, in this order.
    fn asked(&self, keys: &[u64]) {
        let fewer = |requests: &mut Requests| requests.asked.len() < keys.len();
        let (requests, timeout) =
            self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), LIMIT, fewer).unwrap();
        assert!(!timeout.timed_out(), "only {:?} were asked for", requests.asked);
        assert_eq!(requests.asked, keys);
    }

    /// Answers the oldest open request for the key.
    fn answer(&self, key: u64, reply: Reply) {
        let mut requests = self.0.0.lock().unwrap();
        let at = requests.open.iter().position(|(open, _)| *open == key).unwrap();
        requests.open.remove(at).1.send(reply).unwrap();
    }

    fn most_open(&self) -> usize {
        self.0.0.lock().unwrap().most_open
    }
}

fn session(parallelism: usize) -> Session {
    Session::builder().app_name("lookup").workers(2).parallelism(parallelism).get_or_create().unwrap()
}

fn joined(rows: Stream<u64>, service: &Service, options: LookupOptions) -> Stream<Joined> {
    let service = service.clone();
    rows.key_by(|row| *row).left_lookup_join(options, move |key| service.ask(key))
}

fn start(rows: Stream<Joined>, trigger: Trigger) -> (StreamingQuery, Receiver<Joined>) {
    let (send, received) = channel();
    let query = rows
        .for_each(move |row| {
            let _ = send.send(row);
        })
        .start(trigger)
        .unwrap();
    (query, received)
}

/// A query over these rows.
fn run(
    rows: &[u64],
    options: LookupOptions,
    trigger: Trigger,
) -> (Service, StreamingQuery, Receiver<Joined>) {
    let service = Service::default();
    let rows = session(1).source(MemorySource::new(rows.to_vec()));
    let (query, received) = start(joined(rows, &service, options), trigger);
    (service, query, received)
}

fn next(received: &Receiver<Joined>) -> Joined {
    received.recv_timeout(LIMIT).unwrap()
}

fn ended(query: &StreamingQuery) -> Result<(), Error> {
    query.await_termination_timeout(LIMIT).map(|over| assert!(over, "the query hangs"))
}

#[test]
fn in_order_an_answer_waits_for_those_before_it() {
    for trigger in TRIGGERS {
        let (service, query, received) = run(&[1, 2, 3], LookupOptions::default(), trigger);
        service.asked(&[1, 2, 3]);
        service.answer(3, Ok(Some(30)));
        service.answer(2, Ok(None));
        service.answer(1, Ok(Some(10)));
        ended(&query).unwrap();
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [(1, Some(10)), (2, None), (3, Some(30))]);
    }
}

#[test]
fn out_of_order_a_row_leaves_when_it_is_answered() {
    for trigger in TRIGGERS {
        let options = LookupOptions::default().order(LookupOrder::Unordered);
        let (service, query, received) = run(&[1, 2, 3], options, trigger);
        service.asked(&[1, 2, 3]);
        for key in [3, 1, 2] {
            service.answer(key, Ok(Some(key * 10)));
            assert_eq!(next(&received), (key, Some(key * 10)));
        }
        ended(&query).unwrap();
    }
}

#[test]
fn no_more_requests_are_open_than_the_capacity() {
    for trigger in TRIGGERS {
        let options = LookupOptions::default().order(LookupOrder::Unordered).capacity(2);
        let (service, query, received) = run(&[1, 2, 3, 4, 5], options, trigger);
        for key in 1..=5 {
            let asked: Vec<u64> = (1..=5.min(key + 1)).collect();
            service.asked(&asked);
            service.answer(key, Ok(None));
        }
        ended(&query).unwrap();
        assert_eq!((service.most_open(), received.try_iter().count()), (2, 5));
    }
}

#[test]
fn rows_of_one_key_share_a_request_and_then_what_is_remembered() {
    for trigger in TRIGGERS {
        let cache = LookupCache::new(10, Duration::from_secs(3600));
        let options = LookupOptions::default().capacity(3).cache(cache);
        let (service, query, received) = run(&[7, 7, 7, 7, 8, 7], options, trigger);
        service.asked(&[7]);
        service.answer(7, Ok(None));
        service.asked(&[7, 8]);
        service.answer(8, Ok(Some(1)));
        ended(&query).unwrap();
        service.asked(&[7, 8]);
        let seven = (7, None);
        let rows: Vec<Joined> = received.try_iter().collect();
        assert_eq!(rows, [seven, seven, seven, seven, (8, Some(1)), seven]);
    }
}

#[test]
fn an_inner_join_leaves_out_rows_without_a_match() {
    let rows = session(1).source(MemorySource::new(0..6u64)).key_by(|row| *row);
    let even = |key: u64| async move { Ok::<_, Infallible>(key.is_multiple_of(2).then_some(key * 10)) };
    let (query, even) = rows.lookup_join(LookupOptions::default(), even).egress("even");
    let query = query.start(CONTINUOUS).unwrap();
    assert_eq!(even.iter().collect::<Vec<_>>(), [(0, 0), (2, 20), (4, 40)]);
    ended(&query).unwrap();
}

#[test]
fn a_request_that_takes_too_long_has_failed() {
    let options = LookupOptions::default().timeout(Duration::from_millis(1));
    let (_service, query, _received) = run(&[4], options, CONTINUOUS);
    let error = ended(&query).unwrap_err();
    assert_eq!((error.kind(), error.operator()), (ErrorKind::External, Some("left-lookup-join[0]")));
    let said = error.to_string();
    assert!(said.contains("no answer for the key 4: it took longer than the timeout of 1ms"), "{said}");
    let (_service, query, received) = run(&[4], options.on_failure(OnFailure::NoMatch), MICRO_BATCH);
    ended(&query).unwrap();
    assert_eq!(next(&received), (4, None));
}

#[test]
fn a_key_is_asked_for_again_as_often_as_the_options_say() {
    let options = LookupOptions::default().attempts(2, Duration::from_millis(1));
    let (service, query, received) = run(&[5], options, CONTINUOUS);
    service.asked(&[5]);
    service.answer(5, Err("busy".to_owned()));
    service.asked(&[5, 5]);
    service.answer(5, Ok(Some(50)));
    ended(&query).unwrap();
    assert_eq!(next(&received), (5, Some(50)));

    let (service, query, _received) = run(&[5], options, CONTINUOUS);
    for asked in [&[5][..], &[5, 5]] {
        service.asked(asked);
        service.answer(5, Err("busy".to_owned()));
    }
    let said = ended(&query).unwrap_err().to_string();
    assert!(said.contains("no answer for the key 5: busy (the last of 2 attempts)"), "{said}");
}

#[test]
fn a_panic_ends_its_query_and_no_other_on_the_same_thread() {
    let session = Session::builder().app_name("panics").workers(1).parallelism(1).get_or_create().unwrap();
    let service = Service::default();
    let good = joined(session.source(MemorySource::new([1u64])), &service, LookupOptions::default());
    let (good, received) = start(good, CONTINUOUS);
    service.asked(&[1]);
    let ask = |key: u64| async move {
        assert_ne!(key, 13, "thirteen is wrong");
        Ok::<_, Infallible>(Some(key))
    };
    let options = LookupOptions::default().on_failure(OnFailure::NoMatch);
    let bad = session.source(MemorySource::new([13u64])).key_by(|row| *row).left_lookup_join(options, ask);
    let error = ended(&start(bad, CONTINUOUS).0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.to_string().contains("thirteen is wrong"), "{error}");
    service.answer(1, Ok(Some(10)));
    ended(&good).unwrap();
    assert_eq!(next(&received), (1, Some(10)));
}

#[test]
fn in_continuous_mode_a_checkpoint_does_not_wait_for_the_service() {
    let service = Service::default();
    let (input, source) = memory::stream::<u64>("rows", 1);
    let rows = session(1).source(source);
    let (query, received) = start(joined(rows, &service, LookupOptions::default()), CONTINUOUS);
    input.add([1]);
    service.asked(&[1]);
    query.process_all_available().unwrap();
    assert!(received.try_recv().is_err(), "the row is in flight in a durable epoch");
    service.answer(1, Ok(Some(10)));
    assert_eq!(next(&received), (1, Some(10)));
    query.stop().unwrap();
}

#[test]
fn every_row_is_joined_once_across_switches_of_the_mode() {
    for parallelism in [1, 3] {
        let (input, source) = memory::stream::<u64>("rows", parallelism);
        let options = LookupOptions::default().capacity(8).order(LookupOrder::Unordered);
        let slow = |key: u64| async move {
            for _ in 0..key % 5 {
                tokio::task::yield_now().await;
            }
            Ok::<_, Infallible>((!key.is_multiple_of(3)).then_some(key * 10))
        };
        let rows = session(parallelism).source(source).key_by(|row| row % 50).left_lookup_join(options, slow);
        let (query, received) = start(rows, CONTINUOUS);
        for round in 0..6u64 {
            input.add(round * 500..(round + 1) * 500);
            query.set_trigger(TRIGGERS[(round as usize + 1) % 2]).unwrap();
        }
        input.finish();
        ended(&query).unwrap();
        let mut rows: BTreeMap<u64, Vec<Option<u64>>> = BTreeMap::new();
        received.try_iter().for_each(|(row, value)| rows.entry(row).or_default().push(value));
        let value = |key: u64| (!key.is_multiple_of(3)).then_some(key * 10);
        let expected = (0..3_000u64).map(|row| (row, vec![value(row % 50)])).collect();
        assert_eq!(rows, expected);
    }
}
