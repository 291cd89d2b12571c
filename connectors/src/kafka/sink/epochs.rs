//! The topic that says which epochs are committed: one record for each epoch and sink, written in the
//! transaction of the epoch, so that it is there if and only if the epoch's messages are.
//!
//! The topic is compacted: of each sink the newest record stays. It has one partition and is shared by all
//! queries that name it.

use super::super::complaints::{self, Asking};
use super::super::errors;
use super::settings::SinkSettings;
use crate::error::{ConnectorError, ErrorKind, Result};
use crate::waiters::block_on;
use lotic_operators::Epoch;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

const VERSION: u32 = 1;
pub(super) const PARTITION: i32 = 0;
/// How the topic is made: small segments, cleaned often, so that a recovery has little to read.
const TOPIC_SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("retention.ms", "-1"),
    ("segment.bytes", "16777216"),
    ("min.cleanable.dirty.ratio", "0.1"),
];
/// Records from the end that are read first: a sink that ran lately is among them.
const TAIL_RECORDS: i64 = 1000;
const PAUSE: Duration = Duration::from_millis(20);

/// The value of a record; its key is the name of the writer.
#[derive(Debug, Serialize, Deserialize)]
struct Committed {
    version: u32,
    epoch: u64,
}

/// The records of one sink in the topic of epochs.
pub(super) struct Epochs {
    settings: Arc<SinkSettings>,
    topic: String,
    writer: String,
}

impl Epochs {
    pub(super) fn new(settings: Arc<SinkSettings>, topic: String, writer: String) -> Self {
        Epochs { settings, topic, writer }
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    pub(super) fn key(&self) -> &str {
        &self.writer
    }

    /// The value of the record that says that an epoch is committed.
    pub(super) fn value(&self, epoch: Epoch) -> Result<Vec<u8>> {
        serde_json::to_vec(&Committed { version: VERSION, epoch: epoch.0 }).map_err(|error| {
            ConnectorError::internal(format!("a record of an epoch cannot be encoded: {error}"))
        })
    }

    fn what(&self) -> String {
        let SinkSettings { connector, .. } = &*self.settings;
        format!(
            "{connector}: topic of epochs `{}` of the brokers at {}",
            self.topic,
            self.settings.bootstrap_servers()
        )
    }

    fn failed(&self, error: &KafkaError) -> ConnectorError {
        errors::failed(self.what(), error)
    }

    /// Makes the topic if it is missing, and makes sure that it keeps what is written.
    pub(super) fn ensure_topic(&self, deadline: Instant) -> Result<()> {
        let admin = self.settings.admin()?;
        // Not the administrator, which does not tell what it hears of its connections.
        let client = self.settings.asking(&[])?;
        let mut created = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.leader(&client, left.min(self.settings.connect_wait_max)) {
                Ok(()) => return self.check_policy(&admin, deadline),
                Err(Code::UnknownTopicOrPartition | Code::UnknownTopic) if !created => {
                    self.create_topic(&admin, deadline)?;
                    created = true;
                }
                // What was made a moment ago is not known to every broker yet.
                Err(Code::UnknownTopicOrPartition | Code::UnknownTopic) if !left.is_zero() => {}
                Err(code) => {
                    let error = errors::unanswered(self.what(), code, complaints::of(&client));
                    // Brokers come back; a password that they refuse does not become right.
                    if !errors::is_passing(code) || error.kind() == ErrorKind::User || left.is_zero() {
                        return Err(error);
                    }
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn leader(&self, client: &BaseConsumer<Asking>, wait: Duration) -> Result<(), Code> {
        let metadata = complaints::metadata(client, Some(&self.topic), wait);
        let metadata = metadata.map_err(|error| errors::code_of(&error).unwrap_or(Code::Unknown))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let topic = topic.ok_or(Code::UnknownTopicOrPartition)?;
        if let Some(error) = topic.error().filter(IsError::is_error) {
            return Err(error.into());
        }
        let led =
            topic.partitions().iter().any(|partition| partition.id() == PARTITION && partition.leader() >= 0);
        if led { Ok(()) } else { Err(Code::LeaderNotAvailable) }
    }

    fn create_topic(&self, admin: &AdminClient<DefaultClientContext>, deadline: Instant) -> Result<()> {
        // -1: as many replicas as the brokers give by themselves.
        let mut topic = NewTopic::new(&self.topic, 1, TopicReplication::Fixed(-1));
        for (name, value) in TOPIC_SETTINGS {
            topic = topic.set(name, value);
        }
        let options = self.options(deadline);
        let created = block_on(admin.create_topics(&[topic], &options), Some(deadline));
        match created.unwrap_or(Err(KafkaError::AdminOp(Code::OperationTimedOut))) {
            Ok(results) => match results.into_iter().next() {
                Some(Err((_, code))) if code != Code::TopicAlreadyExists => {
                    let advice = "create it yourself, with one partition and `cleanup.policy=compact`, or name \
                                  another with `epochsTopic`";
                    Err(errors::failed_with(format!("{} cannot be made ({advice})", self.what()), code))
                }
                _ => {
                    tracing::info!(topic = self.topic, "made the topic of epochs");
                    Ok(())
                }
            },
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn options(&self, deadline: Instant) -> AdminOptions {
        let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
        AdminOptions::new().request_timeout(Some(left)).operation_timeout(Some(left))
    }

    /// A topic that forgets records by age would let an epoch be committed twice.
    fn check_policy(&self, admin: &AdminClient<DefaultClientContext>, deadline: Instant) -> Result<()> {
        let resource = [ResourceSpecifier::Topic(&self.topic)];
        let options = self.options(deadline);
        let described = block_on(admin.describe_configs(&resource, &options), Some(deadline));
        let described = match described {
            Some(Ok(mut results)) => results.pop(),
            Some(Err(error)) => return Err(self.failed(&error)),
            None => return Err(self.failed(&KafkaError::AdminOp(Code::OperationTimedOut))),
        };
        let policy = match &described {
            Some(Ok(topic)) => topic.get("cleanup.policy").and_then(|entry| entry.value.as_deref()),
            // Not everybody may ask. Whoever made the topic answers for it.
            Some(Err(error)) => {
                tracing::warn!(topic = self.topic, %error, "cannot see whether the topic of epochs is compacted");
                None
            }
            None => None,
        };
        match policy {
            Some(policy) if policy != "compact" => Err(ConnectorError::user(format!(
                "{} has cleanup.policy={policy} and would forget which epochs are committed; set it to `compact`, \
                 or name another topic with `epochsTopic`",
                self.what()
            ))),
            _ => Ok(()),
        }
    }

    /// The newest epoch of this sink that is committed. Call it when every transaction of the sink has ended.
    ///
    /// Everything up to the end of the topic counts, and nothing before its transaction is decided: while
    /// other queries have transactions open there, which is milliseconds unless one has died, it waits.
    pub(super) fn newest(&self, deadline: Instant) -> Result<Epoch> {
        let (low, end) = self.end(deadline)?;
        let reader = self.reader("read_committed", true)?;
        loop {
            let (_, stable) = self.watermarks(&reader, deadline)?;
            if stable >= end {
                break;
            }
            if Instant::now() >= deadline {
                return Err(ConnectorError::external(
                    self.what(),
                    "a transaction of another query has been open there for too long: it ends after that query's \
                     `kafka.transaction.timeout.ms`; or name another topic with `epochsTopic`",
                )
                .with_retry_after(Duration::from_secs(1)));
            }
            std::thread::sleep(PAUSE);
        }
        let tail = end.saturating_sub(TAIL_RECORDS);
        if tail > low {
            let newest = self.read_from(&reader, tail, deadline)?;
            if newest != Epoch::NONE {
                return Ok(newest);
            }
        }
        self.read_from(&reader, low, deadline)
    }

    /// First and last of what is there, decided or not.
    fn end(&self, deadline: Instant) -> Result<(i64, i64)> {
        let reader = self.reader("read_uncommitted", false)?;
        self.watermarks(&reader, deadline)
    }

    fn watermarks(&self, reader: &BaseConsumer<Asking>, deadline: Instant) -> Result<(i64, i64)> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
            match reader.fetch_watermarks(&self.topic, PARTITION, left) {
                Ok(watermarks) => return Ok(watermarks),
                Err(error) => {
                    let passing = errors::code_of(&error).is_some_and(errors::is_passing);
                    if !passing || Instant::now() >= deadline {
                        return Err(self.failed(&error));
                    }
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn reader(&self, isolation: &str, reads: bool) -> Result<BaseConsumer<Asking>> {
        let mut own = vec![
            ("isolation.level", isolation),
            ("enable.partition.eof", "true"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("fetch.wait.max.ms", "10"),
        ];
        if reads {
            // Asked for by librdkafka; no group is joined and nothing committed.
            own.push(("group.id", &self.writer));
        }
        self.settings.asking(&own)
    }

    /// The newest epoch of this sink from this record to the end.
    fn read_from(&self, reader: &BaseConsumer<Asking>, offset: i64, deadline: Instant) -> Result<Epoch> {
        let mut assignment = TopicPartitionList::new();
        let assigned = assignment
            .add_partition_offset(&self.topic, PARTITION, Offset::Offset(offset))
            .and_then(|()| reader.assign(&assignment));
        assigned.map_err(|error| self.failed(&error))?;
        let mut newest = Epoch::NONE;
        loop {
            match reader.poll(deadline.saturating_duration_since(Instant::now())) {
                Some(Ok(message)) => newest = self.epoch_of(&message)?.max(newest),
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                // Of no matter, since no group is used: it takes no right to one.
                Some(Err(error)) if errors::code_of(&error) == Some(Code::GroupAuthorizationFailed) => {}
                Some(Err(error)) => {
                    let passing = errors::code_of(&error).is_some_and(errors::is_passing);
                    if !passing {
                        return Err(self.failed(&error));
                    }
                }
                None => {}
            }
            if Instant::now() >= deadline {
                return Err(errors::failed_with(self.what(), Code::OperationTimedOut));
            }
        }
        reader.unassign().map_err(|error| self.failed(&error))?;
        Ok(newest)
    }

    /// The epoch that a record is about; none if the record is another sink's.
    fn epoch_of(&self, message: &BorrowedMessage<'_>) -> Result<Epoch> {
        if message.key() != Some(self.writer.as_bytes()) {
            return Ok(Epoch::NONE);
        }
        let Some(value) = message.payload() else { return Ok(Epoch::NONE) };
        parse(value).map_err(|cause| {
            ConnectorError::user(format!(
                "{}, offset {}: the record of `{}` is not understood ({cause}): it was written by another program \
                 or a later version; use that version, or name another topic with `epochsTopic`",
                self.what(),
                message.offset(),
                self.writer
            ))
        })
    }
}

fn parse(value: &[u8]) -> Result<Epoch, String> {
    let committed: Committed = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    if committed.version != VERSION {
        return Err(format!("version {} is unknown", committed.version));
    }
    Ok(Epoch(committed.epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_records_of_its_version_alone() {
        assert_eq!(parse(br#"{"version":1,"epoch":7,"more":"later"}"#), Ok(Epoch(7)));
        assert_eq!(parse(br#"{"version":2,"epoch":7}"#), Err("version 2 is unknown".to_owned()));
        assert!(parse(b"\xff").is_err() && parse(b"").is_err());
    }
}
