//! Groups of equal keys.

mod closing;
mod emission;
mod groups;
mod numbers;

use super::calls::{Calls, GroupState, as_fields, shape};
use super::{Emit, Grouping, types_of};
use crate::batch::Batch;
use crate::error::{OperatorError, Result};
use crate::key::{Instance, owner_of};
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::KeyedState;
use crate::table::TableBatch;
use crate::table::expression::{arrow_failed_to, failed_to};
use crate::table::keys::{KeyBytes, KeyEncoder, hash_bytes};
use crate::table::state_shape::StateShape;
use crate::time::Timestamp;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_arrays};
use arrow::datatypes::SchemaRef;
use closing::Closing;
use datafusion_common::ScalarValue;
use groups::{ChangedSlots, Groups};
use std::fmt;
use std::sync::Arc;

const GROUPS: &str = "groups";
const SHAPE: &str = "groups-shape";

/// Grouped running aggregation: of all rows since the query began, or of the groups that are not over
/// ([`Grouping::over`]).
///
/// With several instances the rows come through [`partition_by`](crate::table::partition_by) the same keys.
/// Null is a group like any other. Results, null rules and overflow are DataFusion's.
///
/// # Event time
/// When the watermark moves on, the groups that are then over are emitted if [`Grouping::emit`] says so,
/// earliest first and in no order among those of one time, and forgotten, before the watermark is passed on.
/// They go in slices of [`FIRINGS_PER_CALL`](crate::limits::FIRINGS_PER_CALL) groups and no more than the
/// output takes, so that however many windows close together, a call stays short and the thread is free for
/// others in between.
///
/// # Errors
/// [`OperatorError::Expression`] if an argument or an aggregate fails on the data.
///
/// # Cost
/// One hash probe for each row, with those of many rows under way at once. Counts, sums, averages, minima and maxima
/// lie in columns by group, of 24 bytes for each aggregate and group besides the state, into which a marker moves
/// what changed: a marker costs what changed. Aggregates other than count, sum, avg, min and
/// max of numbers and times keep an accumulator for each group and are rebuilt from their stored state when
/// a group is touched for the first time after a marker. With event time, besides: one comparison for each
/// row, and an index of groups by the time they are over, which is not part of a snapshot: 4 bytes for each
/// group and about 60 for each distinct time, one insertion for each new group, and at a restore the keys
/// decoded once.
pub struct GroupedAggregate {
    keys: KeyEncoder,
    key_count: usize,
    calls: Calls,
    emit: Emit,
    output: SchemaRef,
    shape: StateShape,
    state: KeyedState<KeyBytes, GroupState>,
    /// The keys of the groups that are there without rows, until they have begun.
    always: Vec<KeyBytes>,
    groups: Groups,
    /// Which groups are over, where groups ever are.
    closing: Option<Closing>,
    /// Whether a group changed since all were emitted.
    changed: bool,
    /// The slots that changed in this micro-batch: each is emitted once, at its end.
    changed_slots: ChangedSlots,
    /// The next slot, while all groups are emitted.
    next_slot: u32,
}

impl fmt::Debug for GroupedAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GroupedAggregate({}, {:?}, {} groups)", self.shape, self.emit, self.state.len())
    }
}

impl GroupedAggregate {
    /// An aggregation without groups yet.
    ///
    /// # Errors
    /// If a column cannot be a key, an aggregate cannot be kept as state or needs its input sorted;
    /// `Emit::New` is asked for with aggregates, or `Emit::Closed` without a column that says when a group is
    /// over; or if that column bears no event time.
    pub fn new(grouping: &Grouping) -> Result<GroupedAggregate> {
        let wrong = |cause: &str| Err(OperatorError::Expression(cause.to_owned()));
        if grouping.emit == Emit::New && !grouping.aggregates.is_empty() {
            return wrong("groups with aggregates change: they cannot be emitted only when they are new");
        }
        if grouping.emit == Emit::Closed && grouping.over.is_none() {
            return wrong(
                "groups without event time are never over: they cannot be emitted only when they are; group by \
                 a window or a column with a watermark",
            );
        }
        let types = types_of(&grouping.keys, &grouping.input)?;
        let forgets = !matches!(grouping.emit, Emit::Complete | Emit::Final);
        let over = grouping.over.filter(|_| forgets);
        Ok(GroupedAggregate {
            keys: KeyEncoder::new(grouping.keys.clone(), &types)?,
            key_count: grouping.keys.len(),
            calls: Calls::new(&grouping.aggregates)?,
            emit: grouping.emit,
            output: Arc::clone(&grouping.output),
            shape: StateShape::new(SHAPE, GROUPS, shape(&types, &grouping.aggregates)),
            state: KeyedState::new(GROUPS),
            // Without group columns there is one group, and one instance.
            always: if grouping.keys.is_empty() { vec![KeyBytes::default()] } else { Vec::new() },
            // The slot of a group that is forgotten becomes that of another.
            groups: Groups::new(if over.is_none() { &types } else { &[] }),
            closing: over.map(|column| Closing::new(grouping, &types, column)).transpose()?,
            changed: false,
            changed_slots: ChangedSlots::default(),
            next_slot: 0,
        })
    }

    /// Groups that are there without rows, given by the values of their keys: the grand totals of grouping sets.
    /// Each is begun by the instance that owns it.
    ///
    /// # Errors
    /// If the values are not of the types of the keys.
    pub fn with_always(mut self, keys: &[Vec<ScalarValue>], instance: Instance) -> Result<Self> {
        for key in keys {
            let columns = key.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>, _>>();
            let columns = columns.map_err(|error| failed_to("make the key of a group", &error))?;
            let encoded = self.keys.encode(&columns)?;
            let bytes = encoded.row(0).data();
            if owner_of(hash_bytes(bytes), instance.parallelism) == instance.index {
                let mut key = KeyBytes::default();
                key.set(bytes);
                self.always.push(key);
            }
        }
        Ok(self)
    }

    /// Takes in rows from the front of the input, as many as touch at most `most` groups, and emits what is
    /// due.
    fn absorb(&mut self, input: &mut TableBatch, most: usize, output: &mut Output<TableBatch>) -> Result<()> {
        // With more rows than that, most of them would be looked at in vain and again the next time.
        let looked_at = input.rows().min(most.saturating_mul(2));
        let mut columns = if looked_at == input.rows() {
            self.keys.columns(input.rows_left())?
        } else {
            self.keys.columns(&input.rows_left().slice(0, looked_at))?
        };
        let in_time = match &self.closing {
            Some(closing) => Some(closing.in_time(&mut columns)?),
            None => None,
        };
        let in_groups = columns.first().map_or(looked_at, |column| column.len());
        self.find_groups(&columns, in_groups, most)?;
        let taken = self.groups.slots.len();
        if let (Some(closing), Some(in_time)) = (&mut self.closing, &in_time) {
            for &row in &self.groups.new_rows {
                closing.add(in_time, row, self.groups.slots[row as usize]);
            }
        }
        let rows = match in_time.and_then(|in_time| in_time.kept) {
            None => input.split_front(taken),
            Some(kept) => {
                // The late rows before the first one left over go with those before them.
                let left_over = kept.values().set_indices().nth(taken);
                let consumed = left_over.unwrap_or(looked_at);
                output.count_late((consumed - taken) as u64);
                filter_record_batch(&input.split_front(consumed), &kept.slice(0, consumed))
                    .map_err(|error| arrow_failed_to("drop late rows", &error))?
            }
        };
        if taken == 0 {
            return Ok(());
        }
        self.calls.update(&self.groups.slots, &rows, &mut self.state)?;
        self.changed = true;
        if taken < in_groups {
            columns.iter_mut().for_each(|column| *column = column.slice(0, taken));
        }
        self.emit_touched(columns, taken, output)
    }

    /// Finds the groups of the first rows with these keys, as many as there are in `most` groups.
    fn find_groups(&mut self, columns: &[ArrayRef], rows: usize, most: usize) -> Result<()> {
        let (groups, calls, state) = (&mut self.groups, &self.calls, &mut self.state);
        if columns.is_empty() {
            groups.find_only(rows, calls, state);
            return Ok(());
        }
        if rows > most {
            groups.find_some(&self.keys.encode(columns)?, most, calls, state);
            return Ok(());
        }
        match groups.find_numbers(columns) {
            None => groups.find(&self.keys.encode(columns)?, calls, state),
            Some(numbers) => {
                if let Some(unknown) = groups.unknown(columns)? {
                    groups.learn(&numbers, &self.keys.encode(&unknown)?, calls, state);
                }
            }
        }
        Ok(())
    }

    /// Emits what is due of the groups of a batch, of whose rows `columns` are the keys.
    fn emit_touched(
        &mut self,
        mut columns: Vec<ArrayRef>,
        rows: usize,
        output: &mut Output<TableBatch>,
    ) -> Result<()> {
        let (first_rows, slots) = match self.emit {
            Emit::Update if output.by_epoch() => {
                self.changed_slots.add(&self.groups.slots);
                return Ok(());
            }
            Emit::Update => {
                let (first_rows, slots) = self.groups.first_rows();
                (first_rows, slots.to_vec())
            }
            // There are no aggregates whose results would have to be looked up.
            Emit::New => (std::mem::take(&mut self.groups.new_rows), Vec::new()),
            Emit::Complete | Emit::Final | Emit::Closed => return Ok(()),
        };
        if first_rows.is_empty() {
            return Ok(());
        }
        if first_rows.len() < rows {
            columns = take_arrays(&columns, &UInt32Array::from(first_rows), None)
                .map_err(|error| arrow_failed_to("take the groups of a batch", &error))?;
        }
        output.builder().push(self.results(columns, &slots)?);
        Ok(())
    }

    /// The output rows of groups, of which `columns` are the group columns.
    fn results(&mut self, mut columns: Vec<ArrayRef>, slots: &[u32]) -> Result<RecordBatch> {
        columns.extend(self.calls.results(slots, &self.state)?);
        as_fields(&mut columns, &self.output)?;
        RecordBatch::try_new(Arc::clone(&self.output), columns)
            .map_err(|error| arrow_failed_to("make the columns of an aggregation", &error))
    }

    /// The group columns of groups.
    fn columns_of(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let held = |slot: &u32| self.state.at(*slot).expect("invariant: the slots are held").0;
        match self.key_count {
            0 => Ok(Vec::new()),
            _ => self.keys.decode(slots.iter().map(|slot| held(slot).as_slice())),
        }
    }
}

impl Operator<TableBatch, TableBatch> for GroupedAggregate {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        let emits = match self.emit {
            Emit::Update => !output.by_epoch(),
            Emit::New => true,
            Emit::Complete | Emit::Final | Emit::Closed => false,
        };
        while input.rows() > 0 && !(emits && output.is_full()) {
            let most = if emits { output.room() } else { usize::MAX };
            self.absorb(input, most, output)?;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        let progress = self.close(watermark, output)?;
        if progress == Progress::Done {
            output.emit_watermark(watermark);
        }
        Ok(progress)
    }

    fn end_epoch(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        match self.emit {
            Emit::Complete => {
                self.changed |= !self.begin_always().is_empty();
                if !self.changed {
                    return Ok(Progress::Done);
                }
                output.emit_whole();
                self.emit_all(output)
            }
            Emit::Update => {
                let begun = self.begin_always();
                self.changed_slots.add(&begun);
                self.emit_changed(output)
            }
            Emit::Final | Emit::New | Emit::Closed => Ok(Progress::Done),
        }
    }

    fn finish(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        match self.emit {
            Emit::Final => {
                self.begin_always();
                self.emit_all(output)
            }
            Emit::Closed => self.close(Timestamp::MAX, output),
            _ => Ok(Progress::Done),
        }
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.calls.store(&mut self.state)?;
        let mut tables = vec![self.state.snapshot()];
        self.shape.store(&mut tables)?;
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<TableBatch>) -> Result<()> {
        self.shape.check(restore)?;
        self.state.restore(restore)?;
        self.calls.restore(&self.state);
        self.note_restored()
    }
}
