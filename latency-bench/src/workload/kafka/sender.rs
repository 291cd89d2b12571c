//! The load: a producer on a thread of its own, open loop.

use super::super::RunConfig;
use super::broker::{ANSWER, client, failed};
use super::payload::{HEADER, Stamp, key_text, value};
use super::topics::Topics;
use crate::clock::Timebase;
use crate::error::Result;
use crate::event::Event;
use crate::generator::{DueRecords, Sent, sleep_until};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a record may be on its way to the broker.
const DELIVERY: Duration = Duration::from_secs(30);
/// Records that share a clock reading at most.
const RECORDS_PER_READING: usize = 32;

/// Remembers why the first record could not be delivered.
#[derive(Debug, Default)]
pub(super) struct Outcome(OnceLock<String>);

impl ClientContext for Outcome {}

impl ProducerContext for Outcome {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let (topic, partition) = (message.topic(), message.partition());
            self.0.get_or_init(|| {
                format!("a record for topic {topic}, partition {partition}, was not delivered: {error}")
            });
        }
    }
}

/// A producer that sends each record at once.
pub(super) fn producer(topics: &Topics, topic: &str) -> Result<ThreadedProducer<Outcome>> {
    let producer: ThreadedProducer<Outcome> = client(&topics.bootstrap)
        .set("linger.ms", "0")
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", DELIVERY.as_millis().to_string())
        .create_with_context(Outcome::default())
        .map_err(|error| failed(&topics.bootstrap, error.to_string()))?;
    // So that neither the connection nor its threads are made while something is sent.
    let answer = producer.client().fetch_metadata(Some(topic), ANSWER);
    answer.map_err(|error| failed(&topics.bootstrap, error.to_string()))?;
    Ok(producer)
}

/// The sending thread.
pub(super) struct Sender(JoinHandle<std::result::Result<Sent, String>>);

impl Sender {
    /// Connects; sends as soon as the clock has begun.
    pub(super) fn connect(config: &RunConfig, topics: &Topics, timebase: &Timebase) -> Result<Sender> {
        let producer = producer(topics, &topics.input)?;
        let messages = Messages {
            producer,
            topic: topics.input.clone(),
            values: (0..config.keys).map(|key| (key_text(key), value(key))).collect(),
            number: 0,
        };
        let (timebase, due) = (timebase.clone(), DueRecords::new(config.traffic()));
        let body = move || {
            while timebase.since_begin().is_none() {
                std::thread::sleep(Duration::from_micros(200));
            }
            send_all(&timebase, due, messages)
        };
        let thread = std::thread::Builder::new().name("generator".to_owned()).spawn(body);
        thread.map(Sender).map_err(|error| config.failed(format!("no thread to send from: {error}")))
    }

    /// Waits until the broker has everything.
    pub(super) fn join(self) -> std::result::Result<Sent, String> {
        match self.0.join() {
            Ok(sent) => sent,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn send_all(
    timebase: &Timebase,
    mut due: DueRecords,
    mut messages: Messages,
) -> std::result::Result<Sent, String> {
    let mut batch = Vec::with_capacity(RECORDS_PER_READING);
    while let Some(next_ns) = due.next_ns() {
        due.take_due(sleep_until(timebase, next_ns), RECORDS_PER_READING, &mut batch);
        for event in batch.drain(..) {
            messages.send(event)?;
        }
    }
    messages.finish()?;
    Ok(due.finish())
}

struct Messages {
    producer: ThreadedProducer<Outcome>,
    topic: String,
    /// By key: its text, its value.
    values: Vec<(String, Vec<u8>)>,
    number: u64,
}

impl Messages {
    /// Hands a record to the client, waiting if that holds as many as it can.
    fn send(&mut self, event: Event) -> std::result::Result<(), String> {
        let Event { key, intended_ns, sent_ns } = event;
        let stamp = Stamp { intended_ns, sent_ns, number: self.number }.to_bytes();
        let (key, value) = &self.values[key as usize];
        let header = Header { key: HEADER, value: Some(&stamp) };
        let headers = OwnedHeaders::new_with_capacity(1).insert(header);
        let mut record = BaseRecord::to(&self.topic).key(key.as_bytes()).payload(&value[..]).headers(headers);
        let since = Instant::now();
        while let Err((error, refused)) = self.producer.send(record) {
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            if !full || since.elapsed() > DELIVERY {
                return Err(format!("topic {}: a record could not be sent: {error}", self.topic));
            }
            self.check()?;
            std::thread::sleep(Duration::from_millis(1));
            record = refused;
        }
        self.number += 1;
        Ok(())
    }

    /// Why a record was not delivered, if one was not.
    fn check(&self) -> std::result::Result<(), String> {
        self.producer.context().0.get().map_or(Ok(()), |cause| Err(cause.clone()))
    }

    fn finish(&self) -> std::result::Result<(), String> {
        let flushed = self.producer.flush(2 * DELIVERY);
        self.check()?;
        flushed.map_err(|error| format!("topic {}: not all records were delivered: {error}", self.topic))
    }
}
