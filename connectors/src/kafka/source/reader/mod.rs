//! The thread that reads: runs the client's blocking poll and hands on what comes, by partition.

mod attend;
mod trouble;

use super::super::errors;
use super::super::topics::TopicPartition;
use super::Settings;
use super::chunk::{Chunk, ChunkBuilder, HeaderNames};
use super::client::Client;
use super::gauge::Gauge;
use crate::error::{ConnectorError, Result};
use crate::limits::{KAFKA_AHEAD_BYTES, KAFKA_AHEAD_PARTITION_BYTES, KAFKA_AHEAD_ROWS, KAFKA_CHUNK_ROWS};
use crate::offsets::Offsets;
use atomic_waker::AtomicWaker;
use crossbeam::channel::{Receiver, SendTimeoutError, Sender};
use lotic_operators::Instance;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, HashMap};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long one poll waits: a request of the source is served after it at the latest.
const WAIT: Duration = Duration::from_millis(20);
/// The same while a partition is paused, which may have room again, or an end is to be told.
const SHORT_WAIT: Duration = Duration::from_millis(2);
/// How often at most the position of the client is asked for once a partition ended.
const POSITIONS_INTERVAL: Duration = Duration::from_millis(5);

/// What the reader tells the source. Lanes are numbered in the order in which they were found.
pub(super) enum News {
    Rows { lane: usize, chunk: Chunk },
    Passed { lane: usize, offset: i64 },
    Moved { lane: usize, offset: i64 },
    Found { name: String, offset: i64, gauge: Arc<Gauge> },
    Ends(Result<BTreeMap<String, u64>>),
    Failed(ConnectorError),
}

/// What the source asks of the reader.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) stop: AtomicBool,
    pub(super) ends: AtomicBool,
    /// Offsets to write for monitoring; the newest alone.
    commit: Mutex<Option<Offsets>>,
}

impl Requests {
    pub(super) fn commit(&self, offsets: &Offsets) {
        *self.commit.lock().unwrap_or_else(PoisonError::into_inner) = Some(offsets.clone());
    }
}

/// A partition, as the reader sees it.
pub(super) struct Part {
    partition: TopicPartition,
    /// The offset after the last record taken over.
    next: i64,
    gauge: Arc<Gauge>,
    builder: ChunkBuilder,
    paused: bool,
    /// Statistics that were there when it was last resumed: those after them are of the new reading.
    statistics: u64,
}

impl Part {
    pub(super) fn new(partition: TopicPartition, next: i64, gauge: Arc<Gauge>) -> Self {
        Part { partition, next, gauge, builder: ChunkBuilder::default(), paused: false, statistics: 0 }
    }
}

type Discovery = Result<BTreeMap<TopicPartition, i64>>;

pub(super) struct Reader {
    settings: Settings,
    connector: String,
    brokers: String,
    instance: Instance,
    consumer: Arc<BaseConsumer<Client>>,
    parts: Vec<Part>,
    index: HashMap<TopicPartition, usize>,
    /// The part of the last record, which is often that of the next.
    last: usize,
    touched: Vec<usize>,
    names: HeaderNames,
    news: Sender<News>,
    requests: Arc<Requests>,
    waker: Arc<AtomicWaker>,
    /// A partition ended since the positions were last told.
    ended: bool,
    positions_told: Instant,
    drained: bool,
    recheck: Option<Instant>,
    look_again: Instant,
    discovery: Option<Receiver<Discovery>>,
}

impl Reader {
    #[allow(clippy::too_many_arguments, reason = "built in one place")]
    pub(super) fn new(
        settings: Settings,
        instance: Instance,
        consumer: BaseConsumer<Client>,
        parts: Vec<Part>,
        news: Sender<News>,
        requests: Arc<Requests>,
        waker: Arc<AtomicWaker>,
    ) -> Self {
        let index = parts.iter().enumerate().map(|(at, part)| (part.partition.clone(), at)).collect();
        let now = Instant::now();
        Reader {
            connector: settings.connector(),
            brokers: settings.parameters.bootstrap_servers().to_owned(),
            look_again: now + settings.metadata_interval,
            settings,
            instance,
            consumer: Arc::new(consumer),
            parts,
            index,
            last: 0,
            touched: Vec::new(),
            names: HeaderNames::default(),
            news,
            requests,
            waker,
            ended: false,
            positions_told: now,
            drained: false,
            recheck: None,
            discovery: None,
        }
    }

    /// Assigns the partitions and begins to read.
    pub(super) fn spawn(mut self) -> Result<()> {
        let all = self.list(0..self.parts.len());
        self.consumer.assign(&all).map_err(|error| {
            errors::failed(format!("{}: the partitions cannot be read", self.connector), &error)
        })?;
        let name = format!("kafka-{}", self.settings.name);
        let run = move || {
            let ran = panic::catch_unwind(AssertUnwindSafe(|| self.run()));
            let crashed = || ConnectorError::internal(format!("{}: the reader crashed", self.connector));
            let failure = ran.unwrap_or_else(|_| Err(crashed()));
            if let Err(error) = failure {
                self.tell(News::Failed(error));
                self.waker.wake();
            }
        };
        let spawned = thread::Builder::new().name(name).spawn(run);
        spawned
            .map_err(|error| ConnectorError::external("no thread for the reader of a Kafka source", error))?;
        Ok(())
    }

    fn list(&self, parts: impl IntoIterator<Item = usize>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for part in parts {
            let Part { partition: TopicPartition { topic, partition }, next, .. } = &self.parts[part];
            // Fails for offsets below zero alone.
            drop(list.add_partition_offset(topic, *partition, Offset::Offset(*next)));
        }
        list
    }

    fn run(&mut self) -> Result<()> {
        let consumer = Arc::clone(&self.consumer);
        while !self.stopped() {
            self.serve()?;
            self.resume();
            self.drained = false;
            let events = consumer.context().events();
            match consumer.poll(self.wait()) {
                None => self.drained = consumer.context().events() == events,
                Some(polled) => {
                    self.accept(polled)?;
                    self.drain(&consumer)?;
                }
            }
            self.hand_over();
            self.tell_positions();
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.requests.stop.load(Ordering::Acquire)
    }

    fn wait(&self) -> Duration {
        let short = self.ended || self.parts.iter().any(|part| part.paused);
        if short { SHORT_WAIT } else { WAIT }
    }

    /// Takes what is there without waiting.
    fn drain(&mut self, consumer: &BaseConsumer<Client>) -> Result<()> {
        for _ in 0..KAFKA_CHUNK_ROWS {
            let events = consumer.context().events();
            match consumer.poll(Duration::ZERO) {
                Some(polled) => self.accept(polled)?,
                // An event was served in place of a message.
                None if consumer.context().events() != events => {}
                None => {
                    self.drained = true;
                    break;
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, polled: Result<BorrowedMessage<'_>, KafkaError>) -> Result<()> {
        match polled {
            Ok(message) => self.take(&message),
            Err(KafkaError::PartitionEOF(_)) => {
                self.ended = true;
                Ok(())
            }
            Err(error) => self.failed(&error),
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<()> {
        let (topic, partition) = (message.topic(), message.partition());
        let is_last = self
            .parts
            .get(self.last)
            .is_some_and(|part| part.partition.partition == partition && &*part.partition.topic == topic);
        if !is_last {
            let Some(at) = self.index.get(&TopicPartition::new(topic, partition)) else { return Ok(()) };
            self.last = *at;
        }
        let part = &mut self.parts[self.last];
        // What was fetched again.
        if message.offset() < part.next {
            return Ok(());
        }
        if part.builder.is_empty() {
            self.touched.push(self.last);
        }
        part.next = message.offset() + 1;
        if part.builder.push(message, &mut self.names).is_err() {
            let what = format!("topic `{topic}`, partition {partition}, offset {}", message.offset());
            self.corrupt(&format!("{what}: the name of a header is not UTF-8"))?;
        }
        if self.parts[self.last].builder.is_full() {
            self.hand_over();
        }
        Ok(())
    }

    /// Hands on what was collected and pauses partitions that are full.
    fn hand_over(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let mut full = Vec::new();
        let bytes_max = self.bytes_max();
        for lane in std::mem::take(&mut self.touched) {
            let part = &mut self.parts[lane];
            if part.builder.is_empty() {
                continue;
            }
            let chunk = part.builder.finish(&part.partition.topic, part.partition.partition);
            let rows = chunk.rows.len() as u64;
            let rows = rows + part.gauge.ahead_rows.fetch_add(rows, Ordering::AcqRel);
            let bytes = chunk.bytes + part.gauge.ahead_bytes.fetch_add(chunk.bytes, Ordering::AcqRel);
            part.gauge.end.fetch_max(part.next, Ordering::Relaxed);
            if !part.paused && (rows >= KAFKA_AHEAD_ROWS || bytes >= bytes_max) {
                part.paused = true;
                full.push(lane);
            }
            self.tell(News::Rows { lane, chunk });
        }
        if !full.is_empty() {
            self.warn_of("pause", self.consumer.pause(&self.list(full)));
        }
        self.waker.wake();
    }

    fn bytes_max(&self) -> u64 {
        (KAFKA_AHEAD_BYTES / self.parts.len().max(1) as u64).max(KAFKA_AHEAD_PARTITION_BYTES)
    }

    /// Resumes partitions of which half is taken.
    fn resume(&mut self) {
        let bytes_max = self.bytes_max();
        let client = Arc::clone(self.consumer.context());
        let mut with_room = Vec::new();
        for (at, part) in self.parts.iter_mut().enumerate().filter(|(_, part)| part.paused) {
            let rows = part.gauge.ahead_rows.load(Ordering::Acquire);
            let bytes = part.gauge.ahead_bytes.load(Ordering::Acquire);
            if rows <= KAFKA_AHEAD_ROWS / 2 && bytes <= bytes_max / 2 {
                part.paused = false;
                part.statistics = client.statistic(&part.partition.topic, part.partition.partition).count;
                with_room.push(at);
            }
        }
        if !with_room.is_empty() {
            self.warn_of("resume", self.consumer.resume(&self.list(with_room)));
        }
    }

    fn warn_of(&self, what: &str, done: Result<(), KafkaError>) {
        if let Err(error) = done {
            tracing::warn!(source = self.settings.name, %error, "the client cannot {what} partitions");
        }
    }

    fn tell(&self, mut news: News) {
        while let Err(error) = self.news.send_timeout(news, WAIT) {
            let SendTimeoutError::Timeout(back) = error else { return self.stop() };
            if self.stopped() {
                return;
            }
            self.waker.wake();
            news = back;
        }
    }

    fn stop(&self) {
        self.requests.stop.store(true, Ordering::Release);
    }

    /// Tells how far partitions were read where no record says so: control records, which end every
    /// transaction, and what compaction left empty.
    fn tell_positions(&mut self) {
        if !self.drained {
            return;
        }
        let mut passed: Vec<(usize, i64)> = Vec::new();
        if self.ended && self.positions_told.elapsed() >= POSITIONS_INTERVAL {
            self.ended = false;
            self.positions_told = Instant::now();
            // Counts records that were taken over, and control records before and after them, alone.
            if let Ok(list) = self.consumer.position() {
                for element in list.elements() {
                    let partition = TopicPartition::new(element.topic(), element.partition());
                    if let (Some(at), Offset::Offset(offset)) = (self.index.get(&partition), element.offset())
                    {
                        passed.push((*at, offset));
                    }
                }
            }
        }
        let client = Arc::clone(self.consumer.context());
        if client.take_news() {
            for (at, part) in self.parts.iter().enumerate().filter(|(_, part)| !part.paused) {
                let statistic = client.statistic(&part.partition.topic, part.partition.partition);
                // Of the first ones after a pause, part may have been there before.
                if statistic.count >= part.statistics + 2 {
                    passed.push((at, statistic.read_to));
                }
            }
        }
        let mut told = false;
        for (lane, offset) in passed {
            let part = &mut self.parts[lane];
            if offset > part.next {
                part.next = offset;
                part.gauge.end.fetch_max(offset, Ordering::Relaxed);
                self.tell(News::Passed { lane, offset });
                told = true;
            }
        }
        if told {
            self.waker.wake();
        }
    }
}
