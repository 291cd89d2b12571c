//! State of keyed operators.
//!
//! [`KeyedState`] keeps entries in a dense slab of small pages behind a hash index. A marker shares the
//! pages that changed with the background writer, which stores the entries that changed; a change to a page that
//! the writer still holds copies that page only (copy on write). [`Timers`] and [`KeyTimers`] are indexes over times that live in the entries
//! themselves and are rebuilt from them at a restore.

pub mod codec;
mod index;
mod keyed;
mod page;
mod shape;
mod slots;
mod timers;
mod updates;

#[cfg(feature = "table")]
pub(crate) use index::Index;
pub use keyed::{KeyedState, Probe};
pub use timers::{KeyTimers, Timers};
pub(crate) use updates::Updates;
