//! The formats that are not files: options, what they read and write, and their documentation.
#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod table_support;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use lotic_connectors::table::console::TableConsole;
use lotic_connectors::table::foreach::ForEachBatchTable;
use lotic_connectors::table::memory::{MemoryTable, MemoryTables};
use lotic_connectors::table::show::Show;
use lotic_connectors::table::{OutputMode, ReadRequest, SaveMode, StreamTable, TableFormat, registry};
use lotic_connectors::{ErrorKind, ModeWatch, Offsets, Sink, SinkFactory, Source};
use lotic_operators::table::TableBatch;
use lotic_operators::{Epoch, Instance};
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use table_support::{Screen, drain, epoch_of, numbers, options, read_request, schema, values, write_request};

fn source_at(table: &dyn StreamTable, from: &Offsets) -> Box<dyn Source<TableBatch>> {
    let mut source = table.source(None).unwrap().create(Instance::ONLY).unwrap();
    source.start(from).unwrap();
    source
}

fn refusal<T>(result: lotic_connectors::Result<T>) -> String {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::User);
    error.to_string()
}

#[test]
fn options_that_are_missing_or_wrong_are_named() {
    let registry = registry();
    let stream = |format: &str, options: &[(&str, &str)]| {
        refusal(registry.get(format).unwrap().stream(&read_request(options)))
    };
    for (options, expected) in [
        (&[][..], "format `socket` needs the option `host`, such as `localhost`"),
        (&[("host", "h")], "format `socket` needs the option `port`, such as `9999`"),
        (&[("host", "h"), ("port", "70000")], "option `port` is `70000`: expected a port from 1 to 65535"),
        (&[("host", "h"), ("port", "0")], "option `port` is `0`: expected a port from 1 to 65535"),
        (&[("hots", "h")], "format `socket` has no option `hots`: did you mean `host`?"),
        (
            &[("host", "h"), ("port", "1"), ("reconnectAttempts", "3")],
            "option `reconnectAttempts` has no effect without `reconnect`: set `reconnect` to true",
        ),
        (
            &[("host", "h"), ("port", "1"), ("endWhenClosed", "false")],
            "option `endWhenClosed` is false, but the source does not connect again: set `reconnect` to true",
        ),
        (
            &[("host", "h"), ("port", "1"), ("longLine", "cut")],
            "option `longLine` is `cut`: expected `fail` or `skip`",
        ),
    ] {
        assert_eq!(stream("socket", options), expected);
    }
    let expected = "option `numPartitions` is `0`: expected a number from 1 to 128";
    assert_eq!(stream("rate", &[("numPartitions", "0")]), expected);
    assert!(stream("rate", &[("rowsPerSecond", "0"), ("rampUpTime", "1 s")]).contains("`rowsPerSecond`"));
    assert!(stream("memory", &[("name", "n")]).contains("there is no table `n` in memory"));
    assert!(stream("console", &[]).contains("format `console` cannot be read as a stream"));
    let error = refusal(registry.get("rate").unwrap().bounded(&read_request(&[])));
    assert!(error.contains("never ends") && error.contains("`read_stream`"), "{error}");
    let error = refusal(registry.get("sockets"));
    assert_eq!(error, "there is no format `sockets`: did you mean `socket`?");
    let sink = |options: &[(&str, &str)]| {
        refusal(registry.get("console").unwrap().sink(&write_request(options, None)))
    };
    assert_eq!(
        sink(&[("truncate", "yes")]),
        "option `truncate` is `yes`: expected true, false or a number of characters"
    );
    let mut request = write_request(&[], None);
    request.partition_by = vec!["n".to_owned()];
    assert!(refusal(registry.get("noop").unwrap().sink(&request)).contains("leave `partition_by` out"));
}

#[test]
fn a_schema_given_for_fixed_columns_has_to_be_theirs() {
    let registry = registry();
    let socket = registry.get("socket").unwrap();
    let options = options(&[("host", "h"), ("port", "1")]);
    let given = |name: &str, data_type| ReadRequest {
        options: options.clone(),
        schema: Some(Arc::new(Schema::new(vec![Field::new(name, data_type, true)]))),
    };
    assert!(socket.stream(&given("VALUE", DataType::Utf8View)).is_ok());
    let error = refusal(socket.stream(&given("line", DataType::Utf8)));
    assert_eq!(error, "format `socket` has the columns (value Utf8), not (line Utf8): leave the schema out");
}

#[test]
fn lines_come_with_the_time_at_which_they_were_received() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let options = [("host", "127.0.0.1"), ("port", &*port), ("includeTimestamp", "true")];
    let table = registry().get("socket").unwrap().stream(&read_request(&options)).unwrap();
    let mut source = source_at(table.as_ref(), &Offsets::default());
    listener.accept().unwrap().0.write_all("um\ndois".as_bytes()).unwrap();
    let mut rows = Vec::new();
    while rows.iter().map(RecordBatch::num_rows).sum::<usize>() < 2 {
        rows.extend(drain(&mut source, None));
    }
    let mut lines = Vec::new();
    for batch in &rows {
        assert_eq!(batch.schema(), table.schema());
        lines.extend(batch["value"].as_string::<i32>().iter().flatten().map(str::to_owned));
        let times = batch["timestamp"].as_primitive::<TimestampMicrosecondType>();
        assert!(times.values().iter().all(|time| *time > 1_600_000_000_000_000), "microseconds since 1970");
    }
    assert_eq!(lines, ["um", "dois"]);
    let mut counting = table.source(Some(&[])).unwrap().create(Instance::ONLY).unwrap();
    assert!(counting.latest(1, Waker::noop()).is_ok(), "no column need be asked for");
}

#[test]
fn rows_of_a_rate_are_the_same_over_restarts_and_evenly_timed() {
    let options = [("rowsPerSecond", "1000000"), ("numPartitions", "2"), ("limit", "20")];
    let table = registry().get("rate").unwrap().stream(&read_request(&options)).unwrap();
    let mut source = source_at(table.as_ref(), &Offsets::default());
    let mut first = Vec::new();
    while first.iter().map(RecordBatch::num_rows).sum::<usize>() < 6 {
        first.extend(drain(&mut source, Some(&Offsets([("0".into(), 3), ("1".into(), 3)].into()))));
    }
    let rows = arrow::compute::concat_batches(&table.schema(), &first).unwrap();
    assert_eq!(values(&rows), [0, 1, 2, 3, 4, 5]);
    let times = rows["timestamp"].as_primitive::<TimestampMicrosecondType>().values().to_vec();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 1), "{times:?}");
    let mut resumed = source_at(table.as_ref(), &source.offsets());
    let mut rest = Vec::new();
    while rest.len() < 14 {
        rest.extend(drain(&mut resumed, None).iter().flat_map(values));
    }
    assert!(rest.into_iter().eq(6..20));
}

fn printing(mode: OutputMode, show: Show, watch: &ModeWatch) -> (Screen, Box<dyn Sink<TableBatch>>) {
    let screen = Screen::default();
    let console = TableConsole::new(schema(), show, mode).to(screen.clone());
    let mut sink = console.create(Instance::ONLY).unwrap();
    sink.watch(watch);
    sink.start(Epoch(1)).unwrap();
    (screen, sink)
}

#[test]
fn in_micro_batch_mode_each_epoch_with_rows_is_one_table() {
    let watch = ModeWatch::default();
    watch.set_micro_batch(true);
    let (screen, mut sink) = printing(OutputMode::Append, Show::default().rows(2), &watch);
    sink.write(&mut numbers([1]).into(), Waker::noop()).unwrap();
    assert_eq!(screen.take(), "", "nothing before the end of the batch");
    epoch_of(&mut sink, 1, &[numbers([22222])]);
    let rule = "-------------------------------------------";
    let table = "+-----+\n|    n|\n+-----+\n|    1|\n|22222|\n+-----+\n";
    assert_eq!(screen.take(), format!("{rule}\nEpoch: 1\n{rule}\n{table}\n"));
    epoch_of(&mut sink, 2, &[]);
    assert_eq!(screen.take(), "");
    epoch_of(&mut sink, 3, &[numbers([1, 2, 3])]);
    let table = "+---+\n|  n|\n+---+\n|  1|\n|  2|\n+---+\nonly showing top 2 rows\n";
    assert_eq!(screen.take(), format!("{rule}\nEpoch: 3\n{rule}\n{table}\n"));
}

#[test]
fn in_continuous_mode_rows_are_printed_as_they_come_under_one_header() {
    let watch = ModeWatch::default();
    let (screen, mut sink) = printing(OutputMode::Append, Show::default().rows(3), &watch);
    let print = |sink: &mut Box<dyn Sink<TableBatch>>, values: &[i64]| {
        sink.write(&mut numbers(values.iter().copied()).into(), Waker::noop()).unwrap();
        screen.take()
    };
    assert_eq!(print(&mut sink, &[1]), "+---+\n|  n|\n+---+\n|  1|\n");
    assert_eq!(print(&mut sink, &[2]), "|  2|\n");
    epoch_of(&mut sink, 1, &[]);
    assert_eq!(print(&mut sink, &[4444]), "+---+\n+----+\n|   n|\n+----+\n|4444|\n");
    assert_eq!(print(&mut sink, &[5, 6, 7]), "|   5|\n|   6|\n", "as many as an epoch may show");
    epoch_of(&mut sink, 2, &[]);
    assert_eq!(screen.take(), "only showing top 3 rows\n");

    // The mode changes: the table of continuous mode ends, that of the batch follows.
    watch.set_micro_batch(true);
    epoch_of(&mut sink, 3, &[numbers([8])]);
    let text = screen.take();
    assert!(text.starts_with("+----+\n---") && text.contains("Epoch: 3\n"), "{text}");
    watch.set_micro_batch(false);
    sink.write(&mut numbers([9]).into(), Waker::noop()).unwrap();
    assert_eq!(screen.take(), "+---+\n|  n|\n+---+\n|  9|\n");
}

#[test]
fn complete_results_are_whole_tables_in_any_mode() {
    let (screen, mut sink) = printing(OutputMode::Complete, Show::default(), &ModeWatch::default());
    sink.write(&mut numbers([1]).into(), Waker::noop()).unwrap();
    assert_eq!(screen.take(), "");
    epoch_of(&mut sink, 1, &[numbers([2])]);
    assert!(screen.take().ends_with(
        "Epoch: 1\n-------------------------------------------\n+---+\n|  n|\n+---+\n|  1|\n|  2|\n+---+\n\n"
    ));
}

#[test]
fn a_memory_sink_adds_or_replaces_and_is_read_as_a_stream() {
    let tables = MemoryTables::default();
    let adding = tables.create("added", schema(), 1).unwrap();
    let factory = adding.sink(OutputMode::Update);
    let (mut sink, mut committer) =
        (factory.create(Instance::ONLY).unwrap(), factory.committer("query/sink").unwrap().unwrap());
    let mut reader = source_at(&adding, &Offsets::default());
    let handle = epoch_of(&mut sink, 1, &[numbers([1, 2])]);
    assert!(drain(&mut reader, None).is_empty(), "not before the commit");
    committer.commit(Epoch(1), &[&handle]).unwrap();
    assert_eq!(drain(&mut reader, None), [numbers([1, 2])]);
    let handle = epoch_of(&mut sink, 2, &[numbers([3])]);
    committer.commit(Epoch(2), &[&handle]).unwrap();
    assert_eq!((adding.rows(), adding.last_committed()), (numbers([1, 2, 3]), Epoch(2)));

    let replacing = MemoryTable::new("replaced", schema());
    let factory = replacing.sink(OutputMode::Complete);
    let (mut sink, mut committer) =
        (factory.create(Instance::ONLY).unwrap(), factory.committer("query/sink").unwrap().unwrap());
    for (epoch, rows) in [(1, numbers([1])), (2, numbers([1, 2]))] {
        let handle = epoch_of(&mut sink, epoch, std::slice::from_ref(&rows));
        committer.commit(Epoch(epoch), &[&handle]).unwrap();
        assert_eq!(replacing.rows(), rows);
    }
    let mut reader = source_at(&replacing, &Offsets::default());
    let request = lotic_connectors::PollRequest { max_rows: 1, until: None, waker: Waker::noop() };
    assert!(refusal(reader.poll(request)).contains("was replaced and cannot be read as a stream"));
}

#[test]
fn two_streams_cannot_write_to_one_table_in_memory_at_a_time() {
    let table = MemoryTable::new("t", schema());
    let first = table.sink(OutputMode::Append);
    let mut sink = first.create(Instance::ONLY).unwrap();
    let mut committer = first.committer("query/sink").unwrap().unwrap();
    sink.start(Epoch(1)).unwrap();
    let handle = epoch_of(&mut sink, 1, &[numbers([1])]);
    let second = table.sink(OutputMode::Append);
    for refused in [
        refusal(second.committer("query/sink").unwrap().unwrap().abort_prepared()),
        refusal(second.create(Instance::ONLY).unwrap().start(Epoch(1))),
    ] {
        assert!(refused.contains("another running query writes to table `t`"), "{refused}");
    }
    committer.commit(Epoch(1), &[&handle]).unwrap();
    assert_eq!(table.rows(), numbers([1]));
    drop((first, sink, committer));
    second.create(Instance::ONLY).unwrap().start(Epoch(2)).unwrap();
}

fn write_bounded(
    format: &dyn TableFormat,
    mode: SaveMode,
    rows: RecordBatch,
) -> lotic_connectors::Result<()> {
    let factory = format.sink(&write_request(&[("name", "t")], Some(mode)))?;
    let mut sink = factory.create(Instance::ONLY)?;
    sink.start(Epoch(1))?;
    let handle = epoch_of(&mut sink, 1, &[rows]);
    if let Some(mut committer) = factory.committer("query/sink")? {
        committer.commit(Epoch(1), &[&handle])?;
    }
    Ok(())
}

#[test]
fn bounded_writes_to_memory_follow_the_save_mode() {
    let registry = registry();
    let memory = registry.get("memory").unwrap().as_ref();
    write_bounded(memory, SaveMode::ErrorIfExists, numbers([1])).unwrap();
    let error = refusal(write_bounded(memory, SaveMode::ErrorIfExists, numbers([2])));
    assert!(error.contains("table `t` in memory has rows already"), "{error}");
    write_bounded(memory, SaveMode::Append, numbers([3])).unwrap();
    write_bounded(memory, SaveMode::Ignore, numbers([4])).unwrap();
    let table = registry.memory().get("T").unwrap();
    assert_eq!(table.rows(), numbers([1, 3]));
    write_bounded(memory, SaveMode::Overwrite, numbers([5])).unwrap();
    assert_eq!(table.rows(), numbers([5]));
    let read = memory.bounded(&read_request(&[("name", "t")])).unwrap();
    let rows: Vec<RecordBatch> = read.read(0, None).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows, [numbers([5])]);
    assert_eq!(read.read(0, Some(&[])).unwrap().next().unwrap().unwrap().num_rows(), 1);
}

#[test]
fn rows_of_other_columns_are_refused_by_a_table_in_memory() {
    let table = MemoryTable::new("t", schema());
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let error = refusal(table.add(RecordBatch::try_from_iter([("w", words)]).unwrap()));
    assert!(error.contains("has the columns (n Int64), not (w Utf8)"), "{error}");
    table.finish();
    assert!(refusal(table.add(numbers([1]))).contains("was finished"));
    assert!(refusal(table.add_to(1, numbers([1]))).contains("there is no 1"));
}

#[test]
fn a_batch_function_sees_the_same_number_and_rows_after_a_crash() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let called = Arc::clone(&calls);
    let factory = ForEachBatchTable::new(move |rows: Vec<RecordBatch>, epoch: Epoch| {
        let numbers: Vec<i64> = rows.iter().flat_map(values).collect();
        called.lock().unwrap().push((epoch.0, numbers));
    });
    assert!(factory.traits().batches_only);
    let table = MemoryTable::partitioned("numbers", schema(), 2);
    (0..5).for_each(|first| table.add(numbers(first * 4..first * 4 + 4)).unwrap());
    // The first life plans two batches, and dies after the function has returned from the second.
    let mut plans = Vec::new();
    let run = |epoch: u64, from: &Offsets, until: &Offsets| {
        let mut source = source_at(&table, from);
        let mut sink = factory.create(Instance::ONLY).unwrap();
        sink.start(Epoch(epoch)).unwrap();
        epoch_of(&mut sink, epoch, &drain(&mut source, Some(until)));
        source.offsets()
    };
    let mut from = Offsets::default();
    for epoch in [1, 2] {
        let until = source_at(&table, &from).latest(7, Waker::noop()).unwrap().known().unwrap();
        let reached = run(epoch, &from, &until);
        plans.push((epoch, from, until));
        from = reached;
    }
    // More rows come, but the second life runs the batch that was planned.
    table.add(numbers([100])).unwrap();
    let (epoch, from, until) = &plans[1];
    run(*epoch, from, until);
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[1], calls[2]);
    assert_eq!(calls[1].1.len(), 7);
}

#[test]
fn a_batch_function_is_not_called_without_rows_and_its_error_names_the_sink() {
    let factory = ForEachBatchTable::new(|_: Vec<RecordBatch>, epoch: Epoch| Err(format!("no {epoch}")));
    let factory = factory.named("mail");
    let mut sink = factory.create(Instance::ONLY).unwrap();
    sink.start(Epoch(1)).unwrap();
    assert!(sink.pre_commit(Epoch(1)).unwrap().is_none());
    sink.write(&mut numbers([1]).into(), Waker::noop()).unwrap();
    let prepare = sink.pre_commit(Epoch(2)).unwrap().unwrap();
    assert_eq!(refusal(prepare()), "the function of sink `mail` failed: no 2");
}

/// Set `LOTIC_REGENERATE=1` to write the page anew.
#[cfg(all(feature = "kafka", feature = "parquet", feature = "orc"))]
#[test]
fn the_page_of_options_is_what_the_formats_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/options.md");
    let page = lotic_connectors::table::document(&registry());
    if std::env::var_os("LOTIC_REGENERATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(kept, page, "run this test with LOTIC_REGENERATE=1 and commit the page");
}
