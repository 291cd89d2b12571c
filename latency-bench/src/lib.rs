//! The latency benchmark of Lotic.
//!
//! # Method
//! *Open loop.* A [`schedule`] fixes each record's intended send time before the run; a [`generator`] sends it
//! then, or as soon after as it can, whatever the system under test does. Latency is the time at the sink
//! minus the **intended** time. A system that stalls therefore pays for every record it held up, not only for
//! the one it was busy with. The latency from the actual send time is kept beside it, as is the lateness of
//! the generator: the instrument states its own error.
//!
//! *Histograms* of fixed bounds ([`recorder`]), one for each thread, merged at the end, and corrected by
//! nothing: the schedule already holds what a correction would guess.
//!
//! *Runs in turns* ([`runner`]): configurations that are compared alternate, and a row of plain function calls
//! ([`floor`]) is measured among them, so that the noise of the host can be told from the engine. Reports show
//! medians of the runs and their spread.
//!
//! *A self-test* ([`self_test`]) stops a made-up pipeline and fails if the instrument does not see it.
//!
//! *Over a broker* (feature `kafka`), the load and the reader that tells the latency are clients of Apache Kafka
//! of their own; the floor is then the broker's: the reader on the topic that is sent to, with no engine in
//! between.
//!
//! | module | what it holds |
//! |---|---|
//! | [`clock`], [`schedule`], [`event`], [`generator`] | what is sent, and when |
//! | [`recorder`], [`window_ends`], [`cpu`], [`environment`], [`stats`] | what is measured |
//! | [`workload`], [`floor`], `peer_timely` | what runs |
//! | [`options`], [`runner`], [`cli`] | what is asked for |
//! | [`http_client`] | a client for services that have Lotic inside |
//! | [`report`], [`compare`] | what is told |

pub mod cli;
pub mod clock;
pub mod compare;
pub mod cpu;
pub mod environment;
pub mod error;
pub mod event;
pub mod floor;
pub mod generator;
pub mod http_client;
pub mod options;
#[cfg(feature = "peers")]
pub mod peer_timely;
pub mod recorder;
pub mod report;
pub mod runner;
pub mod schedule;
pub mod self_test;
pub mod stats;
pub mod window_ends;
pub mod workload;
