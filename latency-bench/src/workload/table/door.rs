//! The formats `schedule` (the generator as a stream of JSON text) and `arrivals` (the probe as a sink).

use super::super::lotic::{Feed, LoticRun};
use super::super::probe::Probe;
use super::super::source::DueFactory;
use super::write_json;
use crate::event::Event;
use arrow::array::{AsArray, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use lotic::connectors::table::{ReadRequest, StreamTable, TableFormat, WriteRequest};
use lotic::connectors::{
    Delivery, IngressSource, Latest, Offsets, PollRequest, Polled, Result, Sink, SinkFactory, SinkTraits,
    Source, SourceFactory, SourceTraits,
};
use lotic::operators::table::TableBatch;
use lotic::operators::{Batch, Epoch, Instance, Rows};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

pub(super) const EVENTS: &str = "schedule";
pub(super) const ARRIVALS: &str = "arrivals";

/// Who makes the records.
#[derive(Clone)]
pub(super) enum Origin {
    /// The schedule, polled by the engine.
    Inline(Arc<DueFactory>),
    /// A thread, through an ingress.
    Thread(Arc<IngressSource<Event>>),
}

/// The generator as a format.
pub(super) struct Events(Origin);

impl Events {
    pub(super) fn new(run: &LoticRun<'_>) -> (Events, Feed) {
        let (origin, feed) = super::input(run);
        (Events(origin), feed)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl TableFormat for Events {
    fn name(&self) -> &'static str {
        EVENTS
    }

    fn summary(&self) -> &'static str {
        "The records of the benchmark as JSON text."
    }

    fn stream(&self, _request: &ReadRequest) -> Result<Arc<dyn StreamTable>> {
        Ok(Arc::new(Texts(self.0.clone())))
    }
}

/// One column, `value`.
struct Texts(Origin);

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Texts")
    }
}

fn text_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, false)]))
}

impl StreamTable for Texts {
    fn schema(&self) -> SchemaRef {
        text_schema()
    }

    fn source(&self, _projection: Option<&[usize]>) -> Result<Box<dyn SourceFactory<TableBatch>>> {
        Ok(Box::new(TextFactory(self.0.clone(), text_schema())))
    }
}

struct TextFactory(Origin, SchemaRef);

impl SourceFactory<TableBatch> for TextFactory {
    fn traits(&self) -> SourceTraits {
        match &self.0 {
            Origin::Inline(factory) => factory.traits(),
            Origin::Thread(factory) => factory.traits(),
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<TableBatch>>> {
        let events = match &self.0 {
            Origin::Inline(factory) => factory.create(instance)?,
            Origin::Thread(factory) => factory.create(instance)?,
        };
        Ok(Box::new(TextSource { events, schema: Arc::clone(&self.1), text: String::new() }))
    }
}

struct TextSource {
    events: Box<dyn Source<Rows<Event>>>,
    schema: SchemaRef,
    text: String,
}

impl TextSource {
    fn texts(&mut self, events: Rows<Event>) -> TableBatch {
        let mut values = StringBuilder::with_capacity(events.len(), events.len() * 80);
        for event in events {
            self.text.clear();
            write_json(&event, &mut self.text);
            values.append_value(&self.text);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::new(values.finish())]);
        TableBatch::from(batch.expect("invariant: one column of text"))
    }
}

impl Source<TableBatch> for TextSource {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        self.events.start(from)
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<TableBatch>> {
        Ok(match self.events.poll(request)? {
            Polled::Batch(events) => Polled::Batch(self.texts(events)),
            Polled::Pending(pause) => Polled::Pending(pause),
            Polled::AtEnd => Polled::AtEnd,
            Polled::Finished => Polled::Finished,
        })
    }

    fn offsets(&self) -> Offsets {
        self.events.offsets()
    }

    fn latest(&mut self, max_rows: u64, waker: &Waker) -> Result<Latest> {
        self.events.latest(max_rows, waker)
    }
}

/// The probe as a format.
pub(super) struct Arrivals(Probe);

impl Arrivals {
    pub(super) fn new(probe: Probe) -> Arrivals {
        Arrivals(probe)
    }
}

impl fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arrivals")
    }
}

impl TableFormat for Arrivals {
    fn name(&self) -> &'static str {
        ARRIVALS
    }

    fn summary(&self) -> &'static str {
        "Counts the records that arrive and keeps their latency."
    }

    fn sink(&self, _request: &WriteRequest) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        Ok(Box::new(ArrivalFactory(self.0.clone())))
    }
}

struct ArrivalFactory(Probe);

impl SinkFactory<TableBatch> for ArrivalFactory {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: ARRIVALS.to_owned(),
            delivery: Delivery::AtLeastOnce,
            max_parallelism: 128,
            batches_only: false,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<TableBatch>>> {
        Ok(Box::new(ArrivalSink { probe: self.0.clone(), counts: HashMap::new() }))
    }
}

/// A row stands for all records of its key since the row before: they were in one batch. Their latency is
/// told from the last of them.
struct ArrivalSink {
    probe: Probe,
    counts: HashMap<i64, i64>,
}

impl Sink<TableBatch> for ArrivalSink {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut TableBatch, _waker: &Waker) -> Result<()> {
        let Some(batch) = batch.take() else { return Ok(()) };
        let rows = RecordBatch::from(batch);
        let column = |at: usize| rows.column(at).as_primitive::<Int64Type>();
        let (keys, counts, intended, sent) = (column(0), column(1), column(2), column(3));
        let seen = &mut self.counts;
        self.probe.record(|now_ns, recorder| {
            for at in 0..keys.len() {
                let before = seen.insert(keys.value(at), counts.value(at)).unwrap_or(0);
                recorder.record(now_ns, intended.value(at) as u64, sent.value(at) as u64);
                recorder.stands_for((counts.value(at) - before) as u64);
            }
        });
        Ok(())
    }
}
