//! Crash consistency: whatever kills the process, whenever, the output is that of an uninterrupted run.
//!
//! The parent runs this same binary as a child ([`child`]: rate source, keyed count, file sink), kills it,
//! starts it again with another parallelism and mode, and so on until the input is processed; then it reads
//! the output. Kills come from outside (SIGKILL after a random number of commits) and from within, at every
//! point of [`lotic::kill_point::POINTS`].
//!
//! `LOTIC_CRASH_KILLS=200 cargo test -p lotic --test crash -- --nocapture` kills 200 times; the default is
//! 30. `LOTIC_CRASH_SEED` replays the choices of a run; the instant of a SIGKILL cannot be replayed.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod campaign;
mod child;
mod damage;
mod in_process;
mod parent;
mod random;

/// Not a test by itself: what a parent runs as its child.
#[test]
fn child() {
    if let Ok(settings) = std::env::var(child::CHILD) {
        child::run(&serde_json::from_str(&settings).unwrap());
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: write a whole number")))
}

/// The seed given, or a new one.
fn seed() -> u64 {
    let now = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64 % 1_000_000_007);
    variable("LOTIC_CRASH_SEED").unwrap_or_else(now)
}

/// Keeps the folder and says how to see the failure again.
fn fail(test: &str, seed: u64, folder: tempfile::TempDir, problem: &str) -> ! {
    let kills =
        variable("LOTIC_CRASH_KILLS").map_or(String::new(), |kills| format!("LOTIC_CRASH_KILLS={kills} "));
    panic!(
        "{problem}\nseed {seed}; folder {}\nreplay: {kills}LOTIC_CRASH_SEED={seed} cargo test -p lotic --test crash \
         {test} -- --nocapture",
        folder.keep().display()
    );
}
