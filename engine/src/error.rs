//! The error type of the engine.

use lotic_connectors::{ConnectorError, ErrorKind as ConnectorErrorKind};
use lotic_operators::{Epoch, OperatorError};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Whose fault an error is, and so what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The query, its options or the user's code is wrong.
    User,
    /// The outside world failed: a disk, a network, a peer.
    External,
    /// A bug in Lotic.
    Internal,
}

/// An error of the engine: what was wrong, where (operator, instance, epoch, file), and what to do.
///
/// Cheap to clone, since every waiter of a query learns the same cause.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    operator: Option<String>,
    epoch: Option<Epoch>,
    location: Option<Location>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A place in a text that the user wrote: SQL or a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The line, from 1.
    pub line: u64,
    /// The column, in characters, from 1.
    pub column: u64,
}

impl Error {
    fn make(kind: ErrorKind, message: String) -> Self {
        Error(Arc::new(Inner { kind, message, operator: None, epoch: None, location: None, source: None }))
    }

    /// The query, its options or the user's code is wrong.
    pub fn user(message: impl Into<String>) -> Self {
        Error::make(ErrorKind::User, message.into())
    }

    /// The outside world failed.
    pub fn external(message: impl Into<String>) -> Self {
        Error::make(ErrorKind::External, message.into())
    }

    /// A bug in Lotic; the message says what was found broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Error::make(ErrorKind::Internal, format!("{} (this is a bug in Lotic)", message.into()))
    }

    /// Runs what may be the user's code: a panic becomes an error, of this query and of nobody else.
    #[inline]
    pub(crate) fn catch<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<&str>().copied();
            let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Err(Error::user(format!("panicked: {}", said.unwrap_or("no message"))))
        })
    }

    /// The same error, said of an operator.
    #[must_use]
    pub fn at_operator(self, operator: &str) -> Self {
        if self.0.operator.is_some() {
            return self;
        }
        self.rebuild(Some(operator.to_owned()), None)
    }

    /// The same error, said of an epoch.
    #[must_use]
    pub fn at_epoch(self, epoch: Epoch) -> Self {
        if self.0.epoch.is_some() {
            return self;
        }
        self.rebuild(None, Some(epoch))
    }

    /// The same error, said of a place in the text; the place is not part of the message.
    #[must_use]
    pub fn at_location(self, location: Location) -> Self {
        let mut inner = self.into_inner();
        inner.location = Some(location);
        Error(Arc::new(inner))
    }

    fn rebuild(self, operator: Option<String>, epoch: Option<Epoch>) -> Self {
        let mut inner = self.into_inner();
        inner.operator = inner.operator.or(operator);
        inner.epoch = inner.epoch.or(epoch);
        Error(Arc::new(inner))
    }

    /// What it holds; a copy without the cause if it is shared.
    fn into_inner(self) -> Inner {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            kind: shared.kind,
            message: shared.message.clone(),
            operator: shared.operator.clone(),
            epoch: shared.epoch,
            location: shared.location,
            source: None,
        })
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operator in which it arose, as `name[instance]`.
    pub fn operator(&self) -> Option<&str> {
        self.0.operator.as_deref()
    }

    /// Where in the text of the statement or schema the mistake is, if that is known. Lines and columns count
    /// from the beginning of the text that was given.
    pub fn location(&self) -> Option<Location> {
        self.0.location
    }

    /// The epoch in which it arose: the first that is not durable.
    pub fn epoch(&self) -> Option<Epoch> {
        self.0.epoch
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operator) = &self.0.operator {
            write!(f, "operator `{operator}`: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(epoch) = self.0.epoch {
            write!(f, " (in epoch {epoch})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<OperatorError> for Error {
    fn from(error: OperatorError) -> Self {
        Error(Arc::new(Inner {
            kind: match error {
                OperatorError::Lookup { .. } => ErrorKind::External,
                _ => ErrorKind::User,
            },
            message: error.to_string(),
            operator: None,
            epoch: None,
            location: None,
            source: Some(Box::new(error)),
        }))
    }
}

impl From<ConnectorError> for Error {
    fn from(error: ConnectorError) -> Self {
        let kind = match error.kind() {
            ConnectorErrorKind::External => ErrorKind::External,
            ConnectorErrorKind::Internal => ErrorKind::Internal,
            _ => ErrorKind::User,
        };
        Error(Arc::new(Inner {
            kind,
            message: error.to_string(),
            operator: None,
            epoch: None,
            location: None,
            source: Some(Box::new(error)),
        }))
    }
}

/// The result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;
