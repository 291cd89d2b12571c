//! Sessions: groups of rows that lie close together in event time.

mod open;
mod operator;
mod times;

use super::bounds::Bounds;
use super::calls::{Calls, as_fields, shape};
use super::numbered::Numbered;
use super::part::{PartKey, part_hash};
use super::{AggregateCall, Emit, types_of};
use crate::error::{OperatorError, Result};
use crate::output::Output;
use crate::state::KeyedState;
use crate::table::TableBatch;
use crate::table::expression::arrow_failed_to;
use crate::table::keys::{KeyBytes, KeyEncoder, hash_bytes};
use crate::table::state_shape::StateShape;
use crate::time::Timestamp;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use open::{Directory, Ends, Open, Session, touched};
use std::fmt;
use std::sync::Arc;
use times::Times;

const SESSIONS: &str = "sessions";
const SHAPE: &str = "sessions-shape";

/// What makes a session, and when it is emitted.
#[derive(Debug, Clone)]
pub struct SessionGrouping {
    /// The group columns apart from the session, evaluated on the input; without any there is one instance.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The event time of a row: a timestamp.
    pub event_time: Arc<dyn PhysicalExpr>,
    /// For how long after a row its session goes on: a duration or an interval without months, which may
    /// differ from row to row.
    pub gap: Arc<dyn PhysicalExpr>,
    /// The place of the session among the group columns of the output.
    pub session: usize,
    /// The aggregates, evaluated on the input.
    pub aggregates: Vec<AggregateCall>,
    /// The schema of the input.
    pub input: SchemaRef,
    /// The schema of the output: the group columns, with the session (a struct of `start` and `end`) in its
    /// place, then the aggregates.
    pub output: SchemaRef,
    /// When sessions are emitted: [`Emit::Closed`] (once, when the watermark reaches their end),
    /// [`Emit::Complete`] or [`Emit::Final`]. A session that was emitted as it changes would have to be taken
    /// back when it is merged into another, so there is no update mode, as in Spark.
    pub emit: Emit,
}

/// Aggregation by session, as Spark's `session_window`.
///
/// A row by itself is a session from its event time until the gap after it, and sessions of one key that
/// touch are one, from the first start to the last end; those that one row joins are merged in order of time
/// before it is added. Rows without event time, without a gap or with one that is not positive are left
/// out. With several instances the rows come through [`partition_by`](crate::table::partition_by) the keys.
///
/// # Event time
/// With [`Emit::Closed`] a row whose own session is over, though it might touch one that is open, is late: dropped and
/// counted. Sessions are emitted, earliest end first, and forgotten before the watermark is passed on, in slices of
/// [`FIRINGS_PER_CALL`](crate::limits::FIRINGS_PER_CALL).
///
/// # Restart
/// A session that was open keeps its bounds if the query is started again with another gap.
///
/// # Errors
/// [`OperatorError::Expression`] if an expression or an aggregate fails on the data, or a gap has months.
///
/// # Cost
/// One hash probe for each row, and a search among the open sessions of its key. A row that joins sessions ends a
/// batch for the aggregates, so that results do not depend on how rows were cut into batches. A marker costs
/// the sessions that changed. The index of open sessions, which is not part of a snapshot, takes about 60 bytes
/// and the key for each key.
pub struct SessionAggregate {
    keys: KeyEncoder,
    key_count: usize,
    times: Times,
    session: usize,
    calls: Calls,
    emit: Emit,
    output: SchemaRef,
    shape: StateShape,
    state: KeyedState<PartKey, Session>,
    directory: Directory,
    ends: Ends,
    segment: Segment,
    watermark: Timestamp,
    /// Whether a session changed since all were emitted.
    changed: bool,
    /// The next slot, while all sessions are emitted.
    next_slot: u32,
}

/// Rows whose sessions are known and that are not yet added to them.
#[derive(Debug, Default)]
struct Segment {
    rows: Vec<u32>,
    /// The slot of each row's session.
    slots: Vec<u32>,
    /// The sessions of these rows.
    touched: Numbered,
}

impl Segment {
    fn add(&mut self, row: usize, slot: u32) {
        if self.touched.number_of(slot).is_none() {
            self.touched.add(slot);
        }
        self.rows.push(row as u32);
        self.slots.push(slot);
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.slots.clear();
        self.touched.clear();
    }

    /// The rows of the batch that are in it.
    fn take(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        match (self.rows.first(), self.rows.last()) {
            (Some(&first), Some(&last)) if (last - first) as usize + 1 == self.rows.len() => {
                Ok(rows.slice(first as usize, self.rows.len()))
            }
            _ => take_record_batch(rows, &UInt32Array::from(self.rows.clone()))
                .map_err(|error| arrow_failed_to("take the rows of sessions", &error)),
        }
    }
}

impl fmt::Debug for SessionAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionAggregate({}, {:?}, {} sessions)", self.shape, self.emit, self.state.len())
    }
}

impl SessionAggregate {
    /// An aggregation without sessions yet.
    ///
    /// # Errors
    /// If a column cannot be a key, an aggregate cannot be kept as state or needs its input sorted, the event time,
    /// the gap or the session have types that they cannot have, or sessions are to be emitted in another mode.
    pub fn new(grouping: &SessionGrouping) -> Result<SessionAggregate> {
        if !matches!(grouping.emit, Emit::Closed | Emit::Complete | Emit::Final) {
            let cause =
                "sessions cannot be emitted as they change, since they merge: use append or complete mode";
            return Err(OperatorError::Expression(cause.to_owned()));
        }
        let types = types_of(&grouping.keys, &grouping.input)?;
        let of = |expression| types_of(std::slice::from_ref(expression), &grouping.input);
        let (time_type, gap_type) = (of(&grouping.event_time)?, of(&grouping.gap)?);
        let bounds = Bounds::of(&grouping.output, grouping.session)?;
        let times = Times::new(&grouping.event_time, &grouping.gap, [&time_type[0], &gap_type[0]], bounds)?;
        let state = format!("{} and session of {}", shape(&types, &grouping.aggregates), times.unit());
        Ok(SessionAggregate {
            keys: KeyEncoder::new(grouping.keys.clone(), &types)?,
            key_count: grouping.keys.len(),
            shape: StateShape::new(SHAPE, SESSIONS, state),
            times,
            session: grouping.session,
            calls: Calls::new(&grouping.aggregates)?,
            emit: grouping.emit,
            output: Arc::clone(&grouping.output),
            state: KeyedState::new(SESSIONS),
            directory: Directory::new(),
            ends: Ends::default(),
            segment: Segment::default(),
            watermark: Timestamp::MIN,
            changed: false,
            next_slot: 0,
        })
    }

    /// Adds rows to their sessions.
    fn absorb(&mut self, rows: &RecordBatch, output: &mut Output<TableBatch>) -> Result<()> {
        let spans = self.times.spans(rows)?;
        let columns = self.keys.columns(rows)?;
        let encoded = if self.key_count > 0 { Some(self.keys.encode(&columns)?) } else { None };
        let (mut key, mut late) = (KeyBytes::default(), 0);
        for row in 0..rows.num_rows() {
            let Some((start, end)) = spans.of(row) else { continue };
            if self.emit == Emit::Closed && self.times.over(end) <= self.watermark {
                late += 1;
                continue;
            }
            key.set(encoded.as_ref().map_or(&[], |keys| keys.row(row).data()));
            let slot = self.session_of(&key, start, end, rows)?;
            self.segment.add(row, slot);
        }
        output.count_late(late);
        self.add_segment(rows)
    }

    /// The slot of the session that one from `start` to `end` is part of, with bounds that hold it.
    fn session_of(&mut self, key: &KeyBytes, start: i64, end: i64, rows: &RecordBatch) -> Result<u32> {
        let hash = hash_bytes(key.as_slice());
        let place = self.directory.place(hash, key);
        let opens = self.directory.at(place);
        let touched = touched(opens, start, end);
        let at = touched.start;
        if touched.is_empty() {
            // Every session of the key that has this start is one that this would touch.
            let part = PartKey { key: key.clone(), part: start };
            let group = self.calls.empty();
            let make = || Session { start, end, group };
            let (slot, _) = self.state.slot(part_hash(hash, start), &part, make);
            opens.insert(at, Open { start, end, slot });
            if self.emit == Emit::Closed {
                self.ends.set(slot, self.times.over(end));
            }
            return Ok(slot);
        }
        if touched.len() > 1 {
            let merged: Vec<Open> = opens.drain(at + 1..touched.end).collect();
            let into = opens[at].slot;
            self.merge(&merged, into, rows)?;
            let last = merged.iter().map(|open| open.end).max();
            let open = &mut self.directory.at(place)[at];
            open.end = last.map_or(open.end, |last| open.end.max(last));
        }
        let open = &mut self.directory.at(place)[at];
        (open.start, open.end) = (open.start.min(start), open.end.max(end));
        let open = *open;
        let held = self.state.at_mut(open.slot);
        (held.start, held.end) = (open.start, open.end);
        Ok(open.slot)
    }

    /// Merges sessions into an earlier one, in order of time, and forgets them.
    fn merge(&mut self, merged: &[Open], into: u32, rows: &RecordBatch) -> Result<()> {
        let waits = |slot| self.segment.touched.number_of(slot).is_some();
        if waits(into) || merged.iter().any(|open| waits(open.slot)) {
            self.add_segment(rows)?;
        }
        for open in merged {
            self.calls.merge(open.slot, into, &mut self.state)?;
            self.forget(open.slot);
        }
        Ok(())
    }

    /// Forgets the session in a slot, of which the directory no longer knows.
    fn forget(&mut self, slot: u32) {
        let (part, _) = self.state.at(slot).expect("invariant: the slots of sessions are held");
        let hash = part.hash();
        self.state.remove_slot(hash, slot);
        self.calls.forget(slot);
        self.ends.clear(slot);
    }

    /// Adds the rows that wait to their sessions.
    fn add_segment(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.segment.rows.is_empty() {
            return Ok(());
        }
        let rows = self.segment.take(rows)?;
        self.calls.update(&self.segment.slots, &rows, &mut self.state)?;
        self.segment.clear();
        self.changed = true;
        Ok(())
    }

    /// The output rows of sessions.
    fn results(&mut self, slots: &[u32]) -> Result<RecordBatch> {
        let held = |slot: &u32| self.state.at(*slot).expect("invariant: the slots of sessions are held");
        let mut columns: Vec<ArrayRef> = match self.key_count {
            0 => Vec::new(),
            _ => self.keys.decode(slots.iter().map(|slot| held(slot).0.key.as_slice()))?,
        };
        let starts = slots.iter().map(|slot| held(slot).1.start).collect();
        let ends = slots.iter().map(|slot| held(slot).1.end).collect();
        columns.insert(self.session, self.times.column(starts, ends)?);
        columns.extend(self.calls.results(slots, &self.state)?);
        as_fields(&mut columns, &self.output)?;
        RecordBatch::try_new(Arc::clone(&self.output), columns)
            .map_err(|error| arrow_failed_to("make the columns of sessions", &error))
    }
}
