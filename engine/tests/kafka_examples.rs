//! The Kafka programs of the notes, in Rust and as SQL files, against a real broker; and the demo without one.
#![cfg(all(feature = "cli", feature = "kafka", unix))]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "cli_binary/process.rs"]
#[allow(dead_code, reason = "shared with the tests of the binary")]
mod process;

use lotic::connectors::testing::kafka::TestBroker;
use process::{Running, command, example, lotic};
use std::path::Path;

const NAMES: [&str; 3] = ["Ana,31", "Bia,45", "Rui,17"];

/// A folder of one CSV file.
fn folder_of_names() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("nomes")).unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/nomes/1.csv");
    std::fs::copy(sample, folder.path().join("nomes/1.csv")).unwrap();
    folder
}

/// The first two cells of the rows of a printed table, in order.
fn names(table: &str) -> Vec<String> {
    let rows = table.lines().filter(|line| line.starts_with('|') && !line.contains("nome"));
    let cells = |row: &str| row.split('|').map(str::trim).skip(1).take(2).collect::<Vec<_>>().join(",");
    let mut names: Vec<String> = rows.map(cells).collect();
    names.sort();
    names
}

/// Reads rows that a program prints until all names are there.
fn wait_for_names(running: &Running) {
    let mut rows = String::new();
    while names(&rows).len() < NAMES.len() {
        rows += &running.line_with("| ");
        rows.push('\n');
    }
    assert_eq!(names(&rows), NAMES);
}

#[test]
fn a_folder_is_sent_to_a_topic_shown_and_watched() {
    let Some(broker) = TestBroker::shared() else { return };
    let (brokers, topic, folder) = (broker.bootstrap(), broker.topic("notes", 2), folder_of_names());
    let nomes = folder.path().join("nomes");
    let sent = example("notes_kafka", &["send", brokers, &topic, nomes.to_str().unwrap()]).rest();
    assert!(sent.status == 0 && sent.out.contains("was sent"), "{}", sent.err);
    let shown = example("notes_kafka", &["show", brokers, &topic]).rest();
    assert_eq!((shown.status, names(&shown.out)), (0, NAMES.map(str::to_owned).to_vec()), "{}", shown.err);
    let mut watching = example("notes_kafka", &["watch", brokers, &topic]);
    wait_for_names(&watching);
    watching.signal("INT");
    assert_eq!(watching.rest().status, 0);
}

#[test]
fn a_stream_of_files_goes_to_a_topic_once_over_a_restart() {
    let Some(broker) = TestBroker::shared() else { return };
    let (brokers, topic, folder) = (broker.bootstrap(), broker.topic("notes", 2), folder_of_names());
    let (nomes, state) = (folder.path().join("nomes"), folder.path().join("state"));
    let arguments = ["pump", brokers, &topic, nomes.to_str().unwrap(), state.to_str().unwrap()];
    for _ in 0..2 {
        let mut pumping = example("notes_kafka", &arguments);
        pumping.line_with("put more CSV files there");
        pumping.signal("INT");
        assert_eq!(pumping.rest().status, 0);
        let shown = example("notes_kafka", &["show", brokers, &topic]).rest();
        assert_eq!(names(&shown.out), NAMES, "{}", shown.err);
    }
}

#[test]
fn the_same_programs_run_as_sql() {
    let Some(broker) = TestBroker::shared() else { return };
    let (topic, folder) = (broker.topic("notes", 2), folder_of_names());
    let file = |name: &str| {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sql").join(name));
        let text = text.unwrap().replace("localhost:9092", broker.bootstrap());
        let text = text.replace("'subscribe' 'nomes'", &format!("'subscribe' '{topic}'"));
        let text = text.replace("'topic' 'nomes'", &format!("'topic' '{topic}'"));
        let path = folder.path().join(name);
        std::fs::write(
            &path,
            text.replace(
                "LOCATION 'nomes'",
                &format!("LOCATION '{}'", folder.path().join("nomes").display()),
            ),
        )
        .unwrap();
        path.to_str().unwrap().to_owned()
    };
    let sent = lotic(&["run", &file("kafka_send.sql")]);
    assert_eq!(sent.status, 0, "{}", sent.err);
    let shown = lotic(&["run", &file("kafka_show.sql")]);
    assert_eq!((shown.status, names(&shown.out)), (0, NAMES.map(str::to_owned).to_vec()), "{}", shown.err);
    let mut watching = Running::of(command(&["run", &file("kafka_watch.sql")]).spawn().unwrap());
    wait_for_names(&watching);
    watching.signal("INT");
    assert_eq!(watching.rest().status, 0);
    let state = folder.path().join("state");
    let pump = file("kafka_pump.sql");
    for _ in 0..2 {
        let arguments = ["run", &pump, "--checkpoint", state.to_str().unwrap(), "--trigger", "available-now"];
        let pumped = lotic(&arguments);
        assert_eq!(pumped.status, 0, "{}", pumped.err);
    }
    let shown = lotic(&["run", &file("kafka_show.sql")]);
    let twice: Vec<&str> = NAMES.iter().flat_map(|name| [*name, name]).collect();
    assert_eq!(names(&shown.out), twice, "sent once and pumped once: {}", shown.err);
}

#[test]
fn what_is_no_json_goes_to_a_topic_of_dead_letters_as_it_was() {
    use lotic::connectors::kafka::rdkafka::ClientConfig;
    use lotic::connectors::kafka::rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let Some(broker) = TestBroker::shared() else { return };
    let (topic, dead, folder) = (broker.topic("notes", 1), broker.topic("notes-dead", 1), folder_of_names());
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let values: [&[u8]; 5] =
        [br#"{"nome":"Ana","idade":31}"#, b"{", br#"{"nome":"Rui"}"#, b"\xff\xfe", b"not JSON"];
    for value in values {
        producer.send(BaseRecord::to(&topic).key("k").payload(value)).map_err(|(error, _)| error).unwrap();
        producer.flush(std::time::Duration::from_secs(20)).unwrap();
    }
    let text =
        include_str!("../examples/sql/kafka_dead_letters.sql").replace("localhost:9092", broker.bootstrap());
    let text = text.replace("'subscribe' 'nomes'", &format!("'subscribe' '{topic}'"));
    let text = text.replace("'topic' 'nomes-dead'", &format!("'topic' '{dead}'"));
    let out = folder.path().join("pessoas");
    let text = text.replace("LOCATION 'pessoas'", &format!("LOCATION '{}'", out.display()));
    let (program, state) = (folder.path().join("dead.sql"), folder.path().join("state"));
    std::fs::write(&program, text).unwrap();
    let arguments = [
        "run",
        program.to_str().unwrap(),
        "--checkpoint",
        state.to_str().unwrap(),
        "--trigger",
        "available-now",
    ];
    let run = lotic(&arguments);
    assert_eq!(run.status, 0, "{}", run.err);
    let shown = format!(
        "CREATE EXTERNAL TABLE people (nome STRING, idade INT) STORED AS csv LOCATION '{}';
         SELECT nome, idade FROM people ORDER BY nome;",
        out.display()
    );
    let shown = lotic(&["sql", &shown, "--format", "csv"]);
    assert_eq!(shown.out, "nome,idade\nAna,31\nRui,\n", "{}", shown.err);
    let letters = format!(
        "CREATE EXTERNAL TABLE dead STORED AS kafka OPTIONS ('kafka.bootstrap.servers' '{}', 'subscribe' '{dead}', \
         'includeHeaders' 'true');
         SELECT encode(value, 'hex') AS value, CAST(key AS STRING) AS key, headers[3]['key'] AS name, \
         CAST(headers[3]['value'] AS STRING) AS at, CAST(headers[4]['value'] AS STRING) AS why FROM dead ORDER BY \"offset\";",
        broker.bootstrap()
    );
    let letters = lotic(&["sql", &letters, "--format", "csv"]);
    let no_json = "\"value is not JSON of nome STRING, idade INT\"";
    let expected = format!(
        "value,key,name,at,why\n7b,k,__connect.errors.offset,1,{no_json}\n\
         fffe,k,__connect.errors.offset,3,value is not UTF-8 text\n\
         6e6f74204a534f4e,k,__connect.errors.offset,4,{no_json}\n"
    );
    assert_eq!(letters.out, expected, "{}", letters.err);
}

#[test]
fn what_is_wrong_is_said_with_topic_broker_and_what_to_do() {
    let Some(broker) = TestBroker::shared() else { return };
    let missing = example("notes_kafka", &["show", broker.bootstrap(), "no-such-topic"]).rest();
    assert!(missing.status == 1 && missing.err.contains("no-such-topic"), "{}", missing.err);
    let nobody = example("notes_kafka", &["show", "127.0.0.1:1", "nomes"]).rest();
    assert!(nobody.status == 1 && nobody.err.contains("127.0.0.1:1"), "{}", nobody.err);
    let usage = example("notes_kafka", &["show"]).rest();
    assert!(usage.status == 1 && usage.err.contains("usage: notes_kafka"), "{}", usage.err);
}

#[test]
fn the_demo_counts_words_without_a_broker() {
    let done = example("kafka_demo", &["um", "dois", "um"]).rest();
    assert_eq!(done.status, 0, "{}", done.err);
    let rows = done.out.lines().filter(|line| line.starts_with('|'));
    let counted = |word: &str| {
        let of_word = rows.clone().filter(|row| row.split('|').nth(1).map(str::trim) == Some(word));
        of_word.filter_map(|row| row.split('|').nth(2)?.trim().parse::<u64>().ok()).max()
    };
    assert_eq!((counted("um"), counted("dois")), (Some(2), Some(1)), "{}", done.out);
}
