//! Sinks that call the user's own function: for each row, or for each batch.
//!
//! ```
//! use lotic_connectors::{ForEach, SinkFactory};
//! use lotic_operators::{Epoch, Instance, Rows};
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use std::sync::Arc;
//!
//! let total = Arc::new(AtomicU64::new(0));
//! let adding = Arc::clone(&total);
//! let factory = ForEach::new(move |row: u64| { adding.fetch_add(row, Ordering::Relaxed); });
//! let mut sink = factory.create(Instance::ONLY).unwrap();
//! sink.start(Epoch(1)).unwrap();
//! sink.write(&mut Rows::from(vec![1, 2, 3]), std::task::Waker::noop()).unwrap();
//! assert_eq!(total.load(Ordering::Relaxed), 6);
//! ```

use crate::error::{ConnectorError, Result};
use crate::limits::PARALLELISM;
use crate::sink::{Delivery, Sink, SinkFactory, SinkTraits};
use lotic_operators::{Epoch, Instance, Rows};
use std::fmt;
use std::marker::PhantomData;
use std::task::Waker;

/// What a user's function may return: nothing, or a result whose error ends the query.
pub trait Outcome {
    /// The error, in words.
    ///
    /// # Errors
    /// What the user's function said.
    fn into_result(self) -> Result<(), String>;
}

impl Outcome for () {
    #[inline]
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    #[inline]
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

#[cold]
pub(crate) fn failed(name: &str, error: &str) -> ConnectorError {
    ConnectorError::user(format!("the function of sink `{name}` failed: {error}"))
}

fn traits(name: &str) -> SinkTraits {
    SinkTraits {
        name: name.to_owned(),
        delivery: Delivery::AtLeastOnce,
        max_parallelism: PARALLELISM,
        batches_only: false,
    }
}

/// A sink that calls a function with each row.
///
/// The function is cloned once for each instance, so that instances share nothing unless it says so (an
/// `Arc`). It runs on a data thread and must not block. It returns nothing or a `Result`; an error ends the
/// query.
///
/// # Delivery
/// At least once, visible at once: after a restart, rows since the last checkpoint come again.
///
/// # Cost
/// One dynamic call for each batch; the function itself is inlined into the loop over the rows.
pub struct ForEach<T, F> {
    name: String,
    function: F,
    rows: PhantomData<fn(T)>,
}

impl<T, F> ForEach<T, F> {
    /// Calls `function` with each row.
    pub fn new<R: Outcome>(function: F) -> Self
    where
        F: FnMut(T) -> R,
    {
        ForEach { name: "for_each".to_owned(), function, rows: PhantomData }
    }

    /// What to call the sink in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl<T, F> fmt::Debug for ForEach<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForEach({})", self.name)
    }
}

impl<T, F, R> SinkFactory<Rows<T>> for ForEach<T, F>
where
    T: Send + 'static,
    F: FnMut(T) -> R + Clone + Send + 'static,
    R: Outcome,
{
    fn traits(&self) -> SinkTraits {
        traits(&self.name)
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<Rows<T>>>> {
        Ok(Box::new(EachRow { name: self.name.clone(), function: self.function.clone() }))
    }
}

struct EachRow<F> {
    name: String,
    function: F,
}

impl<T, F, R> Sink<Rows<T>> for EachRow<F>
where
    T: Send + 'static,
    F: FnMut(T) -> R + Send,
    R: Outcome,
{
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut Rows<T>, _waker: &Waker) -> Result<()> {
        for row in batch {
            (self.function)(row).into_result().map_err(|error| failed(&self.name, &error))?;
        }
        Ok(())
    }
}

/// A sink that calls a function with each batch: whatever rows were ready together, from one up.
///
/// The function takes rows off the batch; what it leaves is dropped. Otherwise as [`ForEach`].
///
/// # Delivery
/// At least once, visible at once; after a restart rows come again, in other batches.
pub struct ForEachBatch<T, F> {
    name: String,
    function: F,
    rows: PhantomData<fn(T)>,
}

impl<T, F> ForEachBatch<T, F> {
    /// Calls `function` with each batch.
    pub fn new<R: Outcome>(function: F) -> Self
    where
        F: FnMut(&mut Rows<T>) -> R,
    {
        ForEachBatch { name: "for_each_batch".to_owned(), function, rows: PhantomData }
    }

    /// What to call the sink in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}

impl<T, F> fmt::Debug for ForEachBatch<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForEachBatch({})", self.name)
    }
}

impl<T, F, R> SinkFactory<Rows<T>> for ForEachBatch<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Rows<T>) -> R + Clone + Send + 'static,
    R: Outcome,
{
    fn traits(&self) -> SinkTraits {
        traits(&self.name)
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<Rows<T>>>> {
        Ok(Box::new(EachBatch { name: self.name.clone(), function: self.function.clone() }))
    }
}

struct EachBatch<F> {
    name: String,
    function: F,
}

impl<T, F, R> Sink<Rows<T>> for EachBatch<F>
where
    T: Send + 'static,
    F: FnMut(&mut Rows<T>) -> R + Send,
    R: Outcome,
{
    fn start(&mut self, _epoch: Epoch) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &mut Rows<T>, _waker: &Waker) -> Result<()> {
        (self.function)(batch).into_result().map_err(|error| failed(&self.name, &error))?;
        batch.for_each(drop);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write<T: Send + 'static>(factory: &impl SinkFactory<Rows<T>>, rows: Vec<T>) -> (Result<()>, usize) {
        let mut sink = factory.create(Instance::ONLY).unwrap();
        sink.start(Epoch(1)).unwrap();
        let mut batch = Rows::from(rows);
        let result = sink.write(&mut batch, Waker::noop());
        (result, batch.len())
    }

    #[test]
    fn an_error_of_the_function_stops_at_its_row_and_names_the_sink() {
        let factory = ForEach::new(|row: u32| if row == 2 { Err("row two") } else { Ok(()) }).named("mail");
        let (result, left) = write(&factory, vec![1, 2, 3]);
        assert_eq!(result.unwrap_err().to_string(), "the function of sink `mail` failed: row two");
        assert_eq!(left, 1);
    }

    #[test]
    fn rows_that_a_batch_function_leaves_count_as_consumed() {
        let factory = ForEachBatch::new(|batch: &mut Rows<u32>| {
            batch.next();
        });
        let (result, left) = write(&factory, vec![1, 2, 3]);
        result.unwrap();
        assert_eq!(left, 0);
    }
}
