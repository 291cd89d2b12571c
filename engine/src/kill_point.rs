//! Points at which a test can have the process die, to show that nothing is lost or written twice.
//!
//! Without the cargo feature `testing` every function here is empty and costs nothing. With it, a process
//! whose environment says `LOTIC_KILL_POINT=name:n` aborts, without unwinding and without flushing
//! anything, when the named point is reached for the n-th time. `engine/tests/crash.rs` drives this.

#[cfg(feature = "testing")]
mod armed {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The environment variable that names a point and a count: `before-commit:7`.
    pub const KILL_POINT: &str = "LOTIC_KILL_POINT";

    /// The environment variable that makes segments of the checkpoint log small: bytes.
    pub const SEGMENT_BYTES: &str = "LOTIC_SEGMENT_BYTES";

    /// Every point, in the order of an epoch's life, then recovery, then compaction.
    pub const POINTS: [&str; 20] = [
        "before-plan",
        "after-plan",
        "before-marker",
        "after-marker",
        "before-snapshot",
        "after-snapshot",
        "before-append",
        "mid-append",
        "mid-put",
        "before-commit",
        "mid-commit",
        "after-commit",
        "recovery-before-commits",
        "recovery-mid-commits",
        "recovery-before-abort",
        "recovery-before-log",
        "recovery-after-log",
        "compaction-before-base",
        "compaction-after-base",
        "compaction-mid-removal",
    ];

    struct Armed {
        point: String,
        nth: u64,
        reached: AtomicU64,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let read = || {
            let text = std::env::var(KILL_POINT).ok()?;
            let parsed = text.split_once(':').and_then(|(point, nth)| Some((point, nth.parse().ok()?)));
            match parsed {
                Some((point, nth)) if nth > 0 && POINTS.contains(&point) => {
                    Some(Armed { point: point.to_owned(), nth, reached: AtomicU64::new(0) })
                }
                _ => panic!("{KILL_POINT}={text}: write `name:n` with a known name and n from 1"),
            }
        };
        ARMED.get_or_init(read).as_ref()
    }

    /// Whether this is the time to die; how often the point was meant to be reached.
    fn due(point: &str) -> Option<u64> {
        debug_assert!(POINTS.contains(&point), "`{point}` is not in the list of kill points");
        let armed = armed().filter(|armed| armed.point == point)?;
        let reached = armed.reached.fetch_add(1, Ordering::SeqCst) + 1;
        (reached == armed.nth).then_some(reached)
    }

    /// Dies here, if that is what the environment says.
    pub fn reach(point: &str) {
        if due(point).is_some() {
            std::process::abort();
        }
    }

    /// Dies here after a part of the bytes was written, if that is what the environment says.
    pub fn reach_torn(point: &str, bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) {
        if let Some(nth) = due(point) {
            // Between one and seven eighths, so that different counts tear at different places.
            let torn = bytes.len() * (1 + nth as usize % 7) / 8;
            let _ = write(&bytes[..torn]);
            std::process::abort();
        }
    }

    /// The size at which segments are sealed: the default, unless the environment says otherwise.
    pub fn segment_bytes(default: u64) -> u64 {
        std::env::var(SEGMENT_BYTES).ok().and_then(|bytes| bytes.parse().ok()).unwrap_or(default)
    }
}

#[cfg(feature = "testing")]
pub use armed::{KILL_POINT, POINTS, SEGMENT_BYTES, reach, reach_torn, segment_bytes};

#[cfg(not(feature = "testing"))]
mod unarmed {
    use std::io;

    #[inline(always)]
    pub(crate) fn reach(_point: &str) {}

    #[inline(always)]
    pub(crate) fn reach_torn(_point: &str, _bytes: &[u8], _write: impl FnOnce(&[u8]) -> io::Result<()>) {}

    #[inline(always)]
    pub(crate) fn segment_bytes(default: u64) -> u64 {
        default
    }
}

#[cfg(not(feature = "testing"))]
pub(crate) use unarmed::{reach, reach_torn, segment_bytes};
