//! The coordinator's decisions, one step at a time: what happened goes in, what is to be done comes out.

mod batches;
mod epochs;
mod query;
