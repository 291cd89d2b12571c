//! Windows over keyed streams.

mod count;
mod tumbling;

pub use count::CountWindow;
pub use tumbling::{Tumbling, TumblingWindow};

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The result of one window of one key. A window holds `start` and not `end`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Windowed<K, V> {
    /// The key.
    pub key: K,
    /// The first time in the window.
    pub start: Timestamp,
    /// The first time after the window.
    pub end: Timestamp,
    /// The aggregate of the window's rows.
    pub value: V,
}
