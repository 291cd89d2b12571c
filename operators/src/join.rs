//! The running inner join of two keyed streams.

use crate::batch::Rows;
use crate::error::Result;
use crate::key::{Key, Value, hash_of};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::KeyedState;
use crate::two_input::TwoInputOperator;
use std::marker::PhantomData;

/// Every left row meets every right row of the same key, whichever comes first, exactly once.
///
/// State grows with both inputs and is never dropped: it is meant for inputs that are bounded, or whose
/// keys are. A refusal is honoured between input rows, so one row may emit as many results as the other
/// side holds for its key.
#[derive(Debug)]
pub struct KeyedJoin<K: Key, L: Value, R: Value, O, FL, FR, J> {
    left_key: FL,
    right_key: FR,
    join: J,
    held: KeyedState<K, (Vec<L>, Vec<R>)>,
    out: PhantomData<fn() -> O>,
}

impl<K: Key, L: Value, R: Value, O, FL, FR, J> KeyedJoin<K, L, R, O, FL, FR, J> {
    /// `left_key` and `right_key` read the keys; `join` makes a result of two rows that meet.
    pub fn new(left_key: FL, right_key: FR, join: J) -> Self {
        KeyedJoin { left_key, right_key, join, held: KeyedState::new("join"), out: PhantomData }
    }
}

impl<K, L, R, O, FL, FR, J> TwoInputOperator<Rows<L>, Rows<R>, Rows<O>> for KeyedJoin<K, L, R, O, FL, FR, J>
where
    K: Key,
    L: Value,
    R: Value,
    O: Send + 'static,
    FL: FnMut(&L) -> K + Send,
    FR: FnMut(&R) -> K + Send,
    J: FnMut(&L, &R) -> O + Send,
{
    fn process_left(&mut self, input: &mut Rows<L>, output: &mut Output<Rows<O>>) -> Result<()> {
        while !output.is_full() {
            let Some(left) = input.next() else { break };
            let key = (self.left_key)(&left);
            let (lefts, rights) = self.held.entry(hash_of(&key), &key, Default::default);
            output.builder().extend(rights.iter().map(|right| (self.join)(&left, right)));
            lefts.push(left);
        }
        Ok(())
    }

    fn process_right(&mut self, input: &mut Rows<R>, output: &mut Output<Rows<O>>) -> Result<()> {
        while !output.is_full() {
            let Some(right) = input.next() else { break };
            let key = (self.right_key)(&right);
            let (lefts, rights) = self.held.entry(hash_of(&key), &key, Default::default);
            output.builder().extend(lefts.iter().map(|left| (self.join)(left, &right)));
            rights.push(right);
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot { tables: vec![self.held.snapshot()] })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<Rows<O>>) -> Result<()> {
        self.held.restore(restore)
    }
}
