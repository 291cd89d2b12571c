//! Epochs in general: opened, given up, forced, the last one.

use crate::query::Does::*;
use crate::query::*;
use lotic::checkpoint::coordinator::{Action, Event};
use lotic::operators::{After, Epoch};
use lotic::{Mode, Trigger};
use std::time::Duration;

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
    assert_eq!(query.step(Event::Persisted(Epoch(1))), []);
    assert_eq!(query.step(Event::Persisted(Epoch(2))), []);
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
    assert_eq!(query.step(Event::Persisted(Epoch(1))), []);
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
