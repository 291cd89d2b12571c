//! The broker that all runs use: one that was given, or a test broker that lives as long as this value.

use crate::error::{Error, Result};
use lotic_connectors::testing::kafka::TestBroker;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::time::Duration;

/// How long a broker may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// Names a broker where `--bootstrap` does not.
const VARIABLE: &str = "LOTIC_TEST_KAFKA";

/// A broker that answers.
#[derive(Debug)]
pub struct Broker {
    bootstrap: String,
    /// None for one that was given.
    own: Option<TestBroker>,
}

impl Broker {
    /// The broker at this address; else at that in `LOTIC_TEST_KAFKA`; else a test broker, which takes a JDK
    /// and, the first time, Maven, and ends when this is dropped.
    ///
    /// # Errors
    /// If none answers within ten seconds, or none can be started.
    pub fn open(given: Option<&str>) -> Result<Broker> {
        let given = given.map(str::to_owned).or_else(|| std::env::var(VARIABLE).ok());
        match given {
            Some(bootstrap) => {
                check(&bootstrap)?;
                Ok(Broker { bootstrap, own: None })
            }
            None => Broker::start(),
        }
    }

    fn start() -> Result<Broker> {
        eprintln!(
            "No --bootstrap is given: starting Apache Kafka on this machine. The first time Maven fetches it. It \
             is stopped at the end."
        );
        let own = TestBroker::try_start_own().map_err(|cause| {
            Error::Input(format!("no test broker: {cause}; install it, or give --bootstrap HOST:PORT"))
        })?;
        let bootstrap = own.bootstrap().to_owned();
        eprintln!("Test broker: {bootstrap}");
        Ok(Broker { bootstrap, own: Some(own) })
    }

    /// Its address.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.own.take().is_some() {
            eprintln!("The test broker is stopped.");
        }
    }
}

/// An error of a broker.
pub(super) fn failed(bootstrap: &str, cause: impl Into<String>) -> Error {
    Error::Broker { bootstrap: bootstrap.to_owned(), cause: cause.into() }
}

/// What every client of the instrument is told.
pub(super) fn client(bootstrap: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap).set("client.id", "lotic-latency-bench");
    client.set("socket.nagle.disable", "true");
    client
}

/// Whether a broker answers.
fn check(bootstrap: &str) -> Result<()> {
    let consumer: BaseConsumer =
        client(bootstrap).create().map_err(|error| failed(bootstrap, error.to_string()))?;
    let answer = consumer.fetch_metadata(None, ANSWER);
    answer.map(|_| ()).map_err(|error| {
        let cause = format!(
            "no answer within {} s ({error}); check --bootstrap, and that the broker runs and advertises an \
             address that can be reached from here",
            ANSWER.as_secs()
        );
        failed(bootstrap, cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn where_no_broker_is_the_error_names_the_address_and_the_option() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = Broker::open(Some(&nobody)).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let text = error.to_string();
        assert!(text.contains(&nobody) && text.contains("--bootstrap"), "{text}");
    }
}
