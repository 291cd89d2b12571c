//! The messages of one epoch of one instance, as bytes: what a checkpoint keeps until the epoch is committed.
//!
//! # Layout, version 1
//! One byte of version, four of the number of messages (little endian), then the messages. Of each: a byte
//! that says which of its parts are there, the number of its topic, then the parts. Numbers are LEB128;
//! bytes and text follow their length. A topic is spelled out where its number is first used: numbers are
//! given in that order. The log that keeps the bytes has checksums of its own, so there is none here; bytes
//! that are not an outbox, or only a part of one, are refused in full before anything is sent.

use super::settings::batch_bytes;
use super::writer::{HeaderRef, MessageRef};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

const HAS_PARTITION: u8 = 1;
const HAS_KEY: u8 = 1 << 1;
const HAS_VALUE: u8 = 1 << 2;
const HAS_HEADERS: u8 = 1 << 3;
const HAS_TIMESTAMP: u8 = 1 << 4;
const ALL_PARTS: u8 = (1 << 5) - 1;

/// Collects messages.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    messages: u32,
    topics: Vec<Topic>,
}

/// A topic that an epoch writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) name: String,
    /// The largest partition that a message names.
    pub(super) partition_max: Option<i32>,
    /// The largest [batch of one message](batch_bytes).
    pub(super) bytes_max: usize,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Appends a message to a topic. `false`, and nothing is appended, if there would then be more bytes
    /// than this, or the messages can no longer be counted.
    pub(super) fn push(&mut self, topic: &str, message: &MessageRef<'_>, bytes_max: usize) -> bool {
        let start = self.bytes.len();
        if self.messages == u32::MAX {
            return false;
        }
        if start == 0 {
            self.bytes.resize(HEADER_BYTES, 0);
        }
        let known = self.topics.iter().position(|known| known.name == topic);
        self.encode(known, topic, message);
        if self.bytes.len() > bytes_max {
            self.bytes.truncate(start);
            return false;
        }
        let known = known.unwrap_or_else(|| {
            self.topics.push(Topic { name: topic.to_owned(), partition_max: None, bytes_max: 0 });
            self.topics.len() - 1
        });
        let topic = &mut self.topics[known];
        topic.partition_max = message.partition.max(topic.partition_max);
        topic.bytes_max = topic.bytes_max.max(batch_bytes(message));
        self.messages += 1;
        true
    }

    fn encode(&mut self, known: Option<usize>, topic: &str, message: &MessageRef<'_>) {
        let bytes = &mut self.bytes;
        let part = |flag, there| if there { flag } else { 0 };
        bytes.push(
            part(HAS_PARTITION, message.partition.is_some())
                | part(HAS_KEY, message.key.is_some())
                | part(HAS_VALUE, message.value.is_some())
                | part(HAS_HEADERS, !message.headers.is_empty())
                | part(HAS_TIMESTAMP, message.timestamp_ms.is_some()),
        );
        put_number(bytes, known.unwrap_or(self.topics.len()) as u64);
        if known.is_none() {
            put_bytes(bytes, topic.as_bytes());
        }
        if let Some(partition) = message.partition {
            put_number(bytes, u64::from(partition.cast_unsigned()));
        }
        if let Some(timestamp_ms) = message.timestamp_ms {
            put_number(bytes, timestamp_ms.cast_unsigned());
        }
        for part in [message.key, message.value].into_iter().flatten() {
            put_bytes(bytes, part);
        }
        if !message.headers.is_empty() {
            put_number(bytes, message.headers.len() as u64);
        }
        for (name, value) in message.headers {
            put_bytes(bytes, name.as_bytes());
            // 0 is null, so that lengths are one more than they are.
            put_number(bytes, value.map_or(0, |value| value.len() as u64 + 1));
            bytes.extend_from_slice(value.unwrap_or_default());
        }
    }

    /// The topics written to, in the order of their first message.
    pub(super) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    /// The bytes to keep.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        if self.bytes.is_empty() {
            self.bytes.resize(HEADER_BYTES, 0);
        }
        self.bytes[0] = VERSION;
        self.bytes[1..HEADER_BYTES].copy_from_slice(&self.messages.to_le_bytes());
        self.bytes
    }
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put_bytes(bytes: &mut Vec<u8>, part: &[u8]) {
    put_number(bytes, part.len() as u64);
    bytes.extend_from_slice(part);
}

/// A message read from an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: Option<i32>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) headers: Headers<'a>,
}

/// The headers of a message, which were read once already and so are known to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = HeaderRef<'a>> {
        let mut reader = Reader { bytes: self.bytes };
        (0..self.count).map_while(move |_| reader.header().ok())
    }
}

/// Reads the messages of an outbox, in order. After an error there are no more.
#[derive(Debug, Clone)]
pub(super) struct Reading<'a> {
    reader: Reader<'a>,
    left: u32,
    topics: Vec<&'a str>,
}

/// Looks at every message of an outbox; the number of messages if all are whole.
pub(super) fn check(bytes: &[u8]) -> Result<u32, String> {
    let reading = read(bytes)?;
    let messages = reading.left;
    for message in reading {
        message?;
    }
    Ok(messages)
}

/// Begins to read.
pub(super) fn read(bytes: &[u8]) -> Result<Reading<'_>, String> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err("it is cut off".to_owned());
    };
    let [version, count @ ..] = *header;
    if version != VERSION {
        return Err(format!("its version {version} is unknown"));
    }
    let left = u32::from_le_bytes(count);
    Ok(Reading { reader: Reader { bytes: rest }, left, topics: Vec::new() })
}

impl<'a> Reading<'a> {
    fn message(&mut self) -> Result<Sent<'a>, String> {
        let reader = &mut self.reader;
        let parts = reader.byte()?;
        if parts & !ALL_PARTS != 0 {
            return Err(format!("a message has unknown parts ({parts:#x})"));
        }
        let has = |flag| parts & flag != 0;
        let topic = reader.length()?;
        if topic == self.topics.len() {
            self.topics.push(reader.text()?);
        }
        let topic = *self.topics.get(topic).ok_or("a message has no topic")?;
        let partition = if has(HAS_PARTITION) { Some(reader.partition()?) } else { None };
        let timestamp_ms = if has(HAS_TIMESTAMP) { Some(reader.number()?.cast_signed()) } else { None };
        let key = if has(HAS_KEY) { Some(reader.sized()?) } else { None };
        let value = if has(HAS_VALUE) { Some(reader.sized()?) } else { None };
        let count = if has(HAS_HEADERS) { reader.length()? } else { 0 };
        let start = reader.bytes;
        for _ in 0..count {
            reader.header()?;
        }
        let headers = Headers { count, bytes: &start[..start.len() - reader.bytes.len()] };
        Ok(Sent { topic, partition, key, value, timestamp_ms, headers })
    }
}

impl<'a> Iterator for Reading<'a> {
    type Item = Result<Sent<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.reader.bytes.is_empty() {
                return None;
            }
            self.reader.bytes = &[];
            return Some(Err("there are bytes after its last message".to_owned()));
        }
        self.left -= 1;
        let message = self.message();
        if message.is_err() {
            self.left = 0;
            self.reader.bytes = &[];
        }
        Some(message)
    }
}

#[derive(Debug, Clone)]
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, String> {
        let (first, rest) = self.bytes.split_first().ok_or("it is cut off")?;
        self.bytes = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number is too large".to_owned())
    }

    fn length(&mut self) -> Result<usize, String> {
        usize::try_from(self.number()?).map_err(|_| "a length is too large".to_owned())
    }

    fn partition(&mut self) -> Result<i32, String> {
        let number = u32::try_from(self.number()?).map_err(|_| "a partition is too large")?;
        Ok(number.cast_signed())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (part, rest) = self.bytes.split_at_checked(length).ok_or("it is cut off")?;
        self.bytes = rest;
        Ok(part)
    }

    fn sized(&mut self) -> Result<&'a [u8], String> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, String> {
        str::from_utf8(self.sized()?).map_err(|_| "a name is not UTF-8".to_owned())
    }

    fn header(&mut self) -> Result<HeaderRef<'a>, String> {
        let name = self.text()?;
        let value = match self.length()?.checked_sub(1) {
            None => None,
            Some(length) => Some(self.take(length)?),
        };
        Ok((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    struct Owned {
        topic: String,
        partition: Option<i32>,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        timestamp_ms: Option<i64>,
        headers: Vec<(String, Option<Vec<u8>>)>,
    }

    fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200))
    }

    fn message() -> impl Strategy<Value = Owned> {
        let headers = proptest::collection::vec(("[a-zü]{0,6}", bytes()), 0..3);
        let numbers = (any::<Option<i32>>(), any::<Option<i64>>());
        ("[a-d]", numbers, bytes(), bytes(), headers).prop_map(
            |(topic, (partition, timestamp_ms), key, value, headers)| Owned {
                topic,
                partition,
                key,
                value,
                timestamp_ms,
                headers,
            },
        )
    }

    fn encode(messages: &[Owned]) -> Outbox {
        let mut outbox = Outbox::default();
        for message in messages {
            let headers: Vec<HeaderRef<'_>> =
                message.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let message_ref = MessageRef {
                topic: None,
                partition: message.partition,
                key: message.key.as_deref(),
                value: message.value.as_deref(),
                headers: &headers,
                timestamp_ms: message.timestamp_ms,
            };
            assert!(outbox.push(&message.topic, &message_ref, usize::MAX));
        }
        outbox
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(messages in proptest::collection::vec(message(), 0..20)) {
            let bytes = encode(&messages).into_bytes();
            prop_assert_eq!(check(&bytes), Ok(messages.len() as u32));
            for (message, sent) in messages.iter().zip(read(&bytes).unwrap()) {
                let sent = sent.unwrap();
                prop_assert_eq!(sent.topic, &message.topic);
                prop_assert_eq!(sent.partition, message.partition);
                prop_assert_eq!(sent.key, message.key.as_deref());
                prop_assert_eq!(sent.value, message.value.as_deref());
                prop_assert_eq!(sent.timestamp_ms, message.timestamp_ms);
                prop_assert_eq!(sent.headers.len(), message.headers.len());
                for (written, read) in message.headers.iter().zip(sent.headers.iter()) {
                    prop_assert_eq!((written.0.as_str(), written.1.as_deref()), read);
                }
            }
        }

        #[test]
        fn a_part_of_an_outbox_is_refused(messages in proptest::collection::vec(message(), 1..6)) {
            let bytes = encode(&messages).into_bytes();
            for length in 0..bytes.len() {
                prop_assert!(check(&bytes[..length]).is_err(), "{} of {} bytes", length, bytes.len());
            }
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert!(check(&longer).is_err());
        }

        #[test]
        fn flipped_bits_lead_to_an_error_or_other_messages(
            messages in proptest::collection::vec(message(), 1..6),
            position in any::<proptest::sample::Index>(),
            bit in 0..8u32,
        ) {
            let mut bytes = encode(&messages).into_bytes();
            let position = position.index(bytes.len());
            bytes[position] ^= 1u8 << bit;
            if check(&bytes).is_ok() {
                read(&bytes).unwrap().for_each(|sent| { sent.unwrap().headers.iter().for_each(drop); });
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(version) = bytes.first_mut() {
                *version = VERSION;
            }
            let _ = check(&bytes);
        }
    }

    #[test]
    fn a_message_over_the_limit_leaves_the_outbox_as_it_was() {
        let mut outbox = Outbox::default();
        let small = MessageRef { value: Some(b"x"), ..MessageRef::default() };
        let large = MessageRef { value: Some(&[0; 100]), partition: Some(7), ..MessageRef::default() };
        assert!(!outbox.push("a", &large, 50) && outbox.is_empty());
        assert!(outbox.push("a", &small, 50));
        assert!(!outbox.push("b", &large, 50));
        assert!(outbox.push("a", &small, 50));
        // The header of a batch, and of the message: length, attributes, two distances, null, length, no headers.
        let bytes_max = 61 + 7 + 1;
        assert_eq!(outbox.topics(), [Topic { name: "a".to_owned(), partition_max: None, bytes_max }]);
        assert_eq!(check(&outbox.into_bytes()), Ok(2));
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = Outbox::default().into_bytes();
        bytes[0] = 9;
        assert_eq!(check(&bytes), Err("its version 9 is unknown".to_owned()));
    }
}
