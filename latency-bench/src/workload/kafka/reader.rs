//! What tells the latency: a consumer on a thread of its own.

use super::super::RunConfig;
use super::broker::{ANSWER, client, failed};
use super::payload::{HEADER, Stamp};
use super::tally::Tally;
use super::topics::Topics;
use crate::clock::Timebase;
use crate::error::Result;
use crate::recorder::Recorder;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often an idle consumer looks whether it should end.
const IDLE: Duration = Duration::from_millis(20);

/// What the thread tells while it runs.
#[derive(Debug, Default)]
struct Shared {
    arrived: AtomicU64,
    ends: AtomicBool,
    trouble: Mutex<Option<String>>,
}

/// The reading thread.
pub(super) struct Reader {
    thread: JoinHandle<(Recorder, Tally)>,
    shared: Arc<Shared>,
}

impl Reader {
    /// Reads all of a topic, from its beginning.
    pub(super) fn start(
        config: &RunConfig,
        topics: &Topics,
        topic: &str,
        timebase: &Timebase,
    ) -> Result<Reader> {
        let consumer = consumer(topics, topic)?;
        let shared = Arc::new(Shared::default());
        let mut reading = Reading {
            timebase: timebase.clone(),
            recorder: Recorder::new(config.window()),
            tally: Tally::default(),
            shared: Arc::clone(&shared),
        };
        let body = move || {
            reading.read(&consumer);
            (reading.recorder, reading.tally)
        };
        let thread = std::thread::Builder::new().name("reader".to_owned()).spawn(body);
        let thread = thread.map_err(|error| config.failed(format!("no thread to read from: {error}")))?;
        Ok(Reader { thread, shared })
    }

    /// Records that have arrived, each counted once.
    pub(super) fn arrived(&self) -> u64 {
        self.shared.arrived.load(Ordering::Relaxed)
    }

    /// What the client last complained of.
    pub(super) fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads on for this long, and until nothing more comes.
    pub(super) fn finish(self, longer: Duration) -> (Recorder, Tally) {
        std::thread::sleep(longer);
        self.shared.ends.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// A consumer of all of a topic, from its beginning.
pub(super) fn consumer(topics: &Topics, topic: &str) -> Result<BaseConsumer> {
    let cannot = |error: rdkafka::error::KafkaError| {
        failed(&topics.bootstrap, format!("cannot read the topic {topic}: {error}"))
    };
    let consumer: BaseConsumer = client(&topics.bootstrap)
        .set("group.id", "lotic-latency-bench")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.min.bytes", "1")
        .create()
        .map_err(cannot)?;
    // So that neither the connection nor its threads are made while it reads.
    consumer.fetch_metadata(Some(topic), ANSWER).map_err(cannot)?;
    let mut assigned = TopicPartitionList::new();
    for partition in 0..topics.partitions {
        assigned.add_partition_offset(topic, partition, Offset::Beginning).map_err(cannot)?;
    }
    consumer.assign(&assigned).map_err(cannot)?;
    Ok(consumer)
}

struct Reading {
    timebase: Timebase,
    recorder: Recorder,
    tally: Tally,
    shared: Arc<Shared>,
}

impl Reading {
    fn read(&mut self, consumer: &BaseConsumer) {
        loop {
            match consumer.poll(IDLE) {
                Some(Ok(message)) => self.take(&message),
                // The client goes on by itself: a broker that does not come back is found by what is missing.
                Some(Err(error)) => {
                    let mut trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                    *trouble = Some(error.to_string());
                }
                None if self.shared.ends.load(Ordering::Relaxed) => break,
                None => {}
            }
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let now_ns = self.timebase.now_ns();
        let stamp = stamp(message);
        if self.tally.take(message.key().unwrap_or_default(), stamp)
            && let Some(stamp) = stamp
        {
            self.recorder.record(now_ns, stamp.intended_ns, stamp.sent_ns);
            self.shared.arrived.store(self.tally.once(), Ordering::Relaxed);
        }
    }
}

fn stamp(message: &BorrowedMessage<'_>) -> Option<Stamp> {
    let header = message.headers()?.iter().find(|header| header.key == HEADER)?;
    Stamp::from_bytes(header.value?)
}
