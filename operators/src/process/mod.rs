//! The keyed process function: arbitrary state and timers for each key.

mod clocks;
mod expiry;
mod state;

use crate::batch::Rows;
use crate::error::{OperatorError, Result};
use crate::key::{Key, Value, hash_of};
use crate::limits::FIRINGS_PER_CALL;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::KeyedState;
use crate::time::Timestamp;
use clocks::Clocks;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

pub use clocks::Timer;
pub use state::{Expiring, Fields, ListState, MapState, Ttl, TtlClock, ValueState};

/// What a user writes: called for each row and each timer, with the state of the key at hand.
///
/// A clone runs in each parallel instance. What a process keeps outside [`ProcessContext::state`] is not
/// part of a checkpoint.
pub trait Process<K, T>: Clone + Send + 'static {
    /// The state of one key; a new key starts at the default.
    type State: Value + Default;
    /// What is emitted.
    type Out: Send + 'static;

    /// A row of the key has arrived.
    ///
    /// # Errors
    /// An error ends the query, or restarts it if its restart policy says so.
    fn on_row(&mut self, row: T, context: &mut ProcessContext<'_, K, Self::State, Self::Out>) -> Result<()>;

    /// A timer of the key has come up; it is no longer registered. Timers of one kind come up in the order
    /// of their times.
    ///
    /// # Errors
    /// As for [`on_row`](Process::on_row).
    fn on_timer(
        &mut self,
        _timer: Timer,
        _context: &mut ProcessContext<'_, K, Self::State, Self::Out>,
    ) -> Result<()> {
        Ok(())
    }

    /// Names the parts of the state that expire, and when. What has expired is gone before a row or a timer of
    /// the key is handled, and is dropped also if none comes. The default: nothing expires.
    ///
    /// ```
    /// use lotic_operators::process::{Fields, ListState, Process, ProcessContext, Ttl, ValueState};
    /// use serde::{Deserialize, Serialize};
    /// use std::time::Duration;
    ///
    /// #[derive(Clone, Default, Serialize, Deserialize)]
    /// struct Seen { last: ValueState<u64>, recent: ListState<u64> }
    ///
    /// #[derive(Clone)]
    /// struct Recent;
    ///
    /// impl Process<u32, u64> for Recent {
    ///     type State = Seen;
    ///     type Out = usize;
    ///
    ///     fn on_row(
    ///         &mut self,
    ///         row: u64,
    ///         context: &mut ProcessContext<'_, u32, Seen, usize>,
    ///     ) -> lotic_operators::Result<()> {
    ///         let seen = context.state();
    ///         seen.last.set(row);
    ///         seen.recent.push(row);
    ///         let count = seen.recent.len();
    ///         context.emit(count);
    ///         Ok(())
    ///     }
    ///
    ///     fn expiring(&self, seen: &mut Seen, fields: &mut Fields<'_>) {
    ///         let hour = Ttl::event_time(Duration::from_secs(3600));
    ///         fields.field(&mut seen.recent, hour);
    ///         fields.field(&mut seen.last, Ttl::processing_time(Duration::from_secs(60)));
    ///     }
    /// }
    /// # let _ = Recent;
    /// ```
    fn expiring(&self, _state: &mut Self::State, _fields: &mut Fields<'_>) {}
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry<S> {
    /// `None` before it is asked for the first time, and once it is cleared.
    state: Option<S>,
    /// In order.
    timers: Vec<Timer>,
    /// When the key is to be looked at for what has expired, by event and by processing time.
    expiry: [Option<Timestamp>; 2],
}

impl<S> Entry<S> {
    fn is_empty(&self) -> bool {
        self.state.is_none() && self.timers.is_empty()
    }
}

/// The key's state, its timers, the time and the output, for one call of a [`Process`].
#[derive(Debug)]
pub struct ProcessContext<'a, K, S, O: Send + 'static> {
    key: &'a K,
    hash: u64,
    entry: &'a mut Entry<S>,
    clocks: &'a mut Clocks<K>,
    output: &'a mut Output<Rows<O>>,
    timer: Option<Timer>,
}

impl<K: Clone + Eq, S: Default, O: Send + 'static> ProcessContext<'_, K, S, O> {
    /// The key.
    pub fn key(&self) -> &K {
        self.key
    }

    /// The key's state. Asking for it is what makes a key take memory.
    pub fn state(&mut self) -> &mut S {
        self.entry.state.get_or_insert_default()
    }

    /// Forgets the key's state; the key takes no memory once it has no timers either.
    pub fn clear(&mut self) {
        self.entry.state = None;
    }

    /// Emits a row.
    pub fn emit(&mut self, row: O) {
        self.output.push(row);
    }

    /// The processing time of this call.
    pub fn now(&self) -> Timestamp {
        self.output.now()
    }

    /// The event time that the stream has reached; [`Timestamp::MAX`] once the input has ended.
    pub fn watermark(&self) -> Timestamp {
        self.clocks.watermark
    }

    /// Registers a timer; the same timer registered twice comes up once.
    ///
    /// A timer that is due already comes up all the same: in event time straight after this call and before
    /// the key's next row, in processing time at the next tick. When the input ends every event-time timer
    /// comes up, and every one that is set then, so a timer that sets itself again and again has to stop
    /// when [`watermark`](ProcessContext::watermark) is [`Timestamp::MAX`]; otherwise the query fails with
    /// [`OperatorError::Limit`]. Processing-time timers do not come up after the end of the input.
    pub fn set_timer(&mut self, timer: Timer) {
        let Err(at) = self.entry.timers.binary_search(&timer) else { return };
        self.entry.timers.insert(at, timer);
        self.clocks.add(timer, self.hash, self.key.clone());
        if let Timer::Processing(time) = timer {
            self.output.wake_at(time);
        }
        if let Some(from) = self.timer {
            self.clocks.count_chained(from, timer, self.output.now());
        }
    }

    /// Cancels a timer, if it was registered.
    pub fn cancel_timer(&mut self, timer: Timer) {
        if let Ok(at) = self.entry.timers.binary_search(&timer) {
            self.entry.timers.remove(at);
            self.clocks.cancel(timer, self.hash, self.key);
        }
    }
}

/// Runs a [`Process`] over a keyed stream.
#[derive(Debug)]
pub struct KeyedProcess<T, K: Key, P: Process<K, T>, F> {
    key: F,
    process: P,
    entries: KeyedState<K, Entry<P::State>>,
    clocks: Clocks<K>,
    rows: PhantomData<fn(T)>,
}

impl<T, K: Key, P: Process<K, T>, F: FnMut(&T) -> K> KeyedProcess<T, K, P, F> {
    /// `key` reads a row's key.
    pub fn new(key: F, process: P) -> Self {
        let entries = KeyedState::new("process");
        KeyedProcess { key, process, entries, clocks: Clocks::new(), rows: PhantomData }
    }

    /// Keys that take memory: those with state or timers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key does.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Runs the user's function with the key's entry, which is kept only while there is something in it.
    fn call(
        &mut self,
        hash: u64,
        key: &K,
        timer: Option<Timer>,
        output: &mut Output<Rows<P::Out>>,
        run: impl FnOnce(&mut P, &mut ProcessContext<'_, K, P::State, P::Out>) -> Result<()>,
    ) -> Result<()> {
        let mut fresh = Entry { state: None, timers: Vec::new(), expiry: [None; 2] };
        let (entry, held) = match self.entries.get_mut(hash, key) {
            Some(entry) => (entry, true),
            None => (&mut fresh, false),
        };
        if let Some(timer) = timer {
            let Ok(at) = entry.timers.binary_search(&timer) else { return Ok(()) };
            entry.timers.remove(at);
        }
        let clocks = &mut self.clocks;
        expiry::expire(&self.process, entry, clocks.of_expiry(output.now()));
        run(&mut self.process, &mut ProcessContext { key, hash, entry, clocks, output, timer })?;
        expiry::expect(&self.process, key, entry, clocks, output);
        match (held, entry.is_empty()) {
            (true, true) => {
                self.entries.remove(hash, key);
            }
            (false, false) => {
                self.entries.entry(hash, key, || fresh);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        (timer, hash, key): (Timer, u64, K),
        output: &mut Output<Rows<P::Out>>,
    ) -> Result<()> {
        self.call(hash, &key, Some(timer), output, |process, context| process.on_timer(timer, context))?;
        if self.clocks.allowance == Some(0) {
            return Err(OperatorError::Limit(
                "timers go on setting timers that are due at once; a timer has to set later ones, and none when \
                 the input has ended (the watermark is then Timestamp::MAX)"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Lets the event-time timers come up that a call set behind the watermark. They do not wait for the
    /// next watermark: after a restart that would be the one announced again, and results would differ.
    fn catch_up(&mut self, output: &mut Output<Rows<P::Out>>) -> Result<()> {
        while let Some(due) = self.clocks.pop_event() {
            self.on_timer(due, output)?;
        }
        Ok(())
    }

    fn ask_for_tick(&self, output: &mut Output<Rows<P::Out>>) {
        for next in [self.clocks.processing.first(), self.clocks.expiry[1].first()].into_iter().flatten() {
            output.wake_at(next);
        }
    }

    fn fire_event(&mut self, output: &mut Output<Rows<P::Out>>) -> Result<Progress> {
        for _ in 0..FIRINGS_PER_CALL {
            if output.is_full() {
                return Ok(Progress::Again);
            }
            let Some(due) = self.clocks.pop_event() else {
                self.clocks.allowance = None;
                return Ok(Progress::Done);
            };
            self.on_timer(due, output)?;
        }
        Ok(Progress::Again)
    }
}

impl<T, K, P, F> Operator<Rows<T>, Rows<P::Out>> for KeyedProcess<T, K, P, F>
where
    T: Send + 'static,
    K: Key,
    P: Process<K, T>,
    F: FnMut(&T) -> K + Send,
{
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<P::Out>>) -> Result<()> {
        while !output.is_full() {
            let Some(row) = input.next() else { break };
            let key = (self.key)(&row);
            self.call(hash_of(&key), &key, None, output, |process, context| process.on_row(row, context))?;
            self.catch_up(output)?;
            self.clocks.allowance = None;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<Rows<P::Out>>) -> Result<Progress> {
        self.clocks.reach(watermark);
        let mut progress = self.fire_event(output)?;
        if progress == Progress::Done {
            progress = self.drop_expired(0, output);
        }
        if progress == Progress::Done {
            output.emit_watermark(watermark);
        }
        Ok(progress)
    }

    fn tick(&mut self, output: &mut Output<Rows<P::Out>>) -> Result<Progress> {
        for _ in 0..FIRINGS_PER_CALL {
            if output.is_full() {
                return Ok(Progress::Again);
            }
            let Some(due) = self.clocks.pop_processing(output.now()) else {
                self.clocks.allowance = None;
                let progress = self.drop_expired(1, output);
                self.ask_for_tick(output);
                return Ok(progress);
            };
            self.on_timer(due, output)?;
            self.catch_up(output)?;
        }
        Ok(Progress::Again)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot { tables: vec![self.entries.snapshot()] })
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<P::Out>>) -> Result<()> {
        self.entries.restore(restore)?;
        for (key, entry) in self.entries.iter() {
            let hash = hash_of(key);
            for timer in &entry.timers {
                self.clocks.add(*timer, hash, key.clone());
            }
            for (clock, time) in entry.expiry.iter().enumerate() {
                if let Some(time) = time {
                    self.clocks.expiry[clock].add(*time, key.clone());
                }
            }
        }
        self.ask_for_tick(output);
        Ok(())
    }

    /// All event-time timers come up, as if the watermark had reached the end of time.
    fn finish(&mut self, output: &mut Output<Rows<P::Out>>) -> Result<Progress> {
        self.clocks.watermark = Timestamp::MAX;
        self.fire_event(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Context<'a> = ProcessContext<'a, u8, u64, &'static str>;

    /// Does to the key what a row says.
    #[derive(Debug, Clone)]
    struct Puppet(fn(Option<Timer>, &mut Context<'_>));

    #[derive(Debug)]
    struct Row(u8, fn(&mut Context<'_>));

    impl Process<u8, Row> for Puppet {
        type State = u64;
        type Out = &'static str;

        fn on_row(&mut self, row: Row, context: &mut Context<'_>) -> Result<()> {
            (row.1)(context);
            Ok(())
        }

        fn on_timer(&mut self, timer: Timer, context: &mut Context<'_>) -> Result<()> {
            (self.0)(Some(timer), context);
            Ok(())
        }
    }

    type Keyed = KeyedProcess<Row, u8, Puppet, fn(&Row) -> u8>;
    type Out = Output<Rows<&'static str>>;

    fn keyed(on_timer: fn(Option<Timer>, &mut Context<'_>)) -> (Keyed, Out) {
        (KeyedProcess::new(|row: &Row| row.0, Puppet(on_timer)), Output::default())
    }

    fn row(keyed: &mut Keyed, output: &mut Out, run: fn(&mut Context<'_>)) {
        keyed.process(&mut Rows::from(vec![Row(1, run)]), output).unwrap();
    }

    const SOON: Timer = Timer::Event(Timestamp(10));
    const LATER: Timer = Timer::Processing(Timestamp(90));

    #[test]
    fn a_key_takes_memory_only_while_it_has_state_or_timers() {
        let (mut keyed, mut output) = keyed(|_, context| context.emit("timer"));
        row(&mut keyed, &mut output, |context| context.emit("untouched"));
        assert!(keyed.entries.is_empty());
        row(&mut keyed, &mut output, |context| context.set_timer(SOON));
        assert_eq!(keyed.entries.len(), 1);
        assert_eq!(keyed.watermark(Timestamp(10), &mut output).unwrap(), Progress::Done);
        assert!(keyed.entries.is_empty(), "its only timer came up");
        row(&mut keyed, &mut output, |context| *context.state() += 1);
        row(&mut keyed, &mut output, |context| {
            context.set_timer(LATER);
            context.clear();
        });
        assert_eq!(keyed.entries.len(), 1, "cleared, but it has a timer");
        row(&mut keyed, &mut output, |context| context.cancel_timer(LATER));
        assert!(keyed.entries.is_empty());
        assert!(keyed.clocks.processing.is_empty(), "a cancelled timer takes no memory");
    }

    #[test]
    fn a_timer_behind_the_watermark_comes_up_before_the_next_row() {
        let (mut keyed, mut output) = keyed(|_, context| context.emit("timer"));
        assert_eq!(keyed.watermark(Timestamp(10), &mut output).unwrap(), Progress::Done);
        let set = Row(1, |context| context.set_timer(SOON));
        let next = Row(1, |context| context.emit("next row"));
        keyed.process(&mut Rows::from(vec![set, next]), &mut output).unwrap();
        output.take();
        let Some(crate::Emitted::Batch(rows)) = output.take() else { panic!("rows were emitted") };
        assert_eq!(rows.as_slice(), ["timer", "next row"]);
    }

    #[test]
    fn timers_that_never_end_are_an_error_and_not_a_hang() {
        let endless: fn(Option<Timer>, &mut Context<'_>) = |timer, context| match timer {
            Some(Timer::Event(time)) => context.set_timer(Timer::Event(Timestamp(time.0 + 1))),
            Some(now) => context.set_timer(now),
            None => {}
        };
        let (mut keyed, mut output) = keyed(endless);
        row(&mut keyed, &mut output, |context| context.set_timer(SOON));
        assert_eq!(keyed.watermark(Timestamp(10_000), &mut output).unwrap(), Progress::Again);
        while keyed.watermark(Timestamp(10_000), &mut output).unwrap() == Progress::Again {}
        let error = loop {
            match keyed.finish(&mut output) {
                Ok(progress) => assert_eq!(progress, Progress::Again),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, OperatorError::Limit(_)), "{error}");

        let (mut keyed, mut output) = self::keyed(endless);
        row(&mut keyed, &mut output, |context| context.set_timer(LATER));
        output.set_now(Timestamp(90));
        assert!((0..1000).any(|_| keyed.tick(&mut output).is_err()));
    }

    #[test]
    fn the_earliest_processing_time_is_asked_for_also_after_a_restore() {
        let (mut keyed, mut output) = keyed(|_, _| {});
        row(&mut keyed, &mut output, |context| {
            for time in [90, 50, 70] {
                context.set_timer(Timer::Processing(Timestamp(time)));
            }
        });
        assert_eq!(output.take_wake_at(), Some(Timestamp(50)));
        output.set_now(Timestamp(60));
        assert_eq!(keyed.tick(&mut output).unwrap(), Progress::Done);
        assert_eq!(output.take_wake_at(), Some(Timestamp(70)));
        assert_eq!(keyed.tick(&mut output).unwrap(), Progress::Done, "woken for nothing");
        assert_eq!(output.take_wake_at(), Some(Timestamp(70)));

        let mut bytes = Vec::new();
        let snapshot = keyed.snapshot().unwrap();
        snapshot.tables[0].chunks[0].1.encode(&mut bytes).unwrap();
        let image = crate::StateImage { tables: [("process".to_owned(), vec![bytes])].into() };
        let (mut restored, mut output) = self::keyed(|_, _| {});
        restored.restore(Restore { image: &image, instance: crate::Instance::ONLY }, &mut output).unwrap();
        assert_eq!(output.take_wake_at(), Some(Timestamp(70)));
    }
}
