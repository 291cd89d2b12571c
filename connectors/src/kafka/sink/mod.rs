//! Writes messages to Kafka, at least once or exactly once.
//!
//! # Delivery
//! | sink | visible | after a crash |
//! |---|---|---|
//! | [`KafkaSink`] | at once | messages since the last checkpoint come again |
//! | [`KafkaSink::exactly_once`] | when its epoch is committed, all of it at once | every message once, for readers with `isolation.level=read_committed` |
//!
//! At least once, messages are sent as they come by an idempotent producer, and an epoch is complete when
//! every message before its end is acknowledged by all replicas in sync. Exactly once, the messages of an
//! epoch are kept with the checkpoint and sent, in one transaction, when the checkpoint is durable:
//! `docs/kafka-exactly-once.md` says why, and what survives which crash.
//!
//! # Partitions
//! A message goes to the partition it names; without one, by the hash of its key: murmur2, as the Java
//! client and Kafka's own tools do it (`partitioner=murmur2_random` of librdkafka, whose own default hashes
//! otherwise), so that tables written by others are keyed alike. Messages without a key are spread at random.
//! Messages of one instance and partition keep their order.
//!
//! # Rows of your own
//! [`ToMessages`] makes messages of the rows of any batch; [`KafkaSink::with_encoder`] takes it.

mod catalog;
mod deliveries;
mod epochs;
mod exactly_once;
mod failures;
mod outbox;
mod plain;
mod settings;
mod transactional;
mod writer;

pub use writer::{Added, HeaderRef, MessageRef, MessageWriter, Messages, ToMessages};

use super::settings::KafkaParameters;
use crate::error::Result;
use crate::limits::PARALLELISM;
use crate::sink::{Committer, Delivery, Sink, SinkFactory, SinkTraits};
use catalog::Catalog;
use lotic_operators::{Batch, Instance};
use rdkafka::message::{Header, OwnedHeaders};
use settings::{SinkSettings, Told};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of messages of one epoch and instance that an exactly-once sink keeps unless it is told otherwise.
const EPOCH_BYTES: usize = 256 << 20;
/// How long to wait for brokers when a sink starts.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);
/// How long one call to commit an epoch tries before it reports what is in its way. It is called again.
const COMMIT_WAIT: Duration = Duration::from_secs(60);
const EPOCHS_TOPIC: &str = "lotic-epochs";
const ID_PREFIX: &str = "lotic";

/// A sink that writes messages to Kafka.
///
/// ```
/// use lotic_connectors::kafka::{KafkaParameters, KafkaSink};
/// let sink = KafkaSink::new(KafkaParameters::new("localhost:9092")).to_topic("results").exactly_once();
/// # let _ = sink;
/// ```
///
/// # Delivery
/// At least once and visible at once, or [exactly once](KafkaSink::exactly_once); see `docs/kafka-exactly-once.md`.
///
/// # Errors
/// An unknown topic is found when the sink starts, or, where messages name their topics, when the epoch
/// that first names it is prepared. A message that is too large, goes to no topic or to one with an impossible name,
/// is refused when it is written. Both fail the query before the epoch is durable, so that no message is
/// lost: correct the cause and start it again. A message that the brokers refuse for other reasons fails the
/// query at least once; exactly once, its epoch is tried again until the cause is gone.
///
/// # Cost
/// At least once: a copy of key and value, an atomic addition or two, and a header list if there are
/// headers. Exactly once: a copy into the outbox, which is written with the checkpoint; then one transaction
/// for each epoch that has messages: about three round trips to the brokers.
#[derive(Clone)]
pub struct KafkaSink<E = Messages> {
    told: Told,
    exactly_once: bool,
    epochs_topic: String,
    id_prefix: String,
    encoder: E,
    /// Made at the first instance, for all of them.
    shared: Arc<Mutex<Option<Shared>>>,
}

#[derive(Clone)]
struct Shared {
    settings: Arc<SinkSettings>,
    catalog: Arc<Catalog>,
}

impl KafkaSink {
    /// Writes rows that are [messages](super::KafkaMessage), each to the topic it names.
    pub fn new(parameters: KafkaParameters) -> Self {
        KafkaSink::with_encoder(parameters, Messages)
    }
}

impl<E> KafkaSink<E> {
    /// Writes rows of any kind, which `encoder` turns into messages.
    pub fn with_encoder(parameters: KafkaParameters, encoder: E) -> Self {
        KafkaSink {
            told: Told {
                name: "kafka".to_owned(),
                parameters,
                topic: None,
                epoch_bytes_max: EPOCH_BYTES,
                connect_wait_max: CONNECTION_WAIT,
                commit_wait_max: COMMIT_WAIT,
            },
            exactly_once: false,
            epochs_topic: EPOCHS_TOPIC.to_owned(),
            id_prefix: ID_PREFIX.to_owned(),
            encoder,
            shared: Arc::default(),
        }
    }

    /// Changes what was told; what was made of it before is not used any more.
    fn tell(mut self, change: impl FnOnce(&mut Self)) -> Self {
        self.shared = Arc::default();
        change(&mut self);
        self
    }

    /// What to call the sink in errors, metrics and `explain`.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.tell(|sink| sink.told.name = name.into())
    }

    /// Writes every message to this topic, whatever topic it names.
    #[must_use]
    pub fn to_topic(self, topic: impl Into<String>) -> Self {
        self.tell(|sink| sink.told.topic = Some(topic.into()))
    }

    /// Writes every message once, also over crashes: visible when its epoch is committed.
    #[must_use]
    pub fn exactly_once(self) -> Self {
        self.tell(|sink| sink.exactly_once = true)
    }

    /// The topic that keeps which epochs are committed; `lotic-epochs` if it is not set. It is made if it is
    /// missing. The same after every restart: another topic knows of no epoch.
    #[must_use]
    pub fn epochs_topic(self, topic: impl Into<String>) -> Self {
        self.tell(|sink| sink.epochs_topic = topic.into())
    }

    /// What the transactional ids begin with; `lotic` if it is not set. The same after every restart:
    /// processes with other ids do not stop each other.
    #[must_use]
    pub fn transactional_id_prefix(self, prefix: impl Into<String>) -> Self {
        self.tell(|sink| sink.id_prefix = prefix.into())
    }

    /// The most bytes that one instance of an exactly-once sink keeps of one epoch; 256 MiB if it is not set.
    #[must_use]
    pub fn epoch_bytes_max(self, bytes: usize) -> Self {
        self.tell(|sink| sink.told.epoch_bytes_max = bytes)
    }

    /// How long to wait for brokers when the sink starts; 10 s if it is not set.
    #[must_use]
    pub fn connect_wait_max(self, wait: Duration) -> Self {
        self.tell(|sink| sink.told.connect_wait_max = wait)
    }

    /// How long a commit is tried before it reports what is in its way, after which it is tried again; 60 s
    /// if it is not set.
    #[must_use]
    pub fn commit_wait_max(self, wait: Duration) -> Self {
        self.tell(|sink| sink.told.commit_wait_max = wait)
    }

    fn shared(&self) -> Result<Shared> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = &*shared {
            return Ok(shared.clone());
        }
        let settings = Arc::new(SinkSettings::check_all(&self.told, self.exactly_once)?);
        settings.check_name(&self.epochs_topic)?;
        let catalog = Arc::new(Catalog::new(Arc::clone(&settings)));
        Ok(shared.insert(Shared { settings, catalog }).clone())
    }

    fn transactions(&self, writer: &str) -> Result<transactional::TransactionalCommitter> {
        let settings = self.shared()?.settings;
        let epochs = epochs::Epochs::new(Arc::clone(&settings), self.epochs_topic.clone(), writer.to_owned());
        Ok(transactional::TransactionalCommitter::new(settings, epochs, &self.id_prefix))
    }
}

impl<E> std::fmt::Debug for KafkaSink<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSink")
            .field("told", &self.told)
            .field("exactly_once", &self.exactly_once)
            .field("epochs_topic", &self.epochs_topic)
            .field("transactional_id_prefix", &self.id_prefix)
            .finish_non_exhaustive()
    }
}

impl<B: Batch, E: ToMessages<B>> SinkFactory<B> for KafkaSink<E> {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.told.name.clone(),
            delivery: if self.exactly_once { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce },
            max_parallelism: PARALLELISM,
            batches_only: false,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<B>>> {
        let Shared { settings, catalog } = self.shared()?;
        let encoder = self.encoder.clone();
        Ok(if self.exactly_once {
            Box::new(exactly_once::ExactlyOnceSink::new(settings, catalog, encoder))
        } else {
            Box::new(plain::PlainSink::new(settings, catalog, encoder))
        })
    }

    fn committer(&self, writer: &str) -> Result<Option<Box<dyn Committer>>> {
        Ok(if self.exactly_once { Some(Box::new(self.transactions(writer)?)) } else { None })
    }
}

/// The headers of a message for librdkafka.
fn owned_headers<'a>(count: usize, headers: impl Iterator<Item = HeaderRef<'a>>) -> Option<OwnedHeaders> {
    if count == 0 {
        return None;
    }
    let empty = OwnedHeaders::new_with_capacity(count);
    Some(headers.fold(empty, |all, (key, value)| all.insert(Header { key, value })))
}
