//! What the tests of Kafka tables share.
#![allow(dead_code, clippy::unwrap_used)]

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Int64Type, Schema};
use lotic_connectors::table::{
    BoundedTable, Options, OutputMode, ReadRequest, SaveMode, StreamTable, TableFormat, WriteRequest,
    registry,
};
use lotic_connectors::testing::kafka::TestBroker;
use lotic_connectors::{ErrorKind, Latest, Offsets, PollRequest, Polled, Result, Sink, SinkFactory, Source};
use lotic_operators::table::TableBatch;
use lotic_operators::{Batch, Epoch, Instance};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn kafka() -> Arc<dyn TableFormat> {
    Arc::clone(registry().get("kafka").unwrap())
}

pub(crate) fn read_request(pairs: &[(&str, &str)]) -> ReadRequest {
    ReadRequest { options: pairs.iter().copied().collect(), schema: None }
}

/// Options for a broker and a topic, and more.
pub(crate) fn options<'a>(broker: &'a TestBroker, more: &[(&'a str, &'a str)]) -> Options {
    [("kafka.bootstrap.servers", broker.bootstrap())].iter().chain(more).copied().collect()
}

pub(crate) fn bounded(broker: &TestBroker, more: &[(&str, &str)]) -> Result<Arc<dyn BoundedTable>> {
    kafka().bounded(&ReadRequest { options: options(broker, more), schema: None })
}

pub(crate) fn stream(broker: &TestBroker, more: &[(&str, &str)]) -> Arc<dyn StreamTable> {
    kafka().stream(&ReadRequest { options: options(broker, more), schema: None }).unwrap()
}

/// The message of what is the user's to correct.
pub(crate) fn refusal<T>(result: Result<T>) -> String {
    let error = result.err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    error.to_string()
}

/// All rows of a bounded table, each partition on a thread of its own.
pub(crate) fn read_all(table: &dyn BoundedTable, projection: Option<&[usize]>) -> Result<RecordBatch> {
    let partitions = table.partitions()?;
    let parts: Vec<Result<Vec<RecordBatch>>> = thread::scope(|scope| {
        let readers: Vec<_> = (0..partitions)
            .map(|partition| scope.spawn(move || table.read(partition, projection)?.collect()))
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    let mut batches = Vec::new();
    for part in parts {
        batches.extend(part?);
    }
    let schema = match projection {
        Some(columns) => Arc::new(table.schema().project(columns).unwrap()),
        None => table.schema(),
    };
    Ok(concat_batches(&schema, &batches).unwrap())
}

/// The values of all rows as text, `None` for null, in the order of topic, partition and offset.
pub(crate) fn values(rows: &RecordBatch) -> Vec<Option<String>> {
    let value = rows["value"].as_binary::<i32>();
    let place = |row: usize| {
        (
            rows["topic"].as_string::<i32>().value(row).to_owned(),
            rows["partition"].as_primitive::<Int32Type>().value(row),
            rows["offset"].as_primitive::<Int64Type>().value(row),
        )
    };
    let mut order: Vec<usize> = (0..rows.num_rows()).collect();
    order.sort_by_key(|row| place(*row));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    order.into_iter().map(|row| value.is_valid(row).then(|| text(value.value(row)))).collect()
}

pub(crate) fn numbers(range: std::ops::Range<u64>) -> Vec<Option<String>> {
    range.map(|number| Some(number.to_string())).collect()
}

pub(crate) fn producer(broker: &TestBroker, parameters: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.bootstrap()).set("linger.ms", "5");
    for (name, value) in parameters {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

pub(crate) fn send(producer: &BaseProducer, topic: &str, partition: i32, values: std::ops::Range<u64>) {
    for value in values {
        let value = value.to_string();
        let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(10));
        }
    }
    producer.flush(PATIENCE).unwrap();
}

/// Writes numbers to a partition and waits until the broker has them.
pub(crate) fn produce(broker: &TestBroker, topic: &str, partition: i32, values: std::ops::Range<u64>) {
    send(&producer(broker, &[]), topic, partition, values);
}

struct Alarm(Thread);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) fn alarm() -> Waker {
    Waker::from(Arc::new(Alarm(thread::current())))
}

/// Waits to be woken.
pub(crate) fn wait(wait: Option<Duration>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(left > Duration::ZERO, "it stands still");
    thread::park_timeout(wait.unwrap_or(left).min(left));
}

/// Starts the only instance of a source.
pub(crate) fn start(
    table: &dyn StreamTable,
    projection: Option<&[usize]>,
    from: &Offsets,
) -> Result<Box<dyn Source<TableBatch>>> {
    let mut source = table.source(projection)?.create(Instance::ONLY)?;
    source.start(from)?;
    Ok(source)
}

/// Reads this many rows of a stream.
pub(crate) fn read_rows(source: &mut Box<dyn Source<TableBatch>>, rows: usize) -> RecordBatch {
    let (waker, deadline) = (alarm(), Instant::now() + PATIENCE);
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut read = 0;
    while read < rows {
        match source.poll(PollRequest { max_rows: rows - read, until: None, waker: &waker }).unwrap() {
            Polled::Batch(batch) => {
                read += batch.rows();
                batches.push(batch.into());
            }
            Polled::Pending(pause) => wait(pause, deadline),
            Polled::AtEnd | Polled::Finished => unreachable!("a topic has no end"),
        }
    }
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// Where all partitions of a stream end now.
pub(crate) fn ends(source: &mut Box<dyn Source<TableBatch>>) -> Offsets {
    let (waker, deadline) = (alarm(), Instant::now() + PATIENCE);
    loop {
        match source.latest(u64::MAX, &waker).unwrap() {
            Latest::At(offsets) => return offsets,
            Latest::Pending(pause) => wait(pause, deadline),
        }
    }
}

pub(crate) fn write_request(
    broker: &TestBroker,
    schema: &Schema,
    more: &[(&str, &str)],
    save_mode: Option<SaveMode>,
) -> WriteRequest {
    WriteRequest {
        options: options(broker, more),
        schema: Arc::new(schema.clone()),
        partition_by: Vec::new(),
        output_mode: OutputMode::Append,
        save_mode,
    }
}

/// Writes rows, as the engine does.
pub(crate) fn write(sink: &mut Box<dyn Sink<TableBatch>>, rows: &RecordBatch) -> Result<()> {
    let (waker, deadline) = (alarm(), Instant::now() + PATIENCE);
    let mut batch = TableBatch::from(rows.clone());
    loop {
        sink.write(&mut batch, &waker)?;
        if batch.rows() == 0 {
            return Ok(());
        }
        wait(None, deadline);
    }
}

/// Writes all rows in one epoch of one instance, committed if there is a committer.
pub(crate) fn write_epoch(
    factory: &dyn SinkFactory<TableBatch>,
    writer: &str,
    rows: &RecordBatch,
) -> Result<()> {
    let mut committer = factory.committer(writer)?;
    let epoch = match &mut committer {
        Some(committer) => {
            let last = committer.last_committed()?;
            committer.abort_prepared()?;
            Epoch(last.0 + 1)
        }
        None => Epoch(1),
    };
    let mut sink = factory.create(Instance::ONLY)?;
    sink.start(epoch)?;
    write(&mut sink, rows)?;
    let prepare = sink.pre_commit(epoch)?;
    let handle = prepare.map(|prepare| prepare()).transpose()?;
    if let (Some(committer), Some(handle)) = (&mut committer, handle) {
        committer.commit(epoch, &[&handle])?;
    }
    Ok(())
}

/// Rows of the columns given.
pub(crate) fn rows<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

pub(crate) fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub(crate) fn bytes(values: &[Option<&[u8]>]) -> ArrayRef {
    Arc::new(BinaryArray::from(values.to_vec()))
}

pub(crate) fn ints(values: &[Option<i32>]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}
