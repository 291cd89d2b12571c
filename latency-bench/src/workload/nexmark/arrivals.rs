//! The format `nexmark-arrivals`: a sink that keeps the latency of what it is given.

use super::super::probe::Probe;
use super::queries::{DELAY_US, Query, Timed};
use super::release::Release;
use crate::recorder::{Recorded, Recorder};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampMicrosecondType};
use lotic::connectors::table::{TableFormat, WriteRequest};
use lotic::connectors::{ConnectorError, Delivery, Result, Sink, SinkFactory, SinkTraits};
use lotic::operators::table::TableBatch;
use lotic::operators::{Batch, Epoch, Instance};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

/// The name of the format.
pub(super) const ARRIVALS: &str = "nexmark-arrivals";

/// When the last row of each window came, by the window's end: microseconds of event time, nanoseconds since
/// the run began.
type LastRows = Arc<Mutex<HashMap<i64, u64>>>;

/// The sink of a run as a format. Clones are the same sink.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    query: &'static Query,
    release: Arc<Release>,
    probe: Probe,
    windows: LastRows,
}

impl Arrivals {
    pub(super) fn new(query: &'static Query, release: Arc<Release>, probe: Probe) -> Arrivals {
        Arrivals { query, release, probe, windows: LastRows::default() }
    }

    /// What came. `empty` is filled with one latency for each window, from the event that closed it to its last
    /// row; windows that the end of the input closed do not count. `parallelism` is that of the sources: each of
    /// them has to reach the end of a window.
    pub(super) fn finish(&self, empty: Recorder, parallelism: usize) -> Recorded {
        let rows = self.probe.finish();
        if self.query.timed == Timed::Row {
            return rows;
        }
        let mut recorder = empty;
        let events = self.release.events();
        for (end_us, last_ns) in self.windows.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let reached = |table| events.reached_by(table, parallelism as u64, end_us + DELAY_US);
            // The watermark is that of the slowest table.
            let closing = self.query.reads.iter().map(|table| reached(*table)).collect::<Option<Vec<u64>>>();
            if let Some(event) = closing.and_then(|events| events.into_iter().max()) {
                recorder.record(*last_ns, events.intended_ns(event), self.release.sent_ns(event));
            }
        }
        Recorded { seen: rows.seen, ..recorder.finish() }
    }
}

impl TableFormat for Arrivals {
    fn name(&self) -> &'static str {
        ARRIVALS
    }

    fn summary(&self) -> &'static str {
        "Keeps the latency of the rows that arrive."
    }

    fn sink(&self, request: &WriteRequest) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        let column = time_column(&request.schema, self.query.timed)?;
        Ok(Box::new(ArrivalFactory { arrivals: self.clone(), column }))
    }
}

/// The column that latency is told from.
fn time_column(schema: &Schema, timed: Timed) -> Result<usize> {
    let name = match timed {
        Timed::Row => "date_time",
        Timed::Window => "window_end",
    };
    let found = schema.column_with_name(name);
    let found =
        found.filter(|(_, field)| matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)));
    found.map(|(at, _)| at).ok_or_else(|| {
        ConnectorError::user(format!(
            "format `{ARRIVALS}` needs a column `{name}` of the type TIMESTAMP, in microseconds: the query has none"
        ))
    })
}

struct ArrivalFactory {
    arrivals: Arrivals,
    column: usize,
}

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
        Ok(Box::new(ArrivalSink { arrivals: self.arrivals.clone(), column: self.column }))
    }
}

struct ArrivalSink {
    arrivals: Arrivals,
    column: usize,
}

impl Sink<TableBatch> for ArrivalSink {
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut TableBatch, _waker: &Waker) -> Result<()> {
        let Some(batch) = batch.take() else { return Ok(()) };
        let rows = RecordBatch::from(batch);
        let times = rows.column(self.column).as_primitive::<TimestampMicrosecondType>().values();
        let Arrivals { query, release, probe, windows } = &self.arrivals;
        probe.record(|now_ns, recorder| match query.timed {
            Timed::Row => {
                for time_us in times {
                    let event = release.events().first_at(*time_us).unwrap_or_default();
                    recorder.record(now_ns, release.events().intended_ns(event), release.sent_ns(event));
                }
            }
            Timed::Window => {
                let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
                for same in times.chunk_by(|one, other| one == other) {
                    // These are counted here, and their latency is told at the end.
                    recorder.stands_for(same.len() as u64 + 1);
                    let last_ns = windows.entry(same[0]).or_default();
                    *last_ns = now_ns.max(*last_ns);
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::{BASE_US, Events};
    use super::super::queries::query;
    use super::super::release::Pacing;
    use super::*;
    use crate::clock::Timebase;
    use crate::recorder::Window;
    use arrow::array::{ArrayRef, TimestampMicrosecondArray};

    const ALL: Window = Window { from_ns: 0, to_ns: u64::MAX };

    /// Events of 3 s, 1 ms apart, all released when the run began.
    fn arrivals(name: &str) -> Arrivals {
        let timebase = Timebase::begun();
        let events = Events::new(1, (0..3000).map(|event| event * 1_000_000).collect()).unwrap();
        let release = Release::new(timebase.clone(), events, Pacing::AtOnce);
        assert_eq!(release.released(), Some(3000));
        Arrivals::new(query(name).unwrap(), release, Probe::new(&timebase, Recorder::new(ALL)))
    }

    fn write(arrivals: &Arrivals, column: &str, millis: &[i64]) -> Result<()> {
        let times = TimestampMicrosecondArray::from_iter_values(millis.iter().map(|ms| BASE_US + ms * 1000));
        let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
        let rows = RecordBatch::try_from_iter([(column, times)]).unwrap();
        let request = WriteRequest {
            options: Default::default(),
            schema: rows.schema(),
            partition_by: Vec::new(),
            output_mode: Default::default(),
            save_mode: None,
        };
        let mut sink = arrivals.sink(&request)?.create(Instance::ONLY).unwrap();
        sink.write(&mut TableBatch::from(rows), Waker::noop())
    }

    #[test]
    fn each_row_is_told_from_its_event() {
        let arrivals = arrivals("q0");
        write(&arrivals, "date_time", &[0, 1, 2, 2999]).unwrap();
        let seen = arrivals.finish(Recorder::new(ALL), 1);
        assert_eq!((seen.seen, seen.from_intended.len()), (4, 4));
        assert_eq!(seen.from_intended.min(), 0, "the last event is here before its intended time");
        assert!(
            seen.from_intended.max() >= seen.from_send.max(),
            "the first was intended when the run began"
        );
    }

    #[test]
    fn each_window_is_told_from_the_event_that_closed_it_to_its_last_row() {
        let arrivals = arrivals("q7");
        write(&arrivals, "window_end", &[500, 500, 1500]).unwrap();
        write(&arrivals, "window_end", &[500, 2500]).unwrap();
        let closed_ns = 2_000_000_000;
        arrivals.windows.lock().unwrap().insert(BASE_US + 500_000, closed_ns);
        // Of bids, event 1504 is the first that is 1 s after the window's end.
        let recorded = arrivals.finish(Recorder::new(ALL), 1);
        assert_eq!(recorded.seen, 5, "rows");
        assert_eq!(recorded.from_intended.len(), 2, "nothing closed the window that ends at 2.5 s");
        let expected = (closed_ns - 1_504_000_000) as f64;
        assert!((recorded.from_intended.max() as f64 / expected - 1.0).abs() < 0.001);
    }

    #[test]
    fn a_query_without_the_column_is_refused() {
        let error = write(&arrivals("q7"), "date_time", &[0]).unwrap_err().to_string();
        assert!(error.contains("`window_end`"), "{error}");
    }
}
