//! State with a time to live against a slow reference that keeps all that was ever written.

use lotic_operators::process::{
    Fields, KeyedProcess, ListState, MapState, Process, ProcessContext, Timer, Ttl, ValueState,
};
use lotic_operators::testing::{Event, OperatorHarness};
use lotic_operators::{Operator, Output, Progress, Result, Rows, Timestamp};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const LAST: Duration = Duration::from_micros(40);
const RECENT: Duration = Duration::from_micros(25);
const BY_ITEM: Duration = Duration::from_micros(60);

#[derive(Debug, Clone, Copy)]
enum Do {
    Look,
    SetLast(u8),
    TakeLast,
    Push(u8),
    Pop,
    Put(u8),
    Remove(u8),
    Clear,
    Timer(i64),
}

#[derive(Debug, Clone, Copy)]
struct Row {
    key: u8,
    what: Do,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    last: ValueState<u8>,
    recent: ListState<u8>,
    by_item: MapState<u8, u32>,
}

/// All that a row or a timer sees: key, last, recent, by item.
type Seen = (u8, Option<u8>, Vec<u8>, Vec<(u8, u32)>);

/// Does what rows say, and emits what it sees before.
#[derive(Debug, Clone)]
struct Script;

type Context<'a> = ProcessContext<'a, u8, State, Seen>;

fn look(context: &mut Context<'_>) {
    let key = *context.key();
    let state = context.state();
    let by_item = state.by_item.iter().map(|(item, count)| (*item, *count)).collect();
    let seen = (key, state.last.get().copied(), state.recent.iter().copied().collect(), by_item);
    context.emit(seen);
}

impl Process<u8, Row> for Script {
    type State = State;
    type Out = Seen;

    fn on_row(&mut self, row: Row, context: &mut Context<'_>) -> Result<()> {
        look(context);
        match row.what {
            Do::Look => {}
            Do::SetLast(value) => context.state().last.set(value),
            Do::TakeLast => drop(context.state().last.take()),
            Do::Push(value) => context.state().recent.push(value),
            Do::Pop => drop(context.state().recent.pop_front()),
            Do::Put(item) => context.state().by_item.update(item, |count| *count += 1),
            Do::Remove(item) => drop(context.state().by_item.remove(&item)),
            Do::Clear => context.clear(),
            Do::Timer(after) => {
                let time = Timestamp(context.watermark().0.max(0) + after);
                context.set_timer(Timer::Event(time));
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, context: &mut Context<'_>) -> Result<()> {
        look(context);
        Ok(())
    }

    fn expiring(&self, state: &mut State, fields: &mut Fields<'_>) {
        fields.field(&mut state.last, Ttl::event_time(LAST));
        fields.field(&mut state.recent, Ttl::processing_time(RECENT));
        fields.field(&mut state.by_item, Ttl::event_time(BY_ITEM));
    }
}

fn operator() -> KeyedProcess<Row, u8, Script, fn(&Row) -> u8> {
    KeyedProcess::new(|row: &Row| row.key, Script)
}

/// Of a value: what it is and when it expires; `None` before the first watermark, from which it then lives.
type Written<T> = (T, Option<Timestamp>);

#[derive(Debug, Default, Clone)]
struct Model {
    last: Option<Written<u8>>,
    recent: Vec<Written<u8>>,
    by_item: BTreeMap<u8, Written<u32>>,
    timers: Vec<Timestamp>,
}

/// How far time has come.
#[derive(Clone, Copy)]
struct Times {
    watermark: Timestamp,
    now: Timestamp,
}

fn expires(time: Timestamp, after: Duration) -> Option<Timestamp> {
    (time > Timestamp::MIN).then(|| time.plus(after))
}

impl Model {
    fn look(&mut self, key: u8, times: Times) -> Seen {
        let lives = |expires: &Option<Timestamp>, now: Timestamp| expires.is_none_or(|time| time > now);
        self.last = self.last.filter(|(_, expires)| lives(expires, times.watermark));
        self.recent.retain(|(_, expires)| lives(expires, times.now));
        self.by_item.retain(|_, (_, expires)| lives(expires, times.watermark));
        let by_item = self.by_item.iter().map(|(item, (count, _))| (*item, *count)).collect();
        let recent = self.recent.iter().map(|(value, _)| *value).collect();
        (key, self.last.map(|(value, _)| value), recent, by_item)
    }

    fn act(&mut self, what: Do, Times { watermark, now }: Times) {
        match what {
            Do::Look => {}
            Do::SetLast(value) => self.last = Some((value, expires(watermark, LAST))),
            Do::TakeLast => self.last = None,
            Do::Push(value) => self.recent.push((value, expires(now, RECENT))),
            Do::Pop => {
                if !self.recent.is_empty() {
                    self.recent.remove(0);
                }
            }
            Do::Put(item) => {
                let (count, time) = self.by_item.entry(item).or_insert((0, None));
                (*count, *time) = (*count + 1, expires(watermark, BY_ITEM));
            }
            Do::Remove(item) => drop(self.by_item.remove(&item)),
            Do::Clear => *self = Model { timers: std::mem::take(&mut self.timers), ..Model::default() },
            Do::Timer(after) => {
                let time = Timestamp(watermark.0.max(0) + after);
                if !self.timers.contains(&time) {
                    self.timers.push(time);
                }
            }
        }
    }

    /// The first watermark: what was written before lives from it on.
    fn begin_event_time(&mut self, time: Timestamp) {
        let last = self.last.iter_mut().map(|(_, expires)| (expires, LAST));
        let items = self.by_item.values_mut().map(|(_, expires)| (expires, BY_ITEM));
        last.chain(items).for_each(|(expires, after)| *expires = Some(time.plus(after)));
    }

    fn take_due(&mut self, watermark: Timestamp) -> Vec<Timestamp> {
        let due = self.timers.iter().filter(|time| **time <= watermark).copied().collect();
        self.timers.retain(|time| *time > watermark);
        due
    }
}

/// What every row and timer sees, filtered at each look from what was written.
fn reference(events: &[Event<Row>]) -> Vec<Seen> {
    let (mut models, mut seen): (BTreeMap<u8, Model>, Vec<Seen>) = Default::default();
    let mut times = Times { watermark: Timestamp::MIN, now: Timestamp::MIN };
    for event in events {
        match event {
            Event::Row(Row { key, what }) => {
                let model = models.entry(*key).or_default();
                seen.push(model.look(*key, times));
                model.act(*what, times);
            }
            Event::Watermark(time) => {
                if times.watermark == Timestamp::MIN {
                    models.values_mut().for_each(|model| model.begin_event_time(*time));
                }
                times.watermark = *time;
                for (key, model) in &mut models {
                    for _ in model.take_due(*time) {
                        seen.push(model.look(*key, times));
                    }
                }
            }
            Event::Time(time) => {
                if times.now == Timestamp::MIN {
                    let recent = models.values_mut().flat_map(|model| &mut model.recent);
                    recent.for_each(|(_, expires)| *expires = Some(time.plus(RECENT)));
                }
                times.now = *time;
            }
            _ => {}
        }
    }
    seen
}

fn what() -> impl Strategy<Value = Do> {
    prop_oneof![
        Just(Do::Look),
        (0u8..9).prop_map(Do::SetLast),
        Just(Do::TakeLast),
        (0u8..9).prop_map(Do::Push),
        Just(Do::Pop),
        (0u8..4).prop_map(Do::Put),
        (0u8..4).prop_map(Do::Put),
        (0u8..4).prop_map(Do::Remove),
        Just(Do::Clear),
        (1i64..80).prop_map(Do::Timer),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event<Row>>> {
    let step = prop_oneof![
        8 => (0u8..3, what()).prop_map(|(key, what)| (Some(Row { key, what }), 0, 0)),
        2 => (1i64..30).prop_map(|by| (None, by, 0)),
        2 => (1i64..30).prop_map(|by| (None, 0, by)),
        1 => Just((None, 0, 0)),
    ];
    proptest::collection::vec(step, 0..80).prop_map(|steps| {
        let (mut watermark, mut now) = (0, 0);
        let event = |(row, by, later): (Option<Row>, i64, i64)| match row {
            Some(row) => Event::Row(row),
            None if by > 0 => {
                watermark += by;
                Event::Watermark(Timestamp(watermark))
            }
            None if later > 0 => {
                now += later;
                Event::Time(Timestamp(now))
            }
            None => Event::Marker,
        };
        // The runtime knows the time from the beginning.
        std::iter::once(Event::Time(Timestamp(0))).chain(steps.into_iter().map(event)).collect()
    })
}

proptest! {
    #[test]
    fn rows_and_timers_see_what_has_not_expired(events in events()) {
        let mut got = OperatorHarness::new(operator).unordered().stopped().run(&events);
        let mut expected = reference(&events);
        got.sort();
        expected.sort();
        prop_assert_eq!(got, expected);
    }
}

#[test]
fn the_end_of_the_input_takes_nothing() {
    let rows = [Do::SetLast(1), Do::Timer(500)].map(|what| Event::Row(Row { key: 1, what }));
    let events: Vec<_> = std::iter::once(Event::Watermark(Timestamp(10))).chain(rows).collect();
    let seen = OperatorHarness::new(operator).run(&events);
    assert_eq!(seen.last(), Some(&(1, Some(1), vec![], vec![])));
}

#[test]
fn what_expires_takes_no_memory_though_its_key_is_never_seen_again() {
    let (mut operator, mut output) = (operator(), Output::default());
    output.set_now(Timestamp(0));
    let rows = (0..100).map(|key| Row { key, what: if key % 2 == 0 { Do::Put(1) } else { Do::Push(1) } });
    operator.process(&mut Rows::from(rows.collect::<Vec<_>>()), &mut output).unwrap();
    assert_eq!(operator.len(), 100);
    while operator.watermark(Timestamp(5), &mut output).unwrap() == Progress::Again {}
    assert_eq!(operator.len(), 100, "event time begins with the first watermark");
    while operator.watermark(Timestamp(65), &mut output).unwrap() == Progress::Again {}
    assert_eq!(operator.len(), 50);
    assert_eq!(output.take_wake_at(), Some(Timestamp(25)));
    output.set_now(Timestamp(25));
    while operator.tick(&mut output).unwrap() == Progress::Again {}
    assert_eq!(operator.len(), 0);
}
