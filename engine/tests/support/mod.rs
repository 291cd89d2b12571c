//! What the tests that kill processes share.
//!
//! A parent runs its own test binary as a child ([`process`]) that is killed from outside or at a kill point
//! ([`schedule`] says when), until the input is processed. The child says on stdout what it has committed
//! ([`announced`]) and may switch modes while it runs ([`mode`]). All choices come from a seed ([`seed`]).

pub(crate) mod announced;
pub(crate) mod mode;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod schedule;
pub(crate) mod seed;
