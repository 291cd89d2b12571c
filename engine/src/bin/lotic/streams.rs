//! The queries that run until they are stopped, their trigger ends them, or one fails.

use crate::events::{Event, Events};
use crate::fault::Fault;
use crate::script::Statement;
use crate::signals::Stoppable;
use lotic::StreamingQuery;
use std::sync::mpsc::Receiver;

/// All queries over streams of a run.
pub(crate) struct Streams {
    queries: Vec<(StreamingQuery, Statement)>,
    events: Events,
    told: Receiver<Event>,
    stoppable: Stoppable,
    /// Whether a stop was asked for.
    stop: bool,
}

impl Streams {
    pub(crate) fn new(events: Events, told: Receiver<Event>, stoppable: Stoppable) -> Streams {
        Streams { queries: Vec::new(), events, told, stoppable, stop: false }
    }

    /// Takes in a query that has been started.
    pub(crate) fn add(&mut self, query: StreamingQuery, statement: Statement) {
        let (number, events) = (self.queries.len(), self.events.clone());
        let waiting = query.clone();
        self.queries.push((query, statement));
        self.stoppable.set(true);
        let wait = move || {
            // The cause is read from the handle.
            let _ = waiting.await_termination();
            events.tell(Event::Ended(number));
        };
        std::thread::Builder::new()
            .name(format!("lotic-wait-{number}"))
            .spawn(wait)
            .expect("invariant: a process that runs a query can start a thread");
    }

    /// Whether a stop was asked for meanwhile. What else was told is kept in the state of the queries.
    pub(crate) fn are_to_stop(&mut self) -> bool {
        self.stop |= self.told.try_iter().any(|event| !matches!(event, Event::Ended(_)));
        self.stop
    }

    /// Waits until all have ended; stops them first if `stop`, if it is asked for meanwhile, or if one fails.
    ///
    /// # Errors
    /// The first that failed.
    pub(crate) fn wait(&mut self, stop: bool) -> Result<(), Fault> {
        let mut stop = self.are_to_stop() || stop;
        loop {
            let failed = self.queries.iter().any(|(query, _)| query.exception().is_some());
            if stop || failed {
                break;
            }
            if !self.queries.iter().any(|(query, _)| query.is_active()) {
                break;
            }
            stop = match self.told.recv() {
                Ok(Event::Stop | Event::Closed) | Err(_) => true,
                Ok(Event::Ended(_)) => false,
            };
        }
        let mut failed = None;
        for (query, statement) in &self.queries {
            if let Err(error) = query.stop() {
                failed.get_or_insert_with(|| Fault::of_query(query.name(), &error, statement));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
