//! The first row of each key.

use super::TableBatch;
use super::aggregate::types_of;
use super::event_time::{bears_event_time, end_times, event_times};
use super::expression::{arrow_failed_to, evaluate};
use super::keys::{KeyBytes, KeyEncoder, hash_bytes};
use super::state_shape::StateShape;
use crate::batch::Batch;
use crate::error::{OperatorError, Result};
use crate::limits::FIRINGS_PER_CALL;
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::state::{KeyedState, Timers};
use crate::time::Timestamp;
use arrow::array::BooleanArray;
use arrow::array::{Array, ArrayRef, BooleanBufferBuilder, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const KEYS: &str = "keys-seen";
const SHAPE: &str = "keys-seen-shape";

/// When a key that was seen is forgotten, after which a row of it would be the first again.
#[derive(Debug, Clone)]
pub enum Forget {
    /// Never: state grows with the keys.
    Never,
    /// When the key in this column of the keys, a timestamp or a window, is over: Spark's `dropDuplicates` with a
    /// column that has a watermark. A row whose key is over is late.
    Over(usize),
    /// When the watermark has reached the event time of the key's first row and this delay: Spark's
    /// `dropDuplicatesWithinWatermark`, where it is the delay of the watermark. A row is late when the watermark
    /// has reached its event time.
    After {
        /// The event time, evaluated on the input.
        event_time: Arc<dyn PhysicalExpr>,
        /// For how long a key is remembered.
        delay: Duration,
    },
}

/// What is a duplicate of what.
#[derive(Debug, Clone)]
pub struct DeduplicateSpec {
    /// Rows with equal keys are duplicates, null equal to null; evaluated on the input.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The schema of the input and the output.
    pub input: SchemaRef,
    /// When keys are forgotten.
    pub forget: Forget,
}

/// Passes on the first row of each key, all of its columns, and drops the others.
///
/// With several instances the rows come through [`partition_by`](super::partition_by) the same keys. The order
/// of rows is kept. Rows that are late are dropped and counted. A row without event time is never late, and
/// its key is remembered for ever.
///
/// # Errors
/// [`OperatorError::Expression`] if a key or the event time fails on the data.
///
/// # Cost
/// One hash probe for each row. For each key its bytes, a time and an entry of the index by time, which is
/// rebuilt at a restore. A marker costs what changed.
pub struct Deduplicate {
    keys: KeyEncoder,
    key_count: usize,
    forget: Forget,
    shape: StateShape,
    /// When each key is forgotten, if it ever is.
    seen: KeyedState<KeyBytes, Option<Timestamp>>,
    /// Slots by when their keys are forgotten; only of keys that are held.
    times: Timers<u32>,
    watermark: Timestamp,
    key: KeyBytes,
}

impl fmt::Debug for Deduplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deduplicate({}, {:?}, {} keys)", self.shape, self.forget, self.seen.len())
    }
}

/// When rows are late and their keys forgotten.
struct Times {
    /// A row is late once the watermark has reached this.
    late: TimestampMicrosecondArray,
    /// The key is remembered for so long after it.
    delay: Duration,
}

impl Times {
    /// When the key of a row that is in time is forgotten; `None` if the row is late.
    fn forgotten(&self, row: usize, watermark: Timestamp) -> Option<Option<Timestamp>> {
        if self.late.is_null(row) {
            return Some(None);
        }
        let time = Timestamp(self.late.value(row));
        (time > watermark).then(|| Some(time.plus(self.delay)))
    }
}

impl Deduplicate {
    /// An operator that has seen nothing yet.
    ///
    /// # Errors
    /// If a column cannot be a key, or one that is to say when keys are forgotten bears no event time.
    pub fn new(spec: &DeduplicateSpec) -> Result<Deduplicate> {
        let types = types_of(&spec.keys, &spec.input)?;
        let no_event_time = |what: String| {
            let cause =
                format!("{what} is neither a timestamp nor a window: it cannot say when keys are forgotten");
            Err(OperatorError::Expression(cause))
        };
        match &spec.forget {
            Forget::Over(column) if !types.get(*column).is_some_and(bears_event_time) => {
                return no_event_time(format!("key {column} of the keys to deduplicate by"));
            }
            Forget::After { event_time, .. } => {
                let of_time = types_of(std::slice::from_ref(event_time), &spec.input)?;
                if !of_time.iter().all(bears_event_time) {
                    return no_event_time(format!("`{event_time}`"));
                }
            }
            Forget::Never | Forget::Over(_) => {}
        }
        Ok(Deduplicate {
            keys: KeyEncoder::new(spec.keys.clone(), &types)?,
            key_count: spec.keys.len(),
            forget: spec.forget.clone(),
            shape: StateShape::new(SHAPE, KEYS, shape(&types)),
            seen: KeyedState::new(KEYS),
            times: Timers::default(),
            watermark: Timestamp::MIN,
            key: KeyBytes::default(),
        })
    }

    fn times(&self, rows: &RecordBatch, keys: &[ArrayRef]) -> Result<Option<Times>> {
        Ok(match &self.forget {
            Forget::Never => None,
            Forget::Over(column) => Some(Times { late: end_times(&keys[*column])?, delay: Duration::ZERO }),
            Forget::After { event_time, delay } => {
                let late = event_times(&evaluate(event_time.as_ref(), rows)?)?;
                Some(Times { late, delay: *delay })
            }
        })
    }

    /// The first rows of their keys among these.
    fn first_rows(&mut self, rows: &RecordBatch, output: &mut Output<TableBatch>) -> Result<RecordBatch> {
        let columns = self.keys.columns(rows)?;
        let times = self.times(rows, &columns)?;
        let mut first = BooleanBufferBuilder::new(rows.num_rows());
        let mut late = 0;
        let encoded = if self.key_count > 0 { Some(self.keys.encode(&columns)?) } else { None };
        for row in 0..rows.num_rows() {
            let forgotten = match &times {
                Some(times) => times.forgotten(row, self.watermark),
                None => Some(None),
            };
            let Some(forgotten) = forgotten else {
                late += 1;
                first.append(false);
                continue;
            };
            self.key.set(encoded.as_ref().map_or(&[], |keys| keys.row(row).data()));
            let (slot, new) = self.seen.slot(hash_bytes(self.key.as_slice()), &self.key, || forgotten);
            if let (true, Some(time)) = (new, forgotten) {
                self.times.add(time, slot);
            }
            first.append(new);
        }
        output.count_late(late);
        let first = BooleanArray::new(first.finish(), None);
        filter_record_batch(rows, &first).map_err(|error| arrow_failed_to("drop duplicates", &error))
    }
}

/// What the state depends on.
fn shape(types: &[DataType]) -> String {
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    format!("duplicates by [{}]", types.join(", "))
}

impl Operator<TableBatch, TableBatch> for Deduplicate {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        while input.rows() > 0 && !output.is_full() {
            let rows = input.split_front(output.room());
            let first = self.first_rows(&rows, output)?;
            output.builder().push(first);
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        // At the end of the input nothing is gained by forgetting, and a query that is started again may find
        // more of it.
        if watermark < Timestamp::MAX {
            self.watermark = watermark;
            for _ in 0..FIRINGS_PER_CALL {
                let Some((_, slot)) = self.times.pop_due(watermark) else {
                    output.emit_watermark(watermark);
                    return Ok(Progress::Done);
                };
                let (key, _) = self.seen.at(slot).expect("invariant: the slots of the index are held");
                self.seen.remove_slot(hash_bytes(key.as_slice()), slot);
            }
            return Ok(Progress::Again);
        }
        output.emit_watermark(watermark);
        Ok(Progress::Done)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut tables = vec![self.seen.snapshot()];
        self.shape.store(&mut tables)?;
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<TableBatch>) -> Result<()> {
        self.shape.check(restore)?;
        self.seen.restore(restore)?;
        for slot in 0..self.seen.slots_end() {
            if let Some((_, Some(time))) = self.seen.at(slot) {
                self.times.add(*time, slot);
            }
        }
        Ok(())
    }
}
