//! HdrHistogram's interval log (`.hlog`, format 1.3 with V2 compressed histograms): latency over time, for
//! HistogramLogAnalyzer and its kin. Values are nanoseconds, the maximum of a line is in milliseconds.

use super::Measured;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::time::Duration;

const NS_PER_MS: f64 = 1e6;

/// The bytes of a `.hlog` file: the runs of a configuration, told apart by the tags `run1`, `run2`, …;
/// `None` if latency over time was not kept.
#[must_use]
pub fn render(measured: &Measured) -> Option<Vec<u8>> {
    let began_at = measured.results.iter().find(|result| result.intervals.is_some())?.began_at;
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!(
            "[{}: {}, latency in ns from intended send times]",
            measured.config.name(),
            measured.config.label()
        ))
        .with_base_time(began_at)
        .with_start_time(began_at)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut bytes, &mut serializer)
        .expect("invariant: memory takes all that is written");
    for (row, result) in measured.rows.iter().zip(&measured.results) {
        let Some(intervals) = &result.intervals else { continue };
        let name = format!("run{}", row.run);
        let offset = result.began_at.duration_since(began_at).unwrap_or_default();
        for (from_ns, histogram) in intervals.iter() {
            let (start, length) =
                (Duration::from_nanos(from_ns), Duration::from_nanos(intervals.length_ns()));
            log.write_histogram(histogram, offset + start, length, Tag::new(&name))
                .expect("invariant: memory takes all that is written");
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::made_up;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn a_log_reads_back() {
        let measured = made_up::over_time();
        let bytes = render(&measured).unwrap();
        let intervals: Vec<_> = IntervalLogIterator::new(&bytes)
            .filter_map(|entry| match entry.unwrap() {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .collect();
        let kept = measured.results[0].intervals.as_ref().unwrap();
        assert_eq!(intervals.len(), kept.iter().count() * measured.results.len());
        assert_eq!(intervals[0].tag().unwrap().as_str(), "run1");
        assert_eq!(
            intervals[1].start_timestamp() - intervals[0].start_timestamp(),
            Duration::from_millis(100)
        );
        assert!(intervals[0].encoded_histogram().starts_with("HISTFAAAA"), "a V2 compressed histogram");
    }

    #[test]
    fn without_intervals_there_is_no_log() {
        assert_eq!(render(&made_up::comparison()[0]), None);
    }
}
