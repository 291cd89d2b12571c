//! The first program of the structured-streaming notes: lines from a socket to the console.
//!
//! ```text
//! nc -lk 9999                                                # in one terminal: type lines here
//! cargo run -p lotic --example notes_socket_to_console       # in another: localhost 9999, or HOST PORT
//! ```
//! As there:
//!
//! ```python
//! lines = spark.readStream.format("socket").option("host", "localhost").option("port", 9999).load()
//! lines.writeStream.format("console").start()
//! ```
//! Each line is printed as soon as it is there, since a stream is written in continuous mode unless a trigger
//! says otherwise. The program ends with the connection, or with Ctrl-C, and exits with 0.

#[path = "support/program.rs"]
mod program;

use lotic::Session;
use program::{end, stop_at_ctrl_c};
use std::error::Error;
use std::process::ExitCode;

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let host = arguments.next().unwrap_or_else(|| "localhost".to_owned());
    let port = arguments.next().unwrap_or_else(|| "9999".to_owned());

    let session = Session::builder().app_name("notes").get_or_create()?;
    let lines =
        session.read_stream().format("socket").option("host", &*host).option("port", &*port).load()?;
    let query = lines.write_stream().format("console").start()?;
    stop_at_ctrl_c(query.clone())?;
    eprintln!("connected to {host}:{port}: type lines there; Ctrl-C stops");
    Ok(query.await_termination()?)
}

fn main() -> ExitCode {
    end(run())
}
