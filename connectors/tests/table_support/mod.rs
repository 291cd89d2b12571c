//! Tables as typed rows, so that the kit can hold them to the contracts.
#![allow(dead_code, clippy::unwrap_used)]

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use lotic_connectors::table::{Options, OutputMode, ReadRequest, SaveMode, StreamTable, WriteRequest};
use lotic_connectors::{
    Committer, Latest, ModeWatch, Offsets, PollRequest, Polled, Prepare, Result, Sink, SinkFactory,
    SinkTraits, Source, SourceFactory, SourceTraits,
};
use lotic_operators::table::TableBatch;
use lotic_operators::{Batch, Epoch, Instance, Rows};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::task::Waker;

/// A schema of one number.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

pub(crate) fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    RecordBatch::try_new(schema(), vec![column]).unwrap()
}

pub(crate) fn values(rows: &RecordBatch) -> Vec<i64> {
    rows.column(rows.num_columns() - 1).as_primitive::<Int64Type>().values().to_vec()
}

pub(crate) fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().copied().collect()
}

pub(crate) fn read_request(pairs: &[(&str, &str)]) -> ReadRequest {
    ReadRequest { options: options(pairs), schema: None }
}

pub(crate) fn write_request(pairs: &[(&str, &str)], save_mode: Option<SaveMode>) -> WriteRequest {
    WriteRequest {
        options: options(pairs),
        schema: schema(),
        partition_by: Vec::new(),
        output_mode: OutputMode::Append,
        save_mode,
    }
}

/// The last column of a stream of tables, as a source of what `key` makes of it.
pub(crate) struct LastColumn<K> {
    pub(crate) table: Arc<dyn StreamTable>,
    pub(crate) key: fn(&ArrayRef, usize) -> K,
}

impl LastColumn<i64> {
    pub(crate) fn of(table: Arc<dyn StreamTable>) -> Self {
        LastColumn { table, key: |column, row| column.as_primitive::<Int64Type>().value(row) }
    }
}

impl<K: Send + 'static> SourceFactory<Rows<K>> for LastColumn<K> {
    fn traits(&self) -> SourceTraits {
        self.table.source(None).unwrap().traits()
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<K>>>> {
        let last = self.table.schema().fields().len() - 1;
        let factory = self.table.source(Some(&[last]))?;
        Ok(Box::new(LastColumnSource { source: factory.create(instance)?, key: self.key }))
    }
}

struct LastColumnSource<K> {
    source: Box<dyn Source<TableBatch>>,
    key: fn(&ArrayRef, usize) -> K,
}

impl<K: Send + 'static> Source<Rows<K>> for LastColumnSource<K> {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        self.source.start(from)
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<Rows<K>>> {
        Ok(match self.source.poll(request)? {
            Polled::Batch(batch) => {
                let rows = RecordBatch::from(batch);
                assert_eq!(rows.num_columns(), 1, "only what was asked for");
                let keys = (0..rows.num_rows()).map(|row| (self.key)(rows.column(0), row));
                Polled::Batch(Rows::from(keys.collect::<Vec<K>>()))
            }
            Polled::Pending(wait) => Polled::Pending(wait),
            Polled::AtEnd => Polled::AtEnd,
            Polled::Finished => Polled::Finished,
        })
    }

    fn offsets(&self) -> Offsets {
        self.source.offsets()
    }

    fn latest(&mut self, max_rows: u64, waker: &Waker) -> Result<Latest> {
        self.source.latest(max_rows, waker)
    }
}

/// A sink of tables as a sink of numbers.
pub(crate) struct OfNumbers(pub(crate) Box<dyn SinkFactory<TableBatch>>);

impl SinkFactory<Rows<u64>> for OfNumbers {
    fn traits(&self) -> SinkTraits {
        self.0.traits()
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<Rows<u64>>>> {
        Ok(Box::new(NumbersSink(self.0.create(instance)?)))
    }

    fn committer(&self, writer: &str) -> Result<Option<Box<dyn Committer>>> {
        self.0.committer(writer)
    }
}

struct NumbersSink(Box<dyn Sink<TableBatch>>);

impl Sink<Rows<u64>> for NumbersSink {
    fn start(&mut self, epoch: Epoch) -> Result<()> {
        self.0.start(epoch)
    }

    fn watch(&mut self, mode: &ModeWatch) {
        self.0.watch(mode);
    }

    fn write(&mut self, batch: &mut Rows<u64>, waker: &Waker) -> Result<()> {
        let mut rows = TableBatch::from(numbers(batch.map(|number| number as i64)));
        self.0.write(&mut rows, waker)?;
        assert_eq!(rows.rows(), 0, "all rows are taken");
        Ok(())
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        self.0.pre_commit(epoch)
    }
}

/// A terminal.
#[derive(Clone, Default)]
pub(crate) struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    /// What was written since the last call.
    pub(crate) fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    /// All that was written since the last [`Screen::take`].
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to a sink and ends the epoch; runs what there is to prepare.
pub(crate) fn epoch_of(sink: &mut Box<dyn Sink<TableBatch>>, epoch: u64, batches: &[RecordBatch]) -> Vec<u8> {
    for batch in batches {
        sink.write(&mut batch.clone().into(), Waker::noop()).unwrap();
    }
    sink.pre_commit(Epoch(epoch)).unwrap().map(|prepare| prepare().unwrap()).unwrap_or_default()
}

/// All that a source of tables gives until there is nothing ready.
pub(crate) fn drain(source: &mut Box<dyn Source<TableBatch>>, until: Option<&Offsets>) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    loop {
        let request = PollRequest { max_rows: 3, until, waker: Waker::noop() };
        match source.poll(request).unwrap() {
            Polled::Batch(batch) => batches.push(batch.into()),
            _ => return batches,
        }
    }
}
