//! The only place from which [`crate::runtime::channel`] takes its synchronisation primitives.
//!
//! `tests/loom_channel.rs` compiles the channel against a module of the same shape made of loom's
//! primitives; crossbeam's queue has no loom mode and is replaced there by a stand-in.

pub(crate) use atomic_waker::AtomicWaker;
pub(crate) use crossbeam::queue::ArrayQueue;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
