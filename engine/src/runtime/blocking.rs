//! A thread of its own for a source whose poll may block.

use super::threads;
use crate::error::Error;
use atomic_waker::AtomicWaker;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use lotic_connectors::{ConnectorError, Latest, Offsets, PollRequest, Polled, Result, Source};
use lotic_operators::{Batch, Epoch};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// Batches that may wait between the source's thread and its actor.
const QUEUED_BATCHES: usize = 64;

enum Found<B> {
    /// Rows, and where the source stands behind them.
    Batch(B, Offsets),
    Finished,
    Failed(ConnectorError),
}

/// Makes a blocking source a non-blocking one. Back-pressure is kept: the thread waits when the queue to
/// the actor is full.
pub(crate) struct Blocking<B: Batch> {
    name: String,
    source: Option<Box<dyn Source<B>>>,
    found: Option<Receiver<Found<B>>>,
    waker: Arc<AtomicWaker>,
    ahead: VecDeque<Found<B>>,
    position: Offsets,
    finished: bool,
    stop: Arc<AtomicBool>,
}

impl<B: Batch> Drop for Blocking<B> {
    /// The thread ends after the poll it is in.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

impl<B: Batch> Blocking<B> {
    pub(crate) fn new(name: String, source: Box<dyn Source<B>>) -> Self {
        Blocking {
            name,
            source: Some(source),
            found: None,
            waker: Arc::new(AtomicWaker::new()),
            ahead: VecDeque::new(),
            position: Offsets::default(),
            finished: false,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Takes over what the thread has found; whether anything is there.
    fn look(&mut self) -> Result<bool> {
        let Some(found) = &self.found else { return Ok(!self.ahead.is_empty()) };
        while self.ahead.len() < QUEUED_BATCHES {
            match found.try_recv() {
                Ok(next) => self.ahead.push_back(next),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.found = None;
                    break;
                }
            }
        }
        if self.ahead.is_empty() && self.found.is_none() && !self.finished {
            return Err(ConnectorError::internal(format!("the thread of source `{}` has ended", self.name)));
        }
        Ok(!self.ahead.is_empty())
    }

    fn next(&mut self) -> Result<Polled<B>> {
        match self.ahead.pop_front() {
            Some(Found::Batch(batch, after)) => {
                self.position = after;
                Ok(Polled::Batch(batch))
            }
            Some(Found::Finished) => {
                self.finished = true;
                Ok(Polled::Finished)
            }
            Some(Found::Failed(error)) => Err(error),
            None => Ok(Polled::Pending(None)),
        }
    }
}

impl<B: Batch> Source<B> for Blocking<B> {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        let mut source =
            self.source.take().ok_or_else(|| ConnectorError::internal("a source starts once"))?;
        source.start(from)?;
        self.position = source.offsets();
        let (put, found) = bounded(QUEUED_BATCHES);
        let (waker, stop) = (Arc::clone(&self.waker), Arc::clone(&self.stop));
        threads::spawn(&format!("lotic-source-{}", self.name), move || read(source, &put, &waker, &stop))
            .map_err(|error: Error| ConnectorError::external("a blocking source", error))?;
        self.found = Some(found);
        Ok(())
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<B>> {
        if self.finished {
            return Ok(Polled::Finished);
        }
        self.waker.register(request.waker);
        let there = self.look()?;
        if matches!(self.ahead.front(), Some(Found::Finished | Found::Failed(_))) {
            return self.next();
        }
        if request.until.is_some_and(|until| *until == self.position) {
            return Ok(Polled::AtEnd);
        }
        if there { self.next() } else { Ok(Polled::Pending(None)) }
    }

    fn offsets(&self) -> Offsets {
        self.position.clone()
    }

    /// The end of the last batch that has arrived whole; batches are not split.
    fn latest(&mut self, rows_max: u64, _waker: &Waker) -> Result<Latest> {
        self.look()?;
        let (mut end, mut rows) = (self.position.clone(), 0u64);
        for found in &self.ahead {
            let Found::Batch(batch, after) = found else { break };
            rows += batch.rows() as u64;
            if rows > rows_max && end != self.position {
                break;
            }
            end.clone_from(after);
        }
        Ok(Latest::At(end))
    }

    fn committed(&mut self, _epoch: Epoch, _offsets: &Offsets) {}
}

/// The thread: ends when the source does, fails, or nobody listens any more.
fn read<B: Batch>(
    mut source: Box<dyn Source<B>>,
    put: &Sender<Found<B>>,
    waker: &AtomicWaker,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::Acquire) {
        let request = PollRequest { max_rows: B::ROWS_AT_ONCE, until: None, waker: Waker::noop() };
        let found = match Error::catch(|| Ok(source.poll(request))) {
            Ok(Ok(Polled::Batch(batch))) => Found::Batch(batch, source.offsets()),
            Ok(Ok(Polled::Finished)) => Found::Finished,
            Ok(Ok(Polled::Pending(_) | Polled::AtEnd)) => continue,
            Ok(Err(error)) => Found::Failed(error),
            Err(panic) => Found::Failed(ConnectorError::user(panic.to_string())),
        };
        let last = !matches!(found, Found::Batch(..));
        if put.send(found).is_err() {
            return;
        }
        waker.wake();
        if last {
            return;
        }
    }
}
