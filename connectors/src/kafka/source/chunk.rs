//! Records that were fetched together: their payloads share one buffer.

use super::super::record::{Header, KafkaRecord, TimestampType};
use crate::limits::{KAFKA_CHUNK_BYTES, KAFKA_CHUNK_ROWS, KAFKA_HEADER_NAMES};
use bytes::{Bytes, BytesMut};
use lotic_operators::Timestamp;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use std::collections::HashSet;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

/// Records of one partition, in their order.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) rows: Vec<KafkaRecord>,
    /// Bytes of keys, values and headers.
    pub(super) bytes: u64,
}

/// Where a part of a record lies in the buffer; `None` for null.
type Place = Option<Range<usize>>;

#[derive(Debug)]
struct Pending {
    offset: i64,
    timestamp: Option<Timestamp>,
    timestamp_type: TimestampType,
    key: Place,
    value: Place,
    headers: Vec<(Arc<str>, Place)>,
}

/// Names of headers seen so far, so that records share them.
#[derive(Debug, Default)]
pub(super) struct HeaderNames(HashSet<Arc<str>>);

impl HeaderNames {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        if self.0.len() >= KAFKA_HEADER_NAMES {
            self.0.clear();
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

/// The name of a header is not UTF-8.
#[derive(Debug)]
pub(super) struct UnreadableHeader;

/// Collects the records of one partition.
#[derive(Debug, Default)]
pub(super) struct ChunkBuilder {
    buffer: BytesMut,
    pending: Vec<Pending>,
}

impl ChunkBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= KAFKA_CHUNK_ROWS || self.buffer.len() >= KAFKA_CHUNK_BYTES
    }

    /// Copies a record.
    pub(super) fn push(
        &mut self,
        message: &BorrowedMessage<'_>,
        names: &mut HeaderNames,
    ) -> Result<(), UnreadableHeader> {
        let headers = self.headers(message, names)?;
        let time = message.timestamp();
        let timestamp_type = match time {
            rdkafka::Timestamp::NotAvailable => TimestampType::None,
            rdkafka::Timestamp::CreateTime(_) => TimestampType::CreateTime,
            rdkafka::Timestamp::LogAppendTime(_) => TimestampType::LogAppendTime,
        };
        let pending = Pending {
            offset: message.offset(),
            timestamp: time.to_millis().map(Timestamp::from_millis),
            timestamp_type,
            key: self.copy(message.key()),
            value: self.copy(message.payload()),
            headers,
        };
        self.pending.push(pending);
        Ok(())
    }

    fn headers(
        &mut self,
        message: &BorrowedMessage<'_>,
        names: &mut HeaderNames,
    ) -> Result<Vec<(Arc<str>, Place)>, UnreadableHeader> {
        let Some(headers) = message.headers() else { return Ok(Vec::new()) };
        let mut copied = Vec::with_capacity(headers.count());
        for index in 0..headers.count() {
            // The client panics on a name that is not UTF-8, which any producer may write.
            let read = panic::catch_unwind(AssertUnwindSafe(|| headers.get(index)));
            let header = read.map_err(|_| UnreadableHeader)?;
            copied.push((names.shared(header.key), self.copy(header.value)));
        }
        Ok(copied)
    }

    fn copy(&mut self, part: Option<&[u8]>) -> Place {
        let part = part?;
        let start = self.buffer.len();
        self.buffer.extend_from_slice(part);
        Some(start..self.buffer.len())
    }

    /// The records collected so far.
    pub(super) fn finish(&mut self, topic: &Arc<str>, partition: i32) -> Chunk {
        let buffer = std::mem::take(&mut self.buffer).freeze();
        let slice = |place: Place| -> Option<Bytes> { place.map(|range| buffer.slice(range)) };
        let record = |pending: Pending| KafkaRecord {
            topic: Arc::clone(topic),
            partition,
            offset: pending.offset,
            timestamp: pending.timestamp,
            timestamp_type: pending.timestamp_type,
            key: slice(pending.key),
            value: slice(pending.value),
            headers: pending
                .headers
                .into_iter()
                .map(|(name, place)| Header { name, value: slice(place) })
                .collect(),
        };
        let rows = self.pending.drain(..).map(record).collect();
        Chunk { rows, bytes: buffer.len() as u64 }
    }
}
