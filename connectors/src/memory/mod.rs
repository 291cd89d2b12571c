//! Source and sink in memory: for tests, examples and small lookups.

mod sink;
mod source;

pub use sink::MemorySink;
pub use source::{MemorySource, MemoryStream, stream};
