//! Processor use of the engine under test, told from that of the generator.
//!
//! Linux keeps the time that each thread was running, in nanoseconds, in
//! `/proc/self/task/<tid>/schedstat`. The generator spins on a thread of its own, so the time of the whole
//! process would say nothing; the threads that belong to the instrument are left out of the sum.

use crate::clock::Timebase;
use crate::recorder::Window;
use std::collections::HashMap;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

/// The kernel's number of a thread of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThreadId(u32);

/// The calling thread; `None` where the kernel does not say.
pub fn current_thread() -> Option<ThreadId> {
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok().map(ThreadId)
}

/// The threads that this process has now; none where the kernel does not say.
pub fn all_threads() -> Vec<ThreadId> {
    running_ns().unwrap_or_default().into_keys().collect()
}

/// The time each living thread of this process was running so far.
fn running_ns() -> Option<HashMap<ThreadId, u64>> {
    let mut threads = HashMap::new();
    for entry in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let id = entry.file_name().to_str()?.parse().ok().map(ThreadId)?;
        // A thread may end between the listing and the reading.
        if let Some(running) = thread_running_ns(&entry.path()) {
            threads.insert(id, running);
        }
    }
    Some(threads)
}

fn thread_running_ns(folder: &Path) -> Option<u64> {
    let line = std::fs::read_to_string(folder.join("schedstat")).ok()?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Measures how many processors' worth of time this process uses over a window, without some threads.
///
/// The two readings are made by a thread that sleeps in between. A thread that ends within the window is
/// not counted; an engine's threads live as long as its queries.
#[derive(Debug)]
pub struct CpuMeter(Option<JoinHandle<Option<f64>>>);

impl CpuMeter {
    /// Starts to measure. `excluded` are the threads of the instrument. The first reading is made a little
    /// before the window begins, so that it disturbs no record that counts.
    #[must_use]
    pub fn start(timebase: &Timebase, window: Window, excluded: Vec<ThreadId>) -> CpuMeter {
        let timebase = timebase.clone();
        let early_ns = window.from_ns.min(5_000_000);
        let body = move || {
            let mut excluded = excluded;
            excluded.extend(current_thread());
            let (before, from_ns) = sleep_and_read(&timebase, window.from_ns - early_ns)?;
            let (after, to_ns) = sleep_and_read(&timebase, window.to_ns)?;
            let used_ns: u64 = after
                .iter()
                .filter(|(id, _)| !excluded.contains(id))
                .map(|(id, running)| running.saturating_sub(before.get(id).copied().unwrap_or(0)))
                .sum();
            Some(used_ns as f64 / to_ns.saturating_sub(from_ns).max(1) as f64)
        };
        CpuMeter(std::thread::Builder::new().name("cpu-meter".to_owned()).spawn(body).ok())
    }

    /// Waits for the end of the window: processors in use on average. `None` where the kernel does not say.
    pub fn cores(self) -> Option<f64> {
        self.0?.join().ok().flatten()
    }
}

fn sleep_and_read(timebase: &Timebase, until_ns: u64) -> Option<(HashMap<ThreadId, u64>, u64)> {
    while timebase.since_begin().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_nanos(until_ns.saturating_sub(timebase.now_ns())));
    Some((running_ns()?, timebase.now_ns()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::wait_until;

    /// Spins until the window is over and tells its thread.
    fn spinner(timebase: &Timebase, until_ns: u64) -> (JoinHandle<()>, ThreadId) {
        let (tell, told) = std::sync::mpsc::channel();
        let timebase = timebase.clone();
        let thread = std::thread::spawn(move || {
            tell.send(current_thread().unwrap()).unwrap();
            while timebase.now_ns() < until_ns {
                std::hint::spin_loop();
            }
        });
        (thread, told.recv().unwrap())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_spinning_thread_is_seen_unless_it_is_left_out() {
        let timebase = Timebase::new();
        let (busy, _) = spinner(&timebase, 400_000_000);
        let (generator, id) = spinner(&timebase, 400_000_000);
        let window = Window { from_ns: 100_000_000, to_ns: 300_000_000 };
        let all = CpuMeter::start(&timebase, window, Vec::new());
        let without = CpuMeter::start(&timebase, window, vec![id]);
        timebase.begin();
        wait_until(&timebase, 400_000_000);
        let (all, without) = (all.cores().unwrap(), without.cores().unwrap());
        busy.join().unwrap();
        generator.join().unwrap();
        // Other tests of this process run beside, and the machine may have one core: only the difference
        // between the two is certain.
        assert!(without < all, "{without} of {all} cores");
        assert!(all > 0.2, "{all} cores");
    }
}
