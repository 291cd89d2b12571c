//! Windows that each have a state of their own.

use super::{Emit, Kind, Parts, Window, Windowed, check_key};
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
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// A window that has rows. Its bounds are kept, so that windows which were open when the query was stopped
/// keep them if it is started again with another size.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Open<S> {
    start: Timestamp,
    end: Timestamp,
    /// Where it stands among the timers: not after it is next due, and before it where a session has grown.
    timer: Timestamp,
    /// Whether it has rows that no result emitted has.
    changed: bool,
    state: S,
}

/// The windows of a key in order of start and end: a handful, and mostly one, which lies where the key lies.
type Opens<S> = SmallVec<[Open<S>; 1]>;

/// Tumbling, session and global windows, and sliding ones that cannot share panes.
pub(super) struct EachWindow<T, K: Key, A: Aggregate<T>, F, E, O> {
    parts: Parts<T, E, F, A, O>,
    open: KeyedState<K, Opens<A::State>>,
    schedule: Schedule<K>,
    watermark: Timestamp,
}

/// What is to be emitted when.
struct Schedule<K> {
    /// The slots of keys by the timer of an open window. A timer that no window of the slot stands at any more is
    /// skipped; if another key has the slot by then, the timer does for that key's window what its own would.
    timers: Timers<u32>,
    /// Keys with windows that are changed, for [`Emit::Every`]: once for each window at least.
    changed: VecDeque<K>,
    /// When they are to be emitted.
    due: Option<Timestamp>,
}

impl<K> Schedule<K> {
    fn every<B: crate::Batch>(&mut self, interval: std::time::Duration, key: K, output: &mut Output<B>) {
        self.changed.push_back(key);
        if self.due.is_none() {
            let due = output.now().window(interval).1;
            self.due = Some(due);
            output.wake_at(due);
        }
    }
}

impl<T, E: FnMut(&T) -> Timestamp> Window<T, E> {
    /// When a window with this end is next to be looked at, at a watermark.
    fn due(&self, end: Timestamp, watermark: Timestamp) -> Timestamp {
        if self.emit.at_end() && end > watermark { end } else { self.close(end) }
    }
}

impl<T, K, A, F, E, O> EachWindow<T, K, A, F, E, O>
where
    K: Key,
    A: Aggregate<T>,
    F: FnMut(&T) -> K,
    E: FnMut(&T) -> Timestamp,
    O: From<Windowed<K, A::Out>> + Send + 'static,
{
    pub(super) fn new(parts: Parts<T, E, F, A, O>) -> Self {
        let schedule = Schedule { timers: Timers::default(), changed: VecDeque::new(), due: None };
        EachWindow { parts, open: KeyedState::new("windows"), schedule, watermark: Timestamp::MIN }
    }

    fn late(&self, row: T, output: &mut Output<Rows<O>>) {
        output.count_late(1);
        if let Some(late) = self.parts.late {
            output.push(late(row));
        }
    }

    fn take(&mut self, row: T, output: &mut Output<Rows<O>>) -> Result<()> {
        let time = (self.parts.window.event_time)(&row);
        match self.parts.window.kind {
            Kind::Global => self.add(row, (Timestamp::MIN, Timestamp::MAX), output),
            Kind::Session(gap) => {
                // Nothing is after the end of time, so a row there counts as the moment before it.
                let time = time.min(Timestamp(Timestamp::MAX.0 - 1));
                self.add_to_session(row, (time, time.plus(gap)), output)
            }
            Kind::Aligned(cut) if cut.overlap() == 1 => self.add(row, cut.bounds(cut.last(time)), output),
            Kind::Aligned(cut) => {
                let last = cut.last(time);
                let copy = self.parts.window.copy.expect("invariant: sliding windows copy rows");
                for window in cut.first(time)..last {
                    let (start, end) = cut.bounds(window);
                    if self.parts.window.close(end) > self.watermark {
                        self.add(copy(&row), (start, end), output)?;
                    }
                }
                self.add(row, cut.bounds(last), output)
            }
        }
    }

    /// Adds a row to the window with these bounds, unless that is closed.
    fn add(
        &mut self,
        row: T,
        (start, end): (Timestamp, Timestamp),
        output: &mut Output<Rows<O>>,
    ) -> Result<()> {
        let window = &self.parts.window;
        if window.close(end) <= self.watermark {
            self.late(row, output);
            return Ok(());
        }
        let key = (self.parts.key)(&row);
        let (slot, _) = self.open.slot(hash_of(&key), &key, Opens::new);
        let windows = self.open.at_mut(slot);
        let at = match windows.binary_search_by_key(&(start, end), |window| (window.start, window.end)) {
            Ok(at) => at,
            Err(at) => {
                check_key(&key)?;
                let timer = window.due(end, self.watermark);
                let state = self.parts.aggregate.init();
                windows.insert(at, Open { start, end, timer, changed: false, state });
                self.schedule.timers.add(timer, slot);
                at
            }
        };
        self.parts.aggregate.add(&mut windows[at].state, row);
        note_change(&self.parts, &mut windows[at], key, self.watermark, &mut self.schedule, output);
        Ok(())
    }

    /// Adds a row to the session that these bounds touch, which takes in all others that they touch.
    fn add_to_session(
        &mut self,
        row: T,
        (start, end): (Timestamp, Timestamp),
        output: &mut Output<Rows<O>>,
    ) -> Result<()> {
        let key = (self.parts.key)(&row);
        let hash = hash_of(&key);
        let (window, aggregate) = (&self.parts.window, &self.parts.aggregate);
        let touched = |windows: &Opens<A::State>| {
            let from = windows.partition_point(|window| window.end <= start);
            from..windows.partition_point(|window| window.start < end)
        };
        if window.close(end) <= self.watermark
            && self.open.get(hash, &key).is_none_or(|windows| touched(windows).is_empty())
        {
            self.late(row, output);
            return Ok(());
        }
        let (slot, _) = self.open.slot(hash, &key, Opens::new);
        let windows = self.open.at_mut(slot);
        let touched = touched(windows);
        let at = touched.start;
        if touched.is_empty() {
            check_key(&key)?;
            let timer = window.due(end, self.watermark);
            windows.insert(at, Open { start, end, timer, changed: false, state: aggregate.init() });
            self.schedule.timers.add(timer, slot);
        } else {
            let mut touched = windows.drain(touched);
            let mut session = touched.next().expect("invariant: it is not empty");
            for later in touched {
                aggregate.merge(&mut session.state, &later.state);
                session.end = later.end;
                session.changed |= later.changed;
            }
            session.start = session.start.min(start);
            session.end = session.end.max(end);
            let due = window.due(session.end, self.watermark);
            if due < session.timer {
                session.timer = due;
                self.schedule.timers.add(due, slot);
            }
            windows.insert(at, session);
        }
        aggregate.add(&mut windows[at].state, row);
        note_change(&self.parts, &mut windows[at], key, self.watermark, &mut self.schedule, output);
        Ok(())
    }

    /// Emits and closes what is due until a time.
    fn fire(&mut self, until: Timestamp, output: &mut Output<Rows<O>>) -> Progress {
        for _ in 0..FIRINGS_PER_CALL {
            if output.is_full() {
                return Progress::Again;
            }
            let Some((time, slot)) = self.schedule.timers.pop_due(until) else { return Progress::Done };
            let Some((key, windows)) = self.open.at(slot) else { continue };
            let Some(at) = windows.iter().position(|window| window.timer == time) else { continue };
            let (key, window) = (key.clone(), &self.parts.window);
            let windows = self.open.at_mut(slot);
            let open = &mut windows[at];
            if window.close(open.end) <= time {
                let open = windows.remove(at);
                if windows.is_empty() {
                    self.open.remove_slot(hash_of(&key), slot);
                }
                if open.changed {
                    emit(&self.parts, &open, key, output);
                }
                continue;
            }
            open.timer = window.due(open.end, time);
            self.schedule.timers.add(open.timer, slot);
            if open.changed && open.end <= time && window.emit.at_end() {
                open.changed = false;
                emit(&self.parts, open, key, output);
            }
        }
        Progress::Again
    }
}

/// A row has come to an open window: emits it now, or notes that it is to be emitted.
fn note_change<T, K, A, F, E, O>(
    parts: &Parts<T, E, F, A, O>,
    open: &mut Open<A::State>,
    key: K,
    watermark: Timestamp,
    schedule: &mut Schedule<K>,
    output: &mut Output<Rows<O>>,
) where
    A: Aggregate<T>,
    O: From<Windowed<K, A::Out>> + Send + 'static,
{
    let now = match parts.window.emit {
        Emit::Final => false,
        Emit::OnTime => open.end <= watermark,
        Emit::EachChange => true,
        Emit::Every(interval) => {
            if !open.changed {
                schedule.every(interval, key, output);
            }
            open.changed = true;
            return;
        }
    };
    open.changed = !now;
    if now {
        emit(parts, open, key, output);
    }
}

fn emit<T, K, A, F, E, O>(
    parts: &Parts<T, E, F, A, O>,
    open: &Open<A::State>,
    key: K,
    output: &mut Output<Rows<O>>,
) where
    A: Aggregate<T>,
    O: From<Windowed<K, A::Out>> + Send + 'static,
{
    let value = parts.aggregate.result(&open.state);
    output.push(O::from(Windowed { key, start: open.start, end: open.end, value }));
}

impl<T, K, A, F, E, O> Operator<Rows<T>, Rows<O>> for EachWindow<T, K, A, F, E, O>
where
    T: Send + 'static,
    K: Key,
    A: Aggregate<T>,
    F: FnMut(&T) -> K + Send,
    E: FnMut(&T) -> Timestamp + Send,
    O: From<Windowed<K, A::Out>> + Send + 'static,
{
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<O>>) -> Result<()> {
        while !output.is_full() {
            let Some(row) = input.next() else { break };
            self.take(row, output)?;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<Rows<O>>) -> Result<Progress> {
        self.watermark = watermark;
        let progress = self.fire(watermark, output);
        if progress == Progress::Done {
            output.emit_watermark(self.parts.window.promise(watermark));
        }
        Ok(progress)
    }

    fn tick(&mut self, output: &mut Output<Rows<O>>) -> Result<Progress> {
        let Some(due) = self.schedule.due else { return Ok(Progress::Done) };
        if due > output.now() {
            output.wake_at(due);
            return Ok(Progress::Done);
        }
        for _ in 0..FIRINGS_PER_CALL {
            if output.is_full() {
                return Ok(Progress::Again);
            }
            let Some(key) = self.schedule.changed.pop_front() else {
                self.schedule.due = None;
                return Ok(Progress::Done);
            };
            let hash = hash_of(&key);
            let changed = |windows: &Opens<A::State>| windows.iter().any(|window| window.changed);
            if !self.open.get(hash, &key).is_some_and(changed) {
                continue; // emitted already, at its end
            }
            let windows = self.open.get_mut(hash, &key).into_iter().flatten();
            for open in windows.filter(|window| window.changed) {
                open.changed = false;
                emit(&self.parts, open, key.clone(), output);
            }
        }
        Ok(Progress::Again)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot { tables: vec![self.open.snapshot()] })
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<O>>) -> Result<()> {
        self.open.restore(restore)?;
        for slot in 0..self.open.slots_end() {
            let Some((key, windows)) = self.open.at(slot) else { continue };
            for open in windows {
                self.schedule.timers.add(open.timer, slot);
                if let (Emit::Every(interval), true) = (self.parts.window.emit, open.changed) {
                    self.schedule.every(interval, key.clone(), output);
                }
            }
        }
        Ok(())
    }

    /// Every open window is closed.
    fn finish(&mut self, output: &mut Output<Rows<O>>) -> Result<Progress> {
        Ok(self.fire(Timestamp::MAX, output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Count;
    use std::hash::{Hash, Hasher};
    use std::time::Duration;

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

    fn millis(row: &i64) -> Timestamp {
        Timestamp::from_millis(*row)
    }

    fn each<K: Key>(
        key: fn(&i64) -> K,
        window: Window<i64, fn(&i64) -> Timestamp>,
    ) -> EachWindow<i64, K, Count, fn(&i64) -> K, fn(&i64) -> Timestamp, Windowed<K, u64>> {
        EachWindow::new(Parts { key, window, aggregate: Count, late: None })
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_key_without_open_windows_takes_no_memory() {
        for window in [
            Window::tumbling(SECOND, millis as fn(&i64) -> Timestamp),
            Window::session(SECOND / 2, millis as fn(&i64) -> Timestamp).allowed_lateness(SECOND / 4),
            Window::tumbling(SECOND, millis as fn(&i64) -> Timestamp).emit(Emit::Every(SECOND)),
        ] {
            let (mut windows, mut output) = (each(|_| 'k', window), Output::default());
            windows.process(&mut Rows::from(vec![100, 200, 1500]), &mut output).unwrap();
            assert_eq!(windows.watermark(Timestamp::from_millis(1000), &mut output).unwrap(), Progress::Done);
            assert_eq!(windows.open.len(), 1);
            windows.process(&mut Rows::from(vec![1600, 400]), &mut output).unwrap();
            assert_eq!(windows.watermark(Timestamp::from_millis(2600), &mut output).unwrap(), Progress::Done);
            assert!(windows.open.is_empty());
            assert_eq!(windows.schedule.timers.first(), None);
            output.set_now(Timestamp::from_millis(1));
            assert_eq!(windows.tick(&mut output).unwrap(), Progress::Done);
            assert!(windows.schedule.changed.is_empty());
        }
    }

    #[test]
    fn a_key_that_is_not_equal_to_itself_is_an_error_and_not_a_panic() {
        let window = Window::tumbling(SECOND, millis as fn(&i64) -> Timestamp);
        let (mut windows, mut output) = (each(|_| Strange, window), Output::default());
        let error = windows.process(&mut Rows::from(vec![100]), &mut output).unwrap_err();
        assert!(error.to_string().contains("not equal to itself"), "{error}");
    }

    #[test]
    fn a_session_that_goes_on_has_one_timer() {
        let window = Window::session(SECOND, millis as fn(&i64) -> Timestamp);
        let (mut windows, mut output) = (each(|_| 'k', window), Output::default());
        windows.process(&mut Rows::from((0..10_000).collect::<Vec<_>>()), &mut output).unwrap();
        assert!(windows.schedule.timers.pop_due(Timestamp::MAX).is_some());
        assert_eq!(windows.schedule.timers.first(), None);
    }
}
