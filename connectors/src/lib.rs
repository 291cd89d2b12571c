//! Where data comes from and goes to in [Lotic](https://docs.rs/lotic): the source and sink contracts and
//! the built-in connectors. I/O, but no threads of its own and no engine types: write a connector of your
//! own against this crate alone.

mod error;
pub mod offsets;
pub mod sink;
pub mod source;

pub use error::{ConnectorError, ErrorKind, Result};
pub use offsets::Offsets;
pub use sink::{Committer, Delivery, Prepare, Sink, SinkFactory, SinkTraits};
pub use source::{PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits};
