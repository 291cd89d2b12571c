//! Files that programs nobody here wrote can read and have written: pyarrow, DuckDB and Spark, by
//! `compatibility/check.py`. Their rows come and go as Arrow files beside the file of the format.
//!
//! Needs `python3` with `venv`, a Java runtime, and PyPI the first time. Without them the test says that it was
//! skipped; where `CI` is set, it fails.
#![cfg(all(feature = "orc", feature = "parquet"))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/python.rs"]
mod python;
#[path = "support/random_tables.rs"]
mod random_tables;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use arrow::ipc::reader::FileReader as ArrowReader;
use arrow::ipc::writer::FileWriter as ArrowWriter;
use lotic_connectors::table::Options;
use lotic_connectors::table::format::csv::Csv;
use lotic_connectors::table::format::json::Json;
use lotic_connectors::table::format::orc::Orc;
use lotic_connectors::table::format::parquet::Parquet;
use lotic_connectors::table::format::{FileFormat, OpenRequest};
use python::{Scripts, succeed};
use random_tables::rows;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

const SCRIPTS: Scripts = Scripts { folder: "compatibility", imports: "pyarrow, duckdb, pyspark.sql" };

/// A format, the columns to write in it, the compressions to write them with, the option for the size of a
/// group of rows if there is one, and what to read and write with.
struct Tried {
    format: &'static dyn FileFormat,
    columns: fn() -> Fields,
    compressions: &'static [&'static str],
    group: Option<&'static str>,
    options: &'static [(&'static str, &'static str)],
}

const FORMATS: [Tried; 4] = [
    Tried {
        format: &Parquet,
        columns: all_columns,
        compressions: &["snappy", "zstd", "gzip", "lz4", "brotli", "none"],
        group: Some("parquet.block.size"),
        options: &[],
    },
    Tried {
        format: &Orc,
        columns: flat_columns,
        compressions: &["zstd", "snappy", "lz4", "zlib", "none"],
        group: Some("orc.stripe.size"),
        options: &[],
    },
    Tried {
        format: &Csv,
        columns: plain_columns,
        compressions: &["none"],
        group: None,
        // Spark's default, a backslash before a quote, is no other program's.
        options: &[("header", "true"), ("escape", "\"")],
    },
    Tried { format: &Json, columns: plain_columns, compressions: &["none"], group: None, options: &[] },
];

fn flat() -> Vec<DataType> {
    use DataType::*;
    let zoned = |zone: &str| Timestamp(TimeUnit::Microsecond, Some(zone.into()));
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let mut kinds = vec![
        Boolean, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, Float32, Float64, Utf8, LargeUtf8,
        Utf8View, Binary, Date32,
    ];
    kinds.extend(units.map(|unit| Timestamp(unit, None)));
    kinds.extend([zoned("UTC"), zoned("America/Sao_Paulo")]);
    kinds
}

fn flat_columns() -> Fields {
    random_tables::fields(flat())
}

/// Those of which text says everything.
fn plain_columns() -> Fields {
    use DataType::*;
    let kinds =
        vec![Boolean, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, Float32, Float64, Utf8, Date32];
    random_tables::fields(kinds)
}

fn all_columns() -> Fields {
    let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
    let pair = random_tables::fields(vec![DataType::Int32, list(DataType::Utf8)]);
    let entries = [Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Int64, true)];
    let entries = Field::new("entries", DataType::Struct(entries.into_iter().collect()), false);
    let mut kinds = flat();
    kinds.extend([
        DataType::UInt64,
        DataType::Decimal128(9, 2),
        DataType::Decimal128(38, 10),
        DataType::Decimal256(60, 12),
        DataType::Time64(TimeUnit::Microsecond),
        list(DataType::Float64),
        list(list(DataType::Date32)),
        DataType::Struct(pair),
        DataType::Map(Arc::new(entries), false),
    ]);
    random_tables::fields(kinds)
}

fn write_case(case: &Path, format: &dyn FileFormat, batch: &RecordBatch, options: &Options) {
    fs::create_dir_all(case).unwrap();
    let file = File::create_new(case.join("rows").with_extension(format.extension())).unwrap();
    format.check_write(batch.schema_ref(), options).unwrap();
    let mut writer = format.create(batch.schema_ref(), options, file).unwrap();
    for start in (0..batch.num_rows()).step_by(100) {
        writer.write(&batch.slice(start, 100.min(batch.num_rows() - start))).unwrap();
    }
    writer.finish().unwrap();
    let file = File::create_new(case.join("rows.arrow")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema_ref()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
}

fn ours(folder: &Path) {
    for tried in FORMATS {
        let name = tried.format.name();
        let given = |more: &[(&'static str, &'static str)]| -> Options {
            tried.options.iter().chain(more).copied().collect()
        };
        for (seed, compression) in (1..).zip(tried.compressions) {
            let batch = rows(&(tried.columns)(), 500, seed);
            let options = given(&[("compression", compression)]);
            write_case(&folder.join(format!("{name}-{compression}")), tried.format, &batch, &options);
        }
        let options = tried.group.map_or_else(|| given(&[]), |group| given(&[(group, "10k")]));
        let batch = rows(&(tried.columns)(), 4000, 99);
        write_case(&folder.join(format!("{name}-groups")), tried.format, &batch, &options);
        let empty = batch.slice(0, 0);
        write_case(&folder.join(format!("{name}-empty")), tried.format, &empty, &given(&[]));
    }
}

fn arrow_file(path: &Path) -> RecordBatch {
    let reader = ArrowReader::try_new(File::open(path).unwrap(), None).unwrap();
    let schema = reader.schema();
    concat_batches(&schema, &reader.map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

/// Reads a case of theirs, and says what differs.
fn read_case(case: &Path) -> Result<(), String> {
    let expected = arrow_file(&case.join("rows.arrow"));
    let found = |tried: &&Tried| case.join("rows").with_extension(tried.format.extension()).exists();
    let tried = FORMATS.iter().find(found).expect("a file of a format asked for");
    let path = case.join("rows").with_extension(tried.format.extension());
    let format = tried.format;
    let (schema, options) = (expected.schema(), tried.options.iter().copied().collect());
    format.infer_schema(&path, &options).map_err(|cause| cause.to_string())?;
    let request = OpenRequest { path: &path, schema: &schema, table_schema: &schema, options: &options };
    let mut reader = format.open(&request).map_err(|cause| cause.to_string())?;
    let mut batches = Vec::new();
    while let Some(batch) = reader.next(1000).map_err(|cause| cause.to_string())? {
        batches.push(batch);
    }
    let read = concat_batches(&schema, &batches).unwrap();
    for (index, field) in schema.fields().iter().enumerate() {
        if read.column(index) != expected.column(index) {
            return Err(format!("column {field}:\n{:?}\n{:?}", read.column(index), expected.column(index)));
        }
    }
    Ok(())
}

#[test]
fn other_programs_read_our_files_and_we_read_theirs() {
    let python = match SCRIPTS.python() {
        Ok(python) => python,
        Err(cause) if std::env::var_os("CI").is_some() => panic!("no Python for this test: {cause}"),
        Err(cause) => {
            eprintln!(
                "SKIPPED: nothing was compared with pyarrow, DuckDB and Spark, for want of a Python: {cause}"
            );
            return;
        }
    };
    let folder = TempDir::new().unwrap();
    ours(&folder.path().join("ours"));
    let check = |words: &[&str], folder: &Path| {
        let mut command = Command::new(&python);
        command.arg(SCRIPTS.check()).arg(words[0]).arg(folder).args(&words[1..]);
        succeed(&mut command).unwrap_or_else(|said| panic!("{said}"))
    };
    println!("{}", check(&["read"], &folder.path().join("ours")));

    let theirs = folder.path().join("theirs");
    let words: Vec<&str> =
        ["make"].into_iter().chain(FORMATS.iter().map(|tried| tried.format.name())).collect();
    check(&words, &theirs);
    let mut cases: Vec<PathBuf> = fs::read_dir(&theirs).unwrap().map(|case| case.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= FORMATS.len());
    let different: Vec<String> = cases
        .iter()
        .filter_map(|case| read_case(case).err().map(|said| format!("{}: {said}", case.display())))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}
