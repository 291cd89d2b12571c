//! Exactly once: an instance keeps the messages of an epoch until the epoch is durable. What sends them is
//! in [`super::transactional`].

use super::catalog::Catalog;
use super::outbox::{Outbox, Topic};
use super::settings::SinkSettings;
use super::writer::{Added, MessageRef, MessageWriter, ToMessages};
use crate::error::{ConnectorError, Result};
use crate::sink::{Prepare, Sink};
use lotic_operators::{Batch, Epoch};
use std::sync::Arc;
use std::task::Waker;

struct Collector {
    settings: Arc<SinkSettings>,
    outbox: Outbox,
}

impl MessageWriter for Collector {
    fn add(&mut self, message: &MessageRef<'_>) -> Result<Added> {
        let topic = self.settings.topic_of(message)?;
        self.settings.check(topic, message)?;
        if self.outbox.push(topic, message, self.settings.epoch_bytes_max) {
            return Ok(Added::Taken);
        }
        Err(ConnectorError::user(format!(
            "{}: the messages of one epoch and instance are more than {} bytes, which are kept in memory and in \
             the checkpoint until they are committed; make epochs shorter, lower `maxOffsetsPerTrigger` of the \
             source, or raise `epochBytesMax`",
            self.settings.connector, self.settings.epoch_bytes_max
        )))
    }
}

/// One instance of the sink.
pub(super) struct ExactlyOnceSink<E> {
    catalog: Arc<Catalog>,
    encoder: E,
    collector: Collector,
}

impl<E> ExactlyOnceSink<E> {
    pub(super) fn new(settings: Arc<SinkSettings>, catalog: Arc<Catalog>, encoder: E) -> Self {
        ExactlyOnceSink { catalog, encoder, collector: Collector { settings, outbox: Outbox::default() } }
    }
}

impl<B: Batch, E: ToMessages<B>> Sink<B> for ExactlyOnceSink<E> {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        match &self.collector.settings.topic {
            Some(topic) => {
                self.catalog.admit(&Topic { name: topic.clone(), partition_max: None, bytes_max: 0 })
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, batch: &mut B, _waker: &Waker) -> Result<()> {
        self.encoder.write(batch, &mut self.collector)
    }

    fn pre_commit(&mut self, _epoch: Epoch) -> Result<Option<Prepare>> {
        if self.collector.outbox.is_empty() {
            return Ok(None);
        }
        let outbox = std::mem::take(&mut self.collector.outbox);
        let catalog = Arc::clone(&self.catalog);
        Ok(Some(Box::new(move || {
            // While the epoch can still fail: once it is durable it has to be delivered.
            for topic in outbox.topics() {
                catalog.admit(topic)?;
            }
            Ok(outbox.into_bytes())
        })))
    }
}
