//! A process function that does what its rows and the times of its timers tell it to, written once and run
//! both by `KeyedProcess` and by a slow model.

use lotic_operators::key::hash_of;
use lotic_operators::process::{Process, ProcessContext, Timer};
use lotic_operators::testing::Event;
use lotic_operators::{Result, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a row asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    /// Adds to the key's sum and emits it.
    Add(i64),
    /// Sets a timer.
    Set(Timer),
    /// Cancels a timer.
    Cancel(Timer),
    /// Clears the state.
    Clear,
}

/// A row: the key and what it asks for.
pub(crate) type Asked = (u8, Ask);

/// What is emitted: key, the timer that came up, the sum, the watermark and the processing time.
pub(crate) type Told = (u8, Option<Timer>, i64, Timestamp, Timestamp);

/// What the script needs of its context.
trait Context {
    fn sum(&mut self) -> &mut i64;
    fn clear(&mut self);
    fn set(&mut self, timer: Timer);
    fn cancel(&mut self, timer: Timer);
    fn tell(&mut self, timer: Option<Timer>);
}

fn on_row(ask: Ask, context: &mut impl Context) {
    match ask {
        Ask::Add(value) => {
            *context.sum() += value;
            context.tell(None);
        }
        Ask::Set(timer) => context.set(timer),
        Ask::Cancel(timer) => context.cancel(timer),
        Ask::Clear => context.clear(),
    }
}

fn on_timer(timer: Timer, context: &mut impl Context) {
    context.tell(Some(timer));
    let (Timer::Event(Timestamp(time)) | Timer::Processing(Timestamp(time))) = timer;
    match time.rem_euclid(7) {
        0 => context.set(Timer::Event(Timestamp(time + 3))),
        1 => context.clear(),
        2 => *context.sum() += 1,
        3 => context.cancel(Timer::Event(Timestamp(time + 1))),
        4 => context.set(Timer::Processing(Timestamp(time + 5))),
        5 => context.set(Timer::Event(Timestamp(time - 2))),
        _ => {
            // Comes up again at once, for a time that is not later, and then no more.
            *context.sum() += 1;
            if *context.sum() % 2 == 0 {
                context.set(timer);
            }
        }
    }
}

/// The script as a process function.
#[derive(Debug, Clone)]
pub(crate) struct Script;

impl Context for ProcessContext<'_, u8, i64, Told> {
    fn sum(&mut self) -> &mut i64 {
        self.state()
    }
    fn clear(&mut self) {
        ProcessContext::clear(self);
    }
    fn set(&mut self, timer: Timer) {
        self.set_timer(timer);
    }
    fn cancel(&mut self, timer: Timer) {
        self.cancel_timer(timer);
    }
    fn tell(&mut self, timer: Option<Timer>) {
        let told = (*self.key(), timer, *self.state(), self.watermark(), self.now());
        self.emit(told);
    }
}

impl Process<u8, Asked> for Script {
    type State = i64;
    type Out = Told;

    fn on_row(&mut self, row: Asked, context: &mut ProcessContext<'_, u8, i64, Told>) -> Result<()> {
        on_row(row.1, context);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut ProcessContext<'_, u8, i64, Told>) -> Result<()> {
        on_timer(timer, context);
        Ok(())
    }
}

/// The slow model: a set of timers for each key, searched for the first one each time.
struct Model {
    sums: BTreeMap<u8, i64>,
    timers: BTreeSet<(u8, Timer)>,
    watermark: Timestamp,
    now: Timestamp,
    told: Vec<Told>,
}

struct OfKey<'a>(u8, &'a mut Model);

impl Context for OfKey<'_> {
    fn sum(&mut self) -> &mut i64 {
        self.1.sums.entry(self.0).or_default()
    }
    fn clear(&mut self) {
        self.1.sums.remove(&self.0);
    }
    fn set(&mut self, timer: Timer) {
        self.1.timers.insert((self.0, timer));
    }
    fn cancel(&mut self, timer: Timer) {
        self.1.timers.remove(&(self.0, timer));
    }
    fn tell(&mut self, timer: Option<Timer>) {
        let sum = *self.sum();
        self.1.told.push((self.0, timer, sum, self.1.watermark, self.1.now));
    }
}

impl Model {
    fn fire(&mut self, due: impl Fn(&Model, Timer) -> Option<Timestamp>) -> bool {
        let first = self
            .timers
            .iter()
            .filter_map(|&(key, timer)| due(self, timer).map(|time| (time, hash_of(&key), key, timer)))
            .min();
        let Some((_, _, key, timer)) = first else { return false };
        self.timers.remove(&(key, timer));
        on_timer(timer, &mut OfKey(key, self));
        true
    }

    fn fire_event(&mut self) {
        while self.fire(|model, timer| match timer {
            Timer::Event(time) if time <= model.watermark => Some(time),
            _ => None,
        }) {}
    }

    fn fire_processing(&mut self) {
        while self.fire(|model, timer| match timer {
            Timer::Processing(time) if time <= model.now => Some(time),
            _ => None,
        }) {
            self.fire_event();
        }
    }
}

/// What the model emits for a bounded input.
pub(crate) fn expected(events: &[Event<Asked>]) -> Vec<Told> {
    let mut model = Model {
        sums: BTreeMap::new(),
        timers: BTreeSet::new(),
        watermark: Timestamp::MIN,
        now: Timestamp::MIN,
        told: Vec::new(),
    };
    for event in events {
        match event {
            Event::Row((key, ask)) => {
                on_row(*ask, &mut OfKey(*key, &mut model));
                model.fire_event();
            }
            Event::Watermark(time) => {
                model.watermark = *time;
                model.fire_event();
            }
            Event::Time(time) => {
                model.now = *time;
                model.fire_processing();
            }
            _ => {}
        }
    }
    model.watermark = Timestamp::MAX;
    model.fire_event();
    model.told
}

/// Random input for the script, with timers around both times.
pub(crate) fn asked(length: usize) -> impl Strategy<Value = Vec<Event<Asked>>> {
    crate::common::events(length, |near, (key, distance, choice)| {
        let time = Timestamp(near + distance / 4);
        let ask = match choice % 8 {
            0 | 1 => Ask::Add(i64::from(choice)),
            2 | 3 => Ask::Set(Timer::Event(time)),
            4 => Ask::Set(Timer::Processing(time)),
            5 => Ask::Cancel(Timer::Event(time)),
            6 => Ask::Cancel(Timer::Processing(time)),
            _ => Ask::Clear,
        };
        (key, ask)
    })
}
