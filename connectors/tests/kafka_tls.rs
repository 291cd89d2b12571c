//! TLS, SASL and compression against a real broker, and what is said when the options do not fit it.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

#[cfg(feature = "kafka-tls")]
mod kafka_sink_support;
#[cfg(feature = "kafka-tls")]
mod kafka_support;

/// Without the feature: what a program is told that was built without it.
#[cfg(not(feature = "kafka-tls"))]
#[test]
fn what_needs_tls_is_refused_with_how_to_build_it() {
    use lotic_connectors::kafka::{KafkaMessage, KafkaParameters, KafkaSink, KafkaSource, KafkaTopics};
    use lotic_connectors::{ErrorKind, SinkFactory, SourceFactory};
    use lotic_operators::{Instance, Rows};

    eprintln!("SKIPPED: TLS and SASL against a real Kafka broker: build with the feature `kafka-tls`");
    let plain = KafkaParameters::new("a:9093").with("sasl.username", "u").with("sasl.password", "hunter2");
    for (name, value, also) in [
        ("security.protocol", "SSL", None),
        ("security.protocol", "SASL_SSL", None),
        ("ssl.ca.location", "ca.pem", None),
        ("ssl.key.password", "hunter2", None),
        ("sasl.mechanism", "SCRAM-SHA-256", Some("SASL_PLAINTEXT")),
        ("sasl.mechanism", "GSSAPI", Some("SASL_PLAINTEXT")),
    ] {
        let mut parameters = plain.clone().with(name, value);
        if let Some(protocol) = also {
            parameters = parameters.with("security.protocol", protocol);
        }
        let source = KafkaSource::new(parameters.clone(), KafkaTopics::subscribe(["orders"]));
        let sink = KafkaSink::new(parameters).to_topic("orders").exactly_once();
        for error in [
            source.create(Instance::ONLY).err().unwrap(),
            SinkFactory::<Rows<KafkaMessage>>::create(&sink, Instance::ONLY).err().unwrap(),
        ] {
            assert_eq!(error.kind(), ErrorKind::User, "{error}");
            let error = error.to_string();
            assert!(error.contains(&format!("`kafka.{name}`")) && !error.contains("hunter2"), "{error}");
            assert!(error.contains("the feature `kafka-tls`") && error.contains("libsasl2-dev"), "{error}");
        }
    }
    // The one mechanism that takes neither.
    let parameters =
        plain.clone().with("sasl.mechanism", "PLAIN").with("security.protocol", "SASL_PLAINTEXT");
    KafkaSource::new(parameters, KafkaTopics::subscribe(["orders"])).create(Instance::ONLY).unwrap();
    // Nor do the codecs.
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let sink = KafkaSink::new(KafkaParameters::new("a:9092").with("compression.type", codec));
        SinkFactory::<Rows<KafkaMessage>>::create(&sink.to_topic("orders"), Instance::ONLY).unwrap();
    }
}

#[cfg(feature = "kafka-tls")]
mod with_tls {
    use super::kafka_sink_support::{WRITER, committer, handle, numbered, outbox, start, unique, write};
    use super::kafka_support::{Driver, PATIENCE, numbers, values};
    use lotic_connectors::kafka::{
        KafkaMessage, KafkaOffsets, KafkaParameters, KafkaSink, KafkaSource, KafkaTopics,
    };
    use lotic_connectors::testing::kafka::{Listener, Security, TestBroker};
    use lotic_connectors::{ConnectorError, ErrorKind, Offsets};
    use lotic_operators::{Epoch, Instance};
    use std::fs;
    use std::path::Path;
    use std::sync::OnceLock;
    use std::time::Duration;

    const USER: &str = "alice";
    const PASSWORD: &str = "correct-horse";
    const WRONG_PASSWORD: &str = "hunter2";
    /// How long a start waits for brokers that do not answer.
    const WAIT: Duration = Duration::from_secs(2);

    fn broker() -> Option<&'static TestBroker> {
        static SHARED: OnceLock<Option<TestBroker>> = OnceLock::new();
        let security = Security { users: &[(USER, PASSWORD)], tls: true, authorizer: false };
        SHARED.get_or_init(|| TestBroker::start_secured(&security)).as_ref()
    }

    fn path(path: &Path) -> String {
        path.to_str().unwrap().to_owned()
    }

    /// With TLS, to this listener.
    fn tls(broker: &TestBroker, listener: Listener) -> KafkaParameters {
        KafkaParameters::new(broker.listener(listener))
            .with("security.protocol", "SSL")
            .with("ssl.ca.location", path(&broker.certificates().authority))
    }

    /// With the certificate of the client.
    fn mutual(broker: &TestBroker) -> KafkaParameters {
        let certificates = broker.certificates();
        tls(broker, Listener::MutualSsl)
            .with("ssl.keystore.location", path(&certificates.client_keystore))
            .with("ssl.keystore.password", certificates.password)
    }

    /// With a user and a password, to a listener with TLS.
    fn sasl(broker: &TestBroker, mechanism: &str, password: &str) -> KafkaParameters {
        tls(broker, Listener::SaslSsl)
            .with("security.protocol", "SASL_SSL")
            .with("sasl.mechanism", mechanism)
            .with("sasl.username", USER)
            .with("sasl.password", password)
    }

    fn source(parameters: &KafkaParameters, topic: &str) -> KafkaSource {
        KafkaSource::new(parameters.clone(), KafkaTopics::subscribe([topic]))
            .named("orders")
            .starting_offsets(KafkaOffsets::Earliest)
            .connect_wait_max(WAIT)
    }

    fn sink(parameters: &KafkaParameters, topic: &str) -> KafkaSink {
        KafkaSink::new(parameters.clone()).named("totals").to_topic(topic).connect_wait_max(WAIT)
    }

    fn exactly_once(parameters: &KafkaParameters, topic: &str) -> KafkaSink {
        let sink = sink(parameters, topic).exactly_once().commit_wait_max(WAIT);
        sink.epochs_topic(unique("epochs")).transactional_id_prefix(unique("ids"))
    }

    fn deliver(sink: &KafkaSink, messages: Vec<KafkaMessage>) {
        let mut instance = start(sink).unwrap();
        write(&mut *instance, messages).unwrap();
        handle(&mut *instance, 1).unwrap();
    }

    fn read(parameters: &KafkaParameters, topic: &str, count: usize) -> Vec<String> {
        values(&Driver::start(&source(parameters, topic), &Offsets::default()).read(count))
    }

    #[test]
    fn reads_and_writes_at_least_once_and_exactly_once() {
        let Some(broker) = broker() else { return };
        for (name, parameters) in [
            ("ssl", tls(broker, Listener::Ssl)),
            ("mutual", mutual(broker)),
            ("plain", sasl(broker, "PLAIN", PASSWORD)),
            ("scram", sasl(broker, "SCRAM-SHA-256", PASSWORD)),
        ] {
            let topic = broker.topic(name, 1);
            deliver(&sink(&parameters, &topic), numbered(0..10));
            let sink = exactly_once(&parameters, &topic);
            let outbox = outbox(&sink, 1, 10..20);
            let mut committer = committer(&sink, WRITER);
            assert_eq!(committer.last_committed().unwrap(), Epoch::NONE, "{name}");
            committer.commit(Epoch(1), &[&outbox]).unwrap();
            let expected: Vec<String> = (0..20).map(|number: u64| number.to_string()).collect();
            assert_eq!(read(&parameters, &topic, 20), expected, "{name}");
        }
    }

    #[test]
    fn a_broker_that_is_lost_and_comes_back_loses_nothing() {
        let security = Security { users: &[(USER, PASSWORD)], tls: true, authorizer: false };
        let Some(broker) = TestBroker::start_secured(&security) else { return };
        let parameters = sasl(&broker, "SCRAM-SHA-256", PASSWORD);
        let topic = broker.topic("survivor", 1);
        let mut driver = Driver::start(&source(&parameters, &topic), &Offsets::default());
        let sink = exactly_once(&parameters, &topic).commit_wait_max(PATIENCE);
        let mut committer = committer(&sink, WRITER);
        for epoch in 1..=3 {
            let outbox = outbox(&sink, epoch, epoch * 10..epoch * 10 + 10);
            committer.commit(Epoch(epoch), &[&outbox]).unwrap();
            let expected: Vec<String> = numbers(epoch * 10..epoch * 10 + 10).collect();
            assert_eq!(values(&driver.read(10)), expected);
            broker.kill();
            assert!(driver.try_poll(10, None).is_ok());
            broker.restart();
        }
    }

    /// The codec of the first batch that the broker has stored of a topic.
    fn stored_codec(broker: &TestBroker, topic: &str) -> &'static str {
        let log = broker.log().unwrap();
        let segment = log.with_file_name(format!("logs/{topic}-0/00000000000000000000.log"));
        // The lowest bits of the attributes of a batch.
        ["none", "gzip", "snappy", "lz4", "zstd"][usize::from(fs::read(segment).unwrap()[22] & 7)]
    }

    #[test]
    fn every_codec_goes_both_ways_between_librdkafka_and_java() {
        let Some(broker) = broker() else { return };
        let parameters = sasl(broker, "SCRAM-SHA-256", PASSWORD);
        let text = |codec: &str| format!("{codec}, ").repeat(200);
        for codec in ["gzip", "snappy", "lz4", "zstd"] {
            let messages = || (0..50).map(|_| KafkaMessage::new(text(codec))).collect::<Vec<_>>();
            let compressing = parameters.clone().with("compression.type", codec).with("linger.ms", "50");
            for (stored, written_by, expected) in [
                // The broker keeps what the sink compressed, or has to undo it, or compresses itself.
                ("producer", &compressing, codec),
                ("uncompressed", &compressing, "none"),
                (codec, &parameters, codec),
            ] {
                let topic = unique(codec);
                broker.create_topic(&topic, 1, &[("compression.type", stored)]);
                deliver(&sink(written_by, &topic), messages());
                assert_eq!(stored_codec(broker, &topic), expected, "{codec}, stored as {stored}");
                assert_eq!(read(&parameters, &topic, 50), vec![text(codec); 50], "{codec}, {stored}");
            }
        }
    }

    /// What source and sinks say that cannot connect.
    fn errors(parameters: &KafkaParameters) -> [ConnectorError; 3] {
        let exactly_once = exactly_once(parameters, "orders");
        [
            Driver::start_instance(&source(parameters, "orders"), Instance::ONLY, &Offsets::default())
                .err()
                .unwrap(),
            start(&sink(parameters, "orders")).err().unwrap(),
            committer(&exactly_once, WRITER).last_committed().unwrap_err(),
        ]
    }

    #[test]
    fn what_does_not_fit_the_brokers_is_said_with_the_option_to_set() {
        let Some(broker) = broker() else { return };
        let certificates = broker.certificates();
        let plaintext = |parameters: KafkaParameters| parameters.with("security.protocol", "PLAINTEXT");
        for (what, parameters, option, kind) in [
            (
                "another authority",
                tls(broker, Listener::Ssl).with("ssl.ca.location", path(&certificates.other_authority)),
                "`kafka.ssl.ca.location`",
                ErrorKind::User,
            ),
            (
                "a password that is wrong",
                sasl(broker, "SCRAM-SHA-256", WRONG_PASSWORD),
                "`kafka.sasl.password`",
                ErrorKind::User,
            ),
            (
                "another that is wrong",
                sasl(broker, "PLAIN", WRONG_PASSWORD),
                "`kafka.sasl.password`",
                ErrorKind::User,
            ),
            (
                "a mechanism that the brokers do not have",
                sasl(broker, "SCRAM-SHA-512", PASSWORD),
                "`kafka.sasl.mechanism`",
                ErrorKind::User,
            ),
            (
                "no certificate where one is needed",
                tls(broker, Listener::MutualSsl),
                "`kafka.ssl.keystore.location`",
                ErrorKind::User,
            ),
            (
                "no TLS at a listener with TLS",
                plaintext(tls(broker, Listener::Ssl)),
                "`kafka.security.protocol`",
                ErrorKind::External,
            ),
            (
                "no SASL at a listener with SASL",
                tls(broker, Listener::SaslSsl),
                "`kafka.security.protocol`",
                ErrorKind::External,
            ),
            (
                "TLS at a listener without",
                tls(broker, Listener::Ssl).with("bootstrap.servers", broker.bootstrap()),
                "`kafka.security.protocol`",
                ErrorKind::External,
            ),
        ] {
            for error in errors(&parameters) {
                assert_eq!(error.kind(), kind, "{what}: {error}");
                let error = error.to_string();
                assert!(error.contains(parameters.bootstrap_servers()), "{what}: {error}");
                assert!(error.contains(option), "{what}: {error}");
                for secret in [PASSWORD, WRONG_PASSWORD, certificates.password] {
                    assert!(!error.contains(secret), "{what}: {error}");
                }
            }
        }
    }

    #[test]
    fn files_that_are_not_there_or_not_opened_by_the_password_are_said_without_it() {
        let Some(broker) = broker() else { return };
        let keystore = path(&broker.certificates().client_keystore);
        for (parameters, option) in [
            (tls(broker, Listener::Ssl).with("ssl.ca.location", "no-such.pem"), "ssl.ca.location"),
            (mutual(broker).with("ssl.keystore.password", WRONG_PASSWORD), "ssl.keystore.location"),
            (
                tls(broker, Listener::MutualSsl)
                    .with("ssl.key.location", &*keystore)
                    .with("ssl.key.password", WRONG_PASSWORD),
                "ssl.key.location",
            ),
            (mutual(broker).with("ssl.keystore.location", "no-such.p12"), "ssl.keystore.location"),
        ] {
            for error in errors(&parameters) {
                assert_eq!(error.kind(), ErrorKind::User, "{error}");
                let error = error.to_string();
                assert!(error.contains(&format!("check `kafka.{option}`")), "{error}");
                assert!(!error.contains(WRONG_PASSWORD), "{error}");
            }
        }
    }
}
