//! The format `nexmark`: the events of a run as tables, unbounded and bounded.

use super::events::Table;
use super::release::Release;
use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use lotic::connectors::table::{BoundedTable, OptionSpec, ReadRequest, RowReader, StreamTable, TableFormat};
use lotic::connectors::{
    ConnectorError, Latest, Offsets, PollRequest, Polled, Polling, Result, Source, SourceFactory,
    SourceTraits,
};
use lotic::operators::Instance;
use lotic::operators::table::TableBatch;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// The name of the format.
pub(super) const NEXMARK: &str = "nexmark";

const OPTIONS: [OptionSpec; 1] =
    [OptionSpec::new("table", "", "Which events: `person`, `auction` or `bid`. Required.")];
/// How often a source looks whether the run has begun.
const BEFORE_BEGIN: Duration = Duration::from_millis(1);
/// Rows of one batch of a bounded read.
const BOUNDED_ROWS: usize = 8192;

/// The events of a run as a format.
///
/// # Delivery
/// Replayable while the process lives, with the same parallelism.
#[derive(Debug, Clone)]
pub(super) struct Nexmark {
    /// The events, and which of them may be read.
    pub(super) release: Arc<Release>,
    /// The most rows of one batch.
    pub(super) batch_rows: usize,
    /// The most rows that an instance puts into one micro-batch.
    pub(super) epoch_rows: u64,
    /// Events within which the rows of a stream come in reverse order; 1 for rows in order.
    pub(super) disorder: u64,
}

impl Nexmark {
    fn table(&self, request: &ReadRequest) -> Result<Arc<EventTable>> {
        request.options.check(NEXMARK, &OPTIONS)?;
        let asked = request.options.get("table").unwrap_or_default();
        let table = Table::ALL.into_iter().find(|table| table.name().eq_ignore_ascii_case(asked));
        let Some(table) = table else {
            return Err(ConnectorError::user(format!(
                "option `table` of format `{NEXMARK}` is `{asked}`: give `person`, `auction` or `bid`"
            )));
        };
        Ok(Arc::new(EventTable { nexmark: self.clone(), table }))
    }
}

impl TableFormat for Nexmark {
    fn name(&self) -> &'static str {
        NEXMARK
    }

    fn summary(&self) -> &'static str {
        "The events of NEXMark."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        OPTIONS.to_vec()
    }

    fn stream(&self, request: &ReadRequest) -> Result<Arc<dyn StreamTable>> {
        Ok(self.table(request)?)
    }

    fn bounded(&self, request: &ReadRequest) -> Result<Arc<dyn BoundedTable>> {
        Ok(self.table(request)?)
    }
}

/// One table of a run.
#[derive(Debug, Clone)]
struct EventTable {
    nexmark: Nexmark,
    table: Table,
}

impl EventTable {
    fn rows(&self, projection: Option<&[usize]>) -> Result<RecordBatch> {
        let rows = self.nexmark.release.events().table(self.table);
        match projection {
            None => Ok(rows.clone()),
            Some(columns) => rows.project(columns).map_err(internal),
        }
    }
}

#[cold]
fn internal(error: arrow::error::ArrowError) -> ConnectorError {
    ConnectorError::internal(format!("rows could not be taken: {error}"))
}

impl BoundedTable for EventTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn partitions(&self) -> Result<usize> {
        Ok(1)
    }

    fn read(&self, _partition: usize, projection: Option<&[usize]>) -> Result<RowReader> {
        let rows = self.rows(projection)?;
        let slice = move |first| rows.slice(first, BOUNDED_ROWS.min(rows.num_rows() - first));
        let count = self.nexmark.release.events().table(self.table).num_rows();
        Ok(Box::new((0..count).step_by(BOUNDED_ROWS).map(move |first| Ok(slice(first)))))
    }
}

impl StreamTable for EventTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn source(&self, projection: Option<&[usize]>) -> Result<Box<dyn SourceFactory<TableBatch>>> {
        Ok(Box::new(EventFactory { of: self.clone(), rows: self.rows(projection)? }))
    }
}

struct EventFactory {
    of: EventTable,
    rows: RecordBatch,
}

impl SourceFactory<TableBatch> for EventFactory {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: self.of.table.name().to_owned(),
            replayable: true,
            polling: Polling::NonBlocking,
            max_parallelism: 128,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<TableBatch>>> {
        let (part, parts) = (instance.index as u64, instance.parallelism.max(1) as u64);
        let EventTable { nexmark, table } = self.of.clone();
        let group = table.rows_of(nexmark.disorder) / parts;
        let rows = part_of(&self.rows, part, parts, group.max(1) as usize)?;
        Ok(Box::new(EventSource { nexmark, table, rows, part, parts, next: 0 }))
    }
}

/// Row `n` is in part `n % parts`; each so many rows of a part are in reverse order.
fn part_of(rows: &RecordBatch, part: u64, parts: u64, group: usize) -> Result<RecordBatch> {
    if parts == 1 && group == 1 {
        return Ok(rows.clone());
    }
    let mut taken: Vec<u64> = (part..rows.num_rows() as u64).step_by(parts as usize).collect();
    taken.chunks_mut(group).for_each(<[u64]>::reverse);
    take_record_batch(rows, &UInt64Array::from(taken)).map_err(internal)
}

struct EventSource {
    nexmark: Nexmark,
    table: Table,
    rows: RecordBatch,
    part: u64,
    parts: u64,
    next: u64,
}

impl EventSource {
    fn partition(&self) -> String {
        self.part.to_string()
    }

    /// The first row of this part that may not be read yet, if the run has begun.
    fn end(&self) -> Option<u64> {
        let rows = self.table.rows_of(self.nexmark.release.released()?);
        Some(rows.saturating_sub(self.part).div_ceil(self.parts))
    }

    /// What is ready before this row.
    fn attempt(&mut self, until: u64, max_rows: usize) -> Option<Polled<TableBatch>> {
        let Some(end) = self.end() else { return Some(Polled::Pending(Some(BEFORE_BEGIN))) };
        if self.next >= self.rows.num_rows() as u64 {
            return Some(Polled::Finished);
        }
        if self.next >= until {
            return Some(Polled::AtEnd);
        }
        let ready = end.min(until).saturating_sub(self.next) as usize;
        let count = ready.min(max_rows).min(self.nexmark.batch_rows);
        (count > 0).then(|| {
            let batch = self.rows.slice(self.next as usize, count);
            self.next += count as u64;
            Polled::Batch(TableBatch::from(batch))
        })
    }
}

impl Source<TableBatch> for EventSource {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        if !from.0.is_empty() && from.0.len() as u64 != self.parts {
            return Err(ConnectorError::user(format!(
                "table `{}` of format `{NEXMARK}` was read in {} parts, and cannot go on in {}: keep the \
                 parallelism, or start from a new checkpoint location",
                self.table.name(),
                from.0.len(),
                self.parts
            )));
        }
        self.next = from.get(&self.partition()).unwrap_or(0);
        Ok(())
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<TableBatch>> {
        let partition = self.partition();
        let until = request.until.map_or(u64::MAX, |until| until.get(&partition).unwrap_or(self.next));
        if let Some(polled) = self.attempt(until, request.max_rows) {
            return Ok(polled);
        }
        let row = self.part + self.next * self.parts;
        let pause = self.nexmark.release.wait_for(self.table.event_of(row), request.waker);
        // It may have been released before the waker was known.
        Ok(self.attempt(until, request.max_rows).unwrap_or(Polled::Pending(pause)))
    }

    fn offsets(&self) -> Offsets {
        Offsets::single(self.partition(), self.next)
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> Result<Latest> {
        let most = if max_rows == u64::MAX { max_rows } else { max_rows.min(self.nexmark.epoch_rows) };
        let end = self.end().map_or(self.next, |end| end.max(self.next));
        Ok(Latest::At(Offsets::single(self.partition(), end.min(self.next.saturating_add(most)))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::Events;
    use super::super::release::Pacing;
    use super::*;
    use crate::clock::Timebase;
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    fn nexmark(pacing: Pacing, disorder: u64) -> Nexmark {
        let events = Events::new(1, (0..1000).map(|event| event * 1000).collect()).unwrap();
        let release = Release::new(Timebase::begun(), events, pacing);
        Nexmark { release, batch_rows: 7, epoch_rows: 20, disorder }
    }

    fn request(table: &str) -> ReadRequest {
        let mut request = ReadRequest::default();
        request.options.set("table", table);
        request
    }

    fn sources(nexmark: &Nexmark, parallelism: usize) -> Vec<Box<dyn Source<TableBatch>>> {
        let factory = nexmark.stream(&request("AUCTION")).unwrap().source(Some(&[0])).unwrap();
        let instance = |index| Instance { index, parallelism };
        (0..parallelism).map(|index| factory.create(instance(index)).unwrap()).collect()
    }

    /// All ids up to a plan, or to the end.
    fn drain(source: &mut dyn Source<TableBatch>, until: Option<&Offsets>) -> Vec<i64> {
        let mut ids = Vec::new();
        loop {
            match source.poll(PollRequest { max_rows: 100, until, waker: Waker::noop() }).unwrap() {
                Polled::Batch(batch) => {
                    let rows = RecordBatch::from(batch);
                    assert!(rows.num_rows() <= 7);
                    ids.extend(rows.column(0).as_primitive::<Int64Type>().values());
                }
                Polled::Pending(_) => {}
                Polled::AtEnd | Polled::Finished => return ids,
            }
        }
    }

    fn bounded(nexmark: &Nexmark) -> Vec<i64> {
        let table = nexmark.bounded(&request("auction")).unwrap();
        let batches = table.read(0, Some(&[0])).unwrap().map(|rows| rows.unwrap());
        batches.flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn a_stream_has_the_rows_of_the_bounded_table() {
        for pacing in [Pacing::AtOnce, Pacing::Inline] {
            let nexmark = nexmark(pacing, 1);
            let rows = bounded(&nexmark);
            assert_eq!(rows.len(), 60);
            assert_eq!(drain(&mut *sources(&nexmark, 1).remove(0), None), rows);
        }
    }

    #[test]
    fn parts_and_disorder_lose_nothing() {
        let nexmark = nexmark(Pacing::AtOnce, 200);
        let mut parts: Vec<Vec<i64>> =
            sources(&nexmark, 3).iter_mut().map(|source| drain(&mut **source, None)).collect();
        assert!(parts.iter().all(|ids| ids.len() == 20 && ids[0] > ids[3] && ids[3] < ids[4]));
        let mut ids = parts.drain(..).flatten().collect::<Vec<_>>();
        ids.sort_unstable();
        assert_eq!(ids, bounded(&nexmark));
    }

    #[test]
    fn micro_batches_end_where_they_were_planned_and_a_restart_goes_on_there() {
        let nexmark = nexmark(Pacing::AtOnce, 1);
        let mut ids = Vec::new();
        let mut from = Offsets::default();
        for epoch in 1..=3 {
            let mut source = sources(&nexmark, 1).remove(0);
            source.start(&from).unwrap();
            let end = source.latest(100, Waker::noop()).unwrap().known().unwrap();
            assert_eq!(end, Offsets::single("0", epoch * 20));
            ids.extend(drain(&mut *source, Some(&end)));
            from = source.offsets();
            assert_eq!(from, end);
        }
        assert_eq!(ids, bounded(&nexmark));
        let mut other = sources(&nexmark, 2).remove(0);
        assert!(other.start(&from).unwrap_err().to_string().contains("keep the parallelism"));
    }

    #[test]
    fn a_table_that_is_none_is_refused() {
        let error = nexmark(Pacing::AtOnce, 1).stream(&request("bids")).unwrap_err().to_string();
        assert!(error.contains("`bids`") && error.contains("`bid`"), "{error}");
    }
}
