//! Callbacks for all queries of a session.

use super::progress::QueryProgress;
use crate::error::Error;

/// A query has been started.
#[derive(Debug, Clone)]
pub struct QueryStarted {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A query has ended.
#[derive(Debug, Clone)]
pub struct QueryTerminated {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Why it failed; none if it ended in order.
    pub exception: Option<Error>,
}

/// Is told of all queries of a session. Called on the session's control thread: return quickly.
pub trait QueryListener: Send + Sync {
    /// A query has been started.
    fn on_started(&self, _event: &QueryStarted) {}
    /// A query has made progress.
    fn on_progress(&self, _event: &QueryProgress) {}
    /// A query has ended.
    fn on_terminated(&self, _event: &QueryTerminated) {}
}
