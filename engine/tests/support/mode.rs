//! The mode of a run.

use crate::support::random::Random;
use lotic::operators::Epoch;
use lotic::{StreamingQuery, Trigger};
use serde::{Deserialize, Serialize};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How often a child that commits nothing looks whether it is over.
const TICK: Duration = Duration::from_millis(10);

/// The mode of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    Continuous,
    MicroBatch,
    /// Switches again and again while it runs.
    Switching,
}

impl Mode {
    /// A trigger of this mode.
    pub(crate) fn trigger(self, random: &mut Random) -> Trigger {
        let continuous = match self {
            Mode::Continuous => true,
            Mode::MicroBatch => false,
            Mode::Switching => random.below(2) == 0,
        };
        match (continuous, random.below(3)) {
            (true, choice) => Trigger::continuous(Duration::from_millis([2, 5, 10][choice as usize])),
            (false, 0) => Trigger::processing_time(Duration::ZERO),
            (false, choice) => Trigger::processing_time(Duration::from_millis([1, 5, 10][choice as usize])),
        }
    }

    /// Switches modes after some commits, if that is the mode, until the query has ended or is over.
    pub(crate) fn drive(
        self,
        query: &StreamingQuery,
        commits: &Receiver<Epoch>,
        random: &mut Random,
        is_over: impl Fn() -> bool,
    ) {
        let mut until_switch = random.between(1, 8);
        while !is_over() {
            match commits.recv_timeout(TICK) {
                Ok(_) if self == Mode::Switching => until_switch -= 1,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if query.is_active() => {}
                Err(_) => break,
            }
            if until_switch == 0 {
                until_switch = random.between(1, 8);
                // The query may have ended meanwhile.
                let _ = query.set_trigger(self.trigger(random));
            }
        }
    }
}
