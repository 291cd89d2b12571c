//! Malformed records, by mode, with their lines.

use crate::{CONTINUOUS, MICRO_BATCH, Place, ended, says, shown};
use lotic::{ErrorKind, Trigger};
use std::fs;

const BAD_CSV: &str = "caio,45\n\ndavi,many\neva,20\n";
const BAD_JSON: &str = "{\"nome\":\"caio\",\"idade\":45}\n\n{\"nome\":\"davi\",\"idade\":\"many\"}\n{\"nome\":\"eva\",\"idade\":20}\n";

#[test]
fn failfast_names_file_line_and_text_and_a_corrected_file_is_read_once() {
    for (format, good, bad, corrected) in [
        ("csv", "ana,30\n", BAD_CSV.to_owned(), BAD_CSV.replace("many", "50")),
        (
            "json",
            "{\"nome\":\"ana\",\"idade\":30}\n",
            BAD_JSON.to_owned(),
            BAD_JSON.replace("\"many\"", "50"),
        ),
    ] {
        for trigger in [CONTINUOUS, MICRO_BATCH, Trigger::AvailableNow] {
            let place = Place::new();
            let input = place.reader(format).option("mode", "FAILFAST").load_path(place.path("in")).unwrap();
            place.put("a", good);
            place.run(&input).unwrap();
            place.put("b", &bad);
            let error = ended(&place.start(&input, trigger).unwrap()).unwrap_err();
            let file = shown(place.path("in/b"));
            says(&error, ErrorKind::User, &[&file, "line 3", "davi", "many", "`mode`", "PERMISSIVE"]);
            assert_eq!(place.output(), ["ana,30"], "{format} {trigger}: the last good epoch");
            place.put("b", &corrected);
            place.run(&input).unwrap();
            assert_eq!(place.output(), ["ana,30", "caio,45", "davi,50", "eva,20"], "{format} {trigger}");
        }
    }
}

#[test]
fn permissive_keeps_the_text_and_dropmalformed_leaves_the_row_out() {
    for (format, bad, text) in
        [("csv", BAD_CSV, "davi,many"), ("json", BAD_JSON, "{\"nome\":\"davi\",\"idade\":\"many\"}")]
    {
        for (mode, rows) in [("PERMISSIVE", 3), ("DROPMALFORMED", 2)] {
            let place = Place::new();
            let schema = format!("{}, _corrupt_record STRING", crate::SCHEMA);
            place.put("a", bad);
            let reader = place.session.read_stream().format(format).schema(schema).option("mode", mode);
            let reader = reader.option("badRecordsPath", place.path("bad"));
            let input = reader.load_path(place.path("in")).unwrap();
            let line = "CASE WHEN _corrupt_record IS NULL THEN nome ELSE 'bad' END AS line";
            place.run(&input.select_expr(&[line, "_corrupt_record"]).unwrap()).unwrap();
            let output = place.output();
            assert_eq!(output.len(), rows, "{format} {mode}: {output:?}");
            assert_eq!(output.iter().any(|line| line.starts_with("bad,")), rows == 3, "{output:?}");
            let aside = fs::read_dir(place.path("bad")).unwrap().next().unwrap().unwrap().path();
            let aside = fs::read_to_string(aside).unwrap();
            assert_eq!(aside.lines().count(), 1, "{aside}");
            for part in [shown(place.path("in/a")).as_str(), "\"line\":3", "many"] {
                assert!(aside.contains(part), "`{part}` is not in {aside}");
            }
            assert!(aside.contains(&text.replace('"', "\\\"")), "{aside}");
        }
    }
}

#[test]
fn set_aside_records_are_there_once_after_a_restart() {
    let place = Place::new();
    let reader = place.reader("csv").option("badRecordsPath", place.path("bad"));
    let input = reader.option("mode", "DROPMALFORMED").load_path(place.path("in")).unwrap();
    place.put("a", BAD_CSV);
    let wrong = input.select_expr(&["nome", "100 / (idade - 20) AS q"]).unwrap();
    ended(&place.start(&wrong, Trigger::AvailableNow).unwrap()).unwrap_err();
    place.run(&input.select_expr(&["nome", "100 / (idade - 21) AS q"]).unwrap()).unwrap();
    let aside = fs::read_dir(place.path("bad")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(aside).unwrap().lines().count(), 1);
    assert_eq!(place.output(), ["caio,4", "eva,-100"]);
}
