//! Which partitions are read, and what the brokers say about them.

use super::complaints::{self, Complaining};
use super::errors;
use super::offsets::{ByPartition, KafkaOffsets, NoNewer, PartitionOffset};
use crate::error::{ConnectorError, Result};
use lotic_operators::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait before a broker is asked again that has just elected no leader yet.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Which topics, and which of their partitions, are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KafkaTopics {
    /// All partitions of these topics, also those that are added later.
    Subscribe(BTreeSet<String>),
    /// All topics whose whole name matches this regular expression, also those that are created later.
    Pattern(String),
    /// These partitions alone.
    Assign(BTreeMap<String, BTreeSet<i32>>),
}

impl KafkaTopics {
    /// All partitions of these topics.
    pub fn subscribe<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> KafkaTopics {
        KafkaTopics::Subscribe(topics.into_iter().map(Into::into).collect())
    }

    /// All topics whose whole name matches, such as `orders-.*`.
    pub fn pattern(expression: impl Into<String>) -> KafkaTopics {
        KafkaTopics::Pattern(expression.into())
    }

    /// These partitions of these topics.
    pub fn assign<T: Into<String>>(partitions: impl IntoIterator<Item = (T, i32)>) -> KafkaTopics {
        let mut topics: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for (topic, partition) in partitions {
            topics.entry(topic.into()).or_default().insert(partition);
        }
        KafkaTopics::Assign(topics)
    }

    /// Reads the option `subscribe`: names separated by commas.
    #[must_use]
    pub fn parse_subscribe(text: &str) -> KafkaTopics {
        KafkaTopics::subscribe(text.split(',').map(str::trim).filter(|name| !name.is_empty()))
    }

    /// Reads the option `assign`: JSON such as `{"orders":[0,1]}`.
    ///
    /// # Errors
    /// If it is not.
    pub fn parse_assign(text: &str) -> Result<KafkaTopics> {
        serde_json::from_str(text).map(KafkaTopics::Assign).map_err(|error| {
            ConnectorError::user(format!(
                "option `assign` is `{text}`: {error}; give JSON such as {{\"orders\":[0,1]}}"
            ))
        })
    }

    /// Checks what can be checked without a broker.
    pub(super) fn check(&self, connector: &str) -> Result<()> {
        let empty = match self {
            KafkaTopics::Subscribe(topics) => topics.is_empty(),
            KafkaTopics::Assign(topics) => topics.values().all(BTreeSet::is_empty),
            KafkaTopics::Pattern(expression) => {
                whole_name(connector, expression)?;
                false
            }
        };
        if empty {
            return Err(ConnectorError::user(format!(
                "{connector} names no topic: set one of `subscribe`, `subscribePattern` and `assign`"
            )));
        }
        Ok(())
    }
}

fn whole_name(connector: &str, expression: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{expression})$")).map_err(|error| {
        ConnectorError::user(format!(
            "{connector}: option `subscribePattern` is not a regular expression: {error}"
        ))
    })
}

/// A partition of a topic. Displays as the name it has in offsets, `orders-3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TopicPartition {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

impl TopicPartition {
    pub(super) fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }

    /// Reads back a name.
    pub(super) fn parse(name: &str) -> Option<TopicPartition> {
        let (topic, partition) = name.rsplit_once('-')?;
        Some(TopicPartition::new(topic, partition.parse().ok()?))
    }

    /// The instance that reads it, which stays the same when partitions are added.
    pub(super) fn instance(&self, parallelism: usize) -> usize {
        let topic = crc32fast::hash(self.topic.as_bytes());
        let partition = u64::try_from(self.partition).unwrap_or(0);
        let parallelism = parallelism.max(1) as u64;
        // Below the parallelism, which is a `usize`.
        ((u64::from(topic) + partition) % parallelism) as usize
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Asks the brokers. Blocks, each question for up to `wait_max`.
pub(super) struct Lookup<'a, C: ConsumerContext + Complaining> {
    pub(super) consumer: &'a BaseConsumer<C>,
    pub(super) connector: &'a str,
    pub(super) brokers: &'a str,
    pub(super) wait_max: Duration,
    /// Whether somebody polls the consumer for records; if not, what it says of its connections is asked for here.
    pub(super) is_read: bool,
}

impl<C: ConsumerContext + Complaining> Lookup<'_, C> {
    /// The partitions to read.
    pub(super) fn partitions(&self, topics: &KafkaTopics) -> Result<BTreeSet<TopicPartition>> {
        match topics {
            KafkaTopics::Subscribe(names) => {
                let mut found = BTreeSet::new();
                for name in names {
                    found.extend(self.of_topic(name)?);
                }
                Ok(found)
            }
            KafkaTopics::Pattern(expression) => {
                let expression = whole_name(self.connector, expression)?;
                let metadata = self.metadata(None)?;
                let matching = metadata.topics().iter().filter(|topic| expression.is_match(topic.name()));
                Ok(matching.flat_map(partitions_of).collect())
            }
            KafkaTopics::Assign(named) => {
                let mut found = BTreeSet::new();
                for (name, partitions) in named {
                    let there = self.of_topic(name)?;
                    for partition in partitions {
                        let asked = TopicPartition::new(name.as_str(), *partition);
                        if !there.contains(&asked) {
                            return Err(ConnectorError::user(format!(
                                "{}: topic `{name}` has no partition {partition}, but {} partitions: correct \
                                 option `assign`",
                                self.connector,
                                there.len()
                            )));
                        }
                        found.insert(asked);
                    }
                }
                Ok(found)
            }
        }
    }

    fn of_topic(&self, name: &str) -> Result<BTreeSet<TopicPartition>> {
        let deadline = Instant::now() + self.wait_max;
        loop {
            let metadata = self.metadata(Some(name))?;
            let Some(topic) = metadata.topics().first() else {
                return Err(ConnectorError::internal(format!("no metadata of topic `{name}`")));
            };
            let Some(error) = topic.error() else { return Ok(partitions_of(topic).collect()) };
            let code = RDKafkaErrorCode::from(error);
            if !errors::is_passing(code) || Instant::now() >= deadline {
                return Err(errors::failed_with(
                    format!("{}: topic `{name}` cannot be read (brokers {})", self.connector, self.brokers),
                    code,
                ));
            }
            thread::sleep(ASK_AGAIN);
        }
    }

    fn metadata(&self, topic: Option<&str>) -> Result<Metadata> {
        let answered = if self.is_read {
            self.consumer.fetch_metadata(topic, self.wait_max)
        } else {
            complaints::metadata(self.consumer, topic, self.wait_max)
        };
        answered.map_err(|error| {
            let Lookup { connector, brokers, wait_max, .. } = self;
            self.unanswered(
                format!("{connector}: no answer from brokers {brokers} within {wait_max:?}"),
                &error,
            )
        })
    }

    fn unanswered(&self, what: String, error: &KafkaError) -> ConnectorError {
        let complaint = if self.is_read {
            self.consumer.context().complaints().last()
        } else {
            complaints::of(self.consumer)
        };
        match errors::code_of(error) {
            Some(code) => errors::unanswered(what, code, complaint),
            None => errors::failed(what, error),
        }
    }

    /// A place in each partition. `option` is that of the places by number, for errors.
    pub(super) fn resolve(
        &self,
        partitions: &BTreeSet<TopicPartition>,
        offsets: &KafkaOffsets,
        option: &str,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        match offsets {
            KafkaOffsets::Earliest => self.earliest(partitions),
            KafkaOffsets::Latest => self.latest(partitions),
            KafkaOffsets::Partitions(places) => self.places(partitions, places, option),
            KafkaOffsets::Timestamp(time, no_newer) => {
                let times = partitions.iter().map(|partition| (partition.clone(), *time)).collect();
                self.times(times, *no_newer)
            }
            KafkaOffsets::Timestamps(times, no_newer) => {
                let times = self.for_each(partitions, times, &format!("{option}ByTimestamp"))?;
                self.times(times, *no_newer)
            }
        }
    }

    /// The oldest record of each partition.
    pub(super) fn earliest(&self, of: &BTreeSet<TopicPartition>) -> Result<BTreeMap<TopicPartition, i64>> {
        self.ask(of.iter().map(|partition| (partition, Offset::Beginning)))
    }

    /// The end of each partition: with `read_committed`, before the first record of an open transaction.
    pub(super) fn latest(&self, of: &BTreeSet<TopicPartition>) -> Result<BTreeMap<TopicPartition, i64>> {
        self.ask(of.iter().map(|partition| (partition, Offset::End)))
    }

    fn places(
        &self,
        partitions: &BTreeSet<TopicPartition>,
        places: &ByPartition<PartitionOffset>,
        option: &str,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let places = self.for_each(partitions, places, option)?;
        let logical = places.iter().filter_map(|(partition, place)| match place {
            PartitionOffset::Earliest => Some((partition, Offset::Beginning)),
            PartitionOffset::Latest => Some((partition, Offset::End)),
            PartitionOffset::At(_) => None,
        });
        let mut found = self.ask(logical)?;
        for (partition, place) in &places {
            if let PartitionOffset::At(offset) = place {
                found.insert(partition.clone(), *offset);
            }
        }
        Ok(found)
    }

    fn times(
        &self,
        times: BTreeMap<TopicPartition, Timestamp>,
        no_newer: NoNewer,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let millis = |time: &Timestamp| Offset::Offset(time.0.div_euclid(1000).max(0));
        let mut found = self.ask(times.iter().map(|(partition, time)| (partition, millis(time))))?;
        let without: BTreeSet<_> =
            times.keys().filter(|partition| !found.contains_key(*partition)).cloned().collect();
        if let (NoNewer::Fail, Some(partition)) = (no_newer, without.first()) {
            return Err(ConnectorError::user(format!(
                "{}: topic `{}`, partition {}: no record is as new as the time asked for; ask for an earlier one, \
                 or set `startingOffsetsByTimestampStrategy` to `latest`",
                self.connector, partition.topic, partition.partition
            )));
        }
        found.extend(self.latest(&without)?);
        Ok(found)
    }

    /// What is given for each partition: for all of them, and for no others.
    fn for_each<T: Copy>(
        &self,
        partitions: &BTreeSet<TopicPartition>,
        given: &ByPartition<T>,
        option: &str,
    ) -> Result<BTreeMap<TopicPartition, T>> {
        let mut found = BTreeMap::new();
        for (topic, places) in given {
            for (partition, place) in places {
                found.insert(TopicPartition::new(topic.as_str(), *partition), *place);
            }
        }
        let named: BTreeSet<TopicPartition> = found.keys().cloned().collect();
        let wrong = match (partitions.difference(&named).next(), named.difference(partitions).next()) {
            (Some(missing), _) => (missing, "is read and not named"),
            (_, Some(extra)) => (extra, "is named and not read"),
            _ => return Ok(found),
        };
        Err(ConnectorError::user(format!(
            "{}: option `{option}` has to name every partition that is read and no other: partition {} of topic \
             `{}` {}",
            self.connector, wrong.0.partition, wrong.0.topic, wrong.1
        )))
    }

    /// One question to the leaders of all partitions, again for a while if one of them is just being elected.
    /// Times without a record are left out.
    fn ask<'p>(
        &self,
        places: impl Iterator<Item = (&'p TopicPartition, Offset)> + Clone,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let deadline = Instant::now() + self.wait_max;
        loop {
            match self.ask_once(places.clone()) {
                Err(error) if error.retry_after().is_some() && Instant::now() < deadline => {
                    thread::sleep(ASK_AGAIN);
                    // The client may know of the leader before.
                    let _ = self.consumer.fetch_metadata(None, self.wait_max);
                }
                answered => return answered,
            }
        }
    }

    fn ask_once<'p>(
        &self,
        places: impl Iterator<Item = (&'p TopicPartition, Offset)>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let mut list = TopicPartitionList::new();
        // Every partition has a beginning and an end; not everyone has a record that is as new as a time.
        let mut certain = BTreeSet::new();
        for (place @ TopicPartition { topic, partition }, offset) in places {
            if !matches!(offset, Offset::Offset(_)) {
                certain.insert(place.clone());
            }
            let added = list.add_partition_offset(topic, *partition, offset);
            added.map_err(|error| errors::failed(self.connector, &error))?;
        }
        if list.count() == 0 {
            return Ok(BTreeMap::new());
        }
        let failed = |error| {
            let (connector, brokers) = (self.connector, self.brokers);
            self.unanswered(format!("{connector}: brokers {brokers} do not tell their offsets"), &error)
        };
        let answer = self.consumer.offsets_for_times(list, self.wait_max).map_err(failed)?;
        let mut found = BTreeMap::new();
        for element in answer.elements() {
            let partition = TopicPartition::new(element.topic(), element.partition());
            element.error().map_err(|error| {
                let TopicPartition { topic, partition } = &partition;
                let what = format!("{}: topic `{topic}`, partition {partition}: no offsets", self.connector);
                errors::failed(what, &error)
            })?;
            if let Offset::Offset(offset) = element.offset() {
                certain.remove(&partition);
                found.insert(partition, offset);
            }
        }
        // The client answers so if it lost the broker in between. Without its end a partition would seem empty.
        match certain.first() {
            None => Ok(found),
            Some(TopicPartition { topic, partition }) => {
                let what = format!("{}: topic `{topic}`, partition {partition}: no offsets", self.connector);
                Err(ConnectorError::external(what, "the answer lacks them").with_retry_after(ASK_AGAIN))
            }
        }
    }
}

fn partitions_of(topic: &MetadataTopic) -> impl Iterator<Item = TopicPartition> + '_ {
    let name: Arc<str> = topic.name().into();
    let partitions = topic.partitions().iter();
    partitions.map(move |partition| TopicPartition { topic: Arc::clone(&name), partition: partition.id() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_spark_reads() {
        assert_eq!(KafkaTopics::parse_subscribe("a, b,"), KafkaTopics::subscribe(["b", "a"]));
        let assigned = KafkaTopics::parse_assign(r#"{"a":[0,2]}"#).unwrap();
        assert_eq!(assigned, KafkaTopics::assign([("a", 2), ("a", 0)]));
        assert!(KafkaTopics::parse_assign("a").is_err());
        let error = KafkaTopics::pattern("(").check("source `kafka`").unwrap_err().to_string();
        assert!(error.contains("option `subscribePattern`"), "{error}");
        assert!(KafkaTopics::parse_subscribe(" ,").check("source `kafka`").is_err());
    }

    #[test]
    fn a_name_leads_back_to_its_partition() {
        let partition = TopicPartition::new("a-1-b", 12);
        assert_eq!(partition.to_string(), "a-1-b-12");
        assert_eq!(TopicPartition::parse("a-1-b-12"), Some(partition));
    }

    #[test]
    fn partitions_are_spread_evenly() {
        let mut counts = [0; 3];
        for partition in 0..30 {
            counts[TopicPartition::new("orders", partition).instance(3)] += 1;
        }
        assert_eq!(counts, [10, 10, 10]);
    }
}
