//! State of keyed operators.
//!
//! [`KeyedState`] keeps entries in a dense slab of small shared pages behind a hash index. A marker hands
//! the pages that changed to the background writer by cloning pointers; the first change to such a page
//! afterwards copies that page only (copy on write). [`Timers`] is an index over timers that live in the
//! entries themselves and is rebuilt from them at a restore.

pub mod codec;
mod keyed;
mod timers;

pub use keyed::KeyedState;
pub use timers::Timers;
