//! Text: a row a line, in one column.

use super::compression::{COMPRESSION, Compression, Encoder};
use super::lines::{Lines, read_whole, too_long};
use super::malformed::{BadRecords, Mode};
use super::{BadRecord, FileFormat, FileReader, FileWriter, OpenRequest};
use crate::error::{ConnectorError, Result};
use crate::limits::TEXT_BATCH_BYTES;
use crate::table::{OptionSpec, Options};
use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const COLUMN: &str = "value";

/// Lines of text.
///
/// A line is a row, an empty line too. A line that is not UTF-8 has its wrong bytes replaced; a line over the
/// limit is a null and a bad record. A value with a line break in it is written as it is, and so read back
/// as several rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

const LINE_SEP: &str = "lineSep";

impl FileFormat for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn extension(&self) -> &'static str {
        "txt"
    }

    fn summary(&self) -> &'static str {
        "Text, a row a line, in one STRING column `value`."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        vec![
            OptionSpec::new("wholetext", "false", "whether a file is one row, line breaks and all"),
            OptionSpec::new(LINE_SEP, "", "what ends a line; without it \\n, \\r\\n or \\r"),
        ]
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        vec![OptionSpec::new(LINE_SEP, "\\n", "what ends a line"), COMPRESSION]
    }

    fn fixed_schema(&self) -> Option<SchemaRef> {
        Some(Arc::new(Schema::new(vec![Field::new(COLUMN, DataType::Utf8, true)])))
    }

    fn infer_schema(&self, _path: &Path, options: &Options) -> Result<Schema> {
        options.bool("wholetext", false)?;
        Ok(Schema::new(vec![Field::new(COLUMN, DataType::Utf8, true)]))
    }

    fn check_read(&self, schema: &Schema, options: &Options) -> Result<()> {
        options.bool("wholetext", false)?;
        line_separator(options)?;
        only_string(schema, "read from")
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn FileReader>> {
        self.check_read(request.table_schema, request.options)?;
        let input = if request.options.bool("wholetext", false)? {
            Input::Whole(Some(read_whole(request.path)?))
        } else {
            Input::Lines(Box::new(Lines::open(request.path, line_separator(request.options)?.as_deref())?))
        };
        Ok(Box::new(TextReader {
            column: request.table_schema.field(0).name().clone(),
            schema: Arc::clone(request.schema),
            input,
            bad: BadRecords::new(request.path, Mode::Permissive),
        }))
    }

    fn check_write(&self, schema: &Schema, options: &Options) -> Result<()> {
        Compression::of(options)?;
        line_separator(options)?;
        only_string(schema, "written to")
    }

    fn compression_suffix(&self, options: &Options) -> Result<&'static str> {
        Ok(Compression::of(options)?.suffix())
    }

    fn create(&self, schema: &SchemaRef, options: &Options, file: File) -> Result<Box<dyn FileWriter>> {
        self.check_write(schema, options)?;
        let separator = line_separator(options)?.unwrap_or_else(|| "\n".to_owned());
        Ok(Box::new(TextWriter { out: Encoder::new(Compression::of(options)?, file)?, separator }))
    }
}

fn only_string(schema: &Schema, done: &str) -> Result<()> {
    if let [field] = schema.fields().as_ref()
        && field.data_type().is_string()
    {
        return Ok(());
    }
    let columns: Vec<String> =
        schema.fields().iter().map(|field| format!("`{}` {}", field.name(), field.data_type())).collect();
    Err(ConnectorError::user(format!(
        "text can be {done} one STRING column only; the columns are: {}. Select or make one, or use another format",
        columns.join(", ")
    )))
}

/// What ends a line, with `\n`, `\r` and `\t` understood.
fn line_separator(options: &Options) -> Result<Option<String>> {
    let Some(value) = options.get(LINE_SEP) else { return Ok(None) };
    if value.is_empty() {
        return Err(ConnectorError::user(format!("option `{LINE_SEP}` is empty: expected what ends a line")));
    }
    Ok(Some(value.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")))
}

enum Input {
    Lines(Box<Lines>),
    Whole(Option<Vec<u8>>),
}

struct TextReader {
    /// The column of the file.
    column: String,
    schema: SchemaRef,
    input: Input,
    bad: BadRecords,
}

impl TextReader {
    fn values(&mut self, rows_max: usize) -> Result<StringArray> {
        let mut values = StringBuilder::new();
        match &mut self.input {
            Input::Whole(text) => {
                if let Some(text) = text.take() {
                    values.append_value(String::from_utf8_lossy(&text));
                }
            }
            Input::Lines(lines) => {
                lines.release();
                let mut rows = 0;
                while rows < rows_max && lines.held() < TEXT_BATCH_BYTES {
                    let Some(line) = lines.next()? else { break };
                    let bytes = lines.bytes(line.bytes);
                    match line.too_long {
                        None => values.append_value(String::from_utf8_lossy(bytes)),
                        Some(length) => {
                            self.bad.add(line.number, bytes, too_long(length))?;
                            values.append_null();
                        }
                    }
                    rows += 1;
                }
            }
        }
        Ok(values.finish())
    }
}

impl FileReader for TextReader {
    fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>> {
        let values: ArrayRef = Arc::new(self.values(rows_max.max(1))?);
        let rows = values.len();
        if rows == 0 {
            return Ok(None);
        }
        let column = |field: &Arc<Field>| match *field.name() == self.column {
            true => cast(&values, field.data_type()),
            false => Ok(new_null_array(field.data_type(), rows)),
        };
        let columns: Result<Vec<_>, _> = self.schema.fields().iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        columns
            .and_then(|columns| {
                RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            })
            .map(Some)
            .map_err(|error| ConnectorError::user(format!("a line of text is no row of the table: {error}")))
    }

    fn bad_records(&mut self) -> Vec<BadRecord> {
        self.bad.take()
    }
}

struct TextWriter {
    out: Encoder,
    separator: String,
}

impl FileWriter for TextWriter {
    /// A null is written as an empty line.
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let values = cast(rows.column(0), &DataType::Utf8)
            .map_err(|error| ConnectorError::user(format!("a row cannot be written as text: {error}")))?;
        let mut text = String::new();
        for value in values.as_string::<i32>() {
            text.push_str(value.unwrap_or_default());
            text.push_str(&self.separator);
        }
        self.out.write(text.as_bytes())
    }

    fn bytes(&self) -> u64 {
        self.out.bytes()
    }

    fn finish(self: Box<Self>) -> Result<File> {
        self.out.finish()
    }
}
