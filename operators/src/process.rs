//! The keyed process function: arbitrary state and timers for each key.

use crate::batch::Rows;
use crate::error::Result;
use crate::key::{Key, Value, hash_of};
use crate::limits::FIRINGS_PER_CALL;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::{KeyedState, Timers};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// What a user writes: called for each row and each timer, with the state of the key at hand.
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

    /// A timer of the key has come up.
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
}

/// A timer that has come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The watermark has reached this event time.
    Event(Timestamp),
    /// Processing time has reached this.
    Processing(Timestamp),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry<S> {
    state: S,
    timers: Vec<Timer>,
}

#[derive(Debug)]
struct Clocks<K> {
    event: Timers<K>,
    processing: Timers<K>,
    watermark: Timestamp,
}

impl<K> Clocks<K> {
    fn index(&mut self, timer: Timer, key: K) {
        match timer {
            Timer::Event(time) => self.event.add(time, key),
            Timer::Processing(time) => self.processing.add(time, key),
        }
    }
}

/// The key's state, its timers, the time and the output, for one call of a [`Process`].
#[derive(Debug)]
pub struct ProcessContext<'a, K, S, O: Send + 'static> {
    key: &'a K,
    entry: &'a mut Entry<S>,
    clocks: &'a mut Clocks<K>,
    output: &'a mut Output<Rows<O>>,
    cleared: bool,
}

impl<K: Clone, S: Default, O: Send + 'static> ProcessContext<'_, K, S, O> {
    /// The key.
    pub fn key(&self) -> &K {
        self.key
    }

    /// The key's state.
    pub fn state(&mut self) -> &mut S {
        self.cleared = false;
        &mut self.entry.state
    }

    /// Forgets the key's state; the key takes no memory once it has no timers either.
    pub fn clear(&mut self) {
        self.entry.state = S::default();
        self.cleared = true;
    }

    /// Emits a row.
    pub fn emit(&mut self, row: O) {
        self.output.push(row);
    }

    /// The processing time of this call.
    pub fn now(&self) -> Timestamp {
        self.output.now()
    }

    /// The event time that the stream has reached.
    pub fn watermark(&self) -> Timestamp {
        self.clocks.watermark
    }

    /// Registers a timer; the same timer registered twice comes up once. An event-time timer that lies
    /// behind the watermark comes up at the next watermark.
    pub fn set_timer(&mut self, timer: Timer) {
        if !self.entry.timers.contains(&timer) {
            self.entry.timers.push(timer);
            self.clocks.index(timer, self.key.clone());
            if let Timer::Processing(time) = timer {
                self.output.wake_at(time);
            }
        }
    }

    /// Cancels a timer, if it was registered.
    pub fn cancel_timer(&mut self, timer: Timer) {
        self.entry.timers.retain(|held| *held != timer);
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
        let clocks =
            Clocks { event: Timers::default(), processing: Timers::default(), watermark: Timestamp::MIN };
        KeyedProcess { key, process, entries: KeyedState::new("process"), clocks, rows: PhantomData }
    }

    fn call(
        &mut self,
        key: &K,
        timer: Option<Timer>,
        output: &mut Output<Rows<P::Out>>,
        run: impl FnOnce(&mut P, &mut ProcessContext<'_, K, P::State, P::Out>) -> Result<()>,
    ) -> Result<()> {
        let hash = hash_of(key);
        let entry =
            self.entries.entry(hash, key, || Entry { state: P::State::default(), timers: Vec::new() });
        if let Some(timer) = timer {
            entry.timers.retain(|held| *held != timer);
        }
        let mut context =
            ProcessContext { key, entry, clocks: &mut self.clocks, output, cleared: false };
        run(&mut self.process, &mut context)?;
        if context.cleared && context.entry.timers.is_empty() {
            self.entries.remove(hash, key);
        }
        Ok(())
    }

    fn fire(&mut self, event_time: bool, output: &mut Output<Rows<P::Out>>) -> Result<Progress> {
        let now = if event_time { self.clocks.watermark } else { output.now() };
        for _ in 0..FIRINGS_PER_CALL {
            if output.is_full() {
                return Ok(Progress::Again);
            }
            let timers = if event_time { &mut self.clocks.event } else { &mut self.clocks.processing };
            let Some((time, key)) = timers.pop_due(now) else { return Ok(Progress::Done) };
            let timer = if event_time { Timer::Event(time) } else { Timer::Processing(time) };
            let set = self.entries.get(hash_of(&key), &key).is_some_and(|entry| entry.timers.contains(&timer));
            if set {
                self.call(&key, Some(timer), output, |process, context| process.on_timer(timer, context))?;
            }
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
            self.call(&key, None, output, |process, context| process.on_row(row, context))?;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<Rows<P::Out>>) -> Result<Progress> {
        self.clocks.watermark = watermark;
        let progress = self.fire(true, output)?;
        if progress == Progress::Done {
            output.emit_watermark(watermark);
        }
        Ok(progress)
    }

    fn tick(&mut self, output: &mut Output<Rows<P::Out>>) -> Result<Progress> {
        let progress = self.fire(false, output)?;
        if let Some(next) = self.clocks.processing.first() {
            output.wake_at(next);
        }
        Ok(progress)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot { tables: vec![self.entries.snapshot()] })
    }

    fn restore(&mut self, restore: Restore<'_>, output: &mut Output<Rows<P::Out>>) -> Result<()> {
        self.entries.restore(restore)?;
        for (key, entry) in self.entries.iter() {
            for timer in &entry.timers {
                self.clocks.index(*timer, key.clone());
            }
        }
        if let Some(next) = self.clocks.processing.first() {
            output.wake_at(next);
        }
        Ok(())
    }

    /// All event-time timers come up, as if the watermark had reached the end of time.
    fn finish(&mut self, output: &mut Output<Rows<P::Out>>) -> Result<Progress> {
        self.clocks.watermark = Timestamp::MAX;
        self.fire(true, output)
    }
}
