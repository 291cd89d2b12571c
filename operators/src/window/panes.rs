//! Sliding windows that share panes.

use super::cut::Cut;
use super::{Parts, Windowed, check_key};
use crate::aggregate::Aggregate;
use crate::batch::Rows;
use crate::error::{OperatorError, Result};
use crate::key::{Key, hash_of};
use crate::limits::{FIRINGS_PER_CALL, PANES_PER_CALL};
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot, TableSnapshot};
use crate::state::{KeyedState, Timers, codec};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

const CUT: &str = "window-cut";

/// The panes of a key that have rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Panes<S> {
    /// In order of their numbers.
    panes: VecDeque<(i128, S)>,
    /// The next window to be emitted; none if all that hold a pane were.
    next: Option<i128>,
    /// Where the key stands among the timers.
    timer: Option<Timestamp>,
}

impl<S> Panes<S> {
    fn new() -> Self {
        Panes { panes: VecDeque::new(), next: None, timer: None }
    }

    /// Brings the next window forward to the first of a new pane.
    fn expect(&mut self, pane: i128, plan: Plan, watermark: Timestamp) {
        let first = plan.cut.first_of_pane(pane).max(plan.first_due(watermark));
        if first <= plan.cut.last_of_pane(pane) {
            self.next = Some(self.next.map_or(first, |next| next.min(first)));
        }
    }

    /// Sets the timer to when the key is next to be looked at, unless it has an earlier one; returns it if it
    /// is new.
    fn set_timer(&mut self, plan: Plan) -> Option<Timestamp> {
        let (first, _) = self.panes.front()?;
        let expiry = plan.expiry(*first);
        let due = self.next.map_or(expiry, |next| plan.due(next).min(expiry));
        if self.timer.is_some_and(|timer| timer <= due) {
            return None;
        }
        self.timer = Some(due);
        self.timer
    }

    /// The first window after `window` that holds a pane.
    fn after(&self, window: i128, cut: Cut) -> Option<i128> {
        let at = self.panes.partition_point(|(pane, _)| cut.last_of_pane(*pane) <= window);
        self.panes.get(at).map(|(pane, _)| cut.first_of_pane(*pane).max(window + 1))
    }
}

/// When windows are emitted and panes dropped.
#[derive(Debug, Clone, Copy)]
struct Plan {
    cut: Cut,
    lateness: Duration,
    /// Whether windows are emitted at their ends, and not when they are closed.
    at_end: bool,
}

impl Plan {
    /// When a window is emitted for the first time.
    fn due(self, window: i128) -> Timestamp {
        let end = self.cut.end(window);
        if self.at_end { end } else { end.plus(self.lateness) }
    }

    /// When a pane is no longer needed: the last window that holds it is closed.
    fn expiry(self, pane: i128) -> Timestamp {
        self.cut.end(self.cut.last_of_pane(pane)).plus(self.lateness)
    }

    /// The first window that is not closed at a watermark.
    fn first_open(self, watermark: Timestamp) -> i128 {
        self.cut.first_open(watermark.minus(self.lateness))
    }

    /// The first window that is not yet emitted at a watermark.
    fn first_due(self, watermark: Timestamp) -> i128 {
        if self.at_end { self.cut.first_open(watermark) } else { self.first_open(watermark) }
    }
}

/// Sliding windows of an aggregate that can be merged, emitted when they are closed or at their ends.
pub(super) struct SharedPanes<T, K: Key, A: Aggregate<T>, F, E, O> {
    parts: Parts<T, E, F, A, O>,
    plan: Plan,
    held: KeyedState<K, Panes<A::State>>,
    /// Keys by when they are to be looked at. A timer that is not the key's own is skipped.
    timers: Timers<K>,
    watermark: Timestamp,
    /// Whether the cut is in a snapshot.
    stored: bool,
}

impl<T, K, A, F, E, O> SharedPanes<T, K, A, F, E, O>
where
    K: Key,
    A: Aggregate<T>,
    F: FnMut(&T) -> K,
    E: FnMut(&T) -> Timestamp,
    O: From<Windowed<K, A::Out>> + Send + 'static,
{
    pub(super) fn new(parts: Parts<T, E, F, A, O>, cut: Cut) -> Self {
        let plan = Plan { cut, lateness: parts.window.lateness, at_end: parts.window.emit.at_end() };
        SharedPanes {
            parts,
            plan,
            held: KeyedState::new("panes"),
            timers: Timers::default(),
            watermark: Timestamp::MIN,
            stored: false,
        }
    }

    fn take(&mut self, row: T, output: &mut Output<Rows<O>>) -> Result<()> {
        let (plan, watermark) = (self.plan, self.watermark);
        let number = plan.cut.pane((self.parts.window.event_time)(&row));
        if plan.expiry(number) <= watermark {
            output.count_late(1);
            if let Some(late) = self.parts.late {
                output.push(late(row));
            }
            return Ok(());
        }
        let key = (self.parts.key)(&row);
        let held = self.held.entry(hash_of(&key), &key, Panes::new);
        match held.panes.binary_search_by_key(&number, |(pane, _)| *pane) {
            Ok(at) => self.parts.aggregate.add(&mut held.panes[at].1, row),
            Err(at) => {
                check_key(&key)?;
                let mut state = self.parts.aggregate.init();
                self.parts.aggregate.add(&mut state, row);
                held.panes.insert(at, (number, state));
                held.expect(number, plan, watermark);
                if let Some(timer) = held.set_timer(plan) {
                    self.timers.add(timer, key.clone());
                }
            }
        }
        // Windows that were emitted at their ends and are not closed are emitted again.
        if plan.at_end {
            let first = plan.cut.first_of_pane(number).max(plan.first_open(watermark));
            let windows = first..=plan.cut.last_of_pane(number);
            for window in windows.take_while(|window| plan.cut.end(*window) <= watermark) {
                emit(&self.parts, plan.cut, window, held, key.clone(), output);
            }
        }
        Ok(())
    }

    /// Emits and closes what is due until a time.
    fn fire(&mut self, until: Timestamp, output: &mut Output<Rows<O>>) -> Progress {
        let plan = self.plan;
        let mut merged = 0;
        for _ in 0..FIRINGS_PER_CALL {
            if output.is_full() || merged >= PANES_PER_CALL {
                return Progress::Again;
            }
            let Some((time, key)) = self.timers.pop_due(until) else { return Progress::Done };
            let hash = hash_of(&key);
            let held = self.held.get_mut(hash, &key).filter(|held| held.timer == Some(time));
            let Some(held) = held else { continue };
            if let Some(window) = held.next
                && plan.due(window) <= time
            {
                merged += emit(&self.parts, plan.cut, window, held, key.clone(), output);
                held.next = held.after(window, plan.cut);
            }
            let next = held.next.unwrap_or(i128::MAX);
            let over = |pane: i128| plan.cut.last_of_pane(pane) < next && plan.expiry(pane) <= time;
            while held.panes.front().is_some_and(|(pane, _)| over(*pane)) {
                held.panes.pop_front();
            }
            held.timer = None;
            match held.set_timer(plan) {
                Some(timer) => self.timers.add(timer, key),
                None => {
                    self.held.remove(hash, &key);
                }
            }
        }
        Progress::Again
    }
}

/// Merges the panes of a window, from the first to the last, and emits it. Returns how many they were.
fn emit<T, K, A, F, E, O>(
    parts: &Parts<T, E, F, A, O>,
    cut: Cut,
    window: i128,
    held: &Panes<A::State>,
    key: K,
    output: &mut Output<Rows<O>>,
) -> usize
where
    A: Aggregate<T>,
    O: From<Windowed<K, A::Out>> + Send + 'static,
{
    let from = held.panes.partition_point(|(pane, _)| cut.last_of_pane(*pane) < window);
    let mut panes = held.panes.range(from..).take_while(|(pane, _)| cut.first_of_pane(*pane) <= window);
    let Some((_, first)) = panes.next() else { return 0 };
    let (mut state, mut merged) = (first.clone(), 1);
    panes.for_each(|(_, pane)| {
        parts.aggregate.merge(&mut state, pane);
        merged += 1;
    });
    let (start, end) = cut.bounds(window);
    output.push(O::from(Windowed { key, start, end, value: parts.aggregate.result(&state) }));
    merged
}

impl<T, K, A, F, E, O> Operator<Rows<T>, Rows<O>> for SharedPanes<T, K, A, F, E, O>
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

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut tables = vec![self.held.snapshot()];
        if !std::mem::replace(&mut self.stored, true) {
            let mut bytes = Vec::new();
            codec::encode(CUT, &self.plan.cut, &mut bytes)?;
            tables.push(TableSnapshot::single(CUT, bytes));
        }
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<Rows<O>>) -> Result<()> {
        for chunk in restore.image.chunks(CUT) {
            let cut: Cut = codec::decode(CUT, chunk)?;
            if cut != self.plan.cut {
                let cause =
                    format!("it holds parts of sliding windows of {cut}, and these are of {}", self.plan.cut);
                return Err(OperatorError::Decode { table: "panes".to_owned(), cause });
            }
        }
        self.held.restore(restore)?;
        for (key, held) in self.held.iter() {
            if let Some(timer) = held.timer {
                self.timers.add(timer, key.clone());
            }
        }
        Ok(())
    }

    /// Every window is closed.
    fn finish(&mut self, output: &mut Output<Rows<O>>) -> Result<Progress> {
        Ok(self.fire(Timestamp::MAX, output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Count;
    use crate::window::{Emit, Window};

    #[test]
    fn a_key_holds_two_panes_for_each_slide_at_most_and_nothing_once_its_windows_are_closed() {
        let micros = Duration::from_micros;
        let cut = Cut::new(micros(100), micros(30));
        for emit in [Emit::Final, Emit::OnTime] {
            let window = Window::sliding(micros(100), micros(30), |n: &i64| Timestamp(*n));
            let window = window.emit(emit).allowed_lateness(micros(60));
            let key = |_: &i64| 'k';
            let mut windows: SharedPanes<_, _, _, _, _, Windowed<char, u64>> =
                SharedPanes::new(Parts { key, window, aggregate: Count, late: None }, cut);
            let mut output = Output::with_limit(usize::MAX);
            for n in 0..10_000 {
                windows.process(&mut Rows::from(vec![n]), &mut output).unwrap();
                assert_eq!(windows.watermark(Timestamp(n), &mut output).unwrap(), Progress::Done);
                let held = windows.held.get(hash_of(&'k'), &'k').unwrap();
                assert!(held.panes.len() <= 2 * (160usize.div_ceil(30) + 1), "{}", held.panes.len());
            }
            assert_eq!(windows.watermark(Timestamp(10_160), &mut output).unwrap(), Progress::Done);
            assert!(windows.held.is_empty());
            assert_eq!(windows.timers.first(), None);
        }
    }
}
