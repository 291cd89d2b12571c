//! Micro-batches of the Kafka source, back-pressure and lost records, against a real broker.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod kafka_support;

use kafka_support::{Driver, PATIENCE, numbers, of_partition, produce, producer, send, source, values};
use lotic_connectors::kafka::{KafkaParameters, KafkaRecord, KafkaSource, KafkaTopics};
use lotic_connectors::source::Latest;
use lotic_connectors::testing::check_source;
use lotic_connectors::testing::kafka::TestBroker;
use lotic_connectors::{Offsets, PollRequest, Polled, Result, Source, SourceFactory, SourceTraits, limits};
use lotic_operators::{Instance, Rows};
use rdkafka::producer::Producer;
use std::task::Waker;

/// Makes of a topic an input that ends, as the kit takes it.
struct Bounded(KafkaSource, u64);
struct BoundedReader(Box<dyn Source<Rows<KafkaRecord>>>, u64);

impl SourceFactory<Rows<KafkaRecord>> for Bounded {
    fn traits(&self) -> SourceTraits {
        SourceTraits { max_parallelism: 2, ..self.0.traits() }
    }
    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<KafkaRecord>>>> {
        Ok(Box::new(BoundedReader(self.0.create(instance)?, self.1)))
    }
}

impl Source<Rows<KafkaRecord>> for BoundedReader {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        self.0.start(from)
    }
    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<Rows<KafkaRecord>>> {
        if self.0.offsets().0.values().all(|next| *next >= self.1) {
            return Ok(Polled::Finished);
        }
        self.0.poll(request)
    }
    fn offsets(&self) -> Offsets {
        self.0.offsets()
    }
    fn latest(&mut self, max_rows: u64, waker: &Waker) -> Result<Latest> {
        self.0.latest(max_rows, waker)
    }
}

#[test]
fn keeps_the_contract() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("contract", 1);
    produce(broker, &topic, 0, numbers(0..12));
    let make = || Bounded(source(broker, KafkaTopics::subscribe([&*topic])), 12);
    let rows = check_source(make, |record| record.value_str().unwrap().unwrap().parse::<u64>().unwrap());
    assert_eq!(rows, (0..12).collect::<Vec<_>>());
}

#[test]
fn a_plan_is_shared_out_and_kept() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("plans", 2);
    produce(broker, &topic, 0, numbers(0..90));
    produce(broker, &topic, 1, numbers(0..10));
    let names = [0, 1].map(|partition| format!("{topic}-{partition}"));
    let factory = source(broker, KafkaTopics::subscribe([&*topic])).max_offsets_per_trigger(10);
    let mut driver = Driver::start(&factory, &Offsets::default());
    // Without a limit of its own it is all there is, of which the source holds nothing yet.
    assert_eq!(driver.ends(), Offsets([(names[0].clone(), 90), (names[1].clone(), 10)].into()));
    driver.eventually(|driver| driver.plan(u64::MAX - 1).0.values().sum::<u64>() == 10);
    driver.eventually(|driver| {
        driver.plan(1);
        driver.source.figures().values().map(|figures| figures["fetched_ahead_rows"]).sum::<f64>() == 100.0
    });
    let plan = driver.plan(u64::MAX - 1);
    assert_eq!(names.clone().map(|name| plan.get(&name).unwrap()), [9, 1]);
    let records = driver.read_until(&plan);
    assert_eq!(records.len(), 10);
    assert_eq!(driver.source.offsets(), plan);
    // What a plan does not name is not read.
    let first_alone = Offsets::single(names[0].clone(), 12);
    assert_eq!(of_partition(&driver.read_until(&first_alone), 0), ["9", "10", "11"]);
    assert_eq!(driver.source.offsets().get(&names[1]), Some(1));
}

fn transactional(broker: &TestBroker, topic: &str) -> rdkafka::producer::BaseProducer {
    let producer = producer(broker, &[("transactional.id", topic)]);
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

#[test]
fn a_plan_up_to_the_end_of_a_transaction_is_reached() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("control", 1);
    let producer = transactional(broker, &topic);
    let factory = source(broker, KafkaTopics::subscribe([&*topic]));
    let mut driver = Driver::start(&factory, &Offsets::default());
    for round in 0..3 {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 0, numbers(round * 2..round * 2 + 2));
        producer.commit_transaction(PATIENCE).unwrap();
        // Two records and the control record.
        let end = (round + 1) * 3;
        driver.eventually(|driver| driver.ends().0.values().all(|found| *found == end));
        let plan = driver.ends();
        let expected: Vec<String> = numbers(round * 2..round * 2 + 2).collect();
        assert_eq!(values(&driver.read_until(&plan)), expected);
        assert_eq!(driver.source.offsets(), plan);
    }
    // Begun before the control record at the end, and with nothing else before the end.
    let mut driver = Driver::start(&factory, &Offsets::single(format!("{topic}-0"), 8));
    let plan = driver.ends();
    assert!(driver.read_until(&plan).is_empty());
    assert_eq!(driver.source.offsets(), plan);
}

#[test]
fn aborted_and_open_transactions_are_not_read() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("aborted", 1);
    let producer = transactional(broker, &topic);
    let write = |value: &str| {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 0, [value.to_owned()]);
        producer.flush(PATIENCE).unwrap();
    };
    write("committed");
    producer.commit_transaction(PATIENCE).unwrap();
    write("aborted");
    producer.abort_transaction(PATIENCE).unwrap();
    write("open");
    let subscribed = KafkaTopics::subscribe([&*topic]);
    let mut driver = Driver::start(&source(broker, subscribed.clone()), &Offsets::default());
    driver.eventually(|driver| driver.ends().0.values().all(|end| *end == 4));
    let plan = driver.ends();
    assert_eq!(values(&driver.read_until(&plan)), ["committed"]);
    assert_eq!(driver.source.offsets(), plan);
    producer.commit_transaction(PATIENCE).unwrap();
    assert_eq!(values(&driver.read(1)), ["open"]);

    let parameters = KafkaParameters::new(broker.bootstrap()).with("isolation.level", "read_uncommitted");
    let all = KafkaSource::new(parameters, subscribed)
        .starting_offsets(lotic_connectors::kafka::KafkaOffsets::Earliest);
    let mut driver = Driver::start(&all, &Offsets::default());
    assert_eq!(values(&driver.read(3)), ["committed", "aborted", "open"]);
}

#[test]
fn a_full_partition_holds_up_no_other() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("full", 2);
    let rows = limits::KAFKA_AHEAD_ROWS * 2;
    produce(broker, &topic, 0, numbers(0..rows));
    let names = [0, 1].map(|partition| format!("{topic}-{partition}"));
    let factory = source(broker, KafkaTopics::subscribe([&*topic]));
    let mut driver = Driver::start(&factory, &Offsets::default());
    let ahead = |driver: &mut Driver, name: &str| driver.source.figures()[name]["fetched_ahead_rows"] as u64;
    driver.eventually(|driver| {
        driver.plan(1);
        ahead(driver, &names[0]) >= limits::KAFKA_AHEAD_ROWS
    });
    // The full partition does not move while the other is read.
    produce(broker, &topic, 1, numbers(0..1000));
    let other = Offsets::single(names[1].clone(), 1000);
    let expected: Vec<String> = numbers(0..1000).collect();
    assert_eq!(values(&driver.read_until(&other)), expected);
    let most = limits::KAFKA_AHEAD_ROWS + 2 * limits::KAFKA_CHUNK_ROWS as u64;
    assert!(ahead(&mut driver, &names[0]) <= most);
    // Nothing was lost or repeated over pauses.
    let mut next = 0;
    driver.read_while(None, |records| {
        for record in records {
            assert_eq!(record.offset, next);
            next += 1;
        }
        next < i64::try_from(rows).unwrap()
    });
    assert_eq!(next, i64::try_from(rows).unwrap());
}

#[test]
fn records_that_were_removed_are_an_error_or_are_left_out() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("removed", 2);
    produce(broker, &topic, 0, numbers(0..10));
    produce(broker, &topic, 1, numbers(0..10));
    broker.delete_records(&topic, 1, 6);
    let from = Offsets([(format!("{topic}-0"), 8), (format!("{topic}-1"), 3)].into());
    let strict = source(broker, KafkaTopics::subscribe([&*topic]));
    let error = Driver::start_instance(&strict, Instance::ONLY, &from).err().unwrap().to_string();
    let expected = format!("topic `{topic}`, partition 1: offset 3 is to be read");
    assert!(error.contains(&expected) && error.contains("have 6 up to 10"), "{error}");
    assert!(error.contains("`failOnDataLoss`") && error.contains(broker.bootstrap()), "{error}");

    let lax = strict.fail_on_data_loss(false);
    let mut driver = Driver::start(&lax, &from);
    let records = driver.read(6);
    assert_eq!(of_partition(&records, 0), ["8", "9"]);
    assert_eq!(of_partition(&records, 1), ["6", "7", "8", "9"]);
    assert_eq!(lax.data_losses(), 1);
}

#[test]
fn records_may_be_removed_while_the_source_is_held_up() {
    let Some(broker) = TestBroker::shared() else { return };
    for fail in [true, false] {
        let topic = broker.topic("overtaken", 1);
        let rows = limits::KAFKA_AHEAD_ROWS * 2;
        produce(broker, &topic, 0, numbers(0..rows));
        let factory = source(broker, KafkaTopics::subscribe([&*topic])).fail_on_data_loss(fail);
        let mut driver = Driver::start(&factory, &Offsets::default());
        let name = format!("{topic}-0");
        driver.eventually(|driver| {
            driver.plan(1);
            driver.source.figures()[&name]["fetched_ahead_rows"] as u64 >= limits::KAFKA_AHEAD_ROWS
        });
        let kept = i64::try_from(rows).unwrap() - 5;
        broker.delete_records(&topic, 0, kept);
        if fail {
            let error = driver.error();
            assert!(error.contains(&format!("topic `{topic}`, partition 0: offset")), "{error}");
            assert!(error.contains(&format!("have {kept} up to {rows}")), "{error}");
            continue;
        }
        let mut last = Vec::new();
        driver.read_while(None, |records| {
            last.extend(records.map(|record| record.offset).filter(|offset| *offset >= kept));
            last.len() < 5
        });
        assert_eq!(last, (kept..kept + 5).collect::<Vec<_>>());
        assert_eq!(factory.data_losses(), 1);
    }
}
