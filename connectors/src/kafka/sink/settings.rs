//! What a sink was told, checked, and the clients made of it.

use super::super::complaints::Asking;
use super::super::errors;
use super::super::settings::{KafkaParameters, Role};
use super::deliveries::{Deliveries, Limits};
use super::writer::MessageRef;
use crate::error::{ConnectorError, Result};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::ThreadedProducer;
use std::time::Duration;

/// Bytes of a topic's name: what Kafka takes.
const TOPIC_NAME_BYTES: usize = 249;
/// What Kafka adds to the key and value of one message, at most, for itself: librdkafka's own reckoning.
const MESSAGE_OVERHEAD_BYTES: usize = 70;
/// What Kafka puts before the messages of a batch.
const BATCH_HEADER_BYTES: usize = 61;

/// The sink's own parameters beyond the presets: keys go where the Java client would put them.
const PARTITIONER: (&str, &str) = ("partitioner", "murmur2_random");

/// What a sink was told, checked.
#[derive(Debug)]
pub(super) struct SinkSettings {
    /// "sink `name`", for errors.
    pub(super) connector: String,
    pub(super) topic: Option<String>,
    pub(super) message_timeout: Duration,
    pub(super) transaction_timeout: Duration,
    pub(super) epoch_bytes_max: usize,
    pub(super) connect_wait_max: Duration,
    pub(super) commit_wait_max: Duration,
    parameters: KafkaParameters,
    message_bytes_max: usize,
    /// Bytes that a batch of several messages may have.
    pub(super) batch_bytes_max: usize,
    room: Limits,
}

/// What a sink was told.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) parameters: KafkaParameters,
    pub(super) topic: Option<String>,
    pub(super) epoch_bytes_max: usize,
    pub(super) connect_wait_max: Duration,
    pub(super) commit_wait_max: Duration,
}

impl SinkSettings {
    pub(super) fn check_all(told: &Told, exactly_once: bool) -> Result<SinkSettings> {
        let connector = format!("sink `{}`", told.name);
        let parameters = told.parameters.clone();
        if exactly_once {
            refuse_weaker(&connector, &parameters)?;
        }
        let owned = owned(&parameters);
        let client = parameters.client(&connector, Role::Sink, &owned)?;
        let number = |name: &str| -> Result<u64> {
            let value = effective(&client, &connector, name)?;
            value.parse().map_err(|_| {
                ConnectorError::user(format!(
                    "{connector}: the value of Kafka parameter `kafka.{name}` is not a number"
                ))
            })
        };
        let queue_messages = number("queue.buffering.max.messages")? as usize;
        let message_bytes_max = number("message.max.bytes")? as usize;
        let settings = SinkSettings {
            topic: told.topic.clone(),
            message_timeout: Duration::from_millis(number("message.timeout.ms")?),
            transaction_timeout: Duration::from_millis(number("transaction.timeout.ms")?),
            epoch_bytes_max: told.epoch_bytes_max,
            connect_wait_max: told.connect_wait_max,
            commit_wait_max: told.commit_wait_max,
            message_bytes_max,
            batch_bytes_max: message_bytes_max.min(number("batch.size")? as usize),
            room: Limits {
                messages: if queue_messages == 0 { usize::MAX } else { queue_messages },
                bytes: (number("queue.buffering.max.kbytes")? as usize).saturating_mul(1024),
            },
            parameters,
            connector,
        };
        if let Some(topic) = &settings.topic {
            settings.check_name(topic)?;
        }
        Ok(settings)
    }

    fn client(&self, role: Role, own: &[(&str, &str)]) -> Result<ClientConfig> {
        let mut owned = if role == Role::Sink { owned(&self.parameters) } else { Vec::new() };
        owned.extend_from_slice(own);
        self.parameters.client(&self.connector, role, &owned)
    }

    /// librdkafka's own limits, to be more than the sink's can reach: those of the sink count a message down
    /// in its callback, librdkafka only after it, which may be once more as many.
    fn queue(&self) -> [(&'static str, String); 2] {
        let kbytes = (self.room.bytes / 1024).saturating_mul(2).clamp(1, i32::MAX as usize);
        [("queue.buffering.max.messages", "0".to_owned()), ("queue.buffering.max.kbytes", kbytes.to_string())]
    }

    fn producer(&self, own: &[(&str, &str)], limits: Limits) -> Result<ThreadedProducer<Deliveries>> {
        let queue = self.queue();
        let mut owned: Vec<(&str, &str)> =
            queue.iter().map(|(name, value)| (*name, value.as_str())).collect();
        owned.extend_from_slice(own);
        let mut client = self.client(Role::Sink, &owned)?;
        if own.iter().any(|(name, _)| *name == "transactional.id")
            && self.parameters.get("message.timeout.ms").is_none()
        {
            // Follows from `transaction.timeout.ms`, beyond which it must not go.
            client.remove("message.timeout.ms");
        }
        let deliveries = Deliveries::new(&self.connector, limits);
        client
            .create_with_context(deliveries)
            .map_err(|error| errors::not_made(&self.connector, &client, &error))
    }

    pub(super) fn plain_producer(&self) -> Result<ThreadedProducer<Deliveries>> {
        self.producer(&[], self.room)
    }

    pub(super) fn transactional_producer(&self, id: &str) -> Result<ThreadedProducer<Deliveries>> {
        self.producer(&[("transactional.id", id)], self.room)
    }

    /// A client that makes and describes topics.
    pub(super) fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        let mut client = self.client(Role::Admin, &[])?;
        self.connect_only(&mut client);
        client.create().map_err(|error| errors::not_made(&self.connector, &client, &error))
    }

    /// A client that asks and reads, with these parameters of its own.
    pub(super) fn asking(&self, own: &[(&str, &str)]) -> Result<BaseConsumer<Asking>> {
        let mut client = self.client(Role::Admin, own)?;
        self.connect_only(&mut client);
        let made = client.create_with_context(Asking::new(&self.connector));
        made.map_err(|error| errors::not_made(&self.connector, &client, &error))
    }

    /// Takes out what only a producer understands, about which other clients would warn.
    fn connect_only(&self, client: &mut ClientConfig) {
        let shared = [
            "bootstrap.",
            "metadata.",
            "client.",
            "socket.",
            "security.",
            "ssl.",
            "sasl.",
            "enable.sasl",
            "enable.ssl",
            "reconnect.",
            "broker.",
            "api.",
            "log",
            "debug",
            "enable.partition.eof",
            "isolation.level",
            "group.id",
            "fetch.",
            "auto.offset",
            "enable.auto",
            "allow.auto",
            "test.mock",
        ];
        let names: Vec<String> = client.config_map().keys().map(|name| (*name).to_owned()).collect();
        for name in names {
            if !shared.iter().any(|prefix| name.starts_with(prefix)) {
                client.remove(&name);
            }
        }
    }

    pub(super) fn bootstrap_servers(&self) -> &str {
        self.parameters.bootstrap_servers()
    }

    /// Where a message goes: the topic of the sink, or its own if the sink has none.
    pub(super) fn topic_of<'a>(&'a self, message: &MessageRef<'a>) -> Result<&'a str> {
        self.topic.as_deref().or(message.topic).ok_or_else(|| {
            ConnectorError::user(format!(
                "{}: a message has no topic: set option `topic`, or give every row a topic",
                self.connector
            ))
        })
    }

    /// Refuses what can never be delivered, while its row can still be told apart.
    pub(super) fn check(&self, topic: &str, message: &MessageRef<'_>) -> Result<()> {
        if self.topic.is_none() {
            self.check_name(topic)?;
        }
        if let Some(partition) = message.partition.filter(|partition| *partition < 0) {
            return Err(ConnectorError::user(format!(
                "{}: partition {partition} of a message to topic `{topic}` is negative; leave it out to have one \
                 chosen by the key",
                self.connector
            )));
        }
        if let Some(timestamp) = message.timestamp_ms.filter(|timestamp| *timestamp < 0) {
            return Err(ConnectorError::user(format!(
                "{}: the timestamp of a message to topic `{topic}` is {timestamp} ms, before 1970, which Kafka \
                 does not take; leave it out for the time of sending",
                self.connector
            )));
        }
        let headers = message.headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len));
        let bytes = super::deliveries::size(message.key, message.value) + headers.sum::<usize>();
        if bytes + MESSAGE_OVERHEAD_BYTES > self.message_bytes_max {
            return Err(ConnectorError::user(format!(
                "{}: a message of {bytes} bytes to topic `{topic}` is larger than `kafka.message.max.bytes` ({}) \
                 allows; raise it, and `max.message.bytes` of the topic, or write smaller rows",
                self.connector, self.message_bytes_max
            )));
        }
        Ok(())
    }

    pub(super) fn check_name(&self, topic: &str) -> Result<()> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let sound = !topic.is_empty() && topic.len() <= TOPIC_NAME_BYTES && topic.bytes().all(allowed);
        if sound && topic != "." && topic != ".." {
            return Ok(());
        }
        Err(ConnectorError::user(format!(
            "{}: {topic:?} is not a name of a topic: it has 1 to {TOPIC_NAME_BYTES} letters, digits, `.`, `_` and \
             `-`",
            self.connector
        )))
    }
}

/// The bytes of a batch of this message alone, not compressed: what brokers compare with `max.message.bytes`.
pub(super) fn batch_bytes(message: &MessageRef<'_>) -> usize {
    // A length, zigzag and LEB128, and what follows it; null is -1.
    let number = |value: usize| (usize::BITS - (value << 1 | 1).leading_zeros()).div_ceil(7) as usize;
    let sized = |part: Option<&[u8]>| part.map_or(1, |part| number(part.len()) + part.len());
    let headers = message.headers.iter().map(|(name, value)| sized(Some(name.as_bytes())) + sized(*value));
    // Attributes, and the distances in time and offset to the first message of the batch.
    let fixed = 3;
    let body = fixed
        + sized(message.key)
        + sized(message.value)
        + number(message.headers.len())
        + headers.sum::<usize>();
    BATCH_HEADER_BYTES + number(body) + body
}

fn owned(parameters: &KafkaParameters) -> Vec<(&'static str, &'static str)> {
    if parameters.get("partitioner").is_none() { vec![PARTITIONER] } else { Vec::new() }
}

/// The value that a parameter has, with librdkafka's own default.
fn effective(client: &ClientConfig, connector: &str, name: &str) -> Result<String> {
    client
        .create_native_config()
        .and_then(|native| native.get(name))
        .map_err(|error| errors::parameter_refused(connector, &error))
}

/// Refuses parameters with which a sink would not be exactly-once.
fn refuse_weaker(connector: &str, parameters: &KafkaParameters) -> Result<()> {
    let on = |value: &str| !["false", "f", "0", "no", "off"].contains(&value.to_ascii_lowercase().as_str());
    let all = |value: &str| ["all", "-1"].contains(&value.to_ascii_lowercase().as_str());
    let needed: [(&str, &dyn Fn(&str) -> bool, &str); 4] = [
        ("enable.idempotence", &on, "true"),
        ("acks", &all, "all"),
        ("request.required.acks", &all, "all"),
        ("enable.gapless.guarantee", &|value: &str| !on(value), "false"),
    ];
    for (name, sound, value) in needed {
        if parameters.get(name).is_some_and(|given| !sound(given)) {
            return Err(ConnectorError::user(format!(
                "{connector} is exactly-once, for which `kafka.{name}` has to be {value}: leave it out, or write at \
                 least once"
            )));
        }
    }
    Ok(())
}
