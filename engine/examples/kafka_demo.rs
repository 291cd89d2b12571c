//! Kafka to Kafka with nothing installed: the brokers are a mock cluster within this process.
//!
//! ```text
//! cargo run -p lotic --example kafka_demo                    # counts the words of a saying
//! cargo run -p lotic --example kafka_demo -- um dois um      # or these
//! ```
//! A plain Kafka producer writes words to the topic `words`. One query counts them into the topic `counts`, in
//! update mode: each time a count changes, its new value is a record. Another query prints that topic. The
//! mock cluster keeps what it is told in memory and knows no transactions that could be trusted: for
//! exactly-once see the example `notes_kafka` and a real broker.

#[path = "support/program.rs"]
mod program;

use lotic::connectors::kafka::rdkafka::config::ClientConfig;
use lotic::connectors::kafka::rdkafka::mocking::MockCluster;
use lotic::connectors::kafka::rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use lotic::{DataFrame, OutputMode, Session};
use program::end;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

const SAYING: &str = "the river is not the river it was and the sea is not the sea";

/// A topic as a stream of text, from its beginning.
fn topic(session: &Session, brokers: &str, name: &str) -> lotic::Result<DataFrame> {
    let stream = session.read_stream().format("kafka").option("kafka.bootstrap.servers", brokers);
    let stream = stream.option("subscribe", name).option("startingOffsets", "earliest").load()?;
    stream.select_expr(&["CAST(key AS STRING) AS key", "CAST(value AS STRING) AS value"])
}

fn run() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let words = if given.is_empty() { SAYING.split(' ').map(str::to_owned).collect() } else { given };

    let cluster = MockCluster::new(1)?;
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("words", 3, 1)?;
    cluster.create_topic("counts", 3, 1)?;

    let session = Session::builder().app_name("kafka-demo").get_or_create()?;
    let counts = topic(&session, &brokers, "words")?.group_by(["value"])?.count()?;
    let counting = counts
        .select_expr(&["value AS key", "CAST(count AS STRING) AS value"])?
        .write_stream()
        .output_mode(OutputMode::Update)
        .format("kafka")
        .option("kafka.bootstrap.servers", &*brokers)
        .option("topic", "counts")
        .start()?;
    let shown = topic(&session, &brokers, "counts")?.select_expr(&["key AS word", "value AS count"])?;
    let showing = shown.write_stream().format("console").start()?;

    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create()?;
    for word in &words {
        producer.send(BaseRecord::<(), str>::to("words").payload(word)).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(10))?;

    counting.process_all_available()?;
    showing.process_all_available()?;
    counting.stop()?;
    showing.stop()?;
    Ok(())
}

fn main() -> ExitCode {
    end(run())
}
