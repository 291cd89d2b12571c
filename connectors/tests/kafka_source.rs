//! The Kafka source against a real broker.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod kafka_support;

use kafka_support::{Driver, PATIENCE, numbers, of_partition, produce, producer, source, values};
use lotic_connectors::kafka::{KafkaOffsets, KafkaTopics, NoNewer, TimestampType};
use lotic_connectors::testing::kafka::TestBroker;
use lotic_connectors::{Offsets, Polled};
use lotic_operators::{Epoch, Instance, Timestamp};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn records_of_a_partition_come_in_order() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("order", 3);
    for partition in 0..3 {
        produce(broker, &topic, partition, numbers(0..5000));
    }
    let mut driver = Driver::start(&source(broker, KafkaTopics::subscribe([&*topic])), &Offsets::default());
    let records = driver.read(15_000);
    let expected: Vec<String> = numbers(0..5000).collect();
    for partition in 0..3 {
        assert_eq!(of_partition(&records, partition), expected);
        assert_eq!(driver.source.offsets().get(&format!("{topic}-{partition}")), Some(5000));
    }
}

#[test]
fn a_restart_goes_on_where_the_checkpoint_was() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("restart", 2);
    for partition in 0..2 {
        produce(broker, &topic, partition, numbers(0..100));
    }
    let factory = source(broker, KafkaTopics::subscribe([&*topic]));
    let mut driver = Driver::start(&factory, &Offsets::default());
    let Polled::Batch(mut rows) = loop_until_batch(&mut driver, 30) else { unreachable!() };
    let mut records: Vec<_> = rows.by_ref().collect();
    let from = driver.source.offsets();
    drop(driver);
    let mut driver = Driver::start(&factory, &from);
    assert_eq!(driver.source.offsets(), from);
    records.extend(driver.read(200 - records.len()));
    let expected: Vec<String> = numbers(0..100).collect();
    assert_eq!([0, 1].map(|partition| of_partition(&records, partition)), [expected.clone(), expected]);
}

fn loop_until_batch(
    driver: &mut Driver,
    max_rows: usize,
) -> Polled<lotic_operators::Rows<lotic_connectors::kafka::KafkaRecord>> {
    driver.eventually(|driver| !driver.plan(1).0.values().all(|next| *next == 0));
    driver.try_poll(max_rows, None).unwrap()
}

#[test]
fn begins_where_it_is_told() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("starting", 2);
    produce(broker, &topic, 0, numbers(0..10));
    produce(broker, &topic, 1, numbers(0..10));
    let begin = |offsets: KafkaOffsets| {
        let source = source(broker, KafkaTopics::subscribe([&*topic])).starting_offsets(offsets);
        let begun = Driver::start_instance(&source, Instance::ONLY, &Offsets::default());
        begun.map(|driver| [0, 1].map(|n| driver.source.offsets().get(&format!("{topic}-{n}")).unwrap()))
    };
    assert_eq!(begin(KafkaOffsets::Earliest).unwrap(), [0, 0]);
    assert_eq!(begin(KafkaOffsets::Latest).unwrap(), [10, 10]);
    let json = |text: &str| KafkaOffsets::parse("startingOffsets", &text.replace("TOPIC", &topic)).unwrap();
    assert_eq!(begin(json(r#"{"TOPIC":{"0":4,"1":-1}}"#)).unwrap(), [4, 10]);
    assert_eq!(begin(json(r#"{"TOPIC":{"0":-2,"1":10}}"#)).unwrap(), [0, 10]);
    let error = begin(json(r#"{"TOPIC":{"0":4}}"#)).err().unwrap().to_string();
    assert!(error.contains("`startingOffsets` has to name every partition"), "{error}");
    assert!(error.contains(&format!("partition 1 of topic `{topic}`")), "{error}");
    let error = begin(json(r#"{"TOPIC":{"0":11,"1":0}}"#)).err().unwrap().to_string();
    assert!(error.contains("offset 11 is to be read") && error.contains("0 up to 10"), "{error}");
}

#[test]
fn begins_at_a_time() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("times", 2);
    let producer = producer(broker, &[]);
    for millis in [1000, 2000, 3000] {
        let record = BaseRecord::<(), str>::to(&topic).partition(0).payload("x").timestamp(millis);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let begin = |offsets: KafkaOffsets| {
        let source = source(broker, KafkaTopics::assign([(&*topic, 0)])).starting_offsets(offsets);
        let begun = Driver::start_instance(&source, Instance::ONLY, &Offsets::default());
        begun.map(|driver| driver.source.offsets().get(&format!("{topic}-0")).unwrap())
    };
    let time = |millis, no_newer| KafkaOffsets::Timestamp(Timestamp::from_millis(millis), no_newer);
    assert_eq!(begin(time(0, NoNewer::Fail)).unwrap(), 0);
    assert_eq!(begin(time(1500, NoNewer::Fail)).unwrap(), 1);
    assert_eq!(begin(time(3000, NoNewer::Fail)).unwrap(), 2);
    assert_eq!(begin(time(3001, NoNewer::Latest)).unwrap(), 3);
    let error = begin(time(3001, NoNewer::Fail)).unwrap_err().to_string();
    assert!(error.contains(&format!("topic `{topic}`, partition 0: no record is as new")), "{error}");
    let text = format!(r#"{{"{topic}":{{"0":2000}}}}"#);
    let each = KafkaOffsets::parse_timestamps("startingOffsetsByTimestamp", &text, NoNewer::Fail).unwrap();
    assert_eq!(begin(each).unwrap(), 1);
}

#[test]
fn reads_what_is_assigned_and_no_more() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("assigned", 3);
    for partition in 0..3 {
        produce(broker, &topic, partition, [format!("of {partition}")]);
    }
    let mut driver = Driver::start(&source(broker, KafkaTopics::assign([(&*topic, 1)])), &Offsets::default());
    assert_eq!(values(&driver.read(1)), ["of 1"]);
    assert_eq!(driver.ends(), Offsets::single(format!("{topic}-1"), 1));
    let wrong = source(broker, KafkaTopics::assign([(&*topic, 7)]));
    let error =
        Driver::start_instance(&wrong, Instance::ONLY, &Offsets::default()).err().unwrap().to_string();
    assert!(error.contains("has no partition 7, but 3"), "{error}");
}

#[test]
fn partitions_and_topics_that_are_added_are_read_from_their_beginning() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("added", 1);
    let pattern = KafkaTopics::pattern(format!("{topic}|{topic}-more"));
    let quick = Duration::from_millis(100);
    let mut driver = Driver::start(
        &source(broker, pattern).metadata_interval(quick).starting_offsets(KafkaOffsets::Latest),
        &Offsets::default(),
    );
    broker.add_partitions(&topic, 2);
    produce(broker, &topic, 1, numbers(0..3));
    assert_eq!(values(&driver.read(3)), ["0", "1", "2"]);
    broker.create_topic(&format!("{topic}-more"), 1, &[]);
    broker.create_topic(&format!("{topic}-more-not"), 1, &[]);
    produce(broker, &format!("{topic}-more-not"), 0, numbers(0..3));
    produce(broker, &format!("{topic}-more"), 0, numbers(3..5));
    assert_eq!(values(&driver.read(2)), ["3", "4"]);
    let names: Vec<String> = driver.source.offsets().0.into_keys().collect();
    assert_eq!(names, [format!("{topic}-0"), format!("{topic}-1"), format!("{topic}-more-0")]);
}

#[test]
fn a_partition_that_a_checkpoint_does_not_know_begins_at_its_beginning() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("unknown", 2);
    produce(broker, &topic, 0, numbers(0..3));
    produce(broker, &topic, 1, numbers(5..7));
    let latest = source(broker, KafkaTopics::subscribe([&*topic])).starting_offsets(KafkaOffsets::Latest);
    let mut driver = Driver::start(&latest, &Offsets::single(format!("{topic}-0"), 2));
    let read: BTreeSet<String> = values(&driver.read(3)).into_iter().collect();
    assert_eq!(read, ["2", "5", "6"].map(String::from).into());
}

#[test]
fn instances_share_the_partitions() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("shared", 5);
    let factory = source(broker, KafkaTopics::subscribe([&*topic]));
    let mut names = Vec::new();
    for index in 0..3 {
        let instance = Instance { index, parallelism: 3 };
        let driver = Driver::start_instance(&factory, instance, &Offsets::default()).unwrap();
        let own = driver.source.offsets().0.into_keys();
        names.push(own.collect::<Vec<String>>());
    }
    assert!(names.iter().all(|names| (1..=2).contains(&names.len())), "{names:?}");
    let all: BTreeSet<String> = names.into_iter().flatten().collect();
    assert_eq!(all, (0..5).map(|partition| format!("{topic}-{partition}")).collect());
}

#[test]
fn a_record_arrives_as_it_was_written() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("intact", 1);
    let producer = producer(broker, &[]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some(&b"1"[..]) })
        .insert(Header { key: "empty", value: Some(&b""[..]) })
        .insert(Header { key: "null", value: None::<&[u8]> })
        .insert(Header { key: "a", value: Some(&b"2"[..]) });
    let full = BaseRecord::<[u8], [u8]>::to(&topic)
        .key(&[0, 255, 7])
        .payload(b"value")
        .timestamp(1_700_000_000_123)
        .headers(headers);
    producer.send(full).map_err(|(error, _)| error).unwrap();
    producer.send(BaseRecord::<str, [u8]>::to(&topic).key("gone")).map_err(|(error, _)| error).unwrap();
    producer.send(BaseRecord::<str, str>::to(&topic).payload("")).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();

    let mut driver = Driver::start(&source(broker, KafkaTopics::subscribe([&*topic])), &Offsets::default());
    let records = driver.read(3);
    let [full, tombstone, empty] = &records[..] else { unreachable!() };
    assert_eq!((&*full.topic, full.partition, full.offset), (&*topic, 0, 0));
    assert_eq!(full.key.as_deref(), Some(&[0, 255, 7][..]));
    assert_eq!(full.value.as_deref(), Some(&b"value"[..]));
    assert_eq!(full.timestamp, Some(Timestamp::from_millis(1_700_000_000_123)));
    assert_eq!(full.timestamp_type, TimestampType::CreateTime);
    let headers: Vec<_> =
        full.headers.iter().map(|header| (&*header.name, header.value.as_deref())).collect();
    assert_eq!(
        headers,
        [("a", Some(&b"1"[..])), ("empty", Some(&b""[..])), ("null", None), ("a", Some(&b"2"[..]))]
    );
    assert_eq!((tombstone.key_str().unwrap(), tombstone.value.as_deref()), (Some("gone"), None));
    assert_eq!((empty.key.as_deref(), empty.value.as_deref()), (None, Some(&b""[..])));
    assert!(empty.headers.is_empty());
}

#[test]
fn every_codec_is_read() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("codecs", 1);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        let producer = producer(broker, &[("compression.type", codec)]);
        let value = codec.repeat(100);
        let record = BaseRecord::<(), str>::to(&topic).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(PATIENCE).unwrap();
    }
    let mut driver = Driver::start(&source(broker, KafkaTopics::subscribe([&*topic])), &Offsets::default());
    assert_eq!(values(&driver.read(5)), codecs.map(|codec| codec.repeat(100)));
}

#[test]
fn figures_tell_lag_and_commits() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("figures", 1);
    let name = format!("{topic}-0");
    produce(broker, &topic, 0, numbers(0..10));
    let factory = source(broker, KafkaTopics::subscribe([&*topic])).named(topic.clone());
    let mut driver = Driver::start(&factory, &Offsets::default());
    driver.eventually(|driver| driver.plan(100).get(&format!("{topic}-0")) == Some(10));
    let figures = driver.source.figures();
    assert_eq!(figures[&name]["lag"], 10.0);
    assert_eq!(figures[&name]["fetched_ahead_rows"], 10.0);
    assert_eq!(figures[&name]["fetched_ahead_bytes"], 10.0);
    assert_eq!(driver.read(10).len(), 10);
    driver.source.committed(Epoch::NONE.next(), &Offsets::single(name.clone(), 10));
    driver
        .eventually(|driver| driver.source.figures()[&format!("{topic}-0")].get("committed") == Some(&10.0));
    let figures = factory.figures();
    assert_eq!(figures[&name]["lag"], 0.0);
    assert_eq!(figures[&name]["position"], 10.0);
    assert_eq!((figures[&name]["rows"], figures[&name]["bytes"]), (10.0, 10.0));
    assert_eq!(figures[&name]["fetched_ahead_rows"], 0.0);
}
