//! What the fuzz targets do with their bytes. The test `fuzz_smoke` runs the same on stable Rust.
//!
//! Whatever the bytes: no panic, no bug of our own reported, errors that name the file, the same rows
//! whatever the size of the batches, nothing changed outside the folder.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use lotic_connectors::table::files::FilesFormat;
use lotic_connectors::table::format::csv::Csv;
use lotic_connectors::table::format::json::Json;
use lotic_connectors::table::format::orc::Orc;
use lotic_connectors::table::format::parquet::Parquet;
use lotic_connectors::table::format::text::Text;
use lotic_connectors::table::format::{FileFormat, OpenRequest};
use lotic_connectors::table::{Options, OutputMode, ReadRequest, TableFormat, WriteRequest};
use lotic_connectors::{ConnectorError, ErrorKind};
use lotic_operators::Epoch;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A target by name. It returns how many rows came of the bytes.
pub type Target = (&'static str, fn(&[u8]) -> usize);

/// All targets of this crate.
pub const TARGETS: [Target; 8] = [
    ("csv", csv),
    ("json", json),
    ("text", text),
    ("parquet", parquet),
    ("orc", orc),
    ("options", options),
    ("partition_paths", partition_paths),
    ("commit_handles", commit_handles),
];

/// Lets the readers turn panics of the libraries into errors: the fuzzer would end at each of them. One that
/// leaves a target still ends it.
#[allow(dead_code, reason = "for the fuzzer alone")]
pub fn init() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Columns of the types that all formats have.
pub fn flat() -> Vec<Field> {
    let column = |name: &str, kind| Field::new(name, kind, true);
    vec![
        column("id", DataType::Int64),
        column("name", DataType::Utf8),
        column("size", DataType::Float64),
        column("truth", DataType::Boolean),
        column("day", DataType::Date32),
        column("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        column("_corrupt_record", DataType::Utf8),
    ]
}

/// Columns with columns in them too, and decimals.
pub fn nested() -> Vec<Field> {
    let mut fields = flat();
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    fields.push(Field::new("list", DataType::List(item), true));
    let parts = vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)];
    fields.push(Field::new("pair", DataType::Struct(parts.into()), true));
    fields.push(Field::new("money", DataType::Decimal128(12, 2), true));
    fields
}

fn expected(error: &ConnectorError, path: &Path) {
    let said = error.to_string();
    assert_ne!(error.kind(), ErrorKind::Internal, "a bug: {said}");
    assert!(said.contains(&path.display().to_string()), "no file is named: {said}");
}

/// All rows of a file, in batches of at most this many; `None` if it cannot be read.
fn read(format: &dyn FileFormat, request: &OpenRequest<'_>, rows_max: usize) -> Option<RecordBatch> {
    let all = || -> Result<RecordBatch, ConnectorError> {
        let mut reader = format.open(request)?;
        let mut batches = Vec::new();
        while let Some(batch) = reader.next(rows_max)? {
            assert!((1..=rows_max).contains(&batch.num_rows()));
            assert_eq!(batch.schema(), *request.schema);
            let bad = reader.bad_records();
            assert!(bad.iter().all(|bad| bad.line > 0 && !bad.reason.is_empty()), "{bad:?}");
            batches.push(batch);
        }
        Ok(concat_batches(request.schema, &batches).expect("batches of one schema"))
    };
    all().map_err(|error| expected(&error, request.path)).ok()
}

/// A file with these bytes: its schema, and its rows in small and in large batches.
fn file(
    format: &dyn FileFormat,
    ending: &str,
    fields: Vec<Field>,
    options: &[(&str, &str)],
    bytes: &[u8],
) -> usize {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join(format!("file.{ending}"));
    fs::write(&path, bytes).expect("a file");
    let options: Options = options.iter().copied().collect();
    if let Err(error) = format.infer_schema(&path, &options) {
        expected(&error, &path);
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let request = OpenRequest { path: &path, schema: &schema, table_schema: &schema, options: &options };
    let small = read(format, &request, 2);
    let large = read(format, &request, 1000);
    // As text: NaN is not equal to itself.
    assert_eq!(format!("{small:?}"), format!("{large:?}"), "the size of the batches changes the rows");
    large.map_or(0, |rows| rows.num_rows())
}

/// The first byte chooses among some.
fn choose<'a, T>(bytes: &'a [u8], some: &'a [T]) -> (&'a T, &'a [u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, bytes));
    (&some[usize::from(*first) % some.len()], rest)
}

/// CSV files.
pub fn csv(bytes: &[u8]) -> usize {
    const WAYS: [(&str, &[(&str, &str)]); 6] = [
        ("csv", &[]),
        ("csv", &[("header", "true"), ("mode", "DROPMALFORMED")]),
        ("csv", &[("sep", ";"), ("quote", "'"), ("multiLine", "true")]),
        ("csv", &[("mode", "FAILFAST"), ("nullValue", "NULL")]),
        ("csv.gz", &[]),
        ("csv.zst", &[]),
    ];
    let ((ending, options), bytes) = choose(bytes, &WAYS);
    file(&Csv, ending, flat(), options, bytes)
}

/// Files of JSON lines.
pub fn json(bytes: &[u8]) -> usize {
    const WAYS: [(&str, &[(&str, &str)]); 4] = [
        ("json", &[]),
        ("json", &[("mode", "DROPMALFORMED")]),
        ("json", &[("multiLine", "true")]),
        ("json", &[("mode", "FAILFAST")]),
    ];
    let ((ending, options), bytes) = choose(bytes, &WAYS);
    file(&Json, ending, nested(), options, bytes)
}

/// Files of lines.
pub fn text(bytes: &[u8]) -> usize {
    const WAYS: [(&str, &[(&str, &str)]); 5] = [
        ("txt", &[]),
        ("txt", &[("lineSep", "||")]),
        ("txt", &[("wholetext", "true")]),
        ("txt.gz", &[]),
        ("txt.bz2", &[]),
    ];
    let ((ending, options), bytes) = choose(bytes, &WAYS);
    file(&Text, ending, vec![Field::new("value", DataType::Utf8, true)], options, bytes)
}

/// Parquet files.
pub fn parquet(bytes: &[u8]) -> usize {
    file(&Parquet, "parquet", nested(), &[], bytes)
}

/// ORC files.
pub fn orc(bytes: &[u8]) -> usize {
    file(&Orc, "orc", flat(), &[], bytes)
}

/// Options of all kinds: the first line is the name, the rest the value.
pub fn options(bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let (name, value) = text.split_once('\n').unwrap_or(("maxFileAge", &text));
    let options: Options = [(name, value)].into_iter().collect();
    let refused = [
        options.duration(name).err(),
        options.bytes(name).err(),
        options.byte(name).err(),
        options.bool(name, true).err(),
        options.number::<u32>(name).err(),
        options.check("csv", &FilesFormat::new(Csv).read_options()).err(),
    ];
    for error in refused.into_iter().flatten() {
        assert_eq!(error.kind(), ErrorKind::User, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let folder = TempDir::new().expect("a folder");
    let mut options = options;
    options.set("path", folder.path().display().to_string());
    let schema: SchemaRef = Arc::new(Schema::new(flat()));
    let request = ReadRequest { options: options.clone(), schema: Some(Arc::clone(&schema)) };
    let _ = FilesFormat::new(Csv).stream(&request);
    let _ = FilesFormat::new(Json).stream(&request);
    let request = WriteRequest {
        options,
        schema,
        partition_by: Vec::new(),
        output_mode: OutputMode::Append,
        save_mode: None,
    };
    let _ = FilesFormat::new(Csv).sink(&request);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "something was made");
    0
}

/// Folders and files of any name, read as partitions.
pub fn partition_paths(bytes: &[u8]) -> usize {
    let folder = TempDir::new().expect("a folder");
    let text = String::from_utf8_lossy(bytes).replace('\0', "");
    let mut path = folder.path().to_owned();
    for name in text.split('/').filter(|name| !matches!(*name, "" | "." | "..")).take(6) {
        path.push(name.chars().take(60).collect::<String>());
    }
    let made = fs::create_dir_all(&path).and_then(|()| fs::write(path.join("file.txt"), "line\n"));
    if made.is_err() {
        return 0;
    }
    let mut most = 0;
    for recursive in ["true", "false"] {
        let mut options: Options = [("recursiveFileLookup", recursive)].into_iter().collect();
        options.set("path", folder.path().display().to_string());
        let read = || -> Result<usize, ConnectorError> {
            let table = FilesFormat::new(Text).bounded(&ReadRequest { options, schema: None })?;
            let mut rows = 0;
            for partition in 0..table.partitions()? {
                for batch in table.read(partition, None)? {
                    rows += batch?.num_rows();
                }
            }
            Ok(rows)
        };
        match read() {
            Ok(rows) => most = most.max(rows),
            Err(error) => expected(&error, folder.path()),
        }
    }
    assert!(most <= 1, "{most} rows of one line");
    most
}

/// What a checkpoint gives back to the committer of a file sink.
pub fn commit_handles(bytes: &[u8]) -> usize {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("out");
    fs::create_dir(&out).expect("a folder");
    let outside = folder.path().join("outside.csv");
    fs::write(&outside, "precious").expect("a file");
    fs::write(out.join("mine.csv"), "precious").expect("a file");
    let options = [("path", out.display().to_string())].into_iter().collect();
    let schema = Arc::new(Schema::new(flat()));
    let partition_by = Vec::new();
    let request =
        WriteRequest { options, schema, partition_by, output_mode: OutputMode::Append, save_mode: None };
    let sink = FilesFormat::new(Csv).sink(&request).expect("a sink");
    let mut committer = sink.committer("query/sink").expect("a committer").expect("a committer");
    if let Err(error) = committer.commit(Epoch(1), &[bytes]) {
        assert_ne!(error.kind(), ErrorKind::Internal, "a bug: {error}");
    }
    let _ = committer.abort_prepared();
    for file in [outside, out.join("mine.csv")] {
        assert_eq!(fs::read_to_string(&file).expect("the file is left alone"), "precious");
    }
    let names = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(names, 2, "something was made outside the folder");
    0
}
