//! What the examples have in common: Ctrl-C, and errors that a person can read.

use lotic::StreamingQuery;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::mpsc::channel;

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

/// From now on Ctrl-C stops the query in order: what was received is processed and a last checkpoint written.
/// For a program that waits until the query has ended.
#[allow(dead_code, reason = "a program that ends by itself has no use for it")]
pub(crate) fn stop_at_ctrl_c(query: StreamingQuery) -> std::io::Result<()> {
    let (listening, ready) = channel();
    std::thread::Builder::new().name("ctrl-c".to_owned()).spawn(move || {
        let heard = actix_rt::Runtime::new().and_then(|runtime| {
            runtime.block_on(async {
                let mut heard = pin!(actix_rt::signal::ctrl_c());
                poll_fn(|context| {
                    let polled = heard.as_mut().poll(context);
                    // Nobody waits any more after the first time.
                    let _ = listening.send(());
                    polled
                })
                .await
            })
        });
        match heard {
            // If the query fails while it stops, whoever waits for its end says so.
            Ok(()) => drop(query.stop()),
            Err(error) => eprintln!("Ctrl-C cannot be heard: {error}"),
        }
    })?;
    // An error means that Ctrl-C cannot be heard, which the thread says.
    let _ = ready.recv();
    Ok(())
}
