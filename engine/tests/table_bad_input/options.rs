//! Options, formats, modes and sinks that are unknown or wrong.

use crate::{Place, says};
use lotic::{ErrorKind, Trigger};

#[test]
fn an_unknown_option_names_the_nearest() {
    let place = Place::new();
    for (format, option, parts) in [
        ("csv", "headers", ["format `csv` has no option `headers`", "did you mean `header`"]),
        ("json", "maxFilePerTrigger", ["no option `maxFilePerTrigger`", "`maxFilesPerTrigger`"]),
        ("parquet", "zzz", ["format `parquet` has no option `zzz`", "its options are: path"]),
        ("socket", "hots", ["format `socket` has no option `hots`", "`host`"]),
    ] {
        let reader = place.session.read_stream().format(format).option(option, "1");
        let error = reader.load().unwrap_err();
        says(&error, ErrorKind::User, &parts);
    }
    let input = place.stream("csv");
    let writer = input.write_stream().format("csv").option("compresion", "gzip");
    let error = writer.start_path(place.path("out")).unwrap_err();
    says(&error, ErrorKind::User, &["no option `compresion`", "`compression`"]);
    let error = input.write_stream().format("console").option("numRow", 3).start().unwrap_err();
    says(&error, ErrorKind::User, &["format `console` has no option `numRow`", "`numRows`"]);
    assert!(!place.path("out").exists(), "nothing is made before the options are right");
}

#[test]
fn a_wrong_value_is_shown_with_what_was_expected() {
    let place = Place::new();
    for (option, value, parts) in [
        ("header", "yes", ["option `header` is `yes`", "true or false"]),
        ("sep", "", ["`sep`", ""]),
        ("mode", "LENIENT", ["option `mode` is `LENIENT`", "PERMISSIVE, DROPMALFORMED or FAILFAST"]),
        ("maxFilesPerTrigger", "0", ["option `maxFilesPerTrigger` is `0`", "from 1 up"]),
        ("maxFileAge", "a week", ["option `maxFileAge` is `a week`", "`7d`"]),
        ("pathGlobFilter", "[", ["option `pathGlobFilter` is `[`", "a pattern such as"]),
        ("cleanSource", "archive", ["`cleanSource` is `archive`", "`sourceArchiveDir`"]),
        ("cleanSource", "shred", ["option `cleanSource` is `shred`", "`off`, `archive` or `delete`"]),
        ("timestampFormat", "yyyy-QQQQ", ["`timestampFormat`", "yyyy-QQQQ"]),
    ] {
        let error = place.reader("csv").option(option, value).load_path(place.path("in")).err();
        match error {
            Some(error) => says(&error, ErrorKind::User, &parts),
            None => assert_eq!(option, "sep", "{option} = {value} was taken"),
        }
    }
    let inside = place.reader("csv").option("badRecordsPath", place.path("in/bad"));
    let error = inside.load_path(place.path("in")).unwrap_err();
    says(&error, ErrorKind::User, &["`badRecordsPath`", "within the folder that is read", "beside it"]);
}

#[test]
fn an_unknown_format_names_the_nearest() {
    let place = Place::new();
    let error = place.session.read().format("cvs").load_path(place.path("in")).unwrap_err();
    says(&error, ErrorKind::User, &["`cvs`", "did you mean `csv`"]);
    let error = place.stream("csv").write_stream().format("parqet").start().unwrap_err();
    says(&error, ErrorKind::User, &["`parqet`", "did you mean `parquet`"]);
    let error = place.session.read().format("console").load().unwrap_err();
    says(&error, ErrorKind::User, &["`console`", "read"]);
}

#[test]
fn what_is_missing_is_said() {
    let place = Place::new();
    says(&place.session.read().load().unwrap_err(), ErrorKind::User, &["no format was given", ".format("]);
    let error = place.reader("csv").load().unwrap_err();
    says(&error, ErrorKind::User, &["there is no path", "`load`", "`path`"]);
    let error = place.session.read_stream().format("socket").load().unwrap_err();
    says(&error, ErrorKind::User, &["`host`"]);
    let error = place.stream("csv").write_stream().start().unwrap_err();
    says(&error, ErrorKind::User, &["no sink was given", ".format(\"console\")"]);
    let bounded = place.session.sql("SELECT 1").unwrap();
    let error = bounded.write_stream().format("console").start().unwrap_err();
    says(&error, ErrorKind::User, &["needs a stream", "`write()`", "`read_stream()`"]);
    let error = place.stream("csv").write().csv(place.path("out")).unwrap_err();
    says(&error, ErrorKind::User, &["stream", "write_stream"]);
    says(&place.stream("csv").collect().unwrap_err(), ErrorKind::User, &["stream", "write_stream"]);
}

#[test]
fn output_modes_that_are_not_legal_are_refused_with_the_way_out() {
    let place = Place::new();
    let input = place.stream("csv");
    let counted = input.group_by(["nome"]).unwrap().count().unwrap();
    let start = |frame: &lotic::DataFrame, mode: &str, format: &str| {
        let writer = frame.write_stream().format(format).output_mode(mode).trigger(Trigger::AvailableNow);
        writer.start_path(place.path("out")).unwrap_err()
    };
    let writer = counted.write_stream().format("console").output_mode("append");
    says(&writer.start().unwrap_err(), ErrorKind::User, &["append", "update", "complete"]);
    let writer = input.write_stream().format("console").output_mode("complete");
    says(&writer.start().unwrap_err(), ErrorKind::User, &["complete", "aggregation"]);
    says(&start(&counted, "update", "csv"), ErrorKind::User, &["`csv`", "output mode", "ppend"]);
    says(&start(&input, "apend", "csv"), ErrorKind::User, &["`apend`", "append"]);
    let sorted = input.order_by(["idade"]).unwrap();
    says(&start(&sorted, "append", "csv"), ErrorKind::User, &["ORDER BY"]);
    let error = input.write_stream().format("csv").partition_by(["cidade"]).start_path(place.path("out"));
    says(&error.unwrap_err(), ErrorKind::User, &["`cidade`"]);
    let wrong = input.write_stream().foreach_batch(|_, _| {}).trigger(crate::CONTINUOUS).start();
    says(&wrong.unwrap_err(), ErrorKind::User, &["micro-batch"]);
    assert!(!place.path("out").exists());
}
