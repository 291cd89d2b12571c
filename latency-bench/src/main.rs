//! Measures the latency of Lotic; see the library of this package for what is measured and how.

use std::process::ExitCode;

fn main() -> ExitCode {
    lotic_latency_bench::cli::main()
}
