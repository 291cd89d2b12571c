//! The start of a simulated process: recovery as `runtime/run.rs` does it, then the wiring of actors.

use super::channel::{Channel, Outbox, Route};
use super::operators::{Groups, Logic};
use super::outside::Outside;
use super::process::{Process, ProcessParts};
use super::setup::{Setup, Shape};
use super::source::{OFFSETS, SourceActor, SourceParts, uid};
use super::stage::{StageActor, StageParts};
use super::wires::Wires;
use super::{Broken, Check, broken, ill};
use crate::checkpoint::ActorId;
use crate::checkpoint::align::{Aligner, Consistency};
use crate::checkpoint::commits::{Committers, commit_all};
use crate::checkpoint::log::{Log, Recovered, recover};
use crate::checkpoint::record::{Image, QueryIdentity};
use crate::checkpoint::recover::{check_committed, match_operators};
use crate::checkpoint::storage::CheckpointStorage;
use crate::error::Result;
use crate::query::Trigger;
use lotic_connectors::{Offsets, SourceFactory};
use lotic_operators::state::{KeyedState, codec};
use lotic_operators::{Epoch, Instance};

pub(super) const SINK: &str = "sink";

/// What recovery found and settled.
struct Settled {
    recovered: Option<Recovered>,
    committers: Committers,
    next: Epoch,
    log: Log,
}

fn identity(setup: &Setup) -> QueryIdentity {
    let sources = (0..setup.partitions.len()).map(|input| (uid(input as u8), "source".to_owned()));
    let others = ["keys", "groups", SINK].map(|name| (name.to_owned(), "operator".to_owned()));
    QueryIdentity { id: "simulated".to_owned(), operators: sources.chain(others).collect() }
}

fn settle(setup: &Setup, outside: &Outside) -> Result<Settled> {
    let mut storage: Box<dyn CheckpointStorage> = Box::new(outside.disk.clone());
    let place = storage.place();
    let recovered = recover(storage.as_mut())?;
    if let Some(recovered) = &recovered {
        match_operators(&place, &recovered.query, &identity(setup), false)?;
    }
    let mut committers = Committers::new();
    committers.insert(SINK.to_owned(), Box::new(outside.store.clone()));
    let mut shown = Vec::new();
    for (sink, committer) in &mut committers {
        shown.push((sink.clone(), committer.last_committed()?));
    }
    let durable = recovered.as_ref().map_or(Epoch::NONE, |recovered| recovered.image.epoch);
    check_committed(&place, durable, &shown, false)?;
    let mut log = Log::open(storage, identity(setup), recovered.as_ref())?;
    log.set_segment_bytes(setup.segment_bytes);
    let handles = recovered.iter().flat_map(|recovered| &recovered.image.handles);
    commit_all(&mut committers, handles, "recovery-mid-commits")?;
    for committer in committers.values_mut() {
        committer.abort_prepared()?;
    }
    let next = recovered.as_ref().map_or(Epoch(1), |recovered| recovered.next);
    Ok(Settled { recovered, committers, next, log })
}

/// Starts a process; `None` if a fault kept it from starting.
pub(super) fn launch(
    setup: &Setup,
    outside: &mut Outside,
    (shape, trigger): (&Shape, Trigger),
    (canary, run): (Broken, u32),
) -> Check<Option<Process>> {
    let faults = |outside: &Outside| outside.disk.faults() + outside.store.lock().faults;
    let before = faults(outside);
    let settled = settle(setup, outside);
    if let Some(violation) = outside.store.lock().violation.take() {
        return broken(violation);
    }
    let settled = match settled {
        Ok(settled) => settled,
        Err(error) if faults(outside) > before => {
            outside.note(|| format!("the start failed: {error}"));
            return Ok(None);
        }
        Err(error) => return broken(format!("recovery refused: {error}")),
    };
    let image = settled.recovered.as_ref().map_or_else(Image::default, |recovered| recovered.image.clone());
    if image.epoch < outside.durable {
        return broken(format!(
            "epoch {} was durable; recovery found epoch {}",
            outside.durable, image.epoch
        ));
    }
    outside.durable = image.epoch;
    let plan = settled.recovered.and_then(|recovered| recovered.plan);
    let replay = plan.filter(|plan| plan.epoch == settled.next && canary != Broken::ForgetsPlans);
    outside.note(|| {
        format!("run {run}: resumes after {}, replays {replay:?}, {trigger}, {shape:?}", image.epoch)
    });
    outside.tally.replays += u64::from(replay.is_some());
    let mut wiring = Wiring { setup, outside, shape, canary, run, image: &image, channels: Vec::new() };
    let (sources, stages) = wiring.actors()?;
    let wires = Wires::new(wiring.channels, sources.len() + stages.len());
    Ok(Some(Process::new(ProcessParts {
        sources,
        stages,
        wires,
        trigger,
        timeout: shape.epoch_timeout,
        next: settled.next,
        log: settled.log,
        committers: settled.committers,
        replay,
        canary,
        started_us: outside.now_us,
    })))
}

struct Wiring<'a> {
    setup: &'a Setup,
    outside: &'a Outside,
    shape: &'a Shape,
    canary: Broken,
    run: u32,
    image: &'a Image,
    channels: Vec<Channel>,
}

impl Wiring<'_> {
    /// The channels from each of so many actors to each of so many, by producer.
    fn exchange(&mut self, from: usize, to: usize) -> Vec<Vec<usize>> {
        let mut channels = Vec::with_capacity(from);
        for _ in 0..from {
            let first = self.channels.len();
            self.channels.extend((0..to).map(|_| Channel::new(self.setup.capacity)));
            channels.push((first..first + to).collect());
        }
        channels
    }

    fn actors(&mut self) -> Check<(Vec<SourceActor>, Vec<StageActor>)> {
        let sources: usize = self.shape.sources.iter().sum();
        let mut channels = self.exchange(sources, self.shape.stages[0]);
        let sources = self.sources(&channels)?;
        let mut stages = Vec::new();
        let last = self.shape.stages.len() - 1;
        for (stage, &parallelism) in self.shape.stages.iter().enumerate() {
            let following = self.shape.stages.get(stage + 1).copied().unwrap_or(0);
            let outputs = self.exchange(parallelism, following);
            for (index, output) in outputs.iter().enumerate() {
                let id = ActorId((sources.len() + stages.len()) as u32);
                let instance = Instance { index, parallelism };
                let inputs = channels.iter().map(|outputs| outputs[index]).collect();
                let stage = (stage, stage == last);
                stages.push(self.stage(id, stage, instance, (inputs, output.clone()))?);
            }
            channels = outputs;
        }
        Ok((sources, stages))
    }

    fn sources(&self, channels: &[Vec<usize>]) -> Check<Vec<SourceActor>> {
        let mut actors = Vec::new();
        for (input, &parallelism) in self.shape.sources.iter().enumerate() {
            let mut from = Offsets::default();
            for chunk in self.image.state_of(&uid(input as u8)).chunks(OFFSETS) {
                from.merge(codec::decode(OFFSETS, chunk).map_err(ill)?);
            }
            for index in 0..parallelism {
                let instance = Instance { index, parallelism };
                let mut source = self.outside.sources[input].create(instance).map_err(ill)?;
                source.start(&from).map_err(ill)?;
                let at = actors.len();
                actors.push(SourceActor::new(SourceParts {
                    id: ActorId(at as u32),
                    input: input as u8,
                    instance,
                    source,
                    out: Outbox::new(channels[at].clone(), Route::Key),
                    batch_rows_max: self.setup.batch_rows_max,
                }));
            }
        }
        Ok(actors)
    }

    fn stage(
        &self,
        id: ActorId,
        (stage, is_sink): (usize, bool),
        instance: Instance,
        (inputs, outputs): (Vec<usize>, Vec<usize>),
    ) -> Check<StageActor> {
        let groups = self.setup.groups;
        let (name, mut logic) = match stage {
            _ if is_sink => {
                let (store, run) = (self.outside.store.clone(), self.run);
                let shows_at_once = self.canary == Broken::CommitsBeforeDurable;
                (SINK, Logic::Sink { store, run, shows_at_once, rows: Vec::new() })
            }
            0 => ("keys", Logic::Keys(KeyedState::new("counts"))),
            1 => ("groups", Logic::Groups(Groups::new(groups))),
            _ => ("pass", Logic::Pass),
        };
        logic.restore(self.image, name, instance)?;
        let consistency = match self.canary {
            Broken::HoldsNoInputs => Consistency::AtLeastOnce,
            _ => self.setup.consistency,
        };
        Ok(StageActor::new(StageParts {
            id,
            name: name.to_owned(),
            instance,
            aligner: Aligner::new(inputs.len(), consistency),
            inputs,
            logic,
            out: Outbox::new(outputs, Route::Group(groups)),
            acknowledges_early: self.canary == Broken::AcknowledgesEarly,
        }))
    }
}
