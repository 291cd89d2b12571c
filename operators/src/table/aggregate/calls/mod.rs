//! The aggregates of a query on groups that are kept in slots of keyed state.

mod cell;
mod cells;
mod native;
mod others;

pub(super) use cell::{GroupState, GroupStates, HoldsGroup};

use crate::error::Result;
use crate::limits::PAGES_BEHIND;
use crate::table::expression::as_type;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use cell::Cell;
use cells::{Cells, Changed};
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

/// The aggregates of a query.
///
/// What they have come to is held here, by the slot of the group. The keyed state has it as of the last snapshot,
/// for which what changed is moved there.
pub(super) struct Calls {
    natives: Vec<Native>,
    /// For each native aggregate, its cells.
    cells: Vec<Cells>,
    /// The groups whose cells are not those in the keyed state.
    changed: Changed,
    others: Others,
    /// For each aggregate in order, whether it is native; each kind is in the order of the aggregates.
    is_native: Vec<bool>,
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
        let cells = natives.iter().map(|_| Cells::default()).collect();
        Ok(Calls { natives, cells, changed: Changed::default(), others: Others::new(others)?, is_native })
    }

    /// The state of a group that has no rows.
    #[inline]
    pub(super) fn empty(&self) -> GroupState {
        GroupState::new(self.natives.len())
    }

    /// Adds rows to their groups, in order; `slots` has the slot of each row's group.
    pub(super) fn update(
        &mut self,
        slots: &[u32],
        rows: &RecordBatch,
        state: &mut impl GroupStates,
    ) -> Result<()> {
        if !self.natives.is_empty() {
            self.note_changed(slots, state);
            for (native, cells) in self.natives.iter().zip(&mut self.cells) {
                cells.reserve(state.slots_end());
                native.update(cells, slots, rows)?;
            }
        }
        self.others.update(slots, rows, state)
    }

    /// Notes that the cells of groups are about to change.
    fn note_changed(&mut self, slots: &[u32], state: &mut impl GroupStates) {
        if self.changed.stretches() > PAGES_BEHIND {
            self.store_cells(state);
        }
        self.changed.add(slots, state.slots_end());
    }

    /// The current results of groups, one column for each aggregate.
    pub(super) fn results(&mut self, slots: &[u32], state: &impl GroupStates) -> Result<Vec<ArrayRef>> {
        let others = self.others.results(slots, state)?;
        Ok(self
            .in_order(others, |native, cells| native.results(&mut slots.iter().map(|slot| cells.get(*slot)))))
    }

    /// The results of lists of groups, none of them empty, those of a list merged in order: one row for each
    /// list. The groups stay as they are.
    pub(super) fn merged_results<'a>(
        &mut self,
        lists: impl ExactSizeIterator<Item = &'a [u32]> + Clone,
        state: &mut impl GroupStates,
    ) -> Result<Vec<ArrayRef>> {
        let others = self.others.merged_results(lists.clone(), state)?;
        Ok(self.in_order(others, |native, cells| {
            let merged = |slots: &[u32]| {
                let mut cell = Cell::default();
                slots.iter().for_each(|slot| native.merge(&mut cell, &cells.get(*slot)));
                cell
            };
            native.results(&mut lists.clone().map(merged))
        }))
    }

    /// The columns of both kinds of aggregates, in the order of the aggregates.
    fn in_order(
        &self,
        others: Vec<ArrayRef>,
        results: impl Fn(&Native, &Cells) -> ArrayRef,
    ) -> Vec<ArrayRef> {
        let (mut others, mut natives) = (others.into_iter(), self.natives.iter().zip(&self.cells));
        let column = |&is_native: &bool| {
            if is_native {
                let (native, cells) = natives.next().expect("invariant: as many as were counted");
                results(native, cells)
            } else {
                others.next().expect("invariant: as many as were counted")
            }
        };
        self.is_native.iter().map(column).collect()
    }

    /// Adds a group to another, as if its rows came after those of the other; it is left as it was or empty.
    pub(super) fn merge(&mut self, from: u32, into: u32, state: &mut impl GroupStates) -> Result<()> {
        if !self.natives.is_empty() {
            self.note_changed(&[into], state);
            for (native, cells) in self.natives.iter().zip(&mut self.cells) {
                cells.reserve(state.slots_end());
                let merged = cells.get(from);
                native.merge(cells.at(into), &merged);
            }
        }
        self.others.merge(from, into, state)
    }

    /// Forgets a group that was removed from the keyed state.
    pub(super) fn forget(&mut self, slot: u32) {
        self.cells.iter_mut().for_each(|cells| cells.clear(slot));
        self.others.forget(slot);
    }

    /// Brings the keyed state up to date, for a snapshot.
    ///
    /// # Cost
    /// What changed since the last call.
    pub(super) fn store(&mut self, state: &mut impl GroupStates) -> Result<()> {
        self.store_cells(state);
        self.others.store(state)
    }

    fn store_cells(&mut self, state: &mut impl GroupStates) {
        let cells = &self.cells;
        self.changed.take(|slot| {
            // Its group may be gone.
            if state.held(slot).is_some() {
                let held = &mut state.group_mut(slot).cells;
                held.iter_mut().zip(cells).for_each(|(held, cells)| *held = cells.get(slot));
            }
        });
    }

    /// Takes over what the keyed state holds after a restore.
    pub(super) fn restore(&mut self, state: &impl GroupStates) {
        for (number, cells) in self.cells.iter_mut().enumerate() {
            cells.reserve(state.slots_end());
            for slot in 0..state.slots_end() {
                if let Some(cell) = state.held(slot).and_then(|group| group.cells.get(number)) {
                    *cells.at(slot) = *cell;
                }
            }
        }
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
