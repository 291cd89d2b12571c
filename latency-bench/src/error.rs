//! What can go wrong in the benchmark.

use std::path::{Path, PathBuf};
use thiserror::Error;

/// An error of the benchmark. [`Error::exit_code`] tells whose fault it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for makes no sense; the message names the way out.
    #[error("{0}")]
    Input(String),
    /// A file could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// There is no broker to measure over, or it does not do what it is asked.
    #[error("the broker {bootstrap}: {cause}")]
    Broker {
        /// Its address.
        bootstrap: String,
        /// What happened, and what to do.
        cause: String,
    },
    /// A run failed.
    #[error("{workload} on {engine}: {cause}")]
    Run {
        /// The workload that was running.
        workload: String,
        /// The engine it was running on.
        engine: String,
        /// What happened.
        cause: String,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    }

    /// The exit code of the process: 2 if the input is wrong, 1 if a run failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input(_) => 2,
            Error::File { action: "read", .. } => 2,
            Error::File { .. } | Error::Broker { .. } | Error::Run { .. } => 1,
        }
    }
}

/// The result of a call that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;
