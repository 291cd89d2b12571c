//! What the examples have in common: Ctrl-C, and errors that a person can read.

use lotic::StreamingQuery;
use std::error::Error;
use std::process::ExitCode;

/// Ends a program: with its error on standard error and status 1 if there is one.
pub(crate) fn end(done: Result<(), Box<dyn Error>>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until the query has ended. Ctrl-C stops it in order: what was received is processed and a last
/// checkpoint written.
pub(crate) fn run_until_ctrl_c(query: &StreamingQuery) -> Result<(), Box<dyn Error>> {
    let stopped = query.clone();
    std::thread::Builder::new().name("ctrl-c".to_owned()).spawn(move || {
        let heard = actix_rt::Runtime::new().and_then(|runtime| runtime.block_on(actix_rt::signal::ctrl_c()));
        match heard {
            // If the query fails while it stops, whoever waits for its end says so.
            Ok(()) => drop(stopped.stop()),
            Err(error) => eprintln!("Ctrl-C cannot be heard: {error}"),
        }
    })?;
    Ok(query.await_termination()?)
}
