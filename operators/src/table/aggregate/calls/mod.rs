//! The aggregates of a query on groups that are kept in slots of keyed state.

mod cell;
mod native;
mod others;

pub(super) use cell::{GroupState, GroupStates, HoldsGroup};

use crate::error::Result;
use crate::table::expression::as_type;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use cell::Cell;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::AggregateFunctionExpr;
use native::Native;
use others::Others;
use std::sync::Arc;

/// One aggregate of a [`Grouping`](super::Grouping).
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

/// The rows of a batch by group: groups are numbered from 0 in the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grouped<'a> {
    /// The group of each row.
    pub(super) of_row: &'a [u32],
    /// The slot of each group.
    pub(super) slots: &'a [u32],
}

/// The aggregates of a query.
pub(super) struct Calls {
    natives: Vec<Native>,
    others: Others,
    /// For each aggregate in order, whether it is native; each kind is in the order of the aggregates.
    is_native: Vec<bool>,
    /// The cells of the groups of a batch, aggregate by aggregate.
    cells: Vec<Cell>,
}

impl Calls {
    /// # Errors
    /// If an aggregate cannot be kept as state or needs its input sorted.
    pub(super) fn new(aggregates: &[AggregateCall]) -> Result<Calls> {
        let (mut natives, mut others, mut is_native) = (Vec::new(), Vec::new(), Vec::new());
        for call in aggregates {
            let native = Native::of(call);
            is_native.push(native.is_some());
            match native {
                Some(native) => natives.push(native),
                None => others.push(call.clone()),
            }
        }
        Ok(Calls { natives, others: Others::new(others)?, is_native, cells: Vec::new() })
    }

    /// The state of a group that has no rows.
    #[inline]
    pub(super) fn empty(&self) -> GroupState {
        GroupState::new(self.natives.len())
    }

    /// Adds rows to their groups, in order.
    pub(super) fn update(
        &mut self,
        grouped: Grouped<'_>,
        rows: &RecordBatch,
        state: &mut impl GroupStates,
    ) -> Result<()> {
        let groups = grouped.slots.len();
        self.cells.clear();
        self.cells.resize(groups * self.natives.len(), Cell::default());
        if !self.natives.is_empty() && groups > 0 {
            for (group, &slot) in grouped.slots.iter().enumerate() {
                let places = self.cells[group..].iter_mut().step_by(groups);
                places.zip(&state.group(slot).cells).for_each(|(place, cell)| *place = *cell);
            }
            for (native, cells) in self.natives.iter().zip(self.cells.chunks_exact_mut(groups)) {
                native.update(cells, grouped.of_row, rows)?;
            }
            for (group, &slot) in grouped.slots.iter().enumerate() {
                let places = self.cells[group..].iter().step_by(groups);
                let held = &mut state.group_mut(slot).cells;
                held.iter_mut().zip(places).for_each(|(cell, place)| *cell = *place);
            }
        }
        self.others.update(grouped, rows, state)
    }

    /// The current results of groups, one column for each aggregate.
    pub(super) fn results(&mut self, slots: &[u32], state: &impl GroupStates) -> Result<Vec<ArrayRef>> {
        let others = self.others.results(slots, state)?;
        Ok(self.in_order(others, |number, native| {
            native.results(&mut slots.iter().map(|slot| state.group(*slot).cells[number]))
        }))
    }

    /// The results of lists of groups, none of them empty, those of a list merged in order: one row for each
    /// list. The groups stay as they are.
    pub(super) fn merged_results<'a>(
        &mut self,
        lists: impl ExactSizeIterator<Item = &'a [u32]> + Clone,
        state: &mut impl GroupStates,
    ) -> Result<Vec<ArrayRef>> {
        let others = self.others.merged_results(lists.clone(), state)?;
        Ok(self.in_order(others, |number, native| {
            let merged = |slots: &[u32]| {
                let mut cell = Cell::default();
                slots.iter().for_each(|slot| native.merge(&mut cell, &state.group(*slot).cells[number]));
                cell
            };
            native.results(&mut lists.clone().map(merged))
        }))
    }

    /// The columns of both kinds of aggregates, in the order of the aggregates.
    fn in_order(&self, others: Vec<ArrayRef>, results: impl Fn(usize, &Native) -> ArrayRef) -> Vec<ArrayRef> {
        let (mut others, mut natives) = (others.into_iter(), self.natives.iter().enumerate());
        let column = |&is_native: &bool| {
            if is_native {
                let (number, native) = natives.next().expect("invariant: as many as were counted");
                results(number, native)
            } else {
                others.next().expect("invariant: as many as were counted")
            }
        };
        self.is_native.iter().map(column).collect()
    }

    /// Adds a group to another, as if its rows came after those of the other; it is left as it was or empty.
    pub(super) fn merge(&mut self, from: u32, into: u32, state: &mut impl GroupStates) -> Result<()> {
        if !self.natives.is_empty() {
            let merged = state.group(from).cells.clone();
            let cells = &mut state.group_mut(into).cells;
            for ((native, cell), merged) in self.natives.iter().zip(cells).zip(&merged) {
                native.merge(cell, merged);
            }
        }
        self.others.merge(from, into, state)
    }

    /// Forgets what is not in the keyed state of a group that is removed from it.
    pub(super) fn forget(&mut self, slot: u32) {
        self.others.forget(slot);
    }

    /// Moves all of it into the keyed state, for a snapshot.
    pub(super) fn store(&mut self, state: &mut impl GroupStates) -> Result<()> {
        self.others.store(state)
    }
}

/// What the state depends on: two aggregations of one shape can read each other's.
pub(super) fn shape(keys: &[DataType], aggregates: &[AggregateCall]) -> String {
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

/// Columns as the types of their fields.
pub(super) fn as_fields(columns: &mut [ArrayRef], output: &SchemaRef) -> Result<()> {
    for (column, field) in columns.iter_mut().zip(output.fields()) {
        *column = as_type(Arc::clone(column), field.data_type())?;
    }
    Ok(())
}
