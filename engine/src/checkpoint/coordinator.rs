//! The coordinator: opens epochs, counts acknowledgements, decides. A pure state machine; the actor that
//! carries out its actions is `runtime/query_actor.rs`.
//!
//! An epoch goes through three phases: *collecting* acknowledgements, *persisting* the checkpoint,
//! *committing* the sinks. Writing the checkpoint is the instant that decides: before it the epoch never
//! happened, after it the epoch will be committed. What an abandoned epoch had gathered is not lost: its
//! changes and prepared output go into the next one (see [`super::assemble`]).

pub use super::events::{Action, Event, Until};

use crate::checkpoint::ActorId;
use crate::limits::{EPOCHS_IN_FLIGHT, FAILED_EPOCHS_TOLERATED, IDLE_BACKOFF};
use crate::query::{Mode, Trigger};
use lotic_connectors::Offsets;
use lotic_operators::{After, Epoch, Marker};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Collecting,
    Persisting,
    Committing,
}

#[derive(Debug)]
struct Open {
    marker: Marker,
    mode: Mode,
    opened_at: Duration,
    acknowledged: BTreeSet<ActorId>,
    phase: Phase,
}

#[derive(Debug, Default)]
struct Planning {
    ends: BTreeMap<ActorId, Offsets>,
    has_rows: bool,
    /// Somebody waits for an epoch: an empty one will do.
    forced: bool,
    /// The trigger was changed meanwhile: the sources answer a question that is no longer asked.
    stale: bool,
    persisting: bool,
}

/// The coordinator of one run of a query.
#[derive(Debug)]
pub struct Coordinator {
    actors: BTreeSet<ActorId>,
    sources: BTreeSet<ActorId>,
    trigger: Trigger,
    timeout: Duration,
    next: Epoch,
    open: BTreeMap<Epoch, Open>,
    planning: Option<Planning>,
    /// Micro-batches with a fixed goal: where each source stood at the start.
    goal: Option<BTreeMap<ActorId, Offsets>>,
    /// The ends of the last micro-batch.
    read: BTreeMap<ActorId, Offsets>,
    gates_open: bool,
    /// The epoch that was to close the gates for micro-batches was given up: some sources may read on.
    unclosed: bool,
    /// An epoch was given up: what it held is not durable although nothing may have moved since.
    owed: bool,
    exhausted: BTreeSet<ActorId>,
    stopping: bool,
    forced: bool,
    last: Option<Epoch>,
    due: Duration,
    backoff: Duration,
    failed_in_a_row: u32,
    started: bool,
    over: bool,
}

impl Coordinator {
    /// A coordinator for a run whose first epoch is `next`. `sources` are among `actors`; every actor
    /// acknowledges every epoch. An epoch that takes longer than `timeout` is given up.
    pub fn new(
        actors: BTreeSet<ActorId>,
        sources: BTreeSet<ActorId>,
        trigger: Trigger,
        next: Epoch,
        timeout: Duration,
    ) -> Coordinator {
        assert!(next > Epoch::NONE, "epochs are numbered from 1");
        assert!(sources.is_subset(&actors) && !sources.is_empty(), "a query has sources");
        Coordinator {
            actors,
            sources,
            trigger,
            timeout,
            next,
            open: BTreeMap::new(),
            planning: None,
            goal: None,
            read: BTreeMap::new(),
            gates_open: false,
            unclosed: false,
            owed: false,
            exhausted: BTreeSet::new(),
            stopping: false,
            forced: false,
            last: None,
            due: Duration::ZERO,
            backoff: Duration::from_millis(1),
            failed_in_a_row: 0,
            started: false,
            over: false,
        }
    }

    /// The mode that the query is in or, while a switch waits for its epoch boundary, is still in.
    pub fn mode(&self) -> Mode {
        if self.gates_open { Mode::Continuous } else { Mode::MicroBatch }
    }

    /// Whether the run has reached its end.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The trigger last asked for.
    pub fn trigger(&self) -> Trigger {
        self.trigger
    }

    /// The first epoch that is not durable.
    pub fn current(&self) -> Epoch {
        let collecting = self.open.iter().find(|(_, open)| open.phase != Phase::Committing);
        collecting.map_or(self.next, |(epoch, _)| *epoch)
    }

    /// The epoch that is opened next.
    pub fn next(&self) -> Epoch {
        self.next
    }

    /// When the next [`Event::Tick`] is needed at the latest; [`Duration::MAX`] if other events come first.
    pub fn wake_at(&self) -> Duration {
        let collecting = self.open.values().filter(|open| open.phase == Phase::Collecting);
        let timeout = collecting.map(|open| open.opened_at + self.timeout).min();
        let full = if self.gates_open { self.open.len() >= EPOCHS_IN_FLIGHT } else { !self.open.is_empty() };
        let waits = !self.started || full || self.planning.is_some() || self.last.is_some();
        let due = (!waits).then_some(self.due);
        due.into_iter().chain(timeout).min().unwrap_or(Duration::MAX)
    }

    /// Takes in what has happened at `now` (time since the start) and says what is to be done, in order.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.over {
            return actions;
        }
        let mut active = false;
        match event {
            Event::Started { replay } => self.start(now, replay, &mut actions),
            Event::Tick { active: rows_moved } => {
                active = rows_moved;
                self.give_up_late(now, &mut actions);
            }
            Event::Planned { source, epoch, end, has_rows, exhausted } => {
                self.planned(now, source, epoch, end, has_rows, exhausted, &mut actions);
            }
            Event::PlanPersisted(epoch) => self.plan_persisted(now, epoch, &mut actions),
            Event::Acknowledged { actor, epoch } => self.acknowledged(actor, epoch, &mut actions),
            Event::Declined { epoch, cause } => {
                // Of an epoch that all have acknowledged nothing can be declined any more.
                if self.open.get(&epoch).is_some_and(|open| open.phase == Phase::Collecting) {
                    self.give_up(epoch, &cause, &mut actions);
                }
            }
            Event::PersistFailed { epoch, cause } => self.give_up(epoch, &cause, &mut actions),
            Event::Persisted(epoch) => {
                let open = self.open.get_mut(&epoch).expect("invariant: only open epochs are persisted");
                assert_eq!(open.phase, Phase::Persisting, "an epoch is persisted once");
                open.phase = Phase::Committing;
            }
            Event::Committed(epoch) => self.committed(epoch, &mut actions),
            Event::Exhausted(source) => {
                self.exhausted.insert(source);
            }
            Event::SetTrigger(trigger) => {
                self.trigger = trigger;
                self.goal = None;
                self.due = now;
                if let Some(planning) = &mut self.planning {
                    planning.stale = true;
                }
            }
            Event::Stop => self.stopping = true,
            Event::ForceEpoch => self.forced = true,
        }
        if !self.over {
            self.advance(now, active, &mut actions);
        }
        actions
    }

    fn start(
        &mut self,
        now: Duration,
        replay: Option<(Epoch, BTreeMap<ActorId, Offsets>)>,
        actions: &mut Vec<Action>,
    ) {
        self.started = true;
        self.due = now;
        if let Trigger::Continuous(interval) = self.trigger {
            self.due = now + interval;
            self.gates_open = true;
            actions.push(Action::OpenGates);
        } else if let Some((epoch, ends)) = replay {
            assert_eq!(epoch, self.next, "a batch is run again under its own number");
            self.open_epoch(now, After::Continue, Until::Planned(ends), Mode::MicroBatch, actions);
        }
    }

    /// Opens what is due. The only place where epochs begin.
    fn advance(&mut self, now: Duration, active: bool, actions: &mut Vec<Action>) {
        if !self.started || self.last.is_some() || self.planning.is_some() {
            return;
        }
        let ended = self.exhausted == self.sources;
        let after = if ended {
            After::Finish
        } else if self.stopping {
            After::Stop
        } else {
            After::Continue
        };
        let to_continuous = after == After::Continue && self.trigger.mode() == Mode::Continuous;
        if self.gates_open {
            self.advance_continuous(now, active, after, actions);
        } else if self.unclosed && !to_continuous {
            // Batches begin at a durable epoch only: what was read before it is in no plan.
            if self.open.len() < EPOCHS_IN_FLIGHT {
                self.open_epoch(now, after, Until::Now, Mode::Continuous, actions);
            }
        } else if self.open.is_empty() {
            if after != After::Continue {
                self.open_epoch(now, after, Until::Now, Mode::MicroBatch, actions);
            } else if to_continuous {
                self.gates_open = true;
                self.unclosed = false;
                self.due = now;
                actions.push(Action::OpenGates);
            } else if now >= self.due || self.forced {
                let forced = std::mem::take(&mut self.forced);
                self.plan(forced, actions);
            }
        }
    }

    /// Asks the sources what the next batch could hold: with a limit on rows, unless it is to be all there is
    /// or to find the goal.
    fn plan(&mut self, forced: bool, actions: &mut Vec<Action>) {
        let unlimited = match self.trigger {
            Trigger::Once => true,
            Trigger::AvailableNow => self.goal.is_none(),
            _ => false,
        };
        self.planning = Some(Planning { forced, ..Planning::default() });
        actions.push(Action::Plan { epoch: self.next, unlimited });
    }

    fn advance_continuous(&mut self, now: Duration, active: bool, after: After, actions: &mut Vec<Action>) {
        if self.open.len() >= EPOCHS_IN_FLIGHT {
            return;
        }
        let Trigger::Continuous(interval) = self.trigger else {
            // The switch to micro-batches: this epoch ends now and the gates close behind its marker.
            self.gates_open = false;
            self.due = now;
            self.open_epoch(now, after, Until::Now, Mode::Continuous, actions);
            return;
        };
        let due = now >= self.due;
        if after != After::Continue || self.forced || (due && (active || self.owed)) {
            self.forced = false;
            self.open_epoch(now, after, Until::Now, Mode::Continuous, actions);
        }
        if due {
            // Missed intervals are not made up for.
            let next = self.due + interval;
            self.due = if next > now { next } else { now + interval };
        }
    }

    fn open_epoch(
        &mut self,
        now: Duration,
        after: After,
        until: Until,
        mode: Mode,
        actions: &mut Vec<Action>,
    ) {
        let epoch = self.next;
        self.next = epoch.next();
        (self.owed, self.unclosed) = (false, false);
        let marker = Marker::new(epoch, after);
        if let Until::Planned(ends) = &until {
            self.read.clone_from(ends);
        }
        if after != After::Continue {
            self.last = Some(epoch);
            self.gates_open = false;
        }
        let open =
            Open { marker, mode, opened_at: now, acknowledged: BTreeSet::new(), phase: Phase::Collecting };
        self.open.insert(epoch, open);
        actions.push(Action::Open { marker, until, mode, gates_open: self.gates_open });
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one event")]
    fn planned(
        &mut self,
        now: Duration,
        source: ActorId,
        epoch: Epoch,
        end: Offsets,
        has_rows: bool,
        exhausted: bool,
        actions: &mut Vec<Action>,
    ) {
        if exhausted {
            self.exhausted.insert(source);
        }
        let Some(planning) = self.planning.as_mut().filter(|_| epoch == self.next) else { return };
        let end = match self.goal.as_ref().and_then(|goal| goal.get(&source)) {
            Some(goal) => earlier(&end, goal),
            None => end,
        };
        planning.has_rows |= has_rows;
        planning.ends.insert(source, end);
        if planning.ends.len() < self.sources.len() {
            return;
        }
        if self.stopping || planning.stale {
            // Nothing of it is durable.
            self.forced |= planning.forced;
            self.planning = None;
            return;
        }
        let bounded = matches!(self.trigger, Trigger::AvailableNow | Trigger::Once);
        if bounded && self.goal.is_none() {
            let goal = planning.ends.clone();
            self.goal = Some(goal);
            if self.trigger == Trigger::AvailableNow && planning.has_rows {
                // The goal is known; the batches on the way to it keep to the sources' limits.
                self.plan(false, actions);
                return;
            }
        } else if bounded {
            planning.has_rows = planning.ends != self.read;
        }
        if planning.has_rows || (planning.forced && !bounded && self.exhausted != self.sources) {
            planning.persisting = true;
            actions.push(Action::PersistPlan { epoch, ends: planning.ends.clone() });
        } else {
            self.planning = None;
            self.stopping |= bounded;
            self.due = self.due.max(now + self.pause());
        }
    }

    /// How long to wait after a look at idle sources.
    fn pause(&mut self) -> Duration {
        match self.trigger {
            Trigger::ProcessingTime(interval) if !interval.is_zero() => interval,
            _ => {
                self.backoff = (self.backoff * 2).min(IDLE_BACKOFF);
                self.backoff
            }
        }
    }

    fn plan_persisted(&mut self, now: Duration, epoch: Epoch, actions: &mut Vec<Action>) {
        let Some(planning) = self.planning.take_if(|planning| planning.persisting && epoch == self.next)
        else {
            return;
        };
        self.backoff = Duration::from_millis(1);
        if let Trigger::ProcessingTime(interval) = self.trigger {
            self.due = (self.due + interval).max(now);
        }
        self.open_epoch(now, After::Continue, Until::Planned(planning.ends), Mode::MicroBatch, actions);
    }

    fn acknowledged(&mut self, actor: ActorId, epoch: Epoch, actions: &mut Vec<Action>) {
        // An acknowledgement of an epoch given up meanwhile is late, not wrong.
        let Some(open) = self.open.get_mut(&epoch) else { return };
        assert!(self.actors.contains(&actor), "only known actors acknowledge");
        open.acknowledged.insert(actor);
        if open.acknowledged.len() == self.actors.len() && open.phase == Phase::Collecting {
            open.phase = Phase::Persisting;
            actions.push(Action::Persist { epoch, mode: open.mode });
        }
    }

    fn committed(&mut self, epoch: Epoch, actions: &mut Vec<Action>) {
        let open = self.open.remove(&epoch).expect("invariant: only open epochs are committed");
        assert_eq!(open.phase, Phase::Committing, "an epoch is durable before it is committed");
        self.failed_in_a_row = 0;
        actions.push(Action::Completed(epoch));
        if open.marker.after != After::Continue {
            self.over = true;
            actions.push(Action::Finished);
        }
    }

    fn give_up_late(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let late: Vec<(Epoch, String)> = self
            .open
            .iter()
            .filter(|(_, open)| open.phase == Phase::Collecting && now >= open.opened_at + self.timeout)
            .map(|(epoch, open)| {
                let missing: Vec<String> =
                    self.actors.difference(&open.acknowledged).map(ToString::to_string).collect();
                let cause = format!("no snapshot within {:?} from {}", self.timeout, missing.join(", "));
                (*epoch, cause)
            })
            .collect();
        for (epoch, cause) in late {
            self.give_up(epoch, &cause, actions);
        }
    }

    fn give_up(&mut self, epoch: Epoch, cause: &str, actions: &mut Vec<Action>) {
        let Some(open) = self.open.remove(&epoch) else { return };
        self.failed_in_a_row += 1;
        self.owed = true;
        self.unclosed |= !self.gates_open && epoch.next() == self.next;
        let irreplaceable = open.mode == Mode::MicroBatch || open.marker.after != After::Continue;
        if irreplaceable || self.failed_in_a_row > FAILED_EPOCHS_TOLERATED {
            self.over = true;
            actions.push(Action::Fail { epoch, cause: cause.to_owned() });
        } else {
            actions.push(Action::Cancel(epoch));
        }
    }
}

/// The earlier position, partition by partition; a partition unknown at the goal is not read.
fn earlier(end: &Offsets, goal: &Offsets) -> Offsets {
    let both = end.0.iter().filter_map(|(name, at)| goal.get(name).map(|max| (name.clone(), (*at).min(max))));
    Offsets(both.collect())
}
