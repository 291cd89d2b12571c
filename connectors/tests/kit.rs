//! The test kit finds faults: connectors that break their contract in one way each.
#![allow(clippy::unwrap_used)]

use lotic_connectors::testing::{SinkWorld, check_sink, check_source};
use lotic_connectors::{
    Committer, Delivery, Latest, MemorySink, MemorySource, Offsets, PollRequest, Polled, Prepare, Result,
    Sink, SinkFactory, SinkTraits, Source, SourceFactory, SourceTraits,
};
use lotic_operators::{Epoch, Instance, Rows};
use std::sync::{Arc, Mutex};
use std::task::Waker;

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    IgnoresMaxRows,
    IgnoresUntil,
    IgnoresOffsets,
    PlansTooMuch,
    LosesRows,
    VisibleAtOnce,
    CommitsTwice,
    ForgetsItsCommits,
    KeepsWhatIsAborted,
}

struct FaultySource(MemorySource<u64>, Fault);
struct FaultyReader(Box<dyn Source<Rows<u64>>>, Fault);

impl SourceFactory<Rows<u64>> for FaultySource {
    fn traits(&self) -> SourceTraits {
        self.0.traits()
    }
    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<u64>>>> {
        Ok(Box::new(FaultyReader(self.0.create(instance)?, self.1)))
    }
}

impl Source<Rows<u64>> for FaultyReader {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        let beginning = Offsets::default();
        self.0.start(if self.1 == Fault::IgnoresOffsets { &beginning } else { from })
    }
    fn poll(&mut self, mut request: PollRequest<'_>) -> Result<Polled<Rows<u64>>> {
        match self.1 {
            Fault::IgnoresMaxRows => request.max_rows = request.max_rows.saturating_add(1),
            Fault::IgnoresUntil => request.until = None,
            Fault::LosesRows => drop(self.0.poll(PollRequest { max_rows: 1, ..request })?),
            _ => {}
        }
        self.0.poll(request)
    }
    fn offsets(&self) -> Offsets {
        self.0.offsets()
    }
    fn latest(&mut self, max_rows: u64, waker: &Waker) -> Result<Latest> {
        self.0.latest(max_rows + u64::from(self.1 == Fault::PlansTooMuch && max_rows < 100), waker)
    }
}

fn check_faulty_source(fault: Fault) {
    let rows = check_source(|| FaultySource(MemorySource::partitioned(0..20, 2), fault), |row| row);
    assert_eq!(rows, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_source_without_fault_passes() {
    check_faulty_source(Fault::None);
}

#[test]
#[should_panic(expected = "a batch of 2 rows, asked for 1")]
fn too_many_rows() {
    check_faulty_source(Fault::IgnoresMaxRows);
}

#[test]
#[should_panic(expected = "a batch ends where it was planned to end")]
fn no_end() {
    check_faulty_source(Fault::IgnoresUntil);
}

#[test]
#[should_panic(expected = "a start leads to its offsets")]
fn no_resume() {
    check_faulty_source(Fault::IgnoresOffsets);
}

#[test]
#[should_panic(expected = "at most 1 rows from 0:0,1:0")]
fn a_plan_that_is_too_long() {
    check_faulty_source(Fault::PlansTooMuch);
}

#[test]
#[should_panic(expected = "offsets move by the rows returned")]
fn lost_rows() {
    check_faulty_source(Fault::LosesRows);
}

/// A sink in memory, and what became visible where it should not.
#[derive(Clone)]
struct Faulty {
    results: MemorySink<u64>,
    extra: Arc<Mutex<Vec<u64>>>,
    handles: Arc<Mutex<Vec<Vec<u8>>>>,
    fault: Fault,
}

struct FaultyWriter(Box<dyn Sink<Rows<u64>>>, Faulty);
struct FaultyCommitter(Box<dyn Committer>, Faulty);

impl SinkFactory<Rows<u64>> for Faulty {
    fn traits(&self) -> SinkTraits {
        SinkTraits { delivery: Delivery::ExactlyOnce, ..self.results.traits() }
    }
    fn create(&self, instance: Instance) -> Result<Box<dyn Sink<Rows<u64>>>> {
        Ok(Box::new(FaultyWriter(self.results.create(instance)?, self.clone())))
    }
    fn committer(&self, writer: &str) -> Result<Option<Box<dyn Committer>>> {
        let committer = self.results.committer(writer)?;
        Ok(committer.map(|committer| Box::new(FaultyCommitter(committer, self.clone())) as _))
    }
}

impl Sink<Rows<u64>> for FaultyWriter {
    fn start(&mut self, epoch: Epoch) -> Result<()> {
        self.0.start(epoch)
    }
    fn write(&mut self, batch: &mut Rows<u64>, waker: &Waker) -> Result<()> {
        match self.1.fault {
            Fault::VisibleAtOnce => self.1.extra.lock().unwrap().extend(batch.as_slice()),
            Fault::LosesRows => drop(batch.next()),
            _ => {}
        }
        self.0.write(batch, waker)
    }
    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        self.0.pre_commit(epoch)
    }
}

impl Committer for FaultyCommitter {
    fn last_committed(&mut self) -> Result<Epoch> {
        if self.1.fault == Fault::ForgetsItsCommits { Ok(Epoch::NONE) } else { self.0.last_committed() }
    }
    fn commit(&mut self, epoch: Epoch, handles: &[&[u8]]) -> Result<()> {
        let mut committed = self.1.handles.lock().unwrap();
        for handle in handles {
            if self.1.fault == Fault::CommitsTwice && committed.iter().any(|known| known == handle) {
                self.1.extra.lock().unwrap().push(0);
            }
            committed.push(handle.to_vec());
        }
        self.0.commit(epoch, handles)
    }
    fn abort_prepared(&mut self) -> Result<()> {
        if self.1.fault != Fault::KeepsWhatIsAborted {
            return self.0.abort_prepared();
        }
        // As a sink would that shows all that was prepared once it comes back.
        self.1.extra.lock().unwrap().push(0);
        Ok(())
    }
}

impl SinkWorld for Faulty {
    type Row = u64;
    fn open(&mut self) -> Box<dyn SinkFactory<Rows<u64>>> {
        Box::new(self.clone())
    }
    fn row(&self, number: u64) -> u64 {
        number
    }
    fn visible(&mut self) -> Vec<u64> {
        [self.results.committed(), self.extra.lock().unwrap().clone()].concat()
    }
}

fn check_faulty_sink(fault: Fault) {
    check_sink(|| Faulty {
        results: MemorySink::new(),
        extra: Arc::default(),
        handles: Arc::default(),
        fault,
    });
}

#[test]
fn a_sink_without_fault_passes() {
    check_faulty_sink(Fault::None);
}

#[test]
#[should_panic(expected = "rows are visible once they are committed")]
fn visible_too_early() {
    check_faulty_sink(Fault::VisibleAtOnce);
}

#[test]
#[should_panic(expected = "rows are visible once they are committed")]
fn rows_the_sink_loses() {
    check_faulty_sink(Fault::LosesRows);
}

#[test]
#[should_panic(expected = "the newest epoch that is visible")]
fn commits_forgotten() {
    check_faulty_sink(Fault::ForgetsItsCommits);
}

#[test]
#[should_panic(expected = "crash: PartlyCommitted")]
fn a_commit_that_is_not_idempotent() {
    check_faulty_sink(Fault::CommitsTwice);
}

#[test]
#[should_panic(expected = "rows are visible once they are committed")]
fn an_abort_that_does_not() {
    check_faulty_sink(Fault::KeepsWhatIsAborted);
}
