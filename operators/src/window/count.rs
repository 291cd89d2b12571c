//! Windows of a fixed number of rows.

use crate::aggregate::Aggregate;
use crate::batch::Rows;
use crate::error::Result;
use crate::key::{Key, hash_of};
use crate::operator::Operator;
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::KeyedState;
use std::marker::PhantomData;
use std::num::NonZeroU64;

/// Emits `(key, result)` for every `size` rows of a key and begins anew. A window that is not full when
/// the input ends is not emitted.
#[derive(Debug)]
pub struct CountWindow<T, K: Key, A: Aggregate<T>, F> {
    key: F,
    size: NonZeroU64,
    aggregate: A,
    open: KeyedState<K, (u64, A::State)>,
    rows: PhantomData<fn(T)>,
}

impl<T, K: Key, A: Aggregate<T>, F> CountWindow<T, K, A, F> {
    /// `key` reads a row's key.
    pub fn new(key: F, size: NonZeroU64, aggregate: A) -> Self {
        CountWindow { key, size, aggregate, open: KeyedState::new("count-windows"), rows: PhantomData }
    }
}

impl<T, K, A, F> Operator<Rows<T>, Rows<(K, A::Out)>> for CountWindow<T, K, A, F>
where
    T: Send + 'static,
    K: Key,
    A: Aggregate<T>,
    F: FnMut(&T) -> K + Send,
{
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<(K, A::Out)>>) -> Result<()> {
        while !output.is_full() {
            let Some(row) = input.next() else { break };
            let key = (self.key)(&row);
            let hash = hash_of(&key);
            let (rows, state) = self.open.entry(hash, &key, || (0, self.aggregate.init()));
            self.aggregate.add(state, row);
            *rows += 1;
            // A restored window may hold more, if the query was restarted with a smaller size.
            if *rows >= self.size.get() {
                let result = self.aggregate.result(state);
                self.open.remove(hash, &key);
                output.push((key, result));
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot { tables: vec![self.open.snapshot()] })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<Rows<(K, A::Out)>>) -> Result<()> {
        self.open.restore(restore)
    }
}
