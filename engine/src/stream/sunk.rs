//! A dataflow that ends in a sink: the settings of a query and its start.

use crate::checkpoint::align::Consistency;
use crate::checkpoint::storage::{CheckpointStorage, MemoryStorage};
use crate::error::{Error, Result};
use crate::plan::graph::NodeId;
use crate::plan::physical::{PhysicalPlan, PlanOptions};
use crate::query::shared::Shared;
use crate::query::{Ask, StreamingQuery, Trigger};
use crate::runtime::build::RunSettings;
use crate::runtime::control::{Report, Tell};
use crate::runtime::query_actor::{Asked, QueryActor, Ready};
use crate::runtime::run::{Location, RunSpec};
use crate::runtime::watermarks::MultipleWatermarkPolicy;
use crate::session::{RestartPolicy, Session, check_idle_after};
use actix::{Actor, Addr, Recipient};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// A query that is written and not started: its settings.
///
/// Where a dataflow has several sinks, it is started from any one of them; all of it runs.
#[must_use = "a query does nothing until it is started"]
pub struct Query {
    session: Session,
    node: NodeId,
    name: Option<String>,
    location: Location,
    policy: RestartPolicy,
    consistency: Consistency,
    batch_rows_max: Option<u64>,
    savepoint: Option<PathBuf>,
    leaves_state: bool,
    accept_duplicates: bool,
    watermark_policy: Option<MultipleWatermarkPolicy>,
    idle_after: Option<Option<Duration>>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Query({:?})", self.name)
    }
}

impl Query {
    pub(crate) fn new(session: Session, node: NodeId) -> Query {
        Query {
            session,
            node,
            name: None,
            location: Location::Nowhere,
            policy: RestartPolicy::NEVER,
            consistency: Consistency::ExactlyOnce,
            batch_rows_max: None,
            savepoint: None,
            leaves_state: false,
            accept_duplicates: false,
            watermark_policy: None,
            idle_after: None,
        }
    }

    /// Names the query.
    pub fn query_name(mut self, name: impl Into<String>) -> Query {
        self.name = Some(name.into());
        self
    }

    /// Gives the sink a stable id, as [`crate::Stream::uid`].
    pub fn uid(self, uid: &str) -> Query {
        if let Some(node) = self.session.graph().nodes.get_mut(&self.node) {
            node.uid = Some(uid.to_owned());
        }
        self
    }

    /// Sets the number of instances of the sink.
    pub fn parallelism(self, parallelism: usize) -> Query {
        if let Some(node) = self.session.graph().nodes.get_mut(&self.node) {
            node.parallelism = Some(parallelism);
        }
        self
    }

    /// Keeps checkpoints in a local folder, from which a later start goes on; with the feature `object-store` also
    /// at an address such as `s3://bucket/folder` (`checkpoint::object`). Without a location state and offsets are
    /// lost with the process.
    pub fn checkpoint_location(mut self, folder: impl Into<PathBuf>) -> Query {
        self.location = Location::Folder(folder.into());
        self
    }

    /// Keeps checkpoints in a storage of your own; the function is called for each run.
    pub fn checkpoint_storage(
        mut self,
        open: impl FnMut() -> std::io::Result<Box<dyn CheckpointStorage>> + Send + 'static,
    ) -> Query {
        self.location = Location::Custom(Box::new(open));
        self
    }

    /// Begins with the state and offsets of a savepoint ([`StreamingQuery::savepoint`]) or of any other checkpoint
    /// location, which is only read. The query's own location has to be empty, or to go on from that savepoint: so the
    /// same program can be started again after a crash. The query keeps the id that the savepoint has.
    ///
    /// The query may have changed since: operators are matched by their stable ids, those given by
    /// [`crate::Stream::uid`] or, without one, kind and number among the operators of that kind that keep state. Steps
    /// without state may come and go. An operator that the savepoint lacks begins without state; one that the query
    /// lacks is refused, unless [`Query::allow_non_restored_state`]. The same holds for a location that is resumed.
    pub fn from_savepoint(mut self, place: impl Into<PathBuf>) -> Query {
        self.savepoint = Some(place.into());
        self
    }

    /// Leaves the state of operators behind that the checkpoint has and the query lacks, for good. Offsets of
    /// sources count as their state.
    pub fn allow_non_restored_state(mut self, allow: bool) -> Query {
        self.leaves_state = allow;
        self
    }

    /// Restarts the query from its last checkpoint when user code, a source or a sink fails. Without a
    /// checkpoint location, checkpoints are kept in memory for it.
    pub fn restart(mut self, policy: RestartPolicy) -> Query {
        self.policy = policy;
        self
    }

    /// Lets no input wait for another at a marker; after a restart state may reflect rows twice.
    pub fn at_least_once(mut self) -> Query {
        self.consistency = Consistency::AtLeastOnce;
        self
    }

    /// Admits at most this many rows from each source instance into one micro-batch. Folders of files admit whole
    /// files, whatever this says: they have the option `maxFilesPerTrigger`.
    pub fn max_rows_per_batch(mut self, rows: u64) -> Query {
        self.batch_rows_max = Some(rows.max(1));
        self
    }

    /// Goes on although a sink has shown epochs that no whole checkpoint holds: rows come out twice.
    pub fn accept_duplicates(mut self, accept: bool) -> Query {
        self.accept_duplicates = accept;
        self
    }

    /// How the watermarks of the inputs of a join or a union become one, in this query; see
    /// [`crate::SessionBuilder::multiple_watermark_policy`].
    pub fn multiple_watermark_policy(mut self, policy: MultipleWatermarkPolicy) -> Query {
        self.watermark_policy = Some(policy);
        self
    }

    /// After how long a quiet partition is idle, in this query; see [`crate::SessionBuilder::idle_after`].
    pub fn idle_after(mut self, time: Option<Duration>) -> Query {
        self.idle_after = Some(time);
        self
    }

    /// The plan that would run, as text: one line for each operator, with its instances, its promise and what
    /// feeds it; what runs within the actor above is marked `+`.
    ///
    /// # Errors
    /// If the query is not complete.
    pub fn explain(&self) -> Result<String> {
        let settings = self.session.settings();
        let options = PlanOptions { parallelism: settings.parallelism, chaining: settings.chaining };
        let mut graph = self.session.graph();
        let (nodes, mistakes) = graph.take_component(self.node);
        let plan = PhysicalPlan::new(&nodes, options);
        let mistake = mistakes.first().cloned();
        graph.put_back(nodes, self.node, mistakes);
        match mistake {
            Some(mistake) => Err(Error::user(mistake)),
            None => Ok(plan?.explain()),
        }
    }

    /// Takes the query's steps out of the session: it was only looked at.
    #[cfg(feature = "sql")]
    pub(crate) fn discard(self) {
        let _ = self.session.graph().take_component(self.node);
    }

    /// Starts the query and returns its handle. Recovers first if the checkpoint location holds something.
    ///
    /// # Errors
    /// If the query is not complete, the checkpoint belongs to another query or is damaged beyond use, a
    /// source or sink cannot be reached, or a sink needs whole batches and the trigger is continuous.
    pub fn start(mut self, trigger: Trigger) -> Result<StreamingQuery> {
        let trigger = trigger.check()?;
        check_idle_after(self.idle_after.flatten())?;
        let (nodes, mistakes) = self.session.graph().take_component(self.node);
        if let Some(mistake) = mistakes.into_iter().next() {
            return Err(Error::user(mistake));
        }
        let settings = self.session.settings();
        let options = PlanOptions { parallelism: settings.parallelism, chaining: settings.chaining };
        let plan = PhysicalPlan::new(&nodes, options)?;
        let batches_only = plan.batches_only();
        if let Some(sink) = &batches_only {
            trigger.check_sink(sink)?;
        }
        let number = self.session.number_query();
        let name = self.name.take().unwrap_or_else(|| format!("{}-{number}", settings.app_name));
        let needs_location = self.policy.attempts > 0 || self.savepoint.is_some();
        if matches!(self.location, Location::Nowhere) && needs_location {
            self.location = Location::Memory(MemoryStorage::default());
        }
        let shared = Arc::new(Shared::new(name.clone(), plan.explain(), self.session.listeners()));
        let threads = Arc::clone(&self.session.inner.threads);
        let mut spec = RunSpec {
            id: new_id(&name, number),
            name: name.clone(),
            plan,
            nodes,
            settings: RunSettings {
                name,
                wait: settings.wait,
                consistency: self.consistency,
                batch_rows_max: self.batch_rows_max,
                worker_offset: number,
                watermark_policy: self.watermark_policy.unwrap_or(settings.watermark_policy),
                idle_after: self.idle_after.unwrap_or(settings.idle_after),
                mode: lotic_connectors::ModeWatch::default(),
            },
            location: self.location,
            savepoint: self.savepoint,
            leaves_state: self.leaves_state,
            accept_duplicates: self.accept_duplicates,
            threads: Arc::downgrade(&threads),
            clock: self.session.inner.clock.clone(),
        };
        let actor = QueryActor::new(Arc::clone(&shared), spec.clock.clone(), self.policy, trigger);
        let address = launch(&self.session, actor)?;
        let coordinator: Recipient<Report> = address.clone().recipient();
        let run = spec.prepare(&Tell { coordinator, run: 0 }, trigger)?;
        let gone = || Error::internal("the coordinator ended before the query began");
        address.try_send(Ready { spec, run: Ok(run) }).map_err(|_| gone())?;
        let query = StreamingQuery { shared, ask: asker(address), _threads: threads, batches_only };
        self.session.register(&query);
        Ok(query)
    }
}

/// Starts a coordinator on the session's control thread.
fn launch(session: &Session, actor: QueryActor) -> Result<Addr<QueryActor>> {
    let (put, started) = mpsc::channel();
    let control = session.inner.threads.control();
    control.spawn_fn(move || {
        let _ = put.send(actor.start());
    });
    started.recv().map_err(|_| Error::internal("the session's control thread has ended"))
}

fn asker(address: Addr<QueryActor>) -> Arc<dyn Fn(Ask) -> Result<()> + Send + Sync> {
    Arc::new(move |ask| {
        address.try_send(Asked(ask)).map_err(|_| Error::user("the query has ended: start it again"))
    })
}

/// A new query id, in the form of a UUID.
fn new_id(name: &str, number: usize) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = (name, number, std::process::id(), since.as_nanos() as u64);
    let high = lotic_operators::key::hash_of(&seed);
    let low = lotic_operators::key::hash_of(&(high, seed));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 50),
        low & 0xffff_ffff_ffff
    )
}
