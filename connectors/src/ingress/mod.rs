//! Rows pushed in by the service itself: a handle on one side, a source on the other.
//!
//! ```
//! let (orders, source) = lotic_connectors::ingress::channel::<u64>("orders", 1024);
//! orders.push(7).unwrap();
//! orders.push_all(8..10).unwrap();
//! assert_eq!(orders.len(), 3);
//! drop(source); // the query has ended
//! assert_eq!(orders.push(10).unwrap_err().0, 10);
//! ```

mod queue;
mod source;

pub use source::IngressSource;

use crate::limits::PUSH_ROWS;
use crate::waiters::{Ticket, block_on};
use queue::{ProducerSide, Shared};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The input is closed: by [`Ingress::close`], or because the query has ended. Holds the row that was not
/// taken.
pub struct Closed<T>(pub T);

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ingress is closed: it was closed by its owner or the query has ended")
    }
}

impl<T> std::error::Error for Closed<T> {}

/// Why [`Ingress::try_push`] did not take the row, and the row.
pub enum TryPushError<T> {
    /// There is no room now.
    Full(T),
    /// The input is closed, as in [`Closed`].
    Closed(T),
}

impl<T> TryPushError<T> {
    /// The row that was not taken.
    pub fn into_row(self) -> T {
        match self {
            TryPushError::Full(row) | TryPushError::Closed(row) => row,
        }
    }
}

impl<T> fmt::Debug for TryPushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPushError::Full(_) => "Full(..)",
            TryPushError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TryPushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryPushError::Full(_) => f.write_str("the ingress is full: the query takes rows more slowly"),
            TryPushError::Closed(_) => Closed(()).fmt(f),
        }
    }
}

impl<T> std::error::Error for TryPushError<T> {}

/// A bounded queue into a query: the handle for the service, the factory for the engine.
///
/// Holds at most `capacity_rows` rows, and at least one.
pub fn channel<T: Send + 'static>(
    name: impl Into<String>,
    capacity_rows: usize,
) -> (Ingress<T>, IngressSource<T>) {
    let shared = Arc::new(Shared::new(name.into(), capacity_rows.max(1)));
    let ingress = Ingress { side: Arc::new(ProducerSide(Arc::clone(&shared))), shared: Arc::clone(&shared) };
    let source = IngressSource::new(shared);
    (ingress, source)
}

/// The service's handle on an input: push from any thread or task.
///
/// Rows of one thread keep their order. Dropping the last handle closes the input; the query then sees its
/// end once it has taken what is queued.
///
/// # Delivery
/// A push that succeeded means queued, not processed: what is queued or was not yet checkpointed is lost
/// when the process dies, since nothing can be read again. Rows that are given back were not taken.
pub struct Ingress<T> {
    shared: Arc<Shared<T>>,
    side: Arc<ProducerSide<T>>,
}

impl<T> Clone for Ingress<T> {
    fn clone(&self) -> Self {
        Ingress { shared: Arc::clone(&self.shared), side: Arc::clone(&self.side) }
    }
}

impl<T> fmt::Debug for Ingress<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ingress({}, {} of {} rows)", self.shared.name, self.len(), self.capacity())
    }
}

impl<T> Ingress<T> {
    /// Puts a row in if there is room; never waits.
    ///
    /// # Errors
    /// [`TryPushError::Full`] or [`TryPushError::Closed`], with the row.
    #[inline]
    pub fn try_push(&self, row: T) -> Result<(), TryPushError<T>> {
        let Some(_entry) = self.shared.enter() else { return Err(TryPushError::Closed(row)) };
        self.shared.queue.push(row).map_err(TryPushError::Full)
    }

    /// Puts a row in; parks the calling thread while the queue is full, until it is half empty. Not for
    /// async code, whose worker thread it would hold up: see [`Ingress::send`].
    ///
    /// # Errors
    /// [`Closed`], with the row; also when the query ends while the thread waits.
    #[inline]
    pub fn push(&self, row: T) -> Result<(), Closed<T>> {
        match self.try_push(row) {
            Ok(()) => Ok(()),
            Err(TryPushError::Closed(row)) => Err(Closed(row)),
            Err(TryPushError::Full(row)) => self.push_parked(row),
        }
    }

    #[cold]
    fn push_parked(&self, row: T) -> Result<(), Closed<T>> {
        block_on(Sending::new(&self.shared, row), None).expect("invariant: no deadline was set")
    }

    /// Puts a row in; waits, without holding up the thread, while the queue is full.
    ///
    /// # Delivery
    /// A future that is dropped before it is done drops its row: it was not taken.
    ///
    /// # Errors
    /// As for [`Ingress::push`].
    pub async fn send(&self, row: T) -> Result<(), Closed<T>> {
        match self.try_push(row) {
            Ok(()) => Ok(()),
            Err(TryPushError::Closed(row)) => Err(Closed(row)),
            Err(TryPushError::Full(row)) => Sending::new(&self.shared, row).await,
        }
    }

    /// Puts many rows in, in order, parking the calling thread whenever the queue is full. Wakes the query
    /// once for up to [`PUSH_ROWS`] rows, so the rows should be at hand: push one by one what an iterator
    /// has to wait for. Returns how many rows were taken.
    ///
    /// # Errors
    /// [`Closed`], with the first row that was not taken; pass `rows.by_ref()` to keep the rest.
    pub fn push_all(&self, rows: impl IntoIterator<Item = T>) -> Result<u64, Closed<T>> {
        let mut rows = rows.into_iter().fuse();
        let mut taken = 0;
        while let Some(first) = rows.next() {
            let Some(entry) = self.shared.enter() else { return Err(Closed(first)) };
            let mut refused = None;
            for row in std::iter::once(first).chain(rows.by_ref().take(PUSH_ROWS - 1)) {
                match self.shared.queue.push(row) {
                    Ok(()) => taken += 1,
                    Err(row) => {
                        refused = Some(row);
                        break;
                    }
                }
            }
            drop(entry);
            if let Some(row) = refused {
                self.push_parked(row)?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// Ends the input: further pushes fail, also on other handles; the query sees the end once it has
    /// taken what is queued.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether pushes fail because the input was closed or the query has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Rows queued and not yet taken by the query.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Rows the queue can hold.
    pub fn capacity(&self) -> usize {
        self.shared.queue.capacity()
    }
}

/// A row that waits for room.
struct Sending<'a, T> {
    shared: &'a Shared<T>,
    row: Option<T>,
    ticket: Ticket,
}

impl<'a, T> Sending<'a, T> {
    fn new(shared: &'a Shared<T>, row: T) -> Self {
        Sending { shared, row: Some(row), ticket: None }
    }

    /// Puts the row in, or says why not; `None` if there was no room.
    fn attempt(&mut self) -> Option<Result<(), Closed<T>>> {
        let row = self.row.take().expect("invariant: a future is not polled after it is done");
        let Some(_entry) = self.shared.enter() else { return Some(Err(Closed(row))) };
        match self.shared.queue.push(row) {
            Ok(()) => Some(Ok(())),
            Err(row) => {
                self.row = Some(row);
                None
            }
        }
    }
}

// The row is moved in and out, never pinned.
impl<T> Unpin for Sending<'_, T> {}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), Closed<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            this.shared.producers.register(&mut this.ticket, context.waker());
            if !this.shared.half_empty() && !this.shared.is_closed() {
                return Poll::Pending;
            }
            if let Some(result) = this.attempt() {
                return Poll::Ready(result);
            }
            // Others were faster and filled the queue again.
        }
    }
}

impl<T> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        self.shared.producers.cancel(self.ticket);
    }
}
