//! Micro-batches, and the switch between the modes.

use crate::query::Does::*;
use crate::query::*;
use lotic::checkpoint::coordinator::Event;
use lotic::operators::{After, Epoch};
use lotic::{Mode, Trigger};
use std::collections::BTreeMap;

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
