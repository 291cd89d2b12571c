//! The aggregates that DataFusion computes: one accumulator for each group.

use super::AggregateCall;
use super::cell::{GroupStates, SharedBytes};
use crate::error::{OperatorError, Result};
use crate::table::aggregate::numbered::Numbered;
use crate::table::expression::{arrow_failed_to, as_type, condition, evaluate_all, failed_to};
use crate::table::keys::converter;
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::DataType;
use arrow::row::RowConverter;
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::Accumulator;
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashMap;
use std::sync::Arc;

type Accumulators = Vec<Box<dyn Accumulator>>;

/// The accumulators of the groups touched since the last snapshot. Reading an accumulator's state consumes
/// it, so a snapshot takes them all down; a group that is touched again is built from its stored state.
pub(super) struct Others {
    calls: Vec<Other>,
    /// Turns the states of all calls of a group into one row.
    converter: RowConverter,
    live: HashMap<u32, Accumulators>,
    /// The groups of a batch, numbered, and the group of each row.
    numbered: Numbered,
    of_row: Vec<u32>,
}

/// The rows of a batch by group: groups are numbered from 0 in the batch.
#[derive(Clone, Copy)]
struct Grouped<'a> {
    /// The group of each row.
    of_row: &'a [u32],
    /// The slot of each group.
    slots: &'a [u32],
}

struct Other {
    call: AggregateCall,
    /// The arguments, and behind them what the call is ordered by.
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    state_types: Vec<DataType>,
}

impl Other {
    fn new(call: AggregateCall) -> Result<Other> {
        let function = &call.function;
        if function.order_sensitivity().hard_requires() {
            return Err(OperatorError::Expression(format!(
                "`{}` needs its input sorted, which a stream is not; use array_agg(... ORDER BY ...)",
                function.name()
            )));
        }
        let mut arguments = function.expressions();
        arguments.extend(function.order_bys().iter().map(|order| Arc::clone(&order.expr)));
        let fields = function.state_fields().map_err(|error| failed(&call, &error))?;
        let state_types = fields.iter().map(|field| field.data_type().clone()).collect();
        Ok(Other { call, arguments, state_types })
    }

    fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        self.call.function.create_accumulator().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &DataFusionError) -> OperatorError {
        failed(&self.call, error)
    }
}

fn failed(call: &AggregateCall, error: &DataFusionError) -> OperatorError {
    failed_to(&format!("compute `{}`", call.function.name()), error)
}

impl Others {
    pub(super) fn new(calls: Vec<AggregateCall>) -> Result<Others> {
        let calls = calls.into_iter().map(Other::new).collect::<Result<Vec<_>>>()?;
        let converter = converter(calls.iter().flat_map(|call| call.state_types.iter().cloned()))?;
        let (live, numbered) = (HashMap::new(), Numbered::default());
        Ok(Others { calls, converter, live, numbered, of_row: Vec::new() })
    }

    /// Adds rows to the accumulators of their groups; `slots` has the slot of each row's group.
    pub(super) fn update(
        &mut self,
        slots: &[u32],
        rows: &RecordBatch,
        state: &impl GroupStates,
    ) -> Result<()> {
        if self.calls.is_empty() {
            return Ok(());
        }
        self.numbered.clear();
        self.of_row.clear();
        for &slot in slots {
            let number = self.numbered.number_of(slot).unwrap_or_else(|| self.numbered.add(slot));
            self.of_row.push(number);
        }
        for &slot in self.numbered.slots() {
            if !self.live.contains_key(&slot) {
                let accumulators = self.accumulators(slot, state)?;
                self.live.insert(slot, accumulators);
            }
        }
        for number in 0..self.calls.len() {
            self.update_call(number, rows)?;
        }
        Ok(())
    }

    fn update_call(&mut self, number: usize, rows: &RecordBatch) -> Result<()> {
        let groups = Grouped { of_row: &self.of_row, slots: self.numbered.slots() };
        let call = &self.calls[number];
        let mut columns = evaluate_all(&call.arguments, rows)?;
        let mask = match &call.call.filter {
            Some(filter) => Some(condition(filter.as_ref(), rows)?),
            None => None,
        };
        let counts = |row: usize| mask.as_ref().is_none_or(|mask| mask.value(row));
        let (order, ends) = by_group(groups, counts);
        let mixed = groups.slots.len() > 1 || order.len() < rows.num_rows();
        if mixed {
            columns = take_arrays(&columns, &UInt32Array::from(order), None)
                .map_err(|error| arrow_failed_to("sort rows by group", &error))?;
        }
        let mut start = 0;
        for (&slot, &end) in groups.slots.iter().zip(&ends) {
            if end > start {
                let part: Vec<ArrayRef> = columns.iter().map(|c| c.slice(start, end - start)).collect();
                let live = self.live.get_mut(&slot).expect("invariant: touched groups are live");
                live[number].update_batch(&part).map_err(|error| call.failed(&error))?;
            }
            start = end;
        }
        Ok(())
    }

    /// The accumulators of a group as it was stored.
    fn accumulators(&self, slot: u32, state: &impl GroupStates) -> Result<Accumulators> {
        self.merged(&[slot], state)
    }

    /// The accumulators of groups, merged as they were stored, in order.
    fn merged(&self, slots: &[u32], state: &impl GroupStates) -> Result<Accumulators> {
        let mut made = self.calls.iter().map(Other::accumulator).collect::<Result<Accumulators>>()?;
        let parser = self.converter.parser();
        let stored = slots.iter().filter_map(|slot| state.held(*slot)?.others.0.as_deref());
        let mut stored = stored.map(|bytes| parser.parse(bytes)).peekable();
        if stored.peek().is_none() {
            return Ok(made);
        }
        let columns = self
            .converter
            .convert_rows(stored)
            .map_err(|error| arrow_failed_to("read the state of an aggregate", &error))?;
        let mut columns = columns.into_iter();
        for (call, accumulator) in self.calls.iter().zip(&mut made) {
            let columns = call.state_types.iter().zip(&mut columns);
            let states = columns.map(|(data_type, column)| as_type(column, data_type));
            let states = states.collect::<Result<Vec<_>>>()?;
            accumulator.merge_batch(&states).map_err(|error| call.failed(&error))?;
        }
        Ok(made)
    }

    /// The current results of groups, one column for each call.
    pub(super) fn results(&mut self, slots: &[u32], state: &impl GroupStates) -> Result<Vec<ArrayRef>> {
        let mut columns = self.empty_columns(slots.len());
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        for &slot in slots {
            let mut stored;
            let accumulators = match self.live.get_mut(&slot) {
                Some(live) => live,
                None => {
                    stored = self.accumulators(slot, state)?;
                    &mut stored
                }
            };
            evaluate_into(&self.calls, accumulators, &mut columns)?;
        }
        self.arrays(columns)
    }

    /// The results of lists of groups, those of a list merged: one column for each call. The groups stay.
    pub(super) fn merged_results<'a>(
        &mut self,
        lists: impl ExactSizeIterator<Item = &'a [u32]> + Clone,
        state: &mut impl GroupStates,
    ) -> Result<Vec<ArrayRef>> {
        let mut columns = self.empty_columns(lists.len());
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let live = lists.clone().flatten().filter_map(|slot| self.live.remove_entry(slot));
        let live = live.collect();
        self.store_groups(live, state)?;
        for slots in lists {
            let mut merged = self.merged(slots, state)?;
            evaluate_into(&self.calls, &mut merged, &mut columns)?;
        }
        self.arrays(columns)
    }

    fn empty_columns(&self, rows: usize) -> Vec<Vec<ScalarValue>> {
        vec![Vec::with_capacity(rows); self.calls.len()]
    }

    /// Results as columns of the types that the calls return.
    fn arrays(&self, columns: Vec<Vec<ScalarValue>>) -> Result<Vec<ArrayRef>> {
        let arrays = self.calls.iter().zip(columns).map(|(call, column)| {
            let values = ScalarValue::iter_to_array(column).map_err(|error| call.failed(&error))?;
            as_type(values, call.call.function.field().data_type())
        });
        arrays.collect()
    }

    /// Adds a group to another, after it.
    pub(super) fn merge(&mut self, from: u32, into: u32, state: &impl GroupStates) -> Result<()> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let merged = match self.live.remove(&from) {
            Some(live) => live,
            None => self.accumulators(from, state)?,
        };
        if !self.live.contains_key(&into) {
            let accumulators = self.accumulators(into, state)?;
            self.live.insert(into, accumulators);
        }
        let live = self.live.get_mut(&into).expect("invariant: it was made live");
        for ((call, mut merged), live) in self.calls.iter().zip(merged).zip(live) {
            let states = merged.state().map_err(|error| call.failed(&error))?;
            let column = |(state, data_type): (ScalarValue, &DataType)| {
                as_type(state.to_array().map_err(|error| call.failed(&error))?, data_type)
            };
            let states = states.into_iter().zip(&call.state_types).map(column).collect::<Result<Vec<_>>>()?;
            live.merge_batch(&states).map_err(|error| call.failed(&error))?;
        }
        Ok(())
    }

    /// Drops the accumulators of a group.
    pub(super) fn forget(&mut self, slot: u32) {
        self.live.remove(&slot);
    }

    /// Moves the states of the live accumulators into the keyed state.
    pub(super) fn store(&mut self, state: &mut impl GroupStates) -> Result<()> {
        let live = std::mem::take(&mut self.live);
        self.store_groups(live.into_iter().collect(), state)
    }

    fn store_groups(&self, live: Vec<(u32, Accumulators)>, state: &mut impl GroupStates) -> Result<()> {
        if live.is_empty() {
            return Ok(());
        }
        let mut slots = Vec::with_capacity(live.len());
        let width = self.calls.iter().map(|call| call.state_types.len()).sum();
        let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::with_capacity(live.len()); width];
        for (slot, accumulators) in live {
            slots.push(slot);
            let mut columns = columns.iter_mut();
            for (call, mut accumulator) in self.calls.iter().zip(accumulators) {
                let states = accumulator.state().map_err(|error| call.failed(&error))?;
                for (column, state) in columns.by_ref().take(call.state_types.len()).zip(states) {
                    column.push(state);
                }
            }
        }
        let types = self.calls.iter().flat_map(|call| &call.state_types);
        let columns = columns.into_iter().zip(types).map(|(column, data_type)| {
            let array = ScalarValue::iter_to_array(column)
                .map_err(|error| failed_to("store the state of an aggregate", &error))?;
            as_type(array, data_type)
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = self
            .converter
            .convert_columns(&columns)
            .map_err(|error| arrow_failed_to("store the state of an aggregate", &error))?;
        for (slot, row) in slots.into_iter().zip(&rows) {
            state.group_mut(slot).others = SharedBytes(Some(Arc::from(row.data())));
        }
        Ok(())
    }
}

/// Adds the results of a group to the columns of its calls.
fn evaluate_into(
    calls: &[Other],
    accumulators: &mut Accumulators,
    columns: &mut [Vec<ScalarValue>],
) -> Result<()> {
    for ((call, accumulator), column) in calls.iter().zip(accumulators).zip(columns) {
        column.push(accumulator.evaluate().map_err(|error| call.failed(&error))?);
    }
    Ok(())
}

/// The rows that count, group by group and in their order within a group, and where each group ends.
fn by_group(groups: Grouped<'_>, counts: impl Fn(usize) -> bool) -> (Vec<u32>, Vec<usize>) {
    let mut ends = vec![0usize; groups.slots.len()];
    let rows = || groups.of_row.iter().enumerate().filter(|(row, _)| counts(*row));
    rows().for_each(|(_, &group)| ends[group as usize] += 1);
    let mut total = 0;
    let mut next: Vec<usize> = Vec::with_capacity(ends.len());
    for end in &mut ends {
        next.push(total);
        total += *end;
        *end = total;
    }
    let mut order = vec![0u32; total];
    for (row, &group) in rows() {
        let place = &mut next[group as usize];
        order[*place] = row as u32;
        *place += 1;
    }
    (order, ends)
}
