//! Two streams joined.

mod held;
mod probe;

use super::TableBatch;
use super::aggregate::types_of;
use super::expression::{arrow_failed_to, as_type, condition};
use super::keys::{KeyEncoder, converter};
use super::state_shape::StateShape;
use crate::batch::Batch;
use crate::error::{OperatorError, Result};
use crate::limits::FIRINGS_PER_CALL;
use crate::operator::Progress;
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot};
use crate::time::Timestamp;
use crate::two_input::TwoInputOperator;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::row::RowConverter;
use datafusion_physical_expr::PhysicalExpr;
use held::{HeldRows, Input};
use probe::Probe;
use std::fmt;
use std::sync::Arc;

const SHAPE: &str = "join-shape";

/// Which rows a join of two streams gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamJoinKind {
    /// Each pair of rows that match.
    Inner,
    /// As inner, and each left row without a match, with nulls for the right columns.
    Left,
    /// As inner, and each right row without a match, with nulls for the left columns.
    Right,
    /// As inner, and each row of either side without a match.
    Full,
    /// Each left row that has a match, once, without the right columns.
    Semi,
    /// Each left row that has no match, without the right columns.
    Anti,
}

impl StreamJoinKind {
    /// Whether rows of an input are emitted because they have no match.
    fn emits_unmatched(self, of: Input) -> bool {
        match self {
            StreamJoinKind::Inner | StreamJoinKind::Semi => false,
            StreamJoinKind::Left | StreamJoinKind::Anti => of == Input::Left,
            StreamJoinKind::Right => of == Input::Right,
            StreamJoinKind::Full => true,
        }
    }

    /// Whether only left rows are emitted, which a match settles.
    fn is_left_only(self) -> bool {
        matches!(self, StreamJoinKind::Semi | StreamJoinKind::Anti)
    }
}

/// One input of a join.
#[derive(Debug, Clone)]
pub struct StreamJoinSide {
    /// The schema of the columns that are joined: the first ones of the input. What comes behind them is for
    /// the keys alone.
    pub columns: SchemaRef,
    /// The key expressions, evaluated on the input.
    pub on: Vec<Arc<dyn PhysicalExpr>>,
    /// The column with event time, a timestamp or a window, evaluated on the input.
    pub event_time: Option<Arc<dyn PhysicalExpr>>,
}

/// How far apart the event times of two rows that match may lie, in microseconds: left minus right. `None`
/// is no bound. Of a window the event time is its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeBounds {
    /// The least that left minus right may be.
    pub lower: Option<i64>,
    /// The most that left minus right may be.
    pub upper: Option<i64>,
}

/// How two streams are joined.
#[derive(Debug, Clone)]
pub struct StreamJoinSpec {
    /// Which rows it gives.
    pub kind: StreamJoinKind,
    /// The left input.
    pub left: StreamJoinSide,
    /// The right input, with as many keys.
    pub right: StreamJoinSide,
    /// What a pair of rows with equal keys must fulfil besides, evaluated on the joined columns, the left ones
    /// first. It has to say what `bounds` say: they only decide what is held.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// What the condition says about event times. Without event time on both sides there are none.
    pub bounds: TimeBounds,
    /// Whether a null key matches a null key.
    pub null_equals_null: bool,
    /// The schema of the output: both sides' columns; of a semi or anti join the left ones.
    pub output: SchemaRef,
}

/// The symmetric hash join of two streams: a row meets the rows of the other input that came before it and is
/// held for those that come later, for as long as a match can come.
///
/// With several instances the rows of both inputs come through [`partition_by`](super::partition_by) the keys.
/// A row with a null key has no match (unless [`StreamJoinSpec::null_equals_null`] says otherwise), nor has one
/// without event time where `bounds` are given: it is not held, and emitted at once where the kind of join
/// gives rows without a match.
///
/// # Event time
/// Write `l` and `r` for the event times of rows that match, `lower <= l - r <= upper`, and `W` for the
/// watermark, the minimum of both inputs. Rows with event time at or before `W` are late: dropped and counted,
/// so that every row that comes later is after `W`. So no match can come for a left row once
/// `l - lower <= W`, since a right row of its own would have `r <= l - lower`; nor for a right row once
/// `r + upper <= W`. Then the row is forgotten, and emitted with nulls for the other side if the join keeps
/// the rows of its side and it had no match: once, before the watermark is passed on. A row without a bound is
/// held until the inputs end.
///
/// What is emitted later is made of rows that are still held or that come later, so its left event time is
/// after `min(W, W + lower)` and its right one after `min(W, W - upper)`. The lesser of both (of a semi or anti
/// join, the left one) is the watermark passed on: no row of the join is late downstream, whichever of the two
/// columns is event time there. Where a side is held without a bound there is no such time, and no watermark is
/// passed on but the end of the inputs.
///
/// Rows are forgotten in slices of [`FIRINGS_PER_CALL`], earliest first.
///
/// # Errors
/// [`OperatorError::Expression`] if a key, an event time or the residual condition fails on the data.
///
/// # Cost
/// One look-up for each row, and one evaluation of the residual for each pair with equal keys, in batches. Rows
/// are held in Arrow's row format, each in a slot of its own: about 130 bytes and the encoded key and columns
/// where these are longer than 24 bytes. A marker costs what came, was forgotten or had its first match.
/// A row that matches more rows than the output takes is resumed in between.
pub struct StreamJoin {
    spec: StreamJoinSpec,
    keys: [KeyEncoder; 2],
    key_types: Vec<DataType>,
    rows: [RowConverter; 2],
    /// The joined row, on which the residual is evaluated.
    joined: SchemaRef,
    held: HeldRows,
    watermark: Timestamp,
    /// The input that is being taken in, while the output is emptied.
    probe: Option<Probe>,
    shape: StateShape,
}

impl fmt::Debug for StreamJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamJoin({:?}, {:?}, {} rows)", self.spec.kind, self.spec.bounds, self.held.len())
    }
}

fn types(schema: &Schema) -> Vec<DataType> {
    schema.fields().iter().map(|field| field.data_type().clone()).collect()
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| arrow_failed_to("make the columns of a join", &error))
}

impl StreamJoin {
    /// A join that holds nothing yet; `left` and `right` are the schemas of the whole inputs.
    ///
    /// # Errors
    /// If there are no keys or not as many on both sides, a key has a type that cannot be one, or a column has
    /// a type that cannot be held.
    pub fn new(spec: StreamJoinSpec, left: &SchemaRef, right: &SchemaRef) -> Result<StreamJoin> {
        if spec.left.on.is_empty() || spec.left.on.len() != spec.right.on.len() {
            return Err(OperatorError::Expression(
                "a join of two streams needs keys, as many on the left as on the right".to_owned(),
            ));
        }
        let plain = |data_type| match data_type {
            DataType::Dictionary(_, values) => *values,
            other => other,
        };
        let key_types: Vec<DataType> = types_of(&spec.left.on, left)?.into_iter().map(plain).collect();
        types_of(&spec.right.on, right)?;
        let encoder = |side: &StreamJoinSide| KeyEncoder::new(side.on.clone(), &key_types);
        let fields = spec.left.columns.fields().iter().chain(spec.right.columns.fields());
        let columns = [types(&spec.left.columns), types(&spec.right.columns)];
        let state = format!("a join by {key_types:?} of rows {:?} and {:?}", columns[0], columns[1]);
        let [left, right] = columns;
        Ok(StreamJoin {
            keys: [encoder(&spec.left)?, encoder(&spec.right)?],
            rows: [converter(left)?, converter(right)?],
            joined: Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>())),
            held: HeldRows::new([Input::Left, Input::Right].map(|input| spec.kind.emits_unmatched(input))),
            watermark: Timestamp::MIN,
            probe: None,
            shape: StateShape::new(SHAPE, SHAPE, state),
            key_types,
            spec,
        })
    }

    fn side(&self, of: Input) -> &StreamJoinSide {
        match of {
            Input::Left => &self.spec.left,
            Input::Right => &self.spec.right,
        }
    }

    /// When no match can come any more for a row of this event time.
    fn until(&self, of: Input, time: i64) -> Timestamp {
        let bound = match of {
            Input::Left => self.spec.bounds.lower.map(|lower| time.saturating_sub(lower)),
            Input::Right => self.spec.bounds.upper.map(|upper| time.saturating_add(upper)),
        };
        bound.map_or(Timestamp::MAX, Timestamp)
    }

    /// What holds for everything emitted later, once the watermark has been reached: see [`StreamJoin`].
    fn promise(&self, watermark: Timestamp) -> Option<Timestamp> {
        if watermark == Timestamp::MAX {
            return Some(watermark);
        }
        let back = |bound: i64| Timestamp(watermark.0.saturating_add(bound.min(0)));
        let left = back(self.spec.bounds.lower?);
        if self.spec.kind.is_left_only() {
            return Some(left);
        }
        Some(left.min(back(self.spec.bounds.upper?.saturating_neg())))
    }

    /// Held rows as columns.
    fn columns_of(&self, of: Input, slots: impl Iterator<Item = u32>) -> Result<Vec<ArrayRef>> {
        let side = of as usize;
        let parser = self.rows[side].parser();
        let rows = slots.map(|slot| parser.parse(self.held.at(slot).row.as_slice()));
        let columns = self.rows[side]
            .convert_rows(rows)
            .map_err(|error| arrow_failed_to("decode the rows of a join", &error))?;
        let fields = self.side(of).columns.fields();
        columns.into_iter().zip(fields).map(|(column, field)| as_type(column, field.data_type())).collect()
    }

    /// The pairs that fulfil the residual condition, of joined columns.
    fn matches(&self, joined: &RecordBatch) -> Result<Vec<bool>> {
        let Some(residual) = &self.spec.residual else { return Ok(vec![true; joined.num_rows()]) };
        let mask = condition(residual.as_ref(), joined)?;
        Ok((0..mask.len()).map(|pair| mask.value(pair)).collect())
    }

    /// Emits rows of one input that have no match.
    fn emit_unmatched(
        &self,
        of: Input,
        mut columns: Vec<ArrayRef>,
        rows: usize,
        output: &mut Output<TableBatch>,
    ) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        if !self.spec.kind.is_left_only() {
            let other = self.side(of.other()).columns.fields();
            let nulls = other.iter().map(|field| new_null_array(field.data_type(), rows));
            match of {
                Input::Left => columns.extend(nulls),
                Input::Right => columns = nulls.chain(columns).collect(),
            }
        }
        output.builder().push(batch(&self.spec.output, columns, rows)?);
        Ok(())
    }

    /// Forgets rows for which no match can come, and emits them if the join keeps rows without a match.
    fn forget(&mut self, until: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        let most = output.room().min(FIRINGS_PER_CALL);
        let mut unmatched = [Vec::new(), Vec::new()];
        let mut forgotten = Vec::new();
        let mut progress = Progress::Again;
        while forgotten.len() < most {
            let Some(slot) = self.held.pop_due(until) else {
                progress = Progress::Done;
                break;
            };
            let (from, matched) = (self.held.at(slot).from, self.held.at(slot).matched);
            if self.spec.kind.emits_unmatched(from) && !matched {
                unmatched[from as usize].push(slot);
            }
            forgotten.push(slot);
        }
        for (from, slots) in [Input::Left, Input::Right].into_iter().zip(unmatched) {
            let columns = self.columns_of(from, slots.iter().copied())?;
            self.emit_unmatched(from, columns, slots.len(), output)?;
        }
        forgotten.into_iter().for_each(|slot| self.held.remove(slot));
        Ok(progress)
    }

    fn process(&mut self, of: Input, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        let mut probe = match self.probe.take() {
            Some(probe) if probe.rows_left() == input.rows() => probe,
            _ => Probe::new(self, of, input.rows_left())?,
        };
        while probe.rows_left() > 0 && !output.is_full() {
            let before = probe.rows_left();
            probe.advance(self, output)?;
            input.split_front(before - probe.rows_left());
        }
        match probe.rows_left() {
            0 => probe.settle(self),
            _ => self.probe = Some(probe),
        }
        Ok(())
    }
}

impl TwoInputOperator<TableBatch, TableBatch, TableBatch> for StreamJoin {
    fn process_left(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        self.process(Input::Left, input, output)
    }

    fn process_right(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        self.process(Input::Right, input, output)
    }

    fn watermark(&mut self, watermark: Timestamp, output: &mut Output<TableBatch>) -> Result<Progress> {
        self.watermark = watermark;
        let progress = self.forget(watermark, output)?;
        if let (Progress::Done, Some(promise)) = (progress, self.promise(watermark)) {
            output.emit_watermark(promise);
        }
        Ok(progress)
    }

    fn finish(&mut self, output: &mut Output<TableBatch>) -> Result<Progress> {
        self.forget(Timestamp::MAX, output)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut tables = vec![self.held.snapshot()];
        self.shape.store(&mut tables)?;
        Ok(Snapshot { tables })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<TableBatch>) -> Result<()> {
        self.shape.check(restore)?;
        self.held.restore(restore)
    }
}
