//! How a query runs: actors, the channels between them, the threads they sit on.
//!
//! Every source, operator and sink instance is a long-lived actix actor. Control (start, open an epoch,
//! stop) travels in mailboxes; rows, watermarks and markers travel in [`channel`]s. An actor does its work
//! in one future that actix polls beside the mailbox, in turns of bounded length.
//!
//! | file | what it holds |
//! |---|---|
//! | [`channel`] | the bounded lock-free queue with its wake-up protocol |
//! | [`stage`], [`link`], [`edge`], [`sink_stage`] | what runs inside an actor: a chain of operators down to channels or a sink |
//! | [`source_actor`], [`stage_actor`], [`core`] | the actors |
//! | [`query_actor`], [`active`], [`run`] | the coordinator's actor and what it starts and stops |
//! | [`build`] | from the physical plan to wired actors |
//! | [`watermarks`], [`source_partitions`] | event time over several inputs, partitions that are idle |
//! | [`lookup`] | futures that answer lookup joins, and how an actor hears of that |
//! | [`wait`], [`threads`], [`blocking`] | waiting, threads, sources that block |

mod active;
pub(crate) mod blocking;
pub(crate) mod build;
pub(crate) mod channel;
pub(crate) mod control;
pub(crate) mod core;
pub(crate) mod edge;
pub(crate) mod link;
pub(crate) mod lookup;
pub(crate) mod metrics;
pub(crate) mod query_actor;
pub(crate) mod run;
pub(crate) mod sink_stage;
pub(crate) mod source_actor;
mod source_partitions;
pub(crate) mod stage;
pub(crate) mod stage_actor;
pub(crate) mod threads;
pub(crate) mod wait;
pub(crate) mod watermarks;
