//! What the tests of the Kafka sinks share.
#![allow(dead_code, clippy::unwrap_used)]

use lotic_connectors::kafka::{KafkaMessage, KafkaParameters, KafkaSink};
use lotic_connectors::{Committer, Result, Sink, SinkFactory};
use lotic_operators::{Batch, Epoch, Instance, Rows};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// No test waits longer for one thing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A record as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, Option<String>)>,
    pub(crate) timestamp_ms: Option<i64>,
}

/// A name that no other test has used, nor this one before.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{what}-{now:x}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A waker that unparks the thread that made it.
pub(crate) fn unparking() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = unparking();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

/// Makes a topic with settings of its own and waits until it can be written to.
pub(crate) fn create_topic(bootstrap: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    block_on(admin.create_topics(&[topic], &options)).unwrap()[0].as_ref().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metadata = admin.inner().fetch_metadata(Some(name), PATIENCE).unwrap();
        let led =
            metadata.topics()[0].partitions().iter().filter(|partition| partition.leader() >= 0).count();
        if led == partitions as usize {
            return;
        }
        assert!(Instant::now() < deadline, "topic {name} has no leaders");
    }
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// What a reader sees up to the end, by partition and offset.
pub(crate) fn read_all(bootstrap: &str, topic: &str, isolation: &str) -> Vec<Seen> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let metadata = reader.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut assignment = TopicPartitionList::new();
    let partitions = metadata.topics()[0].partitions().len();
    for partition in 0..partitions as i32 {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    reader.assign(&assignment).unwrap();
    let mut seen: BTreeMap<(i32, i64), Seen> = BTreeMap::new();
    let (mut ended, deadline) = (0, Instant::now() + PATIENCE);
    while ended < partitions {
        assert!(Instant::now() < deadline, "topic {topic} is not read to its end");
        match reader.poll(Duration::from_secs(1)) {
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Ok(message)) => {
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let headers = headers.map(|header| (header.key.to_owned(), text(header.value))).collect();
                let read = Seen {
                    partition: message.partition(),
                    key: text(message.key()),
                    value: text(message.payload()),
                    headers,
                    timestamp_ms: message.timestamp().to_millis(),
                };
                seen.insert((message.partition(), message.offset()), read);
            }
            _ => {}
        }
    }
    seen.into_values().collect()
}

/// The values that a reader of committed records sees, in the order of each partition.
pub(crate) fn values(bootstrap: &str, topic: &str) -> Vec<String> {
    read_all(bootstrap, topic, "read_committed").into_iter().map(|seen| seen.value.unwrap()).collect()
}

/// A sink and topics of its own.
pub(crate) struct World {
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) epochs: String,
    pub(crate) ids: String,
}

impl World {
    pub(crate) fn new(bootstrap: &str, partitions: i32) -> World {
        let (topic, epochs, ids) = (unique("output"), unique("epochs"), unique("ids"));
        let world = World { bootstrap: bootstrap.to_owned(), topic, epochs, ids };
        create_topic(bootstrap, &world.topic, partitions, &[]);
        world
    }

    pub(crate) fn parameters(&self) -> KafkaParameters {
        KafkaParameters::new(&self.bootstrap)
    }

    pub(crate) fn plain(&self) -> KafkaSink {
        KafkaSink::new(self.parameters()).to_topic(&self.topic)
    }

    pub(crate) fn exactly_once(&self) -> KafkaSink {
        self.to_named_topics().to_topic(&self.topic)
    }

    /// An exactly-once sink whose messages name their topics.
    pub(crate) fn to_named_topics(&self) -> KafkaSink {
        let sink = KafkaSink::new(self.parameters()).exactly_once();
        sink.epochs_topic(&self.epochs).transactional_id_prefix(&self.ids)
    }

    pub(crate) fn values(&self) -> Vec<String> {
        values(&self.bootstrap, &self.topic)
    }
}

pub(crate) const WRITER: &str = "query/results";

pub(crate) fn committer(sink: &KafkaSink, writer: &str) -> Box<dyn Committer> {
    SinkFactory::<Rows<KafkaMessage>>::committer(sink, writer).unwrap().unwrap()
}

pub(crate) fn start(sink: &KafkaSink) -> Result<Box<dyn Sink<Rows<KafkaMessage>>>> {
    let mut instance = SinkFactory::<Rows<KafkaMessage>>::create(sink, Instance::ONLY)?;
    instance.start(Epoch(1))?;
    Ok(instance)
}

/// Writes all, waiting while the sink is full.
pub(crate) fn write(sink: &mut dyn Sink<Rows<KafkaMessage>>, messages: Vec<KafkaMessage>) -> Result<()> {
    let mut batch = Rows::from(messages);
    let waker = unparking();
    let deadline = Instant::now() + PATIENCE;
    loop {
        sink.write(&mut batch, &waker)?;
        if batch.rows() == 0 {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "the sink takes no rows");
        std::thread::park_timeout(PATIENCE);
    }
}

/// Ends an epoch: its handle, if there is something to commit.
pub(crate) fn handle(sink: &mut dyn Sink<Rows<KafkaMessage>>, epoch: u64) -> Result<Option<Vec<u8>>> {
    sink.pre_commit(Epoch(epoch))?.map(|prepare| prepare()).transpose()
}

/// Messages of these numbers, with keys that repeat.
pub(crate) fn numbered(numbers: std::ops::Range<u64>) -> Vec<KafkaMessage> {
    let message = |number: u64| KafkaMessage::new(number.to_string()).with_key(format!("key-{}", number % 7));
    numbers.map(message).collect()
}

/// The handle of an epoch of its own for each range of numbers.
pub(crate) fn outbox(sink: &KafkaSink, epoch: u64, numbers: std::ops::Range<u64>) -> Vec<u8> {
    let mut instance = start(sink).unwrap();
    write(&mut *instance, numbered(numbers)).unwrap();
    handle(&mut *instance, epoch).unwrap().unwrap()
}

/// Every number once, and those of one key in order.
pub(crate) fn assert_each_once(values: &[String], numbers: std::ops::Range<u64>) {
    let mut sorted: Vec<u64> = values.iter().map(|value| value.parse().unwrap()).collect();
    for key in 0..7 {
        let of_key: Vec<u64> = sorted.iter().copied().filter(|number| number % 7 == key).collect();
        assert!(of_key.is_sorted(), "key {key} is out of order: {of_key:?}");
    }
    sorted.sort_unstable();
    let expected: Vec<u64> = numbers.collect();
    assert!(
        sorted == expected,
        "{} records of {}; first that differs: {:?}",
        sorted.len(),
        expected.len(),
        sorted.iter().zip(&expected).find(|(seen, expected)| seen != expected)
    );
}
