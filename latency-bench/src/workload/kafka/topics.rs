//! The topics of one run.

use super::super::RunConfig;
use super::broker::{ANSWER, client, failed};
use crate::error::{Error, Result};
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// As many as the broker gives unless it is told otherwise.
const REPLICATION: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// Topics that nobody else uses; deleted when dropped.
pub(super) struct Topics {
    admin: AdminClient<DefaultClientContext>,
    pub(super) bootstrap: String,
    pub(super) partitions: i32,
    pub(super) input: String,
    pub(super) output: String,
    /// Made by the sink if it is exactly-once.
    pub(super) epochs: String,
    /// What the names begin with.
    pub(super) prefix: String,
}

impl Topics {
    /// Creates input and output, with a partition for each instance.
    pub(super) fn create(config: &RunConfig) -> Result<Topics> {
        let Some(bootstrap) = config.bootstrap.clone() else {
            return Err(config.failed("it needs a broker"));
        };
        let admin = client(&bootstrap).create().map_err(|error| failed(&bootstrap, error.to_string()))?;
        let prefix = prefix();
        let topics = Topics {
            admin,
            partitions: i32::try_from(config.parallelism).unwrap_or(i32::MAX),
            input: format!("{prefix}-input"),
            output: format!("{prefix}-output"),
            epochs: format!("{prefix}-epochs"),
            prefix,
            bootstrap,
        };
        topics.make()?;
        topics.await_leaders()?;
        Ok(topics)
    }

    fn make(&self) -> Result<()> {
        let new = [&self.input, &self.output].map(|name| NewTopic::new(name, self.partitions, REPLICATION));
        let answer = block_on(self.admin.create_topics(&new, &options()));
        let answer = answer.map_err(|error| self.cannot("create topics", error.to_string()))?;
        match answer.into_iter().find_map(std::result::Result::err) {
            Some((topic, code)) => Err(self.cannot(&format!("create the topic {topic}"), code.to_string())),
            None => Ok(()),
        }
    }

    /// A new topic is known to the broker that made it before it can be written to.
    fn await_leaders(&self) -> Result<()> {
        let since = Instant::now();
        for topic in [&self.input, &self.output] {
            while !self.has_leaders(topic)? {
                if since.elapsed() > ANSWER {
                    return Err(
                        self.cannot("use the new topics", "their partitions have no leaders".to_owned())
                    );
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    fn has_leaders(&self, topic: &str) -> Result<bool> {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), ANSWER);
        let metadata = metadata.map_err(|error| self.cannot("describe the new topics", error.to_string()))?;
        let partitions = metadata.topics().first().map_or(&[][..], |topic| topic.partitions());
        let led = partitions.iter().filter(|partition| partition.leader() >= 0).count();
        Ok(led == self.partitions as usize)
    }

    fn cannot(&self, what: &str, cause: String) -> Error {
        failed(&self.bootstrap, format!("cannot {what}: {cause}; each run needs topics of its own"))
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let names = [&*self.input, &*self.output, &*self.epochs];
        let left = |name: &str, cause: String| eprintln!("warning: topic {name} is left over: {cause}");
        match block_on(self.admin.delete_topics(&names, &options())) {
            Ok(answers) => {
                for (name, code) in answers.into_iter().filter_map(std::result::Result::err) {
                    // The topic of epochs is there only if a sink was exactly-once.
                    if name != self.epochs {
                        left(&name, code.to_string());
                    }
                }
            }
            Err(error) => left(&format!("{}-*", self.prefix), error.to_string()),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER))
}

fn prefix() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("lotic-latency-bench-{millis}-{}-{number}", std::process::id())
}
