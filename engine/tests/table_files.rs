//! The notes' programs over folders of files: CSV in, every format out, as a stream and as a batch.
#![allow(clippy::unwrap_used, reason = "tests")]

use lotic::connectors::table::files::FilesFormat;
use lotic::connectors::table::format::{csv::Csv, json::Json, orc::Orc, parquet::Parquet, text::Text};
use lotic::table::arrow::array::AsArray;
use lotic::{DataFrame, ErrorKind, Session, Trigger};
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn session() -> Session {
    let session = Session::builder().app_name("files").get_or_create().unwrap();
    session.register_format(Arc::new(FilesFormat::new(Csv))).unwrap();
    session.register_format(Arc::new(FilesFormat::new(Json))).unwrap();
    session.register_format(Arc::new(FilesFormat::new(Parquet))).unwrap();
    session.register_format(Arc::new(FilesFormat::new(Orc))).unwrap();
    session.register_format(Arc::new(FilesFormat::new(Text))).unwrap();
    session
}

const SCHEMA: &str = "nome STRING, idade INT";

/// A folder `nomes` with two files of three people.
fn nomes(folder: &Path) -> String {
    let nomes = folder.join("nomes");
    fs::create_dir(&nomes).unwrap();
    fs::write(nomes.join("a.csv"), "ana,30\nbia,17\n").unwrap();
    fs::write(nomes.join("b.csv"), "caio,45\n").unwrap();
    nomes.display().to_string()
}

/// The rows as text, sorted.
fn rows(frame: &DataFrame) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in frame.select_expr(&["concat(nome, '-', CAST(idade AS STRING))"]).unwrap().collect().unwrap()
    {
        rows.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    rows.sort();
    rows
}

const EVERYBODY: [&str; 3] = ["ana-30", "bia-17", "caio-45"];

#[test]
fn a_csv_folder_is_read_and_written_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = nomes(folder.path());
    let session = session();
    let people = session.read().schema(SCHEMA).csv(&path).unwrap();
    assert_eq!(rows(&people), EVERYBODY);
    for format in ["csv", "json", "parquet", "orc"] {
        let out = folder.path().join(format);
        people.write().format(format).save(&out).unwrap();
        let back = session.read().format(format).schema(SCHEMA).load_path(&out).unwrap();
        assert_eq!(rows(&back), EVERYBODY, "{format}");
        let refused = people.write().format(format).save(&out).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::User, "{refused}");
        people.write().format(format).mode("append").save(&out).unwrap();
        assert_eq!(back.count().unwrap(), 6, "{format}");
        people.filter("idade < 18").unwrap().write().format(format).mode("overwrite").save(&out).unwrap();
        assert_eq!(rows(&back), ["bia-17"], "{format}");
    }
    let names = folder.path().join("names");
    people.select(["nome"]).unwrap().write().text(&names).unwrap();
    assert_eq!(session.read().text(&names).unwrap().count().unwrap(), 3);
}

#[test]
fn the_program_of_the_notes_goes_on_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = nomes(folder.path());
    for format in ["csv", "json", "parquet", "orc"] {
        let session = session();
        let (out, checkpoint) =
            (folder.path().join(format), folder.path().join(format!("{format}.checkpoint")));
        let start = |trigger| {
            let people = session.read_stream().schema(SCHEMA).csv(&path).unwrap();
            let writer = people.write_stream().format(format).trigger(trigger);
            writer.option("checkpointLocation", &checkpoint).option("path", &out).start().unwrap()
        };
        let read = || rows(&session.read().format(format).schema(SCHEMA).load_path(&out).unwrap());
        start(Trigger::AvailableNow).await_termination().unwrap();
        assert_eq!(read(), EVERYBODY, "{format}");
        let late = folder.path().join("nomes").join(format!("{format}.csv"));
        fs::write(&late, "davi,60\n").unwrap();
        let query = start(Trigger::continuous("10 ms"));
        query.process_all_available().unwrap();
        query.stop().unwrap();
        assert_eq!(read(), ["ana-30", "bia-17", "caio-45", "davi-60"], "{format}");
        fs::remove_file(&late).unwrap();
    }
}

#[test]
fn a_streaming_folder_needs_a_schema() {
    let folder = tempfile::tempdir().unwrap();
    let error = session().read_stream().csv(nomes(folder.path())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    assert!(error.to_string().contains("schema"), "{error}");
}

#[test]
fn sql_reads_and_writes_folders() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (nomes(folder.path()), folder.path().join("out"));
    let session = session();
    let script = format!(
        "CREATE EXTERNAL TABLE nomes (nome STRING, idade INT) STORED AS CSV LOCATION '{path}'
             OPTIONS ('format.has_header' 'false');
         CREATE EXTERNAL TABLE adultos (nome STRING, idade INT) STORED AS PARQUET LOCATION '{}';
         INSERT INTO adultos SELECT * FROM nomes WHERE idade >= 18;
         INSERT INTO adultos VALUES ('eva', 20);",
        out.display()
    );
    session.execute(&script).unwrap();
    assert_eq!(rows(&session.table("adultos").unwrap()), ["ana-30", "caio-45", "eva-20"]);
    let counted = session.sql("SELECT count(*) AS n FROM nomes").unwrap().show_string(20, Some(20)).unwrap();
    assert_eq!(counted, "+---+\n|  n|\n+---+\n|  3|\n+---+\n");
}

#[test]
fn one_query_at_a_time_writes_to_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (nomes(folder.path()), folder.path().join("out"));
    let session = session();
    let start = |checkpoint: &str| {
        let people = session.read_stream().schema(SCHEMA).csv(&path).unwrap();
        // No epoch ends on its own: nothing is committed yet that would give the first query away.
        let writer = people.write_stream().format("csv").trigger(Trigger::continuous("1 hour"));
        writer.option("checkpointLocation", folder.path().join(checkpoint)).option("path", &out).start()
    };
    let first = start("a").unwrap();
    let people = session.read().schema(SCHEMA).csv(&path).unwrap();
    let second = start("b").and_then(|second| second.await_termination()).unwrap_err();
    let bounded = people.write().mode("overwrite").csv(&out).unwrap_err();
    for refused in [second, bounded] {
        assert_eq!(refused.kind(), ErrorKind::User);
        assert!(refused.to_string().contains("another running query writes to this folder"), "{refused}");
    }
    first.process_all_available().unwrap();
    first.stop().unwrap();
    let read = || rows(&session.read().schema(SCHEMA).csv(&out).unwrap());
    assert_eq!(read(), EVERYBODY, "nobody touched what the first had not committed");
    start("a").unwrap().stop().unwrap();
    people.filter("idade > 40").unwrap().write().mode("append").csv(&out).unwrap();
    assert_eq!(read(), ["ana-30", "bia-17", "caio-45", "caio-45"]);
}
