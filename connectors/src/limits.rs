//! Every size limit of this crate, in one place.

use std::time::Duration;

/// Instances a sink without a limit of its own may be split into: the largest parallelism of a query.
pub const PARALLELISM: usize = lotic_operators::limits::KEY_GROUPS as usize;
/// Rows [`crate::Ingress::push_all`] puts in before it tells the source: bounds how long a row of a long
/// iterator waits for its neighbours.
pub const PUSH_ROWS: usize = 64;
/// Rows an unpaced rate source without a limit plans for one micro-batch at most.
pub const UNPACED_BATCH_ROWS: u64 = 1 << 20;
/// Bytes a file sink collects before it hands them to the operating system.
pub const FILE_BUFFER_BYTES: usize = 64 * 1024;
/// In-progress files of one epoch and instance that failed attempts may leave behind.
pub const FILE_ATTEMPTS: u32 = 1000;
/// Folders within folders that a listing descends into: deeper is taken for a loop of links.
pub const FOLDER_DEPTH: usize = 64;
/// Entries of a folder that a source of files looks at in one poll.
pub const FOLDER_ENTRIES_PER_POLL: usize = 256;
/// Files that a source of files opens or closes in one poll.
pub const FILES_PER_POLL: usize = 16;
/// Bytes from which a source of files reads a file on a thread of its own, ahead of the query.
#[cfg(feature = "table")]
pub const READ_AHEAD_BYTES: u64 = 1 << 20;
/// Batches that such a thread reads ahead.
#[cfg(feature = "table")]
pub const READ_AHEAD_BATCHES: usize = 4;
/// Rows of a batch of a bounded read.
pub const TABLE_BATCH_ROWS: usize = 8_192;
/// Bytes of keys and values after which a batch of a bounded read of Kafka ends, however few rows it has.
#[cfg(all(feature = "kafka", feature = "table"))]
pub const KAFKA_BATCH_BYTES: usize = 8 << 20;
/// Partitions that a bounded read of Kafka may be told to make.
#[cfg(all(feature = "kafka", feature = "table"))]
pub const KAFKA_RANGES: usize = 10_000;
/// Files from which the schema of a folder is inferred, the first by path.
pub const INFERRED_FILES: usize = 16;
/// Files that one instance of a file sink holds open.
pub const SINK_OPEN_FILES: usize = 64;
/// Bytes of a folder's or file's name: what common file systems take.
pub const FILE_NAME_BYTES: usize = 255;
/// Levels of nested types in an ORC file.
pub const ORC_TYPE_DEPTH: usize = 64;
/// Bytes of the footer of an ORC file after decompression.
pub const ORC_FOOTER_BYTES: u64 = 256 << 20;
/// Bytes a socket source asks the operating system for in one read.
pub const SOCKET_READ_BYTES: usize = 64 * 1024;
/// Bytes of complete lines a socket source reads ahead of the query to plan a micro-batch.
pub const SOCKET_AHEAD_BYTES: usize = 4 << 20;
/// Bytes of the longest line a socket source accepts unless it is told otherwise.
pub const SOCKET_LINE_BYTES: usize = 1 << 20;
/// How long a poll of a socket source waits for data.
pub const SOCKET_POLL_WAIT: Duration = Duration::from_millis(50);
/// Rows a Kafka source holds ahead of the query for one partition: more are left with the brokers.
#[cfg(feature = "kafka")]
pub const KAFKA_AHEAD_ROWS: u64 = 65_536;
/// Bytes an instance of a Kafka source holds ahead of the query, shared evenly by its partitions.
#[cfg(feature = "kafka")]
pub const KAFKA_AHEAD_BYTES: u64 = 64 << 20;
/// Bytes a Kafka source holds ahead for one partition, however many there are: one record may go beyond.
#[cfg(feature = "kafka")]
pub const KAFKA_AHEAD_PARTITION_BYTES: u64 = 1 << 20;
/// Rows that are handed from the reader of a Kafka source to the query at once.
#[cfg(feature = "kafka")]
pub const KAFKA_CHUNK_ROWS: usize = 1024;
/// Bytes of payload that records of a Kafka source share, after which a new buffer is begun.
#[cfg(feature = "kafka")]
pub const KAFKA_CHUNK_BYTES: usize = 256 * 1024;
/// Chunks under way from the reader of a Kafka source to the query.
#[cfg(feature = "kafka")]
pub const KAFKA_CHUNKS: usize = 256;
/// Names of headers that a Kafka source keeps, so that records share them.
#[cfg(feature = "kafka")]
pub const KAFKA_HEADER_NAMES: usize = 1024;
/// Bytes of the longest record of a text file (a line, or a CSV record of several lines). A longer one is a
/// malformed record.
pub const TEXT_RECORD_BYTES: usize = 16 << 20;
/// Bytes of a record over the limit, or of one in an error message, that are shown.
pub const TEXT_SHOWN_BYTES: usize = 1024;
/// Bytes of a text file after which a batch ends, however few rows it has. One record may go beyond.
pub const TEXT_BATCH_BYTES: usize = 8 << 20;
/// Bytes a text file is read by.
pub const TEXT_READ_BYTES: usize = 256 * 1024;
/// Bytes of the largest file that is read as a whole: JSON with `multiLine`, text with `wholetext`.
pub const TEXT_DOCUMENT_BYTES: usize = 256 << 20;
/// How deep the objects and lists of a JSON record may be nested. A deeper one is a malformed record.
pub const JSON_DEPTH: usize = 128;
/// Records of a file that are read to find its schema.
pub const INFER_RECORDS: usize = 100_000;
/// Rows that are decoded at once from a columnar file (Parquet, ORC).
#[cfg(any(feature = "orc", feature = "parquet"))]
pub const COLUMNAR_READ_ROWS: usize = 8192;
/// Rows that are encoded at once into a columnar file, before its writer looks at the memory it holds.
#[cfg(any(feature = "orc", feature = "parquet"))]
pub const COLUMNAR_WRITE_ROWS: usize = 1024;
/// Bytes of rows that the writer of a columnar file may be told to hold.
#[cfg(any(feature = "orc", feature = "parquet"))]
pub const COLUMNAR_GROUP_BYTES: usize = 1 << 30;
/// Bytes after which a Parquet writer ends a row group unless it is told otherwise.
#[cfg(feature = "parquet")]
pub const PARQUET_ROW_GROUP_BYTES: usize = 128 << 20;
/// Bytes of rows after which an ORC writer ends a stripe unless it is told otherwise.
#[cfg(feature = "orc")]
pub const ORC_STRIPE_BYTES: usize = 64 << 20;

const _: () = assert!(TEXT_SHOWN_BYTES < TEXT_RECORD_BYTES && TEXT_RECORD_BYTES < TEXT_DOCUMENT_BYTES);
// Arrow counts the bytes of a column of strings in 31 bits.
const _: () = assert!(2 * (TEXT_BATCH_BYTES + 2 * TEXT_RECORD_BYTES) < i32::MAX as usize);
const _: () = assert!(TEXT_DOCUMENT_BYTES < i32::MAX as usize);
const _: () = assert!(PUSH_ROWS >= 1, "a push that takes nothing can never make progress");
const _: () = assert!(SOCKET_READ_BYTES <= SOCKET_AHEAD_BYTES, "one read must fit the read-ahead");
