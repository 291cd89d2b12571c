//! Fixed windows that do not overlap, in event time.

use super::Windowed;
use crate::aggregate::Aggregate;
use crate::batch::Rows;
use crate::error::Result;
use crate::key::{Key, hash_of};
use crate::limits::FIRINGS_PER_CALL;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::{KeyedState, Timers};
use crate::time::Timestamp;
use std::marker::PhantomData;
use std::time::Duration;

/// Tumbling windows of one size, aligned to the Unix epoch; `event_time` reads a row's time.
#[derive(Debug, Clone)]
pub struct Tumbling<F> {
    size: Duration,
    event_time: F,
}

impl<F> Tumbling<F> {
    /// # Panics
    /// If `size` is shorter than a microsecond.
    pub fn new(size: Duration, event_time: F) -> Self {
        assert!(size >= Duration::from_micros(1), "a window is at least one microsecond long");
        Tumbling { size, event_time }
    }
}

/// Aggregates each key's rows by window and emits a window once, when the watermark reaches its end.
/// Rows of a window already emitted are late: dropped and counted.
#[derive(Debug)]
pub struct TumblingWindow<T, K: Key, A: Aggregate<T>, F, E> {
    key: F,
    window: Tumbling<E>,
    aggregate: A,
    /// The open windows of a key, by start; a handful at most, so a vector.
    open: KeyedState<K, Vec<(Timestamp, A::State)>>,
    /// Keys by the end of an open window.
    ends: Timers<K>,
    watermark: Timestamp,
    rows: PhantomData<fn(T)>,
}

impl<T, K: Key, A: Aggregate<T>, F, E> TumblingWindow<T, K, A, F, E> {
    /// `key` reads a row's key.
    pub fn new(key: F, window: Tumbling<E>, aggregate: A) -> Self {
        TumblingWindow {
            key,
            window,
            aggregate,
            open: KeyedState::new("windows"),
            ends: Timers::default(),
            watermark: Timestamp::MIN,
            rows: PhantomData,
        }
    }

    fn close(
        &mut self,
        until: Timestamp,
        output: &mut Output<Rows<Windowed<K, A::Out>>>,
    ) -> Result<Progress> {
        for _ in 0..FIRINGS_PER_CALL {
            if output.is_full() {
                return Ok(Progress::Again);
            }
            let Some((end, key)) = self.ends.pop_due(until) else { return Ok(Progress::Done) };
            let hash = hash_of(&key);
            let windows =
                self.open.get_mut(hash, &key).expect("invariant: an indexed window is open");
            let at = windows
                .iter()
                .position(|(start, _)| start.plus(self.window.size) == end)
                .expect("invariant: an indexed window is open");
            let (start, state) = windows.swap_remove(at);
            if windows.is_empty() {
                self.open.remove(hash, &key);
            }
            output.push(Windowed { key, start, end, value: self.aggregate.result(&state) });
        }
        Ok(Progress::Again)
    }
}

impl<T, K, A, F, E> Operator<Rows<T>, Rows<Windowed<K, A::Out>>> for TumblingWindow<T, K, A, F, E>
where
    T: Send + 'static,
    K: Key,
    A: Aggregate<T>,
    F: FnMut(&T) -> K + Send,
    E: FnMut(&T) -> Timestamp + Send,
{
    fn process(
        &mut self,
        input: &mut Rows<T>,
        output: &mut Output<Rows<Windowed<K, A::Out>>>,
    ) -> Result<()> {
        for row in input {
            let start = (self.window.event_time)(&row).window_start(self.window.size);
            let end = start.plus(self.window.size);
            if end <= self.watermark {
                output.count_late(1);
                continue;
            }
            let key = (self.key)(&row);
            let windows = self.open.entry(hash_of(&key), &key, Vec::new);
            let at = windows.iter().position(|(held, _)| *held == start).unwrap_or_else(|| {
                windows.push((start, self.aggregate.init()));
                self.ends.add(end, key);
                windows.len() - 1
            });
            self.aggregate.add(&mut windows[at].1, row);
        }
        Ok(())
    }

    fn watermark(
        &mut self,
        watermark: Timestamp,
        output: &mut Output<Rows<Windowed<K, A::Out>>>,
    ) -> Result<Progress> {
        self.watermark = watermark;
        let progress = self.close(watermark, output)?;
        if progress == Progress::Done {
            output.emit_watermark(watermark);
        }
        Ok(progress)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot { tables: vec![self.open.snapshot()] })
    }

    fn restore(
        &mut self,
        restore: Restore<'_>,
        _output: &mut Output<Rows<Windowed<K, A::Out>>>,
    ) -> Result<()> {
        self.open.restore(restore)?;
        for (key, windows) in self.open.iter() {
            for (start, _) in windows {
                self.ends.add(start.plus(self.window.size), key.clone());
            }
        }
        Ok(())
    }

    /// Every open window is emitted.
    fn finish(&mut self, output: &mut Output<Rows<Windowed<K, A::Out>>>) -> Result<Progress> {
        self.close(Timestamp::MAX, output)
    }
}
