//! The topics that are known to be there.

use super::super::errors;
use super::settings::SinkSettings;
use crate::error::{ConnectorError, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
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
    client: Option<BaseConsumer>,
    partitions: HashMap<String, i32>,
}

impl Catalog {
    pub(super) fn new(settings: Arc<SinkSettings>) -> Self {
        Catalog { settings, known: Mutex::default() }
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

    fn connect(&self) -> Result<BaseConsumer> {
        // As the user says, the topic is created by being asked for, or not; brokers decide as well.
        let created = [("allow.auto.create.topics", "true")];
        let created = self.settings.reader(&created)?.create::<BaseConsumer>();
        created.map_err(|error| errors::failed(format!("{}: no client", self.settings.connector), &error))
    }

    /// The number of its partitions.
    fn ask(&self, client: &BaseConsumer, topic: &str) -> Result<i32> {
        let SinkSettings { connector, connection_wait_max, .. } = &*self.settings;
        let deadline = Instant::now() + *connection_wait_max;
        let unknown_until = Instant::now() + UNKNOWN_WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let code = match self.fetch(client, topic, left) {
                Ok(partitions) => return Ok(partitions),
                Err(code) => code,
            };
            let again_until = match code {
                Code::UnknownTopicOrPartition | Code::UnknownTopic => unknown_until.min(deadline),
                code if errors::is_passing(code) => deadline,
                _ => Instant::now(),
            };
            if Instant::now() + UNKNOWN_PAUSE >= again_until {
                let what = format!(
                    "{connector} cannot write to topic `{topic}` of the brokers at {}",
                    self.settings.bootstrap_servers()
                );
                return Err(errors::failed_with(what, code));
            }
            std::thread::sleep(UNKNOWN_PAUSE);
        }
    }

    fn fetch(&self, client: &BaseConsumer, topic: &str, wait: Duration) -> Result<i32, Code> {
        let code = |error: KafkaError| errors::code_of(&error).unwrap_or(Code::Unknown);
        let metadata = client.fetch_metadata(Some(topic), wait).map_err(code)?;
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
