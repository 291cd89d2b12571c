//! A sink knows in which mode the rows it is given come, also when the trigger changes under way.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use lotic::connectors::{self, Delivery, ModeWatch, Sink, SinkFactory, SinkTraits, memory};
use lotic::operators::{Epoch, Instance, Rows};
use lotic::{Session, Trigger};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

/// Each row with whether it came in a micro-batch.
type Seen = Arc<Mutex<Vec<(u64, bool)>>>;

struct Watching {
    seen: Seen,
}

struct Watcher {
    seen: Seen,
    mode: ModeWatch,
}

impl SinkFactory<Rows<u64>> for Watching {
    fn traits(&self) -> SinkTraits {
        let name = "watching".to_owned();
        SinkTraits { name, delivery: Delivery::AtLeastOnce, max_parallelism: 1, batches_only: false }
    }

    fn create(&self, _instance: Instance) -> connectors::Result<Box<dyn Sink<Rows<u64>>>> {
        Ok(Box::new(Watcher { seen: Arc::clone(&self.seen), mode: ModeWatch::default() }))
    }
}

impl Sink<Rows<u64>> for Watcher {
    fn start(&mut self, _epoch: Epoch) -> connectors::Result<()> {
        Ok(())
    }

    fn watch(&mut self, mode: &ModeWatch) {
        self.mode = mode.clone();
    }

    fn write(&mut self, batch: &mut Rows<u64>, _waker: &Waker) -> connectors::Result<()> {
        let micro_batch = self.mode.is_micro_batch();
        self.seen.lock().unwrap().extend(batch.map(|row| (row, micro_batch)));
        Ok(())
    }
}

#[test]
fn rows_come_with_their_mode_also_after_a_switch() {
    let seen = Seen::default();
    let (input, source) = memory::stream::<u64>("numbers", 1);
    let session = Session::builder().app_name("mode").get_or_create().unwrap();
    let continuous = Trigger::Continuous(Duration::from_millis(5));
    let query = session.source(source).sink(Watching { seen: Arc::clone(&seen) }).start(continuous).unwrap();
    let batches = Trigger::ProcessingTime(Duration::ZERO);
    let mut row = 0;
    for (trigger, micro_batch) in [(continuous, false), (batches, true), (continuous, false)] {
        query.set_trigger(trigger).unwrap();
        // The switch is done at the end of an epoch: rows until then come in the mode before.
        while seen.lock().unwrap().last().is_none_or(|(_, seen)| *seen != micro_batch) {
            assert!(row < 10_000, "the sink is not told of the switch");
            input.add([row]);
            query.process_all_available().unwrap();
            row += 1;
        }
    }
    drop(input);
    assert!(query.await_termination_timeout(Duration::from_secs(60)).unwrap());
    let (rows, mut modes): (Vec<u64>, Vec<bool>) = seen.lock().unwrap().iter().copied().unzip();
    modes.dedup();
    assert_eq!(modes, [false, true, false]);
    assert!(rows.into_iter().eq(0..row));
}
