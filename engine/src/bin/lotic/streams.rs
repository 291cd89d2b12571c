//! The queries that run until they are stopped, their trigger ends them, or one fails.

use crate::events::{Event, Events};
use crate::fault::Fault;
use crate::script::Statement;
use crate::signals::Stoppable;
use lotic::StreamingQuery;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

/// All queries over streams of a run.
pub(crate) struct Streams {
    queries: Vec<Running>,
    events: Events,
    told: Receiver<Event>,
    stoppable: Stoppable,
    /// Whether a stop was asked for.
    stop: bool,
}

struct Running {
    query: StreamingQuery,
    statement: Statement,
    /// Where to put a savepoint if it is told to end.
    savepoint: Option<PathBuf>,
}

impl Running {
    /// Stops it in order; `asked`: because somebody wants it to end.
    fn stop(&self, asked: bool) -> Result<(), Fault> {
        let stopped = match &self.savepoint {
            Some(place) if asked && self.query.is_active() => {
                self.query.stop_with_savepoint(place).map(|epoch| {
                    eprintln!("savepoint of `{}`, epoch {epoch}: {}", self.query.name(), place.display());
                })
            }
            _ => self.query.stop(),
        };
        stopped.map_err(|error| Fault::of_query(self.query.name(), &error, &self.statement))
    }
}

impl Streams {
    pub(crate) fn new(events: Events, told: Receiver<Event>, stoppable: Stoppable) -> Streams {
        Streams { queries: Vec::new(), events, told, stoppable, stop: false }
    }

    /// Takes in a query that has been started.
    pub(crate) fn add(&mut self, query: StreamingQuery, statement: Statement, savepoint: Option<PathBuf>) {
        let (number, events) = (self.queries.len(), self.events.clone());
        let waiting = query.clone();
        self.queries.push(Running { query, statement, savepoint });
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
            let failed = self.queries.iter().any(|running| running.query.exception().is_some());
            if stop || failed {
                break;
            }
            if !self.queries.iter().any(|running| running.query.is_active()) {
                break;
            }
            stop = match self.told.recv() {
                Ok(Event::Stop | Event::Closed) | Err(_) => true,
                Ok(Event::Ended(_)) => false,
            };
        }
        let mut failed = None;
        for running in &self.queries {
            if let Err(fault) = running.stop(stop) {
                failed.get_or_insert(fault);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
