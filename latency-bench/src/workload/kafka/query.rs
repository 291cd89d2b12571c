//! The programs: what each does with a record. All of them hand on its key and its headers.

use super::super::Delivery;
use super::super::lotic::LoticRun;
use super::payload::key_text;
use super::topics::Topics;
use crate::error::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lotic::connectors::kafka::{KafkaMessage, KafkaOffsets, KafkaParameters, KafkaRecord};
use lotic::connectors::kafka::{KafkaSink, KafkaSource, KafkaTopics};
use lotic::{Stream, StreamingQuery};
use std::collections::HashMap;
use std::sync::Arc;

/// What is left of a value before it is encoded.
const TRUNCATED_BYTES: usize = 600;

/// What a query does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// The first half of the value in base64.
    Stateless,
    /// Records with this value so far.
    Grouped,
    /// The value, and beside it the row of a table that belongs to the key.
    Join,
}

/// Starts the query of a run, from its input topic to its output topic.
pub(super) fn start(program: Program, run: &LoticRun<'_>, topics: &Topics) -> Result<StreamingQuery> {
    let parameters = KafkaParameters::new(&topics.bootstrap);
    let client = |name| parameters.clone().with("client.id", name);
    let source = client("lotic-source").with("group.id", "lotic-latency-bench-query");
    let source = KafkaSource::new(source, KafkaTopics::subscribe([&topics.input]))
        .starting_offsets(KafkaOffsets::Earliest);
    let sink = KafkaSink::new(client("lotic-sink"))
        .to_topic(&topics.output)
        .epochs_topic(&topics.epochs)
        .transactional_id_prefix(&topics.prefix);
    let sink = match run.config.delivery {
        Some(Delivery::ExactlyOnce) => sink.exactly_once(),
        _ => sink,
    };
    let records = run.session.source(source);
    let messages = match program {
        Program::Stateless => records.map(truncated),
        Program::Grouped => counted(records),
        Program::Join => {
            let table = Arc::new(table(run.config.keys));
            records.flat_map(move |record| joined(&table, record))
        }
    };
    run.start(messages.sink(sink))
}

/// The message that follows from a record.
fn with_value(record: KafkaRecord, value: impl Into<Vec<u8>>) -> KafkaMessage {
    let KafkaRecord { key, headers, .. } = record;
    KafkaMessage { key, headers, ..KafkaMessage::new(value.into()) }
}

fn truncated(record: KafkaRecord) -> KafkaMessage {
    let value = record.value.as_deref().unwrap_or_default();
    let text = STANDARD.encode(&value[..value.len().min(TRUNCATED_BYTES)]);
    with_value(record, text)
}

fn counted(records: Stream<KafkaRecord>) -> Stream<KafkaMessage> {
    // A copy: a slice would keep the whole buffer it was read into for as long as the state lives.
    let value = |record: &KafkaRecord| record.value.as_deref().unwrap_or_default().to_vec();
    records.key_by(value).map_with_state(|count: &mut u64, record| {
        *count += 1;
        with_value(record, count.to_string())
    })
}

/// The static table: a row of text for each key.
type Table = HashMap<Vec<u8>, String>;

fn table(keys: u64) -> Table {
    (0..keys).map(|key| (key_text(key).into_bytes(), format!("row {key} of the static table"))).collect()
}

fn joined(table: &Table, record: KafkaRecord) -> Option<KafkaMessage> {
    let row = table.get(record.key.as_deref()?)?;
    let value = record.value.as_deref().unwrap_or_default();
    let both = [value, b" ", row.as_bytes()].concat();
    Some(with_value(record, both))
}

#[cfg(test)]
mod tests {
    use super::super::payload::{VALUE_BYTES, value};
    use super::*;
    use lotic::connectors::kafka::{Header, TimestampType};

    fn record(key: u64) -> KafkaRecord {
        KafkaRecord {
            topic: "input".into(),
            partition: 0,
            offset: 7,
            timestamp: None,
            timestamp_type: TimestampType::None,
            key: Some(key_text(key).into()),
            value: Some(value(key).into()),
            headers: vec![Header::new("intended-ns", "here")],
        }
    }

    #[test]
    fn half_the_value_is_encoded_and_the_header_handed_on() {
        let message = truncated(record(3));
        let decoded = STANDARD.decode(message.value.unwrap()).unwrap();
        assert_eq!(decoded, value(3)[..TRUNCATED_BYTES]);
        assert_eq!((message.key, message.headers), (record(3).key, record(3).headers));
        assert_eq!((message.topic, message.partition), (None, None), "the sink decides");
    }

    #[test]
    fn a_record_meets_the_row_of_its_key() {
        let table = table(10);
        let message = joined(&table, record(9)).unwrap();
        let joined_value = message.value.unwrap();
        assert!(joined_value.starts_with(&value(9)) && joined_value.ends_with(b" row 9 of the static table"));
        assert!(joined_value.len() > VALUE_BYTES);
        assert_eq!(message.headers, record(9).headers);
        assert_eq!(joined(&table, record(10)), None);
    }
}
