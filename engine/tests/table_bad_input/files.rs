//! Files and folders that cannot be read.

use crate::{CONTINUOUS, Place, ended, says, shown};
use lotic::{ErrorKind, Trigger};
use std::fs;

/// A damaged file ends the query, which names it; what was written before stays. The whole file in its place
/// is read once.
fn recovers(format: &str, name: &str, damaged: &[u8], whole: &[u8], parts: &[&str]) {
    let place = Place::new();
    let input = place.stream(format);
    place.put(&format!("first-{name}"), whole);
    place.run(&input).unwrap();
    let before = place.output();
    assert_eq!(before, ["ana,30", "bia,17"]);
    place.put(name, damaged);
    for trigger in [CONTINUOUS, Trigger::AvailableNow] {
        let error = ended(&place.start(&input, trigger).unwrap()).unwrap_err();
        let file = shown(place.path("in").join(name));
        says(&error, error.kind(), &[&[file.as_str()], parts].concat());
        assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
        assert_eq!(place.output(), before, "{name}: the last good epoch");
    }
    let left_out = place.reader(format).option("ignoreCorruptFiles", true).load_path(place.path("in"));
    assert!(left_out.unwrap().is_streaming());
    place.put(name, whole);
    place.run(&input).unwrap();
    assert_eq!(place.output(), ["ana,30", "ana,30", "bia,17", "bia,17"], "{name}");
}

#[test]
fn a_truncated_or_corrupt_columnar_file_is_named_and_its_repair_is_read_once() {
    for format in ["parquet", "orc"] {
        let whole = Place::new().whole(format);
        let name = format!("b.{format}");
        recovers(format, &name, &whole[..whole.len() / 2], &whole, &["cannot read", format]);
        recovers(format, &name, &whole[..7], &whole, &["cannot read", format]);
        recovers(format, &name, b"nome,idade\nana,30\nbia,17\n", &whole, &["cannot read", format]);
        let mut corrupt = whole.clone();
        let end = corrupt.len() - 12;
        corrupt[end..end + 8].fill(0xff);
        recovers(format, &name, &corrupt, &whole, &["cannot read", format]);
    }
}

#[test]
fn a_truncated_or_wrong_gzip_file_is_named_and_its_repair_is_read_once() {
    let place = Place::new();
    let rows = "SELECT * FROM (VALUES ('ana', 30), ('bia', 17)) AS t (nome, idade)";
    for format in ["csv", "json"] {
        let out = place.path(format);
        let writer = place.session.sql(rows).unwrap().write().format(format);
        writer.option("compression", "gzip").save(&out).unwrap();
        let mut files = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
        let whole = fs::read(files.find(|path| path.to_string_lossy().ends_with(".gz")).unwrap()).unwrap();
        let name = format!("b.{format}.gz");
        recovers(format, &name, &whole[..whole.len() - 6], &whole, &["cannot read"]);
        recovers(format, &name, b"ana,30\nbia,17\n", &whole, &["cannot read"]);
    }
}

#[test]
fn a_folder_that_vanishes_is_named_and_the_query_goes_on_when_it_is_back() {
    let place = Place::new();
    let input = place.stream("csv");
    place.put("a.csv", "ana,30\n");
    let query = place.start(&input, CONTINUOUS).unwrap();
    query.process_all_available().unwrap();
    fs::remove_dir_all(place.path("in")).unwrap();
    let error = ended(&query).unwrap_err();
    says(&error, ErrorKind::External, &[&shown(place.path("in")), "does not exist", "`path`"]);
    assert_eq!(place.output(), ["ana,30"]);
    let error = place.start(&input, Trigger::AvailableNow).and_then(|query| ended(&query)).unwrap_err();
    says(&error, ErrorKind::External, &[&shown(place.path("in")), "does not exist"]);
    fs::create_dir(place.path("in")).unwrap();
    place.put("b.csv", "bia,17\n");
    place.run(&input).unwrap();
    assert_eq!(place.output(), ["ana,30", "bia,17"]);
}

#[test]
fn a_file_where_a_folder_is_needed_and_the_other_way_round() {
    let place = Place::new();
    place.put("a.csv", "ana,30\n");
    let file = place.path("in/a.csv");
    let input = place.reader("csv").load_path(&file).unwrap();
    let error = place.run(&input).unwrap_err();
    says(&error, ErrorKind::User, &[&shown(&file), "is a file, not a folder", "pathGlobFilter"]);
    let error = place.session.read().schema(crate::SCHEMA).csv(place.path("nowhere")).unwrap_err();
    says(&error, ErrorKind::User, &[&shown(place.path("nowhere")), "does not exist", "`path`"]);
    let error = place.session.read().csv(place.path("in/*.parquet")).unwrap_err();
    says(&error, ErrorKind::User, &["no file matches", "in/*.parquet", "`path`"]);
    let error = place.session.read().csv("s3://bucket/key").unwrap_err();
    says(&error, ErrorKind::User, &["s3://bucket/key", "only local folders"]);
    let rows = place.session.read().schema(crate::SCHEMA).csv(&file).unwrap();
    let error = rows.write().csv(&file).unwrap_err();
    says(&error, ErrorKind::User, &[&shown(&file), "is a file", "written to a folder"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "ana,30\n");
}

#[test]
fn folders_dangling_links_and_empty_files_are_no_rows() {
    let place = Place::new();
    fs::create_dir(place.path("in/folder.csv")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(place.path("gone"), place.path("in/link.csv")).unwrap();
    place.put("empty.csv", "");
    place.put("newline.csv", "\n");
    place.put("header.csv", "nome,idade\n");
    place.put("whole.csv", "nome,idade\nana,30\n");
    let read = place.reader("csv").option("header", true);
    place.run(&read.load_path(place.path("in")).unwrap()).unwrap();
    assert_eq!(place.output(), ["ana,30"]);
    let bounded = place.session.read().schema(crate::SCHEMA).option("header", true);
    assert_eq!(bounded.csv(place.path("in")).unwrap().count().unwrap(), 1);
}

#[test]
fn no_schema_can_be_found_in_files_without_rows() {
    let place = Place::new();
    place.put("empty.csv", "");
    for format in ["csv", "json", "parquet", "orc"] {
        let error = place.session.read().format(format).load_path(place.path("in")).unwrap_err();
        says(&error, ErrorKind::User, &[&shown(place.path("in")), "schema", ".schema("]);
    }
}

#[test]
fn a_file_deleted_while_it_waits_is_named() {
    let place = Place::new();
    place.put("a.csv", "ana,30\n");
    let table = place.session.read().schema(crate::SCHEMA).csv(place.path("in/a.csv")).unwrap();
    fs::remove_file(place.path("in/a.csv")).unwrap();
    let error = table.count().unwrap_err();
    says(&error, error.kind(), &[&shown(place.path("in/a.csv")), "does not exist"]);
}
