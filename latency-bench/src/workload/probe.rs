//! What sits in a sink: a recorder for each instance of it.

use crate::clock::Timebase;
use crate::recorder::{Recorded, Recorder};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records what arrives at a sink. The engine clones it for each instance; each clone has a recorder of its
/// own, and [`Probe::finish`] merges them.
///
/// # Cost
/// One clock reading and one lock that nobody else wants for each batch.
#[derive(Debug)]
pub(super) struct Probe {
    timebase: Timebase,
    /// What a new clone begins with.
    empty: Recorder,
    mine: Arc<Mutex<Recorder>>,
    all: Arc<Mutex<Vec<Arc<Mutex<Recorder>>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Probe {
    /// A probe that fills clones of this recorder.
    pub(super) fn new(timebase: &Timebase, empty: Recorder) -> Probe {
        Probe::beside(timebase.clone(), empty, Arc::default())
    }

    fn beside(timebase: Timebase, empty: Recorder, all: Arc<Mutex<Vec<Arc<Mutex<Recorder>>>>>) -> Probe {
        let mine = Arc::new(Mutex::new(empty.clone()));
        lock(&all).push(Arc::clone(&mine));
        Probe { timebase, empty, mine, all }
    }

    /// Records a batch: the function is given the time and the recorder.
    #[inline]
    pub(super) fn record(&self, batch: impl FnOnce(u64, &mut Recorder)) {
        let now_ns = self.timebase.now_ns();
        batch(now_ns, &mut lock(&self.mine));
    }

    /// What all clones have seen.
    pub(super) fn finish(&self) -> Recorded {
        let mut merged = self.empty.clone();
        for recorder in lock(&self.all).iter() {
            merged.merge(lock(recorder).clone());
        }
        merged.finish()
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Probe::beside(self.timebase.clone(), self.empty.clone(), Arc::clone(&self.all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Window;

    #[test]
    fn clones_record_apart_and_finish_together() {
        let window = Window { from_ns: 0, to_ns: 1000 };
        let first = Probe::new(&Timebase::begun(), Recorder::new(window));
        let second = first.clone();
        first.record(|now_ns, recorder| recorder.record(now_ns, 1, 1));
        second.record(|now_ns, recorder| recorder.record(now_ns, 2, 2));
        let seen = first.finish();
        assert_eq!((seen.seen, seen.from_intended.len()), (2, 2));
    }
}
