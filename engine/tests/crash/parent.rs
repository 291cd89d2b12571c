//! The parent's side: starts children, kills them, reads what they have written.

use crate::child::{CHILD, KEYS, Settings};
use lotic::kill_point::{KILL_POINT, SEGMENT_BYTES};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A child that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// When a child dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    /// It runs to the end.
    Never,
    /// SIGKILL from outside, so many commits and then so many microseconds after its start.
    Outside { commits: u64, delay_us: u64 },
    /// By itself, when it reaches a point for the n-th time.
    Point { point: &'static str, nth: u64 },
}

impl std::fmt::Display for Kill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kill::Never => f.write_str("never"),
            Kill::Outside { commits, delay_us } => write!(f, "outside, {commits} commits + {delay_us} us"),
            Kill::Point { point, nth } => write!(f, "{point}:{nth}"),
        }
    }
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// All input was processed.
    Finished,
    Killed,
    /// The query said no: what it wrote to stderr.
    Failed(String),
}

/// What became of a child.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    /// The newest epoch that it said it had committed.
    pub(crate) epoch: u64,
}

/// Runs a child; an error is something that must never happen.
pub(crate) fn run(settings: &Settings, kill: Kill, segment_bytes: Option<u64>) -> Result<Outcome, String> {
    let stderr = settings.folder.join("stderr");
    let mut child = spawn(settings, kill, segment_bytes, &stderr);
    let lines = lines_of(&mut child);
    let mut outcome = Outcome { end: End::Killed, epoch: 0 };
    let mut commits = 0;
    loop {
        if matches!(kill, Kill::Outside { commits: enough, .. } if commits >= enough) {
            break;
        }
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                if let Some(epoch) = line.strip_prefix("committed ") {
                    outcome.epoch =
                        outcome.epoch.max(epoch.parse().map_err(|_| format!("child said: {line}"))?);
                    commits += 1;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the child hangs: no commit for {PATIENCE:?}"));
            }
        }
    }
    if let Kill::Outside { delay_us, .. } = kill {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(delay_us) {
            std::hint::spin_loop();
        }
        child.kill().map_err(|error| format!("kill: {error}"))?;
    }
    let status = child.wait().map_err(|error| format!("wait: {error}"))?;
    outcome.end = end_of(status, kill, &stderr)?;
    Ok(outcome)
}

fn end_of(status: ExitStatus, kill: Kill, stderr: &Path) -> Result<End, String> {
    let said = || fs::read_to_string(stderr).unwrap_or_default();
    match (status.code(), status.signal(), kill) {
        (Some(0), ..) => Ok(End::Finished),
        (_, Some(9), Kill::Outside { .. }) | (_, Some(6), Kill::Point { .. }) => Ok(End::Killed),
        (Some(101), ..) => Ok(End::Failed(said())),
        _ => Err(format!("the child ended with {status}: {}", said())),
    }
}

fn spawn(settings: &Settings, kill: Kill, segment_bytes: Option<u64>, stderr: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child", "--exact", "--nocapture", "--test-threads", "1"])
        .env(CHILD, serde_json::to_string(settings).unwrap())
        .env_remove(KILL_POINT)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(stderr).unwrap());
    if let Kill::Point { point, nth } = kill {
        command.env(KILL_POINT, format!("{point}:{nth}"));
    }
    if let Some(bytes) = segment_bytes {
        command.env(SEGMENT_BYTES, bytes.to_string());
    }
    command.spawn().unwrap()
}

/// The lines of a child's stdout, until it ends.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (put, lines) = mpsc::channel();
    let read = move || {
        for line in stdout.lines().map_while(Result::ok) {
            if put.send(line).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new().spawn(read).unwrap();
    lines
}

/// The files that a reader of the output sees, in the order of epochs, and those that nobody should see.
fn files(output: &Path) -> (Vec<String>, Vec<String>) {
    let mut names: Vec<String> = fs::read_dir(output)
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names.into_iter().partition(|name| !name.starts_with('.'))
}

/// The output so far must be, for each key, the counts 1, 2, 3, … in order: no gap, no repetition. Returns
/// how far each key has come.
pub(crate) fn counts(settings: &Settings) -> Result<BTreeMap<u64, u64>, String> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for name in files(&settings.output()).0 {
        let text =
            fs::read_to_string(settings.output().join(&name)).map_err(|error| format!("{name}: {error}"))?;
        for (number, line) in text.lines().enumerate() {
            let parsed: (u64, u64) =
                serde_json::from_str(line).map_err(|error| format!("{name}: {error}"))?;
            let (key, count) = parsed;
            let held = counts.entry(key).or_insert(0);
            if count != *held + 1 {
                let what = if count <= *held { "DUPLICATED" } else { "LOST" };
                return Err(format!(
                    "{what}: line {} of {name}: key {key} counts {count} after {held}",
                    number + 1
                ));
            }
            *held = count;
        }
    }
    Ok(counts)
}

/// The output must be that of an uninterrupted run.
pub(crate) fn check_complete(settings: &Settings) -> Result<(), String> {
    let expected: BTreeMap<u64, u64> =
        (0..KEYS).map(|key| (key, (settings.rows - key).div_ceil(KEYS))).collect();
    let counts = counts(settings)?;
    if counts != expected {
        let missing = expected.iter().find(|(key, count)| counts.get(key) != Some(count));
        return Err(format!("LOST: the counts end too early, for example (key, rows) {missing:?}"));
    }
    let (_, hidden) = files(&settings.output());
    if hidden.is_empty() { Ok(()) } else { Err(format!("left behind in the output: {hidden:?}")) }
}
