//! Commits epochs: each in one transaction of its own, from its outboxes. The protocol and why it holds is in
//! `docs/kafka-exactly-once.md`.

use super::deliveries::{Deliveries, Flight, Landed, size};
use super::epochs::{self, Epochs};
use super::failures::Failure;
use super::settings::SinkSettings;
use super::{outbox, owned_headers};
use crate::error::{ConnectorError, ErrorKind, Result};
use crate::kafka::errors;
use crate::sink::Committer;
use crate::waiters::block_on;
use lotic_operators::Epoch;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Transactional ids of a sink, used in turn. Never fewer than an earlier version had: an id that is no
/// longer taken over at recovery could still be used by a process that was thought dead.
pub(super) const IDS: usize = 2;
/// Between attempts at an epoch: doubled from the first up to the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How much sooner than the brokers a transaction is taken to be too old.
const TIMEOUT_SLACK: Duration = Duration::from_millis(100);

/// What went wrong with one attempt.
enum Trouble {
    /// Nothing of the epoch can be visible: abort and send it again.
    Abort(ConnectorError),
    /// The client is of no use any more, or nobody knows whether the epoch is committed: take over anew, and
    /// look.
    Unsure(ConnectorError),
    /// Someone else took over the transactional id, or the brokers gave the transaction up for its age.
    Fenced(Code),
}

/// The producers of a sink, each with the id of its place, and whose turn it is.
struct Pool {
    producers: Vec<ThreadedProducer<Deliveries>>,
    turn: usize,
}

pub(super) struct TransactionalCommitter {
    settings: Arc<SinkSettings>,
    epochs: Epochs,
    id_prefix: String,
    ids: usize,
    /// `None` before the first use, and when a producer is of no use any more.
    pool: Option<Pool>,
    /// The newest epoch known to be committed.
    recorded: Epoch,
    /// Another process took over: nothing is committed from here any more.
    fenced: bool,
    /// Called between sending and committing.
    #[cfg(test)]
    before_commit: Option<Box<dyn FnMut(Epoch) + Send>>,
}

impl TransactionalCommitter {
    pub(super) fn new(settings: Arc<SinkSettings>, epochs: Epochs, id_prefix: &str) -> Self {
        let id_prefix = format!("{id_prefix}-{}", epochs.key());
        TransactionalCommitter {
            settings,
            epochs,
            id_prefix,
            ids: IDS,
            pool: None,
            recorded: Epoch::NONE,
            fenced: false,
            #[cfg(test)]
            before_commit: None,
        }
    }

    /// Takes over every id, in order, which fences whoever had them before and ends what they left open; only
    /// then reads what is committed. The first epoch afterwards goes through the id that was taken over
    /// first.
    fn open(&mut self, deadline: Instant) -> Result<()> {
        self.pool = None;
        self.epochs.ensure_topic(deadline)?;
        let mut producers = Vec::with_capacity(self.ids);
        for number in 0..self.ids {
            producers.push(self.take_over(&format!("{}-{number}", self.id_prefix), deadline)?);
        }
        self.recorded = self.epochs.newest(deadline)?;
        producers.iter().for_each(|producer| self.warm(producer, deadline));
        self.pool = Some(Pool { producers, turn: 0 });
        Ok(())
    }

    /// Has a producer know where to send to, which would cost its first transaction 100 ms. If it fails, the
    /// transaction finds out.
    fn warm(&self, producer: &ThreadedProducer<Deliveries>, deadline: Instant) {
        for topic in [Some(self.epochs.topic()), self.settings.topic.as_deref()].into_iter().flatten() {
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = producer.client().fetch_metadata(Some(topic), left);
        }
    }

    fn take_over(&self, id: &str, deadline: Instant) -> Result<ThreadedProducer<Deliveries>> {
        let producer = self.settings.transactional_producer(id)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Err(error) = producer.init_transactions(left) else { return Ok(producer) };
            let retriable = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if retriable && Instant::now() < deadline {
                continue;
            }
            let said = producer.client().context().trouble();
            let said = said.map(|said| format!(" (the client last said: {said})")).unwrap_or_default();
            let brokers = self.settings.bootstrap_servers();
            let what = format!(
                "{} cannot take over the transactional id `{id}` at the brokers {brokers}{said}",
                self.settings.connector
            );
            return Err(match error {
                KafkaError::Transaction(error) => errors::failed_with(what, error.code()),
                error => errors::failed(what, &error),
            });
        }
    }

    /// Sends an epoch and commits it.
    fn attempt(&mut self, epoch: Epoch, outboxes: &[&[u8]], deadline: Instant) -> Result<(), Trouble> {
        let Some(pool) = &self.pool else {
            return Err(Trouble::Unsure(ConnectorError::internal(
                "an epoch is committed before the sink took over",
            )));
        };
        let record = self.epochs.value(epoch).map_err(Trouble::Abort)?;
        let transaction = Transaction {
            settings: &self.settings,
            producer: &pool.producers[pool.turn],
            flight: Arc::default(),
            deadline,
        };
        transaction.begin()?;
        for outbox in outboxes {
            let messages =
                outbox::read(outbox).map_err(|cause| Trouble::Abort(self.misread(epoch, &cause)))?;
            for message in messages {
                let message = message.map_err(|cause| Trouble::Abort(self.misread(epoch, &cause)))?;
                let mut sending = BaseRecord::with_opaque_to(message.topic, Arc::clone(&transaction.flight));
                sending.partition = message.partition;
                sending.key = message.key;
                sending.payload = message.value;
                sending.timestamp = message.timestamp_ms;
                sending.headers = owned_headers(message.headers.len(), message.headers.iter());
                transaction.send(sending)?;
            }
        }
        let mut sending = BaseRecord::with_opaque_to(self.epochs.topic(), Arc::clone(&transaction.flight));
        sending.partition = Some(epochs::PARTITION);
        sending.key = Some(self.epochs.key().as_bytes());
        sending.payload = Some(record.as_slice());
        transaction.send(sending)?;
        transaction.deliver()?;
        #[cfg(test)]
        if let Some(hook) = &mut self.before_commit {
            hook(epoch);
        }
        transaction.commit()
    }

    fn misread(&self, epoch: Epoch, cause: &str) -> ConnectorError {
        ConnectorError::user(format!(
            "{} does not understand its handle for epoch {epoch} ({cause}): the checkpoint was written by another \
             kind or version of sink; start from a new checkpoint location",
            self.settings.connector
        ))
    }

    fn superseded(&mut self, epoch: Epoch) -> ConnectorError {
        self.fenced = true;
        self.pool = None;
        ConnectorError::user(format!(
            "{} cannot commit epoch {epoch}: another process runs this query (transactional ids `{}-0` to `{}`) \
             and has taken over; stop one of them",
            self.settings.connector,
            self.id_prefix,
            self.ids - 1
        ))
    }

    /// After an attempt that was given up. Whether, and after taking over anew, to try again.
    fn recover(
        &mut self,
        epoch: Epoch,
        began: Instant,
        trouble: Trouble,
        deadline: Instant,
    ) -> Result<ConnectorError> {
        let error = match trouble {
            Trouble::Abort(error) => {
                self.abort(deadline);
                if error.kind() == ErrorKind::External {
                    return Ok(error);
                }
                return Err(error);
            }
            Trouble::Fenced(code) => {
                let error = errors::failed_with(format!("{}: epoch {epoch}", self.settings.connector), code);
                // The brokers give up a transaction that is too old by the same means as one that was taken
                // over.
                if began.elapsed() + TIMEOUT_SLACK < self.settings.transaction_timeout {
                    return Err(self.superseded(epoch));
                }
                error
            }
            Trouble::Unsure(error) if error.kind() == ErrorKind::External => error,
            Trouble::Unsure(error) => {
                self.pool = None;
                return Err(error);
            }
        };
        self.pool = None;
        // Whoever is ahead shall not be fenced by one that was thought dead.
        if self.epochs.newest(deadline)? > epoch {
            return Err(self.superseded(epoch));
        }
        self.open(deadline)?;
        if self.recorded > epoch {
            return Err(self.superseded(epoch));
        }
        Ok(error)
    }

    /// Ends a transaction without effect. If even that cannot be done, taking over anew does it.
    fn abort(&mut self, deadline: Instant) {
        let Some(pool) = &self.pool else { return };
        let producer = &pool.producers[pool.turn];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match producer.abort_transaction(left) {
                Ok(()) => return,
                Err(KafkaError::Transaction(error)) if error.is_retriable() && !left.is_zero() => {}
                Err(_) => break,
            }
        }
        self.pool = None;
    }
}

impl Committer for TransactionalCommitter {
    fn last_committed(&mut self) -> Result<Epoch> {
        if self.pool.is_none() {
            self.open(Instant::now() + self.settings.commit_wait_max)?;
        }
        Ok(self.recorded)
    }

    fn commit(&mut self, epoch: Epoch, handles: &[&[u8]]) -> Result<()> {
        if self.fenced {
            return Err(self.superseded(epoch));
        }
        let mut messages = 0;
        for handle in handles {
            messages += u64::from(outbox::check(handle).map_err(|cause| self.misread(epoch, &cause))?);
        }
        let deadline = Instant::now() + self.settings.commit_wait_max;
        if self.pool.is_none() {
            self.open(deadline)?;
        }
        let mut pause = PAUSE_MIN;
        while self.recorded < epoch && messages > 0 {
            let began = Instant::now();
            let Err(trouble) = self.attempt(epoch, handles, deadline) else {
                self.recorded = epoch;
                if let Some(pool) = &mut self.pool {
                    pool.turn = (pool.turn + 1) % pool.producers.len();
                }
                break;
            };
            let error = self.recover(epoch, began, trouble, deadline)?;
            tracing::warn!(sink = self.settings.connector, %epoch, %error, "an epoch is sent again");
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            if self.pool.is_none() {
                self.open(deadline)?;
            }
        }
        Ok(())
    }

    /// Nothing is prepared outside: what is open was ended when the ids were taken over.
    fn abort_prepared(&mut self) -> Result<()> {
        Ok(())
    }
}

/// One open transaction.
struct Transaction<'a> {
    settings: &'a SinkSettings,
    producer: &'a ThreadedProducer<Deliveries>,
    flight: Arc<Flight>,
    deadline: Instant,
}

impl Transaction<'_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn begin(&self) -> Result<(), Trouble> {
        self.producer.begin_transaction().map_err(|error| self.trouble("begin a transaction", &error))
    }

    fn send(&self, record: BaseRecord<'_, [u8], [u8], Arc<Flight>>) -> Result<(), Trouble> {
        let bytes = size(record.key, record.payload);
        let room = self.producer.client().context().room();
        if block_on(room.wait_for(bytes), Some(self.deadline)).is_none() {
            return self.deliver();
        }
        if self.flight.failure().is_some() {
            return self.deliver();
        }
        room.enter(bytes);
        self.flight.depart();
        let Err((error, record)) = self.producer.send(record) else { return Ok(()) };
        room.leave(bytes);
        self.flight.land(None);
        let failure = Failure::refused(&error, record.topic, record.partition, bytes);
        // The reason why the client takes no more messages is that of the one that failed.
        let failure = self.flight.failure().unwrap_or(&failure);
        Err(self.classified(failure.code(), failure.error(&self.settings.connector)))
    }

    /// Waits until every message is acknowledged.
    fn deliver(&self) -> Result<(), Trouble> {
        match self.flight.wait(self.deadline) {
            Landed::All => {}
            Landed::Failed(failure) => {
                return Err(self.classified(failure.code(), failure.error(&self.settings.connector)));
            }
            Landed::Late(messages) => {
                let said = self.producer.client().context().trouble().unwrap_or_else(|| "nothing".to_owned());
                let late =
                    format!("{messages} messages are not acknowledged in time; the client last said: {said}");
                return Err(Trouble::Unsure(self.late(late)));
            }
        }
        // The client counts a message down a moment after its callback. rust-rdkafka's flush, a part of its
        // commit, sleeps 100 ms at a time while there is one.
        while self.producer.in_flight_count() > 0 && !self.left().is_zero() {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn late(&self, cause: String) -> ConnectorError {
        let brokers = self.settings.bootstrap_servers();
        ConnectorError::external(
            format!("{} cannot commit at the brokers {brokers}", self.settings.connector),
            cause,
        )
        .with_retry_after(PAUSE_MAX)
    }

    fn commit(&self) -> Result<(), Trouble> {
        loop {
            let Err(error) = self.producer.commit_transaction(self.left()) else { return Ok(()) };
            let retriable = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            if !retriable || self.left().is_zero() {
                return Err(self.trouble("commit a transaction", &error));
            }
        }
    }

    fn trouble(&self, doing: &str, error: &KafkaError) -> Trouble {
        let what = format!("{} cannot {doing}", self.settings.connector);
        let KafkaError::Transaction(reported) = error else {
            return Trouble::Unsure(errors::failed(what, error));
        };
        let error = errors::failed_with(what, reported.code());
        if reported.txn_requires_abort() {
            return Trouble::Abort(error);
        }
        match self.classified(reported.code(), error) {
            // Not said to be abortable: who knows.
            Trouble::Abort(error) => Trouble::Unsure(error),
            other => other,
        }
    }

    /// What an error means, given whether the client survived it.
    fn classified(&self, code: Code, error: ConnectorError) -> Trouble {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        match fatal.unwrap_or(code) {
            code @ (Code::Fenced | Code::InvalidProducerEpoch | Code::ProducerFenced) => {
                Trouble::Fenced(code)
            }
            fatal_code if fatal.is_some() => {
                let what = format!("{}: the producer failed for good", self.settings.connector);
                Trouble::Unsure(errors::failed_with(what, fatal_code))
            }
            _ => Trouble::Abort(error),
        }
    }
}

#[cfg(all(test, feature = "testing"))]
#[path = "transactional_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
