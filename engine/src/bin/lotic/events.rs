//! What the main thread waits for.

use std::sync::mpsc::{Receiver, Sender, channel};

/// Something the main thread has to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Stop in order: a signal came.
    Stop,
    /// Nobody reads standard output any more.
    Closed,
    /// The query of that number has ended.
    Ended(usize),
}

/// The end that tells.
#[derive(Debug, Clone)]
pub(crate) struct Events(Sender<Event>);

impl Events {
    pub(crate) fn new() -> (Events, Receiver<Event>) {
        let (tell, told) = channel();
        (Events(tell), told)
    }

    /// If nobody waits any more, nobody needs to know.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.0.send(event);
    }
}
