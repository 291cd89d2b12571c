//! What is read from Kafka and what is written to it.

use crate::error::{ConnectorError, Result};
use bytes::Bytes;
use lotic_operators::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// Who set the timestamp of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TimestampType {
    /// The record has none: it was written in a format older than Kafka 0.10.
    #[default]
    None,
    /// The producer, when it made the record.
    CreateTime,
    /// The broker, when it appended the record.
    LogAppendTime,
}

impl TimestampType {
    /// The number of the Java client, as in Spark's column `timestampType`: -1, 0 or 1.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            TimestampType::None => -1,
            TimestampType::CreateTime => 0,
            TimestampType::LogAppendTime => 1,
        }
    }
}

/// A header of a record: a name, which may occur more than once, and a value, which may be null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The name.
    #[serde(serialize_with = "write_name", deserialize_with = "read_name")]
    pub name: Arc<str>,
    /// The value; `None` for null, which is not the same as empty.
    pub value: Option<Bytes>,
}

impl Header {
    /// A header with a value.
    pub fn new(name: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Header {
        Header { name: name.into(), value: Some(value.into()) }
    }

    /// A header whose value is null.
    pub fn null(name: impl Into<Arc<str>>) -> Header {
        Header { name: name.into(), value: None }
    }
}

/// One record as it was read from Kafka.
///
/// Key, value and headers are slices of one buffer, which a record shares with those that were fetched
/// with it: a clone copies no payload, and a record that is kept keeps up to 256 KiB of its neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaRecord {
    /// The topic.
    #[serde(serialize_with = "write_name", deserialize_with = "read_name")]
    pub topic: Arc<str>,
    /// The partition of the topic.
    pub partition: i32,
    /// The number of the record in its partition.
    pub offset: i64,
    /// When it was made or appended, as [`timestamp_type`](KafkaRecord::timestamp_type) says; milliseconds.
    pub timestamp: Option<Timestamp>,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
    /// The key; `None` for null.
    pub key: Option<Bytes>,
    /// The value; `None` for null, the tombstone of a compacted topic.
    pub value: Option<Bytes>,
    /// The headers, in their order.
    pub headers: Vec<Header>,
}

impl KafkaRecord {
    /// The key as text; `None` if it is null.
    ///
    /// # Errors
    /// If it is not UTF-8; the message names topic, partition and offset.
    pub fn key_str(&self) -> Result<Option<&str>> {
        self.text("key", self.key.as_deref())
    }

    /// The value as text; `None` if it is null.
    ///
    /// # Errors
    /// As for [`KafkaRecord::key_str`].
    pub fn value_str(&self) -> Result<Option<&str>> {
        self.text("value", self.value.as_deref())
    }

    /// The value read as JSON. A null value reads as JSON `null`, so that `Option<T>` takes tombstones.
    ///
    /// # Errors
    /// If it is not such JSON; the message names topic, partition and offset.
    pub fn value_json<T: DeserializeOwned>(&self) -> Result<T> {
        self.json("value", self.value.as_deref())
    }

    /// The key read as JSON, as [`KafkaRecord::value_json`].
    ///
    /// # Errors
    /// As for [`KafkaRecord::value_json`].
    pub fn key_json<T: DeserializeOwned>(&self) -> Result<T> {
        self.json("key", self.key.as_deref())
    }

    /// The value of the last header of this name, which is the one that counts; `None` if there is none or it
    /// is null.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|header| &*header.name == name)?.value.as_ref()
    }

    fn text<'a>(&self, part: &str, bytes: Option<&'a [u8]>) -> Result<Option<&'a str>> {
        let text = bytes.map(std::str::from_utf8).transpose();
        text.map_err(|error| self.malformed(part, "UTF-8 text", &error))
    }

    fn json<T: DeserializeOwned>(&self, part: &str, bytes: Option<&[u8]>) -> Result<T> {
        let read = serde_json::from_slice(bytes.unwrap_or(b"null"));
        read.map_err(|error| self.malformed(part, "the expected JSON", &error))
    }

    fn malformed(&self, part: &str, expected: &str, error: &dyn std::error::Error) -> ConnectorError {
        let KafkaRecord { topic, partition, offset, .. } = self;
        ConnectorError::user(format!(
            "the {part} of the record at topic `{topic}`, partition {partition}, offset {offset} is not \
             {expected}: {error}; leave such records out, or decode them another way"
        ))
    }
}

/// One record to write to Kafka.
///
/// ```
/// use lotic_connectors::kafka::KafkaMessage;
/// let message = KafkaMessage::new("42 litres").with_key("pump-7").with_header("unit", "l").to_topic("levels");
/// assert_eq!(message.key.as_deref(), Some(&b"pump-7"[..]));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaMessage {
    /// The topic; `None` for that of the sink.
    #[serde(serialize_with = "write_optional", deserialize_with = "read_optional")]
    pub topic: Option<Arc<str>>,
    /// The partition; `None` for the one that follows from the key.
    pub partition: Option<i32>,
    /// The key; `None` for null.
    pub key: Option<Bytes>,
    /// The value; `None` for null.
    pub value: Option<Bytes>,
    /// The headers, in their order.
    pub headers: Vec<Header>,
    /// When it was made; `None` for when it is sent. Kafka keeps milliseconds.
    pub timestamp: Option<Timestamp>,
}

impl KafkaMessage {
    /// A message of this value.
    pub fn new(value: impl Into<Bytes>) -> KafkaMessage {
        KafkaMessage { value: Some(value.into()), ..KafkaMessage::default() }
    }

    /// A message with a null value: in a compacted topic it removes its key.
    pub fn tombstone(key: impl Into<Bytes>) -> KafkaMessage {
        KafkaMessage { key: Some(key.into()), ..KafkaMessage::default() }
    }

    /// A message whose value is a row as JSON.
    ///
    /// # Errors
    /// If the row cannot be written as JSON, such as a map whose keys are not text.
    pub fn json<T: Serialize>(row: &T) -> Result<KafkaMessage> {
        let value = serde_json::to_vec(row).map_err(|error| {
            ConnectorError::user(format!("a row cannot be written as JSON: {error}; change its type"))
        })?;
        Ok(KafkaMessage::new(value))
    }

    /// What becomes of a record that could not be used: key, value, headers and timestamp as they were, and headers
    /// that say where it came from and why it is here, named as Kafka Connect names them:
    /// `__connect.errors.topic`, `.partition`, `.offset` and `.exception.message`, all text.
    ///
    /// ```
    /// # use lotic_connectors::kafka::{KafkaMessage, KafkaRecord};
    /// # fn example(record: KafkaRecord) -> Option<KafkaMessage> {
    /// let problem = record.value_json::<u64>().err()?;
    /// let letter = KafkaMessage::dead_letter(record, problem).to_topic("orders-dead");
    /// # Some(letter) }
    /// ```
    pub fn dead_letter(record: KafkaRecord, reason: impl fmt::Display) -> KafkaMessage {
        let KafkaRecord { topic, partition, offset, .. } = &record;
        let said = [
            ("topic", topic.to_string()),
            ("partition", partition.to_string()),
            ("offset", offset.to_string()),
            ("exception.message", reason.to_string()),
        ];
        let message = KafkaMessage { topic: None, ..KafkaMessage::from(record) };
        let headers = said.into_iter().map(|(what, value)| (format!("__connect.errors.{what}"), value));
        headers.fold(message, |message, (name, value)| message.with_header(name, value))
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> KafkaMessage {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<Arc<str>>, value: impl Into<Bytes>) -> KafkaMessage {
        self.headers.push(Header::new(name, value));
        self
    }

    /// Sets the time at which it was made.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: Timestamp) -> KafkaMessage {
        self.timestamp = Some(timestamp);
        self
    }

    /// Sets the topic.
    #[must_use]
    pub fn to_topic(mut self, topic: impl Into<Arc<str>>) -> KafkaMessage {
        self.topic = Some(topic.into());
        self
    }

    /// Sets the partition.
    #[must_use]
    pub fn to_partition(mut self, partition: i32) -> KafkaMessage {
        self.partition = Some(partition);
        self
    }
}

/// Keeps topic, key, value, headers and timestamp; the partition and the offset are those of the reader.
impl From<KafkaRecord> for KafkaMessage {
    fn from(record: KafkaRecord) -> KafkaMessage {
        KafkaMessage {
            topic: Some(record.topic),
            partition: None,
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp: record.timestamp,
        }
    }
}

fn write_name<S: Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name)
}

fn read_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Arc::from)
}

fn write_optional<S: Serializer>(name: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_deref().serialize(serializer)
}

fn read_optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Arc::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: Option<&'static [u8]>) -> KafkaRecord {
        KafkaRecord {
            topic: "orders".into(),
            partition: 3,
            offset: 17,
            timestamp: Some(Timestamp::from_millis(5)),
            timestamp_type: TimestampType::CreateTime,
            key: None,
            value: value.map(Bytes::from_static),
            headers: vec![Header::new("a", "1"), Header::null("b"), Header::new("a", "2")],
        }
    }

    #[test]
    fn decodes_what_it_holds() {
        assert_eq!(record(Some(b"[1,2]")).value_json::<Vec<u8>>().unwrap(), [1, 2]);
        assert_eq!(record(None).value_json::<Option<u8>>().unwrap(), None);
        assert_eq!(record(None).value_str().unwrap(), None);
        assert_eq!(record(None).header("a").map(|value| &value[..]), Some(&b"2"[..]));
        assert_eq!(record(None).header("b"), None);
    }

    #[test]
    fn says_which_record_is_malformed() {
        let error = record(Some(b"\xff")).value_str().unwrap_err().to_string();
        assert!(error.contains("topic `orders`, partition 3, offset 17"), "{error}");
        let error = record(Some(b"{")).value_json::<u8>().unwrap_err().to_string();
        assert!(error.contains("offset 17 is not the expected JSON"), "{error}");
    }

    #[test]
    fn a_dead_letter_keeps_the_bytes_and_says_where_they_were() {
        let letter = KafkaMessage::dead_letter(record(Some(b"\xff{")), "no JSON");
        assert_eq!(
            (letter.topic, letter.partition, letter.value.as_deref()),
            (None, None, Some(&b"\xff{"[..]))
        );
        let headers = letter.headers.iter().map(|header| (&*header.name, header.value.as_deref()));
        let expected: [(&str, Option<&[u8]>); 7] = [
            ("a", Some(b"1")),
            ("b", None),
            ("a", Some(b"2")),
            ("__connect.errors.topic", Some(b"orders")),
            ("__connect.errors.partition", Some(b"3")),
            ("__connect.errors.offset", Some(b"17")),
            ("__connect.errors.exception.message", Some(b"no JSON")),
        ];
        assert_eq!(headers.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn survives_a_snapshot() {
        let written = serde_json::to_string(&record(Some(b"x"))).unwrap();
        assert_eq!(serde_json::from_str::<KafkaRecord>(&written).unwrap(), record(Some(b"x")));
        let message = KafkaMessage::from(record(None)).to_partition(1);
        let written = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<KafkaMessage>(&written).unwrap(), message);
    }
}
