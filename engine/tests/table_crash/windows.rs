//! Queries by event time, and what they are to answer, computed here once more without Lotic. The event time of
//! a row is its number, in seconds.

use crate::data::{CLOSER, Row, all_rows};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::JoinType;
use lotic::functions::{col, count, lit, session_window, sliding_window, sum, window};
use lotic::{DataFrame, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Tumbling,
    Sliding,
    Sessions,
    /// The first row of each value, within the watermark.
    Duplicates,
    /// Each row with the later ones of its key that are near and have more cents, or without any.
    Joined,
}

pub(crate) const KINDS: [Kind; 5] =
    [Kind::Tumbling, Kind::Sliding, Kind::Sessions, Kind::Duplicates, Kind::Joined];

const SIZE: i64 = 100;
const SLIDE: i64 = 50;
const GAP: i64 = 10;
const KEYS: i64 = 7;
/// How near rows are that are joined.
const NEAR: i64 = 20;

/// The answer of a kind as a column of text. Files that are read in order need little delay; those that several
/// instances read may come in any order.
pub(crate) fn query(result: &DataFrame, kind: Kind, ordered: bool) -> Result<DataFrame> {
    let delay = if ordered { "30 seconds" } else { "100000 seconds" };
    let k = format!("id % {KEYS} AS k");
    let rows = result.select_expr(&["id", "cents", &k, "to_timestamp_micros(id * 1000000) AS ts"])?;
    let rows = rows.with_watermark("ts", delay)?;
    let ts = || col("ts");
    let seconds = |time: &str| format!("CAST(CAST({time} AS BIGINT) / 1000000 AS STRING)");
    let by = match kind {
        Kind::Tumbling => window(ts(), "100 seconds"),
        Kind::Sliding => sliding_window(ts(), "100 seconds", "50 seconds"),
        Kind::Sessions => session_window(ts(), "10 seconds"),
        Kind::Duplicates => {
            let rows = rows.select_expr(&["ts", "id / 10 AS g"])?.drop_duplicates_within_watermark(&["g"])?;
            return rows.select_expr(&["CAST(g AS STRING) AS line"]);
        }
        Kind::Joined => return joined(&rows),
    };
    let groups = rows.group_by([by, col("k")])?;
    let groups = groups.agg([count(lit(1)).alias("n"), sum(col("cents")).alias("t")])?;
    let name = if kind == Kind::Sessions { "session_window" } else { "window" };
    let (start, end) = (seconds(&format!("{name}.start")), seconds(&format!("{name}.end")));
    groups.select_expr(&[&format!("concat({start}, '|', {end}, '|', CAST(k AS STRING), '|', CAST(n AS STRING), '|', CAST(t AS STRING)) AS line")])
}

fn joined(rows: &DataFrame) -> Result<DataFrame> {
    let left = rows.select_expr(&["id AS a", "cents AS ac", "k AS ak", "ts AS at"])?;
    let right = rows.select_expr(&["id AS b", "cents AS bc", "k AS bk", "ts AS bt"])?;
    let near = ScalarValue::new_interval_mdn(0, 0, NEAR * 1_000_000_000);
    let later = col("bt").gt(col("at")).and(col("bt").lt_eq(col("at") + lit(near)));
    let condition = col("ak").eq(col("bk")).and(later).and(col("bc").gt(col("ac")));
    let pairs = left.join_on(&right, condition, JoinType::Left)?;
    pairs.select_expr(&["concat(CAST(a AS STRING), '|', coalesce(CAST(b AS STRING), 'none')) AS line"])
}

/// The lines of a stream, which leaves open what the last row is in; with it, those of a batch.
pub(crate) fn expected(kind: Kind, with_last: bool) -> Vec<String> {
    let closer = Row { id: CLOSER, amount: 0, name: "" };
    let last = (with_last || kind == Kind::Duplicates).then_some(closer);
    let rows = all_rows().chain(last).filter(|row| row.id % 3 != 0);
    let rows: Vec<(i64, i64)> = rows.map(|row| (row.id, i64::from(row.amount) * 2)).collect();
    let mut groups: BTreeMap<(i64, i64, i64), (i64, i64)> = BTreeMap::new();
    let mut add = |start: i64, end: i64, id: i64, cents: i64| {
        let group = groups.entry((start, end, id % KEYS)).or_default();
        *group = (group.0 + 1, group.1 + cents);
    };
    match kind {
        Kind::Tumbling => {
            rows.iter().for_each(|&(id, cents)| add(id / SIZE * SIZE, id / SIZE * SIZE + SIZE, id, cents))
        }
        Kind::Sliding => {
            for &(id, cents) in &rows {
                for start in [id / SLIDE * SLIDE, id / SLIDE * SLIDE - SLIDE] {
                    add(start, start + SIZE, id, cents);
                }
            }
        }
        Kind::Sessions => {
            for key in 0..KEYS {
                let of_key: Vec<_> = rows.iter().filter(|(id, _)| id % KEYS == key).copied().collect();
                for session in of_key.chunk_by(|a, b| b.0 - a.0 <= GAP) {
                    let (first, last) = (session[0].0, session[session.len() - 1].0);
                    session.iter().for_each(|&(id, cents)| add(first, last + GAP, id, cents));
                }
            }
        }
        Kind::Duplicates => {
            let values: BTreeSet<String> = rows.iter().map(|(id, _)| (id / 10).to_string()).collect();
            return values.into_iter().collect();
        }
        Kind::Joined => {
            let cents: BTreeMap<i64, i64> = rows.iter().copied().collect();
            let near = |&(id, least): &(i64, i64)| {
                let later = cents.range(id + 1..=id + NEAR);
                let found: Vec<i64> = later
                    .filter(|(other, cents)| *other % KEYS == id % KEYS && **cents > least)
                    .map(|(other, _)| *other)
                    .collect();
                match found.is_empty() {
                    true => vec![format!("{id}|none")],
                    false => found.into_iter().map(|other| format!("{id}|{other}")).collect(),
                }
            };
            let mut lines: Vec<String> = rows.iter().flat_map(near).collect();
            lines.sort();
            return lines;
        }
    }
    let line = |((start, end, key), (rows, cents))| format!("{start}|{end}|{key}|{rows}|{cents}");
    let mut lines: Vec<String> = groups.into_iter().map(line).collect();
    lines.sort();
    lines
}
