//! The only file that makes threads: the actix system with its data Arbiters, and named helpers.

use crate::error::{Error, Result};
use actix::{Arbiter, ArbiterHandle, System};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Starts a named thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| Error::external(format!("thread `{name}` could not be started: {error}")))
}

/// The threads of a session: one that holds the actix system and all control actors, and the data Arbiters
/// on which pipelines run.
///
/// They do not depend on a runtime of the service that embeds Lotic and do not disturb it.
pub(crate) struct Threads {
    system: System,
    control: ArbiterHandle,
    data: Vec<ArbiterHandle>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Threads {
    pub(crate) fn start(name: &str, workers: usize) -> Result<Threads> {
        let (ready, started) = mpsc::channel();
        let thread = spawn(&format!("{name}-control"), move || {
            let runner = System::new();
            let data: Vec<ArbiterHandle> = runner.block_on(async move {
                (0..workers).map(|_| Arbiter::with_tokio_rt(data_runtime).handle()).collect()
            });
            let _ = ready.send((System::current(), data));
            if let Err(error) = runner.run() {
                tracing::error!("the control thread ended: {error}");
            }
        })?;
        let (system, data) =
            started.recv().map_err(|_| Error::internal("the control thread ended before it had started"))?;
        let control = system.arbiter().clone();
        Ok(Threads { system, control, data, thread: Mutex::new(Some(thread)) })
    }

    /// Where control actors run.
    pub(crate) fn control(&self) -> &ArbiterHandle {
        &self.control
    }

    /// Where instance `index` of a pipeline runs.
    pub(crate) fn data(&self, index: usize) -> &ArbiterHandle {
        &self.data[self.worker(index)]
    }

    /// The worker of instance `index`: equal workers share a thread.
    pub(crate) fn worker(&self, index: usize) -> usize {
        index % self.data.len()
    }

    pub(crate) fn workers(&self) -> usize {
        self.data.len()
    }
}

/// A data Arbiter's runtime. Control reaches it through the same thread's timers and wakers, so the event
/// interval stays at its default.
fn data_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a thread that was just started can have a runtime")
}

impl Drop for Threads {
    fn drop(&mut self) {
        for arbiter in &self.data {
            arbiter.stop();
        }
        self.system.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
