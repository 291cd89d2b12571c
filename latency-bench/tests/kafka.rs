//! The workloads over a broker, as a user runs them, against a real Apache Kafka.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use lotic_connectors::testing::kafka::TestBroker;
use lotic_latency_bench::report::{Report, Row};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One run at a time: each of them is a load on the broker that they share.
static TURN: Mutex<()> = Mutex::new(());

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lotic-latency-bench")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a workload once for a moment at a low rate and returns its report and what it printed.
fn run(broker: &TestBroker, workload: &str, more: &[&str]) -> (Report, String) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{workload}.json"));
    let mut arguments = vec!["--workload", workload, "--rate", "200", "--runs", "1", "--duration", "0.5"];
    arguments.extend(["--bootstrap", broker.bootstrap(), "--json", file.to_str().unwrap()]);
    arguments.extend(more);
    let output = bench(&arguments);
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{workload}: {stdout}\n{}", text(&output.stderr));
    (Report::read(&file).unwrap(), stdout)
}

/// Topics of the benchmark that the broker still has.
fn left_over(broker: &TestBroker) -> Vec<String> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(20)).unwrap();
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    names.filter(|name| name.starts_with("lotic-latency-bench")).collect()
}

#[test]
fn every_row_sees_every_record_once_and_leaves_no_topics() {
    let Some(broker) = TestBroker::shared() else { return };
    let (report, printed) = run(broker, "kafka-stateless", &[]);
    let row = |row: &Row| (row.engine.clone(), row.trigger.clone(), row.delivery.clone());
    let ours =
        |trigger: &str, delivery: &str| ("lotic".to_owned(), trigger.to_owned(), Some(delivery.to_owned()));
    let expected = [
        ("floor".to_owned(), "none".to_owned(), None),
        ("floor".to_owned(), "none".to_owned(), Some("at-least-once".to_owned())),
        ours("continuous:100ms", "at-least-once"),
        ours("continuous:10ms", "exactly-once"),
        ours("continuous:50ms", "exactly-once"),
        ours("continuous:100ms", "exactly-once"),
        ours("processing-time:100ms", "at-least-once"),
        ours("processing-time:100ms", "exactly-once"),
    ];
    assert_eq!(report.rows.iter().map(row).collect::<Vec<_>>(), expected);
    for row in &report.rows {
        assert_eq!(row.count, 100, "every record of the window: {row:?}");
        assert!(row.p50_us > 0.0 && row.p50_us <= row.p99_us && row.p99_us <= row.max_us, "{row:?}");
    }
    assert!(printed.contains("no record lost, twice or out of order within its key"), "{printed}");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(left_over(broker), Vec::<String>::new());
}

#[test]
fn the_other_programs_run_too_also_on_several_instances() {
    let Some(broker) = TestBroker::shared() else { return };
    for workload in ["kafka-grouped", "kafka-join"] {
        let (report, _) =
            run(broker, workload, &["--mode", "continuous", "--epoch", "50", "--parallelism", "2"]);
        assert_eq!(report.rows.len(), 4);
        assert!(report.rows.iter().all(|row| row.count == 100), "{:?}", report.rows);
    }
}

#[test]
fn an_address_where_no_broker_is_ends_with_1_and_says_what_to_check() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = bench(&["--workload", "kafka-join", "--bootstrap", &nobody]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(&nobody) && stderr.contains("check --bootstrap"), "{stderr}");
}

#[test]
fn brokers_are_for_workloads_that_have_one() {
    let output = bench(&["--workload", "keyed-count", "--bootstrap", "127.0.0.1:9092"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("kafka-stateless"), "{}", text(&output.stderr));
    let output = bench(&["--workload", "kafka-join", "--bootstrap", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("host:port"), "{}", text(&output.stderr));
}
