//! Checkpoints and output folders that belong to others, or cannot be used.

use crate::{Place, says, shown};
use lotic::{ErrorKind, Trigger};
use std::fs;

#[test]
fn a_changed_query_on_an_old_checkpoint_is_explained() {
    let place = Place::new();
    place.put("a.csv", "ana,30\nbia,17\n");
    let input = place.stream("csv");
    let start = |frame: &lotic::DataFrame| {
        let writer = frame.write_stream().format("noop").output_mode("update");
        let writer = writer.trigger(Trigger::AvailableNow);
        writer.option("checkpointLocation", place.path("checkpoint")).start()
    };
    let counted = |column: &str| input.group_by([column]).unwrap().count().unwrap();
    crate::ended(&start(&counted("nome")).unwrap()).unwrap();
    let error = start(&counted("idade")).and_then(|query| crate::ended(&query)).unwrap_err();
    let place = shown(place.path("checkpoint"));
    says(&error, ErrorKind::User, &[&place, "another query", "csv.nome", "csv.idade", "another location"]);
}

#[test]
fn a_query_without_its_aggregation_is_told_what_differs() {
    let place = Place::new();
    place.put("a.csv", "ana,30\nbia,17\n");
    let input = place.stream("csv");
    let counted = input.distinct().unwrap();
    place.run(&counted).unwrap();
    let error = place.run(&input).unwrap_err();
    says(&error, ErrorKind::User, &[&shown(place.path("checkpoint")), "another query", "another location"]);
    assert_eq!(place.output(), ["ana,30", "bia,17"]);
    place.put("b.csv", "ana,30\ncaio,45\n");
    place.run(&counted).unwrap();
    assert_eq!(place.output(), ["ana,30", "bia,17", "caio,45"]);
}

#[test]
fn an_output_folder_of_another_checkpoint_is_refused() {
    let place = Place::new();
    place.put("a.csv", "ana,30\n");
    let input = place.stream("csv");
    place.run(&input).unwrap();
    fs::rename(place.path("checkpoint"), place.path("elsewhere")).unwrap();
    let error = place.run(&input).unwrap_err();
    says(
        &error,
        error.kind(),
        &[
            "`sink-csv`",
            "epoch 1",
            &shown(place.path("checkpoint")),
            "the location that the output belongs to",
        ],
    );
    assert_eq!(place.output(), ["ana,30"]);
    fs::remove_dir_all(place.path("checkpoint")).unwrap();
    fs::rename(place.path("elsewhere"), place.path("checkpoint")).unwrap();
    place.put("b.csv", "bia,17\n");
    place.run(&input).unwrap();
    assert_eq!(place.output(), ["ana,30", "bia,17"]);
}

#[test]
fn a_location_or_output_that_cannot_be_written_is_named() {
    let place = Place::new();
    place.put("a.csv", "ana,30\n");
    let input = place.stream("csv");
    let file = place.path("in/a.csv");
    let writer = input.write_stream().format("csv").option("checkpointLocation", file.join("x"));
    let error = writer.start_path(place.path("out")).unwrap_err();
    says(&error, ErrorKind::External, &[&shown(file.join("x")), "checkpoint location"]);
    let writer = input.write_stream().format("csv").option("checkpointLocation", place.path("checkpoint"));
    let error = writer.start_path(file.join("out")).and_then(|query| crate::ended(&query)).unwrap_err();
    says(&error, ErrorKind::External, &[&shown(file.join("out"))]);
    let writer = input.write_stream().format("csv").option("checkpointLocation", place.path("checkpoint"));
    let error = writer.start_path(&file).and_then(|query| crate::ended(&query)).unwrap_err();
    says(&error, ErrorKind::User, &[&shown(&file), "is a file", "folder"]);
}
