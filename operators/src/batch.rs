//! The batch: the rows that travel together in a channel.

use crate::limits::ROWS_AT_ONCE;
use std::fmt;

/// Rows that travel together: [`Rows`] in the typed door, an Arrow record batch for tables.
///
/// A batch holds whatever was ready, from one row up. The runtime never looks inside; it needs to know
/// how many rows there are and how an operator builds a batch row by row.
pub trait Batch: Send + 'static {
    /// Where an operator collects rows until they are sealed into a batch.
    type Builder: Default + Send;

    /// Rows that one poll returns, an output takes and an actor handles in one turn, at most: few, so that
    /// they are still in the processor's cache when the next operator takes them, and enough to spread the
    /// cost of a batch.
    const ROWS_AT_ONCE: usize = ROWS_AT_ONCE;

    /// Rows not yet consumed.
    fn rows(&self) -> usize;

    /// Rows collected so far.
    fn building(builder: &Self::Builder) -> usize;

    /// Takes what was collected as one batch and leaves the builder empty; `None` if it was empty.
    fn seal(builder: &mut Self::Builder) -> Option<Self>
    where
        Self: Sized;

    /// Takes the rows not yet consumed and leaves none; `None` if there were none.
    fn take(&mut self) -> Option<Self>
    where
        Self: Sized;
}

/// A batch of the user's own values, consumed from the front.
///
/// It is an iterator: an operator takes rows off with [`Iterator::next`] and may leave the rest in place
/// when its output refuses; the runtime hands the same batch over again.
pub struct Rows<T>(std::vec::IntoIter<T>);

impl<T> Rows<T> {
    /// The rows not yet consumed, in order.
    pub fn as_slice(&self) -> &[T] {
        self.0.as_slice()
    }

    /// Turns every row into another, in the memory of the batch where the new type fits.
    #[inline]
    pub fn map_all<U>(self, f: impl FnMut(T) -> U) -> Rows<U> {
        // Collecting a mapped `vec::IntoIter` into a `Vec` reuses its allocation.
        Rows::from(self.0.map(f).collect::<Vec<U>>())
    }

    /// Keeps the rows for which `f` is true, in the memory of the batch.
    #[inline]
    pub fn filter_all(self, f: impl FnMut(&T) -> bool) -> Rows<T> {
        Rows::from(self.0.filter(f).collect::<Vec<T>>())
    }
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Rows(Vec::new().into_iter())
    }
}

impl<T> From<Vec<T>> for Rows<T> {
    fn from(rows: Vec<T>) -> Self {
        Rows(rows.into_iter())
    }
}

impl<T> Iterator for Rows<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> ExactSizeIterator for Rows<T> {}

impl<T: Clone> Clone for Rows<T> {
    fn clone(&self) -> Self {
        Rows(self.0.clone())
    }
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({})", self.0.len())
    }
}

impl<T: Send + 'static> Batch for Rows<T> {
    type Builder = Vec<T>;

    #[inline]
    fn rows(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn building(builder: &Vec<T>) -> usize {
        builder.len()
    }

    #[inline]
    fn seal(builder: &mut Vec<T>) -> Option<Self> {
        if builder.is_empty() { None } else { Some(Rows::from(std::mem::take(builder))) }
    }

    #[inline]
    fn take(&mut self) -> Option<Self> {
        let taken = Rows(std::mem::take(&mut self.0));
        if taken.rows() == 0 { None } else { Some(taken) }
    }
}
