//! Fixed windows that do not overlap, in event time.

use super::Windowed;
use crate::aggregate::Aggregate;
use crate::batch::Rows;
use crate::error::{OperatorError, Result};
use crate::key::{Key, hash_of};
use crate::limits::FIRINGS_PER_CALL;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::{KeyedState, Timers};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::time::Duration;

/// Tumbling windows of one size, aligned to the Unix epoch; `event_time` reads a row's time.
#[derive(Debug, Clone)]
pub struct Tumbling<F> {
    size: Duration,
    event_time: F,
}

impl<F> Tumbling<F> {
    /// Windows of `size`, in whole microseconds.
    ///
    /// # Panics
    /// If `size` is shorter than a microsecond.
    pub fn new(size: Duration, event_time: F) -> Self {
        assert!(size >= Duration::from_micros(1), "a window is at least one microsecond long");
        Tumbling { size, event_time }
    }
}

/// A window that has rows. The end is kept too, so that windows which were open when the query was stopped
/// keep it if the query is restarted with another size.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Open<S> {
    start: Timestamp,
    end: Timestamp,
    state: S,
}

/// Aggregates each key's rows by window and emits a window once, when the watermark reaches its end.
/// Rows of a window already emitted are late: dropped and counted. Windows that close together are emitted
/// in the order of their ends; windows with the same end in no order that outlives a restart.
#[derive(Debug)]
pub struct TumblingWindow<T, K: Key, A: Aggregate<T>, F, E> {
    key: F,
    window: Tumbling<E>,
    aggregate: A,
    /// The open windows of a key by start: a handful, of which the first is the next to close.
    open: KeyedState<K, Vec<Open<A::State>>>,
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
            let found = self.open.get_mut(hash, &key).and_then(|windows| {
                let at = windows.iter().position(|window| window.end == end)?;
                Some((windows.remove(at), windows.is_empty()))
            });
            let Some((window, last)) = found else {
                return Err(OperatorError::User(
                    "a key is not equal to itself: see its Eq and Hash".to_owned(),
                ));
            };
            if last {
                self.open.remove(hash, &key);
            }
            let value = self.aggregate.result(&window.state);
            output.push(Windowed { key, start: window.start, end, value });
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
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<Windowed<K, A::Out>>>) -> Result<()> {
        for row in input {
            let (start, end) = (self.window.event_time)(&row).window(self.window.size);
            if end <= self.watermark {
                output.count_late(1);
                continue;
            }
            let key = (self.key)(&row);
            let windows = self.open.entry(hash_of(&key), &key, Vec::new);
            let held = windows.binary_search_by_key(&(start, end), |window| (window.start, window.end));
            let at = held.unwrap_or_else(|at| {
                windows.insert(at, Open { start, end, state: self.aggregate.init() });
                self.ends.add(end, key);
                at
            });
            self.aggregate.add(&mut windows[at].state, row);
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
            for window in windows {
                self.ends.add(window.end, key.clone());
            }
        }
        Ok(())
    }

    /// Every open window is emitted.
    fn finish(&mut self, output: &mut Output<Rows<Windowed<K, A::Out>>>) -> Result<Progress> {
        self.close(Timestamp::MAX, output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Count;
    use std::hash::{Hash, Hasher};

    /// A key that breaks the promise of `Eq`.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Strange;

    impl PartialEq for Strange {
        fn eq(&self, _other: &Strange) -> bool {
            false
        }
    }
    impl Eq for Strange {}
    impl Hash for Strange {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write_u8(0);
        }
    }

    fn second() -> Tumbling<impl FnMut(&i64) -> Timestamp> {
        Tumbling::new(Duration::from_secs(1), |millis: &i64| Timestamp::from_millis(*millis))
    }

    #[test]
    fn a_key_without_open_windows_takes_no_memory() {
        let mut windows = TumblingWindow::new(|_: &i64| 'k', second(), Count);
        let mut output = Output::default();
        windows.process(&mut Rows::from(vec![100, 200, 1500]), &mut output).unwrap();
        assert_eq!(windows.watermark(Timestamp::from_millis(1000), &mut output).unwrap(), Progress::Done);
        assert_eq!(windows.open.len(), 1);
        assert_eq!(windows.watermark(Timestamp::from_millis(2000), &mut output).unwrap(), Progress::Done);
        assert!(windows.open.is_empty());
        assert_eq!(windows.ends.first(), None);
    }

    #[test]
    fn a_key_that_is_not_equal_to_itself_is_an_error_and_not_a_panic() {
        let mut windows = TumblingWindow::new(|_: &i64| Strange, second(), Count);
        let mut output = Output::default();
        windows.process(&mut Rows::from(vec![100]), &mut output).unwrap();
        let error = windows.finish(&mut output).unwrap_err();
        assert!(error.to_string().contains("not equal to itself"), "{error}");
    }
}
