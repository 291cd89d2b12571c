//! The topics that are known to be there, and how large a message each takes.

use super::super::complaints::{self, Asking};
use super::super::errors;
use super::outbox::Topic;
use super::settings::SinkSettings;
use crate::error::{ConnectorError, ErrorKind, Result};
use crate::waiters::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{IsError, KafkaError, RDKafkaErrorCode as Code};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a topic that is not there is asked for again, since it may have been created just now.
const UNKNOWN_WAIT: Duration = Duration::from_secs(2);
const UNKNOWN_PAUSE: Duration = Duration::from_millis(100);

/// The topics that are known to be there, shared by the instances of a sink. Asking blocks.
pub(super) struct Catalog {
    settings: Arc<SinkSettings>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    client: Option<BaseConsumer<Asking>>,
    partitions: HashMap<String, i32>,
    /// The most bytes of a batch; `None` where the brokers do not say.
    limits: HashMap<String, Option<usize>>,
}

impl Catalog {
    pub(super) fn new(settings: Arc<SinkSettings>) -> Self {
        Catalog { settings, known: Mutex::default() }
    }

    /// Makes sure that the messages of an epoch can be delivered to a topic: that it is there, has the partitions,
    /// and takes messages as large as these. What the brokers do not let anybody see is not held against it.
    pub(super) fn admit(&self, topic: &Topic) -> Result<()> {
        self.require(&topic.name, topic.partition_max)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = match known.limits.get(&topic.name) {
            Some(limit) => *limit,
            None => {
                let limit = self.limit(&topic.name)?;
                *known.limits.entry(topic.name.clone()).insert_entry(limit).get()
            }
        };
        let Some(limit) = limit else { return Ok(()) };
        let SinkSettings { connector, batch_bytes_max, .. } = &*self.settings;
        let name = &topic.name;
        if topic.bytes_max > limit {
            return Err(ConnectorError::user(format!(
                "{connector}: a message to topic `{name}` takes {} bytes, more than the {limit} that its                  `max.message.bytes` allows; raise that, or write smaller rows",
                topic.bytes_max
            )));
        }
        if *batch_bytes_max > limit {
            return Err(ConnectorError::user(format!(
                "{connector}: topic `{name}` takes batches of at most {limit} bytes (its `max.message.bytes`), and this                  sink sends up to {batch_bytes_max} at once; set `kafka.batch.size` to {limit} or less, or raise                  `max.message.bytes`"
            )));
        }
        Ok(())
    }

    /// Makes sure that a topic is there, and has this partition.
    pub(super) fn require(&self, topic: &str, partition: Option<i32>) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = |partitions: i32| partition.is_none_or(|partition| partition < partitions);
        if known.partitions.get(topic).is_some_and(|partitions| enough(*partitions)) {
            return Ok(());
        }
        let client = match known.client.take() {
            Some(client) => client,
            None => self.connect()?,
        };
        let partitions = self.ask(&client, topic);
        known.client = Some(client);
        let partitions = partitions?;
        known.partitions.insert(topic.to_owned(), partitions);
        if enough(partitions) {
            return Ok(());
        }
        Err(ConnectorError::user(format!(
            "{}: a message goes to partition {} of topic `{topic}`, which has {partitions}; correct it, or add \
             partitions",
            self.settings.connector,
            partition.unwrap_or_default()
        )))
    }

    fn connect(&self) -> Result<BaseConsumer<Asking>> {
        // As the user says, the topic is created by being asked for, or not; brokers decide as well.
        let created = [("allow.auto.create.topics", "true")];
        self.settings.asking(&created)
    }

    /// The number of its partitions.
    fn ask(&self, client: &BaseConsumer<Asking>, topic: &str) -> Result<i32> {
        let SinkSettings { connector, connect_wait_max, .. } = &*self.settings;
        let deadline = Instant::now() + *connect_wait_max;
        let unknown_until = Instant::now() + UNKNOWN_WAIT;
        complaints::forget(client);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let code = match self.fetch(client, topic, left) {
                Ok(partitions) => return Ok(partitions),
                Err(code) => code,
            };
            let brokers = self.settings.bootstrap_servers();
            let what = format!("{connector} cannot write to topic `{topic}` of the brokers at {brokers}");
            let error = errors::unanswered(what, code, complaints::of(client));
            let again_until = match code {
                Code::UnknownTopicOrPartition | Code::UnknownTopic => unknown_until.min(deadline),
                // Not what was refused.
                _ if error.kind() == ErrorKind::External && errors::is_passing(code) => deadline,
                _ => Instant::now(),
            };
            if Instant::now() + UNKNOWN_PAUSE >= again_until {
                return Err(error);
            }
            std::thread::sleep(UNKNOWN_PAUSE);
        }
    }

    /// The most bytes of a batch that a topic takes.
    fn limit(&self, topic: &str) -> Result<Option<usize>> {
        let SinkSettings { connector, connect_wait_max, .. } = &*self.settings;
        let deadline = Instant::now() + *connect_wait_max;
        let failed = |code| {
            let what = format!(
                "{connector} cannot see the configuration of topic `{topic}` of the brokers at {}",
                self.settings.bootstrap_servers()
            );
            errors::failed_with(what, code)
        };
        let admin = self.settings.admin()?;
        loop {
            let code = match described(&admin, topic, deadline) {
                Ok(limit) => return Ok(limit),
                Err(code) => code,
            };
            let unknown = matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic);
            if !unknown && !errors::is_passing(code) {
                tracing::warn!(topic, %code, "cannot see how large a message the topic takes");
                return Ok(None);
            }
            if Instant::now() + UNKNOWN_PAUSE >= deadline {
                return Err(failed(code));
            }
            std::thread::sleep(UNKNOWN_PAUSE);
        }
    }

    fn fetch(&self, client: &BaseConsumer<Asking>, topic: &str, wait: Duration) -> Result<i32, Code> {
        let code = |error: KafkaError| errors::code_of(&error).unwrap_or(Code::Unknown);
        let metadata = complaints::metadata(client, Some(topic), wait).map_err(code)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(Code::UnknownTopicOrPartition);
        };
        match found.error() {
            Some(error) if error.is_error() => Err(error.into()),
            _ if found.partitions().is_empty() => Err(Code::LeaderNotAvailable),
            _ => Ok(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)),
        }
    }
}

/// What the brokers say of `max.message.bytes`; `None` if nothing.
fn described(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    deadline: Instant,
) -> Result<Option<usize>, Code> {
    let left = deadline.saturating_duration_since(Instant::now()).max(UNKNOWN_PAUSE);
    let options = AdminOptions::new().request_timeout(Some(left)).operation_timeout(Some(left));
    let resource = [ResourceSpecifier::Topic(topic)];
    let described = block_on(admin.describe_configs(&resource, &options), Some(deadline));
    let results = described
        .unwrap_or(Err(KafkaError::AdminOp(Code::OperationTimedOut)))
        .map_err(|error| errors::code_of(&error).unwrap_or(Code::Unknown))?;
    let Some(described) = results.into_iter().next() else { return Ok(None) };
    let entry = described?.get("max.message.bytes").and_then(|entry| entry.value.clone());
    Ok(entry.and_then(|value| value.parse().ok()))
}
