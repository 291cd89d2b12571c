//! Messages that were not delivered, as errors that say which and what to do.

use super::super::complaints::Complaint;
use super::super::errors;
use super::deliveries::Deliveries;
use crate::error::ConnectorError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::producer::Producer;

/// A message that was not delivered. Its key and value are not shown: they may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    topic: String,
    partition: Option<i32>,
    bytes: usize,
    code: Code,
    /// What the client last said about its brokers.
    complaint: Option<Complaint>,
}

impl Failure {
    pub(super) fn of(error: &KafkaError, message: &impl Message, complaint: Option<Complaint>) -> Failure {
        Failure {
            topic: message.topic().to_owned(),
            partition: (message.partition() >= 0).then(|| message.partition()),
            bytes: super::deliveries::size(message.key(), message.payload()),
            code: errors::code_of(error).unwrap_or(Code::Unknown),
            complaint,
        }
    }

    /// One that the client did not even take.
    pub(super) fn refused(error: &KafkaError, topic: &str, partition: Option<i32>, bytes: usize) -> Failure {
        let code = errors::code_of(error).unwrap_or(Code::Unknown);
        Failure { topic: topic.to_owned(), partition, bytes, code, complaint: None }
    }

    /// The same failure, if the client gave up its messages for another reason than one of its own: with that
    /// reason.
    pub(super) fn because(mut self, producer: &impl Producer<Deliveries>) -> Failure {
        if let (Code::PurgeQueue | Code::PurgeInflight | Code::Fatal, Some((code, reason))) =
            (self.code, producer.client().fatal_error())
        {
            self.code = code;
            self.complaint = Some(Complaint { code, reason });
        }
        self
    }

    /// The code of librdkafka or the broker.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// The error; `connector` names the sink.
    pub(super) fn error(&self, connector: &str) -> ConnectorError {
        let Failure { topic, bytes, .. } = self;
        let partition =
            self.partition.map(|partition| format!(", partition {partition}")).unwrap_or_default();
        let what =
            format!("{connector} could not deliver a message of {bytes} bytes to topic `{topic}`{partition}");
        errors::unanswered(what, self.code, self.complaint.clone())
    }
}
