//! What the figures were measured on. Every report bears it, since no latency means anything without it.

use crate::clock::Timebase;
use crate::generator::{DueRecords, Traffic};
use crate::options::{Options, WaitChoice};
use crate::recorder::Window;
use crate::schedule::{Pace, Share};
use crate::workload::Epochs;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the host is watched for noise.
const PROBE: Duration = Duration::from_millis(300);
const UNKNOWN: &str = "unknown";

/// The machine, the build and the settings of a report. What cannot be found out is `unknown`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's model.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// Operating system and kernel release.
    pub kernel: String,
    /// The frequency governor.
    pub governor: String,
    /// The compiler on the path.
    pub rustc: String,
    /// The commit of the working folder, with `-dirty` if it was changed.
    pub commit: String,
    /// When the report was begun, in UTC.
    pub date: String,
    /// Latency of a thread that only polls the clock, in microseconds: what the host takes away.
    pub noise_p999_us: f64,
    /// The worst of it.
    pub noise_max_us: f64,
    /// How long each run was measured, in seconds; none if the workloads chose.
    pub duration_s: Option<f64>,
    /// Runs of each configuration.
    pub runs: u32,
    /// Instances of each stage.
    pub parallelism: usize,
    /// How actors without work waited.
    pub wait: String,
    /// The epoch interval that was asked for: `100ms`, `off`, or `default`.
    pub epoch: String,
    /// How records followed each other: `constant` or `poisson`.
    pub arrivals: String,
    /// Seed of keys and schedules.
    pub seed: u64,
}

impl Machine {
    /// Looks around, and watches the host for a fraction of a second.
    #[must_use]
    pub fn observe(options: &Options) -> Machine {
        let (noise_p999_us, noise_max_us) = noise();
        Machine {
            cpu: cpu_model(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel(),
            governor: read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            rustc: output_of("rustc", &["--version"]),
            commit: output_of("git", &["describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]),
            date: utc(SystemTime::now()),
            noise_p999_us,
            noise_max_us,
            duration_s: options.duration.map(|duration| duration.as_secs_f64()),
            runs: options.runs,
            parallelism: options.parallelism,
            wait: match options.wait {
                WaitChoice::Park => "park",
                WaitChoice::Spin => "spin",
                WaitChoice::Busy => "busy",
            }
            .to_owned(),
            epoch: match options.epochs {
                None => "default".to_owned(),
                Some(Epochs::Off) => "off".to_owned(),
                Some(Epochs::Every(length)) => format!("{}ms", length.as_millis()),
            },
            arrivals: if options.poisson { "poisson" } else { "constant" }.to_owned(),
            seed: options.seed,
        }
    }

    /// Name and value of each line, for people.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let noise = format!("p99.9 {} us, max {} us", self.noise_p999_us, self.noise_max_us);
        let length = self.duration_s.map_or(String::new(), |seconds| format!(" of {seconds} s"));
        let settings = format!(
            "{} runs{length}, {} arrivals, parallelism {}, wait {}, epoch {}, seed {}",
            self.runs, self.arrivals, self.parallelism, self.wait, self.epoch, self.seed
        );
        vec![
            ("processor", format!("{} ({} cores)", self.cpu, self.cores)),
            ("kernel", self.kernel.clone()),
            ("governor", self.governor.clone()),
            ("compiler", self.rustc.clone()),
            ("commit", self.commit.clone()),
            ("date", self.date.clone()),
            ("host noise", noise),
            ("settings", settings),
        ]
    }
}

fn read_line(path: &str) -> String {
    std::fs::read_to_string(path).map_or(UNKNOWN.to_owned(), |text| text.trim().to_owned())
}

fn cpu_model() -> String {
    let info = read_line("/proc/cpuinfo");
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    model.map_or(UNKNOWN.to_owned(), |(_, model)| model.trim().to_owned())
}

fn kernel() -> String {
    match read_line("/proc/sys/kernel/osrelease") {
        release if release == UNKNOWN => std::env::consts::OS.to_owned(),
        release => format!("{} {release} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    if text.trim().is_empty() { UNKNOWN.to_owned() } else { text.trim().to_owned() }
}

/// The lateness of a generator that does nothing but poll: p99.9 and maximum, in microseconds. Weighted by
/// time: it is the delay that a record due at any moment would have seen.
fn noise() -> (f64, f64) {
    let window = Window { from_ns: 0, to_ns: PROBE.as_nanos() as u64 };
    let per_second = NonZeroU64::new(200_000).expect("invariant: not 0");
    let pace = Pace::Constant { per_second };
    let mut due = DueRecords::new(Traffic { pace, share: Share::ALL, keys: 1, seed: 0, window });
    let timebase = Timebase::begun();
    let mut batch = Vec::new();
    while due.next_ns().is_some() {
        due.take_due(timebase.now_ns(), usize::MAX, &mut batch);
        batch.clear();
        std::hint::spin_loop();
    }
    let late = due.finish().late;
    let us = |ns: u64| (ns as f64 / 100.0).round() / 10.0;
    (us(late.value_at_quantile(0.999)), us(late.max()))
}

/// A date as `2026-01-31 23:59:59 UTC`. Days to civil date after Howard Hinnant's `civil_from_days`.
pub fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_also_around_leap_days() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(at(1_709_251_199), "2024-02-29 23:59:59 UTC");
        assert_eq!(at(1_709_251_200), "2024-03-01 00:00:00 UTC");
        assert_eq!(at(4_102_444_800), "2100-01-01 00:00:00 UTC");
    }

    #[test]
    fn the_machine_is_described_in_full_and_survives_json() {
        let machine = Machine::observe(&Options::default());
        assert!(machine.cores >= 1 && machine.noise_max_us >= machine.noise_p999_us);
        assert!(machine.lines().iter().all(|(_, value)| !value.is_empty()));
        let json = serde_json::to_string(&machine).unwrap();
        assert_eq!(serde_json::from_str::<Machine>(&json).unwrap(), machine);
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        assert_eq!(output_of("no-such-program-at-all", &[]), UNKNOWN);
        assert_eq!(read_line("/no/such/file"), UNKNOWN);
    }
}
