//! At least once: messages are sent as they come.

use super::deliveries::{Deliveries, Flight, Landed, size};
use super::failures::Failure;
use super::settings::SinkSettings;
use super::writer::{Added, MessageRef, MessageWriter, ToMessages};
use super::{catalog::Catalog, owned_headers};
use crate::error::{ConnectorError, Result};
use crate::sink::{Prepare, Sink};
use lotic_operators::{Batch, Epoch};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// How much longer than `message.timeout.ms` an epoch waits for its messages, which are all reported by then.
const PREPARE_SLACK: Duration = Duration::from_secs(10);

/// Sends, and remembers what is on its way.
struct Sender {
    settings: Arc<SinkSettings>,
    producer: ThreadedProducer<Deliveries>,
    /// The messages since the last marker.
    flight: Arc<Flight>,
    /// Those before it that may still be on their way, of epochs that were not prepared.
    earlier: Vec<Arc<Flight>>,
    waker: Waker,
}

impl Sender {
    /// The first failure there was.
    fn check(&self) -> Result<()> {
        let flights = self.earlier.iter().chain([&self.flight]);
        match flights.filter_map(|flight| flight.failure()).next() {
            Some(failure) => Err(failure.clone().because(&self.producer).error(&self.settings.connector)),
            None => Ok(()),
        }
    }

    /// Cuts the messages sent up to now off from those to come.
    fn cut(&mut self) -> Vec<Arc<Flight>> {
        self.earlier.retain(|flight| !flight.is_empty() || flight.failure().is_some());
        self.earlier.push(std::mem::take(&mut self.flight));
        self.earlier.clone()
    }
}

impl MessageWriter for Sender {
    fn add(&mut self, message: &MessageRef<'_>) -> Result<Added> {
        let topic = self.settings.topic_of(message)?;
        self.settings.check(topic, message)?;
        let deliveries = self.producer.client().context();
        let bytes = size(message.key, message.value);
        if !deliveries.room().has(bytes, &self.waker) {
            return Ok(Added::Full);
        }
        deliveries.room().enter(bytes);
        self.flight.depart();
        let headers = owned_headers(message.headers.len(), message.headers.iter().copied());
        let record = BaseRecord::<[u8], [u8], _> {
            topic,
            partition: message.partition,
            payload: message.value,
            key: message.key,
            timestamp: message.timestamp_ms,
            headers,
            delivery_opaque: Arc::clone(&self.flight),
        };
        let Err((error, _)) = self.producer.send(record) else { return Ok(Added::Taken) };
        deliveries.room().leave(bytes);
        self.flight.land(None);
        if let KafkaError::MessageProduction(Code::QueueFull) = error {
            // Cannot be, since the sink's own limits are reached first; but rows are never lost for it.
            self.waker.wake_by_ref();
            return Ok(Added::Full);
        }
        self.check()?;
        let failure = Failure::refused(&error, topic, message.partition, bytes).because(&self.producer);
        Err(failure.error(&self.settings.connector))
    }
}

/// One instance of the sink.
pub(super) struct PlainSink<E> {
    settings: Arc<SinkSettings>,
    catalog: Arc<Catalog>,
    encoder: E,
    sender: Option<Sender>,
}

impl<E> PlainSink<E> {
    pub(super) fn new(settings: Arc<SinkSettings>, catalog: Arc<Catalog>, encoder: E) -> Self {
        PlainSink { settings, catalog, encoder, sender: None }
    }
}

fn started(sender: &mut Option<Sender>) -> Result<&mut Sender> {
    sender.as_mut().ok_or_else(|| ConnectorError::internal("a sink is written to before it is started"))
}

impl<B: Batch, E: ToMessages<B>> Sink<B> for PlainSink<E> {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        if let Some(topic) = &self.settings.topic {
            self.catalog.require(topic, None)?;
        }
        let producer = self.settings.plain_producer()?;
        self.sender = Some(Sender {
            settings: Arc::clone(&self.settings),
            producer,
            flight: Arc::default(),
            earlier: Vec::new(),
            waker: Waker::noop().clone(),
        });
        Ok(())
    }

    fn write(&mut self, batch: &mut B, waker: &Waker) -> Result<()> {
        let sender = started(&mut self.sender)?;
        sender.check()?;
        sender.waker.clone_from(waker);
        self.encoder.write(batch, sender)
    }

    fn pre_commit(&mut self, _epoch: Epoch) -> Result<Option<Prepare>> {
        let wait = self.settings.message_timeout + PREPARE_SLACK;
        let connector = self.settings.connector.clone();
        let sender = started(&mut self.sender)?;
        sender.check()?;
        let flights = sender.cut();
        let producer = sender.producer.clone();
        if flights.iter().all(|flight| flight.is_empty()) {
            return Ok(None);
        }
        Ok(Some(Box::new(move || {
            let deadline = Instant::now() + wait;
            for flight in flights {
                match flight.wait(deadline) {
                    Landed::All => {}
                    Landed::Failed(failure) => return Err(failure.because(&producer).error(&connector)),
                    Landed::Late(messages) => {
                        return Err(ConnectorError::external(
                            format!("{connector} waited {wait:?} for its brokers"),
                            format!("{messages} messages are neither acknowledged nor refused"),
                        ));
                    }
                }
            }
            Ok(Vec::new())
        })))
    }
}
