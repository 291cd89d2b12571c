//! The Kafka sink that delivers at least once: against a real broker, and librdkafka's own for its faults.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod kafka_sink_support;

use kafka_sink_support::*;
use lotic_connectors::kafka::{KafkaMessage, KafkaParameters, KafkaSink};
use lotic_connectors::testing::kafka::TestBroker;
use lotic_connectors::testing::{SinkWorld, check_sink};
use lotic_connectors::{ConnectorError, ErrorKind, Prepare, Result, Sink, SinkFactory, SinkTraits};
use lotic_operators::{Batch, Epoch, Instance, Rows};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

/// Delivers what it has before it dies, since the kit takes rows for visible once they are written.
struct Delivering(KafkaSink);
struct DeliveringSink(Box<dyn Sink<Rows<KafkaMessage>>>);

impl Drop for DeliveringSink {
    fn drop(&mut self) {
        if let Ok(Some(prepare)) = self.0.pre_commit(Epoch::NONE) {
            prepare().unwrap();
        }
    }
}

impl Sink<Rows<KafkaMessage>> for DeliveringSink {
    fn start(&mut self, epoch: Epoch) -> Result<()> {
        self.0.start(epoch)
    }
    fn write(&mut self, batch: &mut Rows<KafkaMessage>, waker: &Waker) -> Result<()> {
        self.0.write(batch, waker)
    }
    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        self.0.pre_commit(epoch)
    }
}

impl SinkFactory<Rows<KafkaMessage>> for Delivering {
    fn traits(&self) -> SinkTraits {
        SinkFactory::<Rows<KafkaMessage>>::traits(&self.0)
    }
    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<Rows<KafkaMessage>>>> {
        Ok(Box::new(DeliveringSink(self.0.create(instance)?)))
    }
}

impl SinkWorld for World {
    type Row = KafkaMessage;
    fn open(&mut self) -> Box<dyn SinkFactory<Rows<KafkaMessage>>> {
        Box::new(Delivering(self.plain()))
    }
    fn row(&self, number: u64) -> KafkaMessage {
        numbered(number..number + 1).remove(0)
    }
    fn visible(&mut self) -> Vec<u64> {
        self.values().iter().map(|value| value.parse().unwrap()).collect()
    }
}

#[test]
fn holds_to_the_contract_over_crashes_at_every_step() {
    let Some(broker) = TestBroker::shared() else { return };
    check_sink(|| World::new(broker.bootstrap(), 2));
}

#[test]
fn all_before_the_marker_is_delivered_when_the_epoch_is_prepared() {
    let Some(broker) = TestBroker::shared() else { return };
    let world = World::new(broker.bootstrap(), 3);
    // Far fewer than are written: the sink is full again and again.
    let parameters = world.parameters().with("queue.buffering.max.messages", "50");
    let mut sink = start(&KafkaSink::new(parameters).to_topic(&world.topic)).unwrap();
    for epoch in 1..=3 {
        write(&mut *sink, numbered((epoch - 1) * 1000..epoch * 1000)).unwrap();
        let prepare = sink.pre_commit(Epoch(epoch)).unwrap();
        // What comes after the marker is not waited for.
        prepare.map(|prepare| prepare()).transpose().unwrap();
        assert_each_once(&world.values(), 0..epoch * 1000);
    }
}

#[test]
fn keys_go_where_kafkas_own_clients_put_them() {
    let Some(broker) = TestBroker::shared() else { return };
    let world = World::new(broker.bootstrap(), 10);
    let mut sink = start(&world.plain()).unwrap();
    // Partition of each key as org.apache.kafka.clients.producer.internals.BuiltInPartitioner has it.
    let keys = ["21", "foobar", "a-little-bit-long-string", "a-little-bit-longer-string"];
    write(&mut *sink, keys.iter().map(|key| KafkaMessage::new("x").with_key(*key)).collect()).unwrap();
    handle(&mut *sink, 1).unwrap();
    let hashes: [i32; 4] = [-973_932_308, -790_332_482, -985_981_536, -1_486_304_829];
    let mut seen: Vec<(String, i32)> = read_all(&world.bootstrap, &world.topic, "read_uncommitted")
        .into_iter()
        .map(|seen| (seen.key.unwrap(), seen.partition))
        .collect();
    seen.sort();
    let mut expected: Vec<(String, i32)> =
        keys.iter().zip(hashes).map(|(key, hash)| ((*key).to_owned(), (hash & i32::MAX) % 10)).collect();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn a_message_that_the_broker_refuses_fails_the_epoch_with_its_topic_and_cause() {
    let Some(broker) = TestBroker::shared() else { return };
    let mut world = World::new(broker.bootstrap(), 1);
    world.topic = unique("narrow");
    create_topic(broker.bootstrap(), &world.topic, 1, &[("max.message.bytes", "1000")]);
    let mut sink = start(&world.plain()).unwrap();
    write(&mut *sink, vec![KafkaMessage::new(vec![b'x'; 5000])]).unwrap();
    let error = handle(&mut *sink, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    let error = error.to_string();
    assert!(error.contains(&world.topic) && error.contains("5000 bytes"), "{error}");
    assert!(error.contains("`max.message.bytes` of the topic"), "{error}");
    // From then on every call says so.
    let again = write(&mut *sink, numbered(0..1)).unwrap_err().to_string();
    assert_eq!(again, error);
}

#[test]
fn a_broker_that_is_not_there_is_reported_within_the_stated_time() {
    let sink = KafkaSink::new(KafkaParameters::new("127.0.0.1:1")).to_topic("results");
    let error = start(&sink.connect_wait_max(Duration::from_millis(300))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::External);
    let error = error.to_string();
    assert!(error.contains("127.0.0.1:1") && error.contains("check `kafka.bootstrap.servers`"), "{error}");
}

/// A cluster of librdkafka's own with one topic.
fn mock() -> (MockCluster<'static, DefaultProducerContext>, KafkaParameters) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("results", 1, 1).unwrap();
    let parameters = KafkaParameters::new(cluster.bootstrap_servers());
    (cluster, parameters)
}

#[test]
fn errors_that_pass_are_overcome() {
    let (cluster, parameters) = mock();
    let mut sink = start(&KafkaSink::new(parameters).to_topic("results")).unwrap();
    let passing = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.request_errors(RDKafkaApiKey::Produce, &[passing, passing]);
    write(&mut *sink, numbered(0..100)).unwrap();
    handle(&mut *sink, 1).unwrap();
    assert_each_once(&values(&cluster.bootstrap_servers(), "results"), 0..100);
}

#[test]
fn an_error_that_stays_fails_the_epoch() {
    let (cluster, parameters) = mock();
    let mut sink = start(&KafkaSink::new(parameters).to_topic("results")).unwrap();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused; 10]);
    write(&mut *sink, numbered(0..1)).unwrap();
    let error = handle(&mut *sink, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.to_string().contains("topic `results`") && error.to_string().contains("grant"), "{error}");
}

#[test]
fn a_message_that_is_not_acknowledged_in_time_is_reported() {
    let (cluster, parameters) = mock();
    let mut sink =
        start(&KafkaSink::new(parameters.with("message.timeout.ms", "500")).to_topic("results")).unwrap();
    cluster.broker_down(1).unwrap();
    write(&mut *sink, numbered(0..1)).unwrap();
    let error: ConnectorError = handle(&mut *sink, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External);
    assert!(error.retry_after().is_some());
    assert!(error.to_string().contains("topic `results`"), "{error}");
    assert!(error.to_string().contains("did not acknowledge it in time"), "{error}");
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_full_sink_leaves_rows_and_wakes_when_it_has_room() {
    let (cluster, parameters) = mock();
    let parameters = parameters.with("queue.buffering.max.messages", "10");
    let mut sink = start(&KafkaSink::new(parameters).to_topic("results")).unwrap();
    cluster.broker_round_trip_time(1, Duration::from_millis(200)).unwrap();
    let (woken, mut batch) = (Arc::new(Count(AtomicUsize::new(0))), Rows::from(numbered(0..25)));
    sink.write(&mut batch, &Waker::from(Arc::clone(&woken))).unwrap();
    assert_eq!(batch.rows(), 15, "the first ten are taken, none waited for");
    write(&mut *sink, batch.collect()).unwrap();
    handle(&mut *sink, 1).unwrap();
    assert!(woken.0.load(Ordering::SeqCst) <= 1, "only the newest waker is woken, and once");
    assert_each_once(&values(&cluster.bootstrap_servers(), "results"), 0..25);
}

#[test]
fn an_epoch_waits_for_those_of_epochs_that_were_never_prepared() {
    let (cluster, parameters) = mock();
    let mut sink = start(&KafkaSink::new(parameters).to_topic("results")).unwrap();
    cluster.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
    write(&mut *sink, numbered(0..10)).unwrap();
    drop(sink.pre_commit(Epoch(1)).unwrap());
    let prepare = sink.pre_commit(Epoch(2)).unwrap().expect("messages are on their way");
    prepare().unwrap();
    assert_each_once(&values(&cluster.bootstrap_servers(), "results"), 0..10);
}
