//! Commits epochs from their outboxes: each in one transaction, or several that wait in one. The protocol and why
//! it holds is in `docs/kafka-exactly-once.md`.

use super::deliveries::{Deliveries, Flight, Landed, size};
use super::epochs::{self, Epochs};
use super::failures::Failure;
use super::settings::SinkSettings;
use super::{outbox, owned_headers};
use crate::error::{ConnectorError, ErrorKind, Result};
use crate::kafka::errors;
use crate::sink::{Committer, PreparedEpoch};
use crate::waiters::block_on;
use lotic_operators::Epoch;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Transactional ids of a sink, used in turn. Never fewer than an earlier version had: an id that is no
/// longer taken over at recovery could still be used by a process that was thought dead.
pub(super) const IDS: usize = 2;
/// Bytes of outboxes up to which epochs that wait are sent in one transaction: beyond it a transaction costs little
/// beside what it sends.
const TOGETHER_BYTES: usize = 16 << 20;
/// Between attempts at a transaction: doubled from the first up to the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How much sooner than the brokers a transaction is taken to be too old.
const TIMEOUT_SLACK: Duration = Duration::from_millis(100);

/// What went wrong with one attempt.
enum Trouble {
    /// Nothing of the epochs can be visible: abort and send them again.
    Abort(ConnectorError),
    /// The client is of no use any more, or nobody knows whether the epochs are committed: take over anew, and
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
            let complaint = producer.client().context().complaint();
            let SinkSettings { connector, .. } = &*self.settings;
            let brokers = self.settings.bootstrap_servers();
            let what =
                format!("{connector} cannot take over the transactional id `{id}` at the brokers {brokers}");
            return Err(match error {
                KafkaError::Transaction(error) => errors::unanswered(what, error.code(), complaint),
                error => errors::failed(what, &error),
            });
        }
    }

    /// Sends epochs and commits them.
    fn attempt(&mut self, run: Run<'_>, deadline: Instant) -> Result<(), Trouble> {
        let Some(pool) = &self.pool else {
            return Err(Trouble::Unsure(ConnectorError::internal(
                "an epoch is committed before the sink took over",
            )));
        };
        let newest = run.newest();
        let record = self.epochs.value(newest).map_err(Trouble::Abort)?;
        let transaction = Transaction {
            settings: &self.settings,
            producer: &pool.producers[pool.turn],
            flight: Arc::default(),
            deadline,
        };
        transaction.begin()?;
        for (epoch, outbox) in run.outboxes() {
            let misread = |cause: String| Trouble::Abort(self.misread(epoch, &cause));
            for message in outbox::read(outbox).map_err(misread)? {
                let message = message.map_err(misread)?;
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
            hook(newest);
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
        run: Run<'_>,
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
                let what = format!("{}: epoch {}", self.settings.connector, run.newest());
                let error = errors::failed_with(what, code);
                // The brokers give up a transaction that is too old by the same means as one that was taken
                // over.
                if began.elapsed() + TIMEOUT_SLACK < self.settings.transaction_timeout {
                    return Err(self.superseded(run.newest()));
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
        if self.epochs.newest(deadline)? > run.newest() {
            return Err(self.superseded(run.newest()));
        }
        self.open(deadline)?;
        if run.is_overtaken(self.recorded) {
            return Err(self.superseded(run.newest()));
        }
        Ok(error)
    }

    /// Commits epochs in one transaction, however often it has to be tried.
    fn commit_run(&mut self, run: Run<'_>) -> Result<()> {
        let deadline = Instant::now() + self.settings.commit_wait_max;
        let mut pause = PAUSE_MIN;
        while self.recorded < run.newest() {
            let began = Instant::now();
            let Err(trouble) = self.attempt(run, deadline) else {
                self.recorded = run.newest();
                if let Some(pool) = &mut self.pool {
                    pool.turn = (pool.turn + 1) % pool.producers.len();
                }
                break;
            };
            let error = self.recover(run, began, trouble, deadline)?;
            tracing::warn!(sink = self.settings.connector, epoch = %run.newest(), %error, "epochs are sent again");
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
        self.commit_all(&[PreparedEpoch { epoch, handles: handles.to_vec() }])
    }

    fn commit_all(&mut self, epochs: &[PreparedEpoch<'_>]) -> Result<()> {
        if let (true, Some(first)) = (self.fenced, epochs.first()) {
            return Err(self.superseded(first.epoch));
        }
        let mut filled = Vec::with_capacity(epochs.len());
        for prepared in epochs {
            let mut messages = 0;
            for handle in &prepared.handles {
                let found = outbox::check(handle).map_err(|cause| self.misread(prepared.epoch, &cause))?;
                messages += u64::from(found);
            }
            if messages > 0 {
                filled.push(prepared);
            }
        }
        if self.pool.is_none() {
            self.open(Instant::now() + self.settings.commit_wait_max)?;
        }
        filled.retain(|prepared| prepared.epoch > self.recorded);
        let mut rest = &filled[..];
        while !rest.is_empty() {
            let (run, later) = Run::cut(rest, TOGETHER_BYTES);
            self.commit_run(run)?;
            rest = later;
        }
        Ok(())
    }

    /// Nothing is prepared outside: what is open was ended when the ids were taken over.
    fn abort_prepared(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Epochs that one transaction holds, oldest first; never none.
#[derive(Clone, Copy)]
struct Run<'a>(&'a [&'a PreparedEpoch<'a>]);

impl<'a> Run<'a> {
    /// As many of the first epochs as have so many bytes together, one at least, and those behind them.
    fn cut(epochs: &'a [&'a PreparedEpoch<'a>], bytes_max: usize) -> (Run<'a>, &'a [&'a PreparedEpoch<'a>]) {
        let mut bytes = 0usize;
        let size =
            |prepared: &PreparedEpoch<'_>| prepared.handles.iter().map(|handle| handle.len()).sum::<usize>();
        let together = epochs.iter().take_while(|prepared| {
            bytes = bytes.saturating_add(size(prepared));
            bytes <= bytes_max
        });
        let (run, rest) = epochs.split_at(together.count().max(1));
        (Run(run), rest)
    }

    fn newest(&self) -> Epoch {
        self.0.last().map_or(Epoch::NONE, |prepared| prepared.epoch)
    }

    fn outboxes(&self) -> impl Iterator<Item = (Epoch, &'a [u8])> {
        self.0.iter().flat_map(|prepared| prepared.handles.iter().map(|handle| (prepared.epoch, *handle)))
    }

    /// Whether someone else has committed since it was begun: its own transaction commits all or nothing.
    fn is_overtaken(&self, recorded: Epoch) -> bool {
        self.0.first().is_some_and(|first| recorded >= first.epoch) && recorded != self.newest()
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
        Err(self.undelivered(self.flight.failure().unwrap_or(&failure)))
    }

    /// A message that was not delivered. If the client gave up all messages of the transaction, for the reason of that.
    fn undelivered(&self, failure: &Failure) -> Trouble {
        let SinkSettings { connector, .. } = self.settings;
        let code = failure.code();
        let given_up = matches!(code, Code::PurgeQueue | Code::PurgeInflight | Code::State);
        // What the client says to whatever is asked of a transaction that has failed, and does nothing.
        match if given_up { self.producer.begin_transaction() } else { Ok(()) } {
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                let said = self.producer.client().context().take_refused_partition();
                let what = format!(
                    "{connector} could not deliver a transaction to the brokers at {} ({})",
                    self.settings.bootstrap_servers(),
                    said.unwrap_or_else(|| error.to_string())
                );
                Trouble::Abort(errors::failed_with(what, error.code()))
            }
            _ => self.classified(code, failure.error(connector)),
        }
    }

    /// Waits until every message is acknowledged.
    fn deliver(&self) -> Result<(), Trouble> {
        match self.flight.wait(self.deadline) {
            Landed::All => {}
            Landed::Failed(failure) => return Err(self.undelivered(&failure)),
            Landed::Late(messages) => {
                let complaint = self.producer.client().context().complaint();
                let said = complaint.map_or_else(|| "nothing".to_owned(), |complaint| complaint.reason);
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
