//! What the Kafka source says and does when something is wrong, against a real broker.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod kafka_support;

use kafka_support::{Driver, numbers, of_partition, produce, source, values};
use lotic_connectors::kafka::{CorruptRecord, KafkaParameters, KafkaSource, KafkaTopics};
use lotic_connectors::testing::kafka::TestBroker;
use lotic_connectors::{ErrorKind, Offsets, SourceFactory};
use lotic_operators::Instance;
use std::net::TcpListener;
use std::time::Duration;

#[test]
fn nobody_at_the_address_is_an_error_in_time() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let parameters = KafkaParameters::new(free.to_string());
    let source = KafkaSource::new(parameters, KafkaTopics::subscribe(["orders"]))
        .named("orders")
        .connect_wait_max(Duration::from_millis(500));
    // That it ends at all is what `connect_wait_max` promises.
    let error = Driver::start_instance(&source, Instance::ONLY, &Offsets::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::External);
    assert!(error.retry_after().is_some());
    let error = error.to_string();
    assert!(error.contains("source `orders`: no answer from brokers") && error.contains("500ms"), "{error}");
    assert!(
        error.contains(&free.to_string()) && error.contains("check `kafka.bootstrap.servers`"),
        "{error}"
    );
}

#[test]
fn wrong_options_are_refused_before_anything_is_connected() {
    let create = |parameters: KafkaParameters, topics| {
        let source = KafkaSource::new(parameters, topics).named("orders");
        source.create(Instance::ONLY).err().unwrap().to_string()
    };
    let topics = || KafkaTopics::subscribe(["orders"]);
    let error = create(KafkaParameters::default(), topics());
    assert!(error.contains("option `kafka.bootstrap.servers` is missing"), "{error}");
    let error = create(KafkaParameters::new("a:1").with("enable.auto.commit", "true"), topics());
    assert!(error.contains("`kafka.enable.auto.commit` cannot be set"), "{error}");
    let error = create(KafkaParameters::new("a:1").with("no.such.thing", "1"), topics());
    assert!(error.contains("source `orders`: Kafka parameter `kafka.no.such.thing` is not known"), "{error}");
    let error = create(KafkaParameters::new("a:1"), KafkaTopics::pattern("orders("));
    assert!(error.contains("option `subscribePattern`"), "{error}");
    let error = create(KafkaParameters::new("a:1"), KafkaTopics::subscribe::<String>([]));
    assert!(error.contains("names no topic"), "{error}");
}

#[test]
fn an_unknown_topic_is_an_error() {
    let Some(broker) = TestBroker::shared() else { return };
    let source = source(broker, KafkaTopics::subscribe(["no-such-topic"])).named("orders");
    let error = Driver::start_instance(&source, Instance::ONLY, &Offsets::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::User);
    let error = error.to_string();
    assert!(error.contains("source `orders`: topic `no-such-topic` cannot be read"), "{error}");
    assert!(error.contains("create the topic") && error.contains(broker.bootstrap()), "{error}");
}

#[test]
fn a_partition_of_the_checkpoint_that_is_gone_is_an_error() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("kept", 1);
    produce(broker, &topic, 0, numbers(0..3));
    let from = Offsets([(format!("{topic}-0"), 1), ("deleted-0".to_owned(), 5)].into());
    let strict = source(broker, KafkaTopics::subscribe([&*topic]));
    let error = Driver::start_instance(&strict, Instance::ONLY, &from).err().unwrap().to_string();
    assert!(error.contains("the checkpoint has partition `deleted-0`"), "{error}");
    let mut driver = Driver::start(&strict.fail_on_data_loss(false), &from);
    assert_eq!(values(&driver.read(2)), ["1", "2"]);
}

#[test]
fn a_broker_that_is_lost_and_comes_back_loses_nothing() {
    let Some(broker) = TestBroker::start_own() else { return };
    let topic = broker.topic("survivor", 2);
    let mut driver = Driver::start(&source(&broker, KafkaTopics::subscribe([&*topic])), &Offsets::default());
    for round in 0..2 {
        let range = round * 10..round * 10 + 10;
        produce(&broker, &topic, 0, numbers(range.clone()));
        let expected: Vec<String> = numbers(range).collect();
        assert_eq!(values(&driver.read(10)), expected);
        broker.kill();
        assert!(driver.try_poll(10, None).is_ok());
        broker.restart();
    }
    produce(&broker, &topic, 1, numbers(20..30));
    let expected: Vec<String> = numbers(20..30).collect();
    assert_eq!(values(&driver.read(10)), expected);
    assert_eq!(driver.source.offsets().0.into_values().collect::<Vec<_>>(), [20, 10]);
}

#[test]
fn a_batch_whose_checksum_is_wrong_ends_the_query_or_is_skipped_and_counted() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("damaged", 2);
    produce(broker, &topic, 1, numbers(0..3));
    for batch in [0..5, 5..40, 40..50] {
        produce(broker, &topic, 0, batch.map(|number| format!("record {number}.")));
    }
    if !broker.damage(&topic, 0, "record 17.") {
        eprintln!("SKIPPED: the files of the broker in LOTIC_TEST_KAFKA cannot be damaged");
        return;
    }
    let source = source(broker, KafkaTopics::subscribe([&*topic])).named("orders");
    let error = Driver::start(&source, &Offsets::default()).error();
    assert!(error.contains("source `orders`: corrupt record") && error.contains(&topic), "{error}");
    assert!(error.contains("offset 5 ") && error.contains("CRC32C"), "{error}");
    let source = source.corrupt_records(CorruptRecord::Skip);
    let mut driver = Driver::start(&source, &Offsets::default());
    let read = driver.read(18);
    let expected: Vec<String> = (0..5).chain(40..50).map(|number| format!("record {number}.")).collect();
    assert_eq!(of_partition(&read, 0), expected);
    assert_eq!(source.skipped_batches(), 1);
    assert_eq!(driver.source.offsets().0.into_values().collect::<Vec<_>>(), [50, 3]);
}
