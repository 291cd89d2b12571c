//! The events of the auction house as three tables of Arrow.
//!
//! What an event says comes from the crate `nexmark` and depends on the seed and the event's number alone; when
//! it happens is the run's own: its intended send time. Of 50 events one is a person, three are auctions and 46
//! are bids, always in that order, so that the number of an event follows from its table and row.

use crate::error::{Error, Result};
use arrow::array::{
    ArrayRef, Int64Array, Int64Builder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::Event;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The event time of the first event, in microseconds: 2015-07-15, the base time of Apache Beam's generator.
pub(super) const BASE_US: i64 = 1_436_918_400_000_000;
/// Events of one round: a person, three auctions, 46 bids.
const ROUND: u64 = 50;
/// Events between two seeds: rounds enough that people and auctions of hundreds begin anew.
const SEED_EVENTS: usize = 50_000_000;
/// The most events of a run: their texts have to fit into columns of 2 GiB.
const EVENTS: u64 = 16_000_000;
/// Seeds before events repeat.
const SEEDS: u64 = 1 << 20;

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Table {
    Person,
    Auction,
    Bid,
}

impl Table {
    pub(super) const ALL: [Table; 3] = [Table::Person, Table::Auction, Table::Bid];

    /// What SQL calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Person => "person",
            Table::Auction => "auction",
            Table::Bid => "bid",
        }
    }

    /// The place of its first event in a round, and how many it has there.
    fn share(self) -> (u64, u64) {
        match self {
            Table::Person => (0, 1),
            Table::Auction => (1, 3),
            Table::Bid => (4, 46),
        }
    }

    /// The number of the event in this row.
    pub(super) fn event_of(self, row: u64) -> u64 {
        let (first, count) = self.share();
        row / count * ROUND + first + row % count
    }

    /// How many of the first `events` events are in this table.
    pub(super) fn rows_of(self, events: u64) -> u64 {
        let (first, count) = self.share();
        events / ROUND * count + (events % ROUND).saturating_sub(first).min(count)
    }

    /// The columns. Prices are in cents; `date_time` is the event time, an instant.
    pub(super) fn schema(self) -> SchemaRef {
        let number = |name: &str| Field::new(name, DataType::Int64, false);
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let time = |name: &str| {
            Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)
        };
        Arc::new(Schema::new(match self {
            Table::Person => vec![
                number("id"),
                text("name"),
                text("email_address"),
                text("credit_card"),
                text("city"),
                text("state"),
                time("date_time"),
                text("extra"),
            ],
            Table::Auction => vec![
                number("id"),
                text("item_name"),
                text("description"),
                number("initial_bid"),
                number("reserve"),
                time("date_time"),
                time("expires"),
                number("seller"),
                number("category"),
                text("extra"),
            ],
            Table::Bid => vec![
                number("auction"),
                number("bidder"),
                number("price"),
                text("channel"),
                text("url"),
                time("date_time"),
                text("extra"),
            ],
        }))
    }
}

/// The events of a run, complete before it begins.
#[derive(Debug)]
pub(super) struct Events {
    /// When each event is to be sent, in nanoseconds since the run began, in order.
    intended_ns: Vec<u64>,
    tables: HashMap<Table, RecordBatch>,
}

impl Events {
    /// As many events as there are intended times, which rise.
    ///
    /// # Errors
    /// If there are too many.
    pub(super) fn new(seed: u64, intended_ns: Vec<u64>) -> Result<Arc<Events>> {
        let content = content(seed, intended_ns.len() as u64)?;
        let timed = |table: Table| Ok((table, content.timed(table, &intended_ns)?));
        let tables = Table::ALL.into_iter().map(timed).collect::<Result<_>>()?;
        Ok(Arc::new(Events { intended_ns, tables }))
    }

    /// How many events there are.
    pub(super) fn count(&self) -> u64 {
        self.intended_ns.len() as u64
    }

    /// The rows of a table, in the order of their event times.
    pub(super) fn table(&self, table: Table) -> &RecordBatch {
        &self.tables[&table]
    }

    /// When an event is to be sent.
    pub(super) fn intended_ns(&self, event: u64) -> u64 {
        self.intended_ns[event as usize]
    }

    /// How many events are due by then.
    pub(super) fn due_by(&self, now_ns: u64) -> u64 {
        self.intended_ns.partition_point(|&intended_ns| intended_ns <= now_ns) as u64
    }

    /// The first event at this event time or after it, if there is one. Microseconds.
    pub(super) fn first_at(&self, event_time_us: i64) -> Option<u64> {
        let before = |&intended_ns: &u64| event_time_us_of(intended_ns) < event_time_us;
        let first = self.intended_ns.partition_point(before) as u64;
        (first < self.count()).then_some(first)
    }

    /// The event by which every one of `parts` parts of a table has come to this event time, when row `n` is in
    /// part `n % parts`. Microseconds.
    pub(super) fn reached_by(&self, table: Table, parts: u64, event_time_us: i64) -> Option<u64> {
        let row = table.rows_of(self.first_at(event_time_us)?) + parts.saturating_sub(1);
        let event = table.event_of(row);
        (event < self.count()).then_some(event)
    }
}

fn event_time_us_of(intended_ns: u64) -> i64 {
    BASE_US + (intended_ns / 1000) as i64
}

/// What events say, without their times; made once for the process, since generating takes longer than a run.
///
/// # Errors
/// If there are too many.
fn content(seed: u64, events: u64) -> Result<Arc<Content>> {
    static MADE: Mutex<Option<(u64, Arc<Content>)>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, content)) = made.as_ref()
        && (*of, events <= content.events) == (seed, true)
    {
        return Ok(Arc::clone(content));
    }
    let content = Arc::new(Content::generate(seed, events)?);
    *made = Some((seed, Arc::clone(&content)));
    Ok(content)
}

/// Columns without times: `date_time` is left out, and `expires` is how long an auction is open.
#[derive(Debug)]
struct Content {
    events: u64,
    columns: HashMap<Table, Vec<ArrayRef>>,
    /// In microseconds.
    open_for: Int64Array,
}

impl Content {
    fn generate(seed: u64, events: u64) -> Result<Content> {
        if events > EVENTS {
            return Err(Error::Input(format!(
                "a run of NEXMark has {EVENTS} events at most, and {events} were asked for: lower the rate or the \
                 duration"
            )));
        }
        let config = NexmarkConfig {
            first_event_id: (seed % SEEDS) as usize * SEED_EVENTS,
            // Only differences of the generator's own times are used.
            base_time: 0,
            ..NexmarkConfig::default()
        };
        let (mut people, mut auctions, mut bids) = (People::default(), Auctions::default(), Bids::default());
        for event in EventGenerator::new(config).take(events as usize) {
            match event {
                Event::Person(person) => people.push(&person),
                Event::Auction(auction) => auctions.push(&auction),
                Event::Bid(bid) => bids.push(&bid),
            }
        }
        let open_for = auctions.open_for.finish();
        let columns = [
            (Table::Person, people.finish()),
            (Table::Auction, auctions.finish()),
            (Table::Bid, bids.finish()),
        ];
        Ok(Content { events, columns: columns.into(), open_for })
    }

    /// The rows of a table that are among the first events, with their times.
    fn timed(&self, table: Table, intended_ns: &[u64]) -> Result<RecordBatch> {
        let rows = table.rows_of(intended_ns.len() as u64);
        let times: Vec<i64> =
            (0..rows).map(|row| event_time_us_of(intended_ns[table.event_of(row) as usize])).collect();
        let column = |times: Vec<i64>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
        };
        let open_for = self.open_for.values().iter();
        let expires = times.iter().zip(open_for).map(|(time, open_for)| time + open_for).collect();
        let mut made = self.columns[&table].iter().map(|column| column.slice(0, rows as usize));
        let schema = table.schema();
        let mut columns = Vec::with_capacity(schema.fields().len());
        let (date_time, expires) = (column(times), column(expires));
        for field in schema.fields() {
            columns.push(match field.name().as_str() {
                "date_time" => Arc::clone(&date_time),
                "expires" => Arc::clone(&expires),
                _ => made.next().expect("invariant: there is a column for each field that is no time"),
            });
        }
        RecordBatch::try_new(schema, columns)
            .map_err(|error| Error::Input(format!("the table `{}` cannot be made: {error}", table.name())))
    }
}

/// The columns of a table as it is filled, texts and numbers by name.
macro_rules! columns {
    ($name:ident of $event:ty { $($column:ident: $kind:ident),+ $(,)? } $(and $more:ident)?) => {
        #[derive(Default)]
        struct $name {
            $($column: columns!(@builder $kind),)+
            $($more: Int64Builder,)?
        }

        impl $name {
            fn push(&mut self, event: &$event) {
                $(columns!(@push $kind, self.$column, event.$column);)+
                $(self.$more.append_value((event.expires as i64 - event.date_time as i64) * 1000);)?
            }

            fn finish(mut self) -> Vec<ArrayRef> {
                vec![$(Arc::new(columns!(@array $kind, self.$column))),+]
            }
        }
    };
    (@builder text) => { StringBuilder };
    (@builder number) => { Int64Builder };
    (@push text, $builder:expr, $value:expr) => { $builder.append_value(&$value) };
    (@push number, $builder:expr, $value:expr) => { $builder.append_value($value as i64) };
    (@array text, $builder:expr) => { StringArray::from($builder.finish()) };
    (@array number, $builder:expr) => { Int64Array::from($builder.finish()) };
}

columns!(People of nexmark::event::Person {
    id: number, name: text, email_address: text, credit_card: text, city: text, state: text, extra: text,
});
columns!(Auctions of nexmark::event::Auction {
    id: number, item_name: text, description: text, initial_bid: number, reserve: number, seller: number,
    category: number, extra: text,
} and open_for);
columns!(Bids of nexmark::event::Bid {
    auction: number, bidder: number, price: number, channel: text, url: text, extra: text,
});

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    fn events(seed: u64, count: u64) -> Arc<Events> {
        Events::new(seed, (0..count).map(|event| event * 250_000).collect()).unwrap()
    }

    #[test]
    fn tables_share_the_events_in_order() {
        for count in [0, 1, 2, 4, 5, 49, 50, 51, 1234] {
            let events = events(1, count);
            let rows: usize = Table::ALL.iter().map(|table| events.table(*table).num_rows()).sum();
            assert_eq!(rows as u64, count);
        }
        let mut numbers: Vec<u64> = Table::ALL
            .iter()
            .flat_map(|table| (0..table.rows_of(1234)).map(|row| table.event_of(row)))
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1234).collect::<Vec<_>>());
    }

    #[test]
    fn a_seed_has_its_events_however_many_are_made() {
        let (few, many, other) = (events(7, 500), events(7, 5000), events(8, 500));
        for table in Table::ALL {
            let same = many.table(table).slice(0, few.table(table).num_rows());
            assert_eq!(*few.table(table), same, "{}", table.name());
            assert_ne!(few.table(table), other.table(table), "{}", table.name());
        }
    }

    #[test]
    fn the_event_time_is_the_intended_time() {
        let events = events(1, 1000);
        for table in Table::ALL {
            let times = events.table(table).column_by_name("date_time").unwrap();
            let times = times.as_primitive::<TimestampMicrosecondType>();
            for row in 0..times.len() {
                let event = table.event_of(row as u64);
                assert_eq!(times.value(row), BASE_US + event as i64 * 250);
                assert_eq!(events.first_at(times.value(row)), Some(event));
                assert_eq!(events.due_by(events.intended_ns(event)), event + 1);
            }
        }
        assert_eq!(events.first_at(BASE_US + 1), Some(1), "the next event after a time between two");
        assert_eq!(events.first_at(BASE_US + 250_000), None);
    }

    #[test]
    fn a_time_is_reached_when_every_part_has_reached_it() {
        let events = events(1, 1000);
        // Of bids, the first rows at or after 1 ms are those of events 4, 5, 6.
        assert_eq!(events.reached_by(Table::Bid, 1, BASE_US + 1000), Some(4));
        assert_eq!(events.reached_by(Table::Bid, 3, BASE_US + 1000), Some(6));
        assert_eq!(events.reached_by(Table::Person, 2, BASE_US + 1000), Some(100));
        assert_eq!(events.reached_by(Table::Person, 1, BASE_US + 249_750), None);
    }

    #[test]
    fn the_events_fit_together() {
        let events = events(3, 10_000);
        let column = |table: Table, name: &str| {
            let column = events.table(table).column_by_name(name).unwrap();
            column.as_primitive::<Int64Type>().values().to_vec()
        };
        let ids = column(Table::Auction, "id");
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "auctions are numbered");
        let known = |auction: &&i64| ids.contains(auction);
        let bids = column(Table::Bid, "auction");
        assert!(
            bids.iter().filter(known).count() * 2 > bids.len(),
            "most bids are for auctions that were opened"
        );
        let expires = events.table(Table::Auction).column_by_name("expires").unwrap();
        let opened = events.table(Table::Auction).column_by_name("date_time").unwrap();
        let (opened, expires) = (
            opened.as_primitive::<TimestampMicrosecondType>(),
            expires.as_primitive::<TimestampMicrosecondType>(),
        );
        assert!(opened.values().iter().zip(expires.values()).all(|(opened, expires)| opened < expires));
    }
}
