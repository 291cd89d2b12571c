//! A running query and its handle.

mod event_time;
mod listener;
pub(crate) mod progress;
pub(crate) mod shared;
mod trigger;

pub use event_time::EventTimeProgress;
pub use listener::{QueryListener, QueryStarted, QueryTerminated};
pub use progress::{Latency, OperatorProgress, QueryProgress, SourceProgress};
pub use shared::QueryStatus;
pub use trigger::{Interval, Mode, Trigger, parse_interval};

use crate::checkpoint::savepoint;
use crate::checkpoint::storage::CheckpointStorage;
use crate::checkpoint::writer::Borrower;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::runtime::threads::Threads;
use lotic_operators::Epoch;
use shared::Shared;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What the handle asks of the query.
pub(crate) enum Ask {
    SetTrigger(Trigger),
    Stop,
    /// Say something once all that is there now has been processed and committed.
    ProcessAvailable(mpsc::Sender<()>),
    /// Lend the checkpoints once an epoch that began after the question is committed, or if so asked the last epoch.
    Checkpoint {
        borrower: Borrower,
        last: bool,
    },
}

/// The handle of a running query. Cheap to clone; dropping it does not stop the query, dropping the session
/// does.
#[derive(Clone)]
pub struct StreamingQuery {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ask: Arc<dyn Fn(Ask) -> Result<()> + Send + Sync>,
    pub(crate) _threads: Arc<Threads>,
    /// The sink that needs whole batches, if the query has one.
    pub(crate) batches_only: Option<Arc<str>>,
}

impl std::fmt::Debug for StreamingQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamingQuery({}, {:?})", self.name(), self.status())
    }
}

impl StreamingQuery {
    /// The id: made when the checkpoint location was first used, the same over restarts.
    pub fn id(&self) -> String {
        self.shared.id()
    }

    /// The name given, or one made from the application's.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What the query is doing.
    pub fn status(&self) -> QueryStatus {
        self.shared.status()
    }

    /// Whether the query still runs or restarts.
    pub fn is_active(&self) -> bool {
        !matches!(self.status(), QueryStatus::Stopped | QueryStatus::Failed)
    }

    fn check_active(&self) -> Result<()> {
        if self.is_active() { Ok(()) } else { Err(Error::user("the query has ended: start it again")) }
    }

    /// The newest progress report; none before the first epoch was committed.
    pub fn last_progress(&self) -> Option<QueryProgress> {
        self.shared.recent(1).pop()
    }

    /// The last 100 progress reports, oldest first.
    pub fn recent_progress(&self) -> Vec<QueryProgress> {
        self.shared.recent(crate::limits::RECENT_PROGRESS)
    }

    /// Why the query has failed; none if it has not.
    pub fn exception(&self) -> Option<Error> {
        self.shared.exception()
    }

    /// The plan that runs, as text.
    pub fn explain(&self) -> &str {
        &self.shared.explain
    }

    /// Restarts from the last checkpoint that the restart policy has made so far.
    pub fn restarts(&self) -> u32 {
        self.shared.restarts()
    }

    /// Changes when epochs begin, and with it the mode, while the query runs. Takes effect at the next epoch
    /// boundary: nothing is lost, replayed or reordered.
    ///
    /// # Errors
    /// If the query has ended, the trigger is wrong, or a sink cannot run in the mode it asks for.
    pub fn set_trigger(&self, trigger: Trigger) -> Result<()> {
        let trigger = trigger.check()?;
        if let Some(sink) = &self.batches_only {
            trigger.check_sink(sink)?;
        }
        self.check_active()?;
        (self.ask)(Ask::SetTrigger(trigger))
    }

    /// Waits until the query has ended.
    ///
    /// # Errors
    /// The cause, if it failed.
    pub fn await_termination(&self) -> Result<()> {
        self.shared.wait(None).map(|_| ())
    }

    /// Waits until the query has ended, at most for that long; whether it has.
    ///
    /// # Errors
    /// The cause, if it failed.
    pub fn await_termination_timeout(&self, timeout: Duration) -> Result<bool> {
        self.shared.wait(Some(timeout))
    }

    /// Waits until all that the sources had at the time of the call has been processed and committed. For
    /// tests; over a source that never pauses it waits for the rows that were there at the call only.
    ///
    /// # Errors
    /// The cause, if the query failed meanwhile; or that it has ended.
    pub fn process_all_available(&self) -> Result<()> {
        self.check_active()?;
        let (done, wait) = mpsc::channel();
        (self.ask)(Ask::ProcessAvailable(done))?;
        match wait.recv() {
            Ok(()) => Ok(()),
            // The query has ended and dropped the other end.
            Err(_) => self.shared.wait(None).map(|_| ()),
        }
    }

    /// Ends an epoch now and keeps a copy of its checkpoint in a place of its own, from which queries can be started
    /// for as long as it is kept ([`crate::Query::from_savepoint`]): this one as it is, with another parallelism, or
    /// changed. The query runs on. Returns the epoch.
    ///
    /// The place is a folder, or an address as for [`crate::Query::checkpoint_location`], that is empty or not there
    /// yet. The copy is made on the calling thread, from the checkpoint files; it costs the query nothing but the
    /// epoch.
    ///
    /// # Errors
    /// If the query keeps no checkpoints, has ended or ends meanwhile, or the place cannot be written to.
    pub fn savepoint(&self, place: impl AsRef<Path>) -> Result<Epoch> {
        self.check_active()?;
        let (borrower, lent) = mpsc::channel();
        (self.ask)(Ask::Checkpoint { borrower, last: false })?;
        self.write_savepoint(&lent, place.as_ref())
    }

    /// Stops the query in order as [`StreamingQuery::stop`], and keeps a copy of its last checkpoint as
    /// [`StreamingQuery::savepoint`]. Nothing is processed after what the savepoint holds. Returns the epoch.
    ///
    /// # Errors
    /// As both; if the savepoint cannot be written, the query has stopped all the same, and its checkpoint location
    /// holds the last checkpoint.
    pub fn stop_with_savepoint(&self, place: impl AsRef<Path>) -> Result<Epoch> {
        self.check_active()?;
        let (borrower, lent) = mpsc::channel();
        (self.ask)(Ask::Checkpoint { borrower, last: true })?;
        // If it ends in between there is nothing left to stop.
        let _ = (self.ask)(Ask::Stop);
        let written = self.write_savepoint(&lent, place.as_ref());
        self.await_termination()?;
        written
    }

    fn write_savepoint(
        &self,
        lent: &mpsc::Receiver<Result<(Box<dyn CheckpointStorage>, Epoch)>>,
        place: &Path,
    ) -> Result<Epoch> {
        match lent.recv() {
            Ok(lent) => {
                let (mut storage, epoch) = lent?;
                savepoint::write(storage.as_mut(), epoch, Clock::system().now().time.0, place)
            }
            // The query has ended and dropped the other end.
            Err(_) => {
                self.shared.wait(None)?;
                Err(Error::user(
                    "the query ended before a savepoint could be taken: its checkpoint location holds its last checkpoint",
                ))
            }
        }
    }

    /// Stops the query in order: sources stop reading, what is in flight is processed, one last checkpoint
    /// is written and committed. A later start from the same location goes on from there. Waits for it.
    ///
    /// A source that cannot be replayed is drained first: rows pushed into an [`crate::Ingress`] before the
    /// call are processed. Close the ingress before if its producers still push.
    ///
    /// # Errors
    /// The cause, if the query failed, before or during the stop.
    pub fn stop(&self) -> Result<()> {
        if self.is_active() {
            // If it ends in between there is nothing left to stop.
            let _ = (self.ask)(Ask::Stop);
        }
        self.await_termination()
    }
}
