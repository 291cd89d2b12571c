//! Requests into a query and replies out of it, matched by a correlation id.
//!
//! A handler calls [`Requests::call`]: the request goes into the query as a row with a fresh id; the query
//! carries the id along and ends in [`Replies::deliver`] (a callback sink) or [`Replies::drain`] (an
//! [`Egress`] read by a task), which wakes the handler that waits for this id. Nothing here knows what the
//! requests are about.
//!
//! # Delivery
//! A reply is given at most once and only within the deadline. A request that timed out may still be
//! processed: the deadline bounds the wait, not the work. After a restart of the query, replies to requests
//! that are no longer waited for are dropped.

use lotic::connectors::ingress::{self, IngressSource, TryPushError};
use lotic::{Egress, Ingress};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// A row on its way into the query.
#[derive(Debug, Clone)]
pub(crate) struct Request<Q> {
    /// Under which its reply is waited for.
    pub(crate) id: u64,
    /// What is asked.
    pub(crate) body: Q,
}

/// A row on its way out of the query.
#[derive(Debug, Clone)]
pub(crate) struct Reply<R> {
    /// The id of the request.
    pub(crate) id: u64,
    /// The answer.
    pub(crate) body: R,
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The query takes requests more slowly than they come: the request was not taken.
    Full,
    /// The query has ended: the request was not taken.
    Closed,
    /// No reply came within the deadline; the request may still be processed.
    TimedOut,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallError::Full => "the query is busy and did not take the request: try again later",
            CallError::Closed => "the query has ended and did not take the request",
            CallError::TimedOut => "no reply within the deadline; the request may still be processed",
        })
    }
}

impl std::error::Error for CallError {}

/// Who waits, by correlation id.
struct Waiting<R>(Mutex<HashMap<u64, oneshot::Sender<R>>>);

impl<R> Waiting<R> {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<R>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the map; given up when the handler stops waiting, for whatever reason.
struct Place<'a, R> {
    waiting: &'a Waiting<R>,
    id: u64,
}

impl<R> Drop for Place<'_, R> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}

/// The handlers' side: asks and waits.
pub(crate) struct Requests<Q, R> {
    ingress: Ingress<Request<Q>>,
    waiting: Arc<Waiting<R>>,
    next: AtomicU64,
    deadline: Duration,
}

/// The query's side: takes replies to those who wait.
pub(crate) struct Replies<R>(Arc<Waiting<R>>);

impl<R> Clone for Replies<R> {
    fn clone(&self) -> Self {
        Replies(Arc::clone(&self.0))
    }
}

/// Both sides, and the source to start the query from. At most `capacity` requests wait to be taken by the
/// query; each is waited for `deadline` long.
pub(crate) fn channel<Q: Send + 'static, R>(
    name: &str,
    capacity: usize,
    deadline: Duration,
) -> (Requests<Q, R>, IngressSource<Request<Q>>, Replies<R>) {
    let (ingress, source) = ingress::channel(name, capacity);
    let waiting = Arc::new(Waiting(Mutex::new(HashMap::new())));
    let requests = Requests { ingress, waiting: Arc::clone(&waiting), next: AtomicU64::new(0), deadline };
    (requests, source, Replies(waiting))
}

impl<Q, R> Requests<Q, R> {
    /// Asks the query and waits for its reply. Dropping the future gives the reply up, not the request.
    ///
    /// # Errors
    /// [`CallError`]: at once if the query is full or has ended, after the deadline if no reply came.
    pub(crate) async fn call(&self, body: Q) -> Result<R, CallError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, replied) = oneshot::channel();
        // Before the push: the reply may come before it returns.
        self.waiting.lock().insert(id, reply);
        let _place = Place { waiting: &self.waiting, id };
        self.ingress.try_push(Request { id, body }).map_err(|refused| match refused {
            TryPushError::Full(_) => CallError::Full,
            TryPushError::Closed(_) => CallError::Closed,
        })?;
        match tokio::time::timeout(self.deadline, replied).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(CallError::Closed),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// Requests that are waited for.
    pub(crate) fn in_flight(&self) -> usize {
        self.waiting.lock().len()
    }
}

impl<R> Replies<R> {
    /// Hands a reply to whoever waits for it; drops it if nobody does any more. For a callback sink: it
    /// never blocks, and there is no further thread between the query and the handler.
    pub(crate) fn deliver(&self, reply: Reply<R>) {
        let waiting = self.0.lock().remove(&reply.id);
        if let Some(waiting) = waiting {
            // Whoever gave up in this very moment gets nothing.
            let _ = waiting.send(reply.body);
        }
    }

    /// Delivers all that a query emits, until it ends: run it as a task. Nobody is woken on the query's own
    /// thread, at the price of one more hop.
    pub(crate) async fn drain(self, egress: Egress<Reply<R>>) {
        while let Some(reply) = egress.next().await {
            self.deliver(reply);
        }
    }
}
