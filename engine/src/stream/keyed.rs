//! Streams split by key, and their windows.

use super::Stream;
use super::piped::Piped;
use crate::plan::graph::PartitionFactory;
use lotic_operators::aggregate::{Aggregate, Count, Fold, MapWithState, Reduce, RunningAggregate};
use lotic_operators::interval_join::{IntervalJoin, JoinColumns, JoinRange};
use lotic_operators::join::KeyedJoin;
use lotic_operators::key::{Key, Value, hash_of, owner_of};
use lotic_operators::process::{KeyedProcess, Process};
use lotic_operators::window::{self, CountWindow, Window, Windowed, WindowedOrLate};
use lotic_operators::{Operator, Rows, Side, Timestamp, TwoInput};
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

/// A stream split by key. Rows of equal keys are processed in order by the same instance, which alone holds
/// the key's state.
#[must_use = "a stream does nothing until it ends in a sink and is started"]
pub struct KeyedStream<T: Send + 'static, K, F> {
    pub(super) piped: Piped<Rows<T>>,
    pub(super) key: F,
    keys: PhantomData<fn() -> K>,
}

impl<T: Send + 'static, K, F> std::fmt::Debug for KeyedStream<T, K, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyedStream({:?})", self.piped)
    }
}

/// Sends each row to the instance that owns its key.
pub(super) fn by_key<T, K, F>(key: F) -> PartitionFactory<Rows<T>>
where
    T: Send + 'static,
    K: Key,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
{
    Arc::new(move || {
        let key = key.clone();
        Box::new(move |rows, owners| {
            let parallelism = owners.len();
            for row in rows {
                owners[owner_of(hash_of(&key(&row)), parallelism)].push(row);
            }
        })
    })
}

impl<T, K, F> KeyedStream<T, K, F>
where
    T: Send + 'static,
    K: Key,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
{
    pub(crate) fn new(piped: Piped<Rows<T>>, key: F) -> Self {
        KeyedStream { piped, key, keys: PhantomData }
    }

    /// The running aggregation: each row updates its key's state and emits `(key, result so far)`.
    pub fn aggregate<A: Aggregate<T>>(self, aggregate: A) -> Stream<(K, A::Out)> {
        let key = self.key;
        Stream::new(self.piped.operator("aggregate", false, Some(by_key(key.clone())), move |_| {
            Box::new(RunningAggregate::new(key.clone(), aggregate.clone()))
        }))
    }

    /// The running count: each row emits `(key, rows so far)`.
    pub fn count(self) -> Stream<(K, u64)> {
        self.aggregate(Count)
    }

    /// Combines the rows of a key two by two: each row emits `(key, combined so far)`.
    pub fn reduce<R>(self, combine: R) -> Stream<(K, T)>
    where
        T: Value,
        R: Fn(T, T) -> T + Clone + Send + 'static,
    {
        self.aggregate(Reduce(combine))
    }

    /// Folds the rows of a key into a state: each row emits `(key, state so far)`.
    pub fn fold<S, G>(self, init: S, add: G) -> Stream<(K, S)>
    where
        S: Value,
        G: Fn(&mut S, T) + Clone + Send + 'static,
    {
        self.aggregate(Fold::new(init, add))
    }

    /// The stateful map: each row changes its key's state, at first the default, and emits what `update`
    /// returns.
    pub fn map_with_state<S, U, G>(self, update: G) -> Stream<U>
    where
        S: Value + Default,
        U: Send + 'static,
        G: FnMut(&mut S, T) -> U + Clone + Send + 'static,
    {
        let key = self.key;
        Stream::new(self.piped.operator("map-with-state", false, Some(by_key(key.clone())), move |_| {
            Box::new(MapWithState::new(key.clone(), update.clone()))
        }))
    }

    /// Runs a process function: arbitrary state and timers for each key.
    pub fn process<P: Process<K, T>>(self, process: P) -> Stream<P::Out> {
        let key = self.key;
        Stream::new(self.piped.operator("process", false, Some(by_key(key.clone())), move |_| {
            Box::new(KeyedProcess::new(key.clone(), process.clone()))
        }))
    }

    /// Cuts the stream into windows of event time, tumbling, sliding or session; aggregate them next. See
    /// [`Window`] for their shapes, the allowed lateness and when they are emitted.
    ///
    /// ```
    /// use lotic::operators::aggregate::Max;
    /// use lotic::operators::window::{Emit, Window};
    /// use lotic::{Session, Timestamp, Trigger};
    /// use std::time::Duration;
    ///
    /// #[derive(Clone)]
    /// struct Bid { item: u32, price: u64, at: Timestamp }
    ///
    /// let bid = |item, price, second: i64| Bid { item, price, at: Timestamp::from_millis(second * 1000) };
    /// let session = Session::builder().get_or_create()?;
    /// let bids = session.rows(vec![bid(1, 10, 1), bid(1, 30, 7), bid(1, 20, 12)]);
    /// let ten_seconds_every_five = Window::sliding(
    ///     Duration::from_secs(10),
    ///     Duration::from_secs(5),
    ///     |bid: &Bid| bid.at,
    /// );
    /// let (query, highest) = bids
    ///     .with_watermark(|bid| bid.at, Duration::from_secs(2))
    ///     .key_by(|bid| bid.item)
    ///     .window(ten_seconds_every_five.emit(Emit::OnTime).allowed_lateness(Duration::from_secs(60)))
    ///     .aggregate(Max(|bid: &Bid| bid.price))
    ///     .egress("highest");
    /// query.start(Trigger::continuous("100 ms"))?.await_termination()?;
    /// let highest: Vec<_> = highest.iter().map(|row| (row.start.0 / 1_000_000, row.value)).collect();
    /// assert_eq!(highest, [(-5, 10), (0, 30), (5, 30), (10, 20)]);
    /// # Ok::<(), lotic::Error>(())
    /// ```
    pub fn window<E>(self, window: Window<T, E>) -> WindowedStream<T, K, F, E>
    where
        E: FnMut(&T) -> Timestamp + Clone + Send + 'static,
    {
        WindowedStream { keyed: self, window }
    }

    /// Aggregates every `size` rows of a key.
    pub fn count_window<A: Aggregate<T>>(self, size: NonZeroU64, aggregate: A) -> Stream<(K, A::Out)> {
        let key = self.key;
        Stream::new(self.piped.operator("count-window", false, Some(by_key(key.clone())), move |_| {
            Box::new(CountWindow::new(key.clone(), size, aggregate.clone()))
        }))
    }

    /// Every row meets every row of the same key in the other stream, once. State grows with both inputs.
    pub fn join<R, G, J, O>(self, other: KeyedStream<R, K, G>, join: J) -> Stream<O>
    where
        T: Value,
        R: Value,
        O: Send + 'static,
        G: Fn(&R) -> K + Clone + Send + Sync + 'static,
        J: FnMut(&T, &R) -> O + Clone + Send + 'static,
    {
        let (left, right) = (self.key, other.key);
        let partitions = (by_key(left.clone()), by_key(right.clone()));
        let wraps = (Side::Left as fn(Rows<T>) -> _, Side::Right as fn(Rows<R>) -> _);
        Stream::new(self.piped.two_inputs(other.piped, "join", wraps, partitions, move |_| {
            Box::new(TwoInput(KeyedJoin::new(left.clone(), right.clone(), join.clone())))
        }))
    }

    /// Every row meets every row of the same key in the other stream whose event time is near its own, once: as
    /// Flink's interval join. `times` read the event times of the left and the right rows. State is bounded as
    /// long as both streams have watermarks; rows behind them are dropped and counted.
    ///
    /// ```
    /// use lotic::operators::interval_join::JoinRange;
    /// use lotic::{Session, Timestamp, Trigger};
    /// use std::time::Duration;
    ///
    /// let seconds = |row: &(u32, i64)| Timestamp::from_millis(row.1 * 1000);
    /// let session = Session::builder().get_or_create()?;
    /// let delay = Duration::from_secs(1);
    /// let orders = session.rows(vec![(1, 10), (2, 20)]).with_watermark(seconds, delay).key_by(|order| order.0);
    /// let payments = session.rows(vec![(1, 12), (2, 45)]).with_watermark(seconds, delay).key_by(|payment| payment.0);
    /// let soon = JoinRange::after(Duration::ZERO, Duration::from_secs(10));
    /// let (query, paid) = orders
    ///     .interval_join(payments, soon, (seconds, seconds), |order, payment| (order.0, payment.1 - order.1))
    ///     .egress("paid");
    /// query.start(Trigger::continuous("100 ms"))?.await_termination()?;
    /// assert_eq!(paid.iter().collect::<Vec<_>>(), [(1, 2)]);
    /// # Ok::<(), lotic::Error>(())
    /// ```
    pub fn interval_join<R, G, EL, ER, J, O>(
        self,
        other: KeyedStream<R, K, G>,
        range: JoinRange,
        times: (EL, ER),
        join: J,
    ) -> Stream<O>
    where
        T: Value,
        R: Value,
        O: Send + 'static,
        G: Fn(&R) -> K + Clone + Send + Sync + 'static,
        EL: FnMut(&T) -> Timestamp + Clone + Send + 'static,
        ER: FnMut(&R) -> Timestamp + Clone + Send + 'static,
        J: FnMut(&T, &R) -> O + Clone + Send + 'static,
    {
        let partitions = (by_key(self.key.clone()), by_key(other.key.clone()));
        let (left_time, right_time) = times;
        let read = JoinColumns { left_key: self.key, right_key: other.key, left_time, right_time };
        let wraps = (Side::Left as fn(Rows<T>) -> _, Side::Right as fn(Rows<R>) -> _);
        let piped = self.piped.two_inputs(other.piped, "interval-join", wraps, partitions, move |_| {
            Box::new(TwoInput(IntervalJoin::new(range, read.clone(), join.clone())))
        });
        piped.describe(String::new(), range.to_string());
        Stream::new(piped)
    }

    /// Every row meets every row of the same key in the other stream that is in the same window of this size,
    /// once, as soon as both are there: as Flink's window join. See [`KeyedStream::interval_join`].
    ///
    /// # Panics
    /// If `size` is shorter than a microsecond.
    pub fn window_join<R, G, EL, ER, J, O>(
        self,
        other: KeyedStream<R, K, G>,
        size: Duration,
        times: (EL, ER),
        join: J,
    ) -> Stream<O>
    where
        T: Value,
        R: Value,
        O: Send + 'static,
        G: Fn(&R) -> K + Clone + Send + Sync + 'static,
        EL: FnMut(&T) -> Timestamp + Clone + Send + 'static,
        ER: FnMut(&R) -> Timestamp + Clone + Send + 'static,
        J: FnMut(&T, &R) -> O + Clone + Send + 'static,
    {
        self.interval_join(other, JoinRange::same_window(size), times, join)
    }
}

/// A keyed stream cut into windows.
#[must_use = "a stream does nothing until it ends in a sink and is started"]
pub struct WindowedStream<T: Send + 'static, K, F, E> {
    keyed: KeyedStream<T, K, F>,
    window: Window<T, E>,
}

impl<T: Send + 'static, K, F, E> std::fmt::Debug for WindowedStream<T, K, F, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WindowedStream({:?})", self.keyed)
    }
}

impl<T, K, F, E> WindowedStream<T, K, F, E>
where
    T: Send + 'static,
    K: Key,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    E: FnMut(&T) -> Timestamp + Clone + Send + 'static,
{
    /// Aggregates each window of each key. Late rows are dropped and counted in the query's progress.
    ///
    /// # Panics
    /// If these are sessions and the aggregate cannot be merged.
    pub fn aggregate<A: Aggregate<T>>(self, aggregate: A) -> Stream<Windowed<K, A::Out>> {
        let (key, window) = (self.keyed.key.clone(), self.window.clone());
        Stream::new(
            self.windows::<A, _>(move || window::aggregate(key.clone(), window.clone(), aggregate.clone())),
        )
    }

    /// As [`WindowedStream::aggregate`], and the late rows as a second stream, in the order in which they
    /// came. They are counted all the same. Both streams have to be used.
    ///
    /// # Panics
    /// As for [`WindowedStream::aggregate`].
    pub fn aggregate_and_late<A: Aggregate<T>>(
        self,
        aggregate: A,
    ) -> (Stream<Windowed<K, A::Out>>, Stream<T>) {
        let (key, window) = (self.keyed.key.clone(), self.window.clone());
        let both = Stream::new(self.windows::<A, _>(move || {
            window::aggregate_and_late(key.clone(), window.clone(), aggregate.clone())
        }));
        let (windows, late) = both.split(|row| matches!(row, WindowedOrLate::Windowed(_)));
        let windows = windows.flat_map(|row| match row {
            WindowedOrLate::Windowed(window) => Some(window),
            WindowedOrLate::Late(_) => None,
        });
        let late = late.flat_map(|row| match row {
            WindowedOrLate::Late(row) => Some(row),
            WindowedOrLate::Windowed(_) => None,
        });
        (windows, late)
    }

    /// Adds the operator that `make` builds for each instance.
    fn windows<A: Aggregate<T>, O: Send + 'static>(
        self,
        make: impl Fn() -> Box<dyn Operator<Rows<T>, Rows<O>>> + Send + 'static,
    ) -> Piped<Rows<O>> {
        self.window.assert_fits::<A>();
        let kind = format!("{}-window", self.window.name());
        let note = self.window.to_string();
        let piped = self.keyed.piped.operator(&kind, false, Some(by_key(self.keyed.key)), move |_| make());
        piped.describe(String::new(), note);
        piped
    }

    /// Combines the rows of each window of each key two by two; see [`Reduce`] for what sliding and session
    /// windows ask of the function.
    pub fn reduce<R>(self, combine: R) -> Stream<Windowed<K, T>>
    where
        T: Value,
        R: Fn(T, T) -> T + Clone + Send + 'static,
    {
        self.aggregate(Reduce(combine))
    }
}
