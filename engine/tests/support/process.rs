//! Children: starts them, kills them, says how they ended.

use lotic::kill_point::{KILL_POINT, SEGMENT_BYTES};
use serde::Serialize;
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

/// What a child is told: it finds itself as JSON in an environment variable, and runs if that is there.
pub(crate) trait Told: Serialize {
    /// The environment variable that makes the test binary a child.
    const CHILD: &'static str;

    /// What belongs to this child and its successors; its stderr goes there.
    fn folder(&self) -> &Path;
}

/// What a parent does while a child runs: `feed` is called after each commit, and after each `quiet` without.
pub(crate) struct Meanwhile<'a> {
    pub(crate) quiet: Duration,
    pub(crate) feed: &'a mut dyn FnMut(),
}

/// Runs a child; an error is something that must never happen.
pub(crate) fn run<S: Told>(
    settings: &S,
    kill: Kill,
    segment_bytes: Option<u64>,
    meanwhile: Option<Meanwhile<'_>>,
) -> Result<Outcome, String> {
    let stderr = settings.folder().join("stderr");
    let mut child = spawn(settings, kill, segment_bytes, &stderr);
    // Kept to the end, so that the child can always say something.
    let lines = lines_of(&mut child);
    let heard = listen(&lines, &mut child, kill, meanwhile)?;
    if matches!(kill, Kill::Outside { .. }) {
        child.kill().map_err(|error| format!("kill: {error}"))?;
    }
    let status = child.wait().map_err(|error| format!("wait: {error}"))?;
    Ok(Outcome { end: end_of(status, kill, &stderr)?, epoch: heard })
}

/// Listens until the child has ended or is to be killed; the newest epoch it said it had committed.
fn listen(
    lines: &Receiver<String>,
    child: &mut Child,
    kill: Kill,
    meanwhile: Option<Meanwhile<'_>>,
) -> Result<u64, String> {
    let mut nothing = || {};
    let (quiet, feed): (Duration, &mut dyn FnMut()) = match meanwhile {
        Some(Meanwhile { quiet, feed }) => (quiet, &mut *feed),
        None => (PATIENCE, &mut nothing),
    };
    let (mut newest, mut commits, mut last_heard) = (0, 0, Instant::now());
    let mut deadline: Option<Instant> = None;
    loop {
        if let Kill::Outside { commits: enough, delay_us } = kill
            && commits >= enough
        {
            deadline.get_or_insert_with(|| Instant::now() + Duration::from_micros(delay_us));
        }
        let left = deadline.map_or(quiet, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(newest);
        }
        match lines.recv_timeout(quiet.min(left)) {
            Ok(line) => {
                last_heard = Instant::now();
                if let Some(epoch) = line.strip_prefix("committed ") {
                    newest = newest.max(epoch.parse().map_err(|_| format!("child said: {line}"))?);
                    commits += 1;
                    feed();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(newest),
            Err(RecvTimeoutError::Timeout) if last_heard.elapsed() < PATIENCE => feed(),
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("the child hangs: no commit for {PATIENCE:?}"));
            }
        }
    }
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

fn spawn<S: Told>(settings: &S, kill: Kill, segment_bytes: Option<u64>, stderr: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child", "--exact", "--nocapture", "--test-threads", "1"])
        .env(S::CHILD, serde_json::to_string(settings).unwrap())
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
