//! Rows that wait for answers, in order with the watermarks between them.

use super::options::LookupOrder;
use crate::batch::Rows;
use crate::output::Output;
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};

struct Row<T, V> {
    row: T,
    answer: Option<Option<V>>,
}

/// A place that no row passes, and what goes on once all rows before it have left.
struct Fence {
    /// Rows of lower numbers are in front of it.
    before: u64,
    watermark: Option<Timestamp>,
    idle: Option<bool>,
}

/// What has been taken in and has not left.
pub(super) struct HeldRows<T, V> {
    order: LookupOrder,
    /// By number, in the order in which they came.
    rows: BTreeMap<u64, Row<T, V>>,
    next: u64,
    fences: VecDeque<Fence>,
    /// Where order does not matter: rows that have their answers and no fence in front of them.
    ready: VecDeque<u64>,
    /// The last watermark that has left.
    watermark: Timestamp,
}

impl<T, V> HeldRows<T, V> {
    pub(super) fn new(order: LookupOrder) -> Self {
        HeldRows {
            order,
            rows: BTreeMap::new(),
            next: 0,
            fences: VecDeque::new(),
            ready: VecDeque::new(),
            watermark: Timestamp::MIN,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows, in the order in which they came.
    pub(super) fn rows(&self) -> impl Iterator<Item = &T> {
        self.rows.values().map(|held| &held.row)
    }

    pub(super) fn row(&self, number: u64) -> &T {
        &self.rows[&number].row
    }

    /// The last watermark that has left.
    pub(super) fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Takes a row in; its number.
    pub(super) fn push(&mut self, row: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.rows.insert(number, Row { row, answer: None });
        number
    }

    pub(super) fn answer(&mut self, number: u64, answer: Option<V>) {
        if let Some(held) = self.rows.get_mut(&number) {
            held.answer = Some(answer);
            if self.order == LookupOrder::Unordered && number < self.open_until() {
                self.ready.push_back(number);
            }
        }
    }

    /// Rows of lower numbers have no fence in front of them.
    fn open_until(&self) -> u64 {
        self.fences.front().map_or(u64::MAX, |fence| fence.before)
    }

    /// Keeps the rows that come from here on behind those that have come.
    pub(super) fn fence(&mut self, watermark: Option<Timestamp>, idle: Option<bool>) {
        match self.fences.back_mut() {
            // No row between them: the later word holds, so that fences are no more than rows.
            Some(last) if last.before == self.next => {
                last.watermark = watermark.or(last.watermark);
                last.idle = idle.or(last.idle);
            }
            _ => self.fences.push_back(Fence { before: self.next, watermark, idle }),
        }
    }

    /// Emits what may leave, until the output is full. Whether all of that has left.
    pub(super) fn emit<O: Send + 'static>(
        &mut self,
        output: &mut Output<Rows<O>>,
        mut join: impl FnMut(T, Option<V>) -> Option<O>,
    ) -> bool {
        loop {
            if output.is_full() {
                return false;
            }
            let number = match self.order {
                LookupOrder::Ordered => self.first_answered(),
                LookupOrder::Unordered => self.ready.pop_front(),
            };
            if let Some(number) = number {
                let held = self.rows.remove(&number).expect("invariant: a row that is ready is held");
                let answer = held.answer.expect("invariant: a row that is ready has its answer");
                output.builder().extend(join(held.row, answer));
            } else if !self.pass_fence(output) {
                return true;
            }
        }
    }

    fn first_answered(&self) -> Option<u64> {
        let (number, held) = self.rows.first_key_value()?;
        (held.answer.is_some() && *number < self.open_until()).then_some(*number)
    }

    /// Takes down the first fence if no row is in front of it.
    fn pass_fence<O: Send + 'static>(&mut self, output: &mut Output<Rows<O>>) -> bool {
        let first = self.rows.first_key_value().map_or(u64::MAX, |(number, _)| *number);
        let Some(fence) = self.fences.pop_front_if(|fence| fence.before <= first) else { return false };
        if let Some(watermark) = fence.watermark {
            self.watermark = self.watermark.max(watermark);
            output.emit_watermark(watermark);
        }
        if let Some(idle) = fence.idle {
            output.emit_idle(idle);
        }
        if self.order == LookupOrder::Unordered {
            let behind = self.rows.range(fence.before..self.open_until());
            self.ready.extend(behind.filter(|(_, held)| held.answer.is_some()).map(|(number, _)| *number));
        }
        true
    }

    /// Goes on from a checkpoint: the watermark that had left then leaves again first.
    pub(super) fn restore_watermark<O: Send + 'static>(
        &mut self,
        watermark: Timestamp,
        output: &mut Output<Rows<O>>,
    ) {
        self.watermark = watermark;
        output.emit_watermark(watermark);
    }
}
