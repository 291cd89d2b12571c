//! A source of text lines over TCP.

mod lines;
mod link;
mod source;

use crate::error::{ConnectorError, Result};
use crate::limits::SOCKET_LINE_BYTES;
use crate::source::{Polling, Source, SourceFactory, SourceTraits};
use lotic_operators::{Instance, Rows, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What to do with a line that is longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongLine {
    /// End the query with an error that names the line.
    #[default]
    Fail,
    /// Leave the line out and count it: [`SocketSource::skipped_lines`].
    Skip,
}

/// What to do with a line that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InvalidUtf8 {
    /// End the query with an error that names the line.
    #[default]
    Fail,
    /// Put U+FFFD in place of what is not UTF-8.
    Replace,
}

/// How to come back after a connection was refused, lost or closed: after the first wait, and after twice
/// as long each further time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The first wait.
    pub wait_min: Duration,
    /// The longest wait.
    pub wait_max: Duration,
    /// Attempts in a row that bring not a byte, after which the query ends; at least 1; `None` for no limit.
    pub attempts_max: Option<u32>,
}

impl Default for Reconnect {
    fn default() -> Self {
        let (wait_min, wait_max) = (Duration::from_millis(100), Duration::from_secs(10));
        Reconnect { wait_min, wait_max, attempts_max: None }
    }
}

/// A line with the time at which it was received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedLine {
    /// The text, without its line end.
    pub line: String,
    /// When its end was received, by the clock of this machine.
    pub received: Timestamp,
}

/// What a [`SocketSource`] makes of a line: a `String` or a [`TimedLine`].
pub trait LineRow: Send + 'static {
    /// The row.
    fn from_line(line: String, received: Timestamp) -> Self;
}

impl LineRow for String {
    fn from_line(line: String, _received: Timestamp) -> Self {
        line
    }
}

impl LineRow for TimedLine {
    fn from_line(line: String, received: Timestamp) -> Self {
        TimedLine { line, received }
    }
}

#[derive(Debug, Clone)]
struct Settings {
    name: String,
    host: String,
    port: u16,
    reconnect: Option<Reconnect>,
    end_when_closed: bool,
    connect_wait_max: Duration,
    line_bytes_max: usize,
    long_line: LongLine,
    invalid_utf8: InvalidUtf8,
    skipped_lines: Arc<AtomicU64>,
}

/// A source of text lines: connects to a host and port and reads what the peer sends.
///
/// A line ends with `\n` or `\r\n`; the last one, before the peer closes, may go without. Without
/// [`SocketSource::reconnect`], the input ends when the peer closes the connection, and a connection that
/// is refused or breaks is an error.
///
/// ```
/// use lotic_connectors::socket::{Reconnect, SocketSource};
/// let lines = SocketSource::new("localhost", 9999).reconnect(Reconnect::default()).with_time();
/// # let _ = lines;
/// ```
///
/// # Delivery
/// Not replayable: lines received after the last checkpoint are lost when the query restarts, and what the
/// peer sends while there is no connection is lost too. For tests and demonstrations, as in Spark.
pub struct SocketSource<R = String> {
    settings: Settings,
    rows: PhantomData<fn() -> R>,
}

impl<R> Clone for SocketSource<R> {
    fn clone(&self) -> Self {
        SocketSource { settings: self.settings.clone(), rows: PhantomData }
    }
}

impl<R> fmt::Debug for SocketSource<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl SocketSource {
    /// Reads lines from this host and port. Nothing is connected before the query starts.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let settings = Settings {
            name: "socket".to_owned(),
            host: host.into(),
            port,
            reconnect: None,
            end_when_closed: true,
            connect_wait_max: Duration::from_secs(2),
            line_bytes_max: SOCKET_LINE_BYTES,
            long_line: LongLine::default(),
            invalid_utf8: InvalidUtf8::default(),
            skipped_lines: Arc::default(),
        };
        SocketSource { settings, rows: PhantomData }
    }

    /// Makes the rows [`TimedLine`]s.
    #[must_use]
    pub fn with_time(self) -> SocketSource<TimedLine> {
        SocketSource { settings: self.settings, rows: PhantomData }
    }
}

impl<R> SocketSource<R> {
    /// What to call the source in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Connects again when a connection is refused, breaks, or is closed by the peer.
    #[must_use]
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.settings.reconnect = Some(reconnect);
        self.settings.end_when_closed = false;
        self
    }

    /// Whether the input ends when the peer closes the connection in good order: yes, unless
    /// [`SocketSource::reconnect`] was called before.
    #[must_use]
    pub fn end_when_closed(mut self, end: bool) -> Self {
        self.settings.end_when_closed = end;
        self
    }

    /// How long one attempt to connect may take; 2 seconds. A marker waits for it, since a source takes
    /// part in epochs between its polls only.
    #[must_use]
    pub fn connect_wait_max(mut self, wait: Duration) -> Self {
        self.settings.connect_wait_max = wait.max(Duration::from_millis(1));
        self
    }

    /// The longest line accepted, in bytes without its end; 1 MiB.
    #[must_use]
    pub fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.line_bytes_max = bytes;
        self
    }

    /// What to do with a line that is longer.
    #[must_use]
    pub fn long_line(mut self, action: LongLine) -> Self {
        self.settings.long_line = action;
        self
    }

    /// What to do with a line that is not UTF-8.
    #[must_use]
    pub fn invalid_utf8(mut self, action: InvalidUtf8) -> Self {
        self.settings.invalid_utf8 = action;
        self
    }

    /// Over-long lines skipped so far, by all runs of this source and its clones.
    pub fn skipped_lines(&self) -> u64 {
        self.settings.skipped_lines.load(Ordering::Relaxed)
    }
}

impl<R: LineRow> SourceFactory<Rows<R>> for SocketSource<R> {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: self.settings.name.clone(),
            replayable: false,
            polling: Polling::Blocking,
            max_parallelism: 1,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<R>>>> {
        if instance.parallelism != 1 {
            return Err(ConnectorError::internal(format!(
                "source `{}` cannot be split into {} instances",
                self.settings.name, instance.parallelism
            )));
        }
        if !self.settings.end_when_closed && self.settings.reconnect.is_none() {
            return Err(ConnectorError::user(format!(
                "source `{}` is told to go on after its peer closes the connection, but not to connect \
                 again: call `reconnect`, or let the input end with the connection",
                self.settings.name
            )));
        }
        Ok(Box::new(source::LineSource::new(self.settings.clone())))
    }
}
