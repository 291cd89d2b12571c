//! The options and columns of the format `kafka`, as far as they are checked without a broker.
#![cfg(all(feature = "kafka", feature = "table"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod table_kafka_support;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use lotic_connectors::table::{OutputMode, ReadRequest, SaveMode, WriteRequest};
use std::sync::Arc;
use table_kafka_support::{kafka, read_request, refusal};

const SERVERS: (&str, &str) = ("kafka.bootstrap.servers", "localhost:1");
const TOPIC: (&str, &str) = ("subscribe", "orders");

fn stream(more: &[(&str, &str)]) -> String {
    refusal(kafka().stream(&read_request(&[&[SERVERS, TOPIC], more].concat())))
}

fn bounded(more: &[(&str, &str)]) -> String {
    refusal(kafka().bounded(&read_request(&[&[SERVERS, TOPIC], more].concat())))
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    let error = refusal(kafka().stream(&read_request(&[TOPIC])));
    assert!(error.contains("`kafka.bootstrap.servers`: the brokers"), "{error}");
    for read in [
        refusal(kafka().stream(&read_request(&[SERVERS]))),
        refusal(kafka().bounded(&read_request(&[SERVERS, ("subscribe", " ")]))),
    ] {
        assert!(read.contains("needs one of the options `subscribe`"), "{read}");
    }
    let error = stream(&[("assign", r#"{"orders":[0]}"#)]);
    assert!(error.contains("takes only one of the options `subscribe`, `subscribePattern` and `assign`"));
    let error = refusal(kafka().stream(&read_request(&[SERVERS, ("assign", "orders")])));
    assert!(
        error.contains("option `assign` is `orders`") && error.contains(r#"{"orders":[0,1]}"#),
        "{error}"
    );
    let error = refusal(kafka().stream(&read_request(&[SERVERS, ("subscribePattern", "(")])));
    assert!(error.contains("option `subscribePattern` is not a regular expression"), "{error}");
}

#[test]
fn options_are_known_in_any_case_and_unknown_ones_are_refused() {
    let options = [
        ("KAFKA.Bootstrap.Servers", "localhost:1"),
        ("SUBSCRIBE", "orders"),
        ("startingoffsets", "earliest"),
    ];
    kafka().stream(&read_request(&options)).unwrap();
    kafka().bounded(&read_request(&options)).unwrap();
    let error = stream(&[("startingOffset", "earliest")]);
    assert!(error.ends_with("has no option `startingOffset`: did you mean `startingOffsets`?"), "{error}");
    let error = stream(&[("minOffsetsPerTrigger", "5")]);
    assert!(error.contains("`minOffsetsPerTrigger`: a micro-batch takes what is there"), "{error}");
    let error = stream(&[("kafka.fetch.minbytes", "5")]);
    assert!(error.contains("`kafka.fetch.minbytes` is not known"), "{error}");
    let error = bounded(&[("kafka.auto.offset.reset", "earliest")]);
    assert!(error.contains("`kafka.auto.offset.reset` cannot be set: set `startingOffsets`"), "{error}");
}

#[test]
fn values_that_are_wrong_are_named() {
    for (option, value, expected) in [
        ("startingOffsets", "newest", "give `earliest`, `latest`, or JSON"),
        ("startingOffsets", r#"{"orders":{"0":-7}}"#, "an offset is at least 0"),
        ("startingOffsetsByTimestamp", "x", "option `startingOffsetsByTimestamp` is `x`"),
        ("startingTimestamp", "today", "give milliseconds since 1970"),
        ("startingOffsetsByTimestampStrategy", "earliest", "expected `error` or `latest`"),
        ("failOnDataLoss", "1", "expected true or false"),
        ("includeHeaders", "yes", "expected true or false"),
        ("corruptRecords", "ignore", "expected `fail` or `skip`"),
    ] {
        for error in [stream(&[(option, value)]), bounded(&[(option, value)])] {
            assert!(error.contains(expected) && error.contains(option), "{error}");
        }
    }
    assert!(stream(&[("maxOffsetsPerTrigger", "0")]).contains("expected a number from 1"));
    assert!(bounded(&[("minPartitions", "0")]).contains("expected a number from 1 to 10000"));
}

#[test]
fn each_way_to_read_refuses_what_is_of_the_other_alone() {
    for option in ["endingOffsets", "endingTimestamp", "endingOffsetsByTimestamp", "minPartitions"] {
        let error = stream(&[(option, "5")]);
        assert!(error.contains(&format!("option `{option}` is of bounded reads alone")), "{error}");
    }
    let error = bounded(&[("maxOffsetsPerTrigger", "5")]);
    assert!(error.contains("option `maxOffsetsPerTrigger` is of streams alone"), "{error}");
    for start in ["latest", r#"{"orders":{"0":1,"1":-1}}"#] {
        let error = bounded(&[("startingOffsets", start)]);
        assert!(error.contains("`startingOffsets` of a bounded read cannot be `latest`"), "{error}");
    }
    for end in ["earliest", r#"{"orders":{"0":-2}}"#] {
        let error = bounded(&[("endingOffsets", end)]);
        assert!(error.contains("`endingOffsets` of a bounded read cannot be `earliest`"), "{error}");
    }
}

#[test]
fn secrets_are_in_no_message() {
    let secret = [SERVERS, TOPIC, ("kafka.sasl.password", "hunter2"), ("kafka.no.such", "1")];
    let error = refusal(kafka().stream(&read_request(&secret)));
    assert!(!error.contains("hunter2"), "{error}");
    assert!(!format!("{:?}", read_request(&secret)).contains("hunter2"));
    let shown =
        format!("{:?}", kafka().bounded(&read_request(&[SERVERS, TOPIC, ("kafka.client.id", "hunter2")])));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_columns_of_a_topic_are_fixed() {
    let table = kafka().stream(&read_request(&[SERVERS, TOPIC, ("includeHeaders", "true")])).unwrap();
    let named =
        |schema: &Schema| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let all = ["key", "value", "topic", "partition", "offset", "timestamp", "timestampType", "headers"];
    assert_eq!(named(&table.schema()), all);
    let given = |schema: Schema| ReadRequest {
        schema: Some(Arc::new(schema)),
        ..read_request(&[SERVERS, TOPIC, ("includeHeaders", "true")])
    };
    kafka().stream(&given(table.schema().as_ref().clone())).unwrap();
    let wrong = Schema::new(vec![Field::new("value", DataType::Utf8, true)]);
    for error in [refusal(kafka().stream(&given(wrong.clone()))), refusal(kafka().bounded(&given(wrong)))] {
        assert!(
            error.contains("has the columns (key Binary, ") && error.contains("leave the schema out"),
            "{error}"
        );
    }
    // As a user would write it: other names within, no zone.
    let pair =
        vec![Field::new("KEY", DataType::Utf8, false), Field::new("value", DataType::BinaryView, true)];
    let mut fields: Vec<Field> = table.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[5] = Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, None), true);
    fields[7] = Field::new_list("headers", Field::new("element", DataType::Struct(pair.into()), false), true);
    kafka().stream(&given(Schema::new(fields))).unwrap();
}

fn sink(columns: &[(&str, DataType)], more: &[(&str, &str)]) -> WriteRequest {
    let fields: Vec<Field> =
        columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
    WriteRequest {
        options: [SERVERS].iter().chain(more).copied().collect(),
        schema: Arc::new(Schema::new(fields)),
        partition_by: Vec::new(),
        output_mode: OutputMode::Append,
        save_mode: None,
    }
}

#[test]
fn columns_that_cannot_be_written_are_named() {
    let value = ("value", DataType::Utf8);
    let topic = [("topic", "orders")];
    let pair = |value: DataType| {
        let fields = vec![Field::new("key", DataType::Utf8, true), Field::new("value", value, true)];
        DataType::List(Arc::new(Field::new("item", DataType::Struct(fields.into()), true)))
    };
    for (columns, more, expected) in [
        (vec![("key", DataType::Utf8)], &topic[..], "needs a column `value`"),
        (vec![value.clone()], &[], "needs to know the topic"),
        (vec![value.clone(), ("offset", DataType::Int64)], &topic, "no place for column `offset`"),
        (vec![("value", DataType::Int64)], &topic, "column `value` is Int64: it has to be STRING or BINARY"),
        (vec![value.clone(), ("key", DataType::Float64)], &topic, "column `key` is Float64"),
        (
            vec![value.clone(), ("topic", DataType::Binary)],
            &[],
            "column `topic` is Binary: it has to be STRING",
        ),
        (vec![value.clone(), ("partition", DataType::Int64)], &topic, "it has to be INT"),
        (
            vec![value.clone(), ("headers", pair(DataType::Int32))],
            &topic,
            "ARRAY<STRUCT<key STRING, value BINARY>>",
        ),
        (vec![value.clone(), ("Value", DataType::Utf8)], &topic, "two columns `value`"),
        (vec![value.clone()], &[("topic", " ")], "option `topic` is empty"),
        (vec![value.clone()], &[("topic", "no spaces")], "no spaces"),
    ] {
        let error = refusal(kafka().sink(&sink(&columns, more)));
        assert!(error.contains(expected), "{error}");
    }
    let all = [
        ("value", DataType::BinaryView),
        ("key", DataType::LargeUtf8),
        ("topic", DataType::Utf8View),
        ("partition", DataType::Int32),
        ("headers", pair(DataType::Utf8)),
    ];
    for (more, delivery) in
        [(&[][..], "AtLeastOnce"), (&[("deliveryGuarantee", "EXACTLY-ONCE")], "ExactlyOnce")]
    {
        let sink = kafka().sink(&sink(&all, more)).unwrap();
        assert_eq!(format!("{:?}", sink.traits().delivery), delivery);
    }
}

#[test]
fn options_that_cannot_be_written_with_are_named() {
    let request =
        |more: &[(&str, &str)]| sink(&[("value", DataType::Utf8)], &[&[("topic", "orders")], more].concat());
    for (option, value, expected) in [
        ("deliveryGuarantee", "none", "expected `at-least-once` or `exactly-once`"),
        ("epochsTopic", "e", "has no effect without `deliveryGuarantee` = `exactly-once`"),
        ("subscribe", "orders", "has no option `subscribe`"),
        ("kafka.transactional.id", "x", "set `transactionalIdPrefix`"),
        ("kafka.acks", "perhaps", "`kafka.acks`"),
    ] {
        let error = refusal(kafka().sink(&request(&[(option, value)])));
        assert!(error.contains(expected), "{error}");
    }
    for mode in [SaveMode::Overwrite, SaveMode::Ignore] {
        let request = WriteRequest { save_mode: Some(mode), ..request(&[]) };
        let error = refusal(kafka().sink(&request));
        assert!(error.contains("does not support save mode") && error.contains("use append"), "{error}");
    }
    for mode in [OutputMode::Append, OutputMode::Update, OutputMode::Complete] {
        kafka().sink(&WriteRequest { output_mode: mode, ..request(&[]) }).unwrap();
    }
    let partitioned = WriteRequest { partition_by: vec!["value".to_owned()], ..request(&[]) };
    assert!(refusal(kafka().sink(&partitioned)).contains("leave `partition_by` out"));
}
