//! Tables written to topics of a real broker.
#![cfg(all(feature = "kafka", feature = "table"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod table_kafka_support;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, BinaryBuilder, ListBuilder, RecordBatch, StringBuilder,
    StructBuilder,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use lotic_connectors::Delivery;
use lotic_connectors::table::SaveMode;
use lotic_connectors::testing::kafka::TestBroker;
use lotic_operators::{Epoch, Instance};
use std::sync::Arc;
use table_kafka_support::{
    bounded, bytes, ints, kafka, numbers, read_all, refusal, rows, text, values, write, write_epoch,
    write_request,
};

fn read(broker: &TestBroker, topic: &str) -> RecordBatch {
    let table = bounded(broker, &[("subscribe", topic), ("includeHeaders", "true")]).unwrap();
    read_all(table.as_ref(), None).unwrap()
}

/// Headers of two rows: two of one name and a null, then none.
fn headers() -> ArrayRef {
    let pair = vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)];
    let columns: Vec<Box<dyn ArrayBuilder>> =
        vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())];
    let mut builder = ListBuilder::new(StructBuilder::new(pair, columns));
    for (name, value) in [("a", Some(&b"1"[..])), ("a", None), ("b", Some(&b"\xff"[..]))] {
        let pair = builder.values();
        pair.field_builder::<StringBuilder>(0).unwrap().append_value(name);
        pair.field_builder::<BinaryBuilder>(1).unwrap().append_option(value);
        pair.append(true);
    }
    builder.append(true);
    builder.append(false);
    Arc::new(builder.finish())
}

#[test]
fn every_column_is_written_and_read_back() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("columns", 2);
    let written = rows([
        ("headers", headers()),
        ("value", bytes(&[Some(b"\xff\x00"), None])),
        ("key", text(&[Some("chave"), None])),
        ("partition", ints(&[Some(1), Some(0)])),
        ("topic", text(&[Some(&topic), Some(&topic)])),
    ]);
    let request = write_request(broker, &written.schema(), &[], Some(SaveMode::Append));
    let sink = kafka().sink(&request).unwrap();
    assert_eq!(sink.traits().delivery, Delivery::AtLeastOnce);
    write_epoch(sink.as_ref(), "test/sink", &written).unwrap();
    let found = read(broker, &topic);
    assert_eq!(found.num_rows(), 2);
    let place = |partition| {
        found["partition"]
            .as_primitive::<Int32Type>()
            .values()
            .iter()
            .position(|other| *other == partition)
            .unwrap()
    };
    let (first, second) = (place(1), place(0));
    let (key, value) = (found["key"].as_binary::<i32>(), found["value"].as_binary::<i32>());
    assert_eq!((key.value(first), value.value(first)), (&b"chave"[..], &b"\xff\x00"[..]));
    assert!(key.is_null(second) && value.is_null(second));
    let lists = found["headers"].as_list::<i32>();
    assert!(lists.is_null(second), "no headers are null");
    assert_eq!(lists.value(first).as_ref(), headers().as_list::<i32>().value(0).as_ref());
}

#[test]
fn the_option_goes_before_the_column_topic() {
    let Some(broker) = TestBroker::shared() else { return };
    let (topic, other) = (broker.topic("option", 1), broker.topic("other", 1));
    let written = rows([("topic", text(&[Some(&other), None])), ("value", text(&[Some("0"), Some("1")]))]);
    let request = write_request(broker, &written.schema(), &[("topic", &topic)], None);
    write_epoch(kafka().sink(&request).unwrap().as_ref(), "test/sink", &written).unwrap();
    assert_eq!(values(&read(broker, &topic)), numbers(0..2));
    assert_eq!(read(broker, &other).num_rows(), 0);
}

#[test]
fn rows_that_cannot_be_written_are_named_and_what_is_before_them_is_kept() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("named", 1);
    let topics = text(&[Some(&topic), None]);
    let written = rows([("topic", topics), ("value", text(&[Some("0"), Some("1")]))]);
    let request = write_request(broker, &written.schema(), &[], None);
    let error = refusal(write_epoch(kafka().sink(&request).unwrap().as_ref(), "test/sink", &written));
    assert!(error.contains("row 2 of a batch of 2 has no topic"), "{error}");
    let written = rows([("partition", ints(&[Some(-4)])), ("value", text(&[Some("0")]))]);
    let request = write_request(broker, &written.schema(), &[("topic", &topic)], None);
    let error = refusal(write_epoch(kafka().sink(&request).unwrap().as_ref(), "test/sink", &written));
    assert!(error.contains("row 1 of a batch of 1 has the partition -4"), "{error}");
    let request =
        write_request(broker, &rows([("value", text(&[]))]).schema(), &[("topic", "no-such-topic")], None);
    let sink = kafka().sink(&request).unwrap();
    let error = sink.create(Instance::ONLY).unwrap().start(Epoch(1)).unwrap_err().to_string();
    assert!(error.contains("no-such-topic"), "{error}");
}

#[test]
fn more_rows_than_the_client_holds_are_written_bit_by_bit() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("bits", 1);
    let numbers_written: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let columns: Vec<Option<&str>> = numbers_written.iter().map(|number| Some(number.as_str())).collect();
    let written = rows([("value", text(&columns))]);
    let small = [("topic", &*topic), ("kafka.queue.buffering.max.messages", "100")];
    let request = write_request(broker, &written.schema(), &small, None);
    write_epoch(kafka().sink(&request).unwrap().as_ref(), "test/sink", &written).unwrap();
    assert_eq!(values(&read(broker, &topic)), numbers(0..20_000));
}

#[test]
fn an_epoch_written_exactly_once_is_visible_when_it_is_committed_and_once() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("once", 2);
    let (epochs, writer) = (format!("{topic}-epochs"), format!("{topic}/sink"));
    let written = rows([("key", text(&[Some("a"), Some("b")])), ("value", text(&[Some("0"), Some("1")]))]);
    let once = [("topic", &*topic), ("deliveryGuarantee", "exactly-once"), ("epochsTopic", &*epochs)];
    let factory = kafka().sink(&write_request(broker, &written.schema(), &once, None)).unwrap();
    assert_eq!(factory.traits().delivery, Delivery::ExactlyOnce);
    let mut committer = factory.committer(&writer).unwrap().unwrap();
    assert_eq!(committer.last_committed().unwrap(), Epoch::NONE);
    committer.abort_prepared().unwrap();
    let mut handles = Vec::new();
    for index in 0..2 {
        let mut sink = factory.create(Instance { index, parallelism: 2 }).unwrap();
        sink.start(Epoch(1)).unwrap();
        write(&mut sink, &written).unwrap();
        handles.push(sink.pre_commit(Epoch(1)).unwrap().unwrap()().unwrap());
    }
    assert_eq!(read(broker, &topic).num_rows(), 0, "nothing is visible before the commit");
    let handles: Vec<&[u8]> = handles.iter().map(Vec::as_slice).collect();
    committer.commit(Epoch(1), &handles).unwrap();
    assert_eq!(read(broker, &topic).num_rows(), 4);
    drop(committer);
    // After a crash the epoch is committed again.
    let mut committer = factory.committer(&writer).unwrap().unwrap();
    assert_eq!(committer.last_committed().unwrap(), Epoch(1));
    committer.commit(Epoch(1), &handles).unwrap();
    assert_eq!(read(broker, &topic).num_rows(), 4);
}
