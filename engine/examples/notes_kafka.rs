//! The Kafka programs of the structured-streaming notes: read, show and write, as a batch and as a stream.
//!
//! ```text
//! cargo run -p lotic --example notes_kafka -- send  localhost:9092 nomes [FOLDER]     # batch: CSV files to a topic
//! cargo run -p lotic --example notes_kafka -- show  localhost:9092 nomes              # batch: what the topic holds
//! cargo run -p lotic --example notes_kafka -- watch localhost:9092 nomes              # stream: as it comes
//! cargo run -p lotic --example notes_kafka -- pump  localhost:9092 nomes [FOLDER [CHECKPOINT]]   # stream: CSV files
//! ```
//! As in the notes:
//!
//! ```python
//! kafka_df = spark.read.format("kafka") \
//!     .option("kafka.bootstrap.servers", "host1:port1,host2:port2").option("subscribe", "topic1").load()
//! kafka_df = spark.readStream.format("kafka") \
//!     .option("kafka.bootstrap.servers", "host1:port1,host2:port2") \
//!     .option("subscribe", "topic1").option("startingOffsets", "earliest").load()
//! ```
//! `pump` goes on where it was when it is started again, and writes with transactions: a consumer that reads
//! committed records alone sees each name once, however often the program is killed.

#[path = "support/program.rs"]
mod program;

use lotic::{DataFrame, Session};
use program::{end, stop_at_ctrl_c};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/nomes");
const USAGE: &str = "usage: notes_kafka send|show|watch|pump BROKERS TOPIC [FOLDER [CHECKPOINT]]";

/// A name as a record: the name is the key, the age the value.
fn records(people: &DataFrame) -> lotic::Result<DataFrame> {
    people.select_expr(&["nome AS key", "CAST(idade AS STRING) AS value"])
}

/// What is in a record, as text.
fn readable(kafka: &DataFrame) -> lotic::Result<DataFrame> {
    kafka.select_expr(&[
        "CAST(key AS STRING) AS nome",
        "CAST(value AS STRING) AS idade",
        "partition",
        "offset",
    ])
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut needed = || arguments.next().ok_or(USAGE);
    let (what, brokers, topic) = (needed()?, needed()?, needed()?);
    let folder = arguments.next().map_or_else(|| PathBuf::from(FOLDER), PathBuf::from);
    let checkpoint = arguments.next().map_or_else(
        || std::env::temp_dir().join("lotic-notes").join(format!("kafka-{topic}")),
        PathBuf::from,
    );
    let session = Session::builder().app_name("notes").get_or_create()?;
    let brokers = &*brokers;
    match &*what {
        "send" => {
            let people = session.read().schema("nome STRING, idade INT").csv(&folder)?;
            let writer = records(&people)?.write().format("kafka");
            writer.option("kafka.bootstrap.servers", brokers).option("topic", &*topic).save_default()?;
            println!("{} was sent to `{topic}`", folder.display());
        }
        "show" => {
            let kafka = session.read().format("kafka").option("kafka.bootstrap.servers", brokers);
            readable(&kafka.option("subscribe", &*topic).load()?)?.show()?;
        }
        "watch" => {
            let kafka = session.read_stream().format("kafka").option("kafka.bootstrap.servers", brokers);
            let kafka = kafka.option("subscribe", &*topic).option("startingOffsets", "earliest").load()?;
            let query = readable(&kafka)?.write_stream().format("console").start()?;
            stop_at_ctrl_c(query.clone())?;
            query.await_termination()?;
        }
        "pump" => {
            let people = session.read_stream().schema("nome STRING, idade INT").csv(&folder)?;
            let query = records(&people)?
                .write_stream()
                .format("kafka")
                .option("kafka.bootstrap.servers", brokers)
                .option("topic", &*topic)
                .option("deliveryGuarantee", "exactly-once")
                .option("checkpointLocation", &checkpoint)
                .start()?;
            stop_at_ctrl_c(query.clone())?;
            query.process_all_available()?;
            println!(
                "what is in {} is in `{topic}`; put more CSV files there, or stop with Ctrl-C",
                folder.display()
            );
            query.await_termination()?;
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

fn main() -> ExitCode {
    end(run())
}
