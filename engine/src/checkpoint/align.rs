//! Alignment: when has a marker arrived on every active input? A pure state machine.
//!
//! Carbone et al., "Lightweight Asynchronous Snapshots for Distributed Dataflows" (2015), for acyclic
//! graphs. Exactly-once holds back the inputs whose marker has arrived; at-least-once does not.

use lotic_operators::{Epoch, Marker};
use std::collections::VecDeque;

/// Whether inputs are held back while others are still to deliver their marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// State reflects every row exactly once.
    #[default]
    ExactlyOnce,
    /// After a restart state may reflect rows twice; no input ever waits for another.
    AtLeastOnce,
}

/// What to do after an item was given to the [`Aligner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Alignment {
    /// Markers of other inputs are still to come, or there is nothing to do.
    Wait,
    /// All active inputs have delivered the marker: pass it on and take the snapshot.
    Complete(Marker),
    /// The epoch was given up: pass the cancellation on, once.
    Cancelled(Epoch),
}

/// The markers of one actor's inputs.
#[derive(Debug)]
pub struct Aligner {
    consistency: Consistency,
    inputs: Vec<Input>,
    /// Markers seen on some input and not complete, oldest first. More than one only if inputs may run
    /// ahead (at-least-once).
    pending: VecDeque<Marker>,
    /// The newest epoch completed or cancelled here.
    done: Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Input {
    ended: bool,
    /// The newest epoch whose marker this input has delivered.
    marked: Epoch,
}

impl Aligner {
    /// An aligner for that many inputs.
    pub fn new(inputs: usize, consistency: Consistency) -> Aligner {
        let input = Input { ended: false, marked: Epoch::NONE };
        Aligner { consistency, inputs: vec![input; inputs], pending: VecDeque::new(), done: Epoch::NONE }
    }

    /// Whether nothing may be taken from this input now.
    #[inline]
    pub fn holds(&self, input: usize) -> bool {
        self.inputs[input].marked > self.done && self.consistency == Consistency::ExactlyOnce
    }

    /// Whether every input has ended.
    pub fn all_ended(&self) -> bool {
        self.inputs.iter().all(|input| input.ended)
    }

    /// A marker has arrived.
    ///
    /// # Errors
    /// If it breaks the protocol: a marker from an input that is held back, out of order or after the end.
    pub fn marker(&mut self, input: usize, marker: Marker) -> Result<Alignment, String> {
        let epoch = marker.epoch;
        if self.inputs[input].ended {
            return Err(format!("input {input} sent the marker of epoch {epoch} after its end"));
        }
        if epoch <= self.inputs[input].marked {
            return Err(format!(
                "input {input} sent the marker of epoch {epoch} after that of epoch {}",
                self.inputs[input].marked
            ));
        }
        if self.holds(input) {
            return Err(format!("input {input} sent the marker of epoch {epoch} while it is held back"));
        }
        if epoch <= self.done {
            return Ok(Alignment::Wait); // of an epoch that was cancelled meanwhile
        }
        self.inputs[input].marked = epoch;
        let exact = self.consistency == Consistency::ExactlyOnce;
        match self.pending.iter_mut().find(|held| exact || held.epoch >= epoch) {
            Some(held) if (held.epoch, held.after) == (epoch, marker.after) => held.whole |= marker.whole,
            Some(held) => {
                return Err(format!(
                    "input {input} sent the marker of epoch {epoch} while epoch {} is being aligned",
                    held.epoch
                ));
            }
            None => self.pending.push_back(marker),
        }
        Ok(self.next_complete())
    }

    /// An input has ended: it no longer counts.
    pub fn end(&mut self, input: usize) -> Alignment {
        self.inputs[input].ended = true;
        self.next_complete()
    }

    /// An input says that an epoch was given up; older ones not complete were given up with it.
    pub fn cancel(&mut self, epoch: Epoch) -> Alignment {
        if epoch <= self.done {
            return Alignment::Wait;
        }
        self.pending.retain(|marker| marker.epoch > epoch);
        self.done = epoch;
        Alignment::Cancelled(epoch)
    }

    /// The next epoch that is complete; to be asked again after each [`Alignment::Complete`].
    pub fn next_complete(&mut self) -> Alignment {
        let Some(&marker) = self.pending.front() else { return Alignment::Wait };
        if !self.inputs.iter().all(|input| input.ended || input.marked >= marker.epoch) {
            return Alignment::Wait;
        }
        assert!(marker.epoch > self.done, "epochs complete in order");
        self.pending.pop_front();
        self.done = marker.epoch;
        Alignment::Complete(marker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lotic_operators::After;

    fn marker(epoch: u64) -> Marker {
        Marker::new(Epoch(epoch), After::Continue)
    }

    #[test]
    fn a_whole_result_on_one_input_is_one_of_all() {
        let mut aligner = Aligner::new(2, Consistency::ExactlyOnce);
        let whole = Marker { whole: true, ..marker(1) };
        assert_eq!(aligner.marker(0, marker(1)), Ok(Alignment::Wait));
        assert_eq!(aligner.marker(1, whole), Ok(Alignment::Complete(whole)));
        assert_eq!(aligner.marker(0, marker(2)), Ok(Alignment::Wait));
        assert_eq!(aligner.marker(1, marker(2)), Ok(Alignment::Complete(marker(2))));
    }

    #[test]
    fn completes_when_every_active_input_has_delivered() {
        let mut aligner = Aligner::new(3, Consistency::ExactlyOnce);
        assert_eq!(aligner.marker(0, marker(1)), Ok(Alignment::Wait));
        assert!(aligner.holds(0) && !aligner.holds(1));
        assert_eq!(aligner.end(2), Alignment::Wait);
        assert_eq!(aligner.marker(1, marker(1)), Ok(Alignment::Complete(marker(1))));
        assert!(!aligner.holds(0) && !aligner.holds(1));
    }

    #[test]
    fn the_last_missing_input_may_end_instead() {
        let mut aligner = Aligner::new(2, Consistency::ExactlyOnce);
        assert_eq!(aligner.marker(0, marker(4)), Ok(Alignment::Wait));
        assert_eq!(aligner.end(1), Alignment::Complete(marker(4)));
    }

    #[test]
    fn a_cancelled_epoch_holds_nobody_and_its_late_markers_are_ignored() {
        let mut aligner = Aligner::new(2, Consistency::ExactlyOnce);
        assert_eq!(aligner.marker(0, marker(1)), Ok(Alignment::Wait));
        assert_eq!(aligner.cancel(Epoch(1)), Alignment::Cancelled(Epoch(1)));
        assert!(!aligner.holds(0));
        assert_eq!(aligner.cancel(Epoch(1)), Alignment::Wait);
        assert_eq!(aligner.marker(1, marker(1)), Ok(Alignment::Wait));
        assert!(!aligner.holds(1));
        assert_eq!(aligner.marker(1, marker(2)), Ok(Alignment::Wait));
        assert_eq!(aligner.marker(0, marker(2)), Ok(Alignment::Complete(marker(2))));
    }

    #[test]
    fn at_least_once_holds_nobody() {
        let mut aligner = Aligner::new(2, Consistency::AtLeastOnce);
        assert_eq!(aligner.marker(0, marker(1)), Ok(Alignment::Wait));
        assert!(!aligner.holds(0));
        assert_eq!(aligner.marker(0, marker(2)), Ok(Alignment::Wait));
        assert_eq!(aligner.marker(1, marker(1)), Ok(Alignment::Complete(marker(1))));
        assert_eq!(aligner.end(1), Alignment::Complete(marker(2)));
    }

    #[test]
    fn a_marker_out_of_turn_is_a_broken_protocol() {
        let mut aligner = Aligner::new(2, Consistency::ExactlyOnce);
        assert_eq!(aligner.marker(0, marker(1)), Ok(Alignment::Wait));
        assert!(aligner.marker(1, marker(2)).unwrap_err().contains("epoch 2"));
    }
}
