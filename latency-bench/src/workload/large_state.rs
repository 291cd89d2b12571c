//! `large-state`: what state costs in memory, and how long a restart takes that has to bring it back.

use super::{Engine, Epochs, Load, Mode, RunConfig, RunResult, Workload};
use crate::clock::Timebase;
use crate::error::Result;
use crate::event::splitmix;
use crate::generator::Sent;
use crate::options::Options;
use crate::recorder::{Recorder, histogram};
use lotic::operators::{Rows, Value};
use lotic::{Ingress, Query, Session, StreamingQuery, Trigger};
use serde::{Deserialize, Serialize};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// State of this many keys, each seen once.
const KEYS: u64 = 10_000_000;
const MEMORY: &str = "memory";
const RECOVERY: &str = "recovery-1gb";
/// The epochs in which the large state is written.
const EPOCH: Duration = Duration::from_secs(1);
/// How long a restart may take.
const PATIENCE: Duration = Duration::from_secs(300);
const MB: f64 = 1e6;

/// Ten million keys: in memory with a count each, and with 100 bytes each over a restart.
#[derive(Debug)]
pub(super) struct LargeState;

impl Workload for LargeState {
    fn name(&self) -> &'static str {
        "large-state"
    }

    fn description(&self) -> &'static str {
        "10,000,000 keys: bytes in memory for each; 1 GB of state: from the start of a query to its first result"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let case = |variety, epochs| {
            let config = options.lotic(self.name(), Load::Saturated, (Mode::Continuous, epochs));
            RunConfig { variety, keys: KEYS, ..config }
        };
        vec![case(MEMORY, Epochs::Off), case(RECOVERY, Epochs::Every(EPOCH))]
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        if config.engine != Engine::Lotic {
            return Err(config.failed("there is no such program for this engine"));
        }
        let timebase = Timebase::begun();
        let cpu = config.cpu_meter(&timebase, []);
        let (note, keys_per_s) =
            if config.variety == MEMORY { in_memory(config)? } else { recovered(config)? };
        let sent = Sent { records: 0, late: histogram() };
        let result = config.result(&timebase, sent, Recorder::new(config.window()).finish(), cpu)?;
        Ok(RunResult { throughput_per_s: keys_per_s, cpu_cores: None, notes: vec![note], ..result })
    }
}

/// State of 100 bytes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Padded {
    count: u32,
    padding: [[u8; 32]; 3],
}

/// How often a key was seen.
trait Counted: Value + Default {
    fn count(&mut self) -> u64;
}

impl Counted for u64 {
    fn count(&mut self) -> u64 {
        *self += 1;
        *self
    }
}

impl Counted for Padded {
    fn count(&mut self) -> u64 {
        self.count += 1;
        u64::from(self.count)
    }
}

/// A query that counts keys by state of type `S`, what feeds it, and the sums of the counts that it emits.
struct Keyed {
    session: Session,
    query: Query,
    input: Ingress<u64>,
    sums: Receiver<u64>,
}

impl Keyed {
    fn new<S: Counted>(config: &RunConfig) -> Result<Keyed> {
        let builder = Session::builder().app_name("large-state").workers(config.parallelism);
        let session = builder.parallelism(config.parallelism).get_or_create();
        let session = session.map_err(|error| config.failed(error.to_string()))?;
        let (keys, input) = session.ingress("keys");
        let (put, sums) = channel();
        let counts = keys.key_by(|key| *key).map_with_state(|state: &mut S, _| state.count());
        let query = counts.for_each_batch(move |rows: &mut Rows<u64>| {
            // At the end nobody listens any more.
            let _ = put.send(rows.sum::<u64>());
        });
        Ok(Keyed { session, query, input, sums })
    }
}

/// Sends each key once and waits until all have been counted. Returns the keys per second.
fn fill(
    config: &RunConfig,
    input: &Ingress<u64>,
    sums: &Receiver<u64>,
    query: &StreamingQuery,
) -> Result<f64> {
    let began = Instant::now();
    for key in 0..config.keys {
        input.push(splitmix(key)).map_err(|error| config.failed(error.to_string()))?;
    }
    await_counts(config, query, sums, config.keys)?;
    Ok(config.keys as f64 / began.elapsed().as_secs_f64())
}

/// Waits until the counts emitted add up to `sum`.
fn await_counts(config: &RunConfig, query: &StreamingQuery, sums: &Receiver<u64>, sum: u64) -> Result<()> {
    let mut seen = 0;
    while seen < sum {
        seen += sums.recv_timeout(PATIENCE).map_err(|_| match query.exception() {
            Some(error) => config.failed(error.to_string()),
            None => config.failed(format!("no results within {} s", PATIENCE.as_secs())),
        })?;
    }
    Ok(())
}

/// State alone, without checkpoints.
fn in_memory(config: &RunConfig) -> Result<(String, f64)> {
    let failed = |error: lotic::Error| config.failed(error.to_string());
    let keyed = Keyed::new::<u64>(config)?;
    let query = keyed.query.start(Trigger::Continuous(Duration::from_secs(3600))).map_err(failed)?;
    let before = resident_bytes(config)?;
    let keys_per_s = fill(config, &keyed.input, &keyed.sums, &query)?;
    let bytes = resident_bytes(config)?.saturating_sub(before);
    drop(keyed.input);
    query.stop().map_err(failed)?;
    let note = format!(
        "{} keys of 8 bytes with a count of 8 bytes: {:.1} bytes resident for each",
        config.keys,
        bytes as f64 / config.keys as f64
    );
    Ok((note, keys_per_s))
}

/// Fills the state with checkpoints on, stops, starts again, and sends one key more.
fn recovered(config: &RunConfig) -> Result<(String, f64)> {
    let failed = |error: lotic::Error| config.failed(error.to_string());
    let folder = std::env::temp_dir().join(format!("lotic-large-state-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let trigger = Trigger::Continuous(EPOCH);
    let first = Keyed::new::<Padded>(config)?;
    let query = first.query.checkpoint_location(&folder).start(trigger).map_err(failed)?;
    let keys_per_s = fill(config, &first.input, &first.sums, &query)?;
    drop(first.input);
    query.stop().map_err(failed)?;
    drop((query, first.session));
    let stored = stored_bytes(&folder).map_err(|error| config.failed(error.to_string()))?;

    let second = Keyed::new::<Padded>(config)?;
    let began = Instant::now();
    let query = second.query.checkpoint_location(&folder).start(trigger).map_err(failed)?;
    second.input.push(splitmix(0)).map_err(|error| config.failed(error.to_string()))?;
    // The key was seen once before.
    await_counts(config, &query, &second.sums, 2)?;
    let seconds = began.elapsed().as_secs_f64();
    drop(second.input);
    query.stop().map_err(failed)?;
    let _ = std::fs::remove_dir_all(&folder);
    let note = format!(
        "{:.0} MB of checkpoint files, {} keys: {seconds:.2} s from the start of the query to its first result",
        stored as f64 / MB,
        config.keys
    );
    Ok((note, keys_per_s))
}

fn stored_bytes(folder: &std::path::Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// The memory of this process that is in use.
fn resident_bytes(config: &RunConfig) -> Result<u64> {
    let read =
        std::fs::read_to_string("/proc/self/status").map_err(|error| config.failed(error.to_string()))?;
    let line = read.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|kb| kb.trim().parse::<u64>().ok());
    kilobytes.map(|kb| kb * 1024).ok_or_else(|| config.failed("`/proc/self/status` has no VmRSS"))
}
