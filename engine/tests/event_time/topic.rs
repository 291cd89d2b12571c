//! A source of partitions that are read one after the other, as a replay of a Kafka topic may be.

use lotic::connectors::{
    Latest, Offsets, PollRequest, Polled, Polling, Result, Source, SourceFactory, SourcePartition,
    SourceTraits,
};
use lotic::operators::{Instance, Rows};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};
use std::task::Waker;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) partition: usize,
    pub(crate) millis: i64,
}

#[derive(Debug, Default)]
struct Log {
    partitions: Vec<Vec<Row>>,
    finished: bool,
    wakers: Vec<Waker>,
}

/// The topic: the handle and the factory.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    log: Arc<Mutex<Log>>,
    instances_max: usize,
}

impl Topic {
    pub(crate) fn new(partitions: usize, instances_max: usize) -> Topic {
        let log = Log { partitions: vec![Vec::new(); partitions], ..Log::default() };
        Topic { log: Arc::new(Mutex::new(log)), instances_max }
    }

    pub(crate) fn add(&self, rows: impl IntoIterator<Item = Row>) {
        let mut log = self.log.lock().unwrap();
        rows.into_iter().for_each(|row| log.partitions[row.partition].push(row));
        log.wakers.drain(..).for_each(Waker::wake);
    }

    pub(crate) fn finish(&self) {
        let mut log = self.log.lock().unwrap();
        log.finished = true;
        log.wakers.drain(..).for_each(Waker::wake);
    }
}

impl SourceFactory<Rows<Row>> for Topic {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: "topic".to_owned(),
            replayable: true,
            polling: Polling::NonBlocking,
            max_parallelism: self.instances_max,
        }
    }

    fn create(&self, instance: Instance) -> Result<Box<dyn Source<Rows<Row>>>> {
        let count = self.log.lock().unwrap().partitions.len();
        let mine = (instance.index..count).step_by(instance.parallelism).map(|partition| (partition, 0));
        Ok(Box::new(Reader { log: Arc::clone(&self.log), next: mine.collect(), last: 0 }))
    }
}

struct Reader {
    log: Arc<Mutex<Log>>,
    /// Partition and next row.
    next: Vec<(usize, usize)>,
    last: usize,
}

impl Source<Rows<Row>> for Reader {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        for (partition, next) in &mut self.next {
            *next = from.get(&partition.to_string()).unwrap_or(0) as usize;
        }
        Ok(())
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<Rows<Row>>> {
        let mut log = self.log.lock().unwrap();
        for (at, (partition, next)) in self.next.iter_mut().enumerate() {
            let until =
                request.until.map_or(u64::MAX, |until| until.get(&partition.to_string()).unwrap_or(0));
            let rows = &log.partitions[*partition];
            let end = rows.len().min(usize::try_from(until).unwrap_or(usize::MAX));
            let end = end.min(*next + request.max_rows.min(7));
            if *next < end {
                let batch = rows[*next..end].to_vec();
                (*next, self.last) = (end, at);
                return Ok(Polled::Batch(Rows::from(batch)));
            }
        }
        let ends = |(partition, next): &(usize, usize)| *next == log.partitions[*partition].len();
        if log.finished && self.next.iter().all(ends) {
            return Ok(Polled::Finished);
        }
        if request.until.is_some() {
            return Ok(Polled::AtEnd);
        }
        log.wakers.push(request.waker.clone());
        Ok(Polled::Pending(None))
    }

    fn offsets(&self) -> Offsets {
        Offsets(self.next.iter().map(|(partition, next)| (partition.to_string(), *next as u64)).collect())
    }

    fn latest(&mut self, _max_rows: u64, _waker: &Waker) -> Result<Latest> {
        let log = self.log.lock().unwrap();
        let end = |partition: usize| log.partitions[partition].len() as u64;
        let ends = self.next.iter().map(|(partition, _)| (partition.to_string(), end(*partition)));
        Ok(Latest::At(Offsets(ends.collect())))
    }

    fn partitions(&mut self) -> Option<Vec<SourcePartition>> {
        let log = self.log.lock().unwrap();
        let partition = |(partition, next): &(usize, usize)| SourcePartition {
            name: partition.to_string(),
            caught_up: *next == log.partitions[*partition].len(),
        };
        Some(self.next.iter().map(partition).collect())
    }

    fn polled_partition(&self) -> Option<usize> {
        Some(self.last)
    }
}
