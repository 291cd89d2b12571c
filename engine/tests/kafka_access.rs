//! A query whose user misses a right: its restart policy carries it over until the right is granted.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "tests")]

use lotic::connectors::kafka::{
    KafkaMessage, KafkaOffsets, KafkaParameters, KafkaRecord, KafkaSink, KafkaSource, KafkaTopics,
};
use lotic::connectors::testing::kafka::{Listener, Operation, Resource, Security, TestBroker};
use lotic::{RestartPolicy, Session, StreamingQuery, Trigger};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const USER: &str = "totals";
const PASSWORD: &str = "correct-horse";

fn numbered(numbers: std::ops::Range<u32>) -> Vec<KafkaMessage> {
    numbers.map(|number| KafkaMessage::new(number.to_string())).collect()
}

/// Writes as the administrator, and ends.
fn send(session: &Session, broker: &TestBroker, topic: &str, messages: Vec<KafkaMessage>) {
    let (stream, source) = lotic::connectors::memory::stream::<KafkaMessage>("messages", 1);
    stream.add(messages);
    drop(stream);
    let sink = KafkaSink::new(KafkaParameters::new(broker.bootstrap())).to_topic(topic);
    session.source(source).sink(sink).start(Trigger::AvailableNow).unwrap().await_termination().unwrap();
}

/// What the administrator sees committed.
fn values(session: &Session, broker: &TestBroker, topic: &str) -> Vec<String> {
    let parameters = KafkaParameters::new(broker.bootstrap());
    let source = KafkaSource::new(parameters, KafkaTopics::subscribe([topic]));
    let (query, rows) = session.source(source.starting_offsets(KafkaOffsets::Earliest)).egress("records");
    let query = query.start(Trigger::AvailableNow).unwrap();
    let value = |record: KafkaRecord| record.value_str().unwrap().unwrap().to_owned();
    let all = std::iter::from_fn(|| rows.recv()).map(value).collect();
    query.await_termination().unwrap();
    all
}

/// What is seen once so many are: a bounded read sees what is stable at the brokers just then.
fn at_least(count: usize, values: impl Fn() -> Vec<String>) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = values();
        if seen.len() >= count || Instant::now() > deadline {
            return seen;
        }
    }
}

fn wait_until(query: &StreamingQuery, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(query.is_active(), "{:?}", query.exception());
        assert!(Instant::now() < deadline, "it does not come to it after {} restarts", query.restarts());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_query_without_a_right_goes_on_exactly_once_when_it_is_granted() {
    use Operation::{Create, Describe, Read, Write};
    let security = Security { users: &[(USER, PASSWORD)], tls: false, authorizer: true };
    let Some(broker) = TestBroker::start_secured(&security) else { return };
    let (input, output) = (broker.topic("input", 1), broker.topic("output", 1));
    for (operation, resource) in [
        (Read, Resource::Topic(&input)),
        (Describe, Resource::Topic(&output)),
        (Read, Resource::Topic("lotic-epochs")),
        (Write, Resource::Topic("lotic-epochs")),
        (Create, Resource::Topic("lotic-epochs")),
        (Write, Resource::TransactionalIds("lotic-")),
    ] {
        broker.grant(USER, operation, resource);
    }
    let session = Session::builder().app_name("access").get_or_create().unwrap();
    send(&session, &broker, &input, numbered(0..10));

    let parameters = KafkaParameters::new(broker.listener(Listener::SaslPlaintext))
        .with("security.protocol", "SASL_PLAINTEXT")
        .with("sasl.mechanism", "PLAIN")
        .with("sasl.username", USER)
        .with("sasl.password", PASSWORD);
    let source = KafkaSource::new(parameters.clone(), KafkaTopics::subscribe([&*input]));
    let checkpoints = tempfile::tempdir().unwrap();
    let query = |policy| {
        session
            .source(source.clone().starting_offsets(KafkaOffsets::Earliest))
            .map(|record| KafkaMessage {
                key: record.key.clone(),
                ..KafkaMessage::new(record.value.unwrap())
            })
            .sink(KafkaSink::new(parameters.clone()).to_topic(&*output).exactly_once())
            .checkpoint_location(checkpoints.path())
            .query_name("totals")
            .restart(policy)
            .start(Trigger::continuous("20 ms"))
    };
    // Without a policy it ends, and says why; a new start finds the epoch that is durable and cannot deliver it either.
    let error = query(RestartPolicy::NEVER).unwrap().await_termination().unwrap_err().to_string();
    assert!(error.contains(&output) && error.contains("grant it"), "{error}");
    let error = query(RestartPolicy::NEVER).err().unwrap().to_string();
    assert!(error.contains(&output) && error.contains("grant it"), "{error}");
    assert!(values(&session, &broker, &output).is_empty());

    broker.grant(USER, Write, Resource::Topic(&output));
    let deadline = Instant::now() + PATIENCE;
    let query = loop {
        // A right counts a moment after it was granted.
        match query(RestartPolicy::attempts(10_000, Duration::from_millis(50))) {
            Ok(query) => break query,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    wait_until(&query, || values(&session, &broker, &output).len() >= 10);
    broker.revoke(USER, Write, Resource::Topic(&output));
    let mut sent = 10;
    while query.restarts() < 2 {
        send(&session, &broker, &input, numbered(sent..sent + 10));
        sent += 10;
        assert!(query.is_active() && Instant::now() < deadline + PATIENCE, "{:?}", query.exception());
    }
    broker.grant(USER, Write, Resource::Topic(&output));
    wait_until(&query, || values(&session, &broker, &output).len() >= sent as usize);
    let said = format!("{error} {} {:?}", query.explain(), query.recent_progress());
    assert!(!said.contains(PASSWORD), "{said}");
    query.stop().unwrap();
    let expected: Vec<String> = (0..sent).map(|number| number.to_string()).collect();
    assert_eq!(at_least(expected.len(), || values(&session, &broker, &output)), expected);
}
