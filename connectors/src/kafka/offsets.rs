//! Where to begin to read, and where a bounded read ends.

use crate::error::{ConnectorError, Result};
use lotic_operators::Timestamp;
use std::collections::BTreeMap;

/// For each topic, something for each of its partitions.
pub type ByPartition<T> = BTreeMap<String, BTreeMap<i32, T>>;

/// A place in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionOffset {
    /// The oldest record there is.
    Earliest,
    /// After the newest record there is.
    Latest,
    /// The record with this number.
    At(i64),
}

/// Where to begin to read, or where a bounded read ends.
///
/// Holds for a query that starts for the first time: later the checkpoint says where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KafkaOffsets {
    /// The oldest record of each partition.
    Earliest,
    /// After the newest record of each partition when the query starts.
    #[default]
    Latest,
    /// A place for every partition: none may be left out.
    Partitions(ByPartition<PartitionOffset>),
    /// The first record of each partition that is as new as this.
    Timestamp(Timestamp, NoNewer),
    /// As [`KafkaOffsets::Timestamp`], with a time for every partition: none may be left out.
    Timestamps(ByPartition<Timestamp>, NoNewer),
}

/// Where to begin in a partition that has no record as new as the time asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NoNewer {
    /// Nowhere: it is an error that names the partition.
    #[default]
    Fail,
    /// After its newest record.
    Latest,
}

impl KafkaOffsets {
    /// Reads the option `startingOffsets` or `endingOffsets` as Spark has it: `earliest`, `latest`, or JSON such
    /// as `{"orders":{"0":23,"1":-1}}`, where -2 is earliest and -1 latest.
    ///
    /// # Errors
    /// If it is none of these; the message names the option.
    pub fn parse(option: &str, text: &str) -> Result<KafkaOffsets> {
        match text.trim().to_ascii_lowercase().as_str() {
            "earliest" => return Ok(KafkaOffsets::Earliest),
            "latest" => return Ok(KafkaOffsets::Latest),
            _ => {}
        }
        let places = by_partition::<i64>(option, text)?;
        let place = |number: i64| match number {
            -2 => Ok(PartitionOffset::Earliest),
            -1 => Ok(PartitionOffset::Latest),
            0.. => Ok(PartitionOffset::At(number)),
            _ => Err(malformed(option, text, "an offset is at least 0, -1 for latest or -2 for earliest")),
        };
        Ok(KafkaOffsets::Partitions(map_partitions(places, place)?))
    }

    /// Reads the option `startingTimestamp` or `endingTimestamp`: milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// If it is not a number; the message names the option.
    pub fn parse_timestamp(option: &str, text: &str, no_newer: NoNewer) -> Result<KafkaOffsets> {
        let millis =
            text.trim().parse().map_err(|_| malformed(option, text, "give milliseconds since 1970"))?;
        Ok(KafkaOffsets::Timestamp(Timestamp::from_millis(millis), no_newer))
    }

    /// Reads the option `startingOffsetsByTimestamp` or `endingOffsetsByTimestamp`: JSON such as
    /// `{"orders":{"0":1700000000000}}`, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// If it is not; the message names the option.
    pub fn parse_timestamps(option: &str, text: &str, no_newer: NoNewer) -> Result<KafkaOffsets> {
        let times = by_partition::<i64>(option, text)?;
        let times = map_partitions(times, |millis| Ok(Timestamp::from_millis(millis)))?;
        Ok(KafkaOffsets::Timestamps(times, no_newer))
    }
}

/// Reads JSON that has something for each partition.
fn by_partition<T: serde::de::DeserializeOwned>(option: &str, text: &str) -> Result<ByPartition<T>> {
    let shape = "give `earliest`, `latest`, or JSON such as {\"topic\":{\"0\":23,\"1\":-1}}";
    serde_json::from_str(text).map_err(|error| malformed(option, text, &format!("{error}; {shape}")))
}

fn map_partitions<T, U>(from: ByPartition<T>, map: impl Fn(T) -> Result<U>) -> Result<ByPartition<U>> {
    let topic = |partitions: BTreeMap<i32, T>| -> Result<BTreeMap<i32, U>> {
        partitions.into_iter().map(|(partition, value)| Ok((partition, map(value)?))).collect()
    };
    from.into_iter().map(|(name, partitions)| Ok((name, topic(partitions)?))).collect()
}

fn malformed(option: &str, text: &str, reason: &str) -> ConnectorError {
    ConnectorError::user(format!("option `{option}` is `{text}`: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_spark_reads() {
        assert_eq!(KafkaOffsets::parse("startingOffsets", " Earliest").unwrap(), KafkaOffsets::Earliest);
        let parsed = KafkaOffsets::parse("startingOffsets", r#"{"a":{"0":23,"1":-2,"2":-1}}"#).unwrap();
        let places = [PartitionOffset::At(23), PartitionOffset::Earliest, PartitionOffset::Latest];
        let expected = BTreeMap::from([("a".to_owned(), (0..).zip(places).collect())]);
        assert_eq!(parsed, KafkaOffsets::Partitions(expected));
        let parsed = KafkaOffsets::parse_timestamp("startingTimestamp", "1500", NoNewer::Latest).unwrap();
        assert_eq!(parsed, KafkaOffsets::Timestamp(Timestamp(1_500_000), NoNewer::Latest));
    }

    #[test]
    fn names_the_option_that_is_wrong() {
        for text in ["newest", r#"{"a":1}"#, r#"{"a":{"x":1}}"#, r#"{"a":{"0":-3}}"#] {
            let error = KafkaOffsets::parse("startingOffsets", text).unwrap_err().to_string();
            assert!(error.contains("option `startingOffsets`"), "{error}");
        }
    }
}
