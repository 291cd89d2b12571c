//! What the tests against a broker share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use lotic_connectors::kafka::{KafkaOffsets, KafkaParameters, KafkaRecord, KafkaSource, KafkaTopics};
use lotic_connectors::source::Latest;
use lotic_connectors::testing::kafka::TestBroker;
use lotic_connectors::{ConnectorError, Offsets, PollRequest, Polled, Result, Source, SourceFactory};
use lotic_operators::{Instance, Rows};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub fn source(broker: &TestBroker, topics: KafkaTopics) -> KafkaSource {
    KafkaSource::new(KafkaParameters::new(broker.bootstrap()), topics)
        .starting_offsets(KafkaOffsets::Earliest)
}

pub fn producer(broker: &TestBroker, parameters: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap()).set("linger.ms", "0");
    for (name, value) in parameters {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Writes values to a partition and waits until the broker has them.
pub fn produce(broker: &TestBroker, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
    let producer = producer(broker, &[]);
    send(&producer, topic, partition, values);
    producer.flush(PATIENCE).unwrap();
}

pub fn send(producer: &BaseProducer, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
    for value in values {
        let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(10));
        }
    }
}

pub fn numbers(range: std::ops::Range<u64>) -> impl Iterator<Item = String> {
    range.map(|number| number.to_string())
}

/// The values as text.
pub fn values(records: &[KafkaRecord]) -> Vec<String> {
    records.iter().map(|record| record.value_str().unwrap().unwrap().to_owned()).collect()
}

/// Those of one partition.
pub fn of_partition(records: &[KafkaRecord], partition: i32) -> Vec<String> {
    let records: Vec<KafkaRecord> =
        records.iter().filter(|record| record.partition == partition).cloned().collect();
    values(&records)
}

struct Alarm(Thread);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Plays the engine for one instance.
pub struct Driver {
    pub source: Box<dyn Source<Rows<KafkaRecord>>>,
    pub waker: Waker,
}

impl Driver {
    pub fn start(factory: &KafkaSource, from: &Offsets) -> Driver {
        Driver::start_instance(factory, Instance::ONLY, from).unwrap()
    }

    pub fn start_instance(factory: &KafkaSource, instance: Instance, from: &Offsets) -> Result<Driver> {
        let mut source = factory.create(instance)?;
        source.start(from)?;
        Ok(Driver { source, waker: Waker::from(Arc::new(Alarm(thread::current()))) })
    }

    pub fn try_poll(
        &mut self,
        max_rows: usize,
        until: Option<&Offsets>,
    ) -> Result<Polled<Rows<KafkaRecord>>> {
        self.source.poll(PollRequest { max_rows, until, waker: &self.waker })
    }

    /// Reads this many records.
    pub fn read(&mut self, count: usize) -> Vec<KafkaRecord> {
        let mut read = Vec::new();
        self.read_while(None, |rows| {
            read.extend(rows);
            read.len() < count
        });
        assert_eq!(read.len(), count, "at {}", self.source.offsets());
        read
    }

    /// Reads to the end of a plan.
    pub fn read_until(&mut self, until: &Offsets) -> Vec<KafkaRecord> {
        let mut read = Vec::new();
        self.read_while(Some(until), |rows| {
            read.extend(rows);
            true
        });
        read
    }

    /// Reads batches until one is the last, or the plan ends.
    pub fn read_while(&mut self, until: Option<&Offsets>, mut more: impl FnMut(Rows<KafkaRecord>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_poll(1000, until).unwrap() {
                Polled::Batch(rows) => {
                    if !more(rows) {
                        return;
                    }
                }
                Polled::AtEnd => return,
                Polled::Pending(wait) => self.wait(wait, deadline),
                Polled::Finished => unreachable!("a topic has no end"),
            }
        }
    }

    /// Reads this many records, unless it fails before.
    pub fn try_read(&mut self, count: usize) -> Result<Vec<KafkaRecord>> {
        let mut read = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while read.len() < count {
            match self.try_poll(1000, None)? {
                Polled::Batch(rows) => read.extend(rows),
                Polled::Pending(wait) => self.wait(wait, deadline),
                Polled::AtEnd | Polled::Finished => unreachable!("a topic has no end"),
            }
        }
        Ok(read)
    }

    /// Polls until there is an error, dropping rows.
    pub fn error(&mut self) -> String {
        self.failure().to_string()
    }

    /// The same, as the error that it is.
    pub fn failure(&mut self) -> ConnectorError {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_poll(1000, None) {
                Err(error) => return error,
                Ok(Polled::Pending(wait)) => self.wait(wait, deadline),
                Ok(_) => {}
            }
        }
    }

    /// Where all partitions end now.
    pub fn ends(&mut self) -> Offsets {
        self.plan(u64::MAX)
    }

    pub fn plan(&mut self, max_rows: u64) -> Offsets {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.source.latest(max_rows, &self.waker).unwrap() {
                Latest::At(offsets) => return offsets,
                Latest::Pending(wait) => self.wait(wait, deadline),
            }
        }
    }

    /// Waits until something holds of the source that no wake-up tells.
    pub fn eventually(&mut self, holds: impl Fn(&mut Driver) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            self.wait(Some(Duration::from_millis(5)), deadline);
        }
    }

    fn wait(&self, wait: Option<Duration>, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(left > Duration::ZERO, "the source stands still, at {}", self.source.offsets());
        thread::park_timeout(wait.unwrap_or(left).min(left));
    }
}
