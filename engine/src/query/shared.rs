//! What a query's handle and its coordinator share.

use super::listener::{QueryListener, QueryStarted, QueryTerminated};
use super::progress::QueryProgress;
use crate::error::{Error, Result};
use crate::limits::RECENT_PROGRESS;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a query is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryStatus {
    /// Actors are being started.
    Starting,
    /// Records are processed.
    Running,
    /// The last epoch is on its way.
    Stopping,
    /// The query failed and is going to be restarted from its last checkpoint.
    Restarting,
    /// It has ended in order.
    Stopped,
    /// It has ended with an error.
    Failed,
}

struct State {
    id: String,
    status: QueryStatus,
    exception: Option<Error>,
    progress: VecDeque<QueryProgress>,
    restarts: u32,
}

/// The shared state of one query.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) explain: String,
    listeners: Vec<Arc<dyn QueryListener>>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn new(name: String, explain: String, listeners: Vec<Arc<dyn QueryListener>>) -> Shared {
        let state = State {
            id: String::new(),
            status: QueryStatus::Starting,
            exception: None,
            progress: VecDeque::new(),
            restarts: 0,
        };
        Shared { name, explain, listeners, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> String {
        self.lock().id.clone()
    }

    pub(crate) fn status(&self) -> QueryStatus {
        self.lock().status
    }

    pub(crate) fn exception(&self) -> Option<Error> {
        self.lock().exception.clone()
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.lock().restarts
    }

    pub(crate) fn recent(&self, count: usize) -> Vec<QueryProgress> {
        let state = self.lock();
        let skip = state.progress.len().saturating_sub(count);
        state.progress.iter().skip(skip).cloned().collect()
    }

    /// Waits for the end; whether it has come within the timeout.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.lock();
        loop {
            match state.status {
                QueryStatus::Stopped => return Ok(true),
                QueryStatus::Failed => {
                    let unknown = || Error::internal("a query failed without a cause");
                    return Err(state.exception.clone().unwrap_or_else(unknown));
                }
                _ => {}
            }
            state = match deadline {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    pub(crate) fn set_status(&self, status: QueryStatus) {
        self.lock().status = status;
        self.changed.notify_all();
    }

    pub(crate) fn started(&self, id: &str) {
        self.lock().id = id.to_owned();
        let event = QueryStarted { id: id.to_owned(), name: self.name.clone() };
        self.tell_listeners(|listener| listener.on_started(&event));
    }

    pub(crate) fn restarted(&self) {
        self.lock().restarts += 1;
    }

    pub(crate) fn progressed(&self, progress: QueryProgress) {
        self.tell_listeners(|listener| listener.on_progress(&progress));
        let mut state = self.lock();
        if state.progress.len() == RECENT_PROGRESS {
            state.progress.pop_front();
        }
        state.progress.push_back(progress);
    }

    /// The query has ended. Listeners are told before those who wait for the end.
    pub(crate) fn terminated(&self, exception: Option<Error>) {
        let event = QueryTerminated { id: self.id(), name: self.name.clone(), exception: exception.clone() };
        self.tell_listeners(|listener| listener.on_terminated(&event));
        let mut state = self.lock();
        state.status = if exception.is_some() { QueryStatus::Failed } else { QueryStatus::Stopped };
        state.exception = exception;
        self.changed.notify_all();
    }

    fn tell_listeners(&self, call: impl Fn(&dyn QueryListener)) {
        for listener in &self.listeners {
            if catch_unwind(AssertUnwindSafe(|| call(listener.as_ref()))).is_err() {
                tracing::error!("a listener of query `{}` panicked", self.name);
            }
        }
    }
}
