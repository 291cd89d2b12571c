//! Lookup joins: rows that meet what a service outside says of their key.

use super::Stream;
use super::keyed::{KeyedStream, by_key};
use crate::runtime::lookup::AsyncLookup;
use lotic_operators::Rows;
use lotic_operators::key::{Key, Value};
use lotic_operators::lookup::{Lookup, LookupOptions};
use std::fmt::{Debug, Display};
use std::future::Future;

impl<T, K, F> KeyedStream<T, K, F>
where
    T: Value,
    K: Key + Debug,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
{
    /// The lookup join: asks for each row's key by an async function and emits `(row, value)`, or nothing if
    /// there is no value (`Ok(None)`). For a row in any case see [`KeyedStream::left_lookup_join`].
    ///
    /// # Semantics
    /// Many rows are in flight at a time: [`LookupOptions`] says how many, in which order they leave, how
    /// long an attempt may take, how often it is repeated, what a failure means and what is remembered. At
    /// the capacity the operator takes no more input. Watermarks wait behind the rows before them. A panic of
    /// the function fails the query and nothing else.
    ///
    /// The futures run on the thread of the operator's instance, in turns with it: they may wait (tokio's
    /// timers and I/O are there) but must not block or compute for long.
    ///
    /// # Delivery
    /// Exactly once for rows. Rows in flight at a marker are part of the checkpoint, and asked for again
    /// after a restart, with another parallelism too: the service may be asked more than once and may by then
    /// say something else, so asking must have no effects that matter. A marker waits for the service only
    /// while more rows than the capacity are in front of it. In micro-batch mode a batch ends when all its
    /// rows have left; in continuous mode they may leave in a later epoch than they came, so that
    /// [`process_all_available`](crate::StreamingQuery::process_all_available) may return before they have.
    ///
    /// # Errors
    /// Failures after the last attempt end the query, with operator, key and cause, unless the options count
    /// them as no match. The query fails too if micro-batches take longer than epochs may (a minute): keep
    /// timeout, pause and attempts together below that.
    ///
    /// # Cost
    /// A task of tokio and an allocation for each request, none for what is remembered; a checkpoint copies
    /// at most as many rows as the capacity. Rows go to the instance that owns their key.
    ///
    /// # Examples
    /// ```
    /// use lotic::connectors::memory::MemorySource;
    /// use lotic::operators::lookup::LookupOptions;
    /// use lotic::{Session, Trigger};
    ///
    /// async fn city(zip: u32) -> Result<Option<&'static str>, std::io::Error> {
    ///     Ok((zip == 8001).then_some("Zurich"))
    /// }
    ///
    /// let session = Session::builder().app_name("cities").get_or_create()?;
    /// let zips = session.source(MemorySource::new([8001u32, 1])).key_by(|zip| *zip);
    /// let (query, cities) = zips.lookup_join(LookupOptions::default(), city).egress("cities");
    /// query.start(Trigger::continuous("100 ms"))?.await_termination()?;
    /// assert_eq!(cities.iter().collect::<Vec<_>>(), [(8001, "Zurich")]);
    /// # Ok::<(), lotic::Error>(())
    /// ```
    pub fn lookup_join<V, E, A, Fut>(self, options: LookupOptions, ask: A) -> Stream<(T, V)>
    where
        V: Clone + Send + 'static,
        E: Display + 'static,
        A: Fn(K) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Option<V>, E>> + 'static,
    {
        self.lookup("lookup-join", options, ask, |row, value| value.map(|value| (row, value)))
    }

    /// As [`KeyedStream::lookup_join`], for every row: emits `(row, value)`, where `value` is `None` if there
    /// is none.
    ///
    /// # Errors
    /// As for [`KeyedStream::lookup_join`].
    pub fn left_lookup_join<V, E, A, Fut>(self, options: LookupOptions, ask: A) -> Stream<(T, Option<V>)>
    where
        V: Clone + Send + 'static,
        E: Display + 'static,
        A: Fn(K) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Option<V>, E>> + 'static,
    {
        self.lookup("left-lookup-join", options, ask, |row, value| Some((row, value)))
    }

    fn lookup<V, E, A, Fut, O>(
        self,
        kind: &str,
        options: LookupOptions,
        ask: A,
        join: fn(T, Option<V>) -> Option<O>,
    ) -> Stream<O>
    where
        V: Clone + Send + 'static,
        E: Display + 'static,
        A: Fn(K) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Option<V>, E>> + 'static,
        O: Send + 'static,
    {
        let key = self.key;
        let partition = by_key(key.clone());
        let piped = self.piped.lookup::<Rows<O>>(kind, partition, move |bell| {
            let service = AsyncLookup::new(ask.clone(), options, bell);
            Box::new(Lookup::new(key.clone(), service, options, join))
        });
        Stream::new(piped)
    }
}
