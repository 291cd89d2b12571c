//! The command line of Lotic: statements in, rows out.
//!
//! Results alone go to standard output; messages, logs and progress to standard error. Exit status: 0 done or
//! stopped in order, 1 the query failed, 2 the input is wrong, 130 or 143 a signal ended it at once.
//!
//! | room | what it holds |
//! |---|---|
//! | `args` | the command line |
//! | `script` | statements with their places in the file |
//! | `settings` | `--set` |
//! | `run`, `streams` | running statements; the queries that run until they are stopped |
//! | `tell` | `explain` and `describe` |
//! | `rows`, `output` | rows as text, and standard output as a sink |
//! | `progress`, `signals`, `events` | what happens beside |
//! | `checkpoints`, `formats` | the commands of that name |
//! | `fault` | errors as they are shown |

mod args;
mod checkpoints;
mod events;
mod fault;
mod formats;
mod output;
mod progress;
mod rows;
mod run;
mod script;
mod secrets;
mod settings;
mod signals;
mod streams;
mod tell;

use args::{Cli, Command, LogLevel};
use clap::{CommandFactory, Parser};
use fault::Fault;
use script::Script;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.log);
    let done = match &cli.command {
        Command::Run { file, options } => Script::read(file).and_then(|script| run::run(&script, options)),
        Command::Sql { statements, options } => {
            run::run(&Script::new("statement", statements.as_str()), options)
        }
        Command::Explain { file } => Script::read(file).and_then(|script| tell::explain(&script)),
        Command::Describe { file, table } => {
            Script::read(file).and_then(|script| tell::describe(&script, table))
        }
        Command::Formats { format } => formats::run(format.as_deref()).map(|text| print(text.as_bytes(), 0)),
        Command::Checkpoint(command) => {
            checkpoints::run(command).map(|(text, status)| print(text.as_bytes(), status))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "lotic", &mut script);
            Ok(print(&script, 0))
        }
    };
    done.unwrap_or_else(|fault| {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        // Nobody to tell if standard error is gone.
        let _ = writeln!(std::io::stderr(), "{}", fault.render(colours));
        ExitCode::from(fault.status)
    })
}

/// Prints a text whose reader may have gone.
fn print(text: &[u8], status: u8) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let _ = writeln!(std::io::stderr(), "error: standard output cannot be written: {error}");
            ExitCode::from(fault::FAILED)
        }
        _ => ExitCode::from(status),
    }
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
}

impl From<lotic::connectors::ConnectorError> for Fault {
    fn from(error: lotic::connectors::ConnectorError) -> Fault {
        Fault::from(lotic::Error::from(error))
    }
}
