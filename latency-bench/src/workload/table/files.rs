//! `table-files`: throughput over bounded files, beside DataFusion's own pass over the same files.

use super::super::{Engine, Epochs, Load, Mode, RunConfig, RunResult, Workload};
use crate::clock::Timebase;
use crate::error::Result;
use crate::generator::Sent;
use crate::options::Options;
use crate::recorder::{Recorder, histogram};
use lotic::table::datafusion::execution::options::{CsvReadOptions, ParquetReadOptions};
use lotic::table::datafusion::prelude::{SessionConfig, SessionContext};
use lotic::{OutputMode, Session, Trigger};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const CSV: &str = "csv";
const PARQUET: &str = "parquet";
/// So many that starting a query is a small part of what Parquet takes.
const ROWS: u64 = 10_000_000;
const SCHEMA: &str = "key BIGINT, amount DOUBLE, name STRING";
const QUERY: &str =
    "SELECT key, count(*) AS n, sum(amount) AS total FROM t WHERE amount > 100.0 GROUP BY key";

/// Files to a keyed aggregation, in one micro-batch and as a batch of DataFusion on one thread.
#[derive(Debug)]
pub(crate) struct TableFiles;

impl Workload for TableFiles {
    fn name(&self) -> &'static str {
        "table-files"
    }

    fn description(&self) -> &'static str {
        "rows per second over 10,000,000 rows of CSV and Parquet, filtered and aggregated, beside DataFusion"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let mode = (Mode::MicroBatch, Epochs::Every(Duration::ZERO));
        let ours = options.lotic(self.name(), Load::Saturated, mode);
        let both = |variety| {
            [Engine::Lotic, Engine::DataFusion].map(|engine| RunConfig { variety, engine, ..ours.clone() })
        };
        [CSV, PARQUET].into_iter().flat_map(both).collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        let input = input(config)?.join(config.variety);
        let timebase = Timebase::begun();
        let began = Instant::now();
        let keys = match config.engine {
            Engine::DataFusion => on_datafusion(&input, config.variety).map_err(|error| error.to_string()),
            _ => on_lotic(&input, config.variety).map_err(|error| error.to_string()),
        };
        let seconds = began.elapsed().as_secs_f64();
        let keys = keys.map_err(|error| config.failed(error))?;
        if keys != config.keys {
            return Err(config.failed(format!("{keys} keys were counted, not {}", config.keys)));
        }
        let cpu = config.cpu_meter(&timebase, []);
        let sent = Sent { records: 0, late: histogram() };
        let result = config.result(&timebase, sent, Recorder::new(config.window()).finish(), cpu)?;
        Ok(RunResult { throughput_per_s: ROWS as f64 / seconds, cpu_cores: None, ..result })
    }
}

/// The rows as folders of files, written once for the process.
fn input(config: &RunConfig) -> Result<&'static Path> {
    static INPUT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = INPUT.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("lotic-latency-bench-rows-{}", std::process::id()));
        write_input(&folder, config.keys).map_err(|error| error.to_string())?;
        Ok(folder)
    });
    made.as_deref().map_err(|error| config.failed(error.clone()))
}

fn write_input(folder: &Path, keys: u64) -> lotic::Result<()> {
    let session = Session::builder().app_name("table-files").get_or_create()?;
    let rows = session.sql(&format!(
        "SELECT (value * 48271) % {keys} AS key, value * 0.5 AS amount, \
         concat('item-', CAST(value % 1000 AS STRING)) AS name FROM generate_series(1, {ROWS})"
    ))?;
    rows.write().csv(folder.join(CSV).display().to_string())?;
    rows.write().parquet(folder.join(PARQUET).display().to_string())
}

/// One micro-batch over all files. Returns the number of keys.
fn on_lotic(input: &Path, format: &str) -> lotic::Result<u64> {
    let session = Session::builder().app_name("table-files").get_or_create()?;
    let rows = session.read_stream().format(format).schema(SCHEMA);
    rows.load_path(input.display().to_string())?.create_or_replace_temp_view("t")?;
    let counts = session.sql(QUERY)?.write_stream().format("memory").option("name", "counts");
    let query = counts.output_mode(OutputMode::Complete).trigger(Trigger::AvailableNow).start()?;
    query.await_termination()?;
    Ok(session.memory_tables()?.get("counts")?.row_count() as u64)
}

/// A batch on one thread.
fn on_datafusion(input: &Path, format: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let path = input.display().to_string();
    let schema = lotic::table::parse_ddl(SCHEMA)?;
    runtime.block_on(async {
        match format {
            CSV => {
                let options = CsvReadOptions::new().has_header(false).schema(&schema);
                context.register_csv("t", path, options).await?;
            }
            _ => context.register_parquet("t", path, ParquetReadOptions::default()).await?,
        }
        let batches = context.sql(QUERY).await?.collect().await?;
        Ok(batches.iter().map(|batch| batch.num_rows() as u64).sum())
    })
}
