//! The table door: DataFrames and SQL on DataFusion, run by the same actors as typed streams.
//!
//! DataFusion parses, resolves and optimises; bounded tables run on its executor, streams on Lotic's actors.
//!
//! ```
//! use lotic::Session;
//! use lotic::functions::{col, lit};
//!
//! let session = Session::builder().get_or_create()?;
//! let numbers = session.sql("SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t(n, name)")?;
//! let twice = numbers.filter(col("n").gt(lit(1)))?.select_expr(&["n * 2 AS twice", "name"])?;
//! assert_eq!(twice.show_string(20, Some(20))?.lines().nth(3), Some("|    4|   b|"));
//! # Ok::<(), lotic::Error>(())
//! ```
//!
//! | room | what it holds |
//! |---|---|
//! | `context` | what a session has for tables: catalog, formats, the threads of bounded work |
//! | `frame`, `grouped`, `column` | [`DataFrame`] and how columns are named in it |
//! | `action` | what computes: collect, count, show; explain |
//! | `ddl`, `schema` | schemas as text: read from Spark's DDL, printed as Spark's tree |
//! | `reader`, `writer`, `stream_writer` | tables in and out |
//! | `provider`, `bounded`, `rows` | tables of ours as DataFusion sees them, and its results as a source of ours |
//! | `typed` | from and to `Stream<T>` |
//! | `explode`, `json`, `split` | functions by Spark's names |
//! | `event_time` | watermarks, windows, sessions, duplicates |
//! | `statement`, `execute`, `catalog` | SQL statements with effects |

mod action;
mod bounded;
mod catalog;
mod column;
mod context;
mod ddl;
mod errors;
pub(crate) mod event_time;
mod execute;
mod explode;
mod frame;
mod grouped;
mod json;
mod provider;
mod reader;
mod rows;
mod schema;
mod session;
mod split;
mod statement;
mod stream_writer;
mod typed;
mod writer;

pub use column::{ToColumn, ToCondition};
pub(crate) use context::TableContext;
pub use datafusion::common::JoinType;
pub use ddl::parse_ddl;
pub use event_time::ToInterval;
pub use execute::{RunOptions, StatementResult};
pub use frame::DataFrame;
pub use grouped::GroupedData;
pub use lotic_connectors::table::{OutputMode, SaveMode};
pub(crate) use provider::{StreamProvider, is_streaming};
pub use reader::{DataFrameReader, OptionValue, SchemaSource};
pub use schema::tree;
pub use statement::Statement;
pub use stream_writer::{DataStreamWriter, ToOutputMode};
pub(crate) use typed::TypedEnd;
pub use writer::{DataFrameWriter, ToSaveMode};

/// Columns, literals, the functions of DataFusion, those of event time and some of Spark's, as expressions.
pub mod functions {
    pub use super::event_time::{
        IntervalText, session_window, sliding_window, window, window_time, window_with_start,
    };
    pub use super::explode::{explode, explode_outer};
    pub use super::split::split;
    pub use datafusion::functions_aggregate::expr_fn::*;
    pub use datafusion::prelude::*;
}

/// Arrow and DataFusion in the versions that Lotic is built with: for schemas, rows and functions of your own.
pub use datafusion;
pub use datafusion::arrow;
