//! Lists to rows, structs to columns.

use super::TableBatch;
use super::expression::arrow_failed_to;
use crate::batch::Batch;
use crate::error::{OperatorError, Result};
use crate::operator::Operator;
use crate::output::Output;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{is_null, nullif, take};
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

/// A list column to be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListColumn {
    /// The column of the input.
    pub column: usize,
    /// How many levels of lists within lists are taken apart, at least one.
    pub depth: usize,
}

/// What is taken apart.
#[derive(Debug, Clone)]
pub struct UnnestSpec {
    /// The lists, which become rows. Those of one column come out side by side, in this order.
    pub lists: Vec<ListColumn>,
    /// The struct columns of the input, whose fields become columns in their place.
    pub structs: Vec<usize>,
    /// Whether a null in place of a list gives one row with null; else it gives none.
    pub null_is_row: bool,
    /// Whether an empty list gives one row with null; else it gives none.
    pub empty_is_row: bool,
    /// The schema of the output: the columns of the input in order, each as what became of it.
    pub output: SchemaRef,
}

/// Makes a row of each element of a list, beside which the other columns are repeated, and a column of each
/// field of a struct: UNNEST. Several lists are taken apart side by side; where one is shorter, null stands
/// for what it lacks. Lists within lists are taken apart level by level from the outside, and a list of fewer
/// levels joins in at its own. The order of rows and elements is kept. The fields of a null struct are null.
///
/// # Errors
/// [`OperatorError::Expression`] if a column is no list or no struct, or a null struct has a field that is
/// not nullable.
///
/// # Cost
/// One copy of each column for the rows made. What one row makes comes out at once, however much it is.
#[derive(Debug, Clone)]
pub struct Unnest {
    spec: UnnestSpec,
    levels: usize,
}

/// The rows made so far.
struct Made {
    /// For each, the row of the input that it comes from.
    source: Vec<u32>,
    /// For each list, its elements at this level; `None` if its level has not come.
    elements: Vec<Option<ArrayRef>>,
}

/// The elements of lists, and where those of each list stand; none for null.
struct Lists {
    values: ArrayRef,
    places: Vec<Option<(i64, i64)>>,
}

impl Unnest {
    /// Takes apart what the spec says.
    #[must_use]
    pub fn new(spec: UnnestSpec) -> Unnest {
        let levels = spec.lists.iter().map(|list| list.depth).max().unwrap_or(0);
        Unnest { spec, levels }
    }

    /// How many rows a list counts for.
    fn length(&self, place: Option<(i64, i64)>) -> i64 {
        match place {
            None => i64::from(self.spec.null_is_row),
            Some((start, end)) => (end - start).max(i64::from(self.spec.empty_is_row)),
        }
    }

    /// How many rows from the front make `most` or more at the outermost level, or all.
    fn prefix(&self, rows: &RecordBatch, most: usize) -> Result<usize> {
        let outermost = self.spec.lists.iter().filter(|list| list.depth == self.levels);
        let lists = outermost.map(|list| lists(rows.column(list.column))).collect::<Result<Vec<_>>>()?;
        let mut made = 0;
        for row in 0..rows.num_rows() {
            made += lists.iter().map(|lists| self.length(lists.places[row])).max().unwrap_or(1);
            if usize::try_from(made).is_ok_and(|made| made >= most) {
                return Ok(row + 1);
            }
        }
        Ok(rows.num_rows())
    }

    /// Takes the lists of one level apart.
    fn level(&self, level: usize, rows: &RecordBatch, made: &Made) -> Result<Made> {
        let mut open = Vec::with_capacity(self.spec.lists.len());
        for (list, elements) in self.spec.lists.iter().zip(&made.elements) {
            open.push(match elements {
                Some(elements) => Some(lists(elements)?),
                None if list.depth == level => Some(lists(&repeated(rows, list.column, &made.source)?)?),
                None => None,
            });
        }
        let mut source = Vec::new();
        let mut indices = vec![Vec::<Option<i64>>::new(); open.len()];
        for (row, &from) in made.source.iter().enumerate() {
            let places = || open.iter().flatten().map(|lists| lists.places[row]);
            let length = places().map(|place| self.length(place)).max().unwrap_or(1);
            source.extend(std::iter::repeat_n(from, usize::try_from(length).unwrap_or(0)));
            for (lists, indices) in open.iter().zip(&mut indices) {
                let Some(lists) = lists else { continue };
                let (start, end) = lists.places[row].unwrap_or((0, 0));
                indices.extend((start..end).map(Some));
                indices.resize(source.len(), None);
            }
        }
        let elements = open.iter().zip(indices).map(|(lists, indices)| match lists {
            Some(lists) => taken(&lists.values, &Int64Array::from(indices)).map(Some),
            None => Ok(None),
        });
        Ok(Made { elements: elements.collect::<Result<_>>()?, source })
    }

    fn run(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let source = (0..rows.num_rows() as u32).collect();
        let mut made = Made { source, elements: vec![None; self.spec.lists.len()] };
        for level in (1..=self.levels).rev() {
            made = self.level(level, rows, &made)?;
        }
        let mut columns = Vec::with_capacity(self.spec.output.fields().len());
        for column in 0..rows.num_columns() {
            let of_column = self.spec.lists.iter().zip(&made.elements);
            let mut of_column =
                of_column.filter(|(list, _)| list.column == column).filter_map(|(_, made)| made.clone());
            if let Some(first) = of_column.next() {
                columns.push(first);
                columns.extend(of_column);
                continue;
            }
            let values = match self.levels {
                0 => Arc::clone(rows.column(column)),
                _ => repeated(rows, column, &made.source)?,
            };
            match self.spec.structs.contains(&column) {
                true => columns.extend(fields(&values)?),
                false => columns.push(values),
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(made.source.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.spec.output), columns, &options).map_err(failed)
    }
}

#[cold]
fn failed(error: arrow::error::ArrowError) -> OperatorError {
    arrow_failed_to("unnest a column", &error)
}

fn taken(values: &ArrayRef, indices: &dyn Array) -> Result<ArrayRef> {
    take(values, indices, None).map_err(failed)
}

/// A column of the input, beside the rows made.
fn repeated(rows: &RecordBatch, column: usize, source: &[u32]) -> Result<ArrayRef> {
    taken(rows.column(column), &UInt32Array::from(source.to_vec()))
}

/// The fields of structs; those of a null struct are null, whatever stands behind it.
fn fields(values: &ArrayRef) -> Result<Vec<ArrayRef>> {
    let Some(structs) = values.as_struct_opt() else { return Err(unfit("a struct", values)) };
    if structs.null_count() == 0 {
        return Ok(structs.columns().to_vec());
    }
    let nothing = is_null(structs).map_err(failed)?;
    structs.columns().iter().map(|column| nullif(column, &nothing).map_err(failed)).collect()
}

fn lists(array: &ArrayRef) -> Result<Lists> {
    let of = |values: &ArrayRef, place: &dyn Fn(usize) -> (i64, i64)| Lists {
        values: Arc::clone(values),
        places: (0..array.len()).map(|row| (!array.is_null(row)).then(|| place(row))).collect(),
    };
    Ok(match array.data_type() {
        DataType::List(_) => {
            let (list, ends) = (array.as_list::<i32>(), array.as_list::<i32>().value_offsets());
            of(list.values(), &|row| (i64::from(ends[row]), i64::from(ends[row + 1])))
        }
        DataType::LargeList(_) => {
            let (list, ends) = (array.as_list::<i64>(), array.as_list::<i64>().value_offsets());
            of(list.values(), &|row| (ends[row], ends[row + 1]))
        }
        DataType::FixedSizeList(_, size) => {
            let (list, size) = (array.as_fixed_size_list(), i64::from(*size));
            of(list.values(), &|row| {
                let start = i64::from(list.value_offset(row));
                (start, start + size)
            })
        }
        DataType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            of(list.values(), &|row| {
                let start = i64::from(list.value_offsets()[row]);
                (start, start + i64::from(list.value_sizes()[row]))
            })
        }
        DataType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            of(list.values(), &|row| {
                let start = list.value_offsets()[row];
                (start, start + list.value_sizes()[row])
            })
        }
        _ => return Err(unfit("a list", array)),
    })
}

#[cold]
fn unfit(what: &str, array: &ArrayRef) -> OperatorError {
    OperatorError::Expression(format!(
        "could not unnest a column of type {}: it is not {what}",
        array.data_type()
    ))
}

impl Operator<TableBatch, TableBatch> for Unnest {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        while input.rows() > 0 && !output.is_full() {
            let most = output.room();
            let mut count = self.prefix(&input.rows_left().slice(0, most.min(input.rows())), most)?;
            let mut made = self.run(&input.rows_left().slice(0, count))?;
            // What lists within lists make is known only once they are taken apart.
            while self.levels > 1 && count > 1 && made.num_rows() > most {
                count /= 2;
                made = self.run(&input.rows_left().slice(0, count))?;
            }
            input.split_front(count);
            output.builder().push(made);
        }
        Ok(())
    }
}
