//! Topics read as tables, from a real broker.
#![cfg(all(feature = "kafka", feature = "table"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod table_kafka_support;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use lotic_connectors::Offsets;
use lotic_connectors::testing::kafka::TestBroker;
use rdkafka::producer::{BaseRecord, Producer};
use std::time::Duration;
use table_kafka_support::{
    PATIENCE, bounded, ends, numbers, produce, producer, read_all, read_rows, refusal, send, start, stream,
    values,
};

#[test]
fn a_bounded_read_ends_where_the_topic_ended_when_it_was_planned() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("planned", 3);
    for partition in 0..3 {
        produce(broker, &topic, partition, 0..500);
    }
    let table = bounded(broker, &[("subscribe", &topic)]).unwrap();
    let snapshot = table.snapshot().unwrap().unwrap();
    assert_eq!(table.partitions().unwrap(), 3);
    produce(broker, &topic, 1, 500..600);
    let planned: Vec<_> = (0..3).flat_map(|partition| table.read(partition, None).unwrap()).collect();
    assert_eq!(planned.iter().map(|batch| batch.as_ref().unwrap().num_rows()).sum::<usize>(), 1500);
    let expected = [numbers(0..500), numbers(0..500), numbers(0..500)].concat();
    assert_eq!(values(&read_all(snapshot.as_ref(), None).unwrap()), expected);
    // Planned anew, it has what came.
    assert_eq!(read_all(table.as_ref(), None).unwrap().num_rows(), 1600);
    assert_eq!(values(&read_all(snapshot.as_ref(), None).unwrap()), expected, "a snapshot stays as it is");
}

#[test]
fn ranges_are_as_the_options_say() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("ranges", 2);
    for partition in 0..2 {
        produce(broker, &topic, partition, 0..100);
    }
    let read = |more: &[(&str, &str)]| {
        let table = bounded(broker, &[&[("subscribe", &*topic)], more].concat()).unwrap();
        values(&read_all(table.as_ref(), None).unwrap())
    };
    let starts = format!(r#"{{"{topic}":{{"0":90,"1":-2}}}}"#);
    let ends = format!(r#"{{"{topic}":{{"0":-1,"1":5}}}}"#);
    let given = [("startingOffsets", &*starts), ("endingOffsets", &*ends)];
    assert_eq!(read(&given), [numbers(90..100), numbers(0..5)].concat());
    let assigned = format!(r#"{{"{topic}":[1]}}"#);
    let table = bounded(broker, &[("assign", &*assigned)]).unwrap();
    assert_eq!(values(&read_all(table.as_ref(), None).unwrap()), numbers(0..100));
    let pattern = format!("{}.*", &topic[..topic.len() - 1]);
    let table = bounded(broker, &[("subscribePattern", &*pattern), ("endingOffsets", &*ends)]).unwrap();
    assert_eq!(read_all(table.as_ref(), None).unwrap().num_rows(), 105);
    // Divided.
    let table = bounded(broker, &[("subscribe", &*topic), ("minPartitions", "7")]).unwrap();
    assert_eq!(table.partitions().unwrap(), 7);
    assert_eq!(values(&read_all(table.as_ref(), None).unwrap()), [numbers(0..100), numbers(0..100)].concat());
    let table = bounded(broker, &[("subscribe", &*topic), ("maxRecordsPerPartition", "30")]).unwrap();
    assert_eq!(table.partitions().unwrap(), 8);
    assert_eq!(read_all(table.as_ref(), None).unwrap().num_rows(), 200);
    // Nothing at all.
    let starts = format!(r#"{{"{topic}":{{"0":100,"1":100}}}}"#);
    assert!(read(&[("startingOffsets", &*starts)]).is_empty());
}

#[test]
fn times_say_where_to_begin_and_to_end() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("times", 1);
    let producer = producer(broker, &[]);
    for number in 0..10 {
        let value = number.to_string();
        let record = BaseRecord::<(), str>::to(&topic).partition(0).payload(&value);
        producer
            .send(record.timestamp(1_700_000_000_000 + number * 1000))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let read = |more: &[(&str, &str)]| {
        let table = bounded(broker, &[&[("subscribe", &*topic)], more].concat()).unwrap();
        read_all(table.as_ref(), None)
    };
    let between = [("startingTimestamp", "1700000002000"), ("endingTimestamp", "1700000004001")];
    let rows = read(&between).unwrap();
    assert_eq!(values(&rows), numbers(2..5));
    let times = rows["timestamp"].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(0), 1_700_000_002_000_000);
    assert_eq!(rows["timestampType"].as_primitive::<Int32Type>().value(0), 0);
    let by_partition = format!(r#"{{"{topic}":{{"0":1700000008000}}}}"#);
    // Goes before the offsets, and the end is that of the topic where nothing is as new.
    let given = [
        ("startingOffsetsByTimestamp", &*by_partition),
        ("startingOffsets", "earliest"),
        ("endingTimestamp", "1900000000000"),
    ];
    assert_eq!(values(&read(&given).unwrap()), numbers(8..10));
    let error = refusal(read(&[("startingTimestamp", "1900000000000")]));
    assert!(error.contains("set `startingOffsetsByTimestampStrategy` to `latest`"), "{error}");
    let latest = [("startingTimestamp", "1900000000000"), ("startingOffsetsByTimestampStrategy", "latest")];
    assert_eq!(read(&latest).unwrap().num_rows(), 0);
    let wrong = r#"{"other":{"0":1}}"#;
    let error = refusal(read(&[("endingOffsetsByTimestamp", wrong)]));
    assert!(error.contains("option `endingOffsetsByTimestamp` has to name every partition"), "{error}");
}

#[test]
fn transactions_that_end_a_topic_end_the_read() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("transactions", 1);
    let id = format!("id-{topic}");
    let producer = producer(broker, &[("transactional.id", &id)]);
    producer.init_transactions(PATIENCE).unwrap();
    for (range, committed) in [(0..10, true), (10..20, false), (20..25, true), (25..30, false)] {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 0, range);
        if committed { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) }
            .unwrap();
    }
    let table = bounded(broker, &[("subscribe", &topic)]).unwrap();
    let committed = [numbers(0..10), numbers(20..25)].concat();
    assert_eq!(values(&read_all(table.as_ref(), None).unwrap()), committed);
    // Ranges that hold nothing but control records and aborted ones.
    let table = bounded(broker, &[("subscribe", &topic), ("minPartitions", "34")]).unwrap();
    assert_eq!(table.partitions().unwrap(), 34);
    assert_eq!(values(&read_all(table.as_ref(), None).unwrap()), committed);
    let uncommitted = [("subscribe", &*topic), ("kafka.isolation.level", "read_uncommitted")];
    let table = bounded(broker, &uncommitted).unwrap();
    assert_eq!(values(&read_all(table.as_ref(), None).unwrap()), numbers(0..30));
    // An open transaction is not there yet, and holds nobody up.
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 0, 30..40);
    let table = bounded(broker, &[("subscribe", &topic)]).unwrap();
    assert_eq!(values(&read_all(table.as_ref(), None).unwrap()), committed);
    producer.commit_transaction(PATIENCE).unwrap();
    assert_eq!(read_all(table.as_ref(), None).unwrap().num_rows(), 25);
}

#[test]
fn records_that_were_removed_are_an_error_or_left_out() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("removed", 1);
    produce(broker, &topic, 0, 0..100);
    let open = |more: &[(&str, &str)]| bounded(broker, &[&[("subscribe", &*topic)], more].concat()).unwrap();
    let (strict, lenient) = (open(&[]), open(&[("failOnDataLoss", "false")]));
    assert_eq!((strict.partitions().unwrap(), lenient.partitions().unwrap()), (1, 1));
    broker.delete_records(&topic, 0, 40);
    // They were there when the read was planned.
    let error = refusal(strict.read(0, None).and_then(|rows| rows.collect::<Result<Vec<_>, _>>()));
    assert!(
        error.contains("partition 0, offset 0 is to be read") && error.contains("have 40 up to 100"),
        "{error}"
    );
    assert!(error.contains("`failOnDataLoss`"), "{error}");
    let rows: Vec<_> = lenient.read(0, None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.iter().flat_map(values).collect::<Vec<_>>(), numbers(40..100));
    // They were gone before.
    let (starts, ends) = (format!(r#"{{"{topic}":{{"0":10}}}}"#), format!(r#"{{"{topic}":{{"0":500}}}}"#));
    let error = refusal(open(&[("startingOffsets", &starts)]).partitions());
    assert!(
        error.contains("`startingOffsets` leads to offset 10") && error.contains("40 up to 100"),
        "{error}"
    );
    let error = refusal(open(&[("endingOffsets", &ends)]).partitions());
    assert!(error.contains("`endingOffsets` leads to offset 500"), "{error}");
    let clipped =
        open(&[("startingOffsets", &starts), ("endingOffsets", &ends), ("failOnDataLoss", "false")]);
    assert_eq!(values(&read_all(clipped.as_ref(), None).unwrap()), numbers(40..100));
    let (starts, ends) = (format!(r#"{{"{topic}":{{"0":90}}}}"#), format!(r#"{{"{topic}":{{"0":80}}}}"#));
    let error = refusal(open(&[("startingOffsets", &starts), ("endingOffsets", &ends)]).partitions());
    assert!(error.contains("`startingOffsets` is 90 and `endingOffsets` is 80"), "{error}");
}

#[test]
fn a_compacted_topic_is_read_to_its_end() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = format!("compacted-{}", std::process::id());
    let compaction = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "50"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
    ];
    broker.create_topic(&topic, 1, &compaction);
    let producer = producer(broker, &[]);
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut end = 0;
    // The log is cleaned now and then, all but its last segment.
    loop {
        for value in 0..50 {
            let value = format!("{value}");
            let record = BaseRecord::to(&topic).partition(0).key("k").payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
            end += 1;
        }
        producer.flush(PATIENCE).unwrap();
        let table = bounded(broker, &[("subscribe", &topic)]).unwrap();
        let rows = read_all(table.as_ref(), None).unwrap();
        let last = rows["offset"].as_primitive::<Int64Type>().values().last().copied();
        assert_eq!(last, Some(end - 1), "the last record of a key stays");
        if rows.num_rows() < usize::try_from(end).unwrap() {
            // Each part ends, also one that compaction left empty.
            let table = bounded(broker, &[("subscribe", &topic), ("maxRecordsPerPartition", "20")]).unwrap();
            assert_eq!(values(&read_all(table.as_ref(), None).unwrap()).last(), values(&rows).last());
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the broker does not compact");
        // Nothing tells when the broker has cleaned.
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let Some(broker) = TestBroker::shared() else { return };
    let table = bounded(broker, &[("subscribe", "no-such-topic")]).unwrap();
    let error = refusal(table.partitions());
    assert!(error.contains("topic `no-such-topic` cannot be read"), "{error}");
    let topic = broker.topic("named", 1);
    let table = bounded(broker, &[("assign", &format!(r#"{{"{topic}":[4]}}"#))]).unwrap();
    let error = refusal(table.partitions());
    assert!(error.contains("has no partition 4"), "{error}");
    let starts = r#"{"other":{"0":1}}"#;
    let table = bounded(broker, &[("subscribe", &topic), ("endingOffsets", starts)]).unwrap();
    let error = refusal(table.partitions());
    assert!(error.contains("option `endingOffsets` has to name every partition"), "{error}");
    let silent =
        [("kafka.bootstrap.servers", "127.0.0.1:1"), ("subscribe", &*topic), ("connectTimeout", "200 ms")];
    let table = table_kafka_support::kafka().bounded(&table_kafka_support::read_request(&silent)).unwrap();
    let error = table.partitions().unwrap_err();
    assert!(error.retry_after().is_some());
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[test]
fn a_stream_gives_the_columns_asked_for_and_goes_on_after_a_restart() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("stream", 2);
    let table =
        stream(broker, &[("subscribe", &topic), ("startingOffsets", "earliest"), ("includeHeaders", "true")]);
    for partition in 0..2 {
        produce(broker, &topic, partition, 0..300);
    }
    let mut source = start(table.as_ref(), None, &Offsets::default()).unwrap();
    let first = read_rows(&mut source, 400);
    assert_eq!(first.schema(), table.schema());
    let from = source.offsets();
    assert_eq!(from.0.values().sum::<u64>(), 400);
    drop(source);
    let mut source = start(table.as_ref(), None, &from).unwrap();
    let rest = read_rows(&mut source, 200);
    let all = arrow::compute::concat_batches(&table.schema(), [&first, &rest]).unwrap();
    assert_eq!(values(&all), [numbers(0..300), numbers(0..300)].concat());
    assert_eq!(ends(&mut source).0.values().copied().collect::<Vec<_>>(), [300, 300]);
    let mut source = start(table.as_ref(), Some(&[4, 1]), &Offsets::default()).unwrap();
    let rows = read_rows(&mut source, 600);
    assert_eq!(rows.schema().as_ref(), &table.schema().project(&[4, 1]).unwrap());
    let mut source = start(table.as_ref(), Some(&[]), &Offsets::default()).unwrap();
    assert_eq!(read_rows(&mut source, 600).num_columns(), 0);
}

#[test]
fn a_stream_begins_with_what_comes_unless_it_is_told_otherwise() {
    let Some(broker) = TestBroker::shared() else { return };
    let topic = broker.topic("latest", 1);
    produce(broker, &topic, 0, 0..10);
    let mut source =
        start(stream(broker, &[("subscribe", &topic)]).as_ref(), None, &Offsets::default()).unwrap();
    produce(broker, &topic, 0, 10..20);
    assert_eq!(values(&read_rows(&mut source, 10)), numbers(10..20));
    let starts = format!(r#"{{"{topic}":{{"0":15}}}}"#);
    let told = stream(broker, &[("subscribe", &topic), ("startingOffsets", &starts)]);
    let mut source = start(told.as_ref(), None, &Offsets::default()).unwrap();
    assert_eq!(values(&read_rows(&mut source, 5)), numbers(15..20));
    let table = stream(broker, &[("subscribe", "no-such-topic")]);
    let error = refusal(start(table.as_ref(), None, &Offsets::default()));
    assert!(error.contains("topic `no-such-topic` cannot be read"), "{error}");
}
