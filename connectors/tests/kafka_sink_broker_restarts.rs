//! The exactly-once Kafka sink while its broker is killed and comes back.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod kafka_sink_support;

use kafka_sink_support::*;
use lotic_connectors::testing::kafka::TestBroker;
use lotic_operators::Epoch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const EPOCHS: u64 = 60;
const ROWS: u64 = 200;
const KILLS: u64 = 3;

#[test]
fn no_record_is_lost_or_doubled_when_the_broker_is_killed_in_the_middle_of_a_run() {
    let Some(broker) = TestBroker::start_own() else { return };
    let world = World::new(broker.bootstrap(), 3);
    let sink = world.exactly_once();
    let committed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for kill in 1..=KILLS {
                // In the middle of the epochs, wherever it stands then.
                while committed.load(Ordering::SeqCst) < kill * EPOCHS / (KILLS + 1) {
                    std::thread::yield_now();
                }
                broker.kill();
                broker.restart();
            }
        });
        let mut instance = start(&sink).unwrap();
        let mut committer = committer(&sink, WRITER);
        assert_eq!(committer.last_committed().unwrap(), Epoch::NONE);
        for epoch in 1..=EPOCHS {
            write(&mut *instance, numbered((epoch - 1) * ROWS..epoch * ROWS)).unwrap();
            let handle = handle(&mut *instance, epoch).unwrap().unwrap();
            let deadline = Instant::now() + 3 * PATIENCE;
            while let Err(error) = committer.commit(Epoch(epoch), &[&handle]) {
                // As the engine does.
                assert!(error.retry_after().is_some() && Instant::now() < deadline, "{error}");
                std::thread::sleep(Duration::from_millis(10));
            }
            committed.store(epoch, Ordering::SeqCst);
        }
    });
    assert_eq!(committer(&world.exactly_once(), WRITER).last_committed().unwrap(), Epoch(EPOCHS));
    assert_each_once(&world.values(), 0..EPOCHS * ROWS);
}
