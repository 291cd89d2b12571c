//! Rows as text: a table, JSON lines or CSV.

use crate::args::RowFormat;
use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::LineDelimited;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt::Write as _;

/// Turns batches of one schema into text, the header once.
#[derive(Debug)]
pub(crate) struct RowText {
    format: RowFormat,
    schema: SchemaRef,
    /// Characters of each column of a table; decided by the rows that come first.
    widths: Vec<usize>,
    begun: bool,
}

/// The narrowest column of a table whose later rows are not known yet.
const STREAM_WIDTH: usize = 8;

impl RowText {
    pub(crate) fn new(format: RowFormat, schema: SchemaRef) -> RowText {
        RowText { format, schema, widths: Vec::new(), begun: false }
    }

    /// Appends rows. `last`: no more rows will come, so columns can be as narrow as these allow.
    ///
    /// # Errors
    /// If the format cannot hold a type.
    pub(crate) fn write(
        &mut self,
        batches: &[RecordBatch],
        last: bool,
        text: &mut Vec<u8>,
    ) -> Result<(), ArrowError> {
        match self.format {
            RowFormat::Table => self.table(batches, last, text),
            RowFormat::Json => {
                let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
                let mut writer: LineDelimitedWriter<_> = builder.build::<_, LineDelimited>(text);
                batches.iter().try_for_each(|batch| writer.write(batch))?;
                writer.finish()
            }
            RowFormat::Csv => {
                let header = !std::mem::replace(&mut self.begun, true);
                let mut writer = CsvBuilder::new().with_header(header).build(text);
                if header && batches.iter().all(|batch| batch.num_rows() == 0) {
                    return writer.write(&RecordBatch::new_empty(SchemaRef::clone(&self.schema)));
                }
                batches.iter().try_for_each(|batch| writer.write(batch))
            }
        }
    }

    /// Appends what ends the output.
    pub(crate) fn finish(&mut self, text: &mut Vec<u8>) {
        if self.format == RowFormat::Table && self.begun {
            text.extend(self.border().as_bytes());
        }
    }

    fn table(&mut self, batches: &[RecordBatch], last: bool, text: &mut Vec<u8>) -> Result<(), ArrowError> {
        let mut rows = Vec::new();
        for batch in batches {
            cells(batch, &mut rows)?;
        }
        if !std::mem::replace(&mut self.begun, true) {
            let names: Vec<String> = self.schema.fields().iter().map(|field| escaped(field.name())).collect();
            let narrowest = if last { 0 } else { STREAM_WIDTH };
            self.widths = (0..names.len())
                .map(|column| {
                    let cells = rows.iter().map(|row| row[column].chars().count());
                    cells.chain([names[column].chars().count(), narrowest]).max().unwrap_or(0)
                })
                .collect();
            let border = self.border();
            text.extend(border.as_bytes());
            text.extend(self.line(&names).as_bytes());
            text.extend(border.as_bytes());
        }
        for row in &rows {
            text.extend(self.line(row).as_bytes());
        }
        Ok(())
    }

    fn border(&self) -> String {
        let mut line = String::from("+");
        for width in &self.widths {
            line.extend(std::iter::repeat_n('-', width + 2));
            line.push('+');
        }
        line.push('\n');
        line
    }

    fn line(&self, cells: &[String]) -> String {
        let mut line = String::from("|");
        for (cell, width) in cells.iter().zip(&self.widths) {
            let _ = write!(line, " {cell:width$} |");
        }
        line.push('\n');
        line
    }
}

/// Every row as text, cell by cell.
fn cells(batch: &RecordBatch, rows: &mut Vec<Vec<String>>) -> Result<(), ArrowError> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<_, _>>()?;
    for row in 0..batch.num_rows() {
        let cell = |column: &ArrayFormatter<'_>| column.value(row).try_to_string().map(|cell| escaped(&cell));
        rows.push(columns.iter().map(cell).collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// A text that stays on one line and does nothing to a terminal.
fn escaped(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use std::sync::Arc;

    fn batch(names: &[Option<&str>]) -> RecordBatch {
        let numbers: Vec<i32> = (0..names.len() as i32).collect();
        RecordBatch::try_from_iter([
            ("nome", Arc::new(StringArray::from(names.to_vec())) as ArrayRef),
            ("n", Arc::new(Int32Array::from(numbers)) as ArrayRef),
        ])
        .unwrap()
    }

    fn text(format: RowFormat, parts: &[&[RecordBatch]], last: bool) -> String {
        let mut rows = RowText::new(format, parts[0][0].schema());
        let mut text = Vec::new();
        for part in parts {
            rows.write(part, last, &mut text).unwrap();
        }
        rows.finish(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_table_is_aligned_over_all_batches() {
        let shown = text(RowFormat::Table, &[&[batch(&[Some("José")]), batch(&[None, Some("a\nb")])]], true);
        let expected = "+------+---+\n| nome | n |\n+------+---+\n| José | 0 |\n| NULL | 0 |\n| a\\nb | 1 |\n+------+---+\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_table_that_grows_has_one_header() {
        let shown =
            text(RowFormat::Table, &[&[batch(&[Some("a")])], &[batch(&[Some("long-er-than-8")])]], false);
        assert_eq!(shown.matches("nome").count(), 1);
        assert!(shown.contains("| a        | 0        |\n| long-er-than-8 | 0        |\n"), "{shown}");
    }

    #[test]
    fn json_has_every_column_in_every_line_and_csv_one_header() {
        let parts: &[&[RecordBatch]] = &[&[batch(&[None])], &[batch(&[Some("x,\"y\"")])]];
        let json = text(RowFormat::Json, parts, false);
        assert_eq!(json, "{\"nome\":null,\"n\":0}\n{\"nome\":\"x,\\\"y\\\"\",\"n\":0}\n");
        assert_eq!(text(RowFormat::Csv, parts, false), "nome,n\n,0\n\"x,\"\"y\"\"\",0\n");
        let empty: &[&[RecordBatch]] = &[&[batch(&[])]];
        assert_eq!(text(RowFormat::Csv, empty, true), "nome,n\n");
        assert_eq!(text(RowFormat::Json, empty, true), "");
    }
}
