//! Asynchronous requests for callers that wait.

use crate::runtime::threads;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::sync_channel;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A thread that carries requests, several at once. Whoever waits may be any thread, also one of another
/// asynchronous runtime. The thread ends with the courier.
#[derive(Debug)]
pub(super) struct Courier {
    requests: UnboundedSender<Request>,
}

impl Courier {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start() -> io::Result<Courier> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (requests, mut queue) = unbounded_channel::<Request>();
        let carry = move || {
            runtime.block_on(async move {
                while let Some(request) = queue.recv().await {
                    tokio::spawn(request);
                }
            });
        };
        threads::spawn("lotic-object-store", carry).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Courier { requests })
    }

    /// Waits for an answer.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let ended = || io::Error::other("the thread of the object store has ended");
        let (tell, told) = sync_channel(1);
        let request: Request = Box::pin(async move {
            // Nobody gives up waiting.
            let _ = tell.send(request.await);
        });
        self.requests.send(request).map_err(|_| ended())?;
        told.recv().map_err(|_| ended())?
    }
}
