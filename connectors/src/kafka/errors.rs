//! What librdkafka reports, as errors that say where and what to do.

use super::complaints::Complaint;
use crate::error::ConnectorError;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::types::RDKafkaConfRes;
use std::time::Duration;

/// After how long it makes sense to try again what failed for a reason that passes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The error for something that Kafka refused or could not do. `what` says what was tried and where: the
/// connector, and the topic, partition, offset and brokers as far as they are known.
pub(super) fn failed(what: impl AsRef<str>, error: &KafkaError) -> ConnectorError {
    // A client that could not be created tells its reason as text alone.
    let Some(code) = code_of(error) else {
        return ConnectorError::external(what.as_ref(), error.clone());
    };
    failed_with(what, code)
}

/// The same for a bare code, as admin operations and metadata have it.
pub(super) fn failed_with(what: impl AsRef<str>, code: Code) -> ConnectorError {
    let what = what.as_ref();
    let message = match advice(code) {
        "" => what.to_owned(),
        advice => format!("{what}; {advice}"),
    };
    if is_users(code) {
        return ConnectorError::user(format!("{message}: {code}"));
    }
    let error = ConnectorError::external(message, code);
    if is_passing(code) { error.with_retry_after(RETRY_AFTER) } else { error }
}

/// The error for a question that got no answer, with what the client said of its connections meanwhile: a refused
/// password or certificate otherwise looks like a broker that is away.
pub(super) fn unanswered(what: impl AsRef<str>, code: Code, complaint: Option<Complaint>) -> ConnectorError {
    let what = what.as_ref();
    let Some(Complaint { code: said, reason }) = complaint.filter(|_| is_passing(code)) else {
        return failed_with(what, code);
    };
    match security_advice(said, &reason) {
        // Nothing but other options helps.
        Some(Advice { what_to_do, lasting: true }) => {
            ConnectorError::user(format!("{what}; {what_to_do}: {reason}"))
        }
        Some(Advice { what_to_do, lasting: false }) => {
            ConnectorError::external(format!("{what}; {what_to_do}"), reason).with_retry_after(RETRY_AFTER)
        }
        None => failed_with(format!("{what} (the client last said: {reason})"), code),
    }
}

/// What to do about a connection that was refused, and whether it will be the next time too.
pub(super) struct Advice {
    what_to_do: &'static str,
    pub(super) lasting: bool,
}

/// What to do about a connection that was made and came to nothing; `None` if it is not for its security.
pub(super) fn security_advice(code: Code, reason: &str) -> Option<Advice> {
    let says = |part: &str| reason.contains(part);
    let lasting = |what_to_do| Some(Advice { what_to_do, lasting: true });
    match code {
        code if is_lost_connection(code, reason) => None,
        Code::Authentication | Code::SaslAuthenticationFailed if says("supported mechanisms") => {
            lasting("set `kafka.sasl.mechanism` to one that the brokers offer at this port")
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            lasting("check `kafka.sasl.username` and `kafka.sasl.password`, and `kafka.sasl.mechanism`")
        }
        // With TLS 1.3 the client takes itself for connected when it hears of this.
        Code::SSL | Code::BrokerTransportFailure if says("alert") && says("certificate") => lasting(
            "the brokers miss or refuse the certificate of this client: set `kafka.ssl.keystore.location` and \
             `kafka.ssl.keystore.password`, or `kafka.ssl.certificate.location` and `kafka.ssl.key.location`",
        ),
        Code::SSL if says("certificate") => lasting(
            "set `kafka.ssl.ca.location` to the PEM certificate of the authority that signed those of the brokers, \
             and give the brokers by the names in their certificates",
        ),
        _ if code == Code::SSL
            || says("security.protocol")
            || says("PLAINTEXT broker")
            || says("Invalid response size") =>
        {
            Some(Advice {
                what_to_do: "check that `kafka.security.protocol` is what the brokers have at this port: \
                             `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`",
                lasting: false,
            })
        }
        _ => None,
    }
}

/// Whether a connection was lost while the user was being checked, which librdkafka reports as if the user had been
/// refused: brokers go and come back.
pub(super) fn is_lost_connection(code: Code, reason: &str) -> bool {
    code == Code::Authentication && reason.contains("failed: Local: ")
}

/// Parameters that name files: librdkafka says which of them it cannot use, and not always what it is set to.
const FILES: [&str; 4] =
    ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location"];

/// The error for a client that cannot be made of its parameters, such as a file of certificates that is not there.
pub(super) fn not_made(connector: &str, config: &ClientConfig, error: &KafkaError) -> ConnectorError {
    let reason = match error {
        KafkaError::ClientCreation(reason) => hidden(reason),
        KafkaError::ClientConfig(..) => return parameter_refused(connector, error),
        other => return failed(format!("{connector}: the Kafka client cannot be made"), other),
    };
    let file = FILES.into_iter().find(|name| reason.contains(name));
    let advice = match file.and_then(|name| Some((name, config.get(name)?))) {
        Some((name, file)) => format!("check `kafka.{name}`, {file}, and its password if it has one"),
        None => "check its `kafka.` options".to_owned(),
    };
    ConnectorError::user(format!("{connector}: the Kafka client cannot be made; {advice}: {reason}"))
}

/// How to build a program that knows TLS and SASL.
pub(super) const BUILD_WITH_TLS: &str = "build it with the feature `kafka-tls`, which takes, on Debian, `apt-get \
                                         install libssl-dev libsasl2-dev pkg-config`";

/// The code within an error, also where rust-rdkafka does not give it away.
pub(super) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The error for a parameter that librdkafka does not take.
pub(super) fn parameter_refused(connector: &str, error: &KafkaError) -> ConnectorError {
    let KafkaError::ClientConfig(kind, reason, name, _) = error else {
        return ConnectorError::user(format!("{connector}: the Kafka client cannot be made: {error}"));
    };
    // The value is left out: it may be a password.
    let reason = reason.trim();
    let message = match kind {
        RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => format!(
            "{connector}: Kafka parameter `kafka.{name}` is not known; parameters are those of librdkafka, \
             listed in its CONFIGURATION.md, and not those of the Java client"
        ),
        _ if reason.contains("libcurl") => format!(
            "{connector}: Kafka parameter `kafka.{name}` is about tokens or certificates that are fetched over HTTP, \
             which is not built in: use SCRAM, or certificates in files"
        ),
        _ if reason.contains("not available at build time")
            || reason.contains("not supported in this build") =>
        {
            format!(
                "{connector}: Kafka parameter `kafka.{name}` needs TLS or SASL, which this program was built \
                 without; {BUILD_WITH_TLS}"
            )
        }
        _ => format!(
            "{connector}: the value of Kafka parameter `kafka.{name}` is not valid: {}",
            hidden(reason)
        ),
    };
    ConnectorError::user(message)
}

/// librdkafka quotes the value it refuses; all but the name is left out where that may be a secret.
fn hidden(reason: &str) -> &str {
    let secret = ["password", "secret", "sasl.", "key.pem", "token"];
    if secret.iter().any(|word| reason.contains(word)) { "see its documentation" } else { reason }
}

/// Whether the query or its options have to change.
fn is_users(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::MessageSizeTooLarge
            | Code::InvalidRecord
            | Code::InvalidTransactionTimeout
            | Code::InvalidReplicationFactor
            | Code::PolicyViolation
    )
}

/// Whether it is worth trying again, since brokers come back and leaders are elected.
pub(super) fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::WaitingForCoordinator
            | Code::PreferredLeaderNotAvailable
            | Code::OffsetNotAvailable
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::Retry
    )
}

/// What to do about an error; empty if there is nothing to say.
fn advice(code: Code) -> &'static str {
    match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            "create the topic or the partition first, or correct its name"
        }
        Code::InvalidTopic => "a topic is named with letters, digits, `.`, `_` and `-`, at most 249 of them",
        Code::TopicAuthorizationFailed => {
            "the brokers do not let this user at the topic: grant it READ and DESCRIBE to read, WRITE and \
             DESCRIBE to write, CREATE to make it"
        }
        Code::GroupAuthorizationFailed => {
            "the brokers do not let this user at the consumer group: grant it READ, or set `groupIdPrefix` or \
             `kafka.group.id` to a group that it may use"
        }
        Code::ClusterAuthorizationFailed => {
            "the brokers do not let this user do this: to write, grant it WRITE and DESCRIBE on the topic, which \
             brokers before 2.8 take with IDEMPOTENT_WRITE on the cluster; to make a topic, CREATE"
        }
        Code::TransactionalIdAuthorizationFailed => {
            "the brokers do not let this user use the transactional id: grant it WRITE and DESCRIBE, or set \
             `transactionalIdPrefix`"
        }
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            "check `kafka.security.protocol`, `kafka.sasl.mechanism` and the credentials"
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
            "check `kafka.bootstrap.servers`, that the brokers run, that `kafka.security.protocol` is what they have \
             at this port, and that the addresses they advertise can be reached from here"
        }
        Code::MessageTimedOut => "the brokers did not acknowledge it in time: check that they run",
        Code::MessageSizeTooLarge => {
            "raise `message.max.bytes` of the broker or `max.message.bytes` of the topic, and \
             `kafka.message.max.bytes` of the sink, or write smaller records; if several small ones were too large \
             together, lower `kafka.batch.size`"
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "fewer replicas are in sync than `min.insync.replicas` of the topic asks for: bring brokers back"
        }
        Code::Fenced | Code::InvalidProducerEpoch | Code::ProducerFenced => {
            "another process runs this query with the same sink: stop one of them"
        }
        Code::InvalidTransactionTimeout => {
            "lower `kafka.transaction.timeout.ms`, or raise `transaction.max.timeout.ms` of the brokers"
        }
        Code::InvalidReplicationFactor => "there are fewer brokers than replicas asked for",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn says_where_and_what_to_do() {
        let error = failed("source `kafka`: topic `orders`", &KafkaError::MetadataFetch(Code::UnknownTopic));
        assert_eq!(error.kind(), ErrorKind::User);
        assert!(error.to_string().starts_with("source `kafka`: topic `orders`; create the topic"), "{error}");
        let error = failed("no metadata from a:1", &KafkaError::AdminOp(Code::AllBrokersDown));
        assert_eq!(error.kind(), ErrorKind::External);
        assert!(error.retry_after().is_some());
        assert!(error.to_string().contains("check `kafka.bootstrap.servers`"), "{error}");
    }

    fn complaint(code: Code, reason: &str) -> Option<Complaint> {
        Some(Complaint { code, reason: reason.to_owned() })
    }

    #[test]
    fn silence_is_explained_by_what_the_client_said() {
        let unanswered = |said| unanswered("no answer", Code::BrokerTransportFailure, said);
        let refused = "sasl_ssl://a:1/bootstrap: SASL authentication error: Authentication failed";
        let error = unanswered(complaint(Code::Authentication, refused));
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::User, None));
        let error = error.to_string();
        assert!(error.contains("`kafka.sasl.password`") && error.ends_with(refused), "{error}");

        // A connection that broke is no password that is wrong.
        let broken =
            "SASL authentication error: SaslAuthenticateRequest failed: Local: Broker transport failure";
        assert!(is_lost_connection(Code::Authentication, broken));
        let error = unanswered(complaint(Code::Authentication, broken));
        assert!(error.kind() == ErrorKind::External && error.retry_after().is_some());
        assert!(error.to_string().contains(broken), "{error}");

        let error =
            unanswered(complaint(Code::BrokerTransportFailure, "connecting to a PLAINTEXT broker listener?"));
        assert!(error.kind() == ErrorKind::External && error.retry_after().is_some());
        assert!(error.to_string().contains("`kafka.security.protocol`"), "{error}");

        // What was answered needs no explanation.
        let answered =
            super::unanswered("refused", Code::TopicAuthorizationFailed, complaint(Code::SSL, "x"));
        assert!(answered.to_string().starts_with("refused; the brokers do not let this user"), "{answered}");
    }

    #[test]
    fn never_shows_a_secret() {
        let refused = KafkaError::ClientConfig(
            RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "Invalid value \"hunter2\" for \"sasl.password\"".to_owned(),
            "sasl.password".to_owned(),
            "hunter2".to_owned(),
        );
        let error = parameter_refused("source `kafka`", &refused).to_string();
        assert!(error.contains("kafka.sasl.password") && !error.contains("hunter2"), "{error}");
    }
}
