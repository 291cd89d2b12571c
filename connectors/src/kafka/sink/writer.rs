//! Between the rows of a query and the messages of a sink.

use super::super::KafkaMessage;
use crate::error::Result;
use lotic_operators::{Batch, Rows};

/// A message to write, borrowed from its row.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageRef<'a> {
    /// Where to; read only by a sink without a [topic](super::KafkaSink::to_topic) of its own.
    pub topic: Option<&'a str>,
    /// The partition; by the key if there is none.
    pub partition: Option<i32>,
    /// The key; null is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// The value; null, a tombstone, is not the same as empty.
    pub value: Option<&'a [u8]>,
    /// Names and values, in order.
    pub headers: &'a [HeaderRef<'a>],
    /// Milliseconds since 1970; the time of sending if there is none, or 0.
    pub timestamp_ms: Option<i64>,
}

/// Name and value of a header; the value may be null.
pub type HeaderRef<'a> = (&'a str, Option<&'a [u8]>);

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Added {
    /// It belongs to the sink: take its row off the batch.
    Taken,
    /// There is no room for it now: leave its row and return. The sink wakes when there is room.
    Full,
}

/// Takes messages, in order.
pub trait MessageWriter {
    /// Adds one message.
    ///
    /// # Errors
    /// If it can never be written (no topic, too large), or an earlier one could not be delivered.
    fn add(&mut self, message: &MessageRef<'_>) -> Result<Added>;
}

/// Makes messages of the rows of a batch: what the doors of a [`KafkaSink`](super::KafkaSink) differ in. One
/// clone for each instance.
pub trait ToMessages<B: Batch>: Clone + Send + 'static {
    /// Takes rows off the front of `batch`, adding the message of each before it is taken off, until there
    /// are none or the writer is [full](Added::Full).
    ///
    /// # Errors
    /// Those of the writer, and rows that cannot be encoded.
    fn write(&mut self, batch: &mut B, writer: &mut dyn MessageWriter) -> Result<()>;
}

/// Rows that are messages already.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages;

impl ToMessages<Rows<KafkaMessage>> for Messages {
    fn write(&mut self, batch: &mut Rows<KafkaMessage>, writer: &mut dyn MessageWriter) -> Result<()> {
        while let Some(message) = batch.as_slice().first() {
            if add(message, writer)? == Added::Full {
                break;
            }
            batch.next();
        }
        Ok(())
    }
}

fn add(message: &KafkaMessage, writer: &mut dyn MessageWriter) -> Result<Added> {
    let headers: Vec<HeaderRef<'_>> =
        message.headers.iter().map(|header| (&*header.name, header.value.as_deref())).collect();
    writer.add(&MessageRef {
        topic: message.topic.as_deref(),
        partition: message.partition,
        key: message.key.as_deref(),
        value: message.value.as_deref(),
        headers: &headers,
        timestamp_ms: message.timestamp.map(|timestamp| timestamp.0.div_euclid(1000)),
    })
}
