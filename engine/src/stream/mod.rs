//! The typed door: `Stream<T>` over the user's own types.

mod keyed;
mod lookup;
mod piped;
mod sunk;

pub use keyed::{KeyedStream, WindowedStream};
pub use sunk::Query;

use crate::limits::EGRESS_ROWS;
use crate::session::Session;
use lotic_connectors::callback::{ForEach, ForEachBatch};
use lotic_connectors::egress::{self, Egress};
use lotic_connectors::{SinkFactory, SourceFactory};
use lotic_operators::key::Key;
use lotic_operators::map::{Filter, FlatMap, Inspect, Map};
use lotic_operators::watermark::AssignWatermark;
use lotic_operators::{Instance, Operator, Rows, Timestamp};
pub(crate) use piped::Piped;
use std::time::Duration;

/// An unbounded sequence of values of the user's own type.
///
/// A stream is a description: nothing runs before [`Query::start`]. Steps take the user's closures; each
/// parallel instance gets its own clone, so a closure may keep scratch state, but only what is held in keyed
/// operators is part of checkpoints.
///
/// The order of rows is kept from step to step, and within a key across an exchange.
#[derive(Debug)]
#[must_use = "a stream does nothing until it ends in a sink and is started"]
pub struct Stream<T: Send + 'static> {
    piped: Piped<Rows<T>>,
}

impl<T: Send + 'static> Stream<T> {
    fn new(piped: Piped<Rows<T>>) -> Self {
        Stream { piped }
    }

    #[cfg(feature = "sql")]
    pub(crate) fn from_piped(piped: Piped<Rows<T>>) -> Self {
        Stream::new(piped)
    }

    #[cfg(feature = "sql")]
    pub(crate) fn into_piped(self) -> Piped<Rows<T>> {
        self.piped
    }

    pub(crate) fn from_source(session: &Session, factory: Box<dyn SourceFactory<Rows<T>>>) -> Self {
        Stream::new(Piped::source(session, factory))
    }

    /// Turns each row into another.
    pub fn map<U, F>(self, f: F) -> Stream<U>
    where
        U: Send + 'static,
        F: FnMut(T) -> U + Clone + Send + 'static,
    {
        Stream::new(self.piped.operator("map", true, None, move |_| Box::new(Map(f.clone()))))
    }

    /// Keeps the rows for which `f` is true.
    pub fn filter<F>(self, f: F) -> Stream<T>
    where
        F: FnMut(&T) -> bool + Clone + Send + 'static,
    {
        Stream::new(self.piped.operator("filter", true, None, move |_| Box::new(Filter(f.clone()))))
    }

    /// Turns each row into any number of rows.
    pub fn flat_map<U, R, F>(self, f: F) -> Stream<U>
    where
        U: Send + 'static,
        R: IntoIterator<Item = U> + 'static,
        F: FnMut(T) -> R + Clone + Send + 'static,
    {
        Stream::new(self.piped.operator("flat-map", true, None, move |_| Box::new(FlatMap(f.clone()))))
    }

    /// Looks at each row as it passes.
    pub fn inspect<F>(self, f: F) -> Stream<T>
    where
        F: FnMut(&T) + Clone + Send + 'static,
    {
        Stream::new(self.piped.operator("inspect", true, None, move |_| Box::new(Inspect(f.clone()))))
    }

    /// Gives the stream event time: the watermark is the largest `event_time` seen minus `delay`.
    pub fn with_watermark<F>(self, event_time: F, delay: Duration) -> Stream<T>
    where
        F: FnMut(&T) -> Timestamp + Clone + Send + 'static,
    {
        Stream::new(self.piped.operator("watermark", false, None, move |_| {
            Box::new(AssignWatermark::new(event_time.clone(), delay))
        }))
    }

    /// Splits the stream by key: rows of equal keys are processed in order by the same instance.
    pub fn key_by<K, F>(self, key: F) -> KeyedStream<T, K, F>
    where
        K: Key,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self.piped, key)
    }

    /// Rows of both streams, each in its own order.
    pub fn union(self, other: Stream<T>) -> Stream<T> {
        Stream::new(self.piped.union(other.piped))
    }

    /// Rows for which `f` is true go to the first stream, the others to the second.
    pub fn split<F>(self, f: F) -> (Stream<T>, Stream<T>)
    where
        F: FnMut(&T) -> bool + Clone + Send + Sync + 'static,
    {
        let piped = self.piped.spread("split", move || {
            let mut f = f.clone();
            Box::new(move |rows, _| {
                let (yes, no): (Vec<T>, Vec<T>) = rows.partition(&mut f);
                vec![Rows::from(yes), Rows::from(no)]
            })
        });
        (Stream::new(piped.other()), Stream::new(piped))
    }

    /// Turns each row into another where that is possible; the second stream has the rows where it is not, with the
    /// reason: for dead letters. Each stream keeps the order of its rows. Both have to be used.
    ///
    /// ```
    /// use lotic::{Session, Trigger};
    /// let session = Session::builder().app_name("numbers").get_or_create()?;
    /// let lines = session.rows(vec!["7", "x", "8"]);
    /// let (numbers, wrong) = lines.try_map(|line| line.parse::<u64>());
    /// let (_numbers, numbers) = numbers.egress("numbers");
    /// let (query, wrong) = wrong.map(|(line, reason)| format!("{line}: {reason}")).egress("wrong");
    /// query.start(Trigger::continuous("10 ms"))?.await_termination()?;
    /// assert_eq!((numbers.recv(), numbers.recv(), numbers.recv()), (Some(7), Some(8), None));
    /// assert_eq!(wrong.recv().as_deref(), Some("x: invalid digit found in string"));
    /// # Ok::<(), lotic::Error>(())
    /// ```
    pub fn try_map<U, E, F>(self, f: F) -> (Stream<U>, Stream<(T, E)>)
    where
        U: Send + 'static,
        E: Send + 'static,
        F: FnMut(&T) -> Result<U, E> + Clone + Send + 'static,
    {
        let mut f = f;
        let tried = self.map(move |row| f(&row).map_err(|reason| (row, reason)));
        let (done, failed) = tried.split(Result::is_ok);
        (done.flat_map(Result::ok), failed.flat_map(Result::err))
    }

    /// The same rows twice.
    pub fn fork(self) -> (Stream<T>, Stream<T>)
    where
        T: Clone,
    {
        let piped = self.piped.spread("fork", || Box::new(|rows, edges| vec![rows; edges]));
        (Stream::new(piped.other()), Stream::new(piped))
    }

    /// Runs an operator of your own; `make` builds each instance. It keeps its state by whole instance: to
    /// restart with another parallelism, let its restore take what the instance owns.
    pub fn apply<U, P, F>(self, name: &str, mut make: F) -> Stream<U>
    where
        U: Send + 'static,
        P: Operator<Rows<T>, Rows<U>> + 'static,
        F: FnMut(Instance) -> P + Send + 'static,
    {
        Stream::new(self.piped.operator(name, false, None, move |instance| Box::new(make(instance))))
    }

    /// Gives the last step a stable id, under which its state stands in checkpoints. Without one it is made
    /// of the step's position, so a query whose steps change can only be resumed if the stateful ones have
    /// ids of their own.
    pub fn uid(self, uid: &str) -> Self {
        self.piped.set_uid(uid);
        self
    }

    /// Sets the number of instances of the last step.
    pub fn parallelism(self, parallelism: usize) -> Self {
        self.piped.set_parallelism(parallelism);
        self
    }

    /// Ends the stream in a sink.
    pub fn sink(self, factory: impl SinkFactory<Rows<T>> + 'static) -> Query {
        self.piped.sink(Box::new(factory))
    }

    /// Ends the stream in a function that takes each row, on the worker's own thread.
    ///
    /// # Delivery
    /// At-least-once: rows since the last checkpoint come again after a restart.
    pub fn for_each<F>(self, f: F) -> Query
    where
        F: FnMut(T) + Clone + Send + Sync + 'static,
    {
        self.sink(ForEach::new(f).named("for-each"))
    }

    /// Ends the stream in a function that takes whatever rows were ready together; it must take them all.
    ///
    /// # Delivery
    /// At-least-once, as [`Stream::for_each`].
    pub fn for_each_batch<F>(self, f: F) -> Query
    where
        F: FnMut(&mut Rows<T>) + Clone + Send + Sync + 'static,
    {
        self.sink(ForEachBatch::new(f).named("for-each-batch"))
    }

    /// Ends the stream in a handle from which the service's own threads take the rows. When the handle's
    /// queue is full the query waits.
    ///
    /// # Delivery
    /// At-least-once, as [`Stream::for_each`].
    pub fn egress(self, name: &str) -> (Query, Egress<T>) {
        let (handle, sink) = egress::channel(name, EGRESS_ROWS);
        (self.sink(sink), handle)
    }
}
