//! What is kept for a group.

use crate::key::{Key, Value};
use crate::state::KeyedState;
use crate::table::keys::KeyBytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// The state of one native aggregate in one group: a value of up to 16 bytes and how many went into it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    low: u64,
    high: u64,
    pub(super) count: u64,
}

impl Cell {
    #[inline]
    pub(super) fn get<V: Bits>(&self) -> V {
        V::from_bits(self.low, self.high)
    }

    #[inline]
    pub(super) fn set<V: Bits>(&mut self, value: V) {
        (self.low, self.high) = value.to_bits();
    }
}

/// A value that fits a [`Cell`]. All zeros stand for zero.
pub(super) trait Bits: Copy {
    fn to_bits(self) -> (u64, u64);
    fn from_bits(low: u64, high: u64) -> Self;
}

macro_rules! integer_bits {
    ($($type:ty),*) => {$(
        impl Bits for $type {
            #[inline]
            fn to_bits(self) -> (u64, u64) {
                (self as u64, 0)
            }
            #[inline]
            fn from_bits(low: u64, _high: u64) -> Self {
                low as $type
            }
        }
    )*};
}

integer_bits!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Bits for i128 {
    #[inline]
    fn to_bits(self) -> (u64, u64) {
        (self as u64, (self >> 64) as u64)
    }
    #[inline]
    fn from_bits(low: u64, high: u64) -> Self {
        (i128::from(high as i64) << 64) | i128::from(low)
    }
}

impl Bits for f32 {
    #[inline]
    fn to_bits(self) -> (u64, u64) {
        (u64::from(f32::to_bits(self)), 0)
    }
    #[inline]
    fn from_bits(low: u64, _high: u64) -> Self {
        f32::from_bits(low as u32)
    }
}

impl Bits for f64 {
    #[inline]
    fn to_bits(self) -> (u64, u64) {
        (f64::to_bits(self), 0)
    }
    #[inline]
    fn from_bits(low: u64, _high: u64) -> Self {
        f64::from_bits(low)
    }
}

/// The cells of a group; those of two aggregates lie in the group itself.
type CellsOfGroup = SmallVec<[Cell; 2]>;

/// All that is kept for a group, as of the last snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::table::aggregate) struct GroupState {
    /// One for each native aggregate.
    pub(super) cells: CellsOfGroup,
    /// The states of the other aggregates; empty if there are none yet.
    pub(super) others: SharedBytes,
}

impl GroupState {
    /// With so many empty cells.
    pub(super) fn new(cells: usize) -> GroupState {
        GroupState { cells: smallvec![Cell::default(); cells], others: SharedBytes::default() }
    }
}

/// Groups in slots.
pub(in crate::table::aggregate) trait GroupStates {
    /// All slots lie below this number.
    fn slots_end(&self) -> u32;
    /// The state of the group in a slot, if one is held there.
    fn held(&self, slot: u32) -> Option<&GroupState>;
    /// The state of the group in a slot, where one is held, to be changed.
    fn group_mut(&mut self, slot: u32) -> &mut GroupState;
}

/// What is kept in a slot, the state of a group in it.
pub(in crate::table::aggregate) trait HoldsGroup {
    fn group(&self) -> &GroupState;
    fn group_mut(&mut self) -> &mut GroupState;
}

impl HoldsGroup for GroupState {
    #[inline]
    fn group(&self) -> &GroupState {
        self
    }

    #[inline]
    fn group_mut(&mut self) -> &mut GroupState {
        self
    }
}

impl<K: Key, V: Value + HoldsGroup> GroupStates for KeyedState<K, V> {
    fn slots_end(&self) -> u32 {
        KeyedState::slots_end(self)
    }

    #[inline]
    fn held(&self, slot: u32) -> Option<&GroupState> {
        self.at(slot).map(|(_, value)| value.group())
    }

    #[inline]
    fn group_mut(&mut self, slot: u32) -> &mut GroupState {
        self.at_mut(slot).group_mut()
    }
}

/// Bytes that are cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedBytes(pub(super) Option<Arc<[u8]>>);

impl Serialize for SharedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_deref().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for SharedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let bytes = KeyBytes::deserialize(deserializer)?;
        Ok(SharedBytes((!bytes.as_slice().is_empty()).then(|| Arc::from(bytes.as_slice()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_from_a_cell() {
        fn check<V: Bits + PartialEq + std::fmt::Debug>(values: &[V]) {
            for &value in values {
                let mut cell = Cell::default();
                cell.set(value);
                assert_eq!(cell.get::<V>(), value);
            }
        }
        check(&[i8::MIN, -1, 0, i8::MAX]);
        check(&[i64::MIN, -1, 0, i64::MAX]);
        check(&[0, u64::MAX]);
        check(&[i128::MIN, i128::MIN + 1, -1, 0, 1, 1 << 64, -(1 << 64), i128::MAX]);
        check(&[f64::MIN, -0.5, 0.0, f64::INFINITY]);
        check(&[f32::MIN, -0.5, 0.0, f32::INFINITY]);
        assert_eq!((Cell::default().get::<f64>(), Cell::default().get::<i128>()), (0.0, 0));
    }
}
