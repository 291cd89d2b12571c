//! Random out-of-order input, shared by the tests.

use lotic_operators::Timestamp;
use lotic_operators::testing::Event;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A row of the tests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Row {
    /// One of a few keys.
    pub(crate) key: u8,
    /// Its event time.
    pub(crate) time: Timestamp,
    /// What is aggregated.
    pub(crate) value: i64,
}

/// Steps of a stream whose watermark moves on by up to 40 at a time; `row` is made of the watermark so far
/// (0 before the first) and random numbers.
pub(crate) fn events<T: Clone + std::fmt::Debug>(
    length: usize,
    row: impl Fn(i64, (u8, i64, u8)) -> T,
) -> impl Strategy<Value = Vec<Event<T>>> {
    let step = (0u8..20, (0u8..8, -30i64..70, any::<u8>()));
    proptest::collection::vec(step, 0..length).prop_map(move |steps| {
        let (mut watermark, mut now) = (0, 0);
        let mut events = Vec::with_capacity(steps.len());
        for (kind, numbers) in steps {
            events.push(match kind {
                0..14 => Event::Row(row(watermark, numbers)),
                14..16 => {
                    watermark += i64::from(numbers.2) * 40 / 255;
                    Event::Watermark(Timestamp(watermark))
                }
                16..18 => {
                    now += i64::from(numbers.2) * 40 / 255;
                    Event::Time(Timestamp(now))
                }
                _ => Event::Marker,
            });
        }
        events
    })
}

/// Rows around the watermark, some of them behind it.
pub(crate) fn rows(length: usize) -> impl Strategy<Value = Vec<Event<Row>>> {
    events(length, |watermark, (key, distance, value)| Row {
        key,
        time: Timestamp(watermark + distance),
        value: i64::from(value),
    })
}
