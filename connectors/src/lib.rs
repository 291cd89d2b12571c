//! Where data comes from and goes to in [Lotic](https://docs.rs/lotic): the source and sink contracts and
//! the built-in connectors. I/O, but no threads of its own and no engine types: write a connector of your
//! own against this crate alone, and hold it to the contract with `testing` (feature `testing`).
//!
//! | module | what it holds |
//! |---|---|
//! | [`source`], [`sink`], [`offsets`] | the contracts |
//! | [`ingress`], [`egress`], [`callback`] | the service's own threads, tasks and functions |
//! | [`memory`], [`rate`], [`console`] | tests, measurements, demonstrations |
//! | [`mod@file`], [`socket`] | the outside world |
//!
//! # Sources
//! | source | replayable | after a crash of the process | instances |
//! |---|---|---|---|
//! | [`IngressSource`] | no | what was queued or not yet checkpointed is lost | 1 |
//! | [`MemorySource`] | while the process lives | its rows are gone | one per partition |
//! | [`RateSource`] | yes | the same values again, at new times | one per partition |
//! | `KafkaSource` (feature `kafka`) | yes | goes on at the offsets of the checkpoint | one per partition |
//! | [`SocketSource`] | no | what was received and not yet checkpointed is lost | 1 |
//!
//! # Sinks
//! | sink | delivery | visible | instances |
//! |---|---|---|---|
//! | [`EgressSink`] | at least once | at once | any number |
//! | [`ForEach`], [`ForEachBatch`] | at least once | at once | any number |
//! | [`Console`] | at least once | at once | 1 |
//! | [`MemorySink`] | exactly once while the process lives | at commit | any number |
//! | [`FileSink`] | exactly once | at commit | any number |
//!
//! # Tables
//! With the feature `table`, the same for Arrow record batches, by the names of formats: see `table`, and
//! `docs/options.md` for every option.
//!
//! | format | read as a stream | read bounded | written | delivery of the sink |
//! |---|---|---|---|---|
//! | `csv`, `json`, `text`, `parquet`, `orc` | yes | yes | yes | exactly once |
//! | `kafka` (feature `kafka`) | yes | yes | yes | at least once, or exactly once |
//! | `socket` | yes, not replayable | no | no | |
//! | `rate` | yes | no | no | |
//! | `memory` | yes, while the process lives | yes | yes | exactly once while the process lives |
//! | `kafka` | yes | yes | yes | at least once, or exactly once |
//! | `console` | no | no | yes | at least once |
//! | `blackhole`, `noop` | no | no | yes | at least once |
//! | `foreach`, `foreach_batch` (functions) | no | no | yes | at least once; same number, same rows |
//!
//! A query is exactly-once over a crash if its source is replayable and its sink exactly-once. A source that
//! is not replayable loses what was in flight, whatever the sink promises.
//!
//! ```
//! use lotic_connectors::{MemorySource, Offsets, PollRequest, Polled, SourceFactory};
//! use lotic_operators::Instance;
//!
//! let mut source = MemorySource::new(["a", "b", "c"]).create(Instance::ONLY).unwrap();
//! source.start(&Offsets::single("0", 1)).unwrap(); // as after a restart
//! let request = PollRequest { max_rows: 10, until: None, waker: std::task::Waker::noop() };
//! let Polled::Batch(rows) = source.poll(request).unwrap() else { unreachable!() };
//! assert_eq!(rows.collect::<Vec<_>>(), ["b", "c"]);
//! ```

pub mod callback;
pub mod console;
pub mod egress;
mod error;
pub mod file;
mod folder_lock;
pub mod ingress;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod limits;
pub mod memory;
pub mod offsets;
mod partitions;
pub mod rate;
pub mod sink;
pub mod socket;
pub mod source;
#[cfg(feature = "table")]
pub mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod waiters;

pub use callback::{ForEach, ForEachBatch};
pub use console::Console;
pub use egress::{Egress, EgressSink};
pub use error::{ConnectorError, ErrorKind, Result};
pub use file::FileSink;
pub use ingress::{Ingress, IngressSource};
pub use memory::{MemorySink, MemorySource, MemoryStream};
pub use offsets::Offsets;
pub use rate::{RateRow, RateSource};
pub use sink::{Committer, Delivery, ModeWatch, Prepare, PreparedEpoch, Sink, SinkFactory, SinkTraits};
pub use socket::{SocketSource, TimedLine};
pub use source::{
    Figures, Latest, PollRequest, Polled, Polling, Source, SourceFactory, SourcePartition, SourceTraits,
};
