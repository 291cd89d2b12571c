//! An Apache Kafka broker for tests.
//!
//! The address in `LOTIC_TEST_KAFKA` if it is set; otherwise a broker of its own in KRaft mode, fetched once by
//! Maven into `kafka-broker` under the target directory. It listens on 127.0.0.1 and ends with the test
//! process. Where there is no JDK or no Maven, [`TestBroker::shared`] and [`TestBroker::start`] return `None`
//! and say so on standard error; where `CI` is set that is a failure.

mod access;
mod install;
mod process;
mod security;

pub use access::{Operation, Resource};
pub use security::{Certificates, Listener, Security};

use install::NoBroker;
use process::{Process, is_ready};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use std::future::Future;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{env, fs};

/// How long a broker that was given has to answer, and any broker to do what an administrator asks.
const PATIENCE: Duration = Duration::from_secs(20);

/// A real Apache Kafka broker.
///
/// # Panics
/// Its methods panic, as tests do, with what the broker said.
#[derive(Debug)]
pub struct TestBroker {
    bootstrap: String,
    /// `None` for a broker that was given.
    process: Option<Mutex<Process>>,
}

static SHARED: OnceLock<Option<TestBroker>> = OnceLock::new();
static TOPICS: AtomicU32 = AtomicU32::new(0);

impl TestBroker {
    /// The broker that all tests of this process share; `None` if there can be none.
    pub fn shared() -> Option<&'static TestBroker> {
        SHARED.get_or_init(TestBroker::start).as_ref()
    }

    /// The broker in `LOTIC_TEST_KAFKA`, or a new one; `None` if there can be none.
    pub fn start() -> Option<TestBroker> {
        let Ok(given) = env::var("LOTIC_TEST_KAFKA") else { return TestBroker::start_own() };
        assert!(is_ready(&given, PATIENCE), "LOTIC_TEST_KAFKA: no broker answers at {given}");
        Some(TestBroker { bootstrap: given, process: None })
    }

    /// A new broker, which can be killed; `None` if there can be none.
    pub fn start_own() -> Option<TestBroker> {
        TestBroker::start_secured(&Security::default())
    }

    /// A new broker that asks who connects; `None` if there can be none.
    pub fn start_secured(security: &Security<'_>) -> Option<TestBroker> {
        match Process::start(security) {
            Ok(process) => {
                Some(TestBroker { bootstrap: process.bootstrap(), process: Some(Mutex::new(process)) })
            }
            Err(error @ NoBroker::NotInstalled(_)) if env::var_os("CI").is_none() => {
                eprintln!(
                    "SKIPPED: a test against a real Kafka broker did not run: {error}; install it, or set \
                     LOTIC_TEST_KAFKA to the address of a broker"
                );
                None
            }
            Err(error) => panic!("no test broker: {error}"),
        }
    }

    /// A new broker for a program that is not a test, which wants to say itself why there is none.
    ///
    /// # Errors
    /// If there can be none; the text says why.
    pub fn try_start_own() -> Result<TestBroker, String> {
        let process = Process::start(&Security::default()).map_err(|error| error.to_string())?;
        Ok(TestBroker { bootstrap: process.bootstrap(), process: Some(Mutex::new(process)) })
    }

    /// Its address, `host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Its address where it checks who connects.
    pub fn listener(&self, listener: Listener) -> String {
        let own = self.own().expect("a broker that was given has no listeners of ours");
        let found = own.listeners().iter().find(|(kind, _)| *kind == listener);
        found.map(|(_, address)| address.clone()).expect("the broker was started with this listener")
    }

    /// The certificates that were made for it.
    pub fn certificates(&self) -> Certificates {
        let own = self.own().expect("a broker that was given has no certificates of ours");
        own.certificates().cloned().expect("the broker was started with TLS")
    }

    /// Lets a user do this. Brokers heed it within a moment.
    pub fn grant(&self, user: &str, operation: Operation, resource: Resource<'_>) {
        access::change(&self.bootstrap, true, user, operation, resource).expect("the right is granted");
    }

    /// Takes back what was granted. Brokers heed it within a moment.
    pub fn revoke(&self, user: &str, operation: Operation, resource: Resource<'_>) {
        access::change(&self.bootstrap, false, user, operation, resource).expect("the right is taken back");
    }

    /// The file that it logs to; `None` for a broker that was given.
    pub fn log(&self) -> Option<PathBuf> {
        Some(self.own()?.log())
    }

    /// Damages what the broker has stored of a partition in its first segment: the first byte of where it says this.
    /// `false`, and nothing is done, for a broker that was given.
    pub fn damage(&self, topic: &str, partition: i32, stored: &str) -> bool {
        let Some(log) = self.log() else { return false };
        let segment = format!("logs/{topic}-{partition}/00000000000000000000.log");
        let path = log.with_file_name(segment);
        let bytes = fs::read(&path).expect("a segment");
        let at = bytes.windows(stored.len()).position(|part| part == stored.as_bytes()).expect("stored");
        let mut file = fs::OpenOptions::new().write(true).open(&path).expect("a segment");
        file.seek(SeekFrom::Start(at as u64)).expect("a place in the segment");
        file.write_all(&[!bytes[at]]).expect("a byte is damaged");
        true
    }

    fn own(&self) -> Option<MutexGuard<'_, Process>> {
        Some(self.process.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends it without warning (SIGKILL).
    pub fn kill(&self) {
        self.own().expect("a broker that was given cannot be killed").kill();
    }

    /// Starts it again on the same data and port.
    pub fn restart(&self) {
        let restarted = self.own().expect("a broker that was given cannot be restarted").restart();
        restarted.expect("the broker starts again");
    }

    /// A new topic with a name that begins like this and is used by nobody else.
    pub fn topic(&self, name: &str, partitions: i32) -> String {
        let number = TOPICS.fetch_add(1, Ordering::Relaxed);
        let topic = format!("{name}-{}-{number}", std::process::id());
        self.create_topic(&topic, partitions, &[]);
        topic
    }

    /// Creates a topic with this name and configuration.
    pub fn create_topic(&self, topic: &str, partitions: i32, configuration: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in configuration {
            new = new.set(name, value);
        }
        let results = wait_for(self.admin().create_topics([&new], &options())).expect("topics are created");
        for result in results {
            result.unwrap_or_else(|(topic, code)| panic!("topic {topic} is not created: {code}"));
        }
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, topic: &str) {
        let results = wait_for(self.admin().delete_topics(&[topic], &options())).expect("topics are deleted");
        for result in results {
            result.unwrap_or_else(|(topic, code)| panic!("topic {topic} is not deleted: {code}"));
        }
    }

    /// Raises the number of partitions of a topic to this.
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let results =
            wait_for(self.admin().create_partitions([&new], &options())).expect("partitions are added");
        for result in results {
            result.unwrap_or_else(|(topic, code)| panic!("topic {topic} gets no partitions: {code}"));
        }
    }

    /// Removes the records of a partition before this offset, as retention would.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        let deleted = wait_for(self.admin().delete_records(&list, &options())).expect("records are removed");
        for element in deleted.elements() {
            element.error().expect("records are removed");
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config.create().expect("an admin client")
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

fn wait_for<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let (alarm, waker) = super::Alarm::new();
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => alarm.wait(PATIENCE),
        };
    }
}
