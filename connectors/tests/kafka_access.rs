//! What a user may not do, against a real broker with an authorizer: the error says what to grant, nothing is lost, and
//! it works once the right is there.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod kafka_sink_support;
mod kafka_support;

use kafka_sink_support::{WRITER, committer, handle, numbered, outbox, read_all, start, unique, write};
use kafka_support::{Driver, PATIENCE, numbers, produce, values};
use lotic_connectors::kafka::{
    KafkaMessage, KafkaOffsets, KafkaParameters, KafkaSink, KafkaSource, KafkaTopics,
};
use lotic_connectors::testing::kafka::{Listener, Operation, Resource, Security, TestBroker};
use lotic_connectors::{ConnectorError, ErrorKind, Offsets, Result, Sink};
use lotic_operators::{Epoch, Instance, Rows};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const PASSWORD: &str = "correct-horse";
/// A user for each test, so that none has rights from another.
const USERS: [(&str, &str); 7] = [
    ("reader", PASSWORD),
    ("revoked", PASSWORD),
    ("monitor", PASSWORD),
    ("writer", PASSWORD),
    ("ids", PASSWORD),
    ("marker", PASSWORD),
    ("output", PASSWORD),
];

fn broker() -> Option<&'static TestBroker> {
    static SHARED: OnceLock<Option<TestBroker>> = OnceLock::new();
    let security = Security { users: &USERS, tls: false, authorizer: true };
    SHARED.get_or_init(|| TestBroker::start_secured(&security)).as_ref()
}

fn parameters(broker: &TestBroker, user: &str) -> KafkaParameters {
    KafkaParameters::new(broker.listener(Listener::SaslPlaintext))
        .with("security.protocol", "SASL_PLAINTEXT")
        .with("sasl.mechanism", "PLAIN")
        .with("sasl.username", user)
        .with("sasl.password", PASSWORD)
}

fn source(broker: &TestBroker, user: &str, topic: &str) -> KafkaSource {
    KafkaSource::new(parameters(broker, user), KafkaTopics::subscribe([topic]))
        .named("orders")
        .starting_offsets(KafkaOffsets::Earliest)
}

/// Tries until it is allowed: a right counts a moment after it was granted.
fn once_allowed<T>(mut attempt: impl FnMut() -> Result<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) if Instant::now() < deadline => assert_refused(&error),
            Err(error) => panic!("still refused: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_refused(error: &ConnectorError) {
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    let error = error.to_string();
    assert!(error.contains("grant it") && !error.contains(PASSWORD), "{error}");
}

/// The text of a refusal, which says who may not do what.
fn refusal(error: &ConnectorError, parts: &[&str]) {
    assert_refused(error);
    let error = error.to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_reader_is_told_which_right_it_misses_and_reads_once_it_has_it() {
    let Some(broker) = broker() else { return };
    let topic = broker.topic("orders", 1);
    produce(broker, &topic, 0, numbers(0..10));
    let source = source(broker, "reader", &topic);
    let begin = || Driver::start_instance(&source, Instance::ONLY, &Offsets::default());
    let address = broker.listener(Listener::SaslPlaintext);
    refusal(&begin().err().unwrap(), &["source `orders`", &topic, &address, "READ and DESCRIBE"]);

    // It may see the topic, and so where it ends, and not what is in it.
    broker.grant("reader", Operation::Describe, Resource::Topic(&topic));
    let mut driver = once_allowed(begin);
    refusal(&driver.failure(), &["source `orders`", &topic, &address, "READ and DESCRIBE"]);
    assert_eq!(driver.source.offsets(), Offsets::single(format!("{topic}-0"), 0));

    broker.grant("reader", Operation::Read, Resource::Topic(&topic));
    let expected: Vec<String> = numbers(0..10).collect();
    assert_eq!(values(&once_allowed(|| begin()?.try_read(10))), expected);
}

#[test]
fn a_right_that_is_taken_back_ends_the_query_and_nothing_is_lost() {
    let Some(broker) = broker() else { return };
    let topic = broker.topic("revoked", 1);
    produce(broker, &topic, 0, numbers(0..10));
    let source = source(broker, "revoked", &topic);
    broker.grant("revoked", Operation::Read, Resource::Topic(&topic));
    let mut driver = once_allowed(|| Driver::start_instance(&source, Instance::ONLY, &Offsets::default()));
    let mut read = values(&driver.read(10));
    broker.revoke("revoked", Operation::Read, Resource::Topic(&topic));
    refusal(&driver.failure(), &["source `orders`", &topic, "READ and DESCRIBE"]);
    produce(broker, &topic, 0, numbers(10..20));
    let offsets = driver.source.offsets();
    drop(driver);

    broker.grant("revoked", Operation::Read, Resource::Topic(&topic));
    let again = once_allowed(|| Driver::start_instance(&source, Instance::ONLY, &offsets)?.try_read(10));
    read.extend(values(&again));
    assert_eq!(read, numbers(0..20).collect::<Vec<_>>());
}

#[test]
fn a_group_that_may_not_be_used_costs_the_figure_of_commits_alone() {
    let Some(broker) = broker() else { return };
    let topic = broker.topic("monitored", 1);
    let name = format!("{topic}-0");
    produce(broker, &topic, 0, numbers(0..10));
    broker.grant("monitor", Operation::Read, Resource::Topic(&topic));
    let source = source(broker, "monitor", &topic);
    let mut driver = once_allowed(|| Driver::start_instance(&source, Instance::ONLY, &Offsets::default()));
    assert_eq!(driver.read(10).len(), 10);
    driver.source.committed(Epoch(1), &Offsets::single(name.clone(), 10));
    produce(broker, &topic, 0, numbers(10..20));
    assert_eq!(values(&driver.read(10)), numbers(10..20).collect::<Vec<_>>());
    assert_eq!(driver.source.figures()[&name].get("committed"), None);

    broker.grant("monitor", Operation::Read, Resource::Group("lotic-orders"));
    driver.eventually(|driver| {
        driver.source.committed(Epoch(2), &Offsets::single(name.clone(), 20));
        driver.try_poll(1000, None).unwrap();
        driver.source.figures()[&name].get("committed") == Some(&20.0)
    });
}

#[test]
fn a_writer_is_told_which_right_it_misses_and_writes_once_it_has_it() {
    let Some(broker) = broker() else { return };
    let topic = broker.topic("totals", 1);
    let sink = KafkaSink::new(parameters(broker, "writer")).named("totals").to_topic(&topic);
    let address = broker.listener(Listener::SaslPlaintext);
    refusal(&start(&sink).err().unwrap(), &["sink `totals`", &topic, &address, "WRITE and DESCRIBE"]);

    broker.grant("writer", Operation::Describe, Resource::Topic(&topic));
    let mut instance = once_allowed(|| start(&sink));
    let deliver = |instance: &mut dyn Sink<Rows<KafkaMessage>>| {
        write(instance, numbered(0..10))?;
        handle(instance, 1)
    };
    // Without WRITE on any topic the brokers do not even give it a producer id.
    refusal(&deliver(&mut *instance).unwrap_err(), &["sink `totals`", &topic, "WRITE"]);
    let other = broker.topic("other", 1);
    broker.grant("writer", Operation::Write, Resource::Topic(&other));
    let to_other = KafkaSink::new(parameters(broker, "writer")).named("totals").to_topic(&other);
    once_allowed(|| deliver(&mut *start(&to_other)?));
    let mut instance = start(&sink).unwrap();
    refusal(&deliver(&mut *instance).unwrap_err(), &["sink `totals`", &topic, "WRITE and DESCRIBE"]);
    assert_eq!(read_all(broker.bootstrap(), &topic, "read_uncommitted"), []);

    broker.grant("writer", Operation::Write, Resource::Topic(&topic));
    once_allowed(|| deliver(&mut *start(&sink)?));
    assert_eq!(read_all(broker.bootstrap(), &topic, "read_committed").len(), 10);
}

fn grant(broker: &TestBroker, user: &str, operations: &[Operation], resource: Resource<'_>) {
    for operation in operations {
        broker.grant(user, *operation, resource);
    }
}

/// An exactly-once sink of a user, with names of its own.
struct Exactly {
    topic: String,
    epochs: String,
    ids: String,
    sink: KafkaSink,
}

impl Exactly {
    fn new(broker: &TestBroker, user: &str) -> Exactly {
        let (topic, epochs, ids) = (broker.topic("output", 1), unique("epochs"), unique("ids"));
        let sink = KafkaSink::new(parameters(broker, user)).named("totals").to_topic(&topic).exactly_once();
        let sink = sink.commit_wait_max(Duration::from_secs(5));
        let sink = sink.epochs_topic(&epochs).transactional_id_prefix(&ids);
        Exactly { topic, epochs, ids, sink }
    }

    fn values(&self, broker: &TestBroker) -> Vec<String> {
        kafka_sink_support::values(broker.bootstrap(), &self.topic)
    }
}

#[test]
fn an_exactly_once_writer_without_its_transactional_id_says_which() {
    use Operation::{Create, Describe, Read, Write};
    let Some(broker) = broker() else { return };
    let user = "ids";
    let world = Exactly::new(broker, user);
    grant(broker, user, &[Write, Describe], Resource::Topic(&world.topic));
    grant(broker, user, &[Create, Describe, Read, Write], Resource::Topic(&world.epochs));
    let take_over = || committer(&world.sink, WRITER).last_committed();
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        let error = take_over().unwrap_err();
        if error.to_string().contains("transactional id") {
            break error;
        }
        assert!(Instant::now() < deadline, "{error}");
    };
    let id = format!("`{}-{WRITER}-0`", world.ids);
    refusal(&error, &["sink `totals`", &id, "WRITE and DESCRIBE", "`transactionalIdPrefix`"]);

    grant(broker, user, &[Write, Describe], Resource::TransactionalIds(&world.ids));
    assert_eq!(once_allowed(take_over), Epoch::NONE);
}

#[test]
fn an_exactly_once_writer_without_its_topic_of_epochs_says_which_and_commits_later() {
    use Operation::{Create, Describe, Read, Write};
    let Some(broker) = broker() else { return };
    let user = "marker";
    let world = Exactly::new(broker, user);
    let epochs = world.epochs.clone();
    grant(broker, user, &[Write, Describe], Resource::Topic(&world.topic));
    grant(broker, user, &[Write, Describe], Resource::TransactionalIds(&world.ids));
    let named = ["sink `totals`", &*format!("topic of epochs `{epochs}`")];
    refusal(
        &committer(&world.sink, WRITER).last_committed().unwrap_err(),
        &[&named[..], &["CREATE"]].concat(),
    );
    // Made by somebody else; it may see that it is there.
    broker.create_topic(&epochs, 1, &[("cleanup.policy", "compact")]);
    grant(broker, user, &[Describe], Resource::Topic(&epochs));
    let outbox = once_allowed(|| start(&world.sink).map(|_| outbox(&world.sink, 1, 0..10)));
    let mut committer = committer(&world.sink, WRITER);
    refusal(&committer.last_committed().unwrap_err(), &[&named[..], &["READ"]].concat());
    grant(broker, user, &[Read], Resource::Topic(&epochs));
    assert_eq!(once_allowed(|| committer.last_committed()), Epoch::NONE);
    for _ in 0..2 {
        let error = committer.commit(Epoch(1), &[&outbox]).unwrap_err();
        refusal(&error, &["sink `totals`", &epochs, "WRITE"]);
        assert_eq!(world.values(broker), [""; 0]);
    }
    grant(broker, user, &[Create, Write], Resource::Topic(&epochs));
    once_allowed(|| committer.commit(Epoch(1), &[&outbox]));
    committer.commit(Epoch(1), &[&outbox]).unwrap();
    assert_eq!(world.values(broker).len(), 10);
}

#[test]
fn an_exactly_once_writer_whose_right_is_taken_back_keeps_the_epoch_until_it_is_there_again() {
    use Operation::{Create, Describe, Read, Write};
    let Some(broker) = broker() else { return };
    let user = "output";
    let world = Exactly::new(broker, user);
    grant(broker, user, &[Write, Describe], Resource::Topic(&world.topic));
    grant(broker, user, &[Write, Describe], Resource::TransactionalIds(&world.ids));
    grant(broker, user, &[Create, Describe, Read, Write], Resource::Topic(&world.epochs));
    let outboxes =
        once_allowed(|| start(&world.sink).map(|_| [0, 10].map(|at| outbox(&world.sink, 1, at..at + 10))));
    let mut living = once_allowed(|| {
        let mut committer = committer(&world.sink, WRITER);
        committer.commit(Epoch(1), &[&outboxes[0]]).map(|()| committer)
    });
    broker.revoke(user, Write, Resource::Topic(&world.topic));
    let deadline = Instant::now() + PATIENCE;
    let mut epoch = 1;
    let error = loop {
        epoch += 1;
        match living.commit(Epoch(epoch), &[&outboxes[1]]) {
            Err(error) => break error,
            Ok(()) => assert!(Instant::now() < deadline, "it may still write"),
        }
    };
    refusal(&error, &["sink `totals`", &world.topic, "WRITE"]);
    let before = world.values(broker).len();
    assert_eq!(before as u64, 10 * (epoch - 1));
    drop(living);

    // The query started again, with the epoch from its checkpoint.
    let mut successor = committer(&world.sink, WRITER);
    assert_eq!(successor.last_committed().unwrap(), Epoch(epoch - 1));
    successor.commit(Epoch(epoch), &[&outboxes[1]]).unwrap_err();
    broker.grant(user, Write, Resource::Topic(&world.topic));
    once_allowed(|| successor.commit(Epoch(epoch), &[&outboxes[1]]));
    successor.commit(Epoch(epoch), &[&outboxes[1]]).unwrap();
    assert_eq!(world.values(broker).len(), before + 10);
}
