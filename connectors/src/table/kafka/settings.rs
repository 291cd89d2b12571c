//! The options of Kafka: which there are, and what they say.

use crate::error::{ConnectorError, Result};
use crate::kafka::{
    BoundedRead, CorruptRecord, KafkaOffsets, KafkaParameters, KafkaSource, KafkaTopics, NoNewer,
    PartitionOffset,
};
use crate::limits::KAFKA_RANGES;
use crate::table::options::{OptionSpec, Options};
use std::time::Duration;

const SERVERS: OptionSpec = OptionSpec::new(
    "kafka.bootstrap.servers",
    "",
    "The brokers to ask first: `host:port`, separated by commas. Required.",
);
const PARAMETERS: OptionSpec = OptionSpec::new(
    "kafka.*",
    "",
    "Any parameter of librdkafka, such as `kafka.security.protocol`; those that the engine has to decide are \
     refused, with what to set instead.",
);
const INCLUDE_HEADERS: &str = "includeHeaders";
const CONNECT_TIMEOUT: OptionSpec =
    OptionSpec::new("connectTimeout", "10 s", "How long to wait for an answer of the brokers at the start.");

pub(super) const READ: [OptionSpec; 22] = [
    SERVERS,
    OptionSpec::new(
        "subscribe",
        "",
        "The topics, separated by commas. One of `subscribe`, `subscribePattern`, `assign`.",
    ),
    OptionSpec::new(
        "subscribePattern",
        "",
        "A regular expression that matches the whole names of the topics.",
    ),
    OptionSpec::new("assign", "", "The partitions, as JSON: `{\"orders\":[0,1]}`."),
    OptionSpec::new(
        "startingOffsets",
        "latest; earliest for a bounded read",
        "Where to begin without a checkpoint: `earliest`, `latest` (streams alone), or JSON with a place for every \
         partition, -2 for earliest and -1 for latest: `{\"orders\":{\"0\":23,\"1\":-2}}`. New partitions begin at \
         their earliest.",
    ),
    OptionSpec::new(
        "startingOffsetsByTimestamp",
        "",
        "The same by time, milliseconds since 1970: `{\"orders\":{\"0\":1700000000000}}`. Goes before \
         `startingOffsets`.",
    ),
    OptionSpec::new(
        "startingTimestamp",
        "",
        "One time for all partitions, milliseconds since 1970. Goes before `startingOffsetsByTimestamp`.",
    ),
    OptionSpec::new(
        "startingOffsetsByTimestampStrategy",
        "error",
        "Where to begin in a partition without a record as new as the time: `error` or `latest`.",
    ),
    OptionSpec::new(
        "endingOffsets",
        "latest",
        "Bounded reads: where to end, before this offset: `latest`, or JSON as for `startingOffsets`.",
    ),
    OptionSpec::new(
        "endingOffsetsByTimestamp",
        "",
        "Bounded reads: the same by time; without a record as new, the end of the partition. Goes before \
         `endingOffsets`.",
    ),
    OptionSpec::new(
        "endingTimestamp",
        "",
        "Bounded reads: one time for all partitions. Goes before `endingOffsetsByTimestamp`.",
    ),
    OptionSpec::new(
        "failOnDataLoss",
        "true",
        "Whether it is an error that records were removed before they were read; if not, there is a warning, and \
         what is there is read.",
    ),
    OptionSpec::new(
        "corruptRecords",
        "fail",
        "What to do with records whose CRC or header names are wrong: `fail`, or `skip` with a warning.",
    ),
    OptionSpec::new(INCLUDE_HEADERS, "false", "Adds the column `headers`."),
    OptionSpec::new(
        "maxOffsetsPerTrigger",
        "",
        "Streams: the most rows of a micro-batch, for each instance, shared out by what waits in each partition.",
    ),
    OptionSpec::new("metadataInterval", "30 s", "Streams: how often to look for new partitions and topics."),
    OptionSpec::new(
        "minPartitions",
        "",
        "Bounded reads: at least so many parts are read in parallel; large partitions are divided. Not for streams, \
         where each partition is read by one instance, in its order: set the parallelism of the query.",
    ),
    OptionSpec::new("maxRecordsPerPartition", "", "Bounded reads: the most offsets of one part."),
    OptionSpec::new(
        "kafkaConsumer.pollTimeoutMs",
        "120000",
        "Bounded reads: milliseconds to wait for the next records of a partition before it is an error.",
    ),
    OptionSpec::new(
        "groupIdPrefix",
        "lotic",
        "What the name of the consumer group begins with, which serves monitoring alone; the names of the query and \
         of the source in it follow. `kafka.group.id` sets \
         all of it.",
    ),
    CONNECT_TIMEOUT,
    PARAMETERS,
];

pub(super) const WRITE: [OptionSpec; 10] = [
    SERVERS,
    OptionSpec::new("topic", "", "The topic of all rows; without it the column `topic` says it for each."),
    OptionSpec::new(
        "deliveryGuarantee",
        "at-least-once",
        "`at-least-once`, visible at once; or `exactly-once`, visible when the epoch is committed, all of it \
         at once, for readers with `isolation.level=read_committed`.",
    ),
    OptionSpec::new(
        "epochsTopic",
        "lotic-epochs",
        "Exactly once: the topic that keeps which epochs are committed; made if it is missing. The same after \
         every restart.",
    ),
    OptionSpec::new(
        "transactionalIdPrefix",
        "lotic",
        "Exactly once: what the transactional ids begin with. The same after every restart.",
    ),
    OptionSpec::new(
        "maxEpochBytes",
        "256m",
        "Exactly once: the most bytes that one instance writes in one epoch, which are kept in memory and in the \
         checkpoint.",
    ),
    OptionSpec::new(
        "commitTimeout",
        "60 s",
        "Exactly once: how long a commit is tried before a warning says what is in its way; it is tried again.",
    ),
    OptionSpec::new(
        INCLUDE_HEADERS,
        "false",
        "Taken as Spark takes it, without effect: headers are written if there is a column `headers`.",
    ),
    CONNECT_TIMEOUT,
    PARAMETERS,
];

/// Options of Spark that have no place here, and why.
const SPARKS: [(&str, &str); 4] = [
    ("minOffsetsPerTrigger", "a micro-batch takes what is there: set the interval of the trigger"),
    ("maxTriggerDelay", "a micro-batch takes what is there: set the interval of the trigger"),
    ("fetchOffset.numRetries", "brokers are asked again until `connectTimeout`"),
    ("fetchOffset.retryIntervalMs", "brokers are asked again until `connectTimeout`"),
];

/// Options of bounded reads alone, and of streams alone.
const BOUNDED_ALONE: [&str; 6] = [
    "endingOffsets",
    "endingOffsetsByTimestamp",
    "endingTimestamp",
    "minPartitions",
    "maxRecordsPerPartition",
    "kafkaConsumer.pollTimeoutMs",
];
const STREAMS_ALONE: [&str; 2] = ["maxOffsetsPerTrigger", "metadataInterval"];
const EXACTLY_ONCE_ALONE: [&str; 4] =
    ["epochsTopic", "transactionalIdPrefix", "maxEpochBytes", "commitTimeout"];

/// Refuses options that there are not.
pub(super) fn check(options: &Options, known: &[OptionSpec]) -> Result<()> {
    for (name, reason) in SPARKS {
        if options.get(name).is_some() {
            return Err(ConnectorError::user(format!("format `kafka` has no option `{name}`: {reason}")));
        }
    }
    options.check("kafka", known)
}

fn refuse(options: &Options, names: &[&str], reason: &str) -> Result<()> {
    match options.iter().find(|(name, _)| names.iter().any(|other| other.eq_ignore_ascii_case(name))) {
        None => Ok(()),
        Some((name, _)) => Err(ConnectorError::user(format!("format `kafka`: option `{name}` {reason}"))),
    }
}

/// The parameters of the client.
pub(super) fn parameters(options: &Options) -> Result<KafkaParameters> {
    if options.get(SERVERS.name).is_none_or(|servers| servers.trim().is_empty()) {
        return Err(ConnectorError::user(
            "format `kafka` needs the option `kafka.bootstrap.servers`: the brokers to ask first, such as \
             `localhost:9092`",
        ));
    }
    let parameter = |(name, value): (&str, &str)| {
        let name = name.to_ascii_lowercase();
        name.strip_prefix("kafka.").map(|name| (name.to_owned(), value.to_owned()))
    };
    Ok(options.iter().filter_map(parameter).collect())
}

fn topics(options: &Options) -> Result<KafkaTopics> {
    let given = |name: &str| options.get(name).map(str::trim).filter(|value| !value.is_empty());
    match (given("subscribe"), given("subscribePattern"), given("assign")) {
        (Some(names), None, None) => Ok(KafkaTopics::parse_subscribe(names)),
        (None, Some(expression), None) => Ok(KafkaTopics::pattern(expression)),
        (None, None, Some(json)) => KafkaTopics::parse_assign(json),
        (None, None, None) => Err(ConnectorError::user(
            "format `kafka` needs one of the options `subscribe`, such as `orders`, `subscribePattern`, such as \
             `orders-.*`, and `assign`, such as `{\"orders\":[0,1]}`",
        )),
        _ => Err(ConnectorError::user(
            "format `kafka` takes only one of the options `subscribe`, `subscribePattern` and `assign`: leave the \
             others out",
        )),
    }
}

/// Where to begin or to end: by time for all, by time for each partition, by offset, in this order, as in Spark.
fn offsets(options: &Options, which: &str, no_newer: NoNewer) -> Result<Option<KafkaOffsets>> {
    let option = format!("{which}Timestamp");
    if let Some(text) = options.get(&option) {
        return KafkaOffsets::parse_timestamp(&option, text, no_newer).map(Some);
    }
    let option = format!("{which}OffsetsByTimestamp");
    if let Some(text) = options.get(&option) {
        return KafkaOffsets::parse_timestamps(&option, text, no_newer).map(Some);
    }
    let option = format!("{which}Offsets");
    options.get(&option).map(|text| KafkaOffsets::parse(&option, text)).transpose()
}

fn starting(options: &Options) -> Result<Option<KafkaOffsets>> {
    let strategy = options.parsed("startingOffsetsByTimestampStrategy", "`error` or `latest`", |value| {
        match value.to_ascii_lowercase().as_str() {
            "error" => Some(NoNewer::Fail),
            "latest" => Some(NoNewer::Latest),
            _ => None,
        }
    })?;
    offsets(options, "starting", strategy.unwrap_or_default())
}

/// Refuses a place that makes no sense at one end of a bounded read.
fn refuse_place(offsets: &KafkaOffsets, option: &str, place: PartitionOffset) -> Result<()> {
    let (name, number, instead) = match place {
        PartitionOffset::Latest => ("latest", -1, "earliest"),
        _ => ("earliest", -2, "latest"),
    };
    let everywhere = match place {
        PartitionOffset::Latest => *offsets == KafkaOffsets::Latest,
        _ => *offsets == KafkaOffsets::Earliest,
    };
    let somewhere = match offsets {
        KafkaOffsets::Partitions(topics) => {
            topics.values().flat_map(|partitions| partitions.values()).any(|given| *given == place)
        }
        _ => false,
    };
    if everywhere || somewhere {
        return Err(ConnectorError::user(format!(
            "option `{option}` of a bounded read cannot be `{name}` ({number}), since nothing would be read: set \
             `{instead}` or offsets, or read a stream with `read_stream`"
        )));
    }
    Ok(())
}

fn corrupt(options: &Options) -> Result<CorruptRecord> {
    let corrupt = options.parsed("corruptRecords", "`fail` or `skip`", |value| {
        match value.to_ascii_lowercase().as_str() {
            "fail" => Some(CorruptRecord::Fail),
            "skip" => Some(CorruptRecord::Skip),
            _ => None,
        }
    })?;
    Ok(corrupt.unwrap_or_default())
}

fn positive<T: std::str::FromStr + PartialOrd + From<u8>>(
    options: &Options,
    name: &str,
) -> Result<Option<T>> {
    let at_least_one = |value: &str| value.parse().ok().filter(|number| *number >= T::from(1));
    options.parsed(name, "a number from 1", at_least_one)
}

pub(super) fn include_headers(options: &Options) -> Result<bool> {
    options.bool(INCLUDE_HEADERS, false)
}

/// A stream.
pub(super) fn source(options: &Options) -> Result<KafkaSource> {
    check(options, &READ)?;
    refuse(
        options,
        &BOUNDED_ALONE,
        "is of bounded reads alone, since a stream has no end and its parallelism is that of the query: leave it \
         out, or use `read`",
    )?;
    let mut source = KafkaSource::new(parameters(options)?, topics(options)?)
        .fail_on_data_loss(options.bool("failOnDataLoss", true)?)
        .corrupt_records(corrupt(options)?);
    if let Some(offsets) = starting(options)? {
        source = source.starting_offsets(offsets);
    }
    if let Some(rows) = positive(options, "maxOffsetsPerTrigger")? {
        source = source.max_offsets_per_trigger(rows);
    }
    if let Some(prefix) = options.get("groupIdPrefix") {
        source = source.group_id_prefix(prefix);
    }
    if let Some(interval) = options.duration("metadataInterval")? {
        source = source.metadata_interval(interval);
    }
    if let Some(wait) = options.duration("connectTimeout")? {
        source = source.connect_wait_max(wait);
    }
    Ok(source)
}

/// A bounded read.
pub(super) fn bounded(options: &Options) -> Result<BoundedRead> {
    check(options, &READ)?;
    refuse(options, &STREAMS_ALONE, "is of streams alone: leave it out, or use `read_stream`")?;
    let starting = starting(options)?.unwrap_or(KafkaOffsets::Earliest);
    refuse_place(&starting, "startingOffsets", PartitionOffset::Latest)?;
    let ending = offsets(options, "ending", NoNewer::Latest)?.unwrap_or(KafkaOffsets::Latest);
    refuse_place(&ending, "endingOffsets", PartitionOffset::Earliest)?;
    let ranges_min =
        options.parsed("minPartitions", &format!("a number from 1 to {KAFKA_RANGES}"), |value| {
            value.parse().ok().filter(|number| (1..=KAFKA_RANGES).contains(number))
        })?;
    let read = BoundedRead {
        name: "kafka".to_owned(),
        parameters: parameters(options)?,
        topics: topics(options)?,
        starting,
        ending,
        fail_on_data_loss: options.bool("failOnDataLoss", true)?,
        corrupt: corrupt(options)?,
        group_id_prefix: options.get("groupIdPrefix").unwrap_or("lotic").to_owned(),
        connect_wait_max: options.duration("connectTimeout")?.unwrap_or(Duration::from_secs(10)),
        poll_wait_max: Duration::from_millis(
            positive(options, "kafkaConsumer.pollTimeoutMs")?.unwrap_or(120_000),
        ),
        ranges_min: ranges_min.unwrap_or(1),
        range_offsets_max: positive(options, "maxRecordsPerPartition")?.unwrap_or(u64::MAX),
    };
    read.check()?;
    Ok(read)
}

/// Whether rows are to be written exactly once.
pub(super) fn exactly_once(options: &Options) -> Result<bool> {
    let exactly = options.parsed("deliveryGuarantee", "`at-least-once` or `exactly-once`", |value| {
        match value.to_ascii_lowercase().as_str() {
            "at-least-once" => Some(false),
            "exactly-once" => Some(true),
            _ => None,
        }
    })?;
    let exactly = exactly.unwrap_or(false);
    if !exactly {
        let reason = "has no effect without `deliveryGuarantee` = `exactly-once`: set that, or leave it out";
        refuse(options, &EXACTLY_ONCE_ALONE, reason)?;
    }
    Ok(exactly)
}
