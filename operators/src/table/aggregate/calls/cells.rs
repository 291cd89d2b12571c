//! The cells of one native aggregate in all groups.

use super::cell::Cell;
use crate::limits::{CELLS_PER_PAGE, PAGE_ENTRIES};

/// The cells of one aggregate by the slot of the group, side by side, so that the rows of a batch are added in a
/// loop over columns that finds each cell with one access to memory.
///
/// In pages: growing moves no cell.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pages: Vec<Box<[Cell; CELLS_PER_PAGE]>>,
}

impl Cells {
    /// Makes sure that there are cells for all slots below `end`.
    #[inline]
    pub(super) fn reserve(&mut self, end: u32) {
        let pages = (end as usize).div_ceil(CELLS_PER_PAGE);
        if self.pages.len() < pages {
            self.grow(pages);
        }
    }

    #[cold]
    fn grow(&mut self, pages: usize) {
        let page = || vec![Cell::default(); CELLS_PER_PAGE].into_boxed_slice();
        let page = || page().try_into().expect("invariant: it has that many");
        self.pages.resize_with(pages, page);
    }

    /// The cell of a slot; empty where nothing was reserved.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> Cell {
        let slot = slot as usize;
        self.pages.get(slot / CELLS_PER_PAGE).map_or_else(Cell::default, |page| page[slot % CELLS_PER_PAGE])
    }

    /// The cell of a slot for which one was reserved, to be changed.
    #[inline]
    pub(super) fn at(&mut self, slot: u32) -> &mut Cell {
        let slot = slot as usize;
        &mut self.pages[slot / CELLS_PER_PAGE][slot % CELLS_PER_PAGE]
    }

    /// Empties the cell of a slot.
    pub(super) fn clear(&mut self, slot: u32) {
        let slot = slot as usize;
        if let Some(page) = self.pages.get_mut(slot / CELLS_PER_PAGE) {
            page[slot % CELLS_PER_PAGE] = Cell::default();
        }
    }
}

/// Slots of which something changed, each once.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// For each stretch of slots one bit for each of them.
    masks: Vec<u64>,
    /// The stretches with a bit that is set.
    stretches: Vec<u32>,
}

const STRETCH: usize = u64::BITS as usize;
const _: () = assert!(STRETCH == PAGE_ENTRIES, "what is stored together lies in one page");

impl Changed {
    /// Adds slots, all below `end`.
    pub(super) fn add(&mut self, slots: &[u32], end: u32) {
        let stretches = (end as usize).div_ceil(STRETCH);
        if self.masks.len() < stretches {
            self.masks.resize(stretches, 0);
        }
        for &slot in slots {
            let (stretch, bit) = (slot as usize / STRETCH, slot as usize % STRETCH);
            let mask = &mut self.masks[stretch];
            if *mask == 0 {
                self.stretches.push(stretch as u32);
            }
            *mask |= 1 << bit;
        }
    }

    /// In how many stretches slots lie, each of [`PAGE_ENTRIES`].
    pub(super) fn stretches(&self) -> usize {
        self.stretches.len()
    }

    /// Takes all of them out; calls `each` with one after the other.
    pub(super) fn take(&mut self, mut each: impl FnMut(u32)) {
        for stretch in self.stretches.drain(..) {
            let mut mask = std::mem::take(&mut self.masks[stretch as usize]);
            while mask != 0 {
                each(stretch * STRETCH as u32 + mask.trailing_zeros());
                mask &= mask - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn slots_that_changed_come_out_once_each(rounds in proptest::collection::vec(
            proptest::collection::vec(0u32..500, 0..60), 1..6,
        )) {
            let mut changed = Changed::default();
            for slots in rounds {
                let end = slots.iter().max().map_or(0, |last| last + 1);
                changed.add(&slots, end);
                let mut taken = Vec::new();
                changed.take(|slot| taken.push(slot));
                prop_assert_eq!(changed.stretches(), 0);
                taken.sort_unstable();
                let expected: Vec<u32> = slots.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
                prop_assert_eq!(taken, expected);
            }
        }
    }

    #[test]
    fn cells_stay_where_they_are_put_as_more_are_reserved() {
        let mut cells = Cells::default();
        let slots = [0, CELLS_PER_PAGE as u32 - 1, CELLS_PER_PAGE as u32, 5 * CELLS_PER_PAGE as u32 + 3];
        for (number, &slot) in slots.iter().enumerate() {
            assert_eq!(cells.get(slot), Cell::default());
            cells.reserve(slot + 1);
            cells.at(slot).count = number as u64 + 1;
        }
        assert_eq!(slots.map(|slot| cells.get(slot).count), [1, 2, 3, 4]);
        cells.clear(slots[2]);
        cells.clear(u32::MAX);
        assert_eq!(slots.map(|slot| cells.get(slot).count), [1, 2, 0, 4]);
    }
}
