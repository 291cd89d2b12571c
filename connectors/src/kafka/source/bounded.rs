//! A bounded read: ranges of offsets that are fixed before the first is read.
//!
//! # Where a range ends
//! At its end, or where the partition ends: the end was there when the ranges were fixed, so that nothing of
//! the range can be missing then. That is how a range ends whose last offsets hold no records: those of
//! control records, which end every transaction, of records of aborted transactions, and those that
//! compaction removed.

use super::super::errors;
use super::super::offsets::{KafkaOffsets, PartitionOffset};
use super::super::record::TimestampType;
use super::super::settings::{KafkaParameters, Role};
use super::super::topics::{KafkaTopics, Lookup, TopicPartition};
use super::CorruptRecord;
use super::client::Client;
use super::corrupt::{Probe, is_corrupt};
use super::ranges::{Range, split};
use crate::error::{ConnectorError, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

/// How long one poll waits, after which the deadline is looked at.
const WAIT: Duration = Duration::from_millis(100);
/// How long to wait for more rows of a batch that has some.
const MORE_WAIT: Duration = Duration::from_millis(10);

/// What is to be read.
#[derive(Debug, Clone)]
pub(crate) struct BoundedRead {
    /// The source in errors.
    pub(crate) name: String,
    pub(crate) parameters: KafkaParameters,
    pub(crate) topics: KafkaTopics,
    pub(crate) starting: KafkaOffsets,
    pub(crate) ending: KafkaOffsets,
    pub(crate) fail_on_data_loss: bool,
    pub(crate) corrupt: CorruptRecord,
    pub(crate) group_id_prefix: String,
    /// How long to wait for an answer of the brokers to each question.
    pub(crate) connect_wait_max: Duration,
    /// How long to wait for the next records of a partition.
    pub(crate) poll_wait_max: Duration,
    /// At least so many ranges, if there are offsets enough.
    pub(crate) ranges_min: usize,
    /// At most so many offsets in a range.
    pub(crate) range_offsets_max: u64,
}

impl BoundedRead {
    fn connector(&self) -> String {
        format!("source `{}`", self.name)
    }

    /// Checks what can be checked without a broker.
    pub(crate) fn check(&self) -> Result<()> {
        self.topics.check(&self.connector())?;
        self.client(true).map(drop)
    }

    fn client(&self, for_questions: bool) -> Result<rdkafka::ClientConfig> {
        let group = format!("{}-{}", self.group_id_prefix, self.name);
        let group = self.parameters.get("group.id").unwrap_or(&group);
        let mut client = self.parameters.client(&self.connector(), Role::Source, &[("group.id", group)])?;
        if !for_questions && self.parameters.get("fetch.wait.max.ms").is_none() {
            // Throughput counts here, and an end is told at once whatever this is.
            client.remove("fetch.wait.max.ms");
        }
        Ok(client)
    }

    fn connect(&self, for_questions: bool) -> Result<BaseConsumer<Client>> {
        let client = self.client(for_questions)?;
        let committed_only = client.get("isolation.level") != Some("read_uncommitted");
        let context = Client::new(&self.name, self.parameters.bootstrap_servers(), committed_only);
        client
            .create_with_context(context)
            .map_err(|error| errors::not_made(&self.connector(), &client, &error))
    }

    /// The ranges as they are now.
    pub(crate) fn ranges(&self) -> Result<Vec<Range>> {
        let consumer = self.connect(true)?;
        let found = self.find(&consumer)?;
        Ok(split(found, self.ranges_min, self.range_offsets_max))
    }

    fn find(&self, consumer: &BaseConsumer<Client>) -> Result<Vec<Range>> {
        let connector = self.connector();
        let brokers = self.parameters.bootstrap_servers();
        let wait_max = self.connect_wait_max;
        let lookup = Lookup { consumer, connector: &connector, brokers, wait_max, is_read: false };
        let partitions = lookup.partitions(&self.topics)?;
        let starts = lookup.resolve(&partitions, &self.starting, "startingOffsets")?;
        let ends = lookup.resolve(&partitions, &self.ending, "endingOffsets")?;
        let there = There { earliest: lookup.earliest(&partitions)?, latest: lookup.latest(&partitions)? };
        let mut ranges = Vec::new();
        for partition in partitions {
            let (Some(start), Some(end)) = (starts.get(&partition), ends.get(&partition)) else { continue };
            self.check_order(&partition)?;
            let start = self.within(&there, &partition, *start, "startingOffsets")?;
            let end = self.within(&there, &partition, *end, "endingOffsets")?;
            if start < end {
                ranges.push(Range { partition, start, end });
            }
        }
        Ok(ranges)
    }

    /// Refuses a start behind the end where both were given as numbers.
    fn check_order(&self, partition: &TopicPartition) -> Result<()> {
        match (given(&self.starting, partition), given(&self.ending, partition)) {
            (Some(start), Some(end)) if start > end => Err(ConnectorError::user(format!(
                "{}: topic `{}`, partition {}: option `startingOffsets` is {start} and `endingOffsets` is {end}: \
                 the end has to come after the start",
                self.connector(),
                partition.topic,
                partition.partition
            ))),
            _ => Ok(()),
        }
    }

    /// The offset, or the nearest that is there if what is missing may be left out.
    fn within(&self, there: &There, partition: &TopicPartition, offset: i64, option: &str) -> Result<i64> {
        let (Some(earliest), Some(latest)) = (there.earliest.get(partition), there.latest.get(partition))
        else {
            return Ok(offset);
        };
        // Offsets that were asked for move on by themselves, in between the questions.
        let moved = option == "startingOffsets" && self.starting == KafkaOffsets::Earliest;
        if (*earliest..=*latest).contains(&offset) || moved {
            return Ok(offset.clamp(*earliest, *latest));
        }
        let TopicPartition { topic, partition } = partition;
        let what = format!(
            "topic `{topic}`, partition {partition}: option `{option}` leads to offset {offset}, but the brokers \
             ({}) have {earliest} up to {latest}",
            self.parameters.bootstrap_servers()
        );
        self.lost(&what)?;
        Ok(offset.clamp(*earliest, *latest))
    }

    fn lost(&self, what: &str) -> Result<()> {
        if self.fail_on_data_loss {
            return Err(ConnectorError::user(format!(
                "{}: {what}; to read what is there set `failOnDataLoss` to false",
                self.connector()
            )));
        }
        tracing::warn!(source = self.name, "records are not there: {what}");
        Ok(())
    }

    /// Begins to read a range. With `headers`, those of each record will be asked for.
    pub(crate) fn open(&self, range: &Range, headers: bool) -> Result<RangeReader> {
        let reader = RangeReader {
            read: self.clone(),
            consumer: self.connect(false)?,
            next: range.start,
            range: range.clone(),
            headers,
            done: false,
        };
        reader.assign(reader.next)?;
        Ok(reader)
    }
}

/// What the brokers have.
struct There {
    earliest: BTreeMap<TopicPartition, i64>,
    latest: BTreeMap<TopicPartition, i64>,
}

fn given(offsets: &KafkaOffsets, partition: &TopicPartition) -> Option<i64> {
    let KafkaOffsets::Partitions(places) = offsets else { return None };
    match places.get(&*partition.topic)?.get(&partition.partition)? {
        PartitionOffset::At(offset) => Some(*offset),
        PartitionOffset::Earliest | PartitionOffset::Latest => None,
    }
}

/// One record as the client holds it.
pub(crate) struct MessageRecord<'a> {
    topic: &'a str,
    message: BorrowedMessage<'a>,
}

impl MessageRecord<'_> {
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.message.key()
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.message.payload()
    }

    pub(crate) fn topic(&self) -> &str {
        self.topic
    }

    pub(crate) fn partition(&self) -> i32 {
        self.message.partition()
    }

    pub(crate) fn offset(&self) -> i64 {
        self.message.offset()
    }

    pub(crate) fn timestamp_ms(&self) -> Option<i64> {
        self.message.timestamp().to_millis()
    }

    pub(crate) fn timestamp_type(&self) -> TimestampType {
        match self.message.timestamp() {
            rdkafka::Timestamp::NotAvailable => TimestampType::None,
            rdkafka::Timestamp::CreateTime(_) => TimestampType::CreateTime,
            rdkafka::Timestamp::LogAppendTime(_) => TimestampType::LogAppendTime,
        }
    }

    /// Calls `each` with the name and value of each header.
    pub(crate) fn headers(&self, mut each: impl FnMut(&str, Option<&[u8]>)) {
        let Some(headers) = self.message.headers() else { return };
        for header in headers.iter() {
            each(header.key, header.value);
        }
    }

    fn bytes(&self) -> usize {
        self.message.key_len() + self.message.payload_len()
    }

    /// The client panics on the name of a header that is not UTF-8, which any producer may write.
    fn has_readable_headers(&self) -> bool {
        panic::catch_unwind(AssertUnwindSafe(|| self.headers(|_, _| ()))).is_ok()
    }
}

/// Reads a range. Blocks.
pub(crate) struct RangeReader {
    read: BoundedRead,
    consumer: BaseConsumer<Client>,
    range: Range,
    next: i64,
    headers: bool,
    done: bool,
}

/// What to do after a poll that brought no record.
enum Event {
    Nothing,
    End,
    GoTo(i64),
}

impl RangeReader {
    /// The range at this offset, for messages.
    fn place(&self, offset: i64) -> String {
        let TopicPartition { topic, partition } = &self.range.partition;
        format!("topic `{topic}`, partition {partition}, offset {offset}")
    }

    fn brokers(&self) -> &str {
        self.read.parameters.bootstrap_servers()
    }

    fn assign(&self, offset: i64) -> Result<()> {
        let TopicPartition { topic, partition } = &self.range.partition;
        let mut list = TopicPartitionList::new();
        let assigned = list.add_partition_offset(topic, *partition, Offset::Offset(offset));
        assigned.and_then(|()| self.consumer.assign(&list)).map_err(|error| {
            errors::failed(
                format!("{}: {} cannot be read", self.read.connector(), self.place(offset)),
                &error,
            )
        })
    }

    /// Makes something of the next records, at most so many; `None` when there are no more.
    pub(crate) fn next<T>(
        &mut self,
        rows_max: usize,
        bytes_max: usize,
        make: impl FnOnce(&[MessageRecord<'_>]) -> T,
    ) -> Result<Option<T>> {
        let mut records = Vec::new();
        let (mut bytes, mut next, mut done) = (0, self.next, self.done);
        let mut deadline = Instant::now() + self.read.poll_wait_max;
        while !done && records.len() < rows_max && bytes < bytes_max {
            let event = match self.consumer.poll(if records.is_empty() { WAIT } else { MORE_WAIT }) {
                // Fetched before the reader went elsewhere.
                Some(Ok(message)) if message.offset() < next => Event::Nothing,
                Some(Ok(message)) if message.offset() >= self.range.end => Event::End,
                Some(Ok(message)) => {
                    next = message.offset() + 1;
                    let record = MessageRecord { topic: &self.range.partition.topic, message };
                    if self.headers && !record.has_readable_headers() {
                        self.corrupt(next - 1, "the name of a header is not UTF-8")?;
                    } else {
                        bytes += record.bytes();
                        records.push(record);
                    }
                    if next >= self.range.end { Event::End } else { Event::Nothing }
                }
                None if !records.is_empty() => break,
                None if Instant::now() < deadline => Event::Nothing,
                None => return Err(self.too_late(next)),
                Some(Err(error)) => self.event(&error, next)?,
            };
            match event {
                Event::Nothing => {}
                Event::End => done = true,
                Event::GoTo(offset) => {
                    if offset > next {
                        deadline = Instant::now() + self.read.poll_wait_max;
                    }
                    next = offset;
                    self.assign(next)?;
                }
            }
        }
        let made = (!records.is_empty()).then(|| make(&records));
        drop(records);
        (self.next, self.done) = (next, done);
        Ok(made)
    }

    fn event(&self, error: &KafkaError, next: i64) -> Result<Event> {
        if let KafkaError::PartitionEOF(_) = error {
            return self.partition_end(next);
        }
        let reason = self.consumer.context().last_error();
        let what = format!("{}: {} cannot be read: {reason}", self.read.connector(), self.place(next));
        let Some(code) = errors::code_of(error) else { return Err(errors::failed(what, error)) };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::NoOffset | Code::LogTruncation => {
                self.out_of_range(next)
            }
            code if is_corrupt(code) => self.corrupt_batch(next, &reason),
            // Group offsets are of no use here.
            Code::GroupAuthorizationFailed | Code::InvalidGroupId | Code::UnknownGroup => Ok(Event::Nothing),
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                self.lost(next, "the partition is not there any more").map(|()| Event::End)
            }
            code if errors::is_passing(code) || errors::is_lost_connection(code, &reason) => {
                let (source, brokers) = (&self.read.name, self.brokers());
                tracing::warn!(source, brokers, reason, "reading is interrupted, trying again");
                Ok(Event::Nothing)
            }
            code => Err(errors::failed_with(what, code)),
        }
    }

    /// Where the partition begins and ends now.
    fn there(&self) -> Result<(i64, i64)> {
        let connector = self.read.connector();
        let (consumer, wait_max) = (&self.consumer, self.read.connect_wait_max);
        let lookup =
            Lookup { consumer, connector: &connector, brokers: self.brokers(), wait_max, is_read: true };
        let partition = &self.range.partition;
        let asked = BTreeSet::from([partition.clone()]);
        let earliest = lookup.earliest(&asked)?.get(partition).copied();
        let latest = lookup.latest(&asked)?.get(partition).copied();
        Ok((earliest.unwrap_or(0), latest.unwrap_or(i64::MAX)))
    }

    fn partition_end(&self, next: i64) -> Result<Event> {
        if next < self.range.end {
            let (_, latest) = self.there()?;
            if latest < self.range.end {
                self.lost(
                    next,
                    &format!("the partition ends at {latest}, before the range {}", self.range.end),
                )?;
            }
        }
        Ok(Event::End)
    }

    fn out_of_range(&self, next: i64) -> Result<Event> {
        let (earliest, latest) = self.there()?;
        if (earliest..=latest).contains(&next) {
            return Ok(Event::GoTo(next));
        }
        self.lost(next, &format!("the brokers have {earliest} up to {latest}"))?;
        let gone = next > latest || earliest >= self.range.end;
        Ok(if gone { Event::End } else { Event::GoTo(earliest) })
    }

    fn lost(&self, offset: i64, what: &str) -> Result<()> {
        self.read.lost(&format!(
            "{} is to be read, but {what} ({}): records were removed before they were read, or the topic was made \
             anew",
            self.place(offset),
            self.brokers()
        ))
    }

    /// The client cannot read a batch, and has lost its place.
    fn corrupt_batch(&self, next: i64, reason: &str) -> Result<Event> {
        self.corrupt(next, reason)?;
        let prober = self.read.connect(false)?;
        let probe =
            Probe { consumer: &prober, partition: &self.range.partition, wait_max: self.read.poll_wait_max };
        let behind = probe.behind(next).map_err(|error| {
            let what = format!("{}: {} cannot be read", self.read.connector(), self.place(next));
            errors::failed(what, &error)
        })?;
        Ok(match behind {
            Some(behind) if behind >= self.range.end => Event::End,
            behind => Event::GoTo(behind.unwrap_or(next)),
        })
    }

    fn corrupt(&self, offset: i64, what: &str) -> Result<()> {
        let place = self.place(offset);
        if self.read.corrupt == CorruptRecord::Skip {
            tracing::warn!(source = self.read.name, place, what, "corrupt records were skipped");
            return Ok(());
        }
        let message = format!(
            "{}: {place} is corrupt (brokers {}); set `corruptRecords` to `skip` to go on without it",
            self.read.connector(),
            self.brokers()
        );
        Err(ConnectorError::external(message, what.to_owned()))
    }

    fn too_late(&self, next: i64) -> ConnectorError {
        let reason = match self.consumer.context().last_error() {
            reason if reason.is_empty() => "no answer".to_owned(),
            reason => reason,
        };
        let message = format!(
            "{}: nothing came of {} within {:?} (brokers {}); check that they run, or raise \
             `kafkaConsumer.pollTimeoutMs`",
            self.read.connector(),
            self.place(next),
            self.read.poll_wait_max,
            self.brokers()
        );
        ConnectorError::external(message, reason).with_retry_after(Duration::from_secs(1))
    }
}
