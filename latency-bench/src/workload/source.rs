//! The generator as a source: polled on the engine's own thread, so that no hop and no other thread stands
//! between the schedule and the engine.

use crate::clock::Timebase;
use crate::event::Event;
use crate::generator::{DueRecords, Sent, Traffic};
use crate::recorder::histogram;
use crate::schedule::Share;
use lotic::connectors::{
    Latest, Offsets, PollRequest, Polled, Polling, Result, Source, SourceFactory, SourceTraits,
};
use lotic::operators::{Instance, Rows};
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// How often the source looks whether the run has begun.
const BEFORE_BEGIN: Duration = Duration::from_millis(1);
/// Rows that a saturated source offers to a micro-batch.
const SATURATED_BATCH_ROWS: u64 = 256 * 1024;

/// What all instances have sent, filled when an instance has handed out its last record.
#[derive(Debug, Clone, Default)]
pub(super) struct AllSent(Arc<Mutex<Vec<Sent>>>);

impl AllSent {
    fn add(&self, sent: Sent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
    }

    /// The sum over all instances.
    pub(super) fn total(&self) -> Sent {
        let mut total = Sent { records: 0, late: histogram() };
        for sent in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            total.records += sent.records;
            total.late.add(&sent.late).expect("invariant: all have the same bounds");
        }
        total
    }
}

/// A source of the records that are due.
#[derive(Debug)]
pub(super) struct DueFactory {
    /// The run's clock; nothing is sent before it begins.
    pub(super) timebase: Timebase,
    /// What all instances send together.
    pub(super) traffic: Traffic,
    /// Rows in one batch, at most.
    pub(super) batch_records: usize,
    /// Where to tell what was sent.
    pub(super) sent: AllSent,
}

impl SourceFactory<Rows<Event>> for DueFactory {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: "schedule".to_owned(),
            replayable: false,
            polling: Polling::NonBlocking,
            max_parallelism: 128,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<Event>>>> {
        let of = NonZeroU64::new(instance.parallelism as u64).unwrap_or(NonZeroU64::MIN);
        let share = Share { index: instance.index as u64, of };
        Ok(Box::new(DueSource {
            timebase: self.timebase.clone(),
            due: Some(DueRecords::new(Traffic { share, ..self.traffic })),
            saturated: self.traffic.pace == crate::schedule::Pace::Unpaced,
            batch_records: self.batch_records,
            partition: instance.index.to_string(),
            planned: VecDeque::new(),
            position: 0,
            sent: self.sent.clone(),
        }))
    }
}

struct DueSource {
    timebase: Timebase,
    /// None once all was handed out.
    due: Option<DueRecords>,
    saturated: bool,
    batch_records: usize,
    partition: String,
    /// Records that became due when a micro-batch was planned, and wait for it.
    planned: VecDeque<Event>,
    position: u64,
    sent: AllSent,
}

impl DueSource {
    /// Rows that may be returned before the planned end.
    fn room(&self, request: &PollRequest<'_>) -> usize {
        let until =
            request.until.map_or(u64::MAX, |until| until.get(&self.partition).unwrap_or(self.position));
        let left = usize::try_from(until.saturating_sub(self.position)).unwrap_or(usize::MAX);
        left.min(request.max_rows).min(self.batch_records)
    }

    /// Tells what was sent, once.
    fn finish(&mut self) {
        if let Some(due) = self.due.take() {
            self.sent.add(due.finish());
        }
    }

    fn take(&mut self, now_ns: u64, rows: usize) -> Vec<Event> {
        let mut batch: Vec<Event> = Vec::new();
        let planned = self.planned.len().min(rows);
        batch.extend(self.planned.drain(..planned));
        if let Some(due) = self.due.as_mut().filter(|_| planned < rows) {
            due.take_due(now_ns, rows - planned, &mut batch);
        }
        self.position += batch.len() as u64;
        batch
    }
}

impl Source<Rows<Event>> for DueSource {
    fn start(&mut self, _from: &Offsets) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<Rows<Event>>> {
        let Some(now_ns) = self.timebase.since_begin() else {
            return Ok(Polled::Pending(Some(BEFORE_BEGIN)));
        };
        let room = self.room(&request);
        if room > 0 {
            let batch = self.take(now_ns, room);
            if !batch.is_empty() {
                return Ok(Polled::Batch(Rows::from(batch)));
            }
        }
        match self.due.as_ref().and_then(DueRecords::next_ns) {
            None if self.planned.is_empty() => {
                self.finish();
                Ok(Polled::Finished)
            }
            _ if room == 0 => Ok(Polled::AtEnd),
            Some(next_ns) => Ok(Polled::Pending(Some(Duration::from_nanos(next_ns.saturating_sub(now_ns))))),
            None => Ok(Polled::AtEnd),
        }
    }

    fn offsets(&self) -> Offsets {
        Offsets::single(self.partition.clone(), self.position)
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> Result<Latest> {
        let ready = match (self.timebase.since_begin(), &mut self.due) {
            (Some(now_ns), Some(due)) if self.saturated => {
                let more = due.next_ns().is_some() && now_ns < due.ends_ns();
                if more { SATURATED_BATCH_ROWS } else { 0 }
            }
            (Some(now_ns), Some(due)) => {
                let mut batch = Vec::new();
                due.take_due(now_ns, usize::MAX, &mut batch);
                self.planned.extend(batch);
                self.planned.len() as u64
            }
            _ => self.planned.len() as u64,
        };
        Ok(Latest::At(Offsets::single(self.partition.clone(), self.position + ready.min(max_rows))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Window;
    use crate::schedule::Pace;

    fn factory(pace: Pace) -> DueFactory {
        let window = Window { from_ns: 0, to_ns: 3_000_000 };
        let traffic = Traffic { pace, share: Share::ALL, keys: 10, seed: 1, window };
        DueFactory { timebase: Timebase::begun(), traffic, batch_records: 7, sent: AllSent::default() }
    }

    fn drain(source: &mut dyn Source<Rows<Event>>, until: Option<&Offsets>) -> (usize, bool) {
        let mut rows = 0;
        loop {
            match source.poll(PollRequest { max_rows: 1024, until, waker: Waker::noop() }).unwrap() {
                Polled::Batch(batch) => {
                    assert!(batch.len() <= 7);
                    rows += batch.len();
                }
                Polled::Pending(_) => {}
                Polled::AtEnd => return (rows, false),
                Polled::Finished => return (rows, true),
            }
        }
    }

    fn constant() -> Pace {
        Pace::Constant { per_second: NonZeroU64::new(100_000).unwrap() }
    }

    #[test]
    fn all_is_handed_out_and_told_once() {
        let factory = factory(constant());
        let mut source = factory.create(Instance::ONLY).unwrap();
        assert_eq!(drain(&mut *source, None), (300, true));
        assert_eq!(drain(&mut *source, None), (0, true));
        assert_eq!((factory.sent.total().records, source.offsets()), (300, Offsets::single("0", 300)));
    }

    #[test]
    fn micro_batches_end_where_they_were_planned() {
        let factory = factory(constant());
        let mut source = factory.create(Instance::ONLY).unwrap();
        let mut rows = 0;
        loop {
            let end = source.latest(50, Waker::noop()).unwrap().known().unwrap();
            let (batch, finished) = drain(&mut *source, Some(&end));
            rows += batch;
            assert_eq!(source.offsets(), end);
            if finished {
                break;
            }
        }
        assert_eq!((rows, factory.sent.total().records), (300, 300));
    }

    #[test]
    fn saturated_there_is_always_more_until_the_end() {
        let factory = factory(Pace::Unpaced);
        let mut source = factory.create(Instance::ONLY).unwrap();
        let end = source.latest(100, Waker::noop()).unwrap().known().unwrap();
        let (rows, finished) = drain(&mut *source, Some(&end));
        assert!(rows == 100 || finished);
        let (_, finished) = drain(&mut *source, None);
        assert!(finished && factory.sent.total().records >= rows as u64);
    }
}
