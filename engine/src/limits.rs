//! Every limit of the engine, in one place.

use std::time::Duration;

/// How many times the rows handled at once a channel holds before its producer waits.
pub const CHANNEL_BATCHES: usize = 8;
/// Items that a channel holds before its producer waits.
pub const CHANNEL_ITEMS: usize = 1024;
/// Items that an actor handles before it yields to its mailbox and its neighbours.
pub const ITEMS_PER_TURN: usize = 64;
/// Epochs that may be open at a time.
pub const EPOCHS_IN_FLIGHT: usize = 4;
/// Control messages that an actor's mailbox holds.
pub const MAILBOX_MESSAGES: usize = 4096;
/// Consecutive epochs that may fail before the query does.
pub const FAILED_EPOCHS_TOLERATED: u32 = 3;
/// How long an epoch may take before it is given up.
pub const EPOCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Progress reports kept.
pub const RECENT_PROGRESS: usize = 100;
/// Bytes of one piece of a frame of the checkpoint log; a larger length on disk is damage.
pub const PIECE_BYTES: usize = 1 << 28;
/// Size of a log segment, at least, before it is sealed and compacted.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Longest wait between two looks at idle sources in micro-batch mode without an interval.
pub const IDLE_BACKOFF: Duration = Duration::from_millis(10);
/// Levels of nested types in a schema given as text.
#[cfg(feature = "sql")]
pub const TYPE_DEPTH: usize = 32;
/// After how long a partition that is caught up and quiet is idle, unless a setting says otherwise. Long beside a
/// pause of a producer, a rebalance or a deployment, since rows that come later may be late; short beside what a
/// watermark that stalls for ever does to results and state.
pub const IDLE_AFTER: Duration = Duration::from_secs(60);
/// The shortest such time that can be set.
pub const IDLE_AFTER_MIN: Duration = Duration::from_millis(10);
/// Worker threads of a session.
pub const WORKERS: usize = 64;

const _: () = assert!(CHANNEL_BATCHES >= 1, "one poll must fit an empty channel");
const _: () = assert!(ITEMS_PER_TURN <= CHANNEL_ITEMS, "a turn drains no more than a channel holds");
const _: () = assert!(EPOCHS_IN_FLIGHT >= 1, "an engine without epochs cannot commit");
/// Shortest time between two progress reports.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Shortest time between two ticks of a coordinator.
pub const TICK: Duration = Duration::from_millis(1);
/// Rows that an ingress handle holds before a push waits.
pub const INGRESS_ROWS: usize = 64 * 1024;
/// Rows that an egress handle holds before the query waits.
pub const EGRESS_ROWS: usize = 64 * 1024;
