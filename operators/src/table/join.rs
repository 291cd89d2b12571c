//! The stream joined with a table that does not change.

use super::TableBatch;
use super::expression::{arrow_failed_to, as_type, condition};
use super::keys::{KeyEncoder, hash_bytes};
use crate::batch::Batch;
use crate::error::Result;
use crate::operator::Operator;
use crate::output::Output;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_arrays};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use arrow::row::Rows;
use datafusion_physical_expr::PhysicalExpr;
use hashbrown::HashTable;
use std::fmt;
use std::sync::Arc;

/// Which rows a join gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// Each pair of a stream row and a table row that match.
    Inner,
    /// As inner, and each stream row without a match, with nulls for the table's columns.
    Left,
    /// Each stream row that has a match, once, without the table's columns.
    Semi,
    /// Each stream row that has no match (NOT EXISTS: a null key has none).
    Anti,
    /// Each stream row, without the table's columns, and behind it whether it has a match.
    Mark,
}

/// The static side: its rows, found by their keys. Made once and shared by all instances.
pub struct StaticTable {
    rows: RecordBatch,
    key_types: Vec<DataType>,
    keys: Option<Rows>,
    index: HashTable<(u64, u32)>,
    /// For each row the next one of the same key, in order; the row itself if there is none.
    next: Vec<u32>,
    null_equals_null: bool,
}

impl fmt::Debug for StaticTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticTable({} rows, {} keys)", self.rows.num_rows(), self.index.len())
    }
}

/// Whether a key has a null in it.
fn has_null(columns: &[ArrayRef], row: usize) -> bool {
    columns.iter().any(|column| column.is_null(row))
}

/// The values of dictionaries, whose nulls may hide in the dictionary.
fn plain(data_type: DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => *values,
        other => other,
    }
}

impl StaticTable {
    /// The table of these batches, all of `schema`. `on` are its key expressions; none make every row match.
    ///
    /// # Errors
    /// If a key cannot be evaluated or has a type that cannot be a key.
    pub fn new(
        schema: &SchemaRef,
        batches: &[RecordBatch],
        on: &[Arc<dyn PhysicalExpr>],
        null_equals_null: bool,
    ) -> Result<Arc<StaticTable>> {
        let rows = concat_batches(schema, batches)
            .map_err(|error| arrow_failed_to("collect the static table of a join", &error))?;
        let key_types: Vec<DataType> =
            super::aggregate::types_of(on, schema)?.into_iter().map(plain).collect();
        let mut table = StaticTable {
            keys: None,
            index: HashTable::new(),
            next: (0..rows.num_rows() as u32).collect(),
            rows,
            key_types,
            null_equals_null,
        };
        if !on.is_empty() {
            let encoder = KeyEncoder::new(on.to_vec(), &table.key_types)?;
            let columns = key_columns(&encoder, &table.rows, &table.key_types)?;
            table.fill(encoder.encode(&columns)?, &columns);
        }
        Ok(Arc::new(table))
    }

    fn fill(&mut self, keys: Rows, columns: &[ArrayRef]) {
        // From the back, so that the rows of a key hang together in their order.
        for row in (0..self.rows.num_rows()).rev() {
            if !self.null_equals_null && has_null(columns, row) {
                continue;
            }
            let bytes = keys.row(row).data();
            let hash = hash_bytes(bytes);
            let same = |&(held, first): &(u64, u32)| held == hash && keys.row(first as usize).data() == bytes;
            match self.index.find_mut(hash, same) {
                Some((_, first)) => {
                    self.next[row] = *first;
                    *first = row as u32;
                }
                None => {
                    self.index.insert_unique(hash, (hash, row as u32), |(hash, _)| *hash);
                }
            }
        }
        self.keys = Some(keys);
    }

    /// The first row of a key.
    fn find(&self, bytes: &[u8]) -> Option<u32> {
        let keys = self.keys.as_ref()?;
        let hash = hash_bytes(bytes);
        let same = |&(held, first): &(u64, u32)| held == hash && keys.row(first as usize).data() == bytes;
        self.index.find(hash, same).map(|(_, first)| *first)
    }

    /// The rows held.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }
}

fn key_columns(encoder: &KeyEncoder, rows: &RecordBatch, types: &[DataType]) -> Result<Vec<ArrayRef>> {
    let columns = encoder.columns(rows)?;
    columns.into_iter().zip(types).map(|(column, data_type)| as_type(column, data_type)).collect()
}

/// How a stream is joined.
#[derive(Debug, Clone)]
pub struct JoinSpec {
    /// Which rows it gives.
    pub kind: JoinKind,
    /// The stream's key expressions, one for each of the table's.
    pub on: Vec<Arc<dyn PhysicalExpr>>,
    /// What a pair of rows with equal keys must fulfil besides, evaluated on the joined row: the columns of
    /// both sides, the stream's first if `stream_first`.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the stream's columns come before the table's.
    pub stream_first: bool,
    /// The schema of the stream.
    pub input: SchemaRef,
    /// The schema of the output: both sides' columns; for semi and anti joins the stream's, for mark joins
    /// with the mark behind them.
    pub output: SchemaRef,
}

/// Joins the rows of a stream with a table that does not change. The order of stream rows is kept, and that
/// of the table's rows for each of them.
///
/// # Errors
/// [`crate::OperatorError::Expression`] if a key or the residual condition fails on the data.
///
/// # Cost
/// One hash probe for each row; the table is in memory once for all instances.
#[derive(Debug)]
pub struct StaticJoin {
    table: Arc<StaticTable>,
    spec: JoinSpec,
    keys: Option<KeyEncoder>,
    /// The joined row, on which the residual is evaluated.
    joined: SchemaRef,
}

/// Rows that match: a row of the stream and one of the table, in the order of both.
#[derive(Default)]
struct Pairs {
    stream: Vec<u32>,
    table: Vec<u32>,
}

impl StaticJoin {
    /// A join with this table.
    ///
    /// # Errors
    /// If a key has a type that cannot be a key.
    ///
    /// # Panics
    /// If the stream has not as many key expressions as the table.
    pub fn new(table: Arc<StaticTable>, spec: JoinSpec) -> Result<StaticJoin> {
        assert_eq!(spec.on.len(), table.key_types.len(), "both sides have the same number of keys");
        let keys = match spec.on.len() {
            0 => None,
            _ => Some(KeyEncoder::new(spec.on.clone(), &table.key_types)?),
        };
        let (stream, fixed) = (spec.input.fields(), table.rows.schema());
        let (first, second) =
            if spec.stream_first { (stream, fixed.fields()) } else { (fixed.fields(), stream) };
        let fields: Fields = first.iter().chain(second).cloned().collect();
        Ok(StaticJoin { joined: Arc::new(Schema::new(fields)), table, spec, keys })
    }

    /// The pairs with equal keys, of the rows from the front up to the one that makes them `most` or more;
    /// and how many rows these are.
    fn candidates(&self, rows: &RecordBatch, most: usize) -> Result<(Pairs, usize)> {
        let exists = matches!(self.spec.kind, JoinKind::Semi | JoinKind::Anti | JoinKind::Mark);
        let one_is_enough = exists && self.spec.residual.is_none();
        let unmatched_count = matches!(self.spec.kind, JoinKind::Left | JoinKind::Anti | JoinKind::Mark);
        let mut pairs = Pairs::default();
        let found = self.lookup(rows)?;
        let mut emitted = 0;
        for row in 0..rows.num_rows() {
            let before = pairs.table.len();
            let mut at =
                found.as_ref().map_or_else(|| (!self.table.next.is_empty()).then_some(0), |f| f[row]);
            while let Some(matched) = at {
                pairs.stream.push(row as u32);
                pairs.table.push(matched);
                at = match &found {
                    _ if one_is_enough => None,
                    None => Some(matched + 1).filter(|next| (*next as usize) < self.table.next.len()),
                    Some(_) => Some(self.table.next[matched as usize]).filter(|next| *next != matched),
                };
            }
            let matches = pairs.table.len() - before;
            emitted += if unmatched_count { matches.max(1) } else { matches };
            if emitted >= most {
                return Ok((pairs, row + 1));
            }
        }
        Ok((pairs, rows.num_rows()))
    }

    /// For each stream row the first table row of its key; `None` if there are no keys.
    fn lookup(&self, rows: &RecordBatch) -> Result<Option<Vec<Option<u32>>>> {
        let Some(encoder) = &self.keys else { return Ok(None) };
        let columns = key_columns(encoder, rows, &self.table.key_types)?;
        let keys = encoder.encode(&columns)?;
        let never = |row: usize| !self.table.null_equals_null && has_null(&columns, row);
        let find = |(row, key): (usize, arrow::row::Row<'_>)| match never(row) {
            true => None,
            false => self.table.find(key.data()),
        };
        Ok(Some(keys.iter().enumerate().map(find).collect()))
    }

    /// The columns of pairs of rows; a null place in `table` gives nulls.
    fn join(&self, rows: &RecordBatch, stream: &UInt32Array, table: &UInt32Array) -> Result<Vec<ArrayRef>> {
        let failed = |error| arrow_failed_to("join rows", &error);
        let mut left = take_arrays(rows.columns(), stream, None).map_err(failed)?;
        let mut right = take_arrays(self.table.rows.columns(), table, None).map_err(failed)?;
        if !self.spec.stream_first {
            std::mem::swap(&mut left, &mut right);
        }
        left.append(&mut right);
        Ok(left)
    }

    /// The pairs that fulfil the residual condition.
    fn matching(&self, rows: &RecordBatch, mut pairs: Pairs) -> Result<Pairs> {
        let Some(residual) = &self.spec.residual else { return Ok(pairs) };
        let (stream, table) = (pairs.stream.into(), pairs.table.into());
        let columns = self.join(rows, &stream, &table)?;
        let joined = batch(&self.joined, columns, stream.len())?;
        let mask = condition(residual.as_ref(), &joined)?;
        let kept = || (0..mask.len()).filter(|&pair| mask.value(pair));
        pairs.stream = kept().map(|pair| stream.value(pair)).collect();
        pairs.table = kept().map(|pair| table.value(pair)).collect();
        Ok(pairs)
    }

    /// The output of the first `taken` rows.
    fn results(&self, rows: &RecordBatch, taken: usize, pairs: Pairs) -> Result<RecordBatch> {
        let mut matched = vec![false; taken];
        pairs.stream.iter().for_each(|&row| matched[row as usize] = true);
        let (stream, table) = match self.spec.kind {
            JoinKind::Inner => (pairs.stream.into(), pairs.table.into()),
            JoinKind::Left => preserve(&matched, &pairs),
            JoinKind::Mark => {
                let mut columns =
                    rows.columns().iter().map(|column| column.slice(0, taken)).collect::<Vec<_>>();
                columns.push(Arc::new(BooleanArray::from(matched)));
                return batch(&self.spec.output, columns, taken);
            }
            JoinKind::Semi | JoinKind::Anti => {
                let wanted = self.spec.kind == JoinKind::Semi;
                let kept = (0..taken as u32).filter(|&row| matched[row as usize] == wanted);
                let kept = UInt32Array::from_iter_values(kept);
                let columns = take_arrays(rows.columns(), &kept, None)
                    .map_err(|error| arrow_failed_to("join rows", &error))?;
                return batch(&self.spec.output, columns, kept.len());
            }
        };
        // Rows may have no columns: they are counted by what they are made of.
        batch(&self.spec.output, self.join(rows, &stream, &table)?, stream.len())
    }
}

/// The pairs, and each stream row without one in its place, without a table row.
fn preserve(matched: &[bool], pairs: &Pairs) -> (UInt32Array, UInt32Array) {
    let (mut stream, mut table) = (Vec::new(), Vec::new());
    let mut rest = pairs.stream.iter().zip(&pairs.table).peekable();
    for (row, &matched) in matched.iter().enumerate() {
        let row = row as u32;
        if !matched {
            stream.push(row);
            table.push(None);
        }
        while let Some((_, &found)) = rest.next_if(|&(&of, _)| of == row) {
            stream.push(row);
            table.push(Some(found));
        }
    }
    (stream.into(), table.into())
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| arrow_failed_to("make the columns of a join", &error))
}

impl Operator<TableBatch, TableBatch> for StaticJoin {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        while input.rows() > 0 && !output.is_full() {
            let most = output.room();
            let (pairs, taken) =
                self.candidates(&input.rows_left().slice(0, most.min(input.rows())), most)?;
            let rows = input.split_front(taken);
            let pairs = self.matching(&rows, pairs)?;
            let made = self.results(&rows, taken, pairs)?;
            output.builder().push(made);
        }
        Ok(())
    }
}
