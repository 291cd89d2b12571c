//! What source actors and stage actors have in common: identity, time, waiting, failing.

use super::control::{Command, Tell, What};
use super::metrics::ActorMetrics;
use super::stage::{StageContext, StageSnapshot};
use super::wait::Waiting;
use crate::checkpoint::ActorId;
use crate::checkpoint::writer::Job;
use crate::clock::{Clock, Now};
use crate::error::{Error, Result};
use crossbeam::channel::Sender;
use lotic_operators::snapshot::EntryCount;
use lotic_operators::{Epoch, PartitionId, Timestamp};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How a turn of an actor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The budget is used up; there may be more.
    Again,
    /// The inputs are empty.
    Idle,
    /// The output is full; the actor is woken when it is not.
    Blocked,
    /// Nothing will ever follow.
    Over,
}

/// The common part of an actor.
pub(crate) struct Core {
    pub(crate) id: ActorId,
    pub(crate) label: String,
    pub(crate) tell: Tell,
    pub(crate) jobs: Sender<Job>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<ActorMetrics>,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) running: bool,
    /// Processing time at which an operator wants to be called.
    pub(crate) wake_at: Option<Timestamp>,
    /// Where the rows being handled come from.
    pub(crate) partition: PartitionId,
    waiting: Waiting,
    /// Whether another thread feeds this actor, so that waiting is a choice.
    fed_by_other_thread: bool,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    blocked_since_ns: Option<u64>,
    over: bool,
}

/// What is needed to make a [`Core`].
pub(crate) struct CoreParts {
    pub(crate) id: ActorId,
    pub(crate) label: String,
    pub(crate) tell: Tell,
    pub(crate) jobs: Sender<Job>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<ActorMetrics>,
    pub(crate) waiting: Waiting,
    pub(crate) fed_by_other_thread: bool,
}

impl Core {
    pub(crate) fn new(parts: CoreParts) -> Core {
        Core {
            id: parts.id,
            label: parts.label,
            tell: parts.tell,
            jobs: parts.jobs,
            clock: parts.clock,
            metrics: parts.metrics,
            commands: VecDeque::new(),
            running: false,
            wake_at: None,
            partition: PartitionId::NONE,
            waiting: parts.waiting,
            fed_by_other_thread: parts.fed_by_other_thread,
            timer: None,
            blocked_since_ns: None,
            over: false,
        }
    }

    #[inline]
    pub(crate) fn context<'a>(&'a mut self, waker: &'a Waker, now: Now, ingest_ns: u64) -> StageContext<'a> {
        StageContext {
            waker,
            now,
            ingest_ns,
            partition: self.partition,
            wake_at: &mut self.wake_at,
            metrics: &self.metrics,
        }
    }

    /// Hands an epoch's snapshot to the checkpoint writer.
    pub(crate) fn hand_over(&self, epoch: Epoch, snapshot: StageSnapshot) {
        let tables = snapshot.operators.iter().flat_map(|operator| &operator.snapshot.tables);
        let entries: Vec<EntryCount> = tables.filter_map(|table| table.entries).collect();
        if !entries.is_empty() {
            let (total, changed) = entries
                .iter()
                .fold((0, 0), |(total, changed), entries| (total + entries.total, changed + entries.changed));
            self.metrics.state_rows.store(total, Ordering::Relaxed);
            ActorMetrics::add(&self.metrics.state_rows_updated, changed);
        }
        let job =
            Job::Snapshot { actor: self.id, epoch, operators: snapshot.operators, prepare: snapshot.prepare };
        // A writer that is gone means that the query is being torn down.
        let _ = self.jobs.send(job);
    }

    /// Whether a timer of an operator has come up; it is taken as seen.
    #[inline]
    pub(crate) fn tick_due(&mut self, now: Now) -> bool {
        if self.wake_at.is_some_and(|at| at <= now.time) {
            self.wake_at = None;
            ActorMetrics::add(&self.metrics.ticks, 1);
            return true;
        }
        false
    }

    /// There was something to do.
    #[inline]
    pub(crate) fn busy(&mut self) {
        self.waiting.busy();
        if let Some(since) = self.blocked_since_ns.take() {
            let waited = self.clock.now().ns.saturating_sub(since);
            ActorMetrics::add(&self.metrics.blocked_ns, waited);
        }
    }

    /// The inputs are empty, after some work or none.
    #[inline]
    pub(crate) fn idle(&mut self, worked: bool) {
        if worked {
            self.busy();
        }
    }

    /// The output is full.
    pub(crate) fn blocked(&mut self) {
        if self.blocked_since_ns.is_none() {
            self.blocked_since_ns = Some(self.clock.now().ns);
        }
    }

    /// The inputs are empty: whether to look again at once. Otherwise the caller registers its waker.
    #[inline]
    pub(crate) fn look_again(&mut self, waker: &Waker) -> bool {
        let clock = &self.clock;
        let again = self.fed_by_other_thread && self.waiting.look_again(|| clock.now().ns);
        if again {
            waker.wake_by_ref();
        }
        again
    }

    /// Has the actor woken at the earlier of an operator's timer and `after`. The timer is coarse (1 ms).
    pub(crate) fn arm_timer(&mut self, after: Option<Duration>, task: &mut Context<'_>) {
        let timer = self.wake_at.map(|at| {
            let now = self.clock.now().time;
            Duration::from_micros(at.0.saturating_sub(now.0).max(0) as u64)
        });
        let delay = match (timer, after) {
            (Some(timer), Some(after)) => timer.min(after),
            (Some(delay), None) | (None, Some(delay)) => delay,
            (None, None) => {
                self.timer = None;
                return;
            }
        };
        let mut sleep = Box::pin(tokio::time::sleep(delay));
        if sleep.as_mut().poll(task).is_ready() {
            task.waker().wake_by_ref();
        }
        self.timer = Some(sleep);
    }

    /// Runs a turn; a panic in user code becomes an error of this actor and of nobody else.
    #[inline]
    pub(crate) fn guarded(turn: impl FnOnce() -> Result<Turn>) -> Result<Turn> {
        Error::catch(turn)
    }

    /// Says that the actor has failed; it does nothing more.
    pub(crate) fn fail(&mut self, error: Error) {
        if !self.over {
            self.tell.tell(What::Failed(error.at_operator(&self.label)));
        }
        self.over();
    }

    /// Nothing will ever follow.
    pub(crate) fn over(&mut self) {
        self.over = true;
        self.running = false;
    }

    /// Polls the timer so that it stays registered.
    pub(crate) fn poll_timer(&mut self, task: &mut Context<'_>) {
        if let Some(timer) = &mut self.timer
            && let Poll::Ready(()) = timer.as_mut().poll(task)
        {
            self.timer = None;
        }
    }
}
