//! The Kafka source.

#[cfg(feature = "table")]
mod bounded;
mod chunk;
mod client;
mod corrupt;
mod gauge;
mod instance;
mod lane;
mod loss;
#[cfg(feature = "table")]
mod ranges;
mod reader;

#[cfg(feature = "table")]
pub(crate) use bounded::{BoundedRead, MessageRecord, RangeReader};
#[cfg(feature = "table")]
pub(crate) use ranges::Range;

use super::errors;
use super::offsets::KafkaOffsets;
use super::record::KafkaRecord;
use super::settings::{KafkaParameters, Role};
use super::topics::KafkaTopics;
use crate::error::Result;
use crate::limits::PARALLELISM;
use crate::source::{Figures, Polling, Source, SourceFactory, SourceTraits};
use client::Client;
use gauge::Gauges;
use lotic_operators::{Instance, Rows};
use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use std::time::Duration;

/// What to do with records that fail the check of their CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CorruptRecord {
    /// End the query with an error.
    #[default]
    Fail,
    /// Leave out the batch of records, with a warning, and count it: [`KafkaSource::skipped_batches`].
    Skip,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    name: String,
    parameters: KafkaParameters,
    topics: KafkaTopics,
    starting: KafkaOffsets,
    fail_on_data_loss: bool,
    offsets_per_batch: u64,
    group_id_prefix: String,
    metadata_interval: Duration,
    wait_max: Duration,
    corrupt: CorruptRecord,
    gauges: Gauges,
}

impl Settings {
    /// What to call the source at the head of a message.
    pub(super) fn connector(&self) -> String {
        format!("source `{}`", self.name)
    }

    /// The configuration of the client of an instance.
    fn client(&self) -> Result<ClientConfig> {
        let group = format!("{}-{}", self.group_id_prefix, self.name);
        let given = self.parameters.get("group.id").map(str::to_owned);
        let connector = self.connector();
        self.parameters.client(&connector, Role::Source, &[("group.id", &given.unwrap_or(group))])
    }

    /// A client, which may be connected to nobody yet.
    fn connect(&self) -> Result<BaseConsumer<Client>> {
        self.connect_with(&self.client()?)
    }

    fn connect_with(&self, client: &ClientConfig) -> Result<BaseConsumer<Client>> {
        let committed_only = client.get("isolation.level") != Some("read_uncommitted");
        let context = Client::new(&self.name, self.parameters.bootstrap_servers(), committed_only);
        client
            .create_with_context(context)
            .map_err(|error| errors::not_made(&self.connector(), client, &error))
    }
}

/// A source of the records of Kafka topics.
///
/// ```
/// use lotic_connectors::kafka::{KafkaOffsets, KafkaParameters, KafkaSource, KafkaTopics};
/// let orders = KafkaSource::new(KafkaParameters::new("localhost:9092"), KafkaTopics::subscribe(["orders"]))
///     .named("orders")
///     .starting_offsets(KafkaOffsets::Earliest);
/// # let _ = orders;
/// ```
///
/// # Order
/// Records of a partition come in the order of their offsets; partitions take turns.
///
/// # Delivery
/// Replayable: after a restart it goes on at the offsets of the checkpoint. Consumer groups are not used to
/// share the work, and group offsets are written for monitoring alone, after each checkpoint, and never
/// read. With `isolation.level=read_committed`, the default, records of aborted transactions never come, and
/// those of an open one when it is committed.
///
/// # Partitions
/// Each belongs to one instance, which stays the same while the parallelism does. Partitions that are added,
/// and topics that begin to match a pattern, are found within [`KafkaSource::metadata_interval`] and read
/// from their beginning. Its name in offsets is topic and number, `orders-3`.
///
/// # Errors
/// An unknown topic, brokers that do not answer within [`KafkaSource::connect_wait_max`], and refused
/// credentials end the start. Brokers that are lost later are waited for, with a warning; a leader that
/// moves is followed. Records that were removed before they were read are an error that names topic,
/// partition and offset, unless [`KafkaSource::fail_on_data_loss`] is off.
///
/// # Cost
/// One thread for each instance, and those of librdkafka. A payload is copied once. At most 64 MiB for each
/// instance are read ahead, and 65,536 rows for each partition; a partition that is full is paused, and what
/// librdkafka had fetched of it beyond that is fetched again later.
#[derive(Debug, Clone)]
pub struct KafkaSource {
    settings: Settings,
}

impl KafkaSource {
    /// Reads these topics. Nothing is connected before the query starts.
    pub fn new(parameters: KafkaParameters, topics: KafkaTopics) -> Self {
        let settings = Settings {
            name: "kafka".to_owned(),
            parameters,
            topics,
            starting: KafkaOffsets::default(),
            fail_on_data_loss: true,
            offsets_per_batch: u64::MAX,
            group_id_prefix: "lotic".to_owned(),
            metadata_interval: Duration::from_secs(30),
            wait_max: Duration::from_secs(10),
            corrupt: CorruptRecord::default(),
            gauges: Gauges::default(),
        };
        KafkaSource { settings }
    }

    /// What to call the source in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Where to begin when there is no checkpoint yet; [`KafkaOffsets::Latest`].
    #[must_use]
    pub fn starting_offsets(mut self, offsets: KafkaOffsets) -> Self {
        self.settings.starting = offsets;
        self
    }

    /// Whether it is an error that records were removed before they were read, by retention or because a
    /// topic was deleted; yes. If not, there is a warning, and it goes on with the oldest record there is.
    #[must_use]
    pub fn fail_on_data_loss(mut self, fail: bool) -> Self {
        self.settings.fail_on_data_loss = fail;
        self
    }

    /// The most rows of a micro-batch; no limit. Each instance takes an even part of it, at least 1 row, and
    /// shares that out by what waits in each of its partitions.
    #[must_use]
    pub fn max_offsets_per_trigger(mut self, rows: u64) -> Self {
        self.settings.offsets_per_batch = rows.max(1);
        self
    }

    /// What the consumer group for monitoring begins with; `lotic`. The names of the query and of the source in it
    /// follow. The parameter `group.id` names all of it.
    #[must_use]
    pub fn group_id_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.group_id_prefix = prefix.into();
        self
    }

    /// How often to look for new partitions and topics; 30 seconds.
    #[must_use]
    pub fn metadata_interval(mut self, interval: Duration) -> Self {
        self.settings.metadata_interval = interval.max(Duration::from_millis(10));
        self
    }

    /// How long to wait for an answer of the brokers when the query starts; 10 seconds for each question.
    #[must_use]
    pub fn connect_wait_max(mut self, wait: Duration) -> Self {
        self.settings.wait_max = wait.max(Duration::from_millis(10));
        self
    }

    /// What to do with records that fail the check of their CRC.
    #[must_use]
    pub fn corrupt_records(mut self, action: CorruptRecord) -> Self {
        self.settings.corrupt = action;
        self
    }

    /// Figures of each partition, over all instances of this source and its clones, at little cost:
    ///
    /// | name | what |
    /// |---|---|
    /// | `position` | the next offset that the query gets |
    /// | `end` | where the partition ended when the brokers were last heard, about each second |
    /// | `lag` | offsets between the two |
    /// | `fetched_ahead_rows`, `fetched_ahead_bytes` | what is here and not yet with the query |
    /// | `rows`, `bytes` | what the query got since the process began; keys, values and headers |
    /// | `committed` | the group offset last written for monitoring; not there before the first |
    pub fn figures(&self) -> Figures {
        self.settings.gauges.figures()
    }

    /// Batches of records left out because they were corrupt, by all runs of this source and its clones.
    pub fn skipped_batches(&self) -> u64 {
        self.settings.gauges.skipped_batches()
    }

    /// Partitions whose unread records were found removed, and left out as [`KafkaSource::fail_on_data_loss`]
    /// allows, by all runs of this source and its clones.
    pub fn data_losses(&self) -> u64 {
        self.settings.gauges.data_losses()
    }
}

impl SourceFactory<Rows<KafkaRecord>> for KafkaSource {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: self.settings.name.clone(),
            replayable: true,
            polling: Polling::NonBlocking,
            max_parallelism: PARALLELISM,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<KafkaRecord>>>> {
        self.settings.topics.check(&self.settings.connector())?;
        let client = self.settings.client()?;
        Ok(Box::new(instance::KafkaInstance::new(self.settings.clone(), client, instance)))
    }
}
