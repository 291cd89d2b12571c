//! What happens to data in [Lotic](https://docs.rs/lotic): the operator contract, keyed state and the
//! operators themselves.
//!
//! This crate is pure. No thread, no I/O, no clock: time arrives as data, results leave through an
//! [`Output`] that may refuse, and every operator can be run in a plain unit test or through the
//! `testing::OperatorHarness` (feature `testing`). Write an operator of your own against this crate alone.
//!
//! | module | what it holds |
//! |---|---|
//! | [`batch`], [`item`], [`epoch`], [`time`], [`partition`] | what flows through a channel |
//! | [`operator`], [`two_input`], [`output`] | the contract |
//! | [`key`], [`state`], [`snapshot`] | keyed state and its snapshots |
//! | [`map`], [`watermark`], [`aggregate`], [`process`], [`window`], [`join`], [`interval_join`], [`lookup`] | the operators |
//!
//! ```
//! use lotic_operators::{Operator, Output, Rows, aggregate::{Count, RunningAggregate}};
//!
//! let mut count = RunningAggregate::new(|word: &&'static str| word.to_string(), Count);
//! let mut output = Output::default();
//! count.process(&mut Rows::from(vec!["a", "b", "a"]), &mut output).unwrap();
//! let lotic_operators::Emitted::Batch(rows) = output.take().unwrap() else { unreachable!() };
//! assert_eq!(rows.collect::<Vec<_>>(), [("a".into(), 1), ("b".into(), 1), ("a".into(), 2)]);
//! ```

pub mod aggregate;
pub mod batch;
pub mod epoch;
mod error;
pub mod interval_join;
pub mod item;
pub mod join;
pub mod key;
pub mod limits;
pub mod lookup;
pub mod map;
pub mod operator;
pub mod output;
pub mod partition;
pub mod process;
pub mod snapshot;
pub mod state;
#[cfg(feature = "arrow")]
pub mod table;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod two_input;
pub mod watermark;
pub mod window;

pub use batch::{Batch, Rows};
pub use epoch::{After, Epoch, Marker};
pub use error::{OperatorError, Result};
pub use item::Item;
pub use key::{Instance, Key, Value};
pub use operator::{Operator, Progress};
pub use output::{Emitted, Output};
pub use partition::{PartitionId, PartitionStatus};
pub use snapshot::{Restore, Snapshot, StateImage, TableSnapshot};
pub use time::Timestamp;
pub use two_input::{Side, TwoInput, TwoInputOperator};
