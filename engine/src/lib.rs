//! Lotic: a continuous-processing actor engine for Rust services.
//!
//! A query is written once, as a typed [`Stream`] or as a table (`DataFrame` or SQL), and runs in *continuous*
//! mode (every operator is a long-lived actor, records flow as they come, markers flow with them and drive
//! asynchronous checkpoints) or in *micro-batch* mode (the same actors, records admitted batch by batch). The
//! mode follows from the [`Trigger`] and can be switched while the query runs.
//!
//! ```
//! use lotic::{Session, Trigger};
//!
//! let session = Session::builder().app_name("words").get_or_create()?;
//! let lines = session.rows(vec!["to be or", "not to be"]);
//! let (query, counts) = lines
//!     .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
//!     .key_by(|word| word.clone())
//!     .count()
//!     .egress("counts");
//! let query = query.start(Trigger::continuous("100 ms"))?;
//! query.await_termination()?;
//! let mut last = std::collections::BTreeMap::new();
//! while let Some((word, count)) = counts.recv() {
//!     last.insert(word, count);
//! }
//! assert_eq!(last["be"], 2);
//! # Ok::<(), lotic::Error>(())
//! ```
//!
//! # Tables
//! With the feature `sql` (on by default) the same actors run DataFrames and SQL, by Spark's names: see the
//! module `table`, and `docs/tables.md` for a guide. A table goes to a typed stream and back through serde.
//!
#![cfg_attr(
    feature = "sql",
    doc = r#"```
use lotic::{Session, Trigger};

let session = Session::builder().app_name("numbers").get_or_create()?;
let numbers = session.read_stream().format("rate").option("rowsPerSecond", 1000).option("limit", 10).load()?;
let even = numbers.filter("value % 2 = 0")?.select_expr(&["value AS n"])?;
let query = even.write_stream().format("memory").option("name", "even").trigger(Trigger::continuous("50 ms"));
query.start()?.await_termination()?;
assert_eq!(session.read().format("memory").option("name", "even").load()?.count()?, 5);
# Ok::<(), lotic::Error>(())
```"#
)]
//!
//! # Layers
//!
//! | crate | what it holds |
//! |---|---|
//! | [`operators`] | what happens to data: the operator contract, keyed state, the operators; no threads, no I/O, no clock |
//! | [`connectors`] | where data comes from and goes to: the source and sink contracts and the built-in ones |
//! | this one | how it runs: session, streams, plan, actors, channels, epochs, checkpoints, modes, progress |
//!
//! Within this crate: [`Session`], [`Stream`] and tables are what a user writes; `plan` turns it into what runs;
//! `runtime` holds actors, channels and threads; [`checkpoint`] the protocol, as pure state machines, and the
//! log; [`query`] the handle of what is running.

pub mod checkpoint;
pub mod clock;
mod error;
#[cfg(feature = "testing")]
pub mod kill_point;
#[cfg(not(feature = "testing"))]
mod kill_point;
pub mod limits;
mod plan;
pub mod query;
mod runtime;
mod session;
mod stream;
mod sync;
#[cfg(feature = "sql")]
pub mod table;
#[cfg(feature = "testing")]
pub mod testing;

pub use lotic_connectors as connectors;
pub use lotic_operators as operators;

pub use error::{Error, ErrorKind, Location, Result};
pub use lotic_connectors::egress::Egress;
pub use lotic_connectors::ingress::Ingress;
pub use lotic_operators::Timestamp;
pub use query::{
    EventTimeProgress, Mode, QueryListener, QueryProgress, QueryStatus, StreamingQuery, Trigger,
};
pub use runtime::wait::WaitStrategy;
pub use runtime::watermarks::MultipleWatermarkPolicy;
pub use session::{RestartPolicy, Session, SessionBuilder};
pub use stream::{KeyedStream, Query, Stream, WindowedStream};
#[cfg(feature = "sql")]
pub use table::{DataFrame, OutputMode, SaveMode, functions};

/// The examples of the README are compiled and run.
#[cfg(all(doctest, feature = "sql"))]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The examples of the guide to tables are compiled, and run where they have a `main`.
#[cfg(all(doctest, feature = "sql"))]
#[doc = include_str!("../docs/tables.md")]
struct TablesByExample;

/// The examples of the guide to checkpoints are compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/checkpoints.md")]
struct CheckpointsByExample;

/// The examples of the guide to Kafka are compiled.
#[cfg(all(doctest, feature = "kafka"))]
#[doc = include_str!("../docs/kafka.md")]
struct KafkaByExample;
