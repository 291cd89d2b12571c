//! What a client says of its connections. A question that nobody answers tells nothing but that: whether the broker is
//! away, or refused the password or the certificate, the client says on the side.

use super::errors::security_advice;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this time without being said again, a complaint is settled.
const AGE_MAX: Duration = Duration::from_secs(60);
/// What is no complaint, or adds nothing to those before it.
const EMPTY: [Code; 2] = [Code::PartitionEOF, Code::AllBrokersDown];
/// How long to wait for the first answer before it is seen whether brokers refuse.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Events of a client that are served at most to hear what it says, and polls without a result after which it has said
/// all.
const EVENTS_MAX: usize = 1000;
const SILENT_POLLS: usize = 16;

/// What a client said of a broker: the reason names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) code: Code,
    pub(super) reason: String,
}

impl Complaint {
    /// Whether it is about what only other options change.
    pub(super) fn is_lasting(&self) -> bool {
        security_advice(self.code, &self.reason).is_some_and(|advice| advice.lasting)
    }
}

/// The last complaint of a client.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Option<(Instant, Complaint)>>);

impl Complaints {
    fn lock(&self) -> MutexGuard<'_, Option<(Instant, Complaint)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hear(&self, error: &KafkaError, reason: &str) {
        let complaint = error.rdkafka_error_code().filter(|code| !EMPTY.contains(code));
        if let Some(code) = complaint {
            *self.lock() = Some((Instant::now(), Complaint { code, reason: reason.to_owned() }));
        }
    }

    pub(super) fn last(&self) -> Option<Complaint> {
        let last = self.lock();
        let (said, complaint) = last.as_ref()?;
        (said.elapsed() < AGE_MAX).then(|| complaint.clone())
    }
}

/// The context of a client that keeps its complaints.
pub(super) trait Complaining {
    fn complaints(&self) -> &Complaints;
}

/// Serves the events of a client that nobody reads from, and gives its last complaint.
pub(super) fn of<C: ConsumerContext + Complaining>(consumer: &BaseConsumer<C>) -> Option<Complaint> {
    // Some events end a poll without a result.
    let mut silent = 0;
    for _ in 0..EVENTS_MAX {
        silent = if consumer.poll(Duration::ZERO).is_some() { 0 } else { silent + 1 };
        if silent == SILENT_POLLS {
            break;
        }
    }
    consumer.context().complaints().last()
}

/// Forgets what a client that nobody reads from said before it is asked.
pub(super) fn forget<C: ConsumerContext + Complaining>(consumer: &BaseConsumer<C>) {
    drop(of(consumer));
    *consumer.context().complaints().lock() = None;
}

/// What the brokers say of topics. A client that nobody reads from gives up early when it was refused: a password or
/// a certificate does not become right by waiting.
pub(super) fn metadata<C: ConsumerContext + Complaining>(
    consumer: &BaseConsumer<C>,
    topic: Option<&str>,
    wait_max: Duration,
) -> Result<Metadata, KafkaError> {
    let first = wait_max.min(FIRST_WAIT);
    match consumer.fetch_metadata(topic, first) {
        Err(error) if first < wait_max => match of(consumer) {
            Some(complaint) if complaint.is_lasting() => Err(error),
            _ => consumer.fetch_metadata(topic, wait_max - first),
        },
        answered => answered,
    }
}

/// The context of a client that asks on behalf of a connector.
#[derive(Debug)]
pub(super) struct Asking {
    connector: String,
    complaints: Complaints,
}

impl Asking {
    pub(super) fn new(connector: &str) -> Self {
        Asking { connector: connector.to_owned(), complaints: Complaints::default() }
    }
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(&self.connector, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.hear(&error, reason);
    }
}

impl ConsumerContext for Asking {}

impl Complaining for Asking {
    fn complaints(&self) -> &Complaints {
        &self.complaints
    }
}

/// Passes on what librdkafka logs.
pub(super) fn log(connector: &str, level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(connector, facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(connector, facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(connector, facility, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_all_brokers_are_down_hides_no_reason() {
        let complaints = Complaints::default();
        complaints.hear(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(complaints.last(), None);
        complaints.hear(&KafkaError::Global(Code::Authentication), "a:1: refused");
        complaints.hear(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        let complaint = complaints.last().unwrap();
        assert_eq!((complaint.code, &*complaint.reason), (Code::Authentication, "a:1: refused"));
    }
}
