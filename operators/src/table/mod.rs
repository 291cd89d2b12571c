//! Tables: Arrow record batches as batches, and the operators over them.
//!
//! [`TableBatch`] (feature `arrow`) is what flows through the channels of a DataFrame or SQL query. The
//! operators (feature `table`) evaluate DataFusion's physical expressions on it; DataFusion parses, resolves
//! and optimises, these run.

mod batch;

pub use batch::{TableBatch, TableBuilder};
