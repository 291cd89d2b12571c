//! Parquet and ORC: what is written is read back, and no file, however damaged, brings the reader down.
#![cfg(all(feature = "orc", feature = "parquet"))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/random_tables.rs"]
mod random_tables;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef, TimeUnit};
use lotic_connectors::ErrorKind;
use lotic_connectors::table::Options;
use lotic_connectors::table::format::orc::Orc;
use lotic_connectors::table::format::parquet::Parquet;
use lotic_connectors::table::format::{FileFormat, OpenRequest};
use proptest::prelude::*;
use random_tables::{fields, flat, nested, rows};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

type Result<T> = lotic_connectors::Result<T>;

fn options(given: &[(&str, &str)]) -> Options {
    given.iter().copied().collect()
}

fn write(
    format: &dyn FileFormat,
    path: &Path,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    given: &[(&str, &str)],
) {
    let options = options(given);
    options.check(format.name(), &format.write_options()).unwrap();
    format.check_write(schema, &options).unwrap();
    let file = File::create_new(path).unwrap();
    let mut writer = format.create(schema, &options, file).unwrap();
    for batch in batches {
        let before = writer.bytes();
        writer.write(batch).unwrap();
        assert!(batch.num_rows() == 0 || writer.bytes() > 0 && before <= writer.bytes() + (64 << 20));
    }
    writer.finish().unwrap().sync_all().unwrap();
}

fn read(format: &dyn FileFormat, path: &Path, schema: &SchemaRef, rows_max: usize) -> Result<RecordBatch> {
    let options = Options::default();
    let request = OpenRequest { path, schema, table_schema: schema, options: &options };
    let mut reader = format.open(&request)?;
    let mut batches = Vec::new();
    while let Some(batch) = reader.next(rows_max)? {
        assert!((1..=rows_max).contains(&batch.num_rows()), "{} rows", batch.num_rows());
        assert_eq!(batch.schema_ref(), schema);
        batches.push(batch);
    }
    assert!(reader.next(rows_max)?.is_none(), "the end is the end");
    Ok(concat_batches(schema, &batches).unwrap())
}

fn cut(batch: &RecordBatch, pieces: usize) -> Vec<RecordBatch> {
    let size = batch.num_rows().div_ceil(pieces).max(1);
    let mut batches: Vec<_> = (0..batch.num_rows())
        .step_by(size)
        .map(|start| batch.slice(start, size.min(batch.num_rows() - start)))
        .collect();
    batches.push(batch.slice(0, 0));
    batches
}

/// Writes and reads; all columns, then some of them in another order with one that the file does not have.
fn round_trip(format: &dyn FileFormat, batch: &RecordBatch, pieces: usize, given: &[(&str, &str)]) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("rows");
    let schema = batch.schema();
    write(format, &path, &schema, &cut(batch, pieces), given);
    assert_eq!(&read(format, &path, &schema, 1000).unwrap(), batch);
    let first = format.infer_schema(&path, &Options::default()).unwrap();
    assert_eq!(first, format.infer_schema(&path, &Options::default()).unwrap());
    let inferred = read(format, &path, &Arc::new(first), 7).unwrap();
    assert_eq!(inferred.num_rows(), batch.num_rows());

    let missing = Field::new("missing", DataType::Utf8, true);
    let last = schema.field(schema.fields().len() - 1);
    let some = Arc::new(Schema::new(vec![missing, last.clone()]));
    let projected = read(format, &path, &some, 8192).unwrap();
    assert_eq!(projected.column(0).null_count(), batch.num_rows());
    assert_eq!(projected.column(1), batch.column(schema.fields().len() - 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn parquet_returns_what_it_was_given(
        kinds in prop::collection::vec(nested(), 1..5),
        (count, pieces) in (0_usize..300, 1_usize..5),
        seed in any::<u64>(),
        compression in prop::sample::select(vec!["snappy", "zstd", "gzip", "lz4", "brotli", "none"]),
        (group, dictionary) in (prop::sample::select(vec!["1", "20k", "128m"]), any::<bool>()),
    ) {
        let given = [
            ("compression", compression),
            ("parquet.block.size", group),
            ("parquet.enable.dictionary", if dictionary { "true" } else { "false" }),
        ];
        round_trip(&Parquet, &rows(&fields(kinds), count, seed), pieces, &given);
    }

    #[test]
    fn orc_returns_what_it_was_given(
        kinds in prop::collection::vec(flat(), 1..5),
        (count, pieces) in (0_usize..300, 1_usize..5),
        seed in any::<u64>(),
        compression in prop::sample::select(vec!["zstd", "snappy", "lz4", "zlib", "none"]),
        stripe in prop::sample::select(vec!["1", "5k", "64m"]),
    ) {
        let given = [("compression", compression), ("orc.stripe.size", stripe)];
        round_trip(&Orc, &rows(&fields(kinds), count, seed), pieces, &given);
    }
}

fn small_orc_types() -> Vec<DataType> {
    use DataType::*;
    vec![Int32, Utf8, Boolean, Float64, Timestamp(TimeUnit::Microsecond, None), Binary, Int64, Date32]
}

#[test]
fn large_tables_make_several_groups_and_come_back_in_order() {
    let kinds = fields(vec![DataType::Int64, DataType::Utf8, DataType::Float64]);
    let batch = rows(&kinds, 60_000, 7);
    for (format, option) in [(&Parquet as &dyn FileFormat, "parquet.block.size"), (&Orc, "orc.stripe.size")] {
        let folder = TempDir::new().unwrap();
        let (one, many) = (folder.path().join("one"), folder.path().join("many"));
        write(format, &one, &batch.schema(), std::slice::from_ref(&batch), &[]);
        write(format, &many, &batch.schema(), &cut(&batch, 3), &[(option, "100k")]);
        assert_eq!(read(format, &one, &batch.schema(), 4096).unwrap(), batch, "{}", format.name());
        assert_eq!(read(format, &many, &batch.schema(), 4096).unwrap(), batch, "{}", format.name());
        let (one, many) = (fs::metadata(one).unwrap().len(), fs::metadata(many).unwrap().len());
        assert!(many > one, "{}: groups of 100k cost their headers", format.name());
    }
}

#[test]
fn row_by_row_is_the_same_as_at_once() {
    let batch = rows(&fields(small_orc_types()), 3_000, 11);
    for format in [&Parquet as &dyn FileFormat, &Orc] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("rows");
        write(format, &path, &batch.schema(), &cut(&batch, 3_000), &[]);
        assert_eq!(read(format, &path, &batch.schema(), 8192).unwrap(), batch);
    }
}

/// Every prefix of the file, and every byte of it with a bit flipped: an error that names the file, or rows.
fn damage(format: &dyn FileFormat, given: &[(&str, &str)], kinds: Vec<DataType>) {
    let folder = TempDir::new().unwrap();
    let batch = rows(&fields(kinds), 5, 3);
    let path = folder.path().join("rows");
    write(format, &path, &batch.schema(), &cut(&batch, 2), given);
    let bytes = fs::read(&path).unwrap();
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let inferred = format.infer_schema(&path, &Options::default());
        let result = read(format, &path, &batch.schema(), 100);
        for error in [inferred.as_ref().err(), result.as_ref().err()].into_iter().flatten() {
            assert_eq!(error.kind(), ErrorKind::User, "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        result
    };
    for size in 0..bytes.len() {
        open(&bytes[..size]).expect_err("a prefix is no file");
    }
    let mut noticed = 0;
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        noticed += usize::from(open(&flipped).is_err());
    }
    assert!(noticed > 0 && open(&bytes).unwrap() == batch);
}

#[test]
fn damaged_parquet_is_an_error_or_rows_and_never_a_panic() {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let pair = fields(vec![DataType::Utf8, DataType::Decimal128(20, 3)]);
    for compression in ["snappy", "none"] {
        let kinds = vec![DataType::Int64, DataType::List(Arc::clone(&item)), DataType::Struct(pair.clone())];
        damage(&Parquet, &[("compression", compression)], kinds);
    }
}

#[test]
fn damaged_orc_is_an_error_or_rows_and_never_a_panic() {
    for compression in ["none", "zlib", "zstd"] {
        damage(&Orc, &[("compression", compression)], small_orc_types());
    }
}

#[test]
fn what_is_no_such_file_is_an_error_that_says_so() {
    let folder = TempDir::new().unwrap();
    let schema = Arc::new(Schema::new(fields(vec![DataType::Int32])));
    for format in [&Parquet as &dyn FileFormat, &Orc] {
        let path = |name: &str| folder.path().join(name);
        fs::write(path("text"), "nome,idade\nana,3\n").unwrap();
        fs::write(path("empty"), "").unwrap();
        fs::create_dir_all(path("folder")).unwrap();
        let error = |name: &str| read(format, &path(name), &schema, 10).unwrap_err();
        assert!(error("empty").to_string().contains("it is empty (0 bytes)"), "{}", error("empty"));
        assert_eq!(error("text").kind(), ErrorKind::User);
        assert!(error("text").to_string().contains("damaged, cut short or of another format"));
        assert!(error("folder").to_string().contains("is a folder"));
        assert_eq!(error("missing").kind(), ErrorKind::External);
        assert!(error("missing").to_string().contains(path("missing").to_str().unwrap()));
    }
}

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn written(format: &dyn FileFormat, batch: &RecordBatch) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("rows");
    write(format, &path, &batch.schema(), std::slice::from_ref(batch), &[]);
    (folder, path)
}

fn asked(kind: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", kind, true)]))
}

#[test]
fn types_widen_and_what_would_lose_is_refused_by_name() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(7)]));
    let batch = table(vec![("N", Arc::clone(&numbers)), ("text", Arc::new(StringArray::from(vec!["a"; 3])))]);
    for format in [&Parquet as &dyn FileFormat, &Orc] {
        let (_folder, path) = written(format, &batch);
        for kind in [DataType::Int64, DataType::Float64, DataType::Decimal128(12, 2)] {
            let read = read(format, &path, &asked(kind.clone()), 10).unwrap();
            assert_eq!(read.column(0), &cast(&numbers, &kind).unwrap(), "found in another case");
        }
        for kind in [DataType::Int16, DataType::Float32, DataType::Utf8, DataType::Decimal128(11, 2)] {
            let error = read(format, &path, &asked(kind.clone()), 10).unwrap_err().to_string();
            let names = [path.to_str().unwrap(), "`n`", "Int32", &kind.to_string()];
            assert!(names.iter().all(|name| error.contains(name)), "{error}");
        }
        let strict = Arc::new(Schema::new(vec![Field::new("N", DataType::Int32, false)]));
        let error = read(format, &path, &strict, 10).unwrap_err().to_string();
        assert!(error.contains("`N`: it has a null"), "{error}");
        let strict = Arc::new(Schema::new(vec![Field::new("gone", DataType::Int32, false)]));
        let error = read(format, &path, &strict, 10).unwrap_err().to_string();
        assert!(error.contains("`gone`: the file does not have it"), "{error}");
        let none: SchemaRef = Arc::new(Schema::empty());
        let options = Options::default();
        let request = OpenRequest { path: &path, schema: &none, table_schema: &none, options: &options };
        let rows = format.open(&request).unwrap().next(10).unwrap().unwrap();
        assert_eq!((rows.num_rows(), rows.num_columns()), (3, 0), "rows without columns are counted");
    }
}

#[test]
fn timestamps_change_unit_and_zone_but_not_value() {
    let kind = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Arc::from));
    let micros = arrow::array::Int64Array::from(vec![Some(1_500_000), None, Some(-3_000_000)]);
    let column = cast(&micros, &kind(TimeUnit::Microsecond, Some("UTC"))).unwrap();
    let batch = table(vec![("n", column)]);
    for format in [&Parquet as &dyn FileFormat, &Orc] {
        let (_folder, path) = written(format, &batch);
        let numbers = |kind: DataType| {
            let rows = read(format, &path, &asked(kind), 10)?;
            let numbers = cast(rows.column(0), &DataType::Int64).unwrap();
            Result::Ok(numbers.as_primitive::<Int64Type>().iter().flatten().collect::<Vec<_>>())
        };
        assert_eq!(numbers(kind(TimeUnit::Millisecond, None)).unwrap(), [1_500, -3_000]);
        let nanos = kind(TimeUnit::Nanosecond, Some("America/Sao_Paulo"));
        assert_eq!(numbers(nanos).unwrap(), [1_500_000_000, -3_000_000_000]);
        let error = numbers(kind(TimeUnit::Second, None)).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "1.5 s is no whole second: {error}");
    }
}

#[test]
fn structs_gain_null_fields_and_lose_unknown_ones() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let kinds =
        Fields::from(vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Int32, true)]);
    let pair = arrow::array::StructArray::new(kinds, vec![Arc::clone(&numbers), numbers], None);
    let (_folder, path) = written(&Parquet, &table(vec![("n", Arc::new(pair))]));
    let wanted =
        Fields::from(vec![Field::new("c", DataType::Utf8, true), Field::new("b", DataType::Int64, true)]);
    let rows = read(&Parquet, &path, &asked(DataType::Struct(wanted)), 10).unwrap();
    let pair = rows.column(0).as_struct();
    assert_eq!(pair.column(0).null_count(), 2);
    assert_eq!(pair.column(1).as_primitive::<Int64Type>().values(), &[1, 2]);
}

#[test]
fn what_cannot_be_written_is_refused_with_the_way_out() {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
    let cases: [(&dyn FileFormat, DataType, &str); 6] = [
        (&Orc, DataType::Decimal128(10, 2), "CAST(n AS STRING)"),
        (&Orc, list, "write Parquet"),
        (&Orc, DataType::UInt64, "CAST(n AS STRING)"),
        (&Orc, DataType::Null, "give it a type"),
        (&Parquet, DataType::Null, "give it a type"),
        (&Parquet, DataType::Duration(TimeUnit::Second), "CAST(n AS STRING)"),
    ];
    for (format, kind, way_out) in cases {
        let error = format.check_write(&asked(kind.clone()), &Options::default()).unwrap_err().to_string();
        let wanted = ["`n`", &kind.to_string(), way_out];
        assert!(wanted.iter().all(|part| error.contains(part)), "{}: {error}", format.name());
    }
    let twice = Schema::new(vec![Field::new("n", DataType::Int32, true); 2]);
    let wrong = [("compression", "rar"), ("parquet.block.size", "2g"), ("orc.stripe.size", "0")];
    for format in [&Parquet as &dyn FileFormat, &Orc] {
        let error = format.check_write(&twice, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("two columns `n`"), "{error}");
        assert!(format.check_write(&Schema::empty(), &Options::default()).is_err());
        for (name, value) in wrong {
            if format.write_options().iter().all(|known| known.name != name) {
                continue;
            }
            let options = options(&[(name, value)]);
            let error = format.check_write(&asked(DataType::Int32), &options).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
