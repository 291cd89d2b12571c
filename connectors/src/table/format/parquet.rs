//! Parquet.

use super::columnar::{
    ColumnarReader, Plan, convert_rows, distinct_columns, file_size, group_bytes, guarded, open, plain,
};
use super::{FileFormat, FileReader, FileWriter, OpenRequest};
use crate::error::{ConnectorError, Result};
use crate::limits::{COLUMNAR_GROUP_BYTES, COLUMNAR_READ_ROWS, COLUMNAR_WRITE_ROWS, PARQUET_ROW_GROUP_BYTES};
use crate::table::options::{OptionSpec, Options};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const OPTIONS: [OptionSpec; 3] = [
    OptionSpec::new(
        "compression",
        "snappy",
        "Compression inside the file: snappy, zstd, gzip, lz4, brotli or none (uncompressed).",
    ),
    OptionSpec::new(
        "parquet.block.size",
        "128m",
        "Bytes after which a row group ends, such as 16m; at most 1g. They are held in memory until then.",
    ),
    OptionSpec::new(
        "parquet.enable.dictionary",
        "true",
        "Whether values that come again are written once, and then by number.",
    ),
];

/// The Parquet format.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parquet;

impl FileFormat for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn extension(&self) -> &'static str {
        "parquet"
    }

    fn summary(&self) -> &'static str {
        "Apache Parquet: columns with their types, nested ones too, compressed."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        Vec::new()
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        OPTIONS.to_vec()
    }

    fn infer_schema(&self, path: &Path, _options: &Options) -> Result<Schema> {
        Ok(plain(builder(path)?.schema()))
    }

    fn check_read(&self, _schema: &Schema, _options: &Options) -> Result<()> {
        Ok(())
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn FileReader>> {
        let path = request.path;
        let builder = builder(path)?;
        let plan = Plan::new(builder.schema(), request.schema, path)?;
        let reader = guarded("Parquet", path, || {
            let mask = ProjectionMask::roots(builder.parquet_schema(), plan.roots().iter().copied());
            builder.with_projection(mask).with_batch_size(COLUMNAR_READ_ROWS).build()
        })?;
        Ok(Box::new(ColumnarReader::new("Parquet", path, plan, Box::new(reader))))
    }

    /// With the schema that the writing program left in the file for itself, and without.
    fn is_plain_parquet(&self, path: &Path, schema: &Schema) -> bool {
        let whole = open(path).and_then(|file| file_size(&file, "Parquet", path).map(|_| file));
        let noted = whole.and_then(|file| {
            guarded("Parquet", path, || ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()))
        });
        let (Ok(noted), Ok(own)) = (noted, builder(path)) else { return false };
        let has = |file: &Schema, field: &Field| {
            let mut found = file.fields().iter().filter(|known| known.name() == field.name());
            let same = found.next().is_some_and(|known| known.data_type() == field.data_type());
            same && found.next().is_none()
        };
        schema.fields().iter().all(|field| has(noted.schema(), field) && has(own.schema(), field))
    }

    fn check_write(&self, schema: &Schema, options: &Options) -> Result<()> {
        stored_schema(schema)?;
        properties(options).map(|_| ())
    }

    fn compression_suffix(&self, options: &Options) -> Result<&'static str> {
        properties(options).map(|_| "")
    }

    fn create(&self, schema: &SchemaRef, options: &Options, file: File) -> Result<Box<dyn FileWriter>> {
        let (properties, group_bytes) = properties(options)?;
        let schema = stored_schema(schema)?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(failed)?;
        Ok(Box::new(Writer { writer, schema, group_bytes }))
    }
}

/// The schema that some programs leave in their files for themselves is not looked at: the types are
/// Parquet's own, the same whoever wrote the file.
fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = open(path)?;
    file_size(&file, "Parquet", path)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    guarded("Parquet", path, || ParquetRecordBatchReaderBuilder::try_new_with_options(file, options))
}

/// What the write options ask for, and the bytes of a row group.
fn properties(options: &Options) -> Result<(WriterProperties, usize)> {
    let known = |value: &str| {
        Some(match value.to_ascii_lowercase().as_str() {
            "snappy" => Compression::SNAPPY,
            "zstd" => Compression::ZSTD(ZstdLevel::default()),
            "gzip" => Compression::GZIP(GzipLevel::default()),
            "brotli" => Compression::BROTLI(BrotliLevel::default()),
            // The framing that every reader agrees on.
            "lz4" | "lz4_raw" => Compression::LZ4_RAW,
            "none" | "uncompressed" => Compression::UNCOMPRESSED,
            _ => return None,
        })
    };
    let compression = options.parsed("compression", "snappy, zstd, gzip, lz4, brotli or none", known)?;
    let group_bytes =
        group_bytes(options, "parquet.block.size", PARQUET_ROW_GROUP_BYTES, COLUMNAR_GROUP_BYTES)?;
    let properties = WriterProperties::builder()
        .set_compression(compression.unwrap_or(Compression::SNAPPY))
        .set_dictionary_enabled(options.bool("parquet.enable.dictionary", true)?)
        // The names of the parts of lists and maps as the specification has them.
        .set_coerce_types(true)
        .set_created_by(concat!("lotic version ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    Ok((properties, group_bytes))
}

/// The schema that a file has for rows of a schema.
///
/// # Errors
/// The column whose type Parquet does not have, or that is there twice.
fn stored_schema(schema: &Schema) -> Result<SchemaRef> {
    distinct_columns(schema, "Parquet")?;
    let fields = schema.fields().iter().map(|field| stored_field(field, field.name()));
    Ok(Arc::new(Schema::new(fields.collect::<Result<Fields>>()?)))
}

/// `column` is the column that the field is a part of.
fn stored_field(field: &FieldRef, column: &str) -> Result<FieldRef> {
    let kind = stored(field.data_type(), column)?;
    Ok(Arc::new(Field::new(field.name(), kind, field.is_nullable())))
}

/// The type that a file has for a type, with the same values. Parquet's times and timestamps have no seconds.
fn stored(kind: &DataType, column: &str) -> Result<DataType> {
    use DataType::*;
    let refused = |way_out: &str| {
        Err(ConnectorError::user(format!(
            "column `{column}`: type {kind} cannot be written as Parquet: {way_out}"
        )))
    };
    let part = |field: &FieldRef| stored_field(field, column);
    Ok(match kind {
        Timestamp(TimeUnit::Second, zone) => Timestamp(TimeUnit::Millisecond, zone.clone()),
        Time32(TimeUnit::Second) => Time32(TimeUnit::Millisecond),
        Dictionary(_, values) => stored(values, column)?,
        List(item) => List(part(item)?),
        LargeList(item) => LargeList(part(item)?),
        FixedSizeList(item, size) if *size > 0 => FixedSizeList(part(item)?, *size),
        Map(entries, sorted) => Map(part(entries)?, *sorted),
        Struct(fields) if !fields.is_empty() => Struct(fields.iter().map(part).collect::<Result<_>>()?),
        Struct(_) => return refused("a struct needs a field"),
        Null => return refused(&format!("give it a type, such as CAST({column} AS STRING)")),
        Date64 => return refused(&format!("use CAST({column} AS DATE) or CAST({column} AS TIMESTAMP)")),
        FixedSizeList(_, _) | Duration(_) | Interval(_) | Union(_, _) | RunEndEncoded(_, _) => {
            return refused(&format!("use CAST({column} AS STRING)"));
        }
        ListView(_) | LargeListView(_) => return refused("cast it to a list"),
        plain => plain.clone(),
    })
}

struct Writer {
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    group_bytes: usize,
}

impl FileWriter for Writer {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        for start in (0..rows.num_rows()).step_by(COLUMNAR_WRITE_ROWS) {
            let slice = rows.slice(start, COLUMNAR_WRITE_ROWS.min(rows.num_rows() - start));
            let slice = convert_rows(&slice, &self.schema).map_err(|cause| {
                ConnectorError::user(format!("rows cannot be written as Parquet: {cause}"))
            })?;
            self.writer.write(&slice).map_err(failed)?;
            if self.writer.memory_size().max(self.writer.in_progress_size()) >= self.group_bytes {
                self.writer.flush().map_err(failed)?;
            }
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    fn finish(self: Box<Self>) -> Result<File> {
        self.writer.into_inner().map_err(failed)
    }
}

fn failed(cause: parquet::errors::ParquetError) -> ConnectorError {
    ConnectorError::external("cannot write a Parquet file", cause)
}
