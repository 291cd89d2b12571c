//! Where a batch ends whose checksum is wrong.
//!
//! librdkafka says at which offset such a batch begins, and no more; it goes on reading somewhere within it and
//! loses its place. So whoever wants to read on asks, with a client of its own, which offsets lead into the same
//! batch: the brokers always send whole batches.

use super::super::errors;
use super::super::topics::TopicPartition;
use super::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// How long one poll waits, after which the deadline is looked at.
const WAIT: Duration = Duration::from_millis(100);

/// Whether a code says that what was fetched makes no sense.
pub(super) fn is_corrupt(code: Code) -> bool {
    matches!(code, Code::BadMessage | Code::InvalidMessage | Code::NotImplemented)
}

/// The offset at which the batch begins that librdkafka complains about, if it says so.
pub(super) fn base_of(reason: &str) -> Option<i64> {
    let (_, after) = reason.split_once("MessageSet at offset ")?;
    after.split(' ').next()?.parse().ok()
}

/// Asks about one partition. Blocks.
pub(super) struct Probe<'a> {
    pub(super) consumer: &'a BaseConsumer<Client>,
    pub(super) partition: &'a TopicPartition,
    pub(super) wait_max: Duration,
}

enum Found {
    Readable,
    /// With the offset at which the batch begins.
    Corrupt(Option<i64>),
}

impl Probe<'_> {
    /// The offset behind the corrupt batch that an offset is in; `None` if it can be read.
    pub(super) fn behind(&self, offset: i64) -> Result<Option<i64>, KafkaError> {
        let Found::Corrupt(base) = self.at(offset)? else { return Ok(None) };
        let Some(base) = base else { return Ok(Some(offset + 1)) };
        let is_inside = |offset| -> Result<bool, KafkaError> {
            Ok(matches!(self.at(offset)?, Found::Corrupt(Some(other)) if other == base))
        };
        let (mut inside, mut step) = (offset, 1);
        let mut behind = loop {
            let next = offset.saturating_add(step);
            if !is_inside(next)? {
                break next;
            }
            inside = next;
            step = step.saturating_mul(2);
        };
        while behind - inside > 1 {
            let middle = inside + (behind - inside) / 2;
            if is_inside(middle)? { inside = middle } else { behind = middle }
        }
        Ok(Some(behind))
    }

    fn at(&self, offset: i64) -> Result<Found, KafkaError> {
        let TopicPartition { topic, partition } = self.partition;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, *partition, Offset::Offset(offset))?;
        self.consumer.assign(&list)?;
        let deadline = Instant::now() + self.wait_max;
        // What the client says of a batch may come after the code: with the next poll.
        let mut is_complaint = false;
        loop {
            let polled = self.consumer.poll(WAIT);
            if is_complaint {
                return Ok(Found::Corrupt(base_of(&self.consumer.context().last_error())));
            }
            match polled {
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(Found::Readable),
                Some(Err(error)) => match errors::code_of(&error) {
                    Some(code) if is_corrupt(code) => {
                        let base = base_of(&self.consumer.context().last_error());
                        if base.is_some() {
                            return Ok(Found::Corrupt(base));
                        }
                        is_complaint = true;
                    }
                    // Behind the end of the partition.
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::NoOffset) => {
                        return Ok(Found::Readable);
                    }
                    Some(code) if errors::is_passing(code) => {}
                    _ => return Err(error),
                },
                None => {}
            }
            if Instant::now() >= deadline {
                return Err(KafkaError::MessageConsumption(Code::OperationTimedOut));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_a_corrupt_batch_begins() {
        let said =
            "MessageSet at offset 5 (639 bytes) failed CRC32C check (original 0x9e != calculated 0xea)";
        assert_eq!(base_of(said), Some(5));
        assert_eq!(base_of("Fetch from broker 1 failed at offset 5: Broker: Corrupt message"), None);
        assert_eq!(base_of("MessageSet at offset x"), None);
    }
}
