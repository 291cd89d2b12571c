//! The binary as a child process: waited for by what it writes, never by time.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a run gave.
pub(crate) struct Done {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) status: i32,
}

/// A run that goes on.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lotic"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// An example, as cargo has built it beside this test.
#[allow(dead_code, reason = "for the tests of the examples")]
pub(crate) fn example(name: &str, arguments: &[&str]) -> Running {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        path.exists(),
        "the example `{name}` is not built: run `cargo test -p lotic`, or `cargo build -p lotic --examples` first"
    );
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::of(command.spawn().unwrap())
}

/// Runs to the end.
pub(crate) fn lotic(arguments: &[&str]) -> Done {
    with_input(arguments, "")
}

/// Runs to the end with this on standard input.
pub(crate) fn with_input(arguments: &[&str], input: &str) -> Done {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read may be gone already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let mut running = Running::of(child);
    let status = running.exit();
    let all = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect();
    Done { out: all(&running.lines), err: all(&running.errors), status: status.code().unwrap() }
}

fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (put, lines) = channel();
    let read = move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if put.send(line).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().spawn(read).unwrap();
    lines
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Running {
        Running::of(command(arguments).spawn().unwrap())
    }

    /// Nobody reads its standard output.
    pub(crate) fn deaf(arguments: &[&str]) -> Running {
        let mut child = command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        let errors = lines_of(child.stderr.take().unwrap());
        Running { child, lines: lines_of(std::io::empty()), errors }
    }

    pub(crate) fn of(mut child: Child) -> Running {
        let lines = lines_of(child.stdout.take().unwrap());
        let errors = lines_of(child.stderr.take().unwrap());
        Running { child, lines, errors }
    }

    /// The next line of standard output that holds this.
    pub(crate) fn line_with(&self, part: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(part) => return line,
                Ok(_) => {}
                Err(_) => {
                    let said: Vec<String> = self.errors.try_iter().collect();
                    panic!("no line with `{part}` came; standard error: {}", said.join("\n"));
                }
            }
        }
    }

    /// The connection that the command makes.
    pub(crate) fn accept(&mut self, listener: &TcpListener) -> TcpStream {
        listener.set_nonblocking(true).unwrap();
        let end = Instant::now() + DEADLINE;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    return stream;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if self.child.try_wait().unwrap().is_some() || Instant::now() > end {
                panic!("it does not connect: {}", self.rest().err);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// The next line of standard error that holds this.
    pub(crate) fn error_with(&self, part: &str) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let line = self.errors.recv_timeout(end.saturating_duration_since(Instant::now())).unwrap();
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the command does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// What is left on standard output and error after the end.
    pub(crate) fn rest(&mut self) -> Done {
        let status = self.exit();
        let all = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect();
        Done { out: all(&self.lines), err: all(&self.errors), status: status.code().unwrap_or(-1) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
