//! What the engine asks of sources: those whose polls block, and those that have to ask outside before they
//! know what there is to read.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::connectors::memory::{self, MemorySink, MemorySource};
use lotic::connectors::{Latest, Offsets, PollRequest, Polled, Polling, Source, SourceFactory, SourceTraits};
use lotic::operators::{Instance, Rows};
use lotic::{Session, StreamingQuery, Trigger};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const CONTINUOUS: Trigger = Trigger::Continuous(Duration::from_millis(5));
const MICRO_BATCH: Trigger = Trigger::ProcessingTime(Duration::from_millis(1));
const BOTH: [Trigger; 2] = [CONTINUOUS, MICRO_BATCH];

fn session(parallelism: usize) -> Session {
    Session::builder().workers(2).parallelism(parallelism).get_or_create().unwrap()
}

fn ended(query: &StreamingQuery) {
    assert!(query.await_termination_timeout(LIMIT).unwrap(), "the query hangs: {}", query.explain());
}

/// A source that blocks until a row is there, from a channel: replayable, since it keeps what it got.
struct Waits {
    rows: Arc<std::sync::Mutex<std::sync::mpsc::Receiver<u64>>>,
}

struct Waiting {
    rows: Arc<std::sync::Mutex<std::sync::mpsc::Receiver<u64>>>,
    next: u64,
}

impl SourceFactory<Rows<u64>> for Waits {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: "waits".into(),
            replayable: false,
            polling: Polling::Blocking,
            max_parallelism: 1,
        }
    }

    fn create(&self, _: Instance) -> lotic::connectors::Result<Box<dyn Source<Rows<u64>>>> {
        Ok(Box::new(Waiting { rows: Arc::clone(&self.rows), next: 0 }))
    }
}

impl Source<Rows<u64>> for Waiting {
    fn start(&mut self, from: &Offsets) -> lotic::connectors::Result<()> {
        self.next = from.get("0").unwrap_or(0);
        Ok(())
    }

    fn poll(&mut self, request: PollRequest<'_>) -> lotic::connectors::Result<Polled<Rows<u64>>> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        let rows = self.rows.lock().unwrap();
        match rows.recv_timeout(Duration::from_millis(20)) {
            Ok(first) => {
                let batch: Vec<u64> =
                    std::iter::once(first).chain(rows.try_iter().take(request.max_rows - 1)).collect();
                self.next += batch.len() as u64;
                Ok(Polled::Batch(Rows::from(batch)))
            }
            Err(Timeout) => Ok(Polled::Pending(None)),
            Err(Disconnected) => Ok(Polled::Finished),
        }
    }

    fn offsets(&self) -> Offsets {
        Offsets::single("0", self.next)
    }

    fn latest(&mut self, _: u64, _: &Waker) -> lotic::connectors::Result<Latest> {
        Ok(Latest::At(self.offsets()))
    }
}

#[test]
fn a_source_that_blocks_has_a_thread_of_its_own_and_holds_nobody_up() {
    for trigger in BOTH {
        let session = session(1);
        let (put, rows) = std::sync::mpsc::channel();
        let waits = Waits { rows: Arc::new(std::sync::Mutex::new(rows)) };
        let (blocked, out) = session.source(waits).key_by(|n| n % 2).count().egress("out");
        let blocked = blocked.start(trigger).unwrap();
        // On the same worker another query flows while the source blocks.
        let other = session.rows((0..1000u64).collect::<Vec<_>>()).for_each(|_| {}).start(trigger).unwrap();
        ended(&other);
        for n in 0..50u64 {
            put.send(n).unwrap();
            assert_eq!(out.recv_timeout(LIMIT).ok(), Some((n % 2, n / 2 + 1)), "{trigger}");
        }
        for n in 50..5000 {
            put.send(n).unwrap();
        }
        drop(put);
        let rest: Vec<(u64, u64)> = out.iter().collect();
        assert!(rest.iter().copied().eq((50..5000).map(|n| (n % 2, n / 2 + 1))), "{trigger}");
        ended(&blocked);
    }
}

#[test]
fn a_stop_does_not_wait_for_a_blocking_source_to_find_something() {
    for trigger in BOTH {
        let (put, rows) = std::sync::mpsc::channel::<u64>();
        let waits = Waits { rows: Arc::new(std::sync::Mutex::new(rows)) };
        let sink = MemorySink::new();
        let query = session(1).source(waits).sink(sink.clone()).start(trigger).unwrap();
        query.stop().unwrap();
        assert!(sink.committed().is_empty());
        drop(put);
    }
}

/// A source that does not know what there is to read before it was asked often enough.
struct Asks {
    rows: MemorySource<u64>,
    /// Whether it wakes when it knows; otherwise it says when to ask again.
    wakes: bool,
}

struct Asking {
    rows: Box<dyn Source<Rows<u64>>>,
    wakes: bool,
    asked: u32,
}

impl SourceFactory<Rows<u64>> for Asks {
    fn traits(&self) -> SourceTraits {
        self.rows.traits()
    }

    fn create(&self, instance: Instance) -> lotic::connectors::Result<Box<dyn Source<Rows<u64>>>> {
        Ok(Box::new(Asking { rows: self.rows.create(instance)?, wakes: self.wakes, asked: 0 }))
    }
}

impl Source<Rows<u64>> for Asking {
    fn start(&mut self, from: &Offsets) -> lotic::connectors::Result<()> {
        self.rows.start(from)
    }

    fn poll(&mut self, request: PollRequest<'_>) -> lotic::connectors::Result<Polled<Rows<u64>>> {
        self.rows.poll(request)
    }

    fn offsets(&self) -> Offsets {
        self.rows.offsets()
    }

    fn latest(&mut self, max_rows: u64, waker: &Waker) -> lotic::connectors::Result<Latest> {
        self.asked += 1;
        if self.asked.is_multiple_of(3) {
            return self.rows.latest(max_rows, waker);
        }
        if self.wakes {
            waker.wake_by_ref();
        }
        Ok(Latest::Pending((!self.wakes).then_some(Duration::from_millis(1))))
    }
}

#[test]
fn a_source_may_take_its_time_to_say_what_there_is_to_read() {
    let triggers = [CONTINUOUS, MICRO_BATCH, Trigger::AvailableNow, Trigger::Once];
    for (wakes, trigger) in [true, false].into_iter().flat_map(|wakes| triggers.map(|t| (wakes, t))) {
        let sink = MemorySink::new();
        let (input, rows) = memory::stream::<u64>("rows", 3);
        input.add(0..1000);
        let query = session(2).source(Asks { rows, wakes }).sink(sink.clone()).max_rows_per_batch(100);
        let query = query.start(trigger).unwrap();
        if BOTH.contains(&trigger) {
            query.process_all_available().unwrap();
            assert_eq!(sink.committed().len(), 1000);
        }
        input.finish();
        ended(&query);
        let mut seen = sink.committed();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..1000), "{trigger}, wakes: {wakes}");
    }
}
