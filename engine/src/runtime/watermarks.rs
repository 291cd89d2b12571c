//! The minimum watermark over an actor's inputs.

use lotic_operators::Timestamp;

/// Merges the watermarks of inputs: the minimum over those that are neither idle nor ended, never lower
/// than before.
#[derive(Debug)]
pub(crate) struct Watermarks {
    inputs: Vec<Input>,
    current: Timestamp,
    idle: bool,
}

#[derive(Debug, Clone, Copy)]
struct Input {
    watermark: Timestamp,
    idle: bool,
    ended: bool,
}

impl Watermarks {
    pub(crate) fn new(inputs: usize) -> Watermarks {
        let input = Input { watermark: Timestamp::MIN, idle: false, ended: false };
        Watermarks { inputs: vec![input; inputs], current: Timestamp::MIN, idle: false }
    }

    /// The merged watermark.
    pub(crate) fn current(&self) -> Timestamp {
        self.current
    }

    /// What a checkpoint said: the merged watermark does not fall behind it.
    pub(crate) fn restore(&mut self, watermark: Timestamp) {
        self.current = self.current.max(watermark);
    }

    /// An input has promised more; the new merged watermark if it moved.
    pub(crate) fn advance(&mut self, input: usize, watermark: Timestamp) -> Option<Timestamp> {
        let held = &mut self.inputs[input].watermark;
        *held = (*held).max(watermark);
        self.merge()
    }

    /// An input went idle or became active; the new merged watermark if it moved, and whether this actor
    /// as a whole became idle or active.
    pub(crate) fn set_idle(&mut self, input: usize, idle: bool) -> (Option<Timestamp>, Option<bool>) {
        self.inputs[input].idle = idle;
        let all_idle = self.inputs.iter().all(|input| input.idle || input.ended);
        let changed = (all_idle != self.idle).then_some(all_idle);
        self.idle = all_idle;
        (self.merge(), changed)
    }

    /// An input has ended; the new merged watermark if it moved.
    pub(crate) fn end(&mut self, input: usize) -> Option<Timestamp> {
        self.inputs[input].ended = true;
        self.merge()
    }

    fn merge(&mut self) -> Option<Timestamp> {
        let counted = self.inputs.iter().filter(|input| !input.idle && !input.ended);
        let merged = counted.map(|input| input.watermark).min()?;
        if merged <= self.current {
            return None;
        }
        self.current = merged;
        Some(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_active_input_decides_and_nothing_moves_back() {
        let mut merged = Watermarks::new(2);
        assert_eq!(merged.advance(0, Timestamp(10)), None);
        assert_eq!(merged.advance(1, Timestamp(5)), Some(Timestamp(5)));
        assert_eq!(merged.set_idle(1, true), (Some(Timestamp(10)), None));
        assert_eq!(merged.set_idle(1, false), (None, None));
        assert_eq!(merged.current(), Timestamp(10));
        assert_eq!(merged.advance(1, Timestamp(7)), None);
        assert_eq!(merged.end(1), None);
        assert_eq!(merged.advance(0, Timestamp(20)), Some(Timestamp(20)));
        assert_eq!(merged.set_idle(0, true), (None, Some(true)));
    }
}
