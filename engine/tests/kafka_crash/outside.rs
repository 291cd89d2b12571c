//! The world outside: feeds the input topic and reads the output topic, with a plain client.

use crate::support::random::Random;
use lotic::connectors::kafka::rdkafka::config::ClientConfig;
use lotic::connectors::kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use lotic::connectors::kafka::rdkafka::message::Message;
use lotic::connectors::kafka::rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use lotic::connectors::kafka::rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// Keys that are counted.
const KEYS: u64 = 100;
/// Records fed at once.
const CHUNK: u64 = 200;

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// Feeds a topic: plain records, records in transactions, and some in transactions that are aborted, so that
/// they must not be counted.
pub(crate) struct Feeder {
    plain: BaseProducer,
    transactional: BaseProducer,
    topic: String,
    /// Records fed so far, of those that count.
    pub(crate) fed: u64,
}

impl Feeder {
    pub(crate) fn new(brokers: &str, topic: &str) -> Feeder {
        let plain = config(brokers).set("enable.idempotence", "true").create().unwrap();
        let transactional: BaseProducer =
            config(brokers).set("transactional.id", format!("feeder-{topic}")).create().unwrap();
        transactional.init_transactions(PATIENCE).unwrap();
        Feeder { plain, transactional, topic: topic.to_owned(), fed: 0 }
    }

    fn send(&self, producer: &BaseProducer, row: u64) {
        let (key, value) = ((row % KEYS).to_string(), row.to_string());
        let record = BaseRecord::to(&self.topic).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// Feeds some more.
    pub(crate) fn feed(&mut self, random: &mut Random) {
        let rows = self.fed..self.fed + CHUNK;
        match random.below(4) {
            0 => {
                let producer = &self.transactional;
                producer.begin_transaction().unwrap();
                rows.clone().for_each(|row| self.send(producer, row));
                producer.commit_transaction(PATIENCE).unwrap();
            }
            1 => {
                let producer = &self.transactional;
                producer.begin_transaction().unwrap();
                rows.clone().for_each(|row| self.send(producer, row));
                producer.flush(PATIENCE).unwrap();
                producer.abort_transaction(PATIENCE).unwrap();
                return;
            }
            _ => {
                rows.clone().for_each(|row| self.send(&self.plain, row));
                self.plain.flush(PATIENCE).unwrap();
            }
        }
        self.fed = rows.end;
    }

    /// How often each key was fed.
    pub(crate) fn expected(&self) -> BTreeMap<String, u64> {
        let times = |key: u64| (key.to_string(), (self.fed.saturating_sub(key)).div_ceil(KEYS));
        (0..KEYS).map(times).filter(|(_, count)| *count > 0).collect()
    }
}

/// Reads the committed records of a topic from its beginning to its end. The counts of each key must be 1, 2,
/// 3, … in order; returns how far each key has come.
pub(crate) fn counts(brokers: &str, topic: &str) -> Result<BTreeMap<String, u64>, String> {
    let consumer: BaseConsumer = config(brokers)
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut list = TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        left += 1;
    }
    consumer.assign(&list).unwrap();
    let (mut counts, deadline) = (BTreeMap::<String, u64>::new(), Instant::now() + PATIENCE);
    while left > 0 {
        assert!(Instant::now() < deadline, "`{topic}` cannot be read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(lotic::connectors::kafka::rdkafka::error::KafkaError::PartitionEOF(_))) => left -= 1,
            Some(Err(error)) => return Err(format!("`{topic}` cannot be read: {error}")),
            Some(Ok(message)) => {
                let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
                let (key, count) = (text(message.key()), text(message.payload()).parse::<u64>().unwrap());
                let held = counts.entry(key.clone()).or_insert(0);
                if count != *held + 1 {
                    let what = if count <= *held { "DUPLICATED" } else { "LOST" };
                    let at = format!("partition {}, offset {}", message.partition(), message.offset());
                    return Err(format!("{what}: `{topic}`, {at}: key {key} counts {count} after {held}"));
                }
                *held = count;
            }
        }
    }
    Ok(counts)
}
