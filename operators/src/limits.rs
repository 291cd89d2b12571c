//! Every size limit of this crate, in one place.

/// Key groups of a query: the unit in which keyed state is redistributed when the parallelism changes,
/// and therefore the largest parallelism a checkpoint can ever be restored with.
pub const KEY_GROUPS: u16 = 128;

/// Entries in one page of keyed state. A marker shares whole pages with the background writer, so the
/// first change to a page after a marker copies this many entries at most.
pub const PAGE_ENTRIES: usize = 64;

/// Pages of keyed state that are taken back from the background writer with one that is written: over 10,000 keys, at 10
/// markers and 10,000 records a second, one record in two hundred takes back pages and the others do not wait.
pub const PAGES_RECLAIMED_AT_ONCE: usize = 31;

/// Rows whose look-ups in keyed state are under way at once: more than a processor overlaps, and few enough that
/// what they found is still in its first cache when they are applied.
pub const PROBES_AT_ONCE: usize = 128;

/// Cells of one aggregate that lie side by side. So many are made at once when groups are added.
#[cfg(feature = "table")]
pub(crate) const CELLS_PER_PAGE: usize = 1024;

/// Groups whose key is one number that are found by the number itself: in as much memory as a processor has near it.
#[cfg(feature = "table")]
pub(crate) const NUMBERED_GROUPS: usize = 64 * 1024;

/// Pages of keyed state whose groups may be behind their aggregates: more are brought up to date before the next
/// marker asks for all of them, so that a marker does not take long for it.
#[cfg(feature = "table")]
pub(crate) const PAGES_BEHIND: usize = 1024;

/// Parts of the hash index of a state table. One part grows at a time, which bounds the pause of growing.
pub const INDEX_SHARDS: usize = 64;

/// Rows handled at once, unless the kind of batch says otherwise. An operator's output may exceed it by what
/// one row produces.
pub const ROWS_AT_ONCE: usize = 1024;
/// Rows of a table handled at once: what columnar evaluation is fast at, and within the budget of a call.
pub const TABLE_ROWS_AT_ONCE: usize = 8 * 1024;

/// Results an operator emits from one watermark or timer call before it yields, so that markers and
/// records are not held up by thousands of windows closing together.
pub const FIRINGS_PER_CALL: usize = 1024;

/// Panes that sliding windows merge in one such call, besides: a window may be made of thousands of them, so
/// that a number of windows alone would say little about the time that they take. One window is never split.
pub const PANES_PER_CALL: usize = 8 * 1024;

/// Sliding windows that may hold one row: what a row costs where windows cannot share panes, and half the
/// panes that a window merges where they do.
pub const WINDOWS_OF_A_ROW: u64 = 10_000;

/// Panes that windows of tables merge in one such call: what [`FIRINGS_PER_CALL`] is for windows of few panes.
pub const PANES_MERGED_PER_CALL: usize = 8 * FIRINGS_PER_CALL;

/// Timers, due at once, that each timer may set while timers come up (and its square for all of them at
/// least). More is an endless loop: a timer that sets itself again for a time that has passed, or that goes
/// on setting itself when the input has ended.
pub const DUE_TIMERS_SET_BY_TIMERS: u64 = 300;

const _: () = assert!(PAGE_ENTRIES.is_power_of_two(), "page arithmetic uses shifts");
const _: () = assert!(KEY_GROUPS.is_power_of_two(), "group arithmetic uses a mask");
const _: () = assert!(INDEX_SHARDS.is_power_of_two(), "a shard is chosen by a mask");
const _: () = assert!(
    INDEX_SHARDS.trailing_zeros() + u32::BITS <= u64::BITS - KEY_GROUPS.trailing_zeros(),
    "the index uses no bit of a hash that chooses the key group"
);
const _: () = assert!(ROWS_AT_ONCE >= 1, "an output that takes nothing can never make progress");
