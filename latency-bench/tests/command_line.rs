//! The program as a user runs it: short runs of every workload, its files, its exit codes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use lotic_latency_bench::report::{Report, Row};
use lotic_latency_bench::workload::WORKLOADS;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// One run at a time: each of them spins, and two would take each other's processor away.
static TURN: Mutex<()> = Mutex::new(());

fn bench(arguments: &[&str]) -> Output {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Command::new(env!("CARGO_BIN_EXE_lotic-latency-bench")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder for one test, empty.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    folder
}

/// Runs a workload once for a moment at a low rate, checks that it worked, and returns its report.
fn run(workload: &str, more: &[&str]) -> Report {
    let folder = folder(&format!("{workload}{}", more.concat()));
    let out = folder.to_str().unwrap();
    let mut arguments = vec!["--workload", workload, "--runs", "1", "--duration", "0.6", "--out", out];
    arguments.extend(more);
    let output = bench(&arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{workload}: {stdout}\n{stderr}");
    assert!(stdout.contains(workload), "{stdout}");
    assert!(folder.join("report.html").exists());
    Report::read(&folder.join("report.json")).unwrap()
}

fn paced(workload: &str, more: &[&str]) -> Report {
    let mut arguments = vec!["--rate", "1000"];
    arguments.extend(more);
    let report = run(workload, &arguments);
    let counted = |row: &&Row| row.workload != "tumbling-window" && report.machine.arrivals == "constant";
    for row in report.rows.iter().filter(counted) {
        assert_eq!(row.count, 600, "every record of the window: {row:?}");
        assert!(row.p50_us <= row.p99_us && row.p99_us <= row.max_us, "{row:?}");
    }
    report
}

#[test]
fn the_modes_stand_side_by_side() {
    for workload in ["pass-through", "keyed-count", "tumbling-window"] {
        let report = paced(workload, &[]);
        let rows: Vec<(&str, &str)> =
            report.rows.iter().map(|row| (row.engine.as_str(), row.trigger.as_str())).collect();
        let expected = [
            ("lotic", "continuous:100ms"),
            ("lotic", "processing-time:100ms"),
            ("lotic", "processing-time:0ms"),
            ("floor", "none"),
        ];
        assert_eq!(rows, expected);
        assert!(report.rows.iter().all(|row| row.count > 0), "{report:?}");
    }
}

#[test]
fn the_engine_can_poll_the_schedule_itself() {
    paced("keyed-count", &["--wait", "busy", "--epoch", "50", "--poisson"]);
    paced("pass-through", &["--wait", "park", "--epoch", "off", "--mode", "continuous"]);
}

#[test]
fn lines_come_from_another_process() {
    let report = paced("socket", &["--mode", "both"]);
    assert!(report.rows.iter().all(|row| row.engine == "lotic"));
}

#[test]
fn a_switch_is_seen_over_time() {
    paced("live-switch", &[]);
    let log = folder_file("live-switch--rate1000", "hlog");
    assert!(log.lines().filter(|line| line.starts_with("Tag=run1,")).count() >= 6, "{log}");
}

/// The contents of the only file with this extension.
fn folder_file(name: &str, extension: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|found| found == extension)).unwrap();
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn saturation_and_idle_run() {
    let saturated = run("saturation", &["--mode", "continuous"]);
    assert!(saturated.rows.iter().all(|row| row.rate.is_none() && row.throughput_per_s > 0.0));
    let idle = run("idle", &["--mode", "continuous"]);
    assert_eq!((idle.rows[0].rate, idle.rows[0].count), (Some(0), 0));
}

#[test]
fn list_names_every_workload() {
    let output = bench(&["list"]);
    let names: Vec<String> = text(&output.stdout)
        .lines()
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect();
    assert_eq!(names, WORKLOADS.iter().map(|workload| workload.name()).collect::<Vec<_>>());
}

#[test]
fn wrong_input_exits_with_2_and_says_what_would_be_right() {
    let output = bench(&["--workload", "keyed-cuont"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("keyed-count"));
    let output = bench(&["compare", "no-such-report.json", "neither.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no-such-report.json"));
}

#[test]
fn the_self_test_passes() {
    // A busy host may stall by itself for as long as the test does.
    let attempt = || bench(&["self-test"]);
    assert!((0..3).any(|_| attempt().status.success()), "{}", text(&attempt().stdout));
}
