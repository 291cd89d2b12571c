//! The exactly-once Kafka sink against a real broker.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod kafka_sink_support;

use kafka_sink_support::*;
use lotic_connectors::kafka::{Header, KafkaMessage, KafkaSink};
use lotic_connectors::testing::kafka::TestBroker;
use lotic_connectors::testing::{SinkWorld, check_sink};
use lotic_connectors::{Delivery, ErrorKind, SinkFactory};
use lotic_operators::{Epoch, Rows, Timestamp};

fn broker() -> Option<&'static str> {
    Some(TestBroker::shared()?.bootstrap())
}

impl SinkWorld for World {
    type Row = KafkaMessage;
    fn open(&mut self) -> Box<dyn SinkFactory<Rows<KafkaMessage>>> {
        Box::new(self.exactly_once())
    }
    fn row(&self, number: u64) -> KafkaMessage {
        numbered(number..number + 1).remove(0)
    }
    fn visible(&mut self) -> Vec<u64> {
        self.values().iter().map(|value| value.parse().unwrap()).collect()
    }
    fn is_atomic(&self) -> bool {
        true
    }
}

#[test]
fn holds_to_the_contract_over_crashes_at_every_step() {
    let Some(bootstrap) = broker() else { return };
    check_sink(|| World::new(bootstrap, 3));
}

#[test]
fn an_epoch_is_committed_once_however_often_it_is_asked_for() {
    let Some(bootstrap) = broker() else { return };
    let world = World::new(bootstrap, 2);
    let sink = world.exactly_once();
    let handles = [outbox(&sink, 1, 0..50), outbox(&sink, 1, 50..100)];
    let handles: Vec<&[u8]> = handles.iter().map(Vec::as_slice).collect();
    let mut first = committer(&sink, WRITER);
    assert_eq!(first.last_committed().unwrap(), Epoch::NONE);
    first.commit(Epoch(1), &handles).unwrap();
    first.commit(Epoch(1), &handles).unwrap();
    assert_eq!(first.last_committed().unwrap(), Epoch(1));
    // The process died before it could note that the epoch is committed.
    let mut second = committer(&world.exactly_once(), WRITER);
    second.commit(Epoch(1), &handles).unwrap();
    assert_eq!(second.last_committed().unwrap(), Epoch(1));
    second.abort_prepared().unwrap();
    assert_each_once(&world.values(), 0..100);
}

#[test]
fn a_process_that_was_thought_dead_is_fenced_and_says_so() {
    let Some(bootstrap) = broker() else { return };
    let world = World::new(bootstrap, 2);
    let sink = world.exactly_once();
    let outboxes: Vec<Vec<u8>> =
        (0..4).map(|epoch| outbox(&sink, epoch + 1, epoch * 10..(epoch + 1) * 10)).collect();
    let mut zombie = committer(&sink, WRITER);
    zombie.commit(Epoch(1), &[&outboxes[0]]).unwrap();
    let mut successor = committer(&world.exactly_once(), WRITER);
    assert_eq!(successor.last_committed().unwrap(), Epoch(1));
    for attempt in 0..2 {
        let error = zombie.commit(Epoch(2), &[&outboxes[1]]).unwrap_err().to_string();
        assert!(error.contains("another process runs this query"), "attempt {attempt}: {error}");
        assert!(error.contains(&format!("{}-{WRITER}-0", world.ids)), "{error}");
    }
    for epoch in 2..=4 {
        successor.commit(Epoch(epoch), &[&outboxes[epoch as usize - 1]]).unwrap();
        zombie.commit(Epoch(epoch + 1), &[&outboxes[1]]).unwrap_err();
    }
    assert_each_once(&world.values(), 0..40);
}

#[test]
fn sinks_and_queries_do_not_disturb_each_other() {
    let Some(bootstrap) = broker() else { return };
    let world = World::new(bootstrap, 2);
    let sink = world.exactly_once();
    let mut committers: Vec<_> = ["a/1", "a/2", "b/1"].map(|writer| committer(&sink, writer)).into();
    for epoch in 0..3u64 {
        for (place, committer) in committers.iter_mut().enumerate() {
            let first = (epoch * 3 + place as u64) * 10;
            let outbox = outbox(&sink, epoch + 1, first..first + 10);
            committer.commit(Epoch(epoch + 1 + place as u64), &[&outbox]).unwrap();
        }
    }
    drop(committers);
    for (place, writer) in ["a/1", "a/2", "b/1", "c/1"].into_iter().enumerate() {
        let expected = if place == 3 { Epoch::NONE } else { Epoch(3 + place as u64) };
        assert_eq!(committer(&sink, writer).last_committed().unwrap(), expected, "{writer}");
    }
    assert_each_once(&world.values(), 0..90);
}

#[test]
fn messages_arrive_as_they_are_in_the_topics_they_name() {
    let Some(bootstrap) = broker() else { return };
    let (world, other) = (World::new(bootstrap, 3), World::new(bootstrap, 1));
    let sink = world.to_named_topics();
    let mut message =
        KafkaMessage::new("value").with_header("kind", "a").to_topic(&*world.topic).to_partition(2);
    message.headers.push(Header::null("none"));
    message.headers.push(Header::new("kind", ""));
    let message = message.with_timestamp(Timestamp::from_millis(1_700_000_000_123));
    let tombstone = KafkaMessage::tombstone("gone").to_topic(&*other.topic);
    let empty = KafkaMessage::new("").with_key("").to_topic(&*other.topic);
    let mut instance = start(&sink).unwrap();
    write(&mut *instance, vec![message, tombstone, empty]).unwrap();
    let handle = handle(&mut *instance, 1).unwrap().unwrap();
    committer(&sink, WRITER).commit(Epoch(1), &[&handle]).unwrap();

    let seen = read_all(bootstrap, &world.topic, "read_committed");
    let header = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(
        seen,
        [Seen {
            partition: 2,
            key: None,
            value: Some("value".to_owned()),
            headers: vec![header("kind", Some("a")), header("none", None), header("kind", Some(""))],
            timestamp_ms: Some(1_700_000_000_123),
        }]
    );
    let seen = read_all(bootstrap, &other.topic, "read_committed");
    let parts: Vec<_> = seen.iter().map(|seen| (seen.key.as_deref(), seen.value.as_deref())).collect();
    assert_eq!(parts, [(Some("gone"), None), (Some(""), Some(""))]);
}

#[test]
fn an_epoch_of_several_topics_is_visible_as_a_whole_or_not_at_all() {
    let Some(bootstrap) = broker() else { return };
    let (world, other) = (World::new(bootstrap, 1), World::new(bootstrap, 1));
    let sink = world.to_named_topics();
    let mut instance = start(&sink).unwrap();
    let missing = unique("missing");
    let to = |topic: &str| KafkaMessage::new("1").to_topic(topic);
    write(&mut *instance, vec![to(&world.topic), to(&other.topic), to(&missing)]).unwrap();
    let error = handle(&mut *instance, 1).unwrap_err().to_string();
    assert!(error.contains(&missing) && error.contains("create the topic"), "{error}");
    assert!(world.values().is_empty() && other.values().is_empty());
}

#[test]
fn what_cannot_be_delivered_is_refused_before_the_epoch_is_durable() {
    let Some(bootstrap) = broker() else { return };
    let world = World::new(bootstrap, 2);
    let refused = |sink: &KafkaSink, message: KafkaMessage| {
        let mut instance = start(sink).unwrap();
        let written = write(&mut *instance, vec![message]);
        written.and_then(|()| handle(&mut *instance, 1)).unwrap_err().to_string()
    };
    let sink = world.exactly_once();
    let error = refused(&sink, KafkaMessage::new(vec![b'x'; 2_000_000]));
    assert!(
        error.contains("2000000 bytes") && error.contains("`kafka.message.max.bytes` (1000000)"),
        "{error}"
    );
    let error = refused(&sink, KafkaMessage::new("x").to_partition(2));
    assert!(error.contains("partition 2 of topic") && error.contains("has 2"), "{error}");
    let error = refused(&sink, KafkaMessage::new("x").with_timestamp(Timestamp(-1)));
    assert!(error.contains("before 1970"), "{error}");
    let error = refused(&sink.epoch_bytes_max(20), KafkaMessage::new("more than twenty bytes"));
    assert!(error.contains("more than 20 bytes") && error.contains("maxOffsetsPerTrigger"), "{error}");
    let to_none = world.to_named_topics();
    let error = refused(&to_none, KafkaMessage::new("x"));
    assert!(error.contains("a message has no topic"), "{error}");
    let error = refused(&to_none, KafkaMessage::new("x").to_topic("no topic"));
    assert!(error.contains("\"no topic\" is not a name of a topic"), "{error}");
}

#[test]
fn errors_of_the_setting_name_what_to_change() {
    let Some(bootstrap) = broker() else { return };
    let world = World::new(bootstrap, 1);
    let missing = unique("missing");
    let error = start(&world.exactly_once().to_topic(&missing)).err().unwrap().to_string();
    assert!(error.contains(&missing) && error.contains("create the topic"), "{error}");

    create_topic(bootstrap, &world.epochs, 1, &[("cleanup.policy", "delete")]);
    let error = committer(&world.exactly_once(), WRITER).last_committed().unwrap_err().to_string();
    assert!(error.contains("cleanup.policy=delete") && error.contains("epochsTopic"), "{error}");

    let parameters = world.parameters().with("transaction.timeout.ms", "100000000");
    let sink = KafkaSink::new(parameters).exactly_once().epochs_topic(unique("epochs"));
    let error = committer(&sink, WRITER).last_committed().unwrap_err().to_string();
    assert!(error.contains("lower `kafka.transaction.timeout.ms`"), "{error}");

    let weaker = KafkaSink::new(world.parameters().with("acks", "1")).exactly_once();
    let error = start(&weaker).err().unwrap().to_string();
    assert!(error.contains("exactly-once") && error.contains("`kafka.acks` has to be all"), "{error}");
    assert_eq!(SinkFactory::<Rows<KafkaMessage>>::traits(&weaker).delivery, Delivery::ExactlyOnce);
}

#[test]
fn a_handle_of_something_else_is_refused() {
    let Some(bootstrap) = broker() else { return };
    let world = World::new(bootstrap, 1);
    let mut committer = committer(&world.exactly_once(), WRITER);
    let whole = outbox(&world.exactly_once(), 1, 0..10);
    for handle in [&b"{\"version\":1}"[..], &whole[..whole.len() - 1], b""] {
        let error = committer.commit(Epoch(1), &[&whole, handle]).unwrap_err().to_string();
        assert!(error.contains("does not understand its handle for epoch 1"), "{error}");
    }
    assert_eq!(committer.last_committed().unwrap(), Epoch::NONE);
    assert!(world.values().is_empty());
}

#[test]
fn messages_that_a_topic_is_too_narrow_for_are_found_before_the_epoch_counts() {
    let Some(broker) = TestBroker::shared() else { return };
    let mut world = World::new(broker.bootstrap(), 1);
    world.topic = unique("narrow");
    create_topic(broker.bootstrap(), &world.topic, 1, &[("max.message.bytes", "1000")]);
    let error = start(&world.exactly_once()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::User);
    let error = error.to_string();
    assert!(
        error.contains(&world.topic) && error.contains("set `kafka.batch.size` to 1000 or less"),
        "{error}"
    );
    let parameters = world.parameters().with("batch.size", "1000");
    let sink = KafkaSink::new(parameters).exactly_once().to_topic(&world.topic);
    let sink = sink.epochs_topic(&world.epochs).transactional_id_prefix(&world.ids);
    // What the brokers take, to the byte: 61 before the messages of a batch, 9 before and behind this value.
    let largest = 1000 - 61 - 9;
    let mut instance = start(&sink).unwrap();
    write(&mut *instance, vec![KafkaMessage::new(vec![b'x'; largest + 1])]).unwrap();
    let error = handle(&mut *instance, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User);
    let error = error.to_string();
    assert!(
        error.contains(&world.topic) && error.contains("takes 1001 bytes, more than the 1000"),
        "{error}"
    );
    let mut instance = start(&sink).unwrap();
    write(&mut *instance, vec![KafkaMessage::new(vec![b'x'; largest]); 50]).unwrap();
    let outbox = handle(&mut *instance, 1).unwrap().unwrap();
    committer(&sink, WRITER).commit(Epoch(1), &[&outbox]).unwrap();
    assert_eq!(world.values().len(), 50);
}
