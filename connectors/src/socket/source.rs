//! The socket source: bytes from the connection, lines to the query.

use super::lines::Splitter;
use super::link::{Link, Received};
use super::{LineRow, Settings};
use crate::error::{ConnectorError, Result};
use crate::limits::{SOCKET_AHEAD_BYTES, SOCKET_READ_BYTES};
use crate::offsets::Offsets;
use crate::source::{Latest, PollRequest, Polled, Source};
use lotic_operators::{Rows, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, SystemTime};

const PARTITION: &str = "0";

pub(super) struct LineSource {
    name: String,
    link: Link,
    splitter: Splitter,
    buffer: Vec<u8>,
    taken: u64,
    /// What went wrong while lines were read ahead: told once they were taken.
    failure: Option<ConnectorError>,
    skipped_lines: Arc<AtomicU64>,
}

impl LineSource {
    pub(super) fn new(settings: Settings) -> Self {
        LineSource {
            link: Link::new(&settings),
            splitter: Splitter::new(settings.line_bytes_max, settings.long_line, settings.invalid_utf8),
            buffer: vec![0; SOCKET_READ_BYTES],
            taken: 0,
            failure: None,
            skipped_lines: settings.skipped_lines,
            name: settings.name,
        }
    }

    fn take<R: LineRow>(&mut self, limit: usize) -> Option<Rows<R>> {
        let count = self.splitter.ready().min(limit);
        let lines = std::iter::from_fn(|| self.splitter.next()).take(count);
        let rows: Vec<R> = lines.map(|(line, received)| R::from_line(line, received)).collect();
        self.taken += rows.len() as u64;
        if rows.is_empty() { None } else { Some(Rows::from(rows)) }
    }

    /// Reads once. Returns how long there is nothing more to read; zero if that is not known.
    fn receive(&mut self, wait: bool) -> Result<Option<Duration>> {
        let received = self.link.read(&mut self.buffer, wait)?;
        let mut idle = Some(Duration::ZERO);
        match received {
            Received::Bytes(bytes) => {
                self.splitter.feed(&self.buffer[..bytes], now());
                idle = None;
            }
            Received::Nothing => {}
            Received::Disconnected(left) => idle = Some(left),
            Received::Closed => self.splitter.finish(now()),
            Received::Broken(cause) => {
                let bytes = self.splitter.discard_partial();
                if bytes > 0 {
                    let (source, address) = (&self.name, self.link.address());
                    tracing::warn!(source, address, bytes, %cause, "a torn line was dropped");
                }
            }
        }
        let skipped = self.splitter.take_skipped();
        if skipped > 0 {
            let lines = skipped + self.skipped_lines.fetch_add(skipped, Ordering::Relaxed);
            tracing::warn!(source = self.name, lines, "over-long lines were skipped");
        }
        Ok(idle)
    }

    /// Whether nothing will come any more and all was taken.
    ///
    /// # Errors
    /// Why nothing will come, if it is an error.
    fn check_end(&mut self) -> Result<bool> {
        if self.splitter.ready() > 0 {
            return Ok(false);
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let Some(failure) = self.splitter.failure() {
            let address = self.link.address();
            return Err(ConnectorError::user(format!("source `{}` ({address}): {failure}", self.name)));
        }
        Ok(self.link.has_ended())
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl<R: LineRow> Source<Rows<R>> for LineSource {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        self.taken = from.get(PARTITION).unwrap_or(0);
        self.link.connect()
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<Rows<R>>> {
        let room = match request.until {
            None => u64::MAX,
            Some(until) => until.get(PARTITION).unwrap_or(0).saturating_sub(self.taken),
        };
        if room == 0 {
            return Ok(if self.check_end()? { Polled::Finished } else { Polled::AtEnd });
        }
        let limit = request.max_rows.max(1).min(usize::try_from(room).unwrap_or(usize::MAX));
        if let Some(batch) = self.take(limit) {
            return Ok(Polled::Batch(batch));
        }
        if self.check_end()? {
            return Ok(Polled::Finished);
        }
        let idle = self.receive(true)?;
        match self.take(limit) {
            Some(batch) => Ok(Polled::Batch(batch)),
            None if self.check_end()? => Ok(Polled::Finished),
            None => Ok(Polled::Pending(Some(idle.unwrap_or_default()))),
        }
    }

    fn offsets(&self) -> Offsets {
        Offsets::single(PARTITION, self.taken)
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> Result<Latest> {
        let enough = usize::try_from(max_rows).unwrap_or(usize::MAX);
        while self.splitter.ready() < enough && self.splitter.ready_bytes() < SOCKET_AHEAD_BYTES {
            // Only an empty source may wait for data.
            let wait = self.splitter.ready() == 0;
            if self.check_end()? || self.splitter.has_failed() {
                break;
            }
            match self.receive(wait) {
                Ok(None) => {}
                Ok(Some(_)) => break,
                Err(failure) => {
                    self.failure = Some(failure);
                    break;
                }
            }
        }
        let ready = self.splitter.ready().min(enough) as u64;
        Ok(Latest::At(Offsets::single(PARTITION, self.taken + ready)))
    }
}
