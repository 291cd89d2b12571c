//! Kafka on the typed door: dead letters, and the group that monitoring sees.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "tests")]

use lotic::connectors::kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use lotic::connectors::kafka::rdkafka::mocking::MockCluster;
use lotic::connectors::kafka::rdkafka::{ClientConfig, Offset, TopicPartitionList};
use lotic::connectors::kafka::{
    KafkaMessage, KafkaOffsets, KafkaParameters, KafkaRecord, KafkaSink, KafkaSource, KafkaTopics,
};
use lotic::connectors::memory;
use lotic::connectors::testing::kafka::TestBroker;
use lotic::{Session, Trigger};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Rows go to a topic and the query ends.
fn send(session: &Session, parameters: &KafkaParameters, topic: &str, messages: Vec<KafkaMessage>) {
    let (stream, source) = memory::stream::<KafkaMessage>("messages", 1);
    stream.add(messages);
    drop(stream);
    let query = session.source(source).sink(KafkaSink::new(parameters.clone()).to_topic(topic));
    query.start(Trigger::AvailableNow).unwrap().await_termination().unwrap();
}

/// What a topic of one partition holds now.
fn records(session: &Session, parameters: &KafkaParameters, topic: &str) -> Vec<KafkaRecord> {
    let source = KafkaSource::new(parameters.clone(), KafkaTopics::subscribe([topic]));
    let (query, rows) = session.source(source.starting_offsets(KafkaOffsets::Earliest)).egress("records");
    let query = query.start(Trigger::AvailableNow).unwrap();
    let all = std::iter::from_fn(|| rows.recv()).collect();
    query.await_termination().unwrap();
    all
}

#[test]
fn what_cannot_be_decoded_goes_to_a_topic_of_its_own_with_its_bytes_place_and_reason() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["orders", "totals", "orders-dead"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let parameters = KafkaParameters::new(cluster.bootstrap_servers());
    let session = Session::builder().app_name("dead-letters").get_or_create().unwrap();
    let values: [&[u8]; 5] = [b"1", b"{", b"2", b"\xff\xfe", b"\"3\""];
    let messages = values.map(|value| KafkaMessage::new(value).with_key("k").with_header("h", "x"));
    send(&session, &parameters, "orders", messages.to_vec());

    let source = KafkaSource::new(parameters.clone(), KafkaTopics::subscribe(["orders"]));
    let orders = session.source(source.starting_offsets(KafkaOffsets::Earliest));
    let (orders, wrong) = orders.try_map(|record| record.value_json::<u64>());
    let dead = wrong.map(|(record, reason)| KafkaMessage::dead_letter(record, reason));
    // All of a dataflow runs, whichever of its sinks it is started from.
    let _totals = orders
        .map(|order| KafkaMessage::new((order * 10).to_string()))
        .sink(KafkaSink::new(parameters.clone()).to_topic("totals"));
    let query = dead.sink(KafkaSink::new(parameters.clone()).to_topic("orders-dead"));
    query.start(Trigger::AvailableNow).unwrap().await_termination().unwrap();

    let totals = records(&session, &parameters, "totals");
    let totals: Vec<_> = totals.iter().map(|record| record.value_str().unwrap().unwrap()).collect();
    assert_eq!(totals, ["10", "20"]);
    let dead = records(&session, &parameters, "orders-dead");
    let of = |record: &KafkaRecord, name: &str| {
        let value = record.header(name).unwrap();
        std::str::from_utf8(value).unwrap().to_owned()
    };
    let expected: [(&[u8], &str); 3] = [(b"{", "1"), (b"\xff\xfe", "3"), (b"\"3\"", "4")];
    assert_eq!(dead.len(), expected.len());
    for (record, (value, offset)) in dead.iter().zip(expected) {
        assert_eq!((record.value.as_deref(), record.key.as_deref()), (Some(value), Some(&b"k"[..])));
        assert_eq!((of(record, "h"), of(record, "__connect.errors.offset")), ("x".into(), offset.into()));
        assert_eq!(of(record, "__connect.errors.topic"), "orders");
        assert_eq!(of(record, "__connect.errors.partition"), "0");
        let reason = of(record, "__connect.errors.exception.message");
        assert!(reason.contains(&format!("offset {offset} is not the expected JSON")), "{reason}");
    }
}

#[test]
fn the_group_that_monitoring_sees_is_named_after_the_query_and_its_source() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("watched", 1);
    let parameters = KafkaParameters::new(broker.bootstrap());
    let session = Session::builder().app_name("groups").get_or_create().unwrap();
    send(&session, &parameters, &topic, vec![KafkaMessage::new("x"); 3]);
    let source = KafkaSource::new(parameters, KafkaTopics::subscribe([&*topic]));
    let orders = session.source(source.starting_offsets(KafkaOffsets::Earliest)).uid("orders");
    let (query, rows) = orders.egress("rows");
    let query = query.query_name("totals").start(Trigger::continuous("10 ms")).unwrap();
    for _ in 0..3 {
        rows.recv().unwrap();
    }
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "lotic-totals-orders")
        .create()
        .unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&topic, 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = reader.committed_offsets(asked.clone(), PATIENCE).unwrap();
        if found.elements()[0].offset() == Offset::Offset(3) {
            break;
        }
        assert!(Instant::now() < deadline, "nothing is committed in the group: {found:?}");
    }
    query.stop().unwrap();
}
