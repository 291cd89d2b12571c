//! Source and plain sink over several brokers of which some fail: librdkafka's own brokers, which do as they are told.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod kafka_sink_support;
mod kafka_support;

use kafka_sink_support::{assert_each_once, handle, numbered, start, write};
use kafka_support::{Driver, PATIENCE, numbers, of_partition, send, values};
use lotic_connectors::kafka::{KafkaOffsets, KafkaParameters, KafkaSink, KafkaSource, KafkaTopics};
use lotic_connectors::{ErrorKind, Offsets, Polled};
use lotic_operators::Instance;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const TOPIC: &str = "orders";

/// Three brokers; partition n of the topic is led by broker n + 1.
struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl Cluster {
    fn new() -> Cluster {
        let cluster = Cluster(MockCluster::new(3).unwrap());
        cluster.0.create_topic(TOPIC, 3, 3).unwrap();
        (0..3).for_each(|partition| cluster.lead(partition, partition + 1));
        cluster
    }

    fn lead(&self, partition: i32, broker: i32) {
        self.0.partition_leader(TOPIC, partition, Some(broker)).unwrap();
    }

    /// Brokers are asked for news of leaders sooner than by default, so that tests are quick.
    fn parameters(&self) -> KafkaParameters {
        KafkaParameters::new(self.0.bootstrap_servers()).with("reconnect.backoff.max.ms", "200")
    }

    fn source(&self) -> KafkaSource {
        let topics = KafkaTopics::subscribe([TOPIC]);
        KafkaSource::new(self.parameters(), topics).named("orders").starting_offsets(KafkaOffsets::Earliest)
    }

    fn sink(&self) -> KafkaSink {
        KafkaSink::new(self.parameters()).named("orders").to_topic(TOPIC)
    }

    fn produce(&self, partition: i32, range: std::ops::Range<u64>) {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", self.0.bootstrap_servers()).create().unwrap();
        send(&producer, TOPIC, partition, numbers(range));
        producer.flush(PATIENCE).unwrap();
    }

    fn values(&self) -> Vec<String> {
        kafka_sink_support::values(&self.0.bootstrap_servers(), TOPIC)
    }
}

/// The error that reading comes to.
fn error_of(driver: &mut Driver) -> lotic_connectors::ConnectorError {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match driver.try_poll(100, None) {
            Err(error) => return error,
            Ok(Polled::Pending(_)) => std::thread::park_timeout(Duration::from_millis(100)),
            Ok(_) => {}
        }
        assert!(Instant::now() < deadline, "reading does not fail");
    }
}

#[test]
fn a_source_follows_a_leader_that_moves() {
    let cluster = Cluster::new();
    let mut driver = Driver::start(&cluster.source(), &Offsets::default());
    let mut read = Vec::new();
    for round in 0..4 {
        let range = round * 20..round * 20 + 20;
        (0..3).for_each(|partition| cluster.produce(partition, range.clone()));
        read.extend(driver.read(60));
        cluster.lead(0, 2 + round as i32 % 2);
        cluster.lead(1, 1 + round as i32 % 3);
    }
    let expected: Vec<String> = numbers(0..80).collect();
    for partition in 0..3 {
        assert_eq!(of_partition(&read, partition), expected, "partition {partition}");
    }
    assert_eq!(driver.source.offsets().0.into_values().collect::<Vec<_>>(), [80; 3]);
}

#[test]
fn a_source_reads_on_from_the_others_while_one_broker_is_down() {
    let cluster = Cluster::new();
    let mut driver = Driver::start(&cluster.source(), &Offsets::default());
    (0..3).for_each(|partition| cluster.produce(partition, 0..10));
    assert_eq!(driver.read(30).len(), 30);
    cluster.0.broker_down(1).unwrap();
    for partition in 1..3 {
        cluster.produce(partition, 10..20);
    }
    let read = driver.read(20);
    let expected: Vec<String> = numbers(10..20).collect();
    assert_eq!((of_partition(&read, 1), of_partition(&read, 2)), (expected.clone(), expected.clone()));
    // Another broker takes its partition over.
    cluster.lead(0, 2);
    cluster.produce(0, 10..20);
    assert_eq!(values(&driver.read(10)), expected);
    // It comes back and leads again.
    cluster.0.broker_up(1).unwrap();
    cluster.lead(0, 1);
    cluster.produce(0, 20..30);
    assert_eq!(values(&driver.read(10)), numbers(20..30).collect::<Vec<_>>());
}

#[test]
fn fetch_errors_that_pass_lose_nothing() {
    use RDKafkaRespErr::*;
    let cluster = Cluster::new();
    let mut driver = Driver::start(&cluster.source(), &Offsets::default());
    cluster.0.broker_round_trip_time(2, Duration::from_millis(50)).unwrap();
    for (round, error) in [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    ]
    .into_iter()
    .enumerate()
    {
        cluster.0.request_errors(RDKafkaApiKey::Fetch, &[error; 6]);
        let range = round as u64 * 10..round as u64 * 10 + 10;
        (0..3).for_each(|partition| cluster.produce(partition, range.clone()));
        let read = driver.read(30);
        for partition in 0..3 {
            let expected: Vec<String> = numbers(range.clone()).collect();
            assert_eq!(of_partition(&read, partition), expected, "{error:?}, partition {partition}");
        }
    }
}

#[test]
fn a_source_that_may_not_read_says_which_topic_and_what_to_grant() {
    let cluster = Cluster::new();
    let mut driver = Driver::start(&cluster.source(), &Offsets::default());
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.0.request_errors(RDKafkaApiKey::Fetch, &[refused; 100]);
    let error = error_of(&mut driver);
    assert_eq!(error.kind(), ErrorKind::User);
    let error = error.to_string();
    assert!(error.contains("source `orders`") && error.contains("topic `orders`"), "{error}");
    assert!(error.contains("grant it READ") && error.contains(&cluster.0.bootstrap_servers()), "{error}");
}

#[test]
fn a_batch_that_the_broker_finds_corrupt_ends_the_query() {
    let cluster = Cluster::new();
    let corrupt = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_MSG;
    cluster.0.request_errors(RDKafkaApiKey::Fetch, &[corrupt; 100]);
    let mut driver = Driver::start(&cluster.source(), &Offsets::default());
    let error = error_of(&mut driver);
    assert_eq!(error.kind(), ErrorKind::External);
    let error = error.to_string();
    assert!(error.contains("source `orders`: corrupt record"), "{error}");
    assert!(error.contains(TOPIC) && error.contains("skip corrupt records"), "{error}");
}

#[test]
fn a_start_that_may_not_look_at_the_topic_says_so() {
    let cluster = Cluster::new();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.0.topic_error(TOPIC, refused).unwrap();
    let error = Driver::start_instance(&cluster.source(), Instance::ONLY, &Offsets::default()).err().unwrap();
    let of_sink = start(&cluster.sink()).err().unwrap();
    for error in [error, of_sink] {
        assert_eq!(error.kind(), ErrorKind::User);
        let error = error.to_string();
        assert!(error.contains("topic `orders`") && error.contains("grant it READ"), "{error}");
        assert!(error.contains(&cluster.0.bootstrap_servers()), "{error}");
    }
}

#[test]
fn a_sink_follows_a_leader_that_moves() {
    let cluster = Cluster::new();
    let mut sink = start(&cluster.sink()).unwrap();
    for epoch in 0..4 {
        write(&mut *sink, numbered(epoch * 300..epoch * 300 + 100)).unwrap();
        cluster.lead(epoch as i32 % 3, (epoch as i32 + 2) % 3 + 1);
        write(&mut *sink, numbered(epoch * 300 + 100..epoch * 300 + 300)).unwrap();
        handle(&mut *sink, epoch + 1).unwrap();
        assert_each_once(&cluster.values(), 0..epoch * 300 + 300);
    }
}

#[test]
fn a_sink_loses_nothing_over_a_broker_that_goes_down_and_comes_back() {
    let cluster = Cluster::new();
    let mut sink = start(&cluster.sink()).unwrap();
    write(&mut *sink, numbered(0..100)).unwrap();
    handle(&mut *sink, 1).unwrap();
    cluster.0.broker_round_trip_time(3, Duration::from_millis(20)).unwrap();
    cluster.0.broker_down(1).unwrap();
    write(&mut *sink, numbered(100..200)).unwrap();
    let prepare = sink.pre_commit(lotic_operators::Epoch(2)).unwrap().expect("messages are on their way");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(prepare);
        // One partition is taken over by another broker; of the other two the leader comes back.
        cluster.lead(0, 2);
        cluster.0.broker_down(3).unwrap();
        write(&mut *sink, numbered(200..300)).unwrap();
        cluster.0.broker_up(3).unwrap();
        cluster.0.broker_up(1).unwrap();
        waiting.join().unwrap().unwrap();
    });
    handle(&mut *sink, 3).unwrap();
    // These brokers do not know again what an idempotent producer sends twice.
    let seen: BTreeSet<u64> = cluster.values().iter().map(|value| value.parse().unwrap()).collect();
    assert_eq!(seen, (0..300).collect());
}

#[test]
fn a_sink_without_the_right_to_write_says_what_to_grant() {
    use RDKafkaRespErr::*;
    for (key, code, expected) in [
        (
            RDKafkaApiKey::Produce,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            "grant it READ and DESCRIBE to read, WRITE",
        ),
        (
            RDKafkaApiKey::InitProducerId,
            RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
            "grant it WRITE and DESCRIBE on the topic",
        ),
    ] {
        let cluster = Cluster::new();
        cluster.0.request_errors(key, &[code; 100]);
        let mut sink = start(&cluster.sink()).unwrap();
        let error = write(&mut *sink, numbered(0..1)).and_then(|()| handle(&mut *sink, 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User, "{error}");
        let error = error.to_string();
        assert!(error.contains("sink `orders`") && error.contains("topic `orders`"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}
