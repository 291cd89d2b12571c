//! The groups of a batch by number.

/// The slots of the groups that a batch touches, numbered from 0 in the order in which they come up.
#[derive(Debug)]
pub(super) struct Numbered {
    slots: Vec<u32>,
    /// For each slot the batch that touched it last, and its number there.
    touched: Vec<(u32, u32)>,
    /// Counted from 1: 0 stands for no batch.
    batch: u32,
}

impl Default for Numbered {
    fn default() -> Self {
        Numbered { slots: Vec::new(), touched: Vec::new(), batch: 1 }
    }
}

impl Numbered {
    /// Begins a batch.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            self.touched.clear();
            self.batch = 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slots by number.
    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The number of a slot, if the batch has touched it.
    #[inline]
    pub(super) fn number_of(&self, slot: u32) -> Option<u32> {
        self.touched.get(slot as usize).filter(|(batch, _)| *batch == self.batch).map(|(_, number)| *number)
    }

    /// Numbers a slot that has no number yet.
    pub(super) fn add(&mut self, slot: u32) -> u32 {
        let number = self.slots.len() as u32;
        self.slots.push(slot);
        if self.touched.len() <= slot as usize {
            self.touched.resize(slot as usize + 1, (0, 0));
        }
        self.touched[slot as usize] = (self.batch, number);
        number
    }
}
