//! Schemas: missing, wrong, changed between files, with columns twice or not there.

use crate::{Place, says, shown};
use lotic::ErrorKind;

#[test]
fn a_stream_of_files_needs_a_schema() {
    let place = Place::new();
    for format in ["csv", "json", "parquet", "orc"] {
        let error = place.session.read_stream().format(format).load_path(place.path("in")).unwrap_err();
        says(&error, ErrorKind::User, &["stream of", format, "needs a schema", ".schema("]);
    }
    let sql = "CREATE UNBOUNDED EXTERNAL TABLE t STORED AS CSV LOCATION '/'; SELECT * FROM t";
    let error = place.session.execute(sql).unwrap_err();
    says(&error, ErrorKind::User, &["needs a schema", "name STRING, age INT"]);
}

#[test]
fn the_text_of_a_schema_is_checked_with_its_place() {
    let place = Place::new();
    for (schema, parts) in [
        ("nome STRING, idade INTT", ["there is no type `INTT`", "did you mean `INT`", "column 20"]),
        ("nome STRING idade INT", ["is wrong", "Expected: ,", "column 13"]),
        ("nome STRING, nome INT", ["column `nome`", "twice", "is wrong"]),
        ("", ["names no column", "name TYPE", ""]),
    ] {
        let error = place.session.read_stream().schema(schema).csv(place.path("in")).unwrap_err();
        says(&error, ErrorKind::User, &parts);
    }
}

#[test]
fn a_schema_that_changes_between_files_is_an_error_with_both() {
    let place = Place::new();
    place.put("a.json", "{\"id\":1}\n");
    place.put("b.json", "{\"id\":{\"deep\":true}}\n");
    let error = place.session.read().json(place.path("in")).unwrap_err();
    let (a, b) = (shown(place.path("in/a.json")), shown(place.path("in/b.json")));
    says(&error, ErrorKind::User, &["column `id`", &a, &b, ".schema("]);
}

#[test]
fn a_columnar_file_whose_column_has_another_type_is_named() {
    for format in ["parquet", "orc"] {
        let place = Place::new();
        place.put(&format!("a.{format}"), place.whole(format));
        let input = place.session.read_stream().format(format).schema("nome STRING, idade ARRAY<INT>");
        let input = input.load_path(place.path("in")).unwrap().select_expr(&["nome", "idade[1] AS i"]);
        let error = place.run(&input.unwrap()).unwrap_err();
        says(&error, ErrorKind::User, &[&shown(place.path("in").join(format!("a.{format}"))), "column"]);
    }
}

#[test]
fn a_column_that_a_file_lacks_is_null() {
    for format in ["parquet", "orc", "json"] {
        let place = Place::new();
        place.put("a", place.whole(format));
        let input = place.session.read_stream().format(format).schema("nome STRING, cidade STRING");
        place.run(&input.load_path(place.path("in")).unwrap()).unwrap();
        assert_eq!(place.output(), ["ana,", "bia,"], "{format}");
    }
}

#[test]
fn columns_that_are_there_twice_are_refused_or_told_apart() {
    let place = Place::new();
    place.put("a.csv", "id,id\n1,2\n");
    let twice = place.session.read().option("header", true).csv(place.path("in"));
    match twice {
        Err(error) => says(&error, ErrorKind::User, &["`id`", "twice"]),
        Ok(table) => {
            let names: Vec<String> =
                table.schema().fields().iter().map(|field| field.name().clone()).collect();
            assert_ne!(names[0], names[1], "{names:?}");
        }
    }
    let rows = place.session.sql("SELECT 1 AS a, 2 AS b").unwrap();
    let error = rows.select_expr(&["a", "b AS a"]).and_then(|rows| rows.write().parquet(place.path("out")));
    says(&error.unwrap_err(), ErrorKind::User, &["a"]);
}

#[test]
fn types_that_a_format_does_not_have_are_refused_before_anything_is_written() {
    let place = Place::new();
    let nested = place.session.sql("SELECT make_array(1, 2) AS numbers").unwrap();
    for format in ["csv", "orc", "text"] {
        let error = nested.write().format(format).save(place.path("out")).unwrap_err();
        says(&error, ErrorKind::User, &["numbers"]);
        assert!(!place.path("out").exists());
    }
    let all = nested.write().format("parquet").partition_by(["numbers"]).save(place.path("out"));
    says(&all.unwrap_err(), ErrorKind::User, &["numbers"]);
}
