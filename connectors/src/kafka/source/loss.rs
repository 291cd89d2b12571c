//! Records that were removed before they were read.

use super::super::complaints::Complaining;
use super::super::topics::{Lookup, TopicPartition};
use super::Settings;
use crate::error::{ConnectorError, Result};
use rdkafka::consumer::{Consumer, ConsumerContext};
use std::collections::{BTreeMap, BTreeSet};

/// A partition that cannot be read at the offset asked for.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) partition: TopicPartition,
    asked: i64,
    pub(super) earliest: i64,
    end: i64,
}

/// The partitions whose next offset lies outside of what the brokers have.
pub(super) fn find<C: ConsumerContext + Complaining>(
    lookup: &Lookup<'_, C>,
    next: &BTreeMap<TopicPartition, i64>,
) -> Result<Vec<Lost>> {
    let partitions: BTreeSet<TopicPartition> = next.keys().cloned().collect();
    let earliest = lookup.earliest(&partitions)?;
    let ends = lookup.latest(&partitions)?;
    let mut found = Vec::new();
    for (partition, asked) in next {
        let (Some(earliest), Some(end)) = (earliest.get(partition), ends.get(partition)) else { continue };
        let mut end = *end;
        if *asked > end {
            // The end may be that of committed records alone.
            let TopicPartition { topic, partition } = partition;
            let marks = lookup.consumer.fetch_watermarks(topic, *partition, lookup.wait_max);
            end = marks.map_or(end, |(_, high)| high);
        }
        if asked < earliest || *asked > end {
            found.push(Lost { partition: partition.clone(), asked: *asked, earliest: *earliest, end });
        }
    }
    Ok(found)
}

/// Ends the query, or warns and counts, as the option says.
pub(super) fn report(settings: &Settings, lost: &Lost) -> Result<()> {
    let Lost { partition: TopicPartition { topic, partition }, asked, earliest, end } = lost;
    let brokers = settings.parameters.bootstrap_servers();
    if settings.fail_on_data_loss {
        return Err(ConnectorError::user(format!(
            "{}: topic `{topic}`, partition {partition}: offset {asked} is to be read, but the brokers ({brokers}) \
             have {earliest} up to {end}: records were removed before they were read, or the topic was made \
             anew; to go on with the oldest record set `failOnDataLoss` to false, and lengthen the retention \
             of the topic",
            settings.connector()
        )));
    }
    let source = &settings.name;
    tracing::warn!(source, %topic, partition, asked, earliest, end, "unread records are gone: going on with the oldest");
    settings.gauges.count_data_loss();
    Ok(())
}

/// The same for a partition of the checkpoint that is not there any more.
pub(super) fn gone(settings: &Settings, name: &str) -> Result<()> {
    if settings.fail_on_data_loss {
        return Err(ConnectorError::user(format!(
            "{}: the checkpoint has partition `{name}`, which is not read any more: the topic was deleted, or the \
             options name other topics; to go on without it set `failOnDataLoss` to false",
            settings.connector()
        )));
    }
    tracing::warn!(
        source = settings.name,
        partition = name,
        "a partition of the checkpoint is not there any more"
    );
    settings.gauges.count_data_loss();
    Ok(())
}
