//! The parameters of the Kafka client: what users give, what the engine presets, what it keeps to itself.

use super::errors;
use crate::error::{ConnectorError, Result};
use rdkafka::ClientConfig;
use rdkafka::config::{NativeClientConfig, RDKafkaLogLevel};
use std::collections::BTreeMap;
use std::fmt;

/// A parameter of librdkafka, the value it gets here unless it is set, and why.
pub type Preset = (&'static str, &'static str, &'static str);

/// What a source presets. A parameter given by the user wins.
pub const CONSUMER_PRESETS: &[Preset] = &[
    ("fetch.min.bytes", "1", "a broker answers as soon as it has one record"),
    (
        "fetch.wait.max.ms",
        "10",
        "a partition that is resumed or found joins the next request, which waits for the one under way",
    ),
    ("fetch.queue.backoff.ms", "5", "1000 by default: a pause each time the queue of the client was full"),
    ("fetch.error.backoff.ms", "50", "500 by default: how long a partition rests after its leader moved"),
    ("queued.min.messages", "10000", "100,000 by default: read ahead only what hides a round trip"),
    ("queued.max.messages.kbytes", "16384", "64 MiB by default: bounds the memory of the client"),
    ("reconnect.backoff.max.ms", "1000", "10,000 by default: a broker that is back is found within a second"),
    ("socket.nagle.disable", "true", "a small request leaves at once"),
    ("socket.keepalive.enable", "true", "a connection that died in silence is noticed"),
    ("check.crcs", "true", "a payload that was corrupted under way is an error, not a row"),
    ("isolation.level", "read_committed", "records of aborted or open transactions are not read"),
];

/// What a sink presets. A parameter given by the user wins.
pub const PRODUCER_PRESETS: &[Preset] = &[
    ("linger.ms", "0", "5 by default: a record leaves at once; a busy sink still fills its batches"),
    ("acks", "all", "a record counts as written when every replica in sync has it"),
    ("enable.idempotence", "true", "a retry neither repeats nor reorders"),
    ("queue.buffering.max.messages", "100000", "bounds the memory of the client"),
    ("queue.buffering.max.kbytes", "65536", "1 GiB by default: bounds the memory of the client"),
    (
        "message.timeout.ms",
        "120000",
        "300,000 by default: how long a broker may be away before the query fails",
    ),
    ("reconnect.backoff.max.ms", "1000", "10,000 by default: a broker that is back is found within a second"),
    ("socket.nagle.disable", "true", "a small request leaves at once"),
    ("socket.keepalive.enable", "true", "a connection that died in silence is noticed"),
];

/// What the engine itself sets for a source.
const CONSUMER_OWNED: &[(&str, &str)] = &[
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("statistics.interval.ms", "1000"),
    ("allow.auto.create.topics", "false"),
];

/// Parameters that neither a source nor a sink takes, and what to do instead.
const REFUSED: &[(&str, &str)] = &[
    ("key.deserializer", "keys are read as bytes: decode them in the query"),
    ("value.deserializer", "values are read as bytes: decode them in the query"),
    ("key.serializer", "keys are written as bytes: encode them in the query"),
    ("value.serializer", "values are written as bytes: encode them in the query"),
    ("interceptor.classes", "there are no Java classes here"),
    ("partitioner.class", "set `kafka.partitioner`, or the partition of each record"),
    ("sasl.jaas.config", "set `kafka.sasl.username` and `kafka.sasl.password`"),
    ("sasl.login.callback.handler.class", "tokens are not fetched here: use SCRAM, or a certificate"),
    ("ssl.truststore.location", "set `kafka.ssl.ca.location` to a file of PEM certificates"),
    ("ssl.truststore.password", "set `kafka.ssl.ca.location` to a file of PEM certificates"),
    ("ssl.truststore.type", "set `kafka.ssl.ca.location` to a file of PEM certificates"),
    ("ssl.truststore.certificates", "set `kafka.ssl.ca.pem`"),
    ("ssl.keystore.type", "set `kafka.ssl.keystore.location` to a PKCS#12 file, or `kafka.ssl.key.location`"),
    ("max.poll.records", "limit a micro-batch with `maxOffsetsPerTrigger`"),
    ("buffer.memory", "set `kafka.queue.buffering.max.kbytes`"),
    ("max.block.ms", "a full sink holds back the query without blocking"),
    ("fetch.max.wait.ms", "set `kafka.fetch.wait.max.ms`"),
    ("enable.partition.eof", "the engine sets it, since it has to know where a partition ends"),
    ("statistics.interval.ms", "the engine sets it, since it shows the figures"),
    ("group.instance.id", "the engine gives out partitions itself and joins no group"),
    ("partition.assignment.strategy", "the engine gives out partitions itself and joins no group"),
];

/// The same for a source alone.
const REFUSED_BY_SOURCES: &[(&str, &str)] = &[
    ("auto.offset.reset", "set `startingOffsets` to say where to begin, `failOnDataLoss` for what is gone"),
    ("enable.auto.commit", "offsets are kept in the checkpoint"),
    ("enable.auto.offset.store", "offsets are kept in the checkpoint"),
    ("allow.auto.create.topics", "create the topics that are read first"),
];

/// The same for a sink alone.
const REFUSED_BY_SINKS: &[(&str, &str)] =
    &[("transactional.id", "it is made from the name of the query: set `transactionalIdPrefix`")];

/// What a client is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Sink,
    /// Topics are created and described.
    Admin,
}

/// Parameters of the Kafka client: by the names of
/// [librdkafka](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md), without the prefix
/// `kafka.` that options of tables bear.
///
/// Each of [`CONSUMER_PRESETS`] or [`PRODUCER_PRESETS`] holds unless it is set here. What the engine has to
/// decide, such as `auto.offset.reset`, is refused with the option to use instead; so is what exists for the
/// Java client alone. Values are never shown: `Debug` prints names.
///
/// ```
/// use lotic_connectors::kafka::KafkaParameters;
/// let parameters = KafkaParameters::new("a:9092,b:9092").with("client.id", "billing");
/// assert_eq!(parameters.bootstrap_servers(), "a:9092,b:9092");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaParameters(BTreeMap<String, String>);

impl KafkaParameters {
    /// The brokers to ask first, `host:port` separated by commas.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        KafkaParameters::default().with("bootstrap.servers", bootstrap_servers)
    }

    /// Sets a parameter.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The value of a parameter, if it was set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The brokers to ask first; empty if they were not given.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        self.get("bootstrap.servers").or_else(|| self.get("metadata.broker.list")).unwrap_or_default()
    }

    /// Checks the names and makes the configuration of a client. `connector` names the source or sink in
    /// errors; `owned` is what it sets beyond the presets, whatever the user gave.
    pub(super) fn client(&self, connector: &str, role: Role, owned: &[(&str, &str)]) -> Result<ClientConfig> {
        if self.bootstrap_servers().trim().is_empty() {
            return Err(ConnectorError::user(format!(
                "{connector}: option `kafka.bootstrap.servers` is missing: give the brokers as `host:port`, \
                 separated by commas"
            )));
        }
        self.refuse(connector, role)?;
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Warning);
        let presets = match role {
            Role::Source => CONSUMER_PRESETS,
            Role::Sink => PRODUCER_PRESETS,
            Role::Admin => &[],
        };
        for (name, value, _) in presets {
            client.set(*name, *value);
        }
        for (name, value) in &self.0 {
            client.set(name, value);
        }
        if role == Role::Source {
            for (name, value) in CONSUMER_OWNED {
                client.set(*name, *value);
            }
        }
        for (name, value) in owned {
            client.set(*name, *value);
        }
        // Made once to find what librdkafka does not take, before anything runs.
        let native = client.create_native_config();
        let native = native.map_err(|error| errors::parameter_refused(connector, &error))?;
        check_mechanism(connector, &native)?;
        Ok(client)
    }

    fn refuse(&self, connector: &str, role: Role) -> Result<()> {
        let own = match role {
            Role::Source => REFUSED_BY_SOURCES,
            Role::Sink => REFUSED_BY_SINKS,
            Role::Admin => &[],
        };
        for (name, instead) in REFUSED.iter().chain(own) {
            if self.0.contains_key(*name) {
                return Err(ConnectorError::user(format!(
                    "{connector}: Kafka parameter `kafka.{name}` cannot be set: {instead}"
                )));
            }
        }
        Ok(())
    }
}

/// Refuses a SASL mechanism that librdkafka was built without, which it would say only when the query starts.
fn check_mechanism(connector: &str, client: &NativeClientConfig) -> Result<()> {
    let value = |name| client.get(name).map_err(|error| errors::parameter_refused(connector, &error));
    if !value("security.protocol")?.to_ascii_lowercase().starts_with("sasl") {
        return Ok(());
    }
    let mechanism = value("sasl.mechanisms")?;
    let kind = mechanism.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let known = ["gssapi", "plain", "scram", "oauthbearer"];
    let built = value("builtin.features")?;
    if known.contains(&&*kind) && !built.split(',').any(|built| built == format!("sasl_{kind}")) {
        return Err(ConnectorError::user(format!(
            "{connector}: Kafka parameter `kafka.sasl.mechanism` is {mechanism}, which this program was built without \
             (PLAIN it has); {}",
            errors::BUILD_WITH_TLS
        )));
    }
    Ok(())
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for KafkaParameters {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(parameters: I) -> Self {
        let parameters = parameters.into_iter();
        KafkaParameters(parameters.map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for KafkaParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaParameters")
            .field("bootstrap_servers", &self.bootstrap_servers())
            .field("names", &self.0.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, value: &str, role: Role) -> String {
        let parameters = KafkaParameters::new("localhost:9092").with(name, value);
        parameters.client("source `kafka`", role, &[]).unwrap_err().to_string()
    }

    #[test]
    fn what_the_user_gives_wins_over_a_preset() {
        let parameters = KafkaParameters::new("localhost:9092").with("fetch.wait.max.ms", "100");
        let client = parameters.client("source `kafka`", Role::Source, &[("group.id", "g")]).unwrap();
        assert_eq!(client.get("fetch.wait.max.ms"), Some("100"));
        assert_eq!(client.get("socket.nagle.disable"), Some("true"));
        assert_eq!(client.get("auto.offset.reset"), Some("error"));
        assert_eq!(client.get("group.id"), Some("g"));
    }

    #[test]
    fn librdkafka_knows_every_preset() {
        for role in [Role::Source, Role::Sink, Role::Admin] {
            KafkaParameters::new("localhost:9092").client("source `kafka`", role, &[]).unwrap();
        }
    }

    #[test]
    fn the_documentation_has_every_preset() {
        for (name, value, why) in CONSUMER_PRESETS.iter().chain(PRODUCER_PRESETS) {
            let row = format!("//! | `{name}` | `{value}` | {why} |");
            assert!(include_str!("mod.rs").contains(&row), "{row}");
        }
    }

    #[test]
    fn refusals_name_the_option_and_the_way_out() {
        let error = refusal("auto.offset.reset", "earliest", Role::Source);
        assert!(error.contains("`kafka.auto.offset.reset` cannot be set: set `startingOffsets`"), "{error}");
        let error = refusal("sasl.jaas.config", "x password=hunter2", Role::Sink);
        assert!(error.contains("kafka.sasl.username") && !error.contains("hunter2"), "{error}");
        let error = refusal("fetch.wait.maxms", "1", Role::Source);
        assert!(error.contains("`kafka.fetch.wait.maxms` is not known"), "{error}");
        let error = refusal("fetch.min.bytes", "many", Role::Source);
        assert!(error.contains("`kafka.fetch.min.bytes` is not valid"), "{error}");
        let error = KafkaParameters::default().client("sink `kafka`", Role::Sink, &[]).unwrap_err();
        assert!(error.to_string().contains("sink `kafka`: option `kafka.bootstrap.servers` is missing"));
    }

    #[test]
    fn debug_shows_no_value() {
        let parameters = KafkaParameters::new("a:1").with("sasl.password", "hunter2");
        assert_eq!(
            format!("{parameters:?}"),
            "KafkaParameters { bootstrap_servers: \"a:1\", names: [\"bootstrap.servers\", \"sasl.password\"] }"
        );
    }
}
