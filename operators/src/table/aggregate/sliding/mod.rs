//! Sliding windows that share panes.

mod operator;
mod panes;

use super::bounds::Bounds;
use super::calls::{Calls, GroupState, as_fields, shape};
use super::part::{PartKey, part_hash};
use super::{AggregateCall, types_of};
use crate::error::{OperatorError, Result};
use crate::limits::WINDOWS_OF_A_ROW;
use crate::output::Output;
use crate::state::KeyedState;
use crate::table::TableBatch;
use crate::table::event_time::{bears_event_time, event_times};
use crate::table::expression::{arrow_failed_to, evaluate};
use crate::table::keys::{KeyBytes, KeyEncoder, hash_bytes};
use crate::table::state_shape::StateShape;
use crate::time::Timestamp;
use crate::window::cut::Cut;
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use panes::{Directory, Over};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const PANES: &str = "panes";
const SHAPE: &str = "panes-shape";
const EMITTED: &str = "panes-emitted";

/// Which sliding windows, and what of them.
#[derive(Debug, Clone)]
pub struct SlidingGrouping {
    /// The group columns apart from the window, evaluated on the input; without any there is one instance.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The event time of a row: a timestamp, or a window, whose event time is its last microsecond.
    pub event_time: Arc<dyn PhysicalExpr>,
    /// How long a window is.
    pub size: Duration,
    /// How far apart windows begin; not further than they are long.
    pub slide: Duration,
    /// How far after the Unix epoch one of them begins.
    pub offset: Duration,
    /// The place of the window among the group columns of the output.
    pub window: usize,
    /// The aggregates, evaluated on the input.
    pub aggregates: Vec<AggregateCall>,
    /// The schema of the input.
    pub input: SchemaRef,
    /// The schema of the output: the group columns, with the window (a struct of `start` and `end`) in its
    /// place, then the aggregates.
    pub output: SchemaRef,
}

/// Aggregation by sliding window in append mode: what [`GroupedAggregate`](super::GroupedAggregate) makes of
/// rows that were copied into each of their windows, at a cost for a row that does not depend on how many
/// windows hold it.
///
/// Time is cut into panes, at most two for each slide, such that no window begins or ends within one. A row
/// is added to its pane; a window merges its panes, in order of time, when the watermark reaches its end, and is
/// emitted once. A row is late, dropped and counted, when all of its windows are over; rows without event
/// time are left out. With several instances the rows come through [`partition_by`](crate::table::partition_by)
/// the keys.
///
/// Windows are emitted earliest end first, and their panes forgotten with the last window that holds them, before
/// the watermark is passed on, in slices of [`FIRINGS_PER_CALL`](crate::limits::FIRINGS_PER_CALL) windows and
/// [`PANES_MERGED_PER_CALL`](crate::limits::PANES_MERGED_PER_CALL) panes.
///
/// # Restart
/// The windows have to be the same. Those that were emitted are not emitted again, whatever the watermark is
/// then.
///
/// # Errors
/// [`OperatorError::Expression`] if an expression or an aggregate fails on the data.
///
/// # Cost
/// One hash probe for each row. A window of a key costs its panes when it is emitted. A marker costs the panes that
/// changed. The index of panes, which is not part of a snapshot, takes about 80 bytes and the key for
/// each key, and 32 bytes for each pane. Li, Maier, Tufte, Papadimos and Tucker, "No Pane, No Gain" (2005).
pub struct SlidingAggregate {
    keys: KeyEncoder,
    key_count: usize,
    event_time: Arc<dyn PhysicalExpr>,
    cut: Cut,
    window: usize,
    bounds: Bounds,
    calls: Calls,
    output: SchemaRef,
    shape: StateShape,
    state: KeyedState<PartKey, GroupState>,
    directory: Directory,
    /// The rows of a batch that are in time, and their panes.
    rows: Vec<u32>,
    slots: Vec<u32>,
    /// Windows that end at this time or before were emitted.
    watermark: Timestamp,
    watermark_stored: Timestamp,
}

impl fmt::Debug for SlidingAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlidingAggregate({}, {} panes)", self.shape, self.state.len())
    }
}

/// The windows, if there can be such.
fn cut_of(grouping: &SlidingGrouping) -> Result<Cut> {
    let wrong = |cause: String| Err(OperatorError::Expression(cause));
    let (size, slide) = (grouping.size, grouping.slide);
    if slide < Duration::from_micros(1) {
        return wrong("windows begin at least one microsecond apart".to_owned());
    }
    if slide > size {
        return wrong(format!("windows of {size:?} that begin {slide:?} apart would leave out rows"));
    }
    let cut = Cut::new(size, slide);
    if cut.overlap() > WINDOWS_OF_A_ROW {
        return wrong(format!(
            "at most {WINDOWS_OF_A_ROW} windows may hold one row, and not {}",
            cut.overlap()
        ));
    }
    Ok(cut.with_offset(grouping.offset))
}

impl SlidingAggregate {
    /// An aggregation without windows yet.
    ///
    /// # Errors
    /// If a column cannot be a key, an aggregate cannot be kept as state or needs its input sorted, the event
    /// time or the window have types that they cannot have, or the size and the slide do not fit each other.
    pub fn new(grouping: &SlidingGrouping) -> Result<SlidingAggregate> {
        let cut = cut_of(grouping)?;
        let types = types_of(&grouping.keys, &grouping.input)?;
        let of_time = types_of(std::slice::from_ref(&grouping.event_time), &grouping.input)?;
        if !of_time.iter().all(bears_event_time) {
            let cause = format!("`{}` is neither a timestamp nor a window", grouping.event_time);
            return Err(OperatorError::Expression(cause));
        }
        let state = format!("{} and windows of {cut}", shape(&types, &grouping.aggregates));
        Ok(SlidingAggregate {
            keys: KeyEncoder::new(grouping.keys.clone(), &types)?,
            key_count: grouping.keys.len(),
            event_time: Arc::clone(&grouping.event_time),
            cut,
            window: grouping.window,
            bounds: Bounds::of(&grouping.output, grouping.window)?,
            calls: Calls::new(&grouping.aggregates)?,
            output: Arc::clone(&grouping.output),
            shape: StateShape::new(SHAPE, PANES, state),
            state: KeyedState::new(PANES),
            directory: Directory::new(cut),
            rows: Vec::new(),
            slots: Vec::new(),
            watermark: Timestamp::MIN,
            watermark_stored: Timestamp::MIN,
        })
    }

    /// Adds rows to their panes.
    fn absorb(&mut self, rows: &RecordBatch, output: &mut Output<TableBatch>) -> Result<()> {
        let times = event_times(&evaluate(self.event_time.as_ref(), rows)?)?;
        let columns = self.keys.columns(rows)?;
        let encoded = if self.key_count > 0 { Some(self.keys.encode(&columns)?) } else { None };
        self.rows.clear();
        self.slots.clear();
        let mut part = PartKey { key: KeyBytes::default(), part: 0 };
        let (mut late, calls) = (0, &self.calls);
        for row in (0..rows.num_rows()).filter(|row| times.is_valid(*row)) {
            let pane = self.cut.pane(Timestamp(times.value(row)));
            if self.cut.end(self.cut.last_of_pane(pane)) <= self.watermark {
                late += 1;
                continue;
            }
            let key = encoded.as_ref().map_or(&[][..], |keys| keys.row(row).data());
            part.key.set(key);
            part.part = self.cut.start_of_pane(pane).0;
            let hash = part_hash(hash_bytes(key), part.part);
            let (slot, new) = self.state.slot(hash, &part, || calls.empty());
            if new {
                self.directory.add(&part.key, pane, slot, self.watermark);
            }
            self.rows.push(row as u32);
            self.slots.push(slot);
        }
        output.count_late(late);
        if self.rows.is_empty() {
            return Ok(());
        }
        let kept = if self.rows.len() == rows.num_rows() {
            rows.clone()
        } else {
            take_record_batch(rows, &UInt32Array::from(self.rows.clone()))
                .map_err(|error| arrow_failed_to("drop late rows", &error))?
        };
        self.calls.update(&self.slots, &kept, &mut self.state)
    }

    /// The output rows of windows.
    fn results(&mut self, windows: &[Over]) -> Result<RecordBatch> {
        let key = |over: &Over| {
            let (part, _) =
                self.state.at(over.panes[0]).expect("invariant: a window has a pane that is held");
            &part.key
        };
        let mut columns: Vec<ArrayRef> = match self.key_count {
            0 => Vec::new(),
            _ => self.keys.decode(windows.iter().map(|over| key(over).as_slice()))?,
        };
        let (starts, ends) = windows
            .iter()
            .map(|over| self.cut.bounds(over.window))
            .map(|(start, end)| (start.0, end.0))
            .unzip();
        columns.insert(self.window, self.bounds.column(starts, ends, false)?);
        let lists = windows.iter().map(|over| over.panes.as_slice());
        columns.extend(self.calls.merged_results(lists, &mut self.state)?);
        as_fields(&mut columns, &self.output)?;
        RecordBatch::try_new(Arc::clone(&self.output), columns)
            .map_err(|error| arrow_failed_to("make the columns of windows", &error))
    }
}
