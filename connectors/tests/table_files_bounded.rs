//! Folders, files and patterns as bounded tables.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "table")]

mod table_files_support;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lotic_connectors::table::files::FilesFormat;
use lotic_connectors::table::format::text::Text;
use lotic_connectors::table::{BoundedTable, ReadRequest, TableFormat};
use lotic_connectors::{ErrorKind, Result};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use table_files_support::{Bars, lines_of, options, put, schema};
use tempfile::TempDir;

fn open(path: &Path, schema: Option<SchemaRef>, more: &[(&str, &str)]) -> Result<Arc<dyn BoundedTable>> {
    FilesFormat::new(Bars).bounded(&ReadRequest { options: options(path, more), schema })
}

fn read(table: &Arc<dyn BoundedTable>, projection: Option<&[usize]>) -> Vec<String> {
    let parts = (0..table.partitions().unwrap()).flat_map(|part| table.read(part, projection).unwrap());
    let mut lines: Vec<String> = parts.flat_map(|rows| lines_of(&rows.unwrap())).collect();
    lines.sort();
    lines
}

fn types(table: &Arc<dyn BoundedTable>) -> Vec<(String, DataType)> {
    table.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

#[test]
fn partition_folders_are_columns_with_inferred_or_given_types() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "year=2024/city=S%C3%A3o%2FPaulo/a.bars", "1|ana\n", 0);
    put(folder.path(), "year=2025/city=__HIVE_DEFAULT_PARTITION__/b.bars", "2|bo\n", 0);
    put(folder.path(), "plain/c.bars", "3|not a partition\n", 0);
    put(folder.path(), "_temporary/d.bars", "4|hidden\n", 0);
    let table = open(folder.path(), Some(schema()), &[]).unwrap();
    let named = |name: &str, data_type| (name.to_owned(), data_type);
    let number = named("n", DataType::Int64);
    let text = |name| named(name, DataType::Utf8);
    assert_eq!(types(&table), [number.clone(), text("name"), named("year", DataType::Int32), text("city")]);
    assert_eq!(read(&table, None), ["1|ana|2024|São/Paulo", "2|bo|2025|null"]);
    assert_eq!(read(&table, Some(&[3, 0])), ["São/Paulo|1", "null|2"]);
    assert_eq!(read(&table, Some(&[2])), ["2024", "2025"], "columns of the path alone");
    let batch = table.read(0, Some(&[])).unwrap().next().unwrap().unwrap();
    assert_eq!((batch.num_columns(), batch.num_rows()), (0, 1), "rows are counted without columns");

    let given =
        Schema::new(vec![Field::new("year", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]);
    let table = open(folder.path(), Some(Arc::new(given)), &[]).unwrap();
    assert_eq!(types(&table), [text("year"), number, text("city")]);
    assert_eq!(read(&table, None), ["2024|1|São/Paulo", "2025|2|null"]);
    let wrong =
        Schema::new(vec![Field::new("city", DataType::Int64, true), Field::new("n", DataType::Int64, true)]);
    let table = open(folder.path(), Some(Arc::new(wrong)), &[]).unwrap();
    let failed = (0..table.partitions().unwrap())
        .flat_map(|part| table.read(part, None).unwrap())
        .find_map(Result::err)
        .unwrap()
        .to_string();
    assert!(failed.contains("partition column `city`") && failed.contains("a.bars"), "{failed}");

    let table = open(folder.path(), Some(schema()), &[("recursiveFileLookup", "true")]).unwrap();
    assert_eq!(read(&table, None), ["1|ana", "2|bo", "3|not a partition"]);
}

#[test]
fn a_path_may_be_a_file_or_a_pattern() {
    let folder = TempDir::new().unwrap();
    for (name, text) in
        [("a.bars", "1|a\n"), ("b.bars", "2|b\n"), ("c.txt", "3|c\n"), ("k=1/d.bars", "4|d\n")]
    {
        put(folder.path(), name, text, 0);
    }
    let at = |path: &str| read(&open(&folder.path().join(path), Some(schema()), &[]).unwrap(), Some(&[0]));
    assert_eq!(at("b.bars"), ["2"]);
    assert_eq!(at("*.bars"), ["1", "2"]);
    assert_eq!(at("k=*"), ["4"]);
    let filtered = open(folder.path(), Some(schema()), &[("pathGlobFilter", "*.bars")]).unwrap();
    assert_eq!(read(&filtered, Some(&[0])), ["1", "2", "4"]);
    for missing in ["nothing", "*.csv"] {
        let error = open(&folder.path().join(missing), Some(schema()), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        assert!(
            error.to_string().contains(missing) && error.to_string().contains("option `path`"),
            "{error}"
        );
    }
    let error = open(folder.path(), Some(schema()), &[("pathGlobFilters", "*")]).unwrap_err().to_string();
    assert!(error.contains("did you mean `pathGlobFilter`?"), "{error}");
}

#[test]
fn a_schema_is_inferred_from_files_that_agree() {
    let folder = TempDir::new().unwrap();
    let error = open(folder.path(), None, &[]).unwrap_err().to_string();
    assert!(error.contains("no file with rows") && error.contains(".schema("), "{error}");
    put(folder.path(), "a.bars", "1|x\n", 0);
    put(folder.path(), "b.bars", "2|y|3\n", 0);
    put(folder.path(), "empty.bars", "", 0);
    let table = open(folder.path(), None, &[]).unwrap();
    assert_eq!(types(&table).len(), 3, "columns of all files");
    assert_eq!(read(&table, None), ["1|x|null", "2|y|3"]);
    put(folder.path(), "c.bars", "word|z\n", 0);
    let error = open(folder.path(), None, &[]).unwrap_err().to_string();
    assert!(
        error.contains("column `c0` is Int64 in") && error.contains("a.bars") && error.contains("c.bars"),
        "{error}"
    );
}

#[test]
fn partitions_hold_every_row_once_in_batches_of_bounded_size() {
    let folder = TempDir::new().unwrap();
    for file in 0..10u64 {
        let lines: String = (0..file * 3000).map(|row| format!("{}|x\n", file * 100_000 + row)).collect();
        put(folder.path(), &format!("{file}.bars"), &lines, 0);
    }
    let table = open(folder.path(), Some(schema()), &[]).unwrap();
    let mut rows = 0;
    for part in 0..table.partitions().unwrap() {
        for batch in table.read(part, Some(&[0])).unwrap() {
            let batch = batch.unwrap();
            assert!((1..=8192).contains(&batch.num_rows()));
            rows += batch.num_rows();
        }
    }
    assert_eq!(rows, (0..10).map(|file| file * 3000).sum::<usize>());
    assert_eq!(read(&table, Some(&[0])).len(), rows, "it can be read again");
}

#[test]
fn files_that_cannot_be_read_are_named_or_left_out() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "a.bars", "!", 0);
    put(folder.path(), "b.bars", "2|b\n", 0);
    let table = open(folder.path(), Some(schema()), &[]).unwrap();
    let failed: Vec<String> = (0..table.partitions().unwrap())
        .flat_map(|part| table.read(part, None).unwrap())
        .filter_map(|rows| rows.err().map(|error| error.to_string()))
        .collect();
    assert!(failed.len() == 1 && failed[0].contains("a.bars"), "{failed:?}");
    let lenient = [("ignoreCorruptFiles", "true"), ("ignoreMissingFiles", "true")];
    assert_eq!(read(&open(folder.path(), Some(schema()), &lenient).unwrap(), None), ["2|b"]);
    for (more, named) in [(&lenient[..0], true), (&lenient[..], false)] {
        put(folder.path(), "b.bars", "2|b\n", 0);
        fs::remove_file(folder.path().join("a.bars")).ok();
        let table = open(folder.path(), Some(schema()), more).unwrap();
        assert_eq!(table.partitions().unwrap(), 1);
        fs::remove_file(folder.path().join("b.bars")).unwrap();
        let read: Vec<_> = table.read(0, None).unwrap().collect();
        assert_eq!(read.len(), usize::from(named));
        assert!(
            read.iter().all(|rows| rows.as_ref().unwrap_err().to_string().contains("ignoreMissingFiles"))
        );
    }
}

#[test]
fn text_in_partition_folders_has_their_columns() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "n=1/a.txt", "ana\n", 0);
    put(folder.path(), "n=2/b.txt", "bo\n", 0);
    let text = |schema| {
        FilesFormat::new(Text).bounded(&ReadRequest { options: options(folder.path(), &[]), schema })
    };
    let table = text(None).unwrap();
    let named = |name: &str, data_type| (name.to_owned(), data_type);
    assert_eq!(types(&table), [named("value", DataType::Utf8), named("n", DataType::Int32)]);
    let rows = (0..table.partitions().unwrap()).flat_map(|part| table.read(part, None).unwrap());
    assert_eq!(rows.map(|rows| rows.unwrap().num_rows()).sum::<usize>(), 2);
    let wrong = Schema::new(vec![Field::new("value", DataType::Int32, true)]);
    assert!(text(Some(Arc::new(wrong))).is_err());
}
