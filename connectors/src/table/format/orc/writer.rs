//! Writing ORC.

use super::footer::{Stripe, Tail};
use super::refused;
use super::wire::{Message, Value, put};
use crate::error::{ConnectorError, Result};
use crate::limits::{COLUMNAR_GROUP_BYTES, COLUMNAR_WRITE_ROWS, ORC_STRIPE_BYTES};
use crate::table::format::FileWriter;
use crate::table::format::columnar::{convert_rows, distinct_columns, group_bytes};
use crate::table::options::{OptionSpec, Options};
use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use orc_rust::ArrowWriterBuilder;
use orc_rust::compression::CompressionType;
use std::fs::File;
use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a file begins with.
const MAGIC: &[u8] = b"ORC";
/// Batches that are held before they are brought together.
const LOOSE_BATCHES: usize = 256;
/// Bytes of a block of the footer; at most the compression block size of the library.
const BLOCK_BYTES: usize = 64 << 10;
/// Field numbers of the footer.
const CONTENT_LENGTH: u64 = 2;
const STRIPES: u64 = 3;
const ROWS: u64 = 6;
/// A field number of the postscript.
const FOOTER_LENGTH: u64 = 1;

pub(super) const OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new("compression", "zstd", "Compression inside the file: zstd, snappy, lz4, zlib or none."),
    OptionSpec::new(
        "orc.stripe.size",
        "64m",
        "Bytes of rows after which a stripe ends, such as 8m; at most 1g. They are held in memory until then.",
    ),
];

/// The write options.
pub(super) struct Settings {
    compression: Option<CompressionType>,
    stripe_bytes: usize,
}

impl Settings {
    pub(super) fn new(options: &Options) -> Result<Settings> {
        let known = |value: &str| {
            Some(match value.to_ascii_lowercase().as_str() {
                "zstd" => Some(CompressionType::Zstd),
                "snappy" => Some(CompressionType::Snappy),
                "lz4" => Some(CompressionType::Lz4),
                "zlib" => Some(CompressionType::Zlib),
                "none" | "uncompressed" => None,
                _ => return None,
            })
        };
        let compression = options.parsed("compression", "zstd, snappy, lz4, zlib or none", known)?;
        let stripe_bytes = group_bytes(options, "orc.stripe.size", ORC_STRIPE_BYTES, COLUMNAR_GROUP_BYTES)?;
        Ok(Settings { compression: compression.unwrap_or(Some(CompressionType::Zstd)), stripe_bytes })
    }
}

/// The schema that a file has for rows of a schema.
///
/// # Errors
/// The column whose type ORC files cannot hold, or that is there twice.
pub(super) fn stored_schema(schema: &Schema) -> Result<SchemaRef> {
    distinct_columns(schema, "ORC")?;
    let fields = schema.fields().iter().map(|field| {
        let kind = stored(field.data_type()).ok_or_else(|| refused(field.name(), field.data_type()))?;
        Ok(Field::new(field.name(), kind, field.is_nullable()))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Fields>>()?)))
}

/// The type that a file has for a type, with the same values.
fn stored(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::Date32 => kind.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(unit, None) => DataType::Timestamp(*unit, None),
        // An instant; the name of its zone is no part of an ORC file.
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("UTC".into())),
        DataType::Dictionary(_, values) => stored(values)?,
        _ => return None,
    })
}

/// Rows are held until they are enough for a stripe. The library's writer cannot move between threads, so it
/// lives for a stripe only: it writes a file of one stripe into memory, of which the stripe goes to the file.
/// The footer of the first such file, with all stripes in it, ends the whole.
struct Writer {
    file: File,
    schema: SchemaRef,
    settings: Settings,
    held: Held,
    /// Bytes that went to the file.
    written: u64,
    stripes: Vec<Stripe>,
    first: Option<Tail>,
}

/// Rows of the stripe that has not ended.
#[derive(Default)]
struct Held {
    rows: Vec<RecordBatch>,
    /// How many of them, from the first, are whole blocks.
    blocks: usize,
    bytes: usize,
}

pub(super) fn create(schema: &SchemaRef, options: &Options, file: File) -> Result<Box<dyn FileWriter>> {
    let settings = Settings::new(options)?;
    let schema = stored_schema(schema)?;
    let held = Held::default();
    Ok(Box::new(Writer { file, schema, settings, held, written: 0, stripes: Vec::new(), first: None }))
}

impl Held {
    /// Small batches, of a row or so, are brought together.
    fn add(&mut self, rows: RecordBatch) -> Result<(), ArrowError> {
        self.bytes += memory(&rows);
        self.rows.push(rows);
        let loose = &self.rows[self.blocks..];
        let count: usize = loose.iter().map(RecordBatch::num_rows).sum();
        if count >= COLUMNAR_WRITE_ROWS || loose.len() >= LOOSE_BATCHES {
            let block = concat_batches(&loose[0].schema(), loose)?;
            self.rows.truncate(self.blocks);
            self.rows.push(block);
            self.blocks += 1;
        }
        Ok(())
    }
}

impl Writer {
    fn end_stripe(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let bytes = self.encode(&held.rows)?;
        let tail = Tail::read(&mut Cursor::new(&bytes), bytes.len() as u64).map_err(impossible)?;
        if self.first.is_none() {
            self.append(&bytes[..MAGIC.len()])?;
        }
        for stripe in tail.stripes().map_err(impossible)? {
            let size = stripe.index + stripe.data + stripe.footer;
            let stripe_bytes = usize::try_from(stripe.offset).ok().zip(usize::try_from(size).ok());
            let stripe_bytes = stripe_bytes.and_then(|(start, size)| bytes.get(start..start + size));
            let offset = self.written;
            self.append(stripe_bytes.ok_or_else(|| impossible("a stripe is not there"))?)?;
            self.stripes.push(Stripe { offset, ..stripe });
        }
        self.first.get_or_insert(tail);
        Ok(())
    }

    /// A file with these rows as its one stripe.
    fn encode(&self, rows: &[RecordBatch]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let write = || {
            let mut builder = ArrowWriterBuilder::new(&mut bytes, Arc::clone(&self.schema))
                .with_stripe_byte_size(usize::MAX);
            if let Some(compression) = self.settings.compression {
                builder = builder.with_compression(compression);
            }
            let mut writer = builder.try_build()?;
            rows.iter().try_for_each(|rows| writer.write(rows))?;
            writer.close()
        };
        match catch_unwind(AssertUnwindSafe(write)) {
            Ok(Ok(())) => Ok(bytes),
            Ok(Err(cause)) => Err(unwritable(cause)),
            Err(_) => Err(unwritable("the ORC library did not expect them")),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|cause| ConnectorError::external("cannot write an ORC file", cause))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn end_file(&mut self, first: &Tail) -> Result<()> {
        let mut footer = Vec::new();
        for field in Message(&first.footer) {
            let (number, value) = field.map_err(impossible)?;
            if !matches!(number, CONTENT_LENGTH | STRIPES | ROWS) {
                put(number, &value, &mut footer);
            }
        }
        let content = self.written - MAGIC.len() as u64;
        put(CONTENT_LENGTH, &Value::Number(content), &mut footer);
        for stripe in &self.stripes {
            put(STRIPES, &Value::Bytes(&stripe.encode()), &mut footer);
        }
        let rows = self.stripes.iter().map(|stripe| stripe.rows).sum();
        put(ROWS, &Value::Number(rows), &mut footer);
        if first.compression.is_some() {
            footer = uncompressed_blocks(&footer);
        }
        let mut postscript = Vec::new();
        put(FOOTER_LENGTH, &Value::Number(footer.len() as u64), &mut postscript);
        for field in Message(&first.postscript) {
            let (number, value) = field.map_err(impossible)?;
            if number != FOOTER_LENGTH {
                put(number, &value, &mut postscript);
            }
        }
        let size = u8::try_from(postscript.len()).map_err(|_| impossible("the postscript is too long"))?;
        postscript.push(size);
        self.append(&footer)?;
        self.append(&postscript)
    }
}

impl FileWriter for Writer {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        for start in (0..rows.num_rows()).step_by(COLUMNAR_WRITE_ROWS) {
            let slice = rows.slice(start, COLUMNAR_WRITE_ROWS.min(rows.num_rows() - start));
            let slice = convert_rows(&slice, &self.schema).map_err(unwritable)?;
            self.held.add(slice).map_err(unwritable)?;
            if self.held.bytes >= self.settings.stripe_bytes {
                self.end_stripe()?;
            }
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.written + self.held.bytes as u64
    }

    fn finish(mut self: Box<Self>) -> Result<File> {
        if !self.held.rows.is_empty() {
            self.end_stripe()?;
        }
        match self.first.take() {
            Some(first) => self.end_file(&first)?,
            None => {
                let empty = self.encode(&[])?;
                self.append(&empty)?;
            }
        }
        Ok(self.file)
    }
}

/// Bytes as blocks that say of themselves that they are not compressed.
fn uncompressed_blocks(bytes: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(bytes.len() + 3);
    for block in bytes.chunks(BLOCK_BYTES) {
        let header = (block.len() << 1 | 1) as u32;
        blocks.extend_from_slice(&header.to_le_bytes()[..3]);
        blocks.extend_from_slice(block);
    }
    blocks
}

fn unwritable(cause: impl ToString) -> ConnectorError {
    ConnectorError::user(format!("rows cannot be written as ORC: {}", cause.to_string()))
}

fn impossible(cause: impl ToString) -> ConnectorError {
    ConnectorError::internal(format!("an ORC stripe was written wrong: {}", cause.to_string()))
}

/// Bytes of the values of the rows.
fn memory(rows: &RecordBatch) -> usize {
    let sizes = rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
    sizes.sum::<usize>().max(rows.num_rows())
}
