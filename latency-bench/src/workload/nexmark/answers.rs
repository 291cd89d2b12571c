//! Each query as a stream gives the answer of the same text over the same events as bounded tables.

use super::events::Events;
use super::queries::{DELAY_US, QUERIES, Query, TABLES, query};
use super::release::{Pacing, Release};
use super::source::Nexmark;
use crate::clock::Timebase;
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lotic::{OutputMode, Session, Trigger};
use std::collections::BTreeMap;
use std::sync::Arc;

const EVENTS: u64 = 8_000;
/// Between two events: the run is 64 s of event time.
const STEP_NS: u64 = 8_000_000;
/// Rows are out of order by up to this many events, for which the delay is long enough.
const DISORDER: u64 = 100;
const _: () = assert!(DISORDER * STEP_NS < DELAY_US as u64 * 1000);

type Row = BTreeMap<String, String>;

fn session(parallelism: usize) -> Session {
    let events = Events::new(42, (0..EVENTS).map(|event| event * STEP_NS).collect()).unwrap();
    let release = Release::new(Timebase::begun(), events, Pacing::AtOnce);
    let session = Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap();
    let format = Nexmark { release, batch_rows: 61, epoch_rows: 1500, disorder: DISORDER };
    session.register_format(Arc::new(format)).unwrap();
    session
}

/// Each row as text by column.
fn rows(batches: &[RecordBatch]) -> Vec<Row> {
    let options = FormatOptions::default().with_null("null");
    let of_batch = |batch: &RecordBatch| {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            let column = ArrayFormatter::try_new(column, &options).unwrap();
            let texts = (0..batch.num_rows()).map(|row| column.value(row).to_string());
            texts.map(|text| (field.name().clone(), text)).collect::<Vec<_>>()
        });
        let columns: Vec<Vec<(String, String)>> = columns.collect();
        let row = |row: usize| columns.iter().map(|column| column[row].clone()).collect::<Row>();
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of_batch).collect()
}

/// In output mode update: the columns by which a row replaces the one before.
fn keys(query: &Query) -> &'static [&'static str] {
    match query.name {
        "q12" => &["bidder", "window_start"],
        "q15" => &["day"],
        "q16" => &["channel", "day"],
        "q17" => &["auction", "day"],
        "q18" => &["bidder", "auction"],
        other => panic!("{other} has no keys"),
    }
}

/// The last row of each key.
fn last_of_each_key(rows: Vec<Row>, keys: &[&str]) -> Vec<Row> {
    let key = |row: &Row| keys.iter().map(|key| row[*key].clone()).collect::<Vec<_>>();
    let last: BTreeMap<Vec<String>, Row> = rows.into_iter().map(|row| (key(&row), row)).collect();
    last.into_values().collect()
}

/// The rows that can be compared, in order. The windows of q12 are those of the clock when it ran: its bids are
/// added up over them.
fn comparable(query: &Query, rows: Vec<Row>) -> Vec<Row> {
    let mut rows = rows;
    if query.name == "q12" {
        let mut bids: BTreeMap<String, u64> = BTreeMap::new();
        for row in &rows {
            *bids.entry(row["bidder"].clone()).or_default() += row["bids"].parse::<u64>().unwrap();
        }
        let row = |(bidder, bids): (String, u64)| {
            Row::from([("bidder".to_owned(), bidder), ("bids".to_owned(), bids.to_string())])
        };
        rows = bids.into_iter().map(row).collect();
    }
    rows.sort();
    rows
}

fn batch_answer(query: &Query) -> Vec<Row> {
    let session = session(1);
    session.execute(&TABLES.replace("UNBOUNDED ", "")).unwrap();
    let frame = session.sql(query.sql).unwrap();
    assert!(!frame.is_streaming());
    comparable(query, rows(&frame.collect().unwrap()))
}

fn stream_answer(query: &Query, trigger: Trigger, parallelism: usize) -> Vec<Row> {
    let session = session(parallelism);
    session.execute(TABLES).unwrap();
    let frame = session.sql(query.sql).unwrap();
    assert!(frame.is_streaming());
    let writer = frame.write_stream().output_mode(query.mode).format("memory").option("name", "answer");
    writer.trigger(trigger).start().unwrap().await_termination().unwrap();
    let answer = rows(&session.memory_tables().unwrap().get("answer").unwrap().batches());
    let answer = match query.mode {
        OutputMode::Update => last_of_each_key(answer, keys(query)),
        _ => answer,
    };
    comparable(query, answer)
}

fn check(name: &str) {
    let query = query(name).unwrap();
    let expected = batch_answer(query);
    assert!(!expected.is_empty(), "{name}: a query without an answer shows nothing");
    for trigger in [Trigger::continuous("20 ms"), Trigger::processing_time("0 ms")] {
        for parallelism in [1, 2] {
            let answer = stream_answer(query, trigger, parallelism);
            let told = format!("{name}, {trigger:?}, parallelism {parallelism}");
            let differ = answer.iter().zip(&expected).find(|(answer, expected)| answer != expected);
            assert_eq!(differ, None, "{told}: a row of the stream, and of the batch");
            assert_eq!(answer.len(), expected.len(), "{told}: rows of the stream, and of the batch");
        }
    }
}

macro_rules! answers {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )+

        #[test]
        fn every_query_is_checked() {
            let checked = [$(stringify!($name)),+];
            assert_eq!(QUERIES.iter().map(|query| query.name).collect::<Vec<_>>(), checked);
        }
    };
}

answers!(q0 q1 q2 q3 q5 q5_join q7 q7_join q8 q10 q11 q12 q13 q14 q15 q16 q17 q18 q20 q21 q22);
