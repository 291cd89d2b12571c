//! What goes wrong while reading: what ends the query, what passes, what is left out.

use super::super::super::errors;
use super::super::super::topics::Lookup;
use super::super::client::NOT_WRITTEN;
use super::super::corrupt::{Probe, base_of, is_corrupt};
use super::super::{CorruptRecord, loss};
use super::{News, Part, Reader};
use crate::error::{ConnectorError, Result};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait after the brokers did not say what became of an offset.
const RECHECK: Duration = Duration::from_secs(1);

/// Topics named in an error, at most.
const TOPICS_NAMED: usize = 5;

impl Reader {
    /// What is read here and from where, for messages: the client does not say which partition it speaks of.
    fn place(&self) -> String {
        let topics: BTreeSet<&str> = self.parts.iter().map(|part| &*part.partition.topic).collect();
        let named: Vec<String> = topics.iter().take(TOPICS_NAMED).map(|topic| format!("`{topic}`")).collect();
        let more = if topics.len() > TOPICS_NAMED { " and others" } else { "" };
        let word = if topics.len() == 1 { "topic" } else { "topics" };
        format!("{word} {}{more}, brokers {}", named.join(", "), self.brokers)
    }

    pub(super) fn failed(&mut self, error: &KafkaError) -> Result<()> {
        let reason = self.consumer.context().last_error();
        let (source, brokers) = (&self.settings.name, &self.brokers);
        let Some(code) = errors::code_of(error) else {
            return Err(errors::failed(
                format!("{}: reading failed ({})", self.connector, self.place()),
                error,
            ));
        };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::NoOffset | Code::LogTruncation => {
                self.recheck = Some(Instant::now());
                Ok(())
            }
            code if is_corrupt(code) => self.corrupt_batch(&reason),
            Code::GroupAuthorizationFailed | Code::InvalidGroupId | Code::UnknownGroup => {
                tracing::warn!(source, brokers, reason, "group offsets {NOT_WRITTEN}");
                Ok(())
            }
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition
                if !self.settings.fail_on_data_loss =>
            {
                tracing::warn!(source, brokers, reason, "a partition is not there any more");
                self.settings.gauges.count_data_loss();
                Ok(())
            }
            code if errors::is_passing(code) || errors::is_lost_connection(code, &reason) => {
                tracing::warn!(source, brokers, reason, "reading is interrupted, trying again");
                Ok(())
            }
            code => {
                let what = format!("{}: reading failed ({}): {reason}", self.connector, self.place());
                Err(errors::failed_with(what, code))
            }
        }
    }

    /// The client cannot read a batch, and has lost its place in that partition.
    fn corrupt_batch(&mut self, reason: &str) -> Result<()> {
        if self.settings.corrupt == CorruptRecord::Fail {
            return self.corrupt(reason);
        }
        self.hand_over();
        let base = base_of(reason).unwrap_or(i64::MIN);
        let mut suspects: Vec<usize> =
            (0..self.parts.len()).filter(|at| self.parts[*at].next >= base).collect();
        suspects.sort_by_key(|at| self.parts[*at].next);
        let prober = self.settings.connect()?;
        for lane in suspects {
            let Part { partition, next, .. } = &self.parts[lane];
            let probe = Probe { consumer: &prober, partition, wait_max: self.settings.wait_max };
            match probe.behind(*next) {
                Ok(None) => {}
                Ok(Some(behind)) => {
                    self.corrupt(&format!("{partition}, offsets {next} to {}: {reason}", behind - 1))?;
                    self.parts[lane].next = behind;
                    self.tell(News::Moved { lane, offset: behind });
                    return self.assign_again(&[lane]);
                }
                Err(error) => {
                    let source = &self.settings.name;
                    tracing::warn!(source, %partition, %error, "cannot see where a corrupt batch ends");
                }
            }
        }
        // The client complains again where it still has to.
        let all: Vec<usize> = (0..self.parts.len()).collect();
        self.assign_again(&all)
    }

    pub(super) fn corrupt(&self, what: &str) -> Result<()> {
        let brokers = &self.brokers;
        if self.settings.corrupt == CorruptRecord::Fail {
            return Err(ConnectorError::external(
                format!(
                    "{}: corrupt record ({}); let the source skip corrupt records to go on without it",
                    self.connector,
                    self.place()
                ),
                what.to_owned(),
            ));
        }
        let skipped = self.settings.gauges.count_skipped_batch();
        tracing::warn!(source = self.settings.name, brokers, what, skipped, "corrupt records were skipped");
        Ok(())
    }

    /// Finds the partitions of which the client said that it cannot read on.
    pub(super) fn check_loss(&mut self) -> Result<()> {
        self.recheck = None;
        let next = self.parts.iter().map(|part| (part.partition.clone(), part.next)).collect();
        let lookup = Lookup {
            consumer: &self.consumer,
            connector: &self.connector,
            brokers: &self.brokers,
            wait_max: self.settings.wait_max,
            is_read: true,
        };
        let lost = match loss::find(&lookup, &next) {
            Ok(lost) => lost,
            Err(error) => {
                tracing::warn!(source = self.settings.name, %error, "the brokers do not say what became of an offset");
                self.recheck = Some(Instant::now() + RECHECK);
                return Ok(());
            }
        };
        self.hand_over();
        let mut again: Vec<usize> = Vec::new();
        for lost in &lost {
            loss::report(&self.settings, lost)?;
            let Some(lane) = self.index.get(&lost.partition).copied() else { continue };
            self.parts[lane].next = lost.earliest;
            self.tell(News::Moved { lane, offset: lost.earliest });
            again.push(lane);
        }
        if again.is_empty() {
            // All is there: the client is to try again, and does not say which partition it gave up.
            again.extend(0..self.parts.len());
        }
        self.assign_again(&again)
    }

    fn assign_again(&mut self, parts: &[usize]) -> Result<()> {
        let client = Arc::clone(self.consumer.context());
        for part in parts {
            let part = &mut self.parts[*part];
            part.paused = false;
            part.statistics = client.statistic(&part.partition.topic, part.partition.partition).count;
        }
        let list = self.list(parts.iter().copied());
        let assigned = self.consumer.incremental_unassign(&list);
        let assigned = assigned.and_then(|()| self.consumer.incremental_assign(&list));
        self.waker.wake();
        assigned
            .map_err(|error| errors::failed(format!("{}: partitions cannot be read", self.connector), &error))
    }
}
