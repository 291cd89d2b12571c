//! One run of a query: recovery, then wired actors, then a coordinator. A restart is another run.

use super::build::{BuildContext, Launch, RunSettings};
use super::control::{Tell, What};
use super::threads::Threads;
use crate::checkpoint::commits::{Committers, commit_all};
use crate::checkpoint::coordinator::Coordinator;
use crate::checkpoint::location;
use crate::checkpoint::log::{Log, Recovered, recover};
use crate::checkpoint::record::{Image, Plan, QueryIdentity};
use crate::checkpoint::recover::{Differences, check_committed, match_operators};
use crate::checkpoint::savepoint::begin_from;
use crate::checkpoint::storage::{CheckpointStorage, MemoryStorage};
use crate::checkpoint::writer::Writer;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::kill_point;
use crate::limits::EPOCH_TIMEOUT;
use crate::plan::graph::{Node, NodeId};
use crate::plan::physical::PhysicalPlan;
use crate::query::Trigger;
use lotic_operators::{Epoch, Instance};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Weak;

/// Where a query keeps its checkpoints.
pub(crate) enum Location {
    /// Nowhere: after a crash the query begins anew.
    Nowhere,
    /// In memory: for restarts within the process.
    Memory(MemoryStorage),
    /// In a local folder, or at the address of an object store.
    Folder(PathBuf),
    /// Wherever the function says; it is called for each run.
    Custom(Box<dyn FnMut() -> std::io::Result<Box<dyn CheckpointStorage>> + Send>),
}

/// All that is needed to run a query, again and again.
pub(crate) struct RunSpec {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) plan: PhysicalPlan,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) settings: RunSettings,
    pub(crate) location: Location,
    /// Where an empty location begins.
    pub(crate) savepoint: Option<PathBuf>,
    /// Whether state of operators that the query lacks is left behind.
    pub(crate) leaves_state: bool,
    pub(crate) accept_duplicates: bool,
    /// Weak, since the query is itself on these threads: when the session and all handles are gone they end.
    pub(crate) threads: Weak<Threads>,
    pub(crate) clock: Clock,
}

/// A run, ready to be started.
pub(crate) struct PreparedRun {
    pub(crate) writer: Writer,
    pub(crate) launches: Vec<Launch>,
    pub(crate) coordinator: Coordinator,
    /// A micro-batch that was planned and not finished.
    pub(crate) replay: Option<Plan>,
    /// The query's id, as the checkpoint location knows it.
    pub(crate) id: String,
    pub(crate) recovered: Option<Epoch>,
}

impl RunSpec {
    fn storage(&mut self) -> Result<Option<Box<dyn CheckpointStorage>>> {
        let said = |error: std::io::Error| Error::external(error.to_string());
        Ok(match &mut self.location {
            Location::Nowhere => None,
            Location::Memory(storage) => Some(Box::new(storage.clone())),
            Location::Folder(folder) => Some(location::open(folder).map_err(said)?),
            Location::Custom(open) => Some(open().map_err(said)?),
        })
    }

    fn committers(&self, query: &str) -> Result<Committers> {
        let mut committers = Committers::new();
        for planned in &self.plan.nodes {
            let writer = format!("{query}/{}", planned.uid);
            let committer = self.nodes[&planned.id].builder.committer(&writer);
            if let Some(committer) = committer.map_err(|error| error.at_operator(&planned.uid))? {
                committers.insert(planned.uid.clone(), committer);
            }
        }
        Ok(committers)
    }

    /// Recovers, brings sinks and sources to where the checkpoint stands and wires the actors. Blocks; not
    /// to be called on a data Arbiter.
    pub(crate) fn prepare(&mut self, tell: &Tell, trigger: Trigger) -> Result<PreparedRun> {
        let mut storage = self.storage()?;
        let mut recovered = storage.as_mut().map(|storage| recover(storage.as_mut())).transpose()?.flatten();
        if let (Some(savepoint), Some(storage)) = (self.savepoint.take(), &mut storage) {
            recovered = begin_from(&savepoint, storage.as_mut(), recovered)?;
        }
        let place = storage.as_ref().map_or_else(|| "nowhere".to_owned(), |storage| storage.place());
        let identity = self.identity(recovered.as_ref(), &place)?;
        if let Some(recovered) = &mut recovered {
            recovered.image.keep(&identity.operators);
        }
        let mut committers = self.committers(&identity.id)?;
        let next = self.check_sinks(recovered.as_ref(), &place, &mut committers, storage.is_some())?;
        // The log first makes sure that what was read is durable: only then may it be committed.
        kill_point::reach("recovery-before-log");
        let log = match storage {
            Some(storage) => Some(Log::open(storage, identity.clone(), recovered.as_ref())?),
            None => None,
        };
        kill_point::reach("recovery-after-log");
        settle(recovered.as_ref(), &mut committers)?;
        let teller = tell.clone();
        let writer = Writer::start(&self.name, log, committers, self.clock.clone(), move |written| {
            teller.tell(What::Written(written));
        })?;
        let empty = Image::default();
        let image = recovered.as_ref().map_or(&empty, |recovered| &recovered.image);
        let launches = self.build(image, next, tell, &writer)?;
        let actors: BTreeSet<_> = launches.iter().map(|launch| launch.id).collect();
        let sources = launches.iter().filter(|launch| launch.is_source).map(|launch| launch.id).collect();
        let recovered_at = recovered.as_ref().map(|recovered| recovered.image.epoch);
        Ok(PreparedRun {
            writer,
            launches,
            coordinator: Coordinator::new(actors, sources, trigger, next, EPOCH_TIMEOUT),
            // Rows that cannot be read again would be waited for in vain.
            replay: recovered
                .and_then(|recovered| recovered.plan)
                .filter(|plan| plan.epoch == next && self.plan.is_replayable()),
            id: identity.id,
            recovered: recovered_at,
        })
    }

    fn identity(&self, recovered: Option<&Recovered>, place: &str) -> Result<QueryIdentity> {
        let Some(recovered) = recovered else { return Ok(self.plan.identity(self.id.clone())) };
        let identity = self.plan.identity(recovered.query.id.clone());
        let Differences { begun, left } =
            match_operators(place, &recovered.query, &identity, self.leaves_state)?;
        if !begun.is_empty() {
            tracing::warn!(
                "query `{}`: new since the checkpoint in `{place}`, begin without state: {}",
                self.name,
                begun.join(", ")
            );
        }
        if !left.is_empty() {
            tracing::warn!(
                "query `{}`: gone since the checkpoint in `{place}`, their state is left behind: {}",
                self.name,
                left.join(", ")
            );
        }
        for warning in &recovered.warnings {
            tracing::warn!("{warning}");
        }
        Ok(identity)
    }

    /// Refuses to fall back behind what the sinks have shown, and says which epoch is next.
    fn check_sinks(
        &self,
        recovered: Option<&Recovered>,
        place: &str,
        committers: &mut Committers,
        checkpointed: bool,
    ) -> Result<Epoch> {
        let mut committed = Vec::new();
        for (sink, committer) in committers.iter_mut() {
            let epoch = committer.last_committed().map_err(|error| Error::from(error).at_operator(sink))?;
            committed.push((sink.clone(), epoch));
        }
        let durable = recovered.map_or(Epoch::NONE, |recovered| recovered.image.epoch);
        check_committed(place, durable, &committed, self.accept_duplicates || !checkpointed)?;
        let shown = committed.iter().map(|(_, epoch)| epoch.next()).max().unwrap_or(Epoch(1));
        Ok(recovered.map_or(Epoch(1), |recovered| recovered.next).max(shown))
    }

    fn build(&mut self, image: &Image, next: Epoch, tell: &Tell, writer: &Writer) -> Result<Vec<Launch>> {
        let threads = self.threads.upgrade();
        let threads = threads.ok_or_else(|| Error::user("the session was dropped, and the query with it"))?;
        let mut context = BuildContext::new(
            &self.plan,
            &threads,
            &self.settings,
            (image, next),
            tell.clone(),
            writer.jobs(),
            self.clock.clone(),
        );
        for planned in self.plan.nodes.iter().rev() {
            let builder =
                &mut self.nodes.get_mut(&planned.id).expect("invariant: planned nodes exist").builder;
            for index in 0..planned.parallelism {
                let instance = Instance { index, parallelism: planned.parallelism };
                let built = Error::catch(|| builder.build(planned.id, instance, &mut context));
                built.map_err(|error| error.at_operator(&format!("{}[{index}]", planned.uid)))?;
            }
        }
        Ok(context.launches)
    }
}

/// Commits what the checkpoint says is to be committed, and drops what else was prepared.
fn settle(recovered: Option<&Recovered>, committers: &mut Committers) -> Result<()> {
    kill_point::reach("recovery-before-commits");
    let handles = recovered.iter().flat_map(|recovered| &recovered.image.handles);
    commit_all(committers, handles, "recovery-mid-commits")?;
    kill_point::reach("recovery-before-abort");
    for (sink, committer) in committers.iter_mut() {
        committer.abort_prepared().map_err(|error| Error::from(error).at_operator(sink))?;
    }
    Ok(())
}
