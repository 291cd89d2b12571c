//! The checks of a sink.

use super::{Alarm, PATIENCE};
use crate::sink::{Committer, Delivery, Prepare, Sink, SinkFactory};
use lotic_operators::{Batch, Epoch, Instance, Rows};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// A sink and the world outside it, which outlives crashes.
pub trait SinkWorld {
    /// The rows of the sink.
    type Row: Send + 'static;

    /// Makes the factory, as a process that starts would.
    fn open(&mut self) -> Box<dyn SinkFactory<Rows<Self::Row>>>;

    /// Makes the row of this number.
    fn row(&self, number: u64) -> Self::Row;

    /// The numbers of all rows that a reader outside has seen up to now, in any order. If the sink waits for
    /// its reader, this makes room.
    fn visible(&mut self) -> Vec<u64>;

    /// Whether all rows of an epoch become visible at once, so that no crash can leave a part of them so.
    fn is_atomic(&self) -> bool {
        false
    }
}

/// What the engine would call the sink.
const WRITER: &str = "kit/sink";

/// Runs a sink through crashes at every step of an epoch.
///
/// `make` makes a new, empty world.
///
/// # Panics
/// If the sink breaks its contract, saying how.
pub fn check_sink<W: SinkWorld>(make: impl Fn() -> W) {
    let traits = make().open().traits();
    assert!(!traits.name.is_empty(), "a sink has a name");
    assert!(traits.max_parallelism >= 1, "a sink has at least one instance");
    let most = traits.max_parallelism.min(3);
    let atomic = make().is_atomic();
    for crash in CRASHES {
        if atomic && crash == Crash::PartlyCommitted {
            continue;
        }
        for next_begun in [false, true] {
            for (parallelism, later) in [(1, 1), (most, most), (1, most), (most, 1)] {
                let case = Case { crash, next_begun, parallelism, later };
                match traits.delivery {
                    Delivery::ExactlyOnce => exactly_once(&mut make(), case),
                    Delivery::AtLeastOnce => at_least_once(&mut make(), case),
                }
            }
        }
    }
}

/// How far an epoch had come when the process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Crash {
    Written,
    MarkerPassed,
    PartlyPrepared,
    Prepared,
    /// The checkpoint is durable: from here on the epoch counts.
    Decided,
    PartlyCommitted,
    Committed,
    CommittedTwice,
}

const CRASHES: [Crash; 8] = [
    Crash::Written,
    Crash::MarkerPassed,
    Crash::PartlyPrepared,
    Crash::Prepared,
    Crash::Decided,
    Crash::PartlyCommitted,
    Crash::Committed,
    Crash::CommittedTwice,
];

#[derive(Debug, Clone, Copy)]
struct Case {
    crash: Crash,
    next_begun: bool,
    parallelism: usize,
    later: usize,
}

/// Rows of an epoch. The second has none, the third more than a buffer is likely to hold.
fn rows_of(epoch: Epoch) -> std::ops::Range<u64> {
    match epoch.0 {
        1 => 0..10,
        2 => 10..10,
        3 => 10..5000,
        epoch => 5000 + (epoch - 4) * 10..5000 + (epoch - 3) * 10,
    }
}

const CRASH_EPOCH: Epoch = Epoch(3);
const LAST_EPOCH: Epoch = Epoch(5);

/// Plays the engine for one run of a query.
struct Run<T> {
    sinks: Vec<Box<dyn Sink<Rows<T>>>>,
    committer: Option<Box<dyn Committer>>,
    alarm: Arc<Alarm>,
    waker: Waker,
}

impl<T: Send + 'static> Run<T> {
    /// Recovers from the checkpoint before `first`, with the handles it holds.
    fn recover<W>(world: &mut W, parallelism: usize, first: Epoch, handles: &[Vec<u8>]) -> Self
    where
        W: SinkWorld<Row = T>,
    {
        let factory = world.open();
        let mut committer = factory.committer(WRITER).expect("the committer is created");
        let checkpoint = Epoch(first.0 - 1);
        if let Some(committer) = &mut committer {
            let newest = committer.last_committed().expect("the outside is asked");
            assert!(newest <= checkpoint, "epoch {newest} is visible, the checkpoint is of {checkpoint}");
            if !handles.is_empty() {
                committer.commit(checkpoint, &slices(handles)).expect("a pending epoch is committed");
            }
            committer.abort_prepared().expect("what was prepared is dropped");
        }
        let instances = (0..parallelism).map(|index| Instance { index, parallelism });
        let create = |instance| factory.create(instance).expect("an instance is created");
        let mut sinks: Vec<_> = instances.map(create).collect();
        for sink in &mut sinks {
            sink.start(first).expect("the sink starts");
        }
        let (alarm, waker) = Alarm::new();
        Run { sinks, committer, alarm, waker }
    }

    fn write<W: SinkWorld<Row = T>>(&mut self, world: &mut W, epoch: Epoch) {
        let mut batches: Vec<Vec<T>> = self.sinks.iter().map(|_| Vec::new()).collect();
        for number in rows_of(epoch) {
            batches[number as usize % self.sinks.len()].push(world.row(number));
        }
        let deadline = Instant::now() + PATIENCE;
        for (sink, rows) in self.sinks.iter_mut().zip(batches) {
            let mut batch = Rows::from(rows);
            while batch.rows() > 0 {
                sink.write(&mut batch, &self.waker).expect("rows are written");
                if batch.rows() > 0 {
                    world.visible();
                    assert!(self.alarm.wait(PATIENCE), "a sink that leaves rows wakes when it has room");
                    assert!(Instant::now() < deadline, "the sink takes no rows");
                }
            }
        }
    }

    fn pass_marker(&mut self, epoch: Epoch) -> Vec<Prepare> {
        let prepares = self.sinks.iter_mut().map(|sink| sink.pre_commit(epoch).expect("the epoch ends"));
        prepares.flatten().collect()
    }

    fn commit(&mut self, epoch: Epoch, handles: &[Vec<u8>]) {
        if let Some(committer) = &mut self.committer
            && !handles.is_empty()
        {
            committer.commit(epoch, &slices(handles)).expect("an epoch is committed");
        }
    }

    /// Runs an epoch to its end.
    fn complete<W: SinkWorld<Row = T>>(&mut self, world: &mut W, epoch: Epoch) {
        self.write(world, epoch);
        let handles = prepare(self.pass_marker(epoch));
        self.commit(epoch, &handles);
    }
}

fn slices(handles: &[Vec<u8>]) -> Vec<&[u8]> {
    handles.iter().map(Vec::as_slice).collect()
}

fn prepare(prepares: Vec<Prepare>) -> Vec<Vec<u8>> {
    prepares.into_iter().map(|prepare| prepare().expect("an epoch is prepared")).collect()
}

/// Runs up to the crash. Returns the handles that the newest durable checkpoint holds, if it is that of the
/// epoch of the crash.
fn crash<W: SinkWorld>(world: &mut W, case: Case) -> Option<Vec<Vec<u8>>> {
    let mut run = Run::recover(world, case.parallelism, Epoch(1), &[]);
    run.complete(world, Epoch(1));
    run.complete(world, Epoch(2));
    let epoch = CRASH_EPOCH;
    run.write(world, epoch);
    if case.crash == Crash::Written {
        return None;
    }
    let mut prepares = run.pass_marker(epoch);
    if case.next_begun {
        run.write(world, epoch.next());
        // The marker has passed; what it left to do is lost.
        drop(run.pass_marker(epoch.next()));
    }
    match case.crash {
        Crash::MarkerPassed => return None,
        Crash::PartlyPrepared => {
            prepares.truncate(1);
            prepare(prepares);
            return None;
        }
        _ => {}
    }
    let handles = prepare(prepares);
    match case.crash {
        Crash::Prepared => return None,
        Crash::PartlyCommitted => run.commit(epoch, &handles[..handles.len().min(1)]),
        Crash::Committed => run.commit(epoch, &handles),
        Crash::CommittedTwice => {
            run.commit(epoch, &handles);
            run.commit(epoch, &handles);
        }
        _ => {}
    }
    Some(handles)
}

/// Recovers from the crash and runs to the end.
fn recover<W: SinkWorld>(world: &mut W, case: Case, handles: Option<Vec<Vec<u8>>>) {
    let first = if handles.is_some() { CRASH_EPOCH.next() } else { CRASH_EPOCH };
    let mut run = Run::recover(world, case.later, first, &handles.unwrap_or_default());
    for epoch in (first.0..=LAST_EPOCH.0).map(Epoch) {
        run.complete(world, epoch);
    }
    if let Some(committer) = &mut run.committer {
        let newest = committer.last_committed().expect("the outside is asked");
        assert_eq!(newest, LAST_EPOCH, "the newest epoch that is visible, {case:?}");
    }
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

fn all_up_to(epoch: Epoch) -> Vec<u64> {
    (1..=epoch.0).flat_map(|epoch| rows_of(Epoch(epoch))).collect()
}

fn exactly_once<W: SinkWorld>(world: &mut W, case: Case) {
    let handles = crash(world, case);
    let seen = sorted(world.visible());
    match case.crash {
        Crash::PartlyCommitted => assert!(seen.len() >= rows_of(Epoch(1)).count(), "{case:?}"),
        Crash::Committed | Crash::CommittedTwice => assert_eq!(seen, all_up_to(CRASH_EPOCH), "{case:?}"),
        _ => assert_eq!(seen, all_up_to(Epoch(2)), "rows are visible once they are committed: {case:?}"),
    }
    recover(world, case, handles);
    assert_eq!(sorted(world.visible()), all_up_to(LAST_EPOCH), "every row once, {case:?}");
}

fn at_least_once<W: SinkWorld>(world: &mut W, case: Case) {
    let handles = crash(world, case);
    let mut seen = sorted(world.visible());
    seen.dedup();
    assert!(seen.starts_with(&all_up_to(CRASH_EPOCH)), "rows are visible once they are written: {case:?}");
    recover(world, case, handles);
    let mut seen = sorted(world.visible());
    seen.dedup();
    assert_eq!(seen, all_up_to(LAST_EPOCH), "every row at least once, {case:?}");
}
