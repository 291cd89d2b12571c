//! One instance of the source: what the engine polls. It never waits; the reader does.

use super::super::record::KafkaRecord;
use super::super::topics::{KafkaTopics, Lookup, TopicPartition};
use super::Settings;
use super::client::Client;
use super::lane::{Lane, share};
use super::loss;
use super::reader::{News, Part, Reader, Requests};
use crate::error::{ConnectorError, Result};
use crate::limits::KAFKA_CHUNKS;
use crate::offsets::Offsets;
use crate::source::{Figures, Latest, PollRequest, Polled, Source, SourcePartition};
use atomic_waker::AtomicWaker;
use crossbeam::channel::{Receiver, bounded};
use lotic_operators::{Epoch, Instance, Rows};
use rdkafka::ClientConfig;
use rdkafka::consumer::Consumer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

/// The ends of all partitions, which the brokers are asked for.
#[derive(Debug, Default)]
enum Ends {
    #[default]
    NotAsked,
    Asked,
    Known(BTreeMap<String, u64>),
}

pub(super) struct KafkaInstance {
    settings: Settings,
    client: ClientConfig,
    instance: Instance,
    lanes: Vec<Lane>,
    /// The lane that is polled first next time.
    turn: usize,
    /// The lane of the last batch.
    taken_from: usize,
    news: Option<Receiver<News>>,
    requests: Arc<Requests>,
    waker: Arc<AtomicWaker>,
    ends: Ends,
    /// Told once what was read before it was taken.
    failure: Option<ConnectorError>,
}

impl Drop for KafkaInstance {
    fn drop(&mut self) {
        self.requests.stop.store(true, Ordering::Release);
    }
}

impl KafkaInstance {
    pub(super) fn new(settings: Settings, client: ClientConfig, instance: Instance) -> Self {
        KafkaInstance {
            settings,
            client,
            instance,
            lanes: Vec::new(),
            turn: 0,
            taken_from: 0,
            news: None,
            requests: Arc::default(),
            waker: Arc::default(),
            ends: Ends::default(),
            failure: None,
        }
    }

    /// The partitions of this instance and where to begin in each.
    fn begin(&self, lookup: &Lookup<'_, Client>, from: &Offsets) -> Result<BTreeMap<TopicPartition, i64>> {
        let found = lookup.partitions(&self.settings.topics)?;
        let mine =
            |partition: &TopicPartition| partition.instance(self.instance.parallelism) == self.instance.index;
        if from.0.is_empty() {
            if found.is_empty() && !matches!(self.settings.topics, KafkaTopics::Pattern(_)) {
                return Err(ConnectorError::internal(format!("{} has no partition", lookup.connector)));
            }
            // All of them are looked up, so that each instance finds the same faults in the option.
            let mut starts = lookup.resolve(&found, &self.settings.starting, "startingOffsets")?;
            starts.retain(|partition, _| mine(partition));
            return Ok(starts);
        }
        let mut starts = BTreeMap::new();
        let mut new = BTreeSet::new();
        for partition in found.iter().filter(|partition| mine(partition)) {
            match from.get(&partition.to_string()) {
                Some(next) => drop(starts.insert(partition.clone(), i64::try_from(next).unwrap_or(i64::MAX))),
                None => drop(new.insert(partition.clone())),
            }
        }
        starts.extend(lookup.earliest(&new)?);
        for name in from.0.keys() {
            let known = TopicPartition::parse(name).filter(|partition| found.contains(partition));
            if known.is_none() {
                loss::gone(&self.settings, name)?;
            }
        }
        Ok(starts)
    }

    fn receive(&mut self) {
        let Some(news) = &self.news else { return };
        while let Ok(news) = news.try_recv() {
            match news {
                News::Rows { lane, chunk } => self.lanes[lane].put(chunk),
                News::Passed { lane, offset } => self.lanes[lane].pass(offset),
                News::Moved { lane, offset } => self.lanes[lane].restart(offset),
                News::Found { name, offset, gauge } => self.lanes.push(Lane::new(name, offset, gauge)),
                News::Ends(Ok(ends)) => self.ends = Ends::Known(ends),
                News::Ends(Err(error)) => {
                    self.ends = Ends::NotAsked;
                    self.failure.get_or_insert(error);
                }
                News::Failed(error) => drop(self.failure.get_or_insert(error)),
            }
        }
    }

    /// Takes rows of one lane, the lanes by turns.
    fn take(&mut self, max_rows: usize, until: Option<&Offsets>) -> Option<Rows<KafkaRecord>> {
        let lanes = self.lanes.len();
        let mut rows = Vec::new();
        for step in 0..lanes {
            let at = (self.turn + step) % lanes;
            let lane = &mut self.lanes[at];
            let end = match until {
                None => u64::MAX,
                Some(until) => until.get(&lane.name).unwrap_or(0),
            };
            if end > lane.next() {
                lane.take(&mut rows, max_rows, end);
            }
            if !rows.is_empty() {
                self.turn = (at + 1) % lanes;
                self.taken_from = at;
                return Some(Rows::from(rows));
            }
        }
        None
    }

    fn reached(&self, until: &Offsets) -> bool {
        self.lanes.iter().all(|lane| until.get(&lane.name).is_none_or(|end| lane.next() >= end))
    }

    fn step(
        &mut self,
        max_rows: usize,
        until: Option<&Offsets>,
    ) -> Result<Option<Polled<Rows<KafkaRecord>>>> {
        self.receive();
        if let Some(rows) = self.take(max_rows, until) {
            return Ok(Some(Polled::Batch(rows)));
        }
        if until.is_some_and(|until| self.reached(until)) {
            return Ok(Some(Polled::AtEnd));
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(None),
        }
    }

    /// Plans the rows that wait here, within the limits.
    fn planned(&self, max_rows: u64) -> Offsets {
        let parallelism = self.instance.parallelism.max(1) as u64;
        let limit = max_rows.min((self.settings.offsets_per_batch / parallelism).max(1));
        let waiting: Vec<u64> = self.lanes.iter().map(Lane::rows).collect();
        let shares = share(limit, &waiting);
        let lanes = self.lanes.iter().zip(shares);
        Offsets(lanes.map(|(lane, rows)| (lane.name.clone(), lane.after(rows))).collect())
    }

    fn ends(&mut self, waker: &Waker) -> Result<Latest> {
        self.waker.register(waker);
        self.receive();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match std::mem::take(&mut self.ends) {
            Ends::Known(ends) => {
                let end = |lane: &Lane| ends.get(&lane.name).copied().unwrap_or(0).max(lane.next());
                let lanes = self.lanes.iter();
                return Ok(Latest::At(Offsets(lanes.map(|lane| (lane.name.clone(), end(lane))).collect())));
            }
            Ends::NotAsked => self.requests.ends.store(true, Ordering::Release),
            Ends::Asked => {}
        }
        self.ends = Ends::Asked;
        Ok(Latest::Pending(None))
    }
}

impl Source<Rows<KafkaRecord>> for KafkaInstance {
    fn identify(&mut self, reader: &str) {
        if self.settings.parameters.get("group.id").is_none() {
            self.client.set("group.id", format!("{}-{reader}", self.settings.group_id_prefix));
        }
    }

    fn start(&mut self, from: &Offsets) -> Result<()> {
        let connector = self.settings.connector();
        let brokers = self.settings.parameters.bootstrap_servers().to_owned();
        let consumer = self.settings.connect_with(&self.client)?;
        let lookup = Lookup {
            consumer: &consumer,
            connector: &connector,
            brokers: &brokers,
            wait_max: self.settings.wait_max,
            is_read: false,
        };
        let mut starts = self.begin(&lookup, from)?;
        for lost in loss::find(&lookup, &starts)? {
            loss::report(&self.settings, &lost)?;
            starts.insert(lost.partition, lost.earliest);
        }
        let mut parts = Vec::with_capacity(starts.len());
        for (partition, start) in starts {
            let name = partition.to_string();
            let gauge = self.settings.gauges.begin(&name, start);
            consumer.context().watch(&partition.topic, partition.partition, &gauge);
            self.lanes.push(Lane::new(name, start, Arc::clone(&gauge)));
            parts.push(Part::new(partition, start, gauge));
        }
        let (sender, receiver) = bounded(KAFKA_CHUNKS);
        self.news = Some(receiver);
        let reader = Reader::new(
            self.settings.clone(),
            self.instance,
            consumer,
            parts,
            sender,
            Arc::clone(&self.requests),
            Arc::clone(&self.waker),
        );
        reader.spawn()
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<Rows<KafkaRecord>>> {
        let max_rows = request.max_rows.max(1);
        if let Some(polled) = self.step(max_rows, request.until)? {
            return Ok(polled);
        }
        self.waker.register(request.waker);
        // What came in between woke nobody.
        Ok(self.step(max_rows, request.until)?.unwrap_or(Polled::Pending(None)))
    }

    fn offsets(&self) -> Offsets {
        Offsets(self.lanes.iter().map(|lane| (lane.name.clone(), lane.next())).collect())
    }

    fn latest(&mut self, max_rows: u64, waker: &Waker) -> Result<Latest> {
        if max_rows == u64::MAX {
            return self.ends(waker);
        }
        self.receive();
        Ok(Latest::At(self.planned(max_rows)))
    }

    fn partitions(&mut self) -> Option<Vec<SourcePartition>> {
        self.receive();
        let partition =
            |lane: &Lane| SourcePartition { name: lane.name.clone(), caught_up: lane.is_caught_up() };
        Some(self.lanes.iter().map(partition).collect())
    }

    fn polled_partition(&self) -> Option<usize> {
        Some(self.taken_from)
    }

    fn figures(&self) -> Figures {
        self.lanes.iter().map(|lane| (lane.name.clone(), lane.figures())).collect()
    }

    fn committed(&mut self, _epoch: Epoch, offsets: &Offsets) {
        self.requests.commit(offsets);
    }
}
