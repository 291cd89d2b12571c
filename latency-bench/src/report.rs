//! What is reported: one row for each run, tables and plots for each configuration.
//!
//! | module | what it writes |
//! |---|---|
//! | [`table`] | the table on stdout: medians of the runs, their spread, ratios |
//! | [`percentiles`] | `.hgrm` files, HdrHistogram's percentile distribution |
//! | [`intervals`] | `.hlog` files, HdrHistogram's interval log |
//! | [`page`], [`chart`] | one HTML page with the plots |

pub mod chart;
pub mod intervals;
#[cfg(test)]
pub(crate) mod made_up;
pub mod page;
pub mod percentiles;
pub mod table;

use crate::environment::Machine;
use crate::error::{Error, Result};
use crate::recorder::histogram;
use crate::stats::Spread;
use crate::workload::{RunConfig, RunResult};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One run, as a report file holds it. Latencies are in microseconds, from intended send times unless the
/// name says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Who did the work.
    pub engine: String,
    /// The workload, with its variety if it has several.
    pub workload: String,
    /// `continuous` or `micro-batch`.
    pub mode: String,
    /// What begins an epoch, as `continuous:100ms`; `none` for an engine without.
    pub trigger: String,
    /// `at-least-once` or `exactly-once`; none where the workload does not compare that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// Records per second offered; 0 if idle, none if saturated.
    pub rate: Option<u64>,
    /// The number of the run, from 1.
    pub run: u32,
    /// Records measured.
    pub count: u64,
    /// Half of the records were faster.
    pub p50_us: f64,
    /// Nine in ten were faster.
    pub p90_us: f64,
    /// 99 % were faster.
    pub p99_us: f64,
    /// 99.9 % were faster.
    pub p999_us: f64,
    /// 99.99 % were faster.
    pub p9999_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// What a closed loop would call the 99th percentile.
    pub from_send_p99_us: f64,
    /// The generator's own lateness: the instrument's error.
    pub generator_late_p99_us: f64,
    /// Records per second at the sink.
    pub throughput_per_s: f64,
    /// Processors in use, without the generator's own thread; none where the kernel does not say.
    pub cpu_cores: Option<f64>,
}

impl Row {
    /// The row of a run.
    pub fn new(config: &RunConfig, run: u32, result: &RunResult) -> Row {
        let at = |quantile| micros(result.from_intended.value_at_quantile(quantile));
        Row {
            engine: config.engine.to_string(),
            workload: config.name(),
            mode: config.mode.to_string(),
            trigger: config.trigger(),
            delivery: config.delivery.map(|delivery| delivery.to_string()),
            rate: config.load.rate(),
            run,
            count: result.from_intended.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: micros(result.from_intended.max()),
            from_send_p99_us: micros(result.from_send.value_at_quantile(0.99)),
            generator_late_p99_us: micros(result.late.value_at_quantile(0.99)),
            throughput_per_s: result.throughput_per_s.round(),
            cpu_cores: result.cpu_cores.map(|cores| (cores * 10_000.0).round() / 10_000.0),
        }
    }
}

/// Nanoseconds as microseconds.
pub fn micros(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

/// A report file: `{"machine":{…},"rows":[{…}]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: Machine,
    /// One row for each run.
    pub rows: Vec<Row>,
}

impl Report {
    /// Reads a report file.
    ///
    /// # Errors
    /// If it cannot be read or is none.
    pub fn read(path: &Path) -> Result<Report> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Input(format!("`{}` is not a report: {error}", path.display())))
    }

    /// Writes a report file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("invariant: a report has nothing JSON has not");
        write_file(path, (text + "\n").as_bytes())
    }
}

/// Writes a file, and the folders above it if need be.
///
/// # Errors
/// If that cannot be done.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    }
    std::fs::write(path, bytes).map_err(Error::file("write", path))
}

/// All runs of one configuration.
#[derive(Debug)]
pub struct Measured {
    /// The configuration.
    pub config: RunConfig,
    /// One row for each run.
    pub rows: Vec<Row>,
    /// What each run returned, in the same order.
    pub results: Vec<RunResult>,
}

impl Measured {
    /// No runs yet.
    pub fn new(config: RunConfig) -> Measured {
        Measured { config, rows: Vec::new(), results: Vec::new() }
    }

    /// Adds a run.
    pub fn push(&mut self, result: RunResult) {
        let run = u32::try_from(self.rows.len() + 1).unwrap_or(u32::MAX);
        self.rows.push(Row::new(&self.config, run, &result));
        self.results.push(result);
    }

    /// Median and spread of a figure over the runs; `None` before the first.
    pub fn spread(&self, figure: impl Fn(&Row) -> f64) -> Option<Spread> {
        Spread::of(self.rows.iter().map(figure))
    }

    /// The latencies of all runs together, from intended times.
    pub fn merged(&self) -> Histogram<u64> {
        let mut merged = histogram();
        for result in &self.results {
            merged.add(&result.from_intended).expect("invariant: all runs have the same bounds");
        }
        merged
    }

    /// What to call this configuration's files: `keyed-count.lotic.continuous-100ms.10000`.
    pub fn file_stem(&self) -> String {
        let load = match self.config.load.rate() {
            Some(rate) => rate.to_string(),
            None => "saturated".to_owned(),
        };
        let mut parts = vec![self.config.name(), self.config.engine.to_string()];
        if self.config.trigger() != "none" {
            parts.push(self.config.trigger());
        }
        parts.extend(self.config.delivery.map(|delivery| delivery.to_string()));
        parts.push(load);
        parts.join(".").replace([':', '/', ' '], "-")
    }
}

/// Writes everything there is about a set of measurements into a folder: `report.json`, `report.html`, and
/// for each configuration a `.hgrm` and, where latency over time was kept, a `.hlog`.
///
/// # Errors
/// If something cannot be written.
pub fn write_folder(folder: &Path, report: &Report, measured: &[Measured]) -> Result<()> {
    report.write(&folder.join("report.json"))?;
    write_file(&folder.join("report.html"), page::render(&report.machine, measured).as_bytes())?;
    for one in measured {
        let stem = one.file_stem();
        if !one.merged().is_empty() {
            write_file(&folder.join(format!("{stem}.hgrm")), percentiles::render(&one.merged()).as_bytes())?;
        }
        if let Some(log) = intervals::render(one) {
            write_file(&folder.join(format!("{stem}.hlog")), &log)?;
        }
    }
    Ok(())
}
