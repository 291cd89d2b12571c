//! The rows of one input as they are taken in: each meets the held rows of the other input, and is then held.

use super::StreamJoin;
use super::held::{HeldRow, Input};
use super::{StreamJoinKind, batch};
use crate::error::Result;
use crate::output::Output;
use crate::table::TableBatch;
use crate::table::event_time::end_times;
use crate::table::expression::{arrow_failed_to, as_type, evaluate};
use crate::table::keys::KeyBytes;
use crate::time::Timestamp;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_arrays};
use arrow::row::Rows;
use std::collections::HashSet;

/// Rows of one input, of which the first ones have been taken in.
pub(super) struct Probe {
    from: Input,
    /// The columns that are joined, and as rows.
    columns: Vec<ArrayRef>,
    encoded: Rows,
    /// The keys, and which of them match nothing.
    keys: Rows,
    null_keys: Vec<bool>,
    times: Option<TimestampMicrosecondArray>,
    rows: usize,
    next: usize,
    /// Where the next row goes on, if some of its matches were emitted.
    cursor: Option<Cursor>,
    /// Held left rows of a semi or anti join that have had their match; they are forgotten at the end, since a
    /// row may still stand at one of them.
    settled: HashSet<u32>,
}

struct Cursor {
    slot: u32,
    matched: bool,
}

/// Pairs with equal keys: rows of the probe with slots, and which rows of the probe are done with them.
#[derive(Default)]
struct Candidates {
    rows: Vec<u32>,
    slots: Vec<u32>,
    /// The rows that have met all held rows, from `Probe::next` on.
    done: usize,
    late: u64,
    /// Where the row after them goes on.
    open: Option<u32>,
}

impl Probe {
    pub(super) fn new(join: &StreamJoin, from: Input, input: &RecordBatch) -> Result<Probe> {
        let side = join.side(from);
        let columns = input.columns()[..side.columns.fields().len()].to_vec();
        let encoder = &join.keys[from as usize];
        let keys = encoder.columns(input)?.into_iter().zip(&join.key_types);
        let keys = keys.map(|(key, data_type)| as_type(key, data_type)).collect::<Result<Vec<_>>>()?;
        let null = |row: usize| !join.spec.null_equals_null && keys.iter().any(|key| key.is_null(row));
        let times = side.event_time.as_ref().map(|time| end_times(&evaluate(time.as_ref(), input)?));
        Ok(Probe {
            from,
            encoded: join.rows[from as usize]
                .convert_columns(&columns)
                .map_err(|error| arrow_failed_to("encode the rows of a join", &error))?,
            null_keys: (0..input.num_rows()).map(null).collect(),
            keys: encoder.encode(&keys)?,
            times: times.transpose()?,
            columns,
            rows: input.num_rows(),
            next: 0,
            cursor: None,
            settled: HashSet::new(),
        })
    }

    pub(super) fn rows_left(&self) -> usize {
        self.rows - self.next
    }

    fn time(&self, row: usize) -> Option<i64> {
        self.times.as_ref().filter(|times| times.is_valid(row)).map(|times| times.value(row))
    }

    fn is_late(&self, row: usize, watermark: Timestamp) -> bool {
        self.time(row).is_some_and(|time| time <= watermark.0)
    }

    /// Whether a row can match nothing.
    fn is_alone(&self, join: &StreamJoin, row: usize) -> bool {
        let bounded = join.spec.bounds.lower.is_some() || join.spec.bounds.upper.is_some();
        self.null_keys[row] || (bounded && self.time(row).is_none())
    }

    /// Takes in rows until they are used up, or have as many candidates as the output has room.
    pub(super) fn advance(&mut self, join: &mut StreamJoin, output: &mut Output<TableBatch>) -> Result<()> {
        let candidates = self.candidates(join, output.room().max(1));
        output.count_late(candidates.late);
        let mut matched = vec![false; candidates.done + 1];
        matched[0] = self.cursor.take().is_some_and(|cursor| cursor.matched);
        if !candidates.rows.is_empty() {
            self.pair(join, &candidates, &mut matched, output)?;
        }
        self.hold(join, candidates.done, &matched, output)?;
        self.next += candidates.done;
        self.cursor = candidates.open.map(|slot| Cursor { slot, matched: matched[candidates.done] });
        Ok(())
    }

    fn candidates(&self, join: &StreamJoin, most: usize) -> Candidates {
        let mut candidates = Candidates::default();
        let mut room = most;
        for row in self.next..self.rows {
            if room == 0 {
                break;
            }
            if self.is_late(row, join.watermark) {
                candidates.late += 1;
                candidates.done += 1;
                continue;
            }
            let other = self.from.other();
            let mut at = match self.cursor.as_ref().filter(|_| row == self.next) {
                // A left row that is settled needs no second match.
                Some(cursor) if cursor.matched && self.is_settled_by_match(join) => None,
                Some(cursor) => Some(cursor.slot),
                None if self.is_alone(join, row) => None,
                None => join.held.first(self.keys.row(row).data(), other),
            };
            // A row without a match may be emitted too.
            let pays = at.is_none();
            while let Some(slot) = at.filter(|_| room > 0) {
                if !self.settled.contains(&slot) {
                    candidates.rows.push(row as u32);
                    candidates.slots.push(slot);
                }
                room -= 1;
                at = join.held.after(slot);
            }
            if at.is_some() {
                candidates.open = at;
                break;
            }
            room -= usize::from(pays);
            candidates.done += 1;
        }
        candidates
    }

    fn is_settled_by_match(&self, join: &StreamJoin) -> bool {
        join.spec.kind.is_left_only() && self.from == Input::Left
    }

    /// Emits the candidates that match, and notes that they did.
    fn pair(
        &mut self,
        join: &mut StreamJoin,
        candidates: &Candidates,
        matched: &mut [bool],
        output: &mut Output<TableBatch>,
    ) -> Result<()> {
        let rows = UInt32Array::from(candidates.rows.clone());
        let mine =
            take_arrays(&self.columns, &rows, None).map_err(|error| arrow_failed_to("join rows", &error))?;
        let theirs = join.columns_of(self.from.other(), candidates.slots.iter().copied())?;
        let (mut columns, right) = match self.from {
            Input::Left => (mine, theirs),
            Input::Right => (theirs, mine),
        };
        let left_columns = columns.len();
        columns.extend(right);
        let joined = batch(&join.joined, columns, rows.len())?;
        let mut kept = join.matches(&joined)?;
        let (left_only, other) = (join.spec.kind.is_left_only(), self.from.other());
        for (pair, row) in candidates.rows.iter().enumerate() {
            if !kept[pair] {
                continue;
            }
            let first = !std::mem::replace(&mut matched[*row as usize - self.next], true);
            let slot = candidates.slots[pair];
            if left_only {
                kept[pair] = if self.from == Input::Left { first } else { self.settled.insert(slot) };
            } else if join.spec.kind.emits_unmatched(other) {
                join.held.set_matched(slot);
            }
        }
        if join.spec.kind != StreamJoinKind::Anti {
            let pairs = match join.spec.kind {
                StreamJoinKind::Semi => {
                    batch(&join.spec.output, joined.columns()[..left_columns].to_vec(), rows.len())?
                }
                _ => batch(&join.spec.output, joined.columns().to_vec(), rows.len())?,
            };
            let pairs = filter_record_batch(&pairs, &BooleanArray::from(kept))
                .map_err(|error| arrow_failed_to("join rows", &error))?;
            output.builder().push(pairs);
        }
        Ok(())
    }

    /// Forgets the held rows that need no other match.
    pub(super) fn settle(self, join: &mut StreamJoin) {
        self.settled.into_iter().for_each(|slot| join.held.remove(slot));
    }

    /// Holds the rows that have met all others, or emits them if no match can come.
    fn hold(
        &self,
        join: &mut StreamJoin,
        done: usize,
        matched: &[bool],
        output: &mut Output<TableBatch>,
    ) -> Result<()> {
        let settles = self.is_settled_by_match(join);
        let emits = join.spec.kind.emits_unmatched(self.from);
        let mut unmatched = Vec::new();
        for (row, &matched) in (self.next..self.next + done).zip(matched) {
            if self.is_late(row, join.watermark) || (settles && matched) {
                continue;
            }
            let until = self.time(row).map_or(Timestamp::MAX, |time| join.until(self.from, time));
            if self.is_alone(join, row) || until <= join.watermark {
                if emits && !matched {
                    unmatched.push(row as u32);
                }
                continue;
            }
            let mut bytes = KeyBytes::default();
            bytes.set(self.encoded.row(row).data());
            let held = HeldRow { from: self.from, matched: emits && matched, until, row: bytes };
            join.held.add(self.keys.row(row).data(), held);
        }
        let rows = unmatched.len();
        let columns = take_arrays(&self.columns, &UInt32Array::from(unmatched), None)
            .map_err(|error| arrow_failed_to("join rows", &error))?;
        join.emit_unmatched(self.from, columns, rows, output)
    }
}
