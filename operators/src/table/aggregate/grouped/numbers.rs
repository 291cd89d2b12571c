//! The groups of one number: found by the number itself, without its bytes.

use crate::limits::NUMBERED_GROUPS;
use arrow::array::{Array, ArrayRef};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::DataType;
use hashbrown::HashTable;

/// The slots of the groups whose key is one whole number, date or time, by its bits.
///
/// An index beside that of the keyed state, small enough to stay in the processor's caches, where that of the state
/// leads to the bytes of keys in its pages. It is made from what is looked up and is no part of a snapshot. Where
/// there are more groups than it may hold, it is given up.
#[derive(Debug, Default)]
pub(super) struct NumberedGroups {
    slots: HashTable<(u64, u32)>,
}

/// The keys of a batch as numbers.
pub(super) enum Numbers {
    Four(ScalarBuffer<u32>),
    Eight(ScalarBuffer<u64>),
}

impl Numbers {
    /// Those of a column without nulls; `None` if it has some.
    pub(super) fn of(column: &ArrayRef) -> Option<Numbers> {
        if column.logical_null_count() > 0 {
            return None;
        }
        let data = column.to_data();
        let buffer = data.buffers().first()?.clone();
        let (at, rows) = (data.offset(), data.len());
        match column.data_type().primitive_width() {
            Some(4) => Some(Numbers::Four(ScalarBuffer::new(buffer, at, rows))),
            Some(8) => Some(Numbers::Eight(ScalarBuffer::new(buffer, at, rows))),
            _ => None,
        }
    }

    /// The number of a row.
    pub(super) fn at(&self, row: usize) -> u64 {
        match self {
            Numbers::Four(numbers) => numbers[row].into(),
            Numbers::Eight(numbers) => numbers[row],
        }
    }
}

impl NumberedGroups {
    /// Whether equal keys of this type have equal bits, of which there are four or eight bytes.
    pub(super) fn takes(of: &DataType) -> bool {
        let eight_or_four = matches!(of.primitive_width(), Some(4 | 8));
        // Floats have two zeros and many that are no number.
        eight_or_four && (of.is_integer() || of.is_temporal())
    }

    /// Appends the slot of each row, and the rows whose slot is not known, for which any number is appended.
    pub(super) fn find(&self, numbers: &Numbers, slots: &mut Vec<u32>, unknown: &mut Vec<u32>) {
        match numbers {
            Numbers::Four(numbers) => {
                self.find_all(numbers.iter().map(|&number| number.into()), slots, unknown);
            }
            Numbers::Eight(numbers) => self.find_all(numbers.iter().copied(), slots, unknown),
        }
    }

    fn find_all(&self, numbers: impl Iterator<Item = u64>, slots: &mut Vec<u32>, unknown: &mut Vec<u32>) {
        slots.extend(numbers.enumerate().map(|(row, number)| {
            match self.slots.find(spread(number), |(held, _)| *held == number) {
                Some((_, slot)) => *slot,
                None => {
                    unknown.push(row as u32);
                    u32::MAX
                }
            }
        }));
    }

    /// Takes in where the group of a number is. Whether there was room for it.
    pub(super) fn add(&mut self, number: u64, slot: u32) -> bool {
        let known = self.slots.find(spread(number), |(held, _)| *held == number).is_some();
        if !known {
            if self.slots.len() >= NUMBERED_GROUPS {
                return false;
            }
            self.slots.insert_unique(spread(number), (number, slot), |(held, _)| spread(*held));
        }
        true
    }
}

/// A hash table takes the low bits and the top seven.
#[inline]
fn spread(number: u64) -> u64 {
    let product = u128::from(number) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ ((product >> 64) as u64)
}
