//! What Parquet and ORC have in common: files that name and type their columns.
//!
//! | room | what it holds |
//! |---|---|
//! | `convert` | which types convert to which without loss, and how |
//! | `plan` | from the columns of a file to the columns asked for |
//! | `reader` | a file being read: batches of the size asked for, errors that name the file |
//! | `write` | the checks of schemas and sizes that are the same |

mod convert;
mod plan;
mod reader;
mod write;

pub(super) use convert::convert_rows;
pub(super) use plan::{Plan, plain};
pub(super) use reader::{ColumnarReader, file_size, guarded, open};
pub(super) use write::{distinct_columns, group_bytes};
