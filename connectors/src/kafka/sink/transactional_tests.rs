//! What only a look inside can bring about.

use super::super::KafkaSink;
use super::*;
use crate::kafka::{KafkaMessage, KafkaParameters};
use crate::sink::SinkFactory;
use crate::testing::kafka::TestBroker;
use lotic_operators::{Instance, Rows};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

const WAIT: Duration = Duration::from_secs(60);

/// A commit is answered before its marker can be read: the ends are these in the end, and nothing beyond.
fn wait_for_ends(bootstrap: &str, topic: &str, expected: (i64, i64)) {
    let deadline = Instant::now() + WAIT;
    loop {
        let found = ends(bootstrap, topic);
        if found == expected {
            return;
        }
        assert!(found <= expected && Instant::now() < deadline, "{found:?} and not {expected:?}");
    }
}

/// Offsets taken up by records and markers, and those before which every transaction has ended.
fn ends(bootstrap: &str, topic: &str) -> (i64, i64) {
    let end = |isolation: &str| {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", bootstrap).set("isolation.level", isolation);
        let reader: BaseConsumer = settings.create().unwrap();
        reader.fetch_watermarks(topic, 0, WAIT).unwrap().1
    };
    (end("read_uncommitted"), end("read_committed"))
}

struct World {
    broker: &'static TestBroker,
    topic: String,
    epochs: String,
    /// `transaction.timeout.ms`.
    timeout_ms: &'static str,
}

impl World {
    /// Transactions that do not expire in a test, however slow the machine is.
    fn new(broker: &'static TestBroker) -> World {
        let (topic, epochs) = (broker.topic("output", 1), broker.topic("epochs-name", 1) + "-made");
        World { broker, topic, epochs, timeout_ms: "300000" }
    }

    fn sink(&self) -> KafkaSink {
        let parameters =
            KafkaParameters::new(self.broker.bootstrap()).with("transaction.timeout.ms", self.timeout_ms);
        let sink = KafkaSink::new(parameters).to_topic(&self.topic).exactly_once();
        sink.epochs_topic(&self.epochs).transactional_id_prefix(&self.epochs)
    }

    fn committer(&self) -> TransactionalCommitter {
        self.sink().transactions("query/sink").unwrap()
    }

    fn outbox(&self, value: &str) -> Vec<u8> {
        let sink = self.sink();
        let factory: &dyn SinkFactory<Rows<KafkaMessage>> = &sink;
        let mut instance = factory.create(Instance::ONLY).unwrap();
        instance.start(Epoch(1)).unwrap();
        instance.write(&mut Rows::from(vec![KafkaMessage::new(value.to_owned())]), Waker::noop()).unwrap();
        instance.pre_commit(Epoch(1)).unwrap().unwrap()().unwrap()
    }
}

#[test]
fn an_epoch_whose_transaction_the_brokers_gave_up_is_sent_again() {
    let Some(broker) = TestBroker::shared() else { return };
    let world = World { timeout_ms: "1000", ..World::new(broker) };
    let outbox = world.outbox("a");
    let mut committer = world.committer();
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counting, topic) = (Arc::clone(&attempts), world.topic.clone());
    committer.before_commit = Some(Box::new(move |_| {
        if counting.fetch_add(1, Ordering::SeqCst) == 0 {
            let deadline = Instant::now() + WAIT;
            // The record, and behind it the marker that aborts it.
            while ends(broker.bootstrap(), &topic) != (2, 2) {
                assert!(Instant::now() < deadline, "the transaction does not expire");
            }
        }
    }));
    committer.commit(Epoch(1), &[&outbox]).unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    // Once more the record and a marker, which commits it.
    wait_for_ends(broker.bootstrap(), &world.topic, (4, 4));
    drop(committer);
    assert_eq!(world.committer().last_committed().unwrap(), Epoch(1));
}

#[test]
fn epochs_that_wait_are_committed_by_one_transaction() {
    let Some(broker) = TestBroker::shared() else { return };
    let world = World::new(broker);
    let outboxes: Vec<Vec<u8>> = (0..4).map(|number| world.outbox(&number.to_string())).collect();
    let prepared =
        |epoch: usize| PreparedEpoch { epoch: Epoch(epoch as u64), handles: vec![&outboxes[epoch - 1]] };
    let transactions = Arc::new(AtomicUsize::new(0));
    let counted = || {
        let mut committer = world.committer();
        let counting = Arc::clone(&transactions);
        committer.before_commit = Some(Box::new(move |_| _ = counting.fetch_add(1, Ordering::SeqCst)));
        committer
    };
    let mut committer = counted();
    committer.commit_all(&[prepared(1), prepared(2), prepared(3)]).unwrap();
    assert_eq!(transactions.load(Ordering::SeqCst), 1);
    // Three records and one marker.
    wait_for_ends(broker.bootstrap(), &world.topic, (4, 4));
    committer.commit_all(&[prepared(2), prepared(3)]).unwrap();
    drop(committer);
    // As a recovery would have it: some are committed, some are not.
    let mut successor = counted();
    assert_eq!(successor.last_committed().unwrap(), Epoch(3));
    successor.commit_all(&[prepared(2), prepared(3), prepared(4)]).unwrap();
    assert_eq!(transactions.load(Ordering::SeqCst), 2);
    wait_for_ends(broker.bootstrap(), &world.topic, (6, 6));
    assert_eq!(successor.last_committed().unwrap(), Epoch(4));
}

#[test]
fn epochs_go_together_up_to_a_size() {
    let (small, large) = ([0u8; 10], [0u8; 100]);
    let epochs: Vec<PreparedEpoch<'_>> = [&small[..], &small, &large, &small]
        .into_iter()
        .zip(5..)
        .map(|(handle, epoch)| PreparedEpoch { epoch: Epoch(epoch), handles: vec![handle] })
        .collect();
    let all: Vec<&PreparedEpoch<'_>> = epochs.iter().collect();
    let mut rest = &all[..];
    let mut runs = Vec::new();
    while !rest.is_empty() {
        let (run, later) = Run::cut(rest, 25);
        runs.push((run.0.len(), run.newest().0));
        rest = later;
    }
    assert_eq!(runs, [(2, 6), (1, 7), (1, 8)]);
    let (run, _) = Run::cut(&all, usize::MAX);
    let overtaken = (4..10).map(|epoch| run.is_overtaken(Epoch(epoch)));
    assert_eq!(overtaken.collect::<Vec<_>>(), [false, true, true, true, false, true]);
}

#[test]
fn a_process_that_dies_with_its_transaction_open_leaves_nothing_behind() {
    let Some(broker) = TestBroker::shared() else { return };
    let world = World::new(broker);
    let outbox = world.outbox("a");
    let mut dying = world.committer();
    dying.before_commit = Some(Box::new(|_| panic!("dies")));
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dying.commit(Epoch(1), &[&outbox])));
    assert!(died.is_err());
    let mut successor = world.committer();
    assert_eq!(successor.last_committed().unwrap(), Epoch::NONE);
    successor.commit(Epoch(1), &[&outbox]).unwrap();
    drop(dying);
    wait_for_ends(broker.bootstrap(), &world.topic, (4, 4));
}

#[test]
fn a_successor_that_comes_in_the_middle_of_an_epoch_wins() {
    let Some(broker) = TestBroker::shared() else { return };
    let world = World::new(broker);
    let outbox = world.outbox("a");
    let mut zombie = world.committer();
    let mut taking_over = world.committer();
    let (sender, successors) = std::sync::mpsc::channel();
    zombie.before_commit = Some(Box::new(move |_| {
        assert_eq!(taking_over.last_committed().unwrap(), Epoch::NONE);
        sender.send(()).unwrap();
    }));
    let error = zombie.commit(Epoch(1), &[&outbox]).unwrap_err().to_string();
    assert!(error.contains("another process runs this query"), "{error}");
    successors.recv().unwrap();
    let mut third = world.committer();
    assert_eq!(third.last_committed().unwrap(), Epoch::NONE);
    third.commit(Epoch(1), &[&outbox]).unwrap();
    wait_for_ends(broker.bootstrap(), &world.topic, (4, 4));
}
