//! Test doubles and the simulator of the epoch protocol (feature `testing`).
//!
//! [`storage::FaultyStorage`] is a checkpoint location that fails and crashes when it is told to.
//! [`sim::Simulation`] runs a whole query, deterministically from a seed, over the engine's own state
//! machines and checks that nothing is lost, shown twice or stuck. `PlanBench` (with feature `sql`) runs SQL
//! over streams through the planner.

pub mod random;
pub mod sim;
pub mod storage;

pub use random::Random;
pub use sim::{Broken, Failure, Simulation, Tally};
pub use storage::{Access, FaultyStorage};

#[cfg(feature = "sql")]
pub use crate::plan::table::testing::PlanBench;
