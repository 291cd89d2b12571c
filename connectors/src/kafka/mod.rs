//! Apache Kafka, over librdkafka.
//!
//! # Parameters
//! [`KafkaParameters`] are librdkafka's own. Some are set here unless the user sets them: they favour latency
//! over few requests, and bound memory. Those of a source, [`CONSUMER_PRESETS`]:
//!
//! | parameter | preset | why |
//! |---|---|---|
//! | `fetch.min.bytes` | `1` | a broker answers as soon as it has one record |
//! | `fetch.wait.max.ms` | `10` | a partition that is resumed or found joins the next request, which waits for the one under way |
//! | `fetch.queue.backoff.ms` | `5` | 1000 by default: a pause each time the queue of the client was full |
//! | `fetch.error.backoff.ms` | `50` | 500 by default: how long a partition rests after its leader moved |
//! | `queued.min.messages` | `10000` | 100,000 by default: read ahead only what hides a round trip |
//! | `queued.max.messages.kbytes` | `16384` | 64 MiB by default: bounds the memory of the client |
//! | `reconnect.backoff.max.ms` | `1000` | 10,000 by default: a broker that is back is found within a second |
//! | `socket.nagle.disable` | `true` | a small request leaves at once |
//! | `socket.keepalive.enable` | `true` | a connection that died in silence is noticed |
//! | `check.crcs` | `true` | a payload that was corrupted under way is an error, not a row |
//! | `isolation.level` | `read_committed` | records of aborted or open transactions are not read |
//!
//! and those of a sink, [`PRODUCER_PRESETS`]:
//!
//! | parameter | preset | why |
//! |---|---|---|
//! | `linger.ms` | `0` | 5 by default: a record leaves at once; a busy sink still fills its batches |
//! | `acks` | `all` | a record counts as written when every replica in sync has it |
//! | `enable.idempotence` | `true` | a retry neither repeats nor reorders |
//! | `queue.buffering.max.messages` | `100000` | bounds the memory of the client |
//! | `queue.buffering.max.kbytes` | `65536` | 1 GiB by default: bounds the memory of the client |
//! | `message.timeout.ms` | `120000` | 300,000 by default: how long a broker may be away before the query fails |
//! | `reconnect.backoff.max.ms` | `1000` | 10,000 by default: a broker that is back is found within a second |
//! | `socket.nagle.disable` | `true` | a small request leaves at once |
//! | `socket.keepalive.enable` | `true` | a connection that died in silence is noticed |
//!
//! What the engine has to decide itself is refused, with the option to use instead.
//!
//! # Building
//! The feature `kafka` builds librdkafka with every codec, from a C compiler and make alone, and with the SASL mechanism
//! `PLAIN`. TLS and the other mechanisms take the feature `kafka-tls` and the headers of OpenSSL and Cyrus SASL: on
//! Debian the packages `libssl-dev`, `libsasl2-dev` and `pkg-config`.

mod complaints;
mod errors;
mod offsets;
mod record;
mod settings;
mod sink;
mod source;
mod topics;

// The client library, for what is not wrapped here: administration, mock clusters.
pub use rdkafka;

pub use offsets::{ByPartition, KafkaOffsets, NoNewer, PartitionOffset};
pub use record::{Header, KafkaMessage, KafkaRecord, TimestampType};
pub use settings::{CONSUMER_PRESETS, KafkaParameters, PRODUCER_PRESETS, Preset};
pub use sink::{Added, HeaderRef, KafkaSink, MessageRef, MessageWriter, Messages, ToMessages};
#[cfg(feature = "table")]
pub(crate) use source::{BoundedRead, MessageRecord, Range, RangeReader};
pub use source::{CorruptRecord, KafkaSource};
pub use topics::KafkaTopics;
