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
/// Rows of a batch of a bounded read.
pub const TABLE_BATCH_ROWS: usize = 8_192;
/// Files from which the schema of a folder is inferred, the first by path.
pub const INFERRED_FILES: usize = 16;
/// Files that one instance of a file sink holds open.
pub const SINK_OPEN_FILES: usize = 64;
/// Bytes of a folder's or file's name: what common file systems take.
pub const FILE_NAME_BYTES: usize = 255;
/// Bytes a socket source asks the operating system for in one read.
pub const SOCKET_READ_BYTES: usize = 64 * 1024;
/// Bytes of complete lines a socket source reads ahead of the query to plan a micro-batch.
pub const SOCKET_AHEAD_BYTES: usize = 4 << 20;
/// Bytes of the longest line a socket source accepts unless it is told otherwise.
pub const SOCKET_LINE_BYTES: usize = 1 << 20;
/// How long a poll of a socket source waits for data.
pub const SOCKET_POLL_WAIT: Duration = Duration::from_millis(50);

const _: () = assert!(PUSH_ROWS >= 1, "a push that takes nothing can never make progress");
const _: () = assert!(SOCKET_READ_BYTES <= SOCKET_AHEAD_BYTES, "one read must fit the read-ahead");
