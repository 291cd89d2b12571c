//! What a running query reports.

use super::event_time::EventTimeProgress;
use super::trigger::Mode;
use crate::runtime::metrics::ActorMetrics;
use hdrhistogram::Histogram;
use lotic_connectors::Figures;
use lotic_operators::{Epoch, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Percentiles of a latency, in microseconds, since the report before. Counted once for each batch, for its
/// oldest row, from its ingest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Default)]
pub struct Latency {
    /// Batches counted.
    pub count: u64,
    /// The median.
    pub p50_us: f64,
    /// 99 % are below.
    pub p99_us: f64,
    /// 99.9 % are below.
    pub p999_us: f64,
    /// The largest.
    pub max_us: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u32>) -> Latency {
        if histogram.is_empty() {
            return Latency::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Latency {
            count: histogram.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1000.0,
        }
    }
}

/// One instance of a source, operator or sink since the report before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatorProgress {
    /// Its stable id and instance: `aggregate[0]`.
    pub name: String,
    /// Rows taken in.
    pub rows_in: u64,
    /// Rows passed on.
    pub rows_out: u64,
    /// Rows dropped because the watermark had passed them.
    #[serde(rename = "numRowsDroppedByWatermark")]
    pub late_rows: u64,
    /// Entries of keyed state held at the end of the epoch: keys, groups, open windows of keys, rows held for a join.
    #[serde(rename = "numRowsTotal")]
    pub state_rows: u64,
    /// Those of them that were written, or removed, in the epochs since the report before.
    #[serde(rename = "numRowsUpdated")]
    pub state_rows_updated: u64,
    /// Share of the time in which it could not go on because what follows was full, from 0 to 1.
    pub back_pressure: f64,
    /// Event time reached at its input, microseconds since the Unix epoch; none before the first watermark.
    pub watermark_us: Option<i64>,
    /// What the watermark waits for: the partition `source/partition` where it is made of rows, the input
    /// (stable id and instance) where several meet. None if nothing does, or if there is no choice.
    pub watermark_held_back_by: Option<String>,
    /// From ingest to here.
    pub latency: Latency,
}

/// Where a source stood at the end of the epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceProgress {
    /// Its stable id and instance.
    pub name: String,
    /// Next row by partition.
    pub offsets: BTreeMap<String, u64>,
    /// What the source says of each partition, by name: of Kafka how far it is behind, what was fetched ahead,
    /// what was committed.
    pub figures: Figures,
}

/// What a query has done since the report before, ending with an epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueryProgress {
    /// The query's id, the same over restarts.
    pub id: String,
    /// The query's name.
    pub name: String,
    /// Wall time, microseconds since the Unix epoch.
    pub timestamp_us: i64,
    /// The epoch that was committed.
    pub epoch: Epoch,
    /// The mode it ran in.
    pub mode: Mode,
    /// Time since the report before, milliseconds.
    pub interval_ms: f64,
    /// Rows that entered.
    pub rows_in: u64,
    /// Rows that reached a sink.
    pub rows_out: u64,
    /// Rows that entered, by second.
    pub rows_in_per_second: f64,
    /// Rows that reached a sink, by second.
    pub rows_out_per_second: f64,
    /// From the opening of the epoch to its commit, milliseconds.
    pub epoch_ms: f64,
    /// From the last acknowledgement to durable, milliseconds.
    pub checkpoint_ms: f64,
    /// Bytes of the checkpoint.
    pub checkpoint_bytes: u64,
    /// How far event time has come; none before the first watermark, and after the end of the input.
    #[serde(rename = "eventTime", skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTimeProgress>,
    /// Rows dropped because the watermark had passed them, by all operators.
    #[serde(rename = "numRowsDroppedByWatermark")]
    pub late_rows: u64,
    /// From ingest to written by a sink.
    pub latency: Latency,
    /// Every source.
    pub sources: Vec<SourceProgress>,
    /// Every source, operator and sink.
    pub operators: Vec<OperatorProgress>,
}

/// What an epoch took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EpochFigures {
    pub(crate) opened_ns: u64,
    pub(crate) persist_ns: u64,
    pub(crate) durable_ns: u64,
    pub(crate) bytes: u64,
}

/// Turns counters into reports.
pub(crate) struct Reporter {
    actors: Vec<Counted>,
    last_ns: u64,
}

struct Counted {
    metrics: Arc<ActorMetrics>,
    is_source: bool,
    is_sink: bool,
    rows_in: u64,
    rows_out: u64,
    late_rows: u64,
    state_rows_updated: u64,
    blocked_ns: u64,
}

/// What identifies a report.
pub(crate) struct ReportHead {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) epoch: Epoch,
    pub(crate) mode: Mode,
    pub(crate) time: Timestamp,
    pub(crate) now_ns: u64,
    pub(crate) figures: EpochFigures,
    pub(crate) sources: Vec<SourceProgress>,
}

impl Reporter {
    /// `actors`: counters, whether a source, whether a sink.
    pub(crate) fn new(actors: Vec<(Arc<ActorMetrics>, bool, bool)>, now_ns: u64) -> Reporter {
        let counted = |(metrics, is_source, is_sink)| Counted {
            metrics,
            is_source,
            is_sink,
            rows_in: 0,
            rows_out: 0,
            late_rows: 0,
            state_rows_updated: 0,
            blocked_ns: 0,
        };
        Reporter { actors: actors.into_iter().map(counted).collect(), last_ns: now_ns }
    }

    /// A number that grows whenever anything happened in the query.
    pub(crate) fn activity(&self) -> u64 {
        self.actors.iter().fold(0, |sum, actor| sum.wrapping_add(actor.metrics.activity()))
    }

    /// When the last report was made.
    pub(crate) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    pub(crate) fn report(&mut self, head: ReportHead) -> QueryProgress {
        let interval_ns = head.now_ns.saturating_sub(self.last_ns).max(1);
        self.last_ns = head.now_ns;
        let mut end_to_end = crate::runtime::metrics::latency_histogram();
        let (mut rows_in, mut rows_out) = (0, 0);
        let mut late_rows = 0;
        let mut watermarks = Vec::new();
        let mut operators = Vec::with_capacity(self.actors.len());
        let metrics: Vec<Arc<ActorMetrics>> =
            self.actors.iter().map(|actor| Arc::clone(&actor.metrics)).collect();
        for actor in &mut self.actors {
            let latency = actor.metrics.take_latency();
            let mut progress = actor.progress(interval_ns, Latency::of(&latency));
            if let Some(partition) = actor.metrics.held_by_partition() {
                let name = metrics.iter().find_map(|metrics| metrics.partition_name(partition));
                progress.watermark_held_back_by = name.or(progress.watermark_held_back_by);
            }
            if actor.is_source {
                rows_in += progress.rows_in;
            }
            if actor.is_sink {
                rows_out += progress.rows_out;
                watermarks.extend(progress.watermark_us);
                // Histograms of equal bounds always add up.
                let _ = end_to_end.add(&latency);
            }
            late_rows += progress.late_rows;
            operators.push(progress);
        }
        // Built from the sinks up; reported in the direction of the flow.
        operators.reverse();
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        let seconds = interval_ns as f64 / 1e9;
        QueryProgress {
            id: head.id,
            name: head.name,
            timestamp_us: head.time.0,
            epoch: head.epoch,
            mode: head.mode,
            interval_ms: interval_ns as f64 / 1e6,
            rows_in,
            rows_out,
            rows_in_per_second: rows_in as f64 / seconds,
            rows_out_per_second: rows_out as f64 / seconds,
            epoch_ms: ms(head.figures.opened_ns, head.now_ns),
            checkpoint_ms: ms(head.figures.persist_ns, head.figures.durable_ns),
            checkpoint_bytes: head.figures.bytes,
            event_time: EventTimeProgress::of(watermarks.into_iter()),
            late_rows,
            latency: Latency::of(&end_to_end),
            sources: head.sources,
            operators,
        }
    }
}

impl Counted {
    fn progress(&mut self, interval_ns: u64, latency: Latency) -> OperatorProgress {
        let metrics = &self.metrics;
        let since = |counter: &std::sync::atomic::AtomicU64, before: &mut u64| {
            let now = counter.load(Ordering::Relaxed);
            now.wrapping_sub(std::mem::replace(before, now))
        };
        let blocked = since(&metrics.blocked_ns, &mut self.blocked_ns);
        let watermark = metrics.watermark.load(Ordering::Relaxed) as i64;
        OperatorProgress {
            name: metrics.name.clone(),
            rows_in: since(&metrics.rows_in, &mut self.rows_in),
            rows_out: since(&metrics.rows_out, &mut self.rows_out),
            late_rows: since(&metrics.late_rows, &mut self.late_rows),
            state_rows: metrics.state_rows.load(Ordering::Relaxed),
            state_rows_updated: since(&metrics.state_rows_updated, &mut self.state_rows_updated),
            back_pressure: (blocked as f64 / interval_ns as f64).min(1.0),
            watermark_us: (watermark != i64::MIN).then_some(watermark),
            watermark_held_back_by: metrics.held_by_input().map(str::to_owned),
            latency,
        }
    }
}
