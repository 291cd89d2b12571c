//! Grouped aggregation.
//!
//! Groups are kept in keyed state, so that a marker costs what changed since the last one. Counts, sums,
//! averages, minima and maxima are computed here, a batch at a time; every other aggregate by DataFusion's
//! own accumulators, one for each group.

mod cell;
mod groups;
mod native;
mod others;

use super::TableBatch;
use super::expression::{arrow_failed_to, as_type, failed, failed_to};
use super::keys::{KeyBytes, KeyEncoder, hash_bytes};
use crate::batch::Batch;
use crate::error::{OperatorError, Result};
use crate::key::{Instance, owner_of};
use crate::limits::TABLE_ROWS_AT_ONCE;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot, TableSnapshot};
use crate::state::KeyedState;
use crate::state::codec::{decode, encode};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::{DataType, SchemaRef};
use cell::{Cell, GroupState};
use datafusion_common::ScalarValue;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use groups::{ChangedSlots, Groups};
use native::Native;
use others::Others;
use std::fmt;
use std::sync::Arc;

const GROUPS: &str = "groups";
const SHAPE: &str = "groups-shape";

/// When a group is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// After each batch the groups it touched, each once, with their current values; in a micro-batch at the
    /// end of the epoch those that changed in it, so that an epoch has the same rows however its input was cut
    /// into batches. An aggregation without group columns has its one row from the first epoch on.
    Update,
    /// All groups at the end of each epoch in which one changed; an aggregation without group columns has
    /// its one row from the first epoch on. What is restored counts as unchanged.
    Complete,
    /// All groups once the input has ended.
    Final,
    /// Each new group as it is first seen: DISTINCT. Only without aggregates.
    New,
}

/// One aggregate of a [`Grouping`].
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// The function on its arguments, as DataFusion's planner makes it
    /// (`datafusion_physical_expr::aggregate::LoweredAggregateBuilder`).
    pub function: Arc<AggregateFunctionExpr>,
    /// `FILTER (WHERE ...)`: only rows for which it is true count.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The schema of the input.
    pub input: SchemaRef,
}

/// What is grouped by what, and when it is emitted.
#[derive(Debug, Clone)]
pub struct Grouping {
    /// The group columns, evaluated on the input; none make one group of all rows, in one instance.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The aggregates, evaluated on the input.
    pub aggregates: Vec<AggregateCall>,
    /// The schema of the input.
    pub input: SchemaRef,
    /// The schema of the output: the group columns, then the aggregates.
    pub output: SchemaRef,
    /// When groups are emitted.
    pub emit: Emit,
}

/// The types of expressions on rows of a schema.
///
/// # Errors
/// If an expression does not fit the schema.
pub(super) fn types_of(expressions: &[Arc<dyn PhysicalExpr>], input: &SchemaRef) -> Result<Vec<DataType>> {
    expressions
        .iter()
        .map(|expression| expression.data_type(input).map_err(|error| failed(expression.as_ref(), &error)))
        .collect()
}

/// Grouped running aggregation, of all rows since the query began.
///
/// With several instances the rows come through [`super::partition_by`] the same keys. Null is a group like
/// any other. Results, null rules and overflow are DataFusion's.
///
/// # Errors
/// [`OperatorError::Expression`] if an argument or an aggregate fails on the data.
///
/// # Cost
/// One hash probe for each row. A marker costs what changed. Aggregates other than count, sum, avg, min and
/// max of numbers and times keep an accumulator for each group and are rebuilt from their stored state when
/// a group is touched for the first time after a marker.
pub struct GroupedAggregate {
    keys: KeyEncoder,
    key_count: usize,
    natives: Vec<Native>,
    others: Others,
    /// For each aggregate in order, whether it is native; each kind is in the order of the aggregates.
    is_native: Vec<bool>,
    emit: Emit,
    output: SchemaRef,
    shape: String,
    shape_stored: bool,
    state: KeyedState<KeyBytes, GroupState>,
    /// The keys of the groups that are there without rows, until they have begun.
    always: Vec<KeyBytes>,
    groups: Groups,
    /// The cells of the groups of a batch, aggregate by aggregate.
    cells: Vec<Cell>,
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
    /// If a column cannot be a key, an aggregate cannot be kept as state or needs its input sorted, or
    /// `Emit::New` is asked for with aggregates.
    pub fn new(grouping: &Grouping) -> Result<GroupedAggregate> {
        if grouping.emit == Emit::New && !grouping.aggregates.is_empty() {
            let cause = "groups with aggregates change: they cannot be emitted only when they are new";
            return Err(OperatorError::Expression(cause.to_owned()));
        }
        let types = types_of(&grouping.keys, &grouping.input)?;
        let (mut natives, mut others, mut is_native) = (Vec::new(), Vec::new(), Vec::new());
        for call in &grouping.aggregates {
            let native = Native::of(call);
            is_native.push(native.is_some());
            match native {
                Some(native) => natives.push(native),
                None => others.push(call.clone()),
            }
        }
        Ok(GroupedAggregate {
            keys: KeyEncoder::new(grouping.keys.clone(), &types)?,
            key_count: grouping.keys.len(),
            natives,
            others: Others::new(others)?,
            is_native,
            emit: grouping.emit,
            output: Arc::clone(&grouping.output),
            shape: shape(&types, &grouping.aggregates),
            shape_stored: false,
            state: KeyedState::new(GROUPS),
            // Without group columns there is one group, and one instance.
            always: if grouping.keys.is_empty() { vec![KeyBytes::default()] } else { Vec::new() },
            groups: Groups::default(),
            cells: Vec::new(),
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
        self.groups.clear();
        let (groups, cells, state) = (&mut self.groups, self.natives.len(), &mut self.state);
        if columns.is_empty() {
            groups.add(std::iter::repeat_n(&[][..], looked_at), most, cells, state);
        } else {
            let keys = self.keys.encode(&columns)?;
            groups.add(keys.iter().map(|key| key.data()), most, cells, state);
        }
        let taken = self.groups.of_row.len();
        if taken < looked_at {
            columns.iter_mut().for_each(|column| *column = column.slice(0, taken));
        }
        let rows = input.split_front(taken);
        self.update(&rows)?;
        self.changed = true;
        let first_rows = match self.emit {
            Emit::Update if output.by_epoch() => {
                self.changed_slots.add(&self.groups.slots);
                return Ok(());
            }
            Emit::Update => std::mem::take(&mut self.groups.first_rows),
            Emit::New => std::mem::take(&mut self.groups.new_rows),
            Emit::Complete | Emit::Final => return Ok(()),
        };
        if first_rows.is_empty() {
            return Ok(());
        }
        if first_rows.len() < taken {
            columns = take_arrays(&columns, &UInt32Array::from(first_rows), None)
                .map_err(|error| arrow_failed_to("take the groups of a batch", &error))?;
        }
        let slots = std::mem::take(&mut self.groups.slots);
        output.builder().push(self.results(columns, &slots)?);
        Ok(())
    }

    fn update(&mut self, rows: &RecordBatch) -> Result<()> {
        let groups = self.groups.slots.len();
        self.cells.clear();
        self.cells.resize(groups * self.natives.len(), Cell::default());
        if !self.natives.is_empty() && groups > 0 {
            for (group, &slot) in self.groups.slots.iter().enumerate() {
                let (_, held) = self.state.at(slot).expect("invariant: the slots of a batch are held");
                let places = self.cells[group..].iter_mut().step_by(groups);
                places.zip(&held.cells).for_each(|(place, cell)| *place = *cell);
            }
            for (native, cells) in self.natives.iter().zip(self.cells.chunks_exact_mut(groups)) {
                native.update(cells, &self.groups.of_row, rows)?;
            }
            for (group, &slot) in self.groups.slots.iter().enumerate() {
                let places = self.cells[group..].iter().step_by(groups);
                let held = &mut self.state.at_mut(slot).cells;
                held.iter_mut().zip(places).for_each(|(cell, place)| *cell = *place);
            }
        }
        self.others.update(&self.groups, rows, &self.state)
    }

    /// The output rows of groups, of which `columns` are the group columns.
    fn results(&mut self, mut columns: Vec<ArrayRef>, slots: &[u32]) -> Result<RecordBatch> {
        let mut others = self.others.results(slots, &self.state)?.into_iter();
        let mut natives = self.natives.iter().enumerate();
        for &is_native in &self.is_native {
            let column = if is_native {
                let (number, native) = natives.next().expect("invariant: as many as were counted");
                let held = |slot: &u32| self.state.at(*slot).expect("invariant: the slots are held").1;
                native.results(&mut slots.iter().map(|slot| held(slot).cells[number]))
            } else {
                others.next().expect("invariant: as many as were counted")
            };
            columns.push(column);
        }
        for (column, field) in columns.iter_mut().zip(self.output.fields()) {
            *column = as_type(Arc::clone(column), field.data_type())?;
        }
        RecordBatch::try_new(Arc::clone(&self.output), columns)
            .map_err(|error| arrow_failed_to("make the columns of an aggregation", &error))
    }

    /// Begins the groups that are there without rows and have not begun. Returns their slots.
    fn begin_always(&mut self) -> Vec<u32> {
        let mut begun = Vec::new();
        for key in std::mem::take(&mut self.always) {
            let make = || GroupState::new(self.natives.len());
            let (slot, new) = self.state.slot(hash_bytes(key.as_slice()), &key, make);
            if new {
                begun.push(slot);
            }
        }
        begun
    }

    /// Emits a slice of all groups.
    fn emit_all(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        let most = output.room().clamp(1, TABLE_ROWS_AT_ONCE);
        let end = self.state.slots_end();
        let mut slots = Vec::with_capacity(most);
        while slots.len() < most && self.next_slot < end {
            if self.state.at(self.next_slot).is_some() {
                slots.push(self.next_slot);
            }
            self.next_slot += 1;
        }
        self.emit_slots(&slots, output)?;
        if self.next_slot < end {
            return Ok(Progress::Again);
        }
        self.next_slot = 0;
        self.changed = false;
        Ok(Progress::Done)
    }

    /// Emits a slice of the groups that changed in this epoch.
    fn emit_changed(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        let most = output.room().clamp(1, TABLE_ROWS_AT_ONCE);
        let slots = self.changed_slots.take(most);
        self.emit_slots(&slots, output)?;
        if self.changed_slots.is_empty() { Ok(Progress::Done) } else { Ok(Progress::Again) }
    }

    fn emit_slots(&mut self, slots: &[u32], output: &mut Output<TableBatch>) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let held = |slot: &u32| self.state.at(*slot).expect("invariant: the slots are held").0;
        let columns = match self.key_count {
            0 => Vec::new(),
            _ => self.keys.decode(slots.iter().map(|slot| held(slot).as_slice()))?,
        };
        let rows = self.results(columns, slots)?;
        output.builder().push(rows);
        Ok(())
    }
}

/// What the state depends on: two aggregations of one shape can read each other's.
fn shape(keys: &[DataType], aggregates: &[AggregateCall]) -> String {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let call = |call: &AggregateCall| {
        let function = &call.function;
        let types: Vec<String> = function
            .expressions()
            .iter()
            .map(|argument| argument.data_type(&call.input).map_or_else(|_| "?".into(), |t| t.to_string()))
            .collect();
        let distinct = if function.is_distinct() { "DISTINCT " } else { "" };
        let native = if Native::of(call).is_some() { "" } else { " by accumulator" };
        format!("{}({distinct}{}){native}", function.fun().name(), types.join(", "))
    };
    let aggregates: Vec<String> = aggregates.iter().map(call).collect();
    format!("[{}] by [{}]", aggregates.join(", "), keys.join(", "))
}

impl Operator<TableBatch, TableBatch> for GroupedAggregate {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        let emits = match self.emit {
            Emit::Update => !output.by_epoch(),
            Emit::New => true,
            Emit::Complete | Emit::Final => false,
        };
        while input.rows() > 0 && !(emits && output.is_full()) {
            let most = if emits { output.room() } else { usize::MAX };
            self.absorb(input, most, output)?;
        }
        Ok(())
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
            Emit::Final | Emit::New => Ok(Progress::Done),
        }
    }

    fn finish(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        if self.emit != Emit::Final {
            return Ok(Progress::Done);
        }
        self.begin_always();
        self.emit_all(output)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        self.others.store(&mut self.state)?;
        let mut tables = vec![self.state.snapshot()];
        if !std::mem::replace(&mut self.shape_stored, true) {
            let mut bytes = Vec::new();
            encode(SHAPE, &self.shape, &mut bytes)?;
            tables.push(TableSnapshot { table: SHAPE, full: true, chunks: vec![(0, Arc::new(bytes))] });
        }
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<TableBatch>) -> Result<()> {
        for chunk in restore.image.chunks(SHAPE) {
            let stored: String = decode(SHAPE, chunk)?;
            if stored != self.shape {
                let cause = format!("it holds {stored}, this query keeps {}", self.shape);
                return Err(OperatorError::Decode { table: GROUPS.to_owned(), cause });
            }
        }
        self.state.restore(restore)
    }
}
