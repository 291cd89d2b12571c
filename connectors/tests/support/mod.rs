//! What the tests share.
#![allow(dead_code, clippy::unwrap_used)]

use lotic_connectors::{Offsets, PollRequest, Polled, Result, Sink, SinkFactory, Source, SourceFactory};
use lotic_operators::{Epoch, Instance, Rows};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// No test waits longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Counts how often it was woken, and unparks the thread that made it.
pub(crate) struct Bell {
    rings: AtomicUsize,
    thread: Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Bell {
    pub(crate) fn new() -> (Arc<Bell>, Waker) {
        let bell = Arc::new(Bell { rings: AtomicUsize::new(0), thread: thread::current() });
        (Arc::clone(&bell), Waker::from(bell))
    }

    pub(crate) fn rings(&self) -> usize {
        self.rings.load(Ordering::SeqCst)
    }
}

pub(crate) fn poll_once<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

pub(crate) fn source_of<T: Send + 'static>(
    factory: &impl SourceFactory<Rows<T>>,
) -> Box<dyn Source<Rows<T>>> {
    source_at(factory, &Offsets::default()).unwrap()
}

pub(crate) fn source_at<T: Send + 'static>(
    factory: &impl SourceFactory<Rows<T>>,
    from: &Offsets,
) -> Result<Box<dyn Source<Rows<T>>>> {
    let mut source = factory.create(Instance::ONLY)?;
    source.start(from)?;
    Ok(source)
}

pub(crate) fn poll<T: Send + 'static>(
    source: &mut Box<dyn Source<Rows<T>>>,
    max_rows: usize,
    waker: &Waker,
) -> Result<Polled<Rows<T>>> {
    source.poll(PollRequest { max_rows, until: None, waker })
}

/// Rows up to the end of the input, or up to this many; parks while there are none.
pub(crate) fn read<T: Send + 'static>(
    source: &mut Box<dyn Source<Rows<T>>>,
    rows_max: usize,
) -> Result<Vec<T>> {
    let (_, waker) = Bell::new();
    let deadline = Instant::now() + PATIENCE;
    let mut rows = Vec::new();
    while rows.len() < rows_max {
        match poll(source, rows_max - rows.len(), &waker)? {
            Polled::Batch(batch) => rows.extend(batch),
            Polled::Pending(wait) => {
                let left = deadline.saturating_duration_since(Instant::now());
                assert!(!left.is_zero(), "the source stands still at {}", source.offsets());
                thread::park_timeout(wait.unwrap_or(left).min(left));
            }
            Polled::Finished | Polled::AtEnd => break,
        }
    }
    Ok(rows)
}

pub(crate) fn sink_of<T: Send + 'static>(
    factory: &impl SinkFactory<Rows<T>>,
    epoch: u64,
) -> Box<dyn Sink<Rows<T>>> {
    let mut sink = factory.create(Instance::ONLY).unwrap();
    sink.start(Epoch(epoch)).unwrap();
    sink
}

pub(crate) fn write<T: Send + 'static>(sink: &mut Box<dyn Sink<Rows<T>>>, rows: Vec<T>) -> Result<()> {
    let mut batch = Rows::from(rows);
    sink.write(&mut batch, Waker::noop())?;
    assert_eq!(batch.len(), 0, "all rows are taken");
    Ok(())
}
