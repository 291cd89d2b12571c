//! Counts the words of lines that come from a TCP socket: the first program of every stream engine.
//!
//! ```text
//! nc -lk 9999                                            # in one terminal: type lines here
//! cargo run -p lotic --example socket_words              # in another: localhost 9999, or HOST PORT
//! ```
//! Each word prints its running count as soon as its line is there. The program ends with the connection, or
//! with Ctrl-C: what was received is counted and printed, then it exits with 0.

#[path = "support/program.rs"]
mod program;

use lotic::connectors::{Console, SocketSource};
use lotic::{Session, Trigger};
use program::{end, stop_at_ctrl_c};
use std::error::Error;
use std::process::ExitCode;

fn words(line: String) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "localhost".to_owned());
    let port = arguments.next().unwrap_or_else(|| "9999".to_owned());
    let port: u16 =
        port.parse().map_err(|_| format!("`{port}` is not a port; usage: socket_words [HOST [PORT]]"))?;

    let session = Session::builder().app_name("socket-words").get_or_create()?;
    let query = session
        .source(SocketSource::new(&host, port))
        .flat_map(words)
        .key_by(|word| word.clone())
        .count()
        .map(|(word, count)| format!("{word}: {count}"))
        .sink(Console::display())
        .start(Trigger::continuous("1 second"))?;
    stop_at_ctrl_c(query.clone())?;
    eprintln!("connected to {host}:{port}; Ctrl-C stops");
    Ok(query.await_termination()?)
}

fn main() -> ExitCode {
    end(run())
}
