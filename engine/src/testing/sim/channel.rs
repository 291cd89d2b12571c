//! Bounded channels between simulated actors, and the check of what markers promise.

use super::outside::Row;
use super::{Check, broken};
use lotic_operators::key::{hash_of, owner_of};
use lotic_operators::{Epoch, Item};
use std::collections::VecDeque;

pub(super) type Rows = Vec<Row>;

/// One channel. It checks what its producer sends.
#[derive(Debug)]
pub(super) struct Channel {
    queue: VecDeque<Item<Rows>>,
    capacity: usize,
    marked: Epoch,
    ended: bool,
}

impl Channel {
    pub(super) fn new(capacity: usize) -> Channel {
        Channel { queue: VecDeque::new(), capacity, marked: Epoch::NONE, ended: false }
    }

    fn has_room(&self) -> bool {
        self.queue.len() < self.capacity
    }

    fn push(&mut self, item: Item<Rows>) -> Check {
        if self.ended {
            return broken(format!("{item:?} was sent after the end"));
        }
        match &item {
            Item::Marker(marker) if marker.epoch <= self.marked => {
                return broken(format!("marker {} was sent after marker {}", marker.epoch, self.marked));
            }
            Item::Marker(marker) => self.marked = marker.epoch,
            Item::End => self.ended = true,
            _ => {}
        }
        self.queue.push_back(item);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Item<Rows>> {
        self.queue.pop_front()
    }
}

/// Which instance of the next actor a row goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Key,
    Group(u8),
}

impl Route {
    fn target(self, row: &Row, targets: usize) -> usize {
        match self {
            Route::Key => owner_of(hash_of(&row.key), targets),
            Route::Group(groups) => owner_of(hash_of(&row.group(groups)), targets),
        }
    }
}

#[derive(Debug)]
struct Target {
    channel: usize,
    /// What did not fit yet.
    held: VecDeque<Item<Rows>>,
}

/// An actor's way to the channels behind it. Nothing is lost when they are full: the actor waits.
#[derive(Debug)]
pub(super) struct Outbox {
    targets: Vec<Target>,
    route: Route,
}

impl Outbox {
    pub(super) fn new(channels: Vec<usize>, route: Route) -> Outbox {
        let targets = channels.into_iter().map(|channel| Target { channel, held: VecDeque::new() });
        Outbox { targets: targets.collect(), route }
    }

    pub(super) fn rows(&mut self, rows: Rows) {
        let count = self.targets.len();
        let mut parts = vec![Vec::new(); count];
        for row in rows {
            parts[self.route.target(&row, count)].push(row);
        }
        for (target, part) in self.targets.iter_mut().zip(parts) {
            if !part.is_empty() {
                target.held.push_back(Item::Batch {
                    rows: part,
                    ingest_ns: 0,
                    partition: lotic_operators::PartitionId::NONE,
                });
            }
        }
    }

    pub(super) fn control(&mut self, item: Item<Rows>) {
        for target in &mut self.targets {
            target.held.push_back(item.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.targets.iter().all(|target| target.held.is_empty())
    }

    /// Sends what fits; whether anything did.
    pub(super) fn flush(&mut self, channels: &mut [Channel]) -> Check<bool> {
        let mut sent = false;
        for target in &mut self.targets {
            let channel = &mut channels[target.channel];
            while channel.has_room()
                && let Some(item) = target.held.pop_front()
            {
                channel.push(item)?;
                sent = true;
            }
        }
        Ok(sent)
    }
}
