//! What can go wrong at the edge to the outside world.

use std::time::Duration;
use thiserror::Error;

/// Whose fault an error is, and so what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The query or its options are wrong: nothing helps but changing them.
    User,
    /// The outside world failed: a disk, a network, a peer. Trying again may help.
    External,
    /// A bug in the connector.
    Internal,
}

/// An error of a source or a sink: what was wrong, where, and what to do.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct ConnectorError {
    kind: ErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    retry_after: Option<Duration>,
}

impl ConnectorError {
    /// The query or its options are wrong. The message names the option and the way out.
    pub fn user(message: impl Into<String>) -> Self {
        ConnectorError { kind: ErrorKind::User, message: message.into(), source: None, retry_after: None }
    }

    /// The outside world failed. The message names the file, host or topic and ends with the cause.
    pub fn external(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let message = format!("{}: {source}", message.into());
        ConnectorError { kind: ErrorKind::External, message, source: Some(source), retry_after: None }
    }

    /// A bug in the connector.
    pub fn internal(message: impl Into<String>) -> Self {
        ConnectorError { kind: ErrorKind::Internal, message: message.into(), source: None, retry_after: None }
    }

    /// Says that trying again after this long may help.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// How long to wait before trying again; `None` if that would not help.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// The result of a connector call.
pub type Result<T, E = ConnectorError> = std::result::Result<T, E>;
