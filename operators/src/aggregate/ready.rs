//! The usual aggregates over a value that a function reads from each row. All of them can be merged.

use super::Aggregate;
use crate::key::Value;
use crate::time::Timestamp;
use std::cmp::Ordering;
use std::fmt;
use std::ops::AddAssign;

/// The sum of what the function reads, from `V::default()` on. A sum that does not fit is what `+=` of its
/// type makes of it: read into a wider type where that can happen.
#[derive(Clone)]
pub struct Sum<F>(pub F);

impl<T, V, F> Aggregate<T> for Sum<F>
where
    V: Value + Default + AddAssign,
    F: Fn(&T) -> V + Clone + Send + 'static,
{
    type State = V;
    type Out = V;
    const MERGES: bool = true;

    fn init(&self) -> V {
        V::default()
    }
    #[inline]
    fn add(&self, state: &mut V, row: T) {
        *state += (self.0)(&row);
    }
    fn result(&self, state: &V) -> V {
        state.clone()
    }
    fn merge(&self, state: &mut V, other: &V) {
        *state += other.clone();
    }
}

/// The mean of what the function reads, as `f64`.
#[derive(Clone)]
pub struct Average<F>(pub F);

impl<T, F: Fn(&T) -> f64 + Clone + Send + 'static> Aggregate<T> for Average<F> {
    /// Rows and their sum.
    type State = (u64, f64);
    type Out = f64;
    const MERGES: bool = true;

    fn init(&self) -> (u64, f64) {
        (0, 0.0)
    }
    #[inline]
    fn add(&self, (rows, sum): &mut (u64, f64), row: T) {
        *rows += 1;
        *sum += (self.0)(&row);
    }
    fn result(&self, (rows, sum): &(u64, f64)) -> f64 {
        sum / *rows as f64
    }
    fn merge(&self, state: &mut (u64, f64), other: &(u64, f64)) {
        state.0 += other.0;
        state.1 += other.1;
    }
}

/// Whether the new value takes the place of the held one. A value that cannot be compared, such as NaN,
/// gives way to every other.
fn replaces<V: PartialOrd>(new: &V, held: &V, wanted: Ordering) -> bool {
    match new.partial_cmp(held) {
        Some(order) => order == wanted,
        None => held.partial_cmp(held).is_none(),
    }
}

macro_rules! extreme {
    ($(#[$doc:meta])* $name:ident, $wanted:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name<F>(pub F);

        impl<T, V, F> Aggregate<T> for $name<F>
        where
            V: Value + PartialOrd,
            F: Fn(&T) -> V + Clone + Send + 'static,
        {
            type State = Option<V>;
            type Out = V;
            const MERGES: bool = true;

            fn init(&self) -> Option<V> {
                None
            }
            #[inline]
            fn add(&self, state: &mut Option<V>, row: T) {
                let value = (self.0)(&row);
                if state.as_ref().is_none_or(|held| replaces(&value, held, $wanted)) {
                    *state = Some(value);
                }
            }
            fn result(&self, state: &Option<V>) -> V {
                state.clone().expect("invariant: a result is asked for after a row was added")
            }
            fn merge(&self, state: &mut Option<V>, other: &Option<V>) {
                if let Some(value) = other
                    && state.as_ref().is_none_or(|held| replaces(value, held, $wanted))
                {
                    *state = Some(value.clone());
                }
            }
        }
    };
}

extreme! {
    /// The least of what the function reads; of equal ones the first. NaN only if there is nothing else.
    Min, Ordering::Less
}
extreme! {
    /// The largest of what the function reads; of equal ones the first. NaN only if there is nothing else.
    Max, Ordering::Greater
}

macro_rules! by_event_time {
    ($(#[$doc:meta])* $name:ident, $takes:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name<E, F> {
            event_time: E,
            value: F,
        }

        impl<E, F> $name<E, F> {
            /// `event_time` and `value` read a row's time and what is kept of it.
            pub fn new(event_time: E, value: F) -> Self {
                $name { event_time, value }
            }
        }

        impl<E, F> fmt::Debug for $name<E, F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl<T, V, E, F> Aggregate<T> for $name<E, F>
        where
            V: Value,
            E: Fn(&T) -> Timestamp + Clone + Send + 'static,
            F: Fn(&T) -> V + Clone + Send + 'static,
        {
            type State = Option<(Timestamp, V)>;
            type Out = V;
            const MERGES: bool = true;

            fn init(&self) -> Option<(Timestamp, V)> {
                None
            }
            fn add(&self, state: &mut Option<(Timestamp, V)>, row: T) {
                let time = (self.event_time)(&row);
                if state.as_ref().is_none_or(|(held, _)| $takes(time, *held)) {
                    *state = Some((time, (self.value)(&row)));
                }
            }
            fn result(&self, state: &Option<(Timestamp, V)>) -> V {
                let held = state.as_ref().expect("invariant: a result is asked for after a row was added");
                held.1.clone()
            }
            fn merge(&self, state: &mut Option<(Timestamp, V)>, other: &Option<(Timestamp, V)>) {
                if let Some((time, value)) = other
                    && state.as_ref().is_none_or(|(held, _)| $takes(*time, *held))
                {
                    *state = Some((*time, value.clone()));
                }
            }
        }
    };
}

by_event_time! {
    /// What the function reads from the row with the earliest event time; of equal times the first to come.
    First, |new: Timestamp, held: Timestamp| new < held
}
by_event_time! {
    /// What the function reads from the row with the latest event time; of equal times the last to come.
    Last, |new: Timestamp, held: Timestamp| new >= held
}

/// All rows. In the order of arrival where a window has a state of its own; where windows share panes or
/// sessions grow together, in that order within each part, and the parts in order of event time.
///
/// # Cost
/// State and every result grow with the rows of a window.
#[derive(Debug, Clone, Copy, Default)]
pub struct Collect;

impl<T: Value> Aggregate<T> for Collect {
    type State = Vec<T>;
    type Out = Vec<T>;
    const MERGES: bool = true;

    fn init(&self) -> Vec<T> {
        Vec::new()
    }
    fn add(&self, state: &mut Vec<T>, row: T) {
        state.push(row);
    }
    fn result(&self, state: &Vec<T>) -> Vec<T> {
        state.clone()
    }
    fn merge(&self, state: &mut Vec<T>, other: &Vec<T>) {
        state.extend_from_slice(other);
    }
}

macro_rules! named {
    ($($name:ident),*) => {
        $(impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        })*
    };
}

named!(Sum, Average, Min, Max);

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (i64, f64);

    /// The result of all rows in one state, having checked that every split into two merged states agrees.
    fn result<A: Aggregate<Row>>(aggregate: &A, rows: &[Row]) -> A::Out
    where
        A::Out: PartialEq + fmt::Debug,
    {
        let fold = |rows: &[Row]| {
            let mut state = aggregate.init();
            rows.iter().for_each(|row| aggregate.add(&mut state, *row));
            state
        };
        let whole = aggregate.result(&fold(rows));
        for at in 0..=rows.len() {
            let mut state = fold(&rows[..at]);
            aggregate.merge(&mut state, &fold(&rows[at..]));
            assert_eq!(aggregate.result(&state), whole, "split at {at}");
        }
        whole
    }

    #[test]
    fn results_are_those_of_all_rows_however_they_are_split() {
        let rows = [(3, 0.5), (1, 2.0), (3, 4.0), (1, -1.5), (2, 0.0)];
        let time = |row: &Row| Timestamp(row.0);
        let value = |row: &Row| row.1;
        assert_eq!(result(&crate::aggregate::Count, &rows), 5);
        assert_eq!(result(&Sum(|row: &Row| row.0), &rows), 10);
        assert_eq!(result(&Average(value), &rows), 1.0);
        assert_eq!(result(&Min(value), &rows), -1.5);
        assert_eq!(result(&Max(value), &rows), 4.0);
        assert_eq!(result(&First::new(time, value), &rows), 2.0, "of equal times the first to come");
        assert_eq!(result(&Last::new(time, value), &rows), 4.0, "of equal times the last to come");
        assert_eq!(result(&Collect, &rows), rows);
    }

    #[test]
    fn a_value_that_cannot_be_compared_gives_way() {
        let value = |row: &Row| row.1;
        for rows in [[(0, f64::NAN), (0, 1.0), (0, 2.0)], [(0, 2.0), (0, f64::NAN), (0, 1.0)]] {
            assert_eq!(result(&Min(value), &rows), 1.0);
            assert_eq!(result(&Max(value), &rows), 2.0);
        }
    }
}
