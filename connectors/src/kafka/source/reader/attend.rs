//! What the reader does between polls: what the source asks for, and what is due.

use super::super::super::topics::{KafkaTopics, Lookup, TopicPartition};
use super::super::client::Client;
use super::{News, Part, Reader};
use crate::error::{ConnectorError, Result};
use crate::offsets::Offsets;
use crossbeam::channel::bounded;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Instant;

impl Reader {
    /// Does what is asked and what is due.
    pub(super) fn serve(&mut self) -> Result<()> {
        let commit = self.requests.commit.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(offsets) = commit {
            self.commit(&offsets);
        }
        if self.requests.ends.swap(false, Ordering::AcqRel) {
            self.ask_ends();
        }
        if self.recheck.is_some_and(|due| Instant::now() >= due) {
            self.check_loss()?;
        }
        self.discover();
        Ok(())
    }

    fn commit(&self, offsets: &Offsets) {
        let mut list = TopicPartitionList::new();
        for part in &self.parts {
            let Some(next) = offsets.get(&part.partition.to_string()) else { continue };
            let offset = Offset::Offset(i64::try_from(next).unwrap_or(i64::MAX));
            drop(list.add_partition_offset(&part.partition.topic, part.partition.partition, offset));
        }
        if list.count() > 0 {
            self.warn_of("commit", self.consumer.commit(&list, CommitMode::Async));
        }
    }

    /// Runs a question to the brokers on a thread of its own, so that rows are not kept waiting.
    fn aside(&self, ask: impl FnOnce(&Lookup<'_, Client>) + Send + 'static) {
        let (consumer, connector) = (Arc::clone(&self.consumer), self.connector.clone());
        let (brokers, wait_max) = (self.brokers.clone(), self.settings.wait_max);
        let run = move || {
            let (connector, brokers) = (&connector, &brokers);
            ask(&Lookup { consumer: &consumer, connector, brokers, wait_max, is_read: true });
        };
        if let Err(error) = thread::Builder::new().name("kafka-lookup".to_owned()).spawn(run) {
            self.tell(News::Failed(ConnectorError::external("no thread to ask the brokers", error)));
        }
    }

    fn ask_ends(&self) {
        let partitions: BTreeSet<TopicPartition> =
            self.parts.iter().map(|part| part.partition.clone()).collect();
        let (news, waker) = (self.news.clone(), Arc::clone(&self.waker));
        self.aside(move |lookup| {
            let named = |(partition, end): (TopicPartition, i64)| {
                (partition.to_string(), u64::try_from(end).unwrap_or(0))
            };
            let ends = lookup.latest(&partitions).map(|ends| ends.into_iter().map(named).collect());
            drop(news.send(News::Ends(ends)));
            waker.wake();
        });
    }

    /// Looks for new partitions when it is time.
    fn discover(&mut self) {
        if let Some(discovery) = &self.discovery {
            let Ok(found) = discovery.try_recv() else { return };
            self.discovery = None;
            self.look_again = Instant::now() + self.settings.metadata_interval;
            match found {
                Ok(found) => self.add(found),
                Err(error) => {
                    tracing::warn!(source = self.settings.name, %error, "new partitions cannot be looked for");
                }
            }
            return;
        }
        if matches!(self.settings.topics, KafkaTopics::Assign(_)) || Instant::now() < self.look_again {
            return;
        }
        let (sender, receiver) = bounded(1);
        self.discovery = Some(receiver);
        let (topics, instance) = (self.settings.topics.clone(), self.instance);
        let known: BTreeSet<TopicPartition> = self.index.keys().cloned().collect();
        self.aside(move |lookup| {
            let found = lookup.partitions(&topics).and_then(|mut found| {
                found.retain(|partition| {
                    partition.instance(instance.parallelism) == instance.index && !known.contains(partition)
                });
                lookup.earliest(&found)
            });
            drop(sender.send(found));
        });
    }

    fn add(&mut self, found: BTreeMap<TopicPartition, i64>) {
        let first = self.parts.len();
        for (partition, offset) in found {
            let name = partition.to_string();
            tracing::info!(source = self.settings.name, partition = name, offset, "a partition was found");
            let gauge = self.settings.gauges.begin(&name, offset);
            self.consumer.context().watch(&partition.topic, partition.partition, &gauge);
            self.index.insert(partition.clone(), self.parts.len());
            self.parts.push(Part::new(partition, offset, Arc::clone(&gauge)));
            self.tell(News::Found { name, offset, gauge });
        }
        if first < self.parts.len() {
            let list = self.list(first..self.parts.len());
            self.warn_of("read new", self.consumer.incremental_assign(&list));
            self.waker.wake();
        }
    }
}
