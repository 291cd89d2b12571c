//! CSV, JSON and text files: what is written is read back, and malformed records are dealt with.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "table")]

use arrow::array::*;
use arrow::datatypes::*;
use lotic_connectors::table::Options;
use lotic_connectors::table::format::csv::Csv;
use lotic_connectors::table::format::json::Json;
use lotic_connectors::table::format::text::Text;
use lotic_connectors::table::format::{BadRecord, FileFormat, OpenRequest};
use proptest::prelude::*;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod table_files;
use table_files::{read_all, rows_of, schema_of, write_all};

fn options(entries: &[(&str, &str)]) -> Options {
    entries.iter().copied().collect()
}

fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Reads a text with these columns: rows as text, bad records; or the error.
fn read(
    format: &dyn FileFormat,
    columns: &[(&str, DataType)],
    given: &[(&str, &str)],
    text: &str,
) -> Result<(Vec<String>, Vec<BadRecord>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "in.data", text.as_bytes());
    let schema = schema_of(columns);
    let (batches, bad) = read_all(format, &path, &schema, &schema, &options(given), 8192)?;
    Ok((rows_of(&batches), bad))
}

const PEOPLE: [(&str, DataType); 2] = [("nome", DataType::Utf8), ("idade", DataType::Int32)];

#[test]
fn csv_tells_null_from_empty_and_keeps_what_can_be_read() {
    let text = "\u{feff}nome,idade\r\nAna,3\r\n\r\n,\n\"\",\"\"\n\"a,\"\"b\\\"\\\\c\\d\",4\n x , 5\nBia,x\nLia\nRui,1,2\n\"Zé\"x,7\nend,8";
    let (rows, bad) = read(&Csv, &PEOPLE, &[("header", "true")], text).unwrap();
    assert_eq!(
        rows,
        ["Ana|3", "∅|∅", "|∅", "a,\"b\"\\c\\d|4", " x |5", "Bia|∅", "Lia|∅", "Rui|1", "\"Zé\"x|7", "end|8"]
    );
    let bad: Vec<(u64, &str, &str)> =
        bad.iter().map(|bad| (bad.line, bad.text.as_str(), bad.reason.as_str())).collect();
    assert_eq!(
        bad,
        [
            (8, "Bia,x", "column `idade`: `x` is no INT"),
            (9, "Lia", "it has 1 values where 2 are expected"),
            (10, "Rui,1,2", "it has 3 values where 2 are expected"),
        ]
    );
}

#[test]
fn csv_reads_by_its_options() {
    let given = [
        ("sep", "\\t"),
        ("quote", "'"),
        ("escape", "'"),
        ("comment", "#"),
        ("nullValue", "NA"),
        ("ignoreLeadingWhiteSpace", "true"),
        ("ignoreTrailingWhiteSpace", "true"),
        ("multiLine", "true"),
        ("emptyValue", "(empty)"),
    ];
    let text = "# no row\n  Ana \t 1\nNA\tNA\n 'a\r\n''b' \t'2'\n''\t\n' c '\t3\n'open\t4\n";
    let (rows, bad) = read(&Csv, &PEOPLE, &given, text).unwrap();
    assert_eq!(rows, ["Ana|1", "∅|∅", "a\r\n'b|2", "(empty)|∅", " c |3", "∅|∅"]);
    assert_eq!((bad[0].line, bad[0].reason.as_str(), bad.len()), (8, "a quoted value is not closed", 1));
    let times =
        [("d", DataType::Date32), ("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))];
    let given = [
        ("dateFormat", "dd/MM/yyyy"),
        ("timestampFormat", "yyyy-MM-dd HH:mm[:ss][XXX]"),
        ("timeZone", "-03:00"),
    ];
    let text = "05/12/2023,2024-02-29 10:00\n2023-12-05,2024-02-29 10:00:01Z\n";
    let (rows, bad) = read(&Csv, &times, &given, text).unwrap();
    assert_eq!(rows, ["2023-12-05|2024-02-29T13:00:00Z", "∅|2024-02-29T10:00:01Z"]);
    assert_eq!(bad[0].reason, "column `d`: `2023-12-05` is no DATE");
}

#[test]
fn modes_keep_drop_or_refuse_malformed_records() {
    let columns = [("nome", DataType::Utf8), ("_corrupt_record", DataType::Utf8), ("idade", DataType::Int32)];
    let text = "Ana,3\nBia,x\n";
    let (rows, _) = read(&Csv, &columns, &[], text).unwrap();
    assert_eq!(rows, ["Ana|∅|3", "Bia|Bia,x|∅"]);
    let (rows, bad) = read(&Csv, &columns, &[("mode", "dropMalformed")], text).unwrap();
    assert_eq!((rows, bad.len()), (vec!["Ana|∅|3".to_owned()], 1));
    let error = read(&Csv, &columns, &[("mode", "FAILFAST")], text).unwrap_err();
    assert!(error.contains("in.data`, line 2: column `idade`: `x` is no INT: `Bia,x`"), "{error}");

    let text = "{\"nome\":\"Ana\",\"idade\":3}\n{\"nome\":\"Bia\",\"idade\":\"x\"}\n\n{\"nome\":\n[1]\n{} {}\n{\"idade\":4}";
    let (rows, bad) = read(&Json, &columns, &[], text).unwrap();
    assert_eq!(rows[0], "Ana|∅|3");
    assert_eq!(rows[1], "Bia|{\"nome\":\"Bia\",\"idade\":\"x\"}|∅");
    assert_eq!(rows[2..], ["∅|{\"nome\":|∅", "∅|[1]|∅", "∅|{} {}|∅", "∅|∅|4"]);
    assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 4, 5, 6]);
    let (rows, _) = read(&Json, &columns, &[("mode", "DROPMALFORMED")], text).unwrap();
    assert_eq!(rows, ["Ana|∅|3", "∅|∅|4"]);
    let error = read(&Json, &columns, &[("mode", "FAILFAST")], text).unwrap_err();
    assert!(error.contains("in.data`, line 2: ") && error.contains("`{\"nome\":\"Bia\""), "{error}");
}

#[test]
fn json_documents_are_read_over_any_number_of_lines() {
    let text = "\u{feff}[ {\"nome\": \"Ana\",\n \"idade\": 3},\n {\"idade\": 4.5}, {\"nome\": 5}, oops ]";
    let (rows, bad) = read(&Json, &PEOPLE, &[("multiLine", "true")], text).unwrap();
    assert_eq!(rows, ["Ana|3", "∅|∅", "5|∅", "∅|∅"]);
    assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [3, 3], "{bad:?}");
    let (rows, _) = read(&Json, &PEOPLE, &[("multiLine", "true")], "{\"idade\":\n1}\n").unwrap();
    assert_eq!(rows, ["∅|1"]);
}

#[test]
fn text_is_a_row_a_line_or_a_row_a_file() {
    let value = [("value", DataType::Utf8)];
    let (rows, _) = read(&Text, &value, &[], "a\n\nb\r\nc\rd").unwrap();
    assert_eq!(rows, ["a", "", "b", "c", "d"]);
    assert_eq!(read(&Text, &value, &[("wholetext", "true")], "a\n\nb").unwrap().0, ["a\n\nb"]);
    assert_eq!(read(&Text, &value, &[("lineSep", "||")], "a||b|c||").unwrap().0, ["a", "b|c"]);
    assert!(Text.check_write(&schema_of(&PEOPLE), &Options::default()).is_err());
}

#[test]
fn only_the_columns_asked_for_are_returned_and_none_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    let table = schema_of(&PEOPLE);
    for (format, text) in [
        (&Csv as &dyn FileFormat, "Ana,3\nBia,x\n"),
        (&Json, "{\"nome\":\"Ana\",\"idade\":3}\n{\"idade\":\"x\"}\n"),
    ] {
        let path = file(&folder, "in.data", text.as_bytes());
        let ages = schema_of(&PEOPLE[1..]);
        let (batches, _) = read_all(format, &path, &ages, &table, &Options::default(), 1).unwrap();
        assert_eq!(rows_of(&batches), ["3", "∅"]);
        let none = Arc::new(Schema::empty());
        let (batches, _) = read_all(format, &path, &none, &table, &Options::default(), 100).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
        let mode = options(&[("mode", "DROPMALFORMED")]);
        let (batches, bad) = read_all(format, &path, &none, &table, &mode, 100).unwrap();
        assert_eq!(
            (batches[0].num_rows(), bad.len()),
            (1, 1),
            "malformed is malformed whatever is asked for"
        );
    }
}

#[test]
fn packed_files_are_read_by_their_extension_and_truncated_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema_of(&[("value", DataType::Utf8)]);
    let lines: Vec<String> =
        (0..20_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let column: ArrayRef = Arc::new(StringArray::from(lines.clone()));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
    for (codec, suffix) in [("none", ""), ("gzip", ".gz"), ("zstd", ".zst"), ("bzip2", ".bz2")] {
        let given = options(&[("compression", codec)]);
        assert_eq!(Text.compression_suffix(&given).unwrap(), suffix);
        let path = folder.path().join(format!("out.txt{suffix}"));
        write_all(&Text, &path, &given, std::slice::from_ref(&batch)).unwrap();
        let (batches, _) = read_all(&Text, &path, &schema, &schema, &Options::default(), 8192).unwrap();
        assert_eq!(rows_of(&batches), lines, "{codec}");
        let bytes = std::fs::read(&path).unwrap();
        if !suffix.is_empty() {
            // Two files packed one after the other are one.
            let twice =
                file(&folder, &format!("twice.txt{suffix}"), &[bytes.clone(), bytes.clone()].concat());
            let (batches, _) = read_all(&Text, &twice, &schema, &schema, &Options::default(), 8192).unwrap();
            assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 40_000, "{codec}");
            let cut = file(&folder, &format!("cut.txt{suffix}"), &bytes[..bytes.len() / 2]);
            let error = read_all(&Text, &cut, &schema, &schema, &Options::default(), 8192).unwrap_err();
            assert!(error.contains(&format!("cut.txt{suffix}")), "{error}");
        }
    }
    let path = file(&folder, "in.txt.lz4", b"x");
    let error = read_all(&Text, &path, &schema, &schema, &Options::default(), 1).unwrap_err();
    assert!(error.contains(".gz, .zst and .bz2"), "{error}");
}

#[test]
fn schemas_are_found_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |schema: Schema| -> Vec<String> {
        schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect()
    };
    let path = file(
        &folder,
        "a.csv",
        b"n,s,f,b,t,e\n1,x,1.5,true,2024-02-29 10:00:00,\n2,\"3\",2,false,2024-02-29 10:00:00,\n",
    );
    assert_eq!(shown(Csv.infer_schema(&path, &Options::default()).unwrap())[..2], ["_c0 Utf8", "_c1 Utf8"]);
    let given = options(&[("header", "true"), ("inferSchema", "true")]);
    assert_eq!(
        shown(Csv.infer_schema(&path, &given).unwrap()),
        ["n Int64", "s Utf8", "f Float64", "b Boolean", "t Timestamp(µs)", "e Utf8"]
    );
    let path = file(
        &folder,
        "a.json",
        b"{\"z\":1,\"a\":{\"y\":null,\"b\":[1.5]}}\n{\"m\":\"x\",\"z\":2.5}\n{oops\n",
    );
    let found = Json.infer_schema(&path, &Options::default()).unwrap();
    let names: Vec<&str> = found.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["a", "m", "z", "_corrupt_record"]);
    assert_eq!(*found.field(2).data_type(), DataType::Float64);
    assert!(
        Json.infer_schema(&path, &options(&[("mode", "FAILFAST")]))
            .unwrap_err()
            .to_string()
            .contains("line 3")
    );
}

#[test]
fn what_cannot_be_read_or_written_is_refused_by_name() {
    let nested =
        schema_of(&[("n", DataType::Struct(Fields::from(vec![Field::new("a", DataType::Int32, true)])))]);
    let wrong = [
        (Csv.check_read(&nested, &Options::default()), "column `n`"),
        (
            Csv.check_read(&schema_of(&PEOPLE), &options(&[("dateFormat", "QQ")])),
            "option `dateFormat` is `QQ`",
        ),
        (Csv.check_read(&schema_of(&PEOPLE), &options(&[("encoding", "latin1")])), "`encoding`"),
        (Csv.check_read(&schema_of(&PEOPLE), &options(&[("mode", "x")])), "option `mode` is `x`"),
        (Csv.check_read(&schema_of(&PEOPLE), &options(&[("sep", "::")])), "`sep`"),
        (Csv.check_read(&schema_of(&PEOPLE), &options(&[("sep", "\"")])), "same character"),
        (Csv.check_read(&schema_of(&[("_corrupt_record", DataType::Int32)]), &Options::default()), "STRING"),
        (Json.check_write(&schema_of(&[("b", DataType::Float16)]), &Options::default()), "column `b`"),
        (Json.check_write(&schema_of(&PEOPLE), &options(&[("compression", "lz4")])), "`compression`"),
    ];
    for (result, part) in wrong {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone.csv");
    let schema = schema_of(&PEOPLE);
    let request =
        OpenRequest { path: &path, schema: &schema, table_schema: &schema, options: &Options::default() };
    assert!(Csv.open(&request).err().unwrap().to_string().contains("gone.csv"));
}

#[test]
fn records_over_the_limits_are_malformed_and_name_it() {
    let long = "x".repeat(lotic_connectors::limits::TEXT_RECORD_BYTES + 1);
    let (rows, bad) = read(&Csv, &PEOPLE, &[], &format!("{long},1\nAna,3\n")).unwrap();
    assert_eq!(rows, ["∅|∅", "Ana|3"]);
    assert_eq!(bad[0].reason, "the record has 16777219 bytes, more than the limit of 16777216");
    let deep = format!("{{\"idade\":1,\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let (rows, bad) = read(&Json, &PEOPLE, &[], &format!("{deep}\n{{\"idade\":2}}\n")).unwrap();
    assert_eq!(rows, ["∅|∅", "∅|2"]);
    assert!(bad[0].reason.contains("128"), "{bad:?}");
}

/// A table of all simple types, with nulls and unusual values.
fn tables() -> impl Strategy<Value = RecordBatch> {
    let text = prop_oneof![
        "[a-c ,;\"'\\\\\t\r\n\u{feff}é日#]{0,6}",
        Just(String::new()),
        Just("null".to_owned()),
        any::<String>(),
    ];
    let row = (
        prop::option::of(text),
        prop::option::of(any::<i64>()),
        prop::option::of(any::<f64>().prop_filter("NaN is not equal to itself", |value| !value.is_nan())),
        prop::option::of(any::<bool>()),
        prop::option::of(-99_999_999_999_999_999_999_i128..99_999_999_999_999_999_999_i128),
        prop::option::of(-700_000_i32..2_900_000),
        prop::option::of(-60_000_000_000_000_000_i64..250_000_000_000_000_000),
    );
    prop::collection::vec(row, 0..12).prop_map(|rows| {
        let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("-03:00".into()));
        let times: Vec<Option<i64>> = rows.iter().map(|row| row.6).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>()),
            Arc::new(
                rows.iter()
                    .map(|row| row.4)
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(20, 5)
                    .unwrap(),
            ),
            Arc::new(rows.iter().map(|row| row.5).collect::<Date32Array>()),
            Arc::new(TimestampMicrosecondArray::from(times.clone())),
            Arc::new(TimestampMicrosecondArray::from(times).with_data_type(zone)),
        ];
        let names = ["s", "i", "f", "b", "d", "day", "local", "zoned"];
        let fields: Vec<Field> = names
            .iter()
            .zip(&columns)
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    })
}

fn round_trip(format: &dyn FileFormat, write: &[(&str, &str)], read: &[(&str, &str)], batch: &RecordBatch) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.data");
    write_all(format, &path, &options(write), std::slice::from_ref(batch)).unwrap();
    let schema = batch.schema();
    let (batches, bad) = read_all(format, &path, &schema, &schema, &options(read), 5).unwrap();
    let back = arrow::compute::concat_batches(&schema, &batches).unwrap();
    assert_eq!(&back, batch, "{}", std::fs::read_to_string(&path).unwrap_or_default());
    assert_eq!(bad, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_as_csv_is_read_back_equal(batch in tables()) {
        round_trip(&Csv, &[], &[("multiLine", "true")], &batch);
        let doubled = [("multiLine", "true"), ("header", "true"), ("escape", "\""), ("sep", ";")];
        round_trip(&Csv, &doubled[1..], &doubled, &batch);
        round_trip(&Csv, &[("quoteAll", "true")], &[("multiLine", "true"), ("mode", "FAILFAST")], &batch);
    }

    #[test]
    fn what_is_written_as_json_is_read_back_equal(batch in tables()) {
        round_trip(&Json, &[], &[], &batch);
        let format = ("timestampFormat", "yyyy/MM/dd'T'HH.mm.ss.SSSSSS[ XXX]");
        round_trip(&Json, &[("ignoreNullFields", "false"), format], &[format, ("mode", "FAILFAST")], &batch);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_the_same_whatever_the_batch(
        text in "[a,\"\\\\\n\r{}\\[\\]:1 é]{0,60}", rows in 1_usize..5,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "in.data", text.as_bytes());
        let schema = schema_of(&[("a", DataType::Utf8), ("b", DataType::Int32), ("_corrupt_record", DataType::Utf8)]);
        for (format, multi_line) in [(&Csv as &dyn FileFormat, "true"), (&Csv, "false"), (&Json, "true"), (&Json, "false")] {
            let given = options(&[("multiLine", multi_line)]);
            let whole = read_all(format, &path, &schema, &schema, &given, 8192).unwrap();
            let parts = read_all(format, &path, &schema, &schema, &given, rows).unwrap();
            prop_assert_eq!(rows_of(&whole.0), rows_of(&parts.0));
            prop_assert_eq!(whole.1, parts.1);
        }
    }

    #[test]
    fn many_at_once_and_one_by_one_agree(kinds in prop::collection::vec(0_usize..8, 1..30)) {
        // With one row a batch, each record stands alone; a bad one beside it must not change it.
        let lines = ["{\"a\":\"x\",\"b\":1}", "{\"b\":2}", "{}", "{\"a\":7,\"c\":[1]}", "{\"b\":\"x\",\"a\":\"y\"}", "{\"a\":", "2", "{\"b\":3}{\"b\":4}"];
        let text: String = kinds.iter().map(|kind| format!("{}\n", lines[*kind])).collect();
        let expected: Vec<&str> = kinds.iter().map(|kind| ["x|1", "∅|2", "∅|∅", "7|∅", "y|∅", "∅|∅", "∅|∅", "∅|∅"][*kind]).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "in.json", text.as_bytes());
        let schema = schema_of(&[("a", DataType::Utf8), ("b", DataType::Int32)]);
        for rows in [1, 3, 8192] {
            let (batches, bad) = read_all(&Json, &path, &schema, &schema, &Options::default(), rows).unwrap();
            prop_assert_eq!(rows_of(&batches), expected.clone());
            let lines: Vec<u64> = bad.iter().map(|bad| bad.line).collect();
            let wrong: Vec<u64> = (1..).zip(&kinds).filter(|(_, kind)| **kind >= 4).map(|(line, _)| line).collect();
            prop_assert_eq!(lines, wrong);
        }
    }
}

#[test]
fn nested_json_is_read_back_equal() {
    let day = Field::new("day", DataType::Date32, true);
    let inner = DataType::Struct(Fields::from(vec![day, Field::new("n", DataType::Float64, true)]));
    let pair = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Int32, true),
    ]);
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair), false)), false);
    let list = DataType::List(Arc::new(Field::new("item", inner.clone(), true)));
    let columns = [("s", inner), ("l", list), ("m", map), ("x", DataType::Binary)];
    let text = "{\"s\":{\"day\":\"2024-02-29\",\"n\":\"NaN\"},\"l\":[{\"n\":\"-Infinity\"},null,{}],\"m\":{\"k\":null,\"j\":2},\"x\":\"00ff\"}\n\
                {\"s\":{},\"l\":[],\"m\":{}}\n{}\n";
    let folder = tempfile::tempdir().unwrap();
    let first = file(&folder, "in.json", text.as_bytes());
    let schema = schema_of(&columns);
    let (batches, bad) = read_all(&Json, &first, &schema, &schema, &Options::default(), 100).unwrap();
    assert_eq!(bad, []);
    let second = folder.path().join("out.json");
    write_all(&Json, &second, &Options::default(), &batches).unwrap();
    let (back, _) = read_all(&Json, &second, &schema, &schema, &Options::default(), 100).unwrap();
    assert_eq!(rows_of(&back), rows_of(&batches));
    let line = std::fs::read_to_string(&second).unwrap();
    let line = line.lines().next().unwrap();
    assert_eq!(
        line.replace(",\"day\":null", "").replace("\"day\":null,", ""),
        text.lines().next().unwrap().replace("{}]", "{\"n\":null}]")
    );
}

#[test]
fn an_empty_table_is_an_empty_file_with_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let schema = schema_of(&PEOPLE);
    let path = folder.path().join("out.csv");
    let given = options(&[("header", "true")]);
    Csv.create(&schema, &given, File::create(&path).unwrap()).unwrap().finish().unwrap().flush().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "nome,idade\n");
    let (batches, bad) = read_all(&Csv, Path::new(&path), &schema, &schema, &given, 10).unwrap();
    assert!(batches.is_empty() && bad.is_empty());
}
