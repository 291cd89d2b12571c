//! What librdkafka calls back.

use super::super::complaints::{Complaining, Complaints};
use super::gauge::Gauge;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What to say of group offsets that the brokers refuse: it is no matter of the query.
pub(super) const NOT_WRITTEN: &str = "cannot be written, which serve monitoring alone: the query goes on; grant this \
                                      user READ on the group, or set `groupIdPrefix` or `kafka.group.id` to one that \
                                      it may use";

/// What the statistics say of a partition.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Statistic {
    /// How often there were statistics of it.
    pub(super) count: u64,
    /// All before this offset was fetched and is with the reader, as far as the queue was drained since.
    pub(super) read_to: i64,
}

/// The context of the client of one instance.
#[derive(Debug)]
pub(super) struct Client {
    source: String,
    brokers: String,
    committed_only: bool,
    state: Mutex<State>,
    complaints: Complaints,
    /// Events that came between messages: a poll that returns nothing for one of them has not seen the end
    /// of the queue.
    events: AtomicU64,
    /// There were statistics since they were last looked at.
    news: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    gauges: HashMap<(String, i32), Arc<Gauge>>,
    statistics: HashMap<(String, i32), Statistic>,
    last_error: String,
}

impl Client {
    pub(super) fn new(source: &str, brokers: &str, committed_only: bool) -> Self {
        Client {
            source: source.to_owned(),
            brokers: brokers.to_owned(),
            committed_only,
            state: Mutex::default(),
            complaints: Complaints::default(),
            events: AtomicU64::new(0),
            news: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self, topic: &str, partition: i32, gauge: &Arc<Gauge>) {
        self.state().gauges.insert((topic.to_owned(), partition), Arc::clone(gauge));
    }

    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    pub(super) fn statistic(&self, topic: &str, partition: i32) -> Statistic {
        self.state().statistics.get(&(topic.to_owned(), partition)).copied().unwrap_or_default()
    }

    /// Whether there were statistics since the last call.
    pub(super) fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::Relaxed)
    }

    /// What librdkafka said of the last error.
    pub(super) fn last_error(&self) -> String {
        self.state().last_error.clone()
    }

    fn count_event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }
}

impl ClientContext for Client {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.count_event();
        let (source, brokers) = (&self.source, &self.brokers);
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(source, brokers, facility, "{message}"),
            _ => tracing::debug!(source, brokers, facility, "{message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        self.count_event();
        self.news.store(true, Ordering::Relaxed);
        let mut state = self.state();
        let State { gauges, statistics: known, .. } = &mut *state;
        for (topic, found) in &statistics.topics {
            for (number, partition) in &found.partitions {
                let key = (topic.clone(), *number);
                let Some(gauge) = gauges.get(&key) else { continue };
                let end = if self.committed_only { partition.ls_offset } else { partition.hi_offset };
                gauge.end.fetch_max(end, Ordering::Relaxed);
                // Before it knows, librdkafka gives a negative one.
                if end >= 0 {
                    gauge.end_known.store(true, Ordering::Relaxed);
                }
                // A commit of one's own is told by nothing else; librdkafka logs one that failed.
                if partition.committed_offset >= 0 {
                    gauge.set_committed(partition.committed_offset);
                }
                let statistic = known.entry(key).or_default();
                statistic.count += 1;
                statistic.read_to = partition.eof_offset.min(partition.next_offset);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.count_event();
        if !matches!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::PartitionEOF)) {
            self.complaints.hear(&error, reason);
            self.state().last_error = reason.to_owned();
        }
    }
}

impl ConsumerContext for Client {}

impl Complaining for Client {
    fn complaints(&self) -> &Complaints {
        &self.complaints
    }
}
