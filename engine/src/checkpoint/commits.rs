//! Commits: a thread beside the checkpoint writer, so that the next epoch is written while the outside makes
//! one visible.
//!
//! Epochs that became durable in the meantime are committed together, which a sink may do [for less] than one by
//! one. So commits keep up with epochs that are shorter than a commit takes; how many wait is bounded by the
//! epochs in flight. What they do is in [`Commits`]; the simulator drives it itself.
//!
//! [for less]: lotic_connectors::Committer::commit_all

use super::coordinator::Event;
use super::record::Handle;
use super::writer::{Job, Written};
use crate::error::{Error, Result};
use crate::kill_point;
use crate::runtime::threads;
use crossbeam::channel;
use lotic_connectors::{Committer, PreparedEpoch};
use lotic_operators::Epoch;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

/// How often a commit is tried before the query fails with its cause.
const COMMIT_ATTEMPTS: usize = 3;

/// The committers of a query, by the stable id of their sink.
pub(crate) type Committers = BTreeMap<String, Box<dyn Committer>>;

/// An epoch that is durable, with what its checkpoint made durable and is to be committed.
pub(crate) struct Durable {
    pub(crate) epoch: Epoch,
    pub(crate) handles: Vec<Arc<Handle>>,
}

/// What commits durable epochs.
pub(crate) struct Commits {
    committers: Committers,
    /// Not yet committed, oldest first: those whose commit has failed.
    waiting: Vec<Durable>,
}

impl Commits {
    pub(crate) fn new(committers: Committers) -> Commits {
        Commits { committers, waiting: Vec::new() }
    }

    /// Commits these epochs, and before them those whose commit failed. Returns which are committed now; in
    /// case of an error, the epoch at which commits stand.
    pub(crate) fn commit(
        &mut self,
        run: impl IntoIterator<Item = Durable>,
    ) -> Result<Vec<Epoch>, (Epoch, Error)> {
        self.waiting.extend(run);
        let handles = self.waiting.iter().flat_map(|durable| &durable.handles);
        let committed = commit_all(&mut self.committers, handles.map(|handle| &**handle), "mid-commit");
        if let Err(error) = committed {
            return Err((self.waiting.first().map_or(Epoch::NONE, |durable| durable.epoch), error));
        }
        kill_point::reach("after-commit");
        Ok(self.waiting.drain(..).map(|durable| durable.epoch).collect())
    }
}

/// The thread of the commits. When it is dropped, what was handed over is committed first.
pub(super) struct CommitThread {
    durable: Option<channel::Sender<Durable>>,
    thread: Option<JoinHandle<()>>,
}

impl CommitThread {
    /// Starts the thread, which tells the coordinator of each epoch that is committed, and then the writer.
    pub(super) fn start(
        name: &str,
        mut commits: Commits,
        jobs: channel::Sender<Job>,
        tell: impl Fn(Written) + Send + 'static,
    ) -> Result<CommitThread> {
        // Unbounded, but never longer than the epochs in flight.
        let (durable, queue) = channel::unbounded::<Durable>();
        let run = move || {
            while let Ok(first) = queue.recv() {
                match commits.commit(std::iter::once(first).chain(queue.try_iter())) {
                    Ok(epochs) => epochs.into_iter().for_each(|epoch| {
                        tell(Written::Event(Event::Committed(epoch)));
                        // The writer may have ended: then nobody repeats handles any more.
                        let _ = jobs.send(Job::Committed(epoch));
                    }),
                    Err((epoch, error)) => tell(Written::Failed { epoch, error }),
                }
            }
        };
        let thread = threads::spawn(&format!("lotic-commit-{name}"), run)?;
        Ok(CommitThread { durable: Some(durable), thread: Some(thread) })
    }

    pub(super) fn hand_over(&self, durable: Durable) {
        if let Some(queue) = &self.durable {
            // The thread ends after this sender.
            let _ = queue.send(durable);
        }
    }
}

impl Drop for CommitThread {
    fn drop(&mut self) {
        self.durable = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Commits handles: sink by sink, and of each all epochs together, oldest first. `between` is the kill point
/// behind each sink.
pub(crate) fn commit_all<'a>(
    committers: &mut Committers,
    handles: impl IntoIterator<Item = &'a Handle>,
    between: &str,
) -> Result<()> {
    let mut sinks: BTreeMap<&str, BTreeMap<Epoch, Vec<&[u8]>>> = BTreeMap::new();
    for handle in handles {
        sinks.entry(&handle.sink).or_default().entry(handle.epoch).or_default().push(&handle.bytes);
    }
    for (sink, epochs) in sinks {
        let Some(committer) = committers.get_mut(sink) else {
            return Err(Error::user(format!(
                "the checkpoint holds output that sink `{sink}` has prepared and not committed, and the query has no \
                 such sink that commits: start the query once more as it was, so that nothing is lost"
            )));
        };
        let prepared = |(epoch, handles)| PreparedEpoch { epoch, handles };
        let run: Vec<PreparedEpoch<'_>> = epochs.into_iter().map(prepared).collect();
        commit(sink, committer.as_mut(), &run)?;
        kill_point::reach(between);
    }
    Ok(())
}

/// Commits epochs of a sink, trying a few times.
fn commit(sink: &str, committer: &mut dyn Committer, run: &[PreparedEpoch<'_>]) -> Result<()> {
    let epoch = run.first().map_or(Epoch::NONE, |prepared| prepared.epoch);
    let said = |error: Error| error.at_operator(sink).at_epoch(epoch);
    let mut attempt = 1;
    loop {
        match Error::catch(|| Ok(committer.commit_all(run))).map_err(said)? {
            Ok(()) => return Ok(()),
            Err(error) if attempt >= COMMIT_ATTEMPTS => {
                return Err(said(Error::from(error)));
            }
            Err(error) => {
                tracing::warn!("commit of epoch {epoch} in sink `{sink}`: {error}; trying again");
                if let Some(delay) = error.retry_after() {
                    std::thread::sleep(delay);
                }
                attempt += 1;
            }
        }
    }
}
