//! Made-up measurements for the tests of the reports.

use super::Measured;
use crate::environment::Machine;
use crate::options::Options;
use crate::recorder::{Recorder, Window, histogram};
use crate::workload::{Engine, Epochs, Load, Mode, RunConfig, RunResult};
use std::num::NonZeroU64;
use std::time::{Duration, UNIX_EPOCH};

pub(crate) fn machine() -> Machine {
    let name = |text: &str| text.to_owned();
    Machine {
        cpu: name("made-up processor <1>"),
        cores: 2,
        kernel: name("linux 6.0"),
        governor: name("unknown"),
        rustc: name("rustc 1.95.0"),
        commit: name("0123456789ab"),
        date: name("2026-01-01 00:00:00 UTC"),
        noise_p999_us: 12.3,
        noise_max_us: 456.7,
        duration_s: None,
        runs: 3,
        parallelism: 1,
        wait: name("spin"),
        epoch: name("default"),
        arrivals: name("constant"),
        seed: 1,
    }
}

fn config(load: Load, mode: Mode) -> RunConfig {
    Options::default().lotic("keyed-count", load, (mode, Epochs::Every(Duration::from_millis(100))))
}

/// Latencies spread evenly from `low_us` up, with a tail.
pub(crate) fn result(low_us: u64) -> RunResult {
    let mut latencies = histogram();
    for at in 1..=100_000u64 {
        latencies.record(low_us * 1000 + at * low_us / 100 + 20_000_000 / at).unwrap();
    }
    RunResult {
        from_intended: latencies.clone(),
        from_send: latencies.clone(),
        late: histogram(),
        throughput_per_s: 10_000.0,
        cpu_cores: Some(0.5),
        intervals: None,
        marks: Vec::new(),
        notes: Vec::new(),
        began_at: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    }
}

fn measured(config: RunConfig, low_us: u64) -> Measured {
    let mut measured = Measured::new(config);
    for run in 0..3 {
        measured.push(result(low_us + run));
    }
    measured
}

/// Both modes, timely and the floor at two rates.
pub(crate) fn comparison() -> Vec<Measured> {
    let mut all = Vec::new();
    for rate in [10_000, 100_000] {
        let load = Load::PerSecond(NonZeroU64::new(rate).unwrap());
        let plain = config(load, Mode::Continuous);
        all.push(measured(plain.clone(), 20));
        all.push(measured(config(load, Mode::MicroBatch), 50_000));
        all.push(measured(RunConfig { engine: Engine::Timely, ..plain.clone() }, 5));
        all.push(measured(RunConfig { engine: Engine::Floor, ..plain }, 1));
    }
    all
}

/// A run whose latency over time was kept.
pub(crate) fn over_time() -> Measured {
    let window = Window { from_ns: 400_000_000, to_ns: 3_400_000_000 };
    let mut recorder = Recorder::new(window).with_intervals(100_000_000);
    for at in (window.from_ns..window.to_ns).step_by(1_000_000) {
        let late = if (1_400_000_000..2_400_000_000).contains(&at) { 60_000_000 } else { 20_000 };
        recorder.record(at + late + at % 7_000, at, at);
    }
    let load = Load::PerSecond(NonZeroU64::new(1000).unwrap());
    let seen = recorder.finish();
    let mut measured = Measured::new(RunConfig { workload: "live-switch", ..config(load, Mode::Continuous) });
    measured.push(RunResult {
        from_intended: seen.from_intended,
        from_send: seen.from_send,
        intervals: seen.intervals,
        marks: vec![
            (1_400_000_000, "switch to micro-batch".to_owned()),
            (2_400_000_000, "switch to continuous".to_owned()),
        ],
        notes: vec!["0 lost, 0 twice, 0 out of order".to_owned()],
        ..result(1)
    });
    measured
}

/// A run without records.
pub(crate) fn idle() -> Measured {
    let mut measured = Measured::new(config(Load::Idle, Mode::Continuous));
    measured.push(RunResult { from_intended: histogram(), from_send: histogram(), ..result(1) });
    measured
}
