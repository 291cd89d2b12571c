//! Where data comes from and goes to in [Lotic](https://docs.rs/lotic): the source and sink contracts and
//! the built-in connectors. I/O, but no threads of its own and no engine types: write a connector of your
//! own against this crate alone.

pub mod callback;
pub mod console;
pub mod egress;
mod error;
pub mod file;
pub mod ingress;
pub mod limits;
pub mod memory;
pub mod offsets;
mod partitions;
pub mod rate;
pub mod sink;
pub mod socket;
pub mod source;
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
pub use sink::{Committer, Delivery, Prepare, Sink, SinkFactory, SinkTraits};
pub use socket::{SocketSource, TimedLine};
pub use source::{PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits};
