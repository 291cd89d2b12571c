//! Rows as a table of text, as Spark's `show` prints them.
//!
//! ```
//! use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
//! use lotic_connectors::table::show::Show;
//! use std::sync::Arc;
//!
//! let id: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
//! let name: ArrayRef = Arc::new(StringArray::from(vec!["a", "a name that does not end soon"]));
//! let rows = RecordBatch::try_from_iter([("id", id), ("name", name)]).unwrap();
//! let text = Show::default().render(&rows.schema(), &[rows]).unwrap();
//! assert_eq!(text, "\
//! +----+--------------------+
//! |  id|                name|
//! +----+--------------------+
//! |   1|                   a|
//! |NULL|a name that does ...|
//! +----+--------------------+
//! ");
//! ```

use crate::error::{ConnectorError, Result};
use arrow::array::{Array, AsArray, FixedSizeBinaryArray, MapArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{
    ArrayFormatter, ArrayFormatterFactory, DisplayIndex, DurationFormat, FormatOptions, FormatResult,
};
use std::fmt::Write;

/// Rows shown unless told otherwise.
pub const ROWS: usize = 20;
/// Characters of a cell unless told otherwise.
pub const CELL_CHARACTERS: usize = 20;
/// No column is narrower.
const WIDTH_MIN: usize = 3;

const TIME: &str = "%Y-%m-%d %H:%M:%S%.f";

const FORMAT: FormatOptions<'static> = FormatOptions::new()
    .with_display_error(false)
    .with_null("NULL")
    .with_datetime_format(Some(TIME))
    .with_timestamp_format(Some(TIME))
    .with_timestamp_tz_format(Some(TIME))
    .with_duration_format(DurationFormat::Pretty)
    .with_formatter_factory(Some(&AsSpark));

/// How rows are shown: how many, and how much of each cell.
///
/// Cells are at the right, or at the left if they are not cut, as in Spark. Characters that would move the
/// cursor or change the terminal are shown by their escapes, so that data cannot draw outside its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Show {
    rows_max: usize,
    cell_max: Option<usize>,
}

impl Default for Show {
    /// 20 rows, cells of at most 20 characters.
    fn default() -> Self {
        Show { rows_max: ROWS, cell_max: Some(CELL_CHARACTERS) }
    }
}

impl Show {
    /// Shows at most this many rows, and says so if there are more.
    #[must_use]
    pub fn rows(mut self, rows_max: usize) -> Self {
        self.rows_max = rows_max;
        self
    }

    /// Cuts cells to this many characters; `None` or 0 shows them whole.
    #[must_use]
    pub fn truncate(mut self, characters: Option<usize>) -> Self {
        self.cell_max = characters.filter(|characters| *characters > 0);
        self
    }

    /// The most rows shown.
    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// The table, with a line end after each line.
    ///
    /// # Errors
    /// If a value cannot be shown, such as a timestamp outside the calendar: its column and row.
    pub fn render(&self, schema: &Schema, batches: &[RecordBatch]) -> Result<String> {
        let mut rows = Vec::new();
        for batch in batches {
            self.cells_of(batch, self.rows_max - rows.len(), &mut rows)?;
        }
        let mut layout = Layout::new(*self, schema);
        layout.fit(&rows);
        let mut text = String::new();
        layout.write_header(&mut text);
        layout.write_rows(&rows, &mut text);
        layout.write_border(&mut text);
        let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if total > self.rows_max {
            text.push_str(&self.more());
        }
        Ok(text)
    }

    /// The line that says that there are more rows.
    pub(super) fn more(&self) -> String {
        let rows = if self.rows_max == 1 { "row" } else { "rows" };
        format!("only showing top {} {rows}\n", self.rows_max)
    }

    /// Appends the cells of the first rows of a batch.
    pub(super) fn cells_of(
        &self,
        batch: &RecordBatch,
        rows_max: usize,
        rows: &mut Vec<Vec<String>>,
    ) -> Result<()> {
        let schema = batch.schema_ref();
        let formatters: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| formatter(column.as_ref(), &FORMAT).map_err(|error| cannot(field, &error)))
            .collect::<Result<_>>()?;
        for row in 0..batch.num_rows().min(rows_max) {
            let cells = formatters.iter().zip(schema.fields()).map(|(formatter, field)| {
                let shown = formatter.value(row).try_to_string();
                let shown = shown.map_err(|error| cannot(field, &format!("row {}: {error}", row + 1)))?;
                Ok(self.cell(&shown))
            });
            rows.push(cells.collect::<Result<_>>()?);
        }
        Ok(())
    }

    /// A value as it stands in its cell.
    fn cell(&self, value: &str) -> String {
        let value = escaped(value);
        let Some(cell_max) = self.cell_max else { return value };
        let Some((cut, _)) = value.char_indices().nth(cell_max) else { return value };
        if cell_max < 4 {
            return value[..cut].to_owned();
        }
        value.chars().take(cell_max - 3).chain("...".chars()).collect()
    }
}

#[cold]
fn cannot(field: &Field, reason: &dyn std::fmt::Display) -> ConnectorError {
    ConnectorError::user(format!(
        "column `{}` of type {} cannot be shown: {reason}; cast it to another type",
        field.name(),
        field.data_type()
    ))
}

/// The columns of a table of text and their widths.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    show: Show,
    names: Vec<String>,
    widths: Vec<usize>,
}

impl Layout {
    /// As wide as the names of the columns.
    pub(super) fn new(show: Show, schema: &Schema) -> Self {
        let names: Vec<String> = schema.fields().iter().map(|field| show.cell(field.name())).collect();
        let widths = names.iter().map(|name| width(name).max(WIDTH_MIN)).collect();
        Layout { show, names, widths }
    }

    /// Widens the columns for these rows. Whether a column had to be widened.
    pub(super) fn fit(&mut self, rows: &[Vec<String>]) -> bool {
        let mut widened = false;
        for row in rows {
            for (cell, wide) in row.iter().zip(&mut self.widths) {
                let needed = width(cell);
                widened |= needed > *wide;
                *wide = needed.max(*wide);
            }
        }
        widened
    }

    pub(super) fn write_border(&self, text: &mut String) {
        text.push('+');
        for wide in &self.widths {
            text.extend(std::iter::repeat_n('-', *wide));
            text.push('+');
        }
        if self.widths.is_empty() {
            text.push('+');
        }
        text.push('\n');
    }

    pub(super) fn write_header(&self, text: &mut String) {
        self.write_border(text);
        self.write_row(&self.names, text);
        self.write_border(text);
    }

    pub(super) fn write_rows(&self, rows: &[Vec<String>], text: &mut String) {
        rows.iter().for_each(|row| self.write_row(row, text));
    }

    fn write_row(&self, cells: &[String], text: &mut String) {
        text.push('|');
        for (cell, wide) in cells.iter().zip(&self.widths) {
            let padding = std::iter::repeat_n(' ', wide - width(cell));
            if self.show.cell_max.is_some() {
                text.extend(padding);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.extend(padding);
            }
            text.push('|');
        }
        if cells.is_empty() {
            text.push('|');
        }
        text.push('\n');
    }
}

/// The columns of a terminal that a text takes: two for each wide character of East Asia, as in Spark.
fn width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}' | '\u{fe10}'..='\u{fe19}' | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}')
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// A text without characters that the terminal would act on.
fn escaped(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Shows structs, maps and bytes as Spark does; all else as Arrow does.
#[derive(Debug)]
struct AsSpark;

impl ArrayFormatterFactory for AsSpark {
    fn create_array_formatter<'f>(
        &self,
        array: &'f dyn Array,
        options: &FormatOptions<'f>,
        _field: Option<&'f Field>,
    ) -> Result<Option<ArrayFormatter<'f>>, ArrowError> {
        let null = options.null();
        let display: Box<dyn DisplayIndex + 'f> = match array.data_type() {
            DataType::Struct(_) => {
                let array = array.as_struct();
                let columns = array.columns().iter().map(|column| formatter(column.as_ref(), options));
                Box::new(Structs { array, null, columns: columns.collect::<Result<_, _>>()? })
            }
            DataType::Map(..) => {
                let array = array.as_map();
                let keys = formatter(array.keys().as_ref(), options)?;
                let values = formatter(array.values().as_ref(), options)?;
                Box::new(Maps { array, null, keys, values })
            }
            DataType::Binary => {
                let array = array.as_binary::<i32>();
                Box::new(bytes_of(array, null, |row| array.value(row)))
            }
            DataType::LargeBinary => {
                let array = array.as_binary::<i64>();
                Box::new(bytes_of(array, null, |row| array.value(row)))
            }
            DataType::BinaryView => {
                let array = array.as_binary_view();
                Box::new(bytes_of(array, null, |row| array.value(row)))
            }
            DataType::FixedSizeBinary(_) => {
                let array: &FixedSizeBinaryArray = array.as_fixed_size_binary();
                Box::new(bytes_of(array, null, |row| array.value(row)))
            }
            _ => return Ok(None),
        };
        Ok(Some(ArrayFormatter::new(display, options.safe())))
    }
}

fn formatter<'f>(
    array: &'f dyn Array,
    options: &FormatOptions<'f>,
) -> Result<ArrayFormatter<'f>, ArrowError> {
    match AsSpark.create_array_formatter(array, options, None)? {
        Some(formatter) => Ok(formatter),
        None => ArrayFormatter::try_new(array, options),
    }
}

/// `{1, a}`.
struct Structs<'f> {
    array: &'f StructArray,
    null: &'f str,
    columns: Vec<ArrayFormatter<'f>>,
}

impl DisplayIndex for Structs<'_> {
    fn write(&self, row: usize, f: &mut dyn Write) -> FormatResult {
        if self.array.is_null(row) {
            return Ok(f.write_str(self.null)?);
        }
        f.write_char('{')?;
        for (number, column) in self.columns.iter().enumerate() {
            f.write_str(if number > 0 { ", " } else { "" })?;
            column.value(row).write(f)?;
        }
        Ok(f.write_char('}')?)
    }
}

/// `{k -> v}`.
struct Maps<'f> {
    array: &'f MapArray,
    null: &'f str,
    keys: ArrayFormatter<'f>,
    values: ArrayFormatter<'f>,
}

impl DisplayIndex for Maps<'_> {
    fn write(&self, row: usize, f: &mut dyn Write) -> FormatResult {
        if self.array.is_null(row) {
            return Ok(f.write_str(self.null)?);
        }
        let offsets = self.array.value_offsets();
        let (first, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        f.write_char('{')?;
        for entry in first..end {
            f.write_str(if entry > first { ", " } else { "" })?;
            self.keys.value(entry).write(f)?;
            f.write_str(" -> ")?;
            self.values.value(entry).write(f)?;
        }
        Ok(f.write_char('}')?)
    }
}

/// `[68 69]`.
struct Bytes<'f, V> {
    array: &'f dyn Array,
    null: &'f str,
    value: V,
}

fn bytes_of<'f, V: Fn(usize) -> &'f [u8]>(array: &'f dyn Array, null: &'f str, value: V) -> Bytes<'f, V> {
    Bytes { array, null, value }
}

impl<'f, V: Fn(usize) -> &'f [u8]> DisplayIndex for Bytes<'f, V> {
    fn write(&self, row: usize, f: &mut dyn Write) -> FormatResult {
        if self.array.is_null(row) {
            return Ok(f.write_str(self.null)?);
        }
        f.write_char('[')?;
        for (number, byte) in (self.value)(row).iter().enumerate() {
            write!(f, "{}{byte:02X}", if number > 0 { " " } else { "" })?;
        }
        Ok(f.write_char(']')?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, BinaryArray, Int32Array, Int32Builder, ListArray, MapBuilder, StringArray, StringBuilder,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    fn shown(show: Show, columns: Vec<(&str, ArrayRef)>) -> String {
        let rows = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        show.render(&rows.schema(), &[rows]).unwrap()
    }

    fn numbers(count: i32) -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(0..count))
    }

    #[test]
    fn rows_beyond_the_limit_are_counted_out() {
        let text = shown(Show::default().rows(1), vec![("n", numbers(2))]);
        assert_eq!(text, "+---+\n|  n|\n+---+\n|  0|\n+---+\nonly showing top 1 row\n");
        let text = shown(Show::default().rows(2), vec![("n", numbers(2))]);
        assert!(text.ends_with("|  1|\n+---+\n"), "{text}");
        let empty = shown(Show::default(), vec![("n", numbers(0))]);
        assert_eq!(empty, "+---+\n|  n|\n+---+\n+---+\n");
    }

    #[test]
    fn cells_are_cut_escaped_and_measured_in_columns_of_the_terminal() {
        let words = || -> Vec<(&str, ArrayRef)> {
            vec![("w", Arc::new(StringArray::from(vec!["数据", "tab\there", "\u{1b}[2Jx"])))]
        };
        let text = shown(Show::default().truncate(Some(6)), words());
        assert_eq!(text, "+------+\n|     w|\n+------+\n|  数据|\n|tab...|\n|\\u{...|\n+------+\n");
        let text = shown(Show::default().truncate(Some(3)), words());
        assert!(text.contains("| tab|\n"), "{text}");
        let whole = shown(Show::default().truncate(None), words());
        assert!(whole.contains("|tab\\there |\n") && whole.contains("|w         |\n"), "{whole}");
    }

    #[test]
    fn values_look_as_in_spark() {
        let time = TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC");
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
        let pair = StructArray::from(vec![
            (Arc::new(Field::new("a", DataType::Int32, true)), numbers(1)),
            (Arc::new(Field::new("t", time.data_type().clone(), true)), Arc::new(time.clone()) as ArrayRef),
        ]);
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value("k");
        map.values().append_null();
        map.append(true).unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("time", Arc::new(time)),
            ("list", Arc::new(list)),
            ("pair", Arc::new(pair)),
            ("map", Arc::new(map.finish())),
            ("bytes", Arc::new(BinaryArray::from(vec![b"hi".as_slice()]))),
        ];
        let text = shown(Show::default().truncate(None), columns);
        let row = text.lines().nth(3).unwrap();
        let expected = "|1970-01-01 00:00:01.500|[1, NULL]|{0, 1970-01-01 00:00:01.500}|{k -> NULL}|[68 69]|";
        assert_eq!(row, expected);
    }
}
