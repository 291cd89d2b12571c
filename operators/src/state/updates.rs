//! One update of keyed state for each row of a batch.

use super::keyed::{KeyedState, Probe};
use crate::batch::Rows;
use crate::key::{Key, Value, hash_of};
use crate::limits::PROBES_AT_ONCE;
use crate::output::Output;

/// Updates the state of each row's key and emits one row for each: first all look-ups of some rows, then their
/// updates ([`KeyedState::probe`]). Holds nothing between calls but memory.
#[derive(Debug)]
pub(crate) struct Updates<K> {
    probes: Vec<Probe<K>>,
}

impl<K> Default for Updates<K> {
    fn default() -> Self {
        Updates { probes: Vec::new() }
    }
}

impl<K: Key> Updates<K> {
    /// Consumes the rows for which the output has room. `update` is given the row's key, its state, made by
    /// `init` where there is none, and the row.
    pub(crate) fn run<T, V: Value, U>(
        &mut self,
        state: &mut KeyedState<K, V>,
        input: &mut Rows<T>,
        output: &mut Output<Rows<U>>,
        mut key: impl FnMut(&T) -> K,
        init: impl Fn() -> V,
        mut update: impl FnMut(K, &mut V, T) -> U,
    ) where
        T: Send + 'static,
        U: Send + 'static,
    {
        let mut room = output.room().min(input.len());
        let builder = output.builder();
        builder.reserve(room);
        while room > 0 {
            let rows = room.min(PROBES_AT_ONCE);
            self.look_up(state, &input.as_slice()[..rows], &mut key);
            for (probe, row) in self.probes.drain(..).zip(input.by_ref()) {
                let value = state.entry_probed(&probe, &init);
                builder.push(update(probe.key, value, row));
            }
            room -= rows;
        }
    }

    /// Apart from the updates, so that each of the two loops has the registers to itself.
    #[inline(never)]
    fn look_up<T, V: Value>(&mut self, state: &KeyedState<K, V>, rows: &[T], mut key: impl FnMut(&T) -> K) {
        self.probes.extend(rows.iter().map(|row| {
            let key = key(row);
            state.probe(hash_of(&key), key)
        }));
    }
}
