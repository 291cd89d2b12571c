//! The checkpoint writer: a thread beside the data path that encodes snapshots, finishes what sinks
//! prepare, appends to the log and hands what is durable over to the [commits](super::commits).
//!
//! It takes its jobs in order, which is what makes an actor's epochs arrive in order. What it does is in
//! [`Work`], one job at a time; the thread around it is [`Writer`]. The simulator drives [`Work`] itself.

use super::ActorId;
use super::assemble::{Assembler, Part};
use super::commits::{CommitThread, Commits, Committers, Durable};
use super::coordinator::Event;
use super::log::{Compaction, Log};
use super::record::{ChunkDelta, Handle, InstanceDelta, Plan, TableDelta};
use super::storage::CheckpointStorage;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::kill_point;
use crate::query::Mode;
use crate::runtime::threads;
use crossbeam::channel;
use lotic_connectors::Prepare;
use lotic_operators::{Epoch, Instance, Snapshot};
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// What the data path and the coordinator ask of the writer.
pub(crate) enum Job {
    /// An actor's snapshots of an epoch.
    Snapshot {
        actor: ActorId,
        epoch: Epoch,
        operators: Vec<OperatorSnapshot>,
        prepare: Option<(String, Prepare)>,
    },
    /// A micro-batch's planned ends.
    Plan(Plan),
    /// All parts of the epoch are there: make it durable.
    Persist { epoch: Epoch, mode: Mode },
    /// The epoch is committed: its handles need not be repeated any more.
    Committed(Epoch),
    /// Somebody wants to read the checkpoint of an epoch that is committed.
    Lend(Borrower, Epoch),
    /// A compaction has ended, with the size of the base.
    Compacted(Result<u64>),
    /// Nothing follows.
    Close,
}

/// Who is to be given the checkpoints of a query, and the epoch to read.
pub(crate) type Borrower = mpsc::Sender<Result<(Box<dyn CheckpointStorage>, Epoch)>>;

/// The snapshot of one operator instance.
pub(crate) struct OperatorSnapshot {
    pub(crate) operator: String,
    pub(crate) instance: Instance,
    pub(crate) snapshot: Snapshot,
}

/// What the writer tells the coordinator.
pub(crate) enum Written {
    /// Something for the state machine.
    Event(Event),
    /// The size of a checkpoint.
    Bytes { epoch: Epoch, bytes: u64 },
    /// The query has to end.
    Failed { epoch: Epoch, error: Error },
}

/// The writer's thread.
pub(crate) struct Writer {
    jobs: channel::Sender<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread, and that of the commits. `log` is `None` for a query without checkpoints. `tell` must not
    /// block.
    pub(crate) fn start(
        name: &str,
        log: Option<Log>,
        committers: Committers,
        clock: Clock,
        tell: impl Fn(Written) + Clone + Send + 'static,
    ) -> Result<Writer> {
        // Unbounded, but never longer than the epochs in flight times the actors.
        let (jobs, queue) = channel::unbounded();
        let sinks = committers.keys().cloned().collect();
        let commits = CommitThread::start(name, Commits::new(committers), jobs.clone(), tell.clone())?;
        let background = Box::new(Beside { jobs: jobs.clone(), compaction: None, commits: Some(commits) });
        let work = Work::new(log, sinks, clock, Box::new(tell), background);
        let thread = threads::spawn(&format!("lotic-checkpoint-{name}"), move || work.run(queue))?;
        Ok(Writer { jobs, thread: Some(thread) })
    }

    /// Where to put jobs.
    pub(crate) fn jobs(&self) -> channel::Sender<Job> {
        self.jobs.clone()
    }
}

impl Drop for Writer {
    /// Waits until the jobs so far are done: what was persisted is committed before the query is over.
    fn drop(&mut self) {
        let _ = self.jobs.send(Job::Close);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where compactions and commits run.
pub(crate) trait Background: Send {
    /// Begins a compaction; when it has ended, the writer gets [`Job::Compacted`].
    fn compact(&mut self, compaction: Compaction) -> Result<()>;

    /// Has an epoch committed; when it is, the coordinator is told, and the writer gets [`Job::Committed`].
    fn commit(&mut self, durable: Durable);

    /// Waits for what runs, and commits what was handed over.
    fn finish(&mut self);
}

/// Threads of their own.
struct Beside {
    jobs: channel::Sender<Job>,
    compaction: Option<JoinHandle<()>>,
    commits: Option<CommitThread>,
}

impl Background for Beside {
    fn compact(&mut self, compaction: Compaction) -> Result<()> {
        let jobs = self.jobs.clone();
        let run = move || {
            let _ = jobs.send(Job::Compacted(Error::catch(|| compaction.run())));
        };
        self.compaction = Some(threads::spawn("lotic-compaction", run)?);
        Ok(())
    }

    fn commit(&mut self, durable: Durable) {
        if let Some(commits) = &self.commits {
            commits.hand_over(durable);
        }
    }

    fn finish(&mut self) {
        drop(self.commits.take());
        if let Some(thread) = self.compaction.take() {
            let _ = thread.join();
        }
    }
}

/// What the writer does.
pub(crate) struct Work {
    log: Option<Log>,
    /// Those whose output is committed.
    sinks: BTreeSet<String>,
    clock: Clock,
    assembler: Assembler,
    /// The newest epoch that was handed over to the commits and is not committed yet.
    committing: Option<Epoch>,
    base_bytes: u64,
    compacting: bool,
    background: Box<dyn Background>,
    tell: Box<dyn Fn(Written) + Send>,
}

impl Work {
    pub(crate) fn new(
        log: Option<Log>,
        sinks: BTreeSet<String>,
        clock: Clock,
        tell: Box<dyn Fn(Written) + Send>,
        background: Box<dyn Background>,
    ) -> Work {
        let assembler = Assembler::default();
        Work {
            log,
            sinks,
            clock,
            assembler,
            committing: None,
            base_bytes: 0,
            compacting: false,
            background,
            tell,
        }
    }

    fn run(mut self, queue: channel::Receiver<Job>) {
        for job in queue {
            if matches!(job, Job::Close) {
                break;
            }
            self.job(job);
        }
        self.background.finish();
    }

    /// Does one job.
    pub(crate) fn job(&mut self, job: Job) {
        match job {
            Job::Snapshot { actor, epoch, operators, prepare } => {
                self.gather(actor, epoch, operators, prepare);
            }
            Job::Plan(plan) => self.plan(plan),
            Job::Persist { epoch, mode } => self.persist(epoch, mode),
            Job::Committed(epoch) => self.committed(epoch),
            Job::Lend(borrower, epoch) => {
                // Whoever asked may have given up waiting.
                let _ = borrower.send(self.lend().map(|storage| (storage, epoch)));
            }
            Job::Compacted(result) => self.compacted(result),
            Job::Close => {}
        }
    }

    /// Breaks the rule that what was gathered for an epoch is kept: for the simulator's canary.
    #[cfg(feature = "testing")]
    pub(crate) fn forget(&mut self, epoch: Epoch) {
        self.assembler.persisted(epoch);
        self.assembler.committed(epoch);
    }

    fn event(&self, event: Event) {
        (self.tell)(Written::Event(event));
    }

    fn gather(
        &mut self,
        actor: ActorId,
        epoch: Epoch,
        operators: Vec<OperatorSnapshot>,
        prepare: Option<(String, Prepare)>,
    ) {
        let mut part = Part::default();
        kill_point::reach("before-snapshot");
        let gathered = (|| -> Result<()> {
            if self.log.is_some() {
                for operator in operators {
                    let label = format!("{}[{}]", operator.operator, operator.instance.index);
                    let delta = Error::catch(|| encode(operator));
                    part.deltas.push(delta.map_err(|error| error.at_operator(&label))?);
                }
            }
            if let Some((sink, prepare)) = prepare {
                let prepared = Error::catch(|| Ok(prepare()?));
                let bytes = prepared.map_err(|error| error.at_operator(&sink))?;
                // What a sink without a committer prepares is done with that.
                if self.sinks.contains(&sink) {
                    part.handles.push(Handle { sink, epoch, bytes });
                }
            }
            Ok(())
        })();
        match gathered {
            Ok(()) => {
                kill_point::reach("after-snapshot");
                self.assembler.add(epoch, part);
                self.event(Event::Acknowledged { actor, epoch });
            }
            // A change that cannot be written down would be missing from every later checkpoint.
            Err(error) => (self.tell)(Written::Failed { epoch, error }),
        }
    }

    fn plan(&mut self, plan: Plan) {
        let epoch = plan.epoch;
        kill_point::reach("before-plan");
        let written = self.log.as_mut().map_or(Ok(0), |log| log.append_plan(plan));
        match written {
            Ok(_) => {
                kill_point::reach("after-plan");
                self.event(Event::PlanPersisted(epoch));
            }
            Err(error) => {
                let place = self.log.as_ref().map(|log| format!("{log:?}")).unwrap_or_default();
                let cause = format!("the plan of the batch could not be written ({place}): {error}");
                (self.tell)(Written::Failed { epoch, error: Error::external(cause).at_epoch(epoch) });
            }
        }
    }

    fn persist(&mut self, epoch: Epoch, mode: Mode) {
        let record = self.assembler.record(epoch, mode, self.clock.now().time.0);
        kill_point::reach("before-append");
        let written = self.log.as_mut().map_or(Ok(0), |log| log.append_checkpoint(record));
        match written {
            Ok(bytes) => {
                kill_point::reach("before-commit");
                (self.tell)(Written::Bytes { epoch, bytes });
                // Before the thread of the commits can say that it is committed.
                self.event(Event::Persisted(epoch));
                self.commit(epoch);
                self.compact();
            }
            Err(error) => {
                let place = self.log.as_ref().map(|log| format!("{log:?}")).unwrap_or_default();
                self.event(Event::PersistFailed {
                    epoch,
                    cause: format!("the checkpoint could not be written ({place}): {error}"),
                });
            }
        }
    }

    /// Nothing more is to be decided about an epoch that is durable.
    fn commit(&mut self, epoch: Epoch) {
        let handles = self.assembler.persisted(epoch);
        if handles.is_empty() && self.committing.is_none() {
            kill_point::reach("after-commit");
            self.event(Event::Committed(epoch));
        } else {
            // Also without handles: epochs are over in order.
            self.committing = Some(epoch);
            self.background.commit(Durable { epoch, handles });
        }
    }

    fn committed(&mut self, epoch: Epoch) {
        self.assembler.committed(epoch);
        self.committing.take_if(|newest| *newest <= epoch);
    }

    fn lend(&self) -> Result<Box<dyn CheckpointStorage>> {
        let none = || Error::user("the query keeps no checkpoints: give it a `checkpoint_location`");
        let log = self.log.as_ref().ok_or_else(none)?;
        log.second_handle().map_err(|error| Error::external(format!("{log:?}: {error}")))
    }

    fn compact(&mut self) {
        if self.compacting {
            return;
        }
        let Some(log) = self.log.as_mut() else { return };
        let begun = match log.seal(self.base_bytes) {
            Ok(None) => return,
            Ok(Some(compaction)) => self.background.compact(compaction),
            Err(error) => Err(Error::external(error.to_string())),
        };
        match begun {
            Ok(()) => self.compacting = true,
            Err(error) => tracing::warn!("compaction was put off: {error}"),
        }
    }

    fn compacted(&mut self, result: Result<u64>) {
        self.compacting = false;
        match result {
            Ok(bytes) => self.base_bytes = bytes,
            Err(error) => tracing::warn!("{error}; the segments are kept and serve on"),
        }
    }
}

fn encode(operator: OperatorSnapshot) -> Result<InstanceDelta> {
    let mut tables = Vec::with_capacity(operator.snapshot.tables.len());
    for table in operator.snapshot.tables {
        let mut chunks = Vec::with_capacity(table.chunks.len());
        for (number, chunk) in table.chunks {
            let mut bytes = Vec::new();
            chunk.encode(&mut bytes)?;
            chunks.push(if chunk.adds() {
                ChunkDelta::added(number, bytes)
            } else {
                ChunkDelta::whole(number, bytes)
            });
        }
        tables.push(TableDelta { table: table.table.to_owned(), full: table.full, chunks });
    }
    Ok(InstanceDelta {
        operator: operator.operator,
        instance: operator.instance.index as u32,
        parallelism: operator.instance.parallelism as u32,
        tables,
    })
}
