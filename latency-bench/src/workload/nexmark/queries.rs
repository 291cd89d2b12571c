//! The queries: their SQL is in the files of the folder `nexmark`, one for each.

use super::events::Table;
use lotic::OutputMode;

/// The tables that the queries read.
pub(super) const TABLES: &str = include_str!("../../../nexmark/tables.sql");
/// How long rows are waited for, as [`TABLES`] says it.
pub(super) const DELAY_US: i64 = 1_000_000;

/// A query of NEXMark.
#[derive(Debug)]
pub(super) struct Query {
    /// `q0` to `q22`; another form of a query has it as `q5_join`.
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
    pub(super) mode: OutputMode,
    /// The tables it reads.
    pub(super) reads: &'static [Table],
    pub(super) timed: Timed,
}

/// From when the latency of a row is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timed {
    /// The intended time of the event whose event time is in the column `date_time`: the last that the row is
    /// made of.
    Row,
    /// The intended time of the event whose watermark closes the window that ends at the column `window_end`.
    Window,
}

const SALES: &[Table] = &[Table::Person, Table::Auction];
const BID: &[Table] = &[Table::Bid];

macro_rules! query {
    ($name:literal, $mode:ident, $reads:expr, $timed:ident) => {
        Query {
            name: $name,
            sql: include_str!(concat!("../../../nexmark/", $name, ".sql")),
            mode: OutputMode::$mode,
            reads: $reads,
            timed: Timed::$timed,
        }
    };
}

/// All queries that Lotic carries, in their order.
pub(super) static QUERIES: &[Query] = &[
    query!("q0", Append, BID, Row),
    query!("q1", Append, BID, Row),
    query!("q2", Append, BID, Row),
    query!("q3", Append, SALES, Row),
    query!("q5", Append, BID, Window),
    query!("q5_join", Append, BID, Window),
    query!("q7", Append, BID, Window),
    query!("q7_join", Append, BID, Window),
    query!("q8", Append, SALES, Window),
    query!("q10", Append, BID, Row),
    query!("q11", Append, BID, Window),
    query!("q12", Update, BID, Row),
    query!("q13", Append, BID, Row),
    query!("q14", Append, BID, Row),
    query!("q15", Update, BID, Row),
    query!("q16", Update, BID, Row),
    query!("q17", Update, BID, Row),
    query!("q18", Update, BID, Row),
    query!("q20", Append, &[Table::Auction, Table::Bid], Row),
    query!("q21", Append, BID, Row),
    query!("q22", Append, BID, Row),
];

/// The query of that name.
pub(super) fn query(name: &str) -> Option<&'static Query> {
    QUERIES.iter().find(|query| query.name == name)
}
