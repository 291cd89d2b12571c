//! The coordinator's decisions, one step at a time: what happened goes in, what is to be done comes out.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::checkpoint::ActorId;
use lotic::checkpoint::coordinator::{Action, Coordinator, Event, Until};
use lotic::connectors::Offsets;
use lotic::operators::{After, Epoch, Marker};
use lotic::{Mode, Trigger};
use std::collections::BTreeMap;
use std::time::Duration;

const LEFT: ActorId = ActorId(0);
const RIGHT: ActorId = ActorId(1);
const SINK: ActorId = ActorId(2);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Short names of what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Does {
    OpenGates,
    Plan {
        epoch: u64,
        unlimited: bool,
    },
    PersistPlan(u64, Vec<u64>),
    /// A continuous epoch; whether gates stay open.
    Marks(u64, bool),
    /// A micro-batch up to there.
    Batch(u64, Vec<u64>),
    /// The last epoch.
    Last(u64, After),
    Persist(u64),
    Commit(u64),
    Cancel(u64),
    Completed(u64),
    Finished,
    Fail(u64),
}
use Does::*;

/// A query of two sources and a sink.
struct Query {
    coordinator: Coordinator,
    now: Duration,
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn at(row: u64) -> Offsets {
    Offsets::single("0", row)
}

fn rows(ends: &BTreeMap<ActorId, Offsets>) -> Vec<u64> {
    ends.values().map(|end| end.get("0").unwrap_or(u64::MAX)).collect()
}

fn does(action: Action) -> Does {
    match action {
        Action::OpenGates => OpenGates,
        Action::Plan { epoch, unlimited } => Plan { epoch: epoch.0, unlimited },
        Action::PersistPlan { epoch, ends } => PersistPlan(epoch.0, rows(&ends)),
        Action::Open { marker: Marker { epoch, after: After::Continue }, until, mode, gates_open } => {
            match until {
                Until::Now => {
                    assert_eq!(mode, Mode::Continuous);
                    Marks(epoch.0, gates_open)
                }
                Until::Planned(ends) => {
                    assert_eq!((mode, gates_open), (Mode::MicroBatch, false));
                    Batch(epoch.0, rows(&ends))
                }
            }
        }
        Action::Open { marker, until, gates_open, .. } => {
            assert_eq!((until, gates_open), (Until::Now, false));
            Last(marker.epoch.0, marker.after)
        }
        Action::Persist { epoch, .. } => Persist(epoch.0),
        Action::Commit(epoch) => Commit(epoch.0),
        Action::Cancel(epoch) => Cancel(epoch.0),
        Action::Completed(epoch) => Completed(epoch.0),
        Action::Finished => Finished,
        Action::Fail { epoch, .. } => Fail(epoch.0),
    }
}

impl Query {
    fn new(trigger: Trigger) -> Query {
        let actors = [LEFT, RIGHT, SINK].into();
        let coordinator = Coordinator::new(actors, [LEFT, RIGHT].into(), trigger, Epoch(1), TIMEOUT);
        Query { coordinator, now: Duration::ZERO }
    }

    fn started(trigger: Trigger) -> (Query, Vec<Does>) {
        let mut query = Query::new(trigger);
        let done = query.step(Event::Started { replay: None });
        (query, done)
    }

    fn step(&mut self, event: Event) -> Vec<Does> {
        self.coordinator.step(self.now, event).into_iter().map(does).collect()
    }

    /// Time passes, with rows moving or not.
    fn tick(&mut self, by: Duration, active: bool) -> Vec<Does> {
        self.now += by;
        self.step(Event::Tick { active })
    }

    /// All have given their snapshots.
    fn acknowledge(&mut self, epoch: u64) -> Vec<Does> {
        let epoch = Epoch(epoch);
        let steps = [LEFT, RIGHT, SINK].map(|actor| self.step(Event::Acknowledged { actor, epoch }));
        steps.concat()
    }

    /// An open epoch comes to its end; what is to be done then.
    fn complete(&mut self, epoch: u64) -> Vec<Does> {
        assert_eq!(self.acknowledge(epoch), [Persist(epoch)]);
        assert_eq!(self.step(Event::Persisted(Epoch(epoch))), [Commit(epoch)]);
        let mut done = self.step(Event::Committed(Epoch(epoch)));
        assert_eq!(done.remove(0), Completed(epoch));
        done
    }

    /// A source says how far it could read.
    fn planned(&mut self, source: ActorId, epoch: u64, end: u64, has_rows: bool) -> Vec<Does> {
        self.step(Event::Planned { source, epoch: Epoch(epoch), end: at(end), has_rows, exhausted: false })
    }

    fn drained(&mut self, source: ActorId, epoch: u64, end: u64) -> Vec<Does> {
        self.step(Event::Planned {
            source,
            epoch: Epoch(epoch),
            end: at(end),
            has_rows: false,
            exhausted: true,
        })
    }

    /// Both sources answer; a source has rows if it is to go beyond `from`.
    fn both(&mut self, epoch: u64, from: [u64; 2], to: [u64; 2]) -> Vec<Does> {
        let mut done = self.planned(LEFT, epoch, to[0], to[0] > from[0]);
        done.extend(self.planned(RIGHT, epoch, to[1], to[1] > from[1]));
        done
    }

    /// A whole micro-batch, from the answers to the commit.
    fn batch(&mut self, epoch: u64, from: [u64; 2], to: [u64; 2]) -> Vec<Does> {
        assert_eq!(self.both(epoch, from, to), [PersistPlan(epoch, to.to_vec())]);
        assert_eq!(self.step(Event::PlanPersisted(Epoch(epoch))), [Batch(epoch, to.to_vec())]);
        self.complete(epoch)
    }
}

const EVERY_10: Trigger = Trigger::Continuous(Duration::from_millis(10));
const BATCHES_10: Trigger = Trigger::ProcessingTime(Duration::from_millis(10));
const AT_ONCE: Trigger = Trigger::ProcessingTime(Duration::ZERO);

#[test]
fn a_continuous_epoch_is_opened_when_due_and_something_moved() {
    let (mut query, done) = Query::started(EVERY_10);
    assert_eq!(done, [OpenGates]);
    assert_eq!(query.tick(ms(9), true), []);
    assert_eq!(query.tick(ms(1), false), [], "nothing moved");
    assert_eq!(query.tick(ms(9), true), [], "not due again");
    assert_eq!(query.tick(ms(1), true), [Marks(1, true)]);
    assert_eq!(query.complete(1), []);
    assert_eq!(query.tick(ms(95), true), [Marks(2, true)], "missed intervals are not made up for");
    assert_eq!(query.tick(ms(1), true), []);
    assert_eq!(query.coordinator.mode(), Mode::Continuous);
}

#[test]
fn epochs_in_flight_are_bounded_and_become_durable_in_order() {
    let (mut query, _) = Query::started(EVERY_10);
    for epoch in 1..=4 {
        assert_eq!(query.tick(ms(10), true), [Marks(epoch, true)]);
    }
    assert_eq!(query.tick(ms(10), true), []);
    assert_eq!(query.acknowledge(1), [Persist(1)]);
    assert_eq!(query.acknowledge(2), [Persist(2)]);
    assert_eq!(query.coordinator.current(), Epoch(1));
    assert_eq!(query.step(Event::Persisted(Epoch(1))), [Commit(1)]);
    assert_eq!(query.step(Event::Persisted(Epoch(2))), [Commit(2)]);
    assert_eq!(query.coordinator.current(), Epoch(3));
    assert_eq!(query.step(Event::Committed(Epoch(1))), [Completed(1)]);
    assert_eq!(query.tick(ms(10), true), [Marks(5, true)]);
}

#[test]
fn nothing_is_decided_before_all_actors_run() {
    for early in [Event::Stop, Event::ForceEpoch, Event::SetTrigger(AT_ONCE), Event::SetTrigger(EVERY_10)] {
        let mut query = Query::new(BATCHES_10);
        assert_eq!(query.step(early.clone()), []);
        assert_eq!(query.tick(ms(100), true), []);
        let expected = match early {
            Event::Stop => Last(1, After::Stop),
            Event::SetTrigger(trigger) if trigger == EVERY_10 => OpenGates,
            _ => Plan { epoch: 1, unlimited: false },
        };
        assert_eq!(query.step(Event::Started { replay: None }), [expected]);
    }
}

#[test]
fn what_a_given_up_epoch_held_becomes_durable_although_nothing_moves() {
    for failed in [
        Event::Declined { epoch: Epoch(1), cause: "no".to_owned() },
        Event::PersistFailed { epoch: Epoch(1), cause: "full".to_owned() },
    ] {
        let (mut query, _) = Query::started(EVERY_10);
        assert_eq!(query.tick(ms(10), true), [Marks(1, true)]);
        if matches!(failed, Event::PersistFailed { .. }) {
            assert_eq!(query.acknowledge(1), [Persist(1)]);
        }
        assert_eq!(query.step(failed), [Cancel(1)]);
        assert_eq!(query.acknowledge(1), [], "an acknowledgement may come late");
        assert_eq!(query.tick(ms(10), false), [Marks(2, true)]);
        assert_eq!(query.complete(2), []);
        assert_eq!(query.tick(ms(10), false), []);
    }
}

#[test]
fn an_epoch_that_all_have_acknowledged_cannot_be_declined() {
    let (mut query, _) = Query::started(EVERY_10);
    query.tick(ms(10), true);
    assert_eq!(query.acknowledge(1), [Persist(1)]);
    assert_eq!(query.step(Event::Declined { epoch: Epoch(1), cause: "late".to_owned() }), []);
    assert_eq!(query.step(Event::Persisted(Epoch(1))), [Commit(1)]);
}

#[test]
fn epochs_that_take_too_long_are_given_up_and_too_many_end_the_query() {
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.tick(ms(10), true), [Marks(1, true)]);
    assert_eq!(query.step(Event::Acknowledged { actor: SINK, epoch: Epoch(1) }), []);
    assert_eq!(query.coordinator.wake_at(), ms(20));
    for epoch in 1..=3 {
        assert_eq!(query.tick(TIMEOUT, false), [Cancel(epoch), Marks(epoch + 1, true)]);
    }
    query.now += TIMEOUT;
    let actions = query.coordinator.step(query.now, Event::Tick { active: false });
    let [Action::Fail { epoch: Epoch(4), cause }] = &actions[..] else { panic!("{actions:?}") };
    assert!(cause.contains("actor 0, actor 1, actor 2"), "{cause}");
    assert!(query.coordinator.is_over());
    assert_eq!(query.step(Event::Stop), []);
}

#[test]
fn an_epoch_that_succeeds_forgives_those_before() {
    let (mut query, _) = Query::started(EVERY_10);
    for epoch in 1..20 {
        assert_eq!(query.tick(ms(10), true), [Marks(epoch, true)]);
        if epoch % 4 == 0 {
            assert_eq!(query.complete(epoch), []);
        } else {
            let cause = "no".to_owned();
            assert_eq!(query.step(Event::Declined { epoch: Epoch(epoch), cause }), [Cancel(epoch)]);
        }
    }
}

#[test]
fn a_batch_is_planned_written_down_run_and_committed() {
    let (mut query, done) = Query::started(BATCHES_10);
    assert_eq!(done, [Plan { epoch: 1, unlimited: false }]);
    assert_eq!(query.coordinator.mode(), Mode::MicroBatch);
    assert_eq!(query.batch(1, [0, 0], [5, 0]), [], "the next is not due");
    assert_eq!(query.tick(ms(10), false), [Plan { epoch: 2, unlimited: false }]);
    assert_eq!(query.both(2, [5, 0], [5, 0]), [], "no rows, no batch");
    assert_eq!(query.tick(ms(9), false), []);
    assert_eq!(query.tick(ms(1), false), [Plan { epoch: 2, unlimited: false }]);
    assert_eq!(query.planned(LEFT, 1, 99, true), [], "an answer to an earlier question");
    assert_eq!(query.batch(2, [5, 0], [5, 1]), []);
}

#[test]
fn a_batch_that_fails_ends_the_query() {
    for failed in [Event::Declined { epoch: Epoch(1), cause: "no".to_owned() }, Event::Tick { active: false }]
    {
        let (mut query, _) = Query::started(BATCHES_10);
        query.both(1, [0, 0], [5, 5]);
        assert_eq!(query.step(Event::PlanPersisted(Epoch(1))), [Batch(1, vec![5, 5])]);
        query.now += TIMEOUT;
        assert_eq!(query.step(failed), [Fail(1)], "another batch under its number would hold other rows");
    }
}

#[test]
fn batches_as_fast_as_possible_follow_at_once_and_back_off_when_there_is_nothing() {
    let (mut query, _) = Query::started(AT_ONCE);
    assert_eq!(query.batch(1, [0, 0], [1, 1]), [Plan { epoch: 2, unlimited: false }]);
    let mut waited = Vec::new();
    for _ in 0..5 {
        assert_eq!(query.both(2, [1, 1], [1, 1]), []);
        let wake_at = query.coordinator.wake_at();
        waited.push((wake_at - query.now).as_millis());
        query.now = wake_at;
        assert_eq!(query.tick(ms(0), false), [Plan { epoch: 2, unlimited: false }]);
    }
    assert_eq!(waited, [2, 4, 8, 10, 10]);
    assert_eq!(query.batch(2, [1, 1], [2, 1]), [Plan { epoch: 3, unlimited: false }]);
    assert_eq!(query.both(3, [2, 1], [2, 1]), []);
    assert_eq!(query.coordinator.wake_at() - query.now, ms(2), "rows end the back-off");
}

#[test]
fn available_now_reads_what_was_there_within_limits_and_no_more() {
    let (mut query, done) = Query::started(Trigger::AvailableNow);
    assert_eq!(done, [Plan { epoch: 1, unlimited: true }]);
    assert_eq!(query.both(1, [0, 0], [7, 3]), [Plan { epoch: 1, unlimited: false }]);
    assert_eq!(query.batch(1, [0, 0], [5, 3]), [Plan { epoch: 2, unlimited: false }]);
    // More has come meanwhile, also a partition that was not there.
    let mut end = at(10);
    end.0.insert("1".to_owned(), 4);
    query.step(Event::Planned { source: LEFT, epoch: Epoch(2), end, has_rows: true, exhausted: false });
    assert_eq!(query.planned(RIGHT, 2, 8, true), [PersistPlan(2, vec![7, 3])]);
    assert_eq!(query.step(Event::PlanPersisted(Epoch(2))), [Batch(2, vec![7, 3])]);
    assert_eq!(query.complete(2), [Plan { epoch: 3, unlimited: false }]);
    assert_eq!(query.both(3, [7, 3], [9, 9]), [Last(3, After::Stop)]);
    assert_eq!(query.complete(3), [Finished]);
    assert!(query.coordinator.is_over());
}

#[test]
fn available_now_and_once_stop_if_there_is_nothing() {
    for trigger in [Trigger::AvailableNow, Trigger::Once] {
        let (mut query, done) = Query::started(trigger);
        assert_eq!(done, [Plan { epoch: 1, unlimited: true }]);
        assert_eq!(query.both(1, [4, 4], [4, 4]), [Last(1, After::Stop)]);
        assert_eq!(query.complete(1), [Finished]);
    }
}

#[test]
fn once_is_one_batch_of_all_there_is() {
    let (mut query, _) = Query::started(Trigger::Once);
    assert_eq!(query.batch(1, [0, 0], [700, 3]), [Plan { epoch: 2, unlimited: true }]);
    assert_eq!(query.both(2, [700, 3], [900, 3]), [Last(2, After::Stop)]);
    assert_eq!(query.complete(2), [Finished]);
}

#[test]
fn a_batch_planned_before_a_restart_is_run_again_under_its_number() {
    let ends = BTreeMap::from([(LEFT, at(5)), (RIGHT, at(6))]);
    let replay = Some((Epoch(1), ends));
    let mut query = Query::new(BATCHES_10);
    assert_eq!(query.step(Event::Started { replay: replay.clone() }), [Batch(1, vec![5, 6])]);
    assert_eq!(query.complete(1), [Plan { epoch: 2, unlimited: false }]);
    let mut query = Query::new(BATCHES_10);
    query.step(Event::Stop);
    assert_eq!(query.step(Event::Started { replay: replay.clone() }), [Batch(1, vec![5, 6])]);
    assert_eq!(query.complete(1), [Last(2, After::Stop)]);
    // A continuous run reads those rows too; they were never durable.
    let mut query = Query::new(EVERY_10);
    assert_eq!(query.step(Event::Started { replay }), [OpenGates]);
}

#[test]
fn the_mode_is_switched_at_an_epoch_boundary() {
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.tick(ms(10), true), [Marks(1, true)]);
    assert_eq!(query.step(Event::SetTrigger(BATCHES_10)), [Marks(2, false)]);
    assert_eq!(query.complete(1), [], "the boundary is still to become durable");
    assert_eq!(query.complete(2), [Plan { epoch: 3, unlimited: false }]);
    assert_eq!(query.both(3, [0, 0], [5, 5]), [PersistPlan(3, vec![5, 5])]);
    query.step(Event::PlanPersisted(Epoch(3)));
    assert_eq!(query.step(Event::SetTrigger(EVERY_10)), [], "the batch is finished first");
    assert_eq!(query.coordinator.mode(), Mode::MicroBatch);
    assert_eq!(query.complete(3), [OpenGates]);
    assert_eq!(query.coordinator.mode(), Mode::Continuous);
}

#[test]
fn a_switch_waits_for_room_among_the_epochs_in_flight() {
    let (mut query, _) = Query::started(EVERY_10);
    (0..4).for_each(|_| drop(query.tick(ms(10), true)));
    assert_eq!(query.step(Event::SetTrigger(AT_ONCE)), []);
    assert_eq!(query.complete(1), [Marks(5, false)]);
}

#[test]
fn batches_begin_at_a_durable_epoch_only() {
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.step(Event::SetTrigger(BATCHES_10)), [Marks(1, false)]);
    let declined = |epoch| Event::Declined { epoch: Epoch(epoch), cause: "no".to_owned() };
    // Sources that had not come to the marker read on, so another one has to close them.
    assert_eq!(query.step(declined(1)), [Cancel(1), Marks(2, false)]);
    assert_eq!(query.step(declined(2)), [Cancel(2), Marks(3, false)]);
    assert_eq!(query.complete(3), [Plan { epoch: 4, unlimited: false }]);
    // Given up, but the user has changed his mind: nothing has to be closed.
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.step(Event::SetTrigger(BATCHES_10)), [Marks(1, false)]);
    assert_eq!(query.step(Event::SetTrigger(EVERY_10)), []);
    assert_eq!(query.step(declined(1)), [Cancel(1), OpenGates]);
    assert_eq!(query.tick(ms(10), false), [Marks(2, true)], "what epoch 1 held is owed");
    // An older epoch given up changes nothing about the boundary.
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.tick(ms(10), true), [Marks(1, true)]);
    assert_eq!(query.step(Event::SetTrigger(BATCHES_10)), [Marks(2, false)]);
    assert_eq!(query.step(declined(1)), [Cancel(1)]);
    assert_eq!(query.complete(2), [Plan { epoch: 3, unlimited: false }]);
}

#[test]
fn a_running_query_can_be_told_to_finish_what_is_there() {
    for (trigger, limited) in [(Trigger::AvailableNow, true), (Trigger::Once, false)] {
        let (mut query, _) = Query::started(EVERY_10);
        assert_eq!(query.step(Event::SetTrigger(trigger)), [Marks(1, false)]);
        assert_eq!(query.complete(1), [Plan { epoch: 2, unlimited: true }]);
        if limited {
            assert_eq!(query.both(2, [4, 4], [9, 4]), [Plan { epoch: 2, unlimited: false }]);
        }
        assert_eq!(query.batch(2, [4, 4], [9, 4]), [Plan { epoch: 3, unlimited: !limited }]);
        assert_eq!(query.both(3, [9, 4], [9, 4]), [Last(3, After::Stop)]);
    }
}

#[test]
fn a_trigger_set_while_sources_are_asked_has_them_asked_again() {
    // The answers within limits are no goal.
    let (mut query, _) = Query::started(BATCHES_10);
    assert_eq!(query.planned(LEFT, 1, 5, true), []);
    assert_eq!(query.step(Event::SetTrigger(Trigger::AvailableNow)), []);
    assert_eq!(query.planned(RIGHT, 1, 5, true), [Plan { epoch: 1, unlimited: true }]);
    assert_eq!(query.both(1, [0, 0], [70, 70]), [Plan { epoch: 1, unlimited: false }]);
    // The answers without limits are no batch.
    assert_eq!(query.step(Event::SetTrigger(AT_ONCE)), []);
    assert_eq!(query.both(1, [0, 0], [5, 5]), [Plan { epoch: 1, unlimited: false }]);
    // In continuous mode nobody asks.
    assert_eq!(query.step(Event::SetTrigger(EVERY_10)), []);
    assert_eq!(query.both(1, [0, 0], [5, 5]), [OpenGates]);
    // What is written down is run.
    let (mut query, _) = Query::started(BATCHES_10);
    assert_eq!(query.both(1, [0, 0], [5, 5]), [PersistPlan(1, vec![5, 5])]);
    assert_eq!(query.step(Event::SetTrigger(EVERY_10)), []);
    assert_eq!(query.step(Event::PlanPersisted(Epoch(1))), [Batch(1, vec![5, 5])]);
    assert_eq!(query.complete(1), [OpenGates]);
}

#[test]
fn a_new_trigger_of_the_same_kind_has_a_goal_of_its_own() {
    let (mut query, _) = Query::started(Trigger::Once);
    assert_eq!(query.batch(1, [0, 0], [5, 5]), [Plan { epoch: 2, unlimited: true }]);
    assert_eq!(query.planned(LEFT, 2, 9, true), [], "capped by the goal of the first batch");
    assert_eq!(query.step(Event::SetTrigger(Trigger::Once)), []);
    assert_eq!(query.planned(RIGHT, 2, 9, true), [Plan { epoch: 2, unlimited: true }]);
    assert_eq!(query.batch(2, [5, 5], [9, 9]), [Plan { epoch: 3, unlimited: true }]);
}

#[test]
fn a_stop_is_one_last_epoch() {
    // Continuous: behind what is in flight.
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.tick(ms(10), true), [Marks(1, true)]);
    assert_eq!(query.step(Event::Stop), [Last(2, After::Stop)]);
    assert_eq!(query.step(Event::Stop), []);
    assert_eq!(query.complete(1), []);
    assert_eq!(query.complete(2), [Finished]);
    // Micro-batch, idle.
    let (mut query, _) = Query::started(BATCHES_10);
    assert_eq!(query.both(1, [0, 0], [0, 0]), []);
    assert_eq!(query.step(Event::Stop), [Last(1, After::Stop)]);
    assert_eq!(query.complete(1), [Finished]);
    // While sources are asked: no batch is begun.
    let (mut query, _) = Query::started(BATCHES_10);
    assert_eq!(query.step(Event::Stop), []);
    assert_eq!(query.both(1, [0, 0], [5, 5]), [Last(1, After::Stop)]);
    // While a plan is written down or run: that batch, and no other.
    let (mut query, _) = Query::started(AT_ONCE);
    query.both(1, [0, 0], [5, 5]);
    assert_eq!(query.step(Event::Stop), []);
    assert_eq!(query.step(Event::PlanPersisted(Epoch(1))), [Batch(1, vec![5, 5])]);
    assert_eq!(query.complete(1), [Last(2, After::Stop)]);
}

#[test]
fn a_stop_while_the_gates_are_being_closed_needs_no_other_boundary() {
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.step(Event::SetTrigger(BATCHES_10)), [Marks(1, false)]);
    assert_eq!(query.step(Event::Stop), [], "the boundary comes first");
    let declined = Event::Declined { epoch: Epoch(1), cause: "no".to_owned() };
    assert_eq!(query.step(declined), [Cancel(1), Last(2, After::Stop)]);
    assert_eq!(query.complete(2), [Finished]);
}

#[test]
fn the_last_epoch_has_to_succeed() {
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.step(Event::Stop), [Last(1, After::Stop)]);
    assert_eq!(query.step(Event::Declined { epoch: Epoch(1), cause: "no".to_owned() }), [Fail(1)]);
}

#[test]
fn a_query_whose_sources_have_all_ended_finishes() {
    // Continuous: one is not all.
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.step(Event::Exhausted(LEFT)), []);
    assert_eq!(query.tick(ms(10), true), [Marks(1, true)]);
    assert_eq!(query.step(Event::Exhausted(RIGHT)), [Last(2, After::Finish)]);
    assert_eq!(query.complete(1), []);
    assert_eq!(query.complete(2), [Finished]);
    // In the middle of a batch.
    let (mut query, _) = Query::started(AT_ONCE);
    query.both(1, [0, 0], [5, 5]);
    query.step(Event::PlanPersisted(Epoch(1)));
    assert_eq!(query.step(Event::Exhausted(LEFT)), []);
    assert_eq!(query.step(Event::Exhausted(RIGHT)), []);
    assert_eq!(query.complete(1), [Last(2, After::Finish)]);
    // While they are asked, under any trigger, and even if a stop was asked for.
    for trigger in [AT_ONCE, BATCHES_10, Trigger::AvailableNow, Trigger::Once] {
        for stop in [false, true] {
            let (mut query, _) = Query::started(trigger);
            if stop {
                assert_eq!(query.step(Event::Stop), []);
            }
            assert_eq!(query.drained(LEFT, 1, 5), []);
            assert_eq!(query.drained(RIGHT, 1, 5), [Last(1, After::Finish)]);
        }
    }
    // One has ended while the other still has rows.
    let (mut query, _) = Query::started(AT_ONCE);
    assert_eq!(query.drained(LEFT, 1, 5), []);
    assert_eq!(query.planned(RIGHT, 1, 7, true), [PersistPlan(1, vec![5, 7])]);
}

#[test]
fn an_epoch_can_be_forced() {
    // Continuous: at once, and once.
    let (mut query, _) = Query::started(EVERY_10);
    assert_eq!(query.step(Event::ForceEpoch), [Marks(1, true)]);
    assert_eq!(query.tick(ms(1), false), []);
    // Micro-batch: an empty one if there is nothing to read, before it is due.
    let (mut query, _) = Query::started(BATCHES_10);
    assert_eq!(query.both(1, [0, 0], [0, 0]), []);
    assert_eq!(query.step(Event::ForceEpoch), [Plan { epoch: 1, unlimited: false }]);
    assert_eq!(query.batch(1, [0, 0], [0, 0]), []);
    // Asked for while a batch runs: the one after it.
    let (mut query, _) = Query::started(BATCHES_10);
    query.both(1, [0, 0], [5, 5]);
    query.step(Event::PlanPersisted(Epoch(1)));
    assert_eq!(query.step(Event::ForceEpoch), []);
    assert_eq!(query.complete(1), [Plan { epoch: 2, unlimited: false }]);
    assert_eq!(query.batch(2, [5, 5], [5, 5]), []);
    // With a goal of its own a query does not wait for others.
    let (mut query, _) = Query::started(Trigger::AvailableNow);
    assert_eq!(query.step(Event::ForceEpoch), []);
    assert_eq!(query.both(1, [0, 0], [0, 0]), [Last(1, After::Stop)]);
    // In flight there is no room: as soon as there is.
    let (mut query, _) = Query::started(EVERY_10);
    (0..4).for_each(|_| drop(query.tick(ms(10), true)));
    assert_eq!(query.step(Event::ForceEpoch), []);
    assert_eq!(query.complete(1), [Marks(5, true)]);
}

#[test]
fn ticks_are_asked_for_only_when_time_matters() {
    let mut query = Query::new(BATCHES_10);
    assert_eq!(query.coordinator.wake_at(), Duration::MAX, "before the start");
    query.step(Event::Started { replay: None });
    assert_eq!(query.coordinator.wake_at(), Duration::MAX, "sources are asked");
    query.both(1, [0, 0], [5, 5]);
    query.step(Event::PlanPersisted(Epoch(1)));
    assert_eq!(query.coordinator.wake_at(), TIMEOUT, "the batch runs");
    query.acknowledge(1);
    assert_eq!(query.coordinator.wake_at(), Duration::MAX, "it is being written");
    query.step(Event::Persisted(Epoch(1)));
    query.step(Event::Committed(Epoch(1)));
    assert_eq!(query.coordinator.wake_at(), ms(10), "the next is due");
    let (query, _) = Query::started(EVERY_10);
    assert_eq!(query.coordinator.wake_at(), ms(10));
}
