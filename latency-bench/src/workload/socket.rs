//! `socket`: the way in from outside. Another process sends lines over loopback; the engine's socket source
//! reads them, a map parses them, a callback takes them.
//!
//! The two processes share the system's clock ([`Timebase::shareable`]); the sender writes a record's intended
//! and actual send time into its line.

use super::lotic::LoticRun;
use super::{Engine, Load, RunConfig, RunResult, Workload};
use crate::clock::Timebase;
use crate::error::Result;
use crate::event::Event;
use crate::generator::{DueRecords, Sent, Traffic, wait_until};
use crate::options::Options;
use crate::recorder::{HIGHEST_NS, Recorder, Window, histogram};
use crate::schedule::{Pace, Share};
use lotic::connectors::SocketSource;
use lotic::operators::Rows;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZeroU64;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The hidden subcommand under which this program is the sender.
pub const SENDER: &str = "send-lines";
/// Lines written with one system call, at most.
const LINES_PER_WRITE: usize = 64;

/// Lines over loopback, from a separate process, to a callback.
#[derive(Debug)]
pub(super) struct Socket;

impl Workload for Socket {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn description(&self) -> &'static str {
        "lines over loopback from a separate process, parsed, to a callback"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let cases = super::side_by_side(self.name(), options).into_iter();
        cases.filter(|config| config.engine == Engine::Lotic).collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        let mut sender =
            LineSender::start(config).map_err(|error| config.failed(format!("the sender: {error}")))?;
        let run = LoticRun::new(config, Timebase::shareable(), Recorder::new(config.window()))?;
        let (probe, window) = (run.probe.clone(), config.window());
        let late = Arc::new(Mutex::new(histogram()));
        let lateness = Arc::clone(&late);
        let lines = run.session.source(SocketSource::new("127.0.0.1", sender.port));
        let query = lines.map(|line: String| parse(&line)).for_each_batch(move |rows: &mut Rows<Event>| {
            let mut late = lateness.lock().unwrap_or_else(PoisonError::into_inner);
            probe.record(|now_ns, recorder| {
                for event in rows {
                    recorder.record(now_ns, event.intended_ns, event.sent_ns);
                    if window.holds(event.intended_ns) {
                        late.saturating_record((event.sent_ns - event.intended_ns).min(HIGHEST_NS));
                    }
                }
            });
        });
        let query = run.start(query)?;
        let cpu = config.cpu_meter(&run.timebase, []);
        run.timebase.begin();
        let told = sender.go(run.timebase.began_at());
        run.await_end(&query)?;
        let records = told.and_then(|()| sender.finish());
        let records = records.map_err(|error| config.failed(format!("the sender: {error}")))?;
        let late = late.lock().unwrap_or_else(PoisonError::into_inner).clone();
        config.result(&run.timebase, Sent { records, late }, run.probe.finish(), cpu)
    }
}

/// Reads a line `key intended sent`. The lines come from this program, so that one which is something else
/// is a bug; it ends the query with its cause.
fn parse(line: &str) -> Event {
    let mut words = line.split(' ').map(str::parse::<u64>);
    match (words.next(), words.next(), words.next()) {
        (Some(Ok(key)), Some(Ok(intended_ns)), Some(Ok(sent_ns))) => Event { key, intended_ns, sent_ns },
        _ => panic!("`{line}` is not a line of the sender"),
    }
}

/// What the sender is told on its command line.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct SenderArguments {
    /// Records per second.
    #[arg(long)]
    pub rate: NonZeroU64,
    /// Records at random distances.
    #[arg(long)]
    pub poisson: bool,
    /// Number of different keys.
    #[arg(long)]
    pub keys: NonZeroU64,
    /// Seed of keys and schedule.
    #[arg(long)]
    pub seed: u64,
    /// When to end, in nanoseconds since the run began.
    #[arg(long)]
    pub until_ns: u64,
}

impl SenderArguments {
    fn words(&self) -> Vec<String> {
        let mut words = vec![
            SENDER.to_owned(),
            format!("--rate={}", self.rate),
            format!("--keys={}", self.keys),
            format!("--seed={}", self.seed),
            format!("--until-ns={}", self.until_ns),
        ];
        words.extend(self.poisson.then(|| "--poisson".to_owned()));
        words
    }
}

/// The sending process, as the measuring one sees it; ended when dropped.
struct LineSender {
    child: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl LineSender {
    fn start(config: &RunConfig) -> io::Result<LineSender> {
        let Load::PerSecond(rate) = config.load else {
            return Err(io::Error::other("it needs a rate"));
        };
        let arguments = SenderArguments {
            rate,
            poisson: config.poisson,
            keys: NonZeroU64::new(config.keys).unwrap_or(NonZeroU64::MIN),
            seed: config.seed,
            until_ns: config.window().to_ns,
        };
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments.words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
        let mut sender = LineSender { child, output: BufReader::new(output), port: 0 };
        sender.port = sender.number()? as u16;
        Ok(sender)
    }

    /// The next line of its output, a number.
    fn number(&mut self) -> io::Result<u64> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim()
            .parse()
            .map_err(|_| io::Error::other(format!("it said `{}` instead of a number", line.trim())))
    }

    /// Tells it when the run began, upon which it sends.
    fn go(&mut self, began_at: SystemTime) -> io::Result<()> {
        let began_ns = began_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut input = self.child.stdin.take().ok_or_else(|| io::Error::other("it has no input"))?;
        writeln!(input, "{began_ns}")
    }

    /// Waits for its end: the records it sent.
    fn finish(&mut self) -> io::Result<u64> {
        let records = self.number()?;
        self.child.wait()?;
        Ok(records)
    }
}

impl Drop for LineSender {
    fn drop(&mut self) {
        // It has normally ended by now; nothing more can be done if it cannot be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sending process itself: says its port, accepts one connection, reads when the run began, sends, and
/// says how many records it sent.
///
/// # Errors
/// If the connection breaks.
pub fn send_lines(arguments: &SenderArguments) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    let (mut connection, _) = listener.accept()?;
    connection.set_nodelay(true)?;
    let mut began_ns = String::new();
    io::stdin().read_line(&mut began_ns)?;
    let began_ns: u64 = began_ns.trim().parse().map_err(io::Error::other)?;
    let timebase = Timebase::shared(UNIX_EPOCH + Duration::from_nanos(began_ns));

    let per_second = arguments.rate;
    let pace = match arguments.poisson {
        true => Pace::Poisson { per_second, seed: arguments.seed },
        false => Pace::Constant { per_second },
    };
    let window = Window { from_ns: 0, to_ns: arguments.until_ns };
    let (keys, seed) = (arguments.keys.get(), arguments.seed);
    let mut due = DueRecords::new(Traffic { pace, share: Share::ALL, keys, seed, window });
    let (mut batch, mut text) = (Vec::new(), Vec::new());
    while let Some(next_ns) = due.next_ns() {
        due.take_due(wait_until(&timebase, next_ns), LINES_PER_WRITE, &mut batch);
        for event in batch.drain(..) {
            writeln!(text, "{} {} {}", event.key, event.intended_ns, event.sent_ns)?;
        }
        connection.write_all(&text)?;
        text.clear();
    }
    println!("{}", due.sent());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        assert_eq!(parse("7 100 200"), Event { key: 7, intended_ns: 100, sent_ns: 200 });
    }

    #[test]
    #[should_panic(expected = "is not a line of the sender")]
    fn anything_else_is_a_bug() {
        parse("7 100");
    }
}
