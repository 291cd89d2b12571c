//! The floor of going through the broker twice: a plain loop that reads each record of the input topic and
//! writes it to the output topic.

use super::broker::failed;
use super::reader::consumer;
use super::sender::{Outcome, producer};
use super::topics::Topics;
use crate::error::Result;
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often an idle loop looks whether it should end.
const IDLE: Duration = Duration::from_millis(20);

/// The loop, on a thread of its own; ended when dropped.
pub(super) struct Relay {
    thread: Option<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
}

impl Relay {
    pub(super) fn start(topics: &Topics) -> Result<Relay> {
        let (consumer, producer) = (consumer(topics, &topics.input)?, producer(topics, &topics.output)?);
        let (ends, output) = (Arc::new(AtomicBool::new(false)), topics.output.clone());
        let told = Arc::clone(&ends);
        let body = move || forward(&consumer, &producer, &output, &told);
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(body);
        let thread = thread.map_err(|error| failed(&topics.bootstrap, format!("no thread: {error}")))?;
        Ok(Relay { thread: Some(thread), ends })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // A loop that ended before has lost records, which are found missing.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn forward(consumer: &BaseConsumer, producer: &ThreadedProducer<Outcome>, output: &str, ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        if let Some(Ok(message)) = consumer.poll(IDLE) {
            while !is_sent(producer, output, &message) && !ends.load(Ordering::Relaxed) {
                producer.poll(Duration::from_millis(1));
            }
        }
    }
}

/// False if the client holds as many records as it can.
fn is_sent(producer: &ThreadedProducer<Outcome>, output: &str, message: &BorrowedMessage<'_>) -> bool {
    let record = BaseRecord::to(output)
        .key(message.key().unwrap_or_default())
        .payload(message.payload().unwrap_or_default());
    let record = match message.headers() {
        Some(headers) => record.headers(headers.detach()),
        None => record,
    };
    producer.send(record).is_ok()
}
