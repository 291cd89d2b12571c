//! Progress on standard error: a live line for each query, or one JSON object for each report.

use crate::args::ProgressMode;
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lotic::query::{QueryStarted, QueryTerminated};
use lotic::{QueryListener, QueryProgress};
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shows how far queries are. Given to the session as a listener.
#[derive(Debug)]
pub(crate) struct Progress {
    mode: ProgressMode,
    lines: MultiProgress,
    queries: Mutex<HashMap<String, Shown>>,
}

/// The line of one query.
#[derive(Debug)]
struct Shown {
    line: ProgressBar,
    since: Instant,
    rows_in: u64,
    rows_out: u64,
    late_rows: u64,
}

impl Progress {
    /// `None`: a live line if standard error is a terminal, else nothing.
    pub(crate) fn new(mode: Option<ProgressMode>) -> Arc<Progress> {
        let terminal = std::io::stderr().is_terminal();
        let mode = mode.unwrap_or(if terminal { ProgressMode::Bar } else { ProgressMode::None });
        let target = if mode == ProgressMode::Bar {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let lines = MultiProgress::with_draw_target(target);
        Arc::new(Progress { mode, lines, queries: Mutex::new(HashMap::new()) })
    }

    /// Writes something to the terminal with the live lines out of the way.
    pub(crate) fn aside<R>(&self, write: impl FnOnce() -> R) -> R {
        if self.mode == ProgressMode::Bar { self.lines.suspend(write) } else { write() }
    }

    /// A line that turns while something bounded runs; it goes away when dropped.
    pub(crate) fn working(&self, what: &str) -> Working {
        let line = self.lines.add(spinner());
        line.set_message(what.to_owned());
        if self.mode == ProgressMode::Bar {
            line.enable_steady_tick(Duration::from_millis(100));
        }
        Working(line)
    }

    /// Takes the live lines off the terminal.
    pub(crate) fn clear(&self) {
        let _ = self.lines.clear();
    }

    fn with(&self, name: &str, act: impl FnOnce(&mut Shown)) {
        if self.mode != ProgressMode::Bar {
            return;
        }
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = queries.entry(name.to_owned()).or_insert_with(|| {
            let line = self.lines.add(spinner());
            line.enable_steady_tick(Duration::from_millis(250));
            Shown { line, since: Instant::now(), rows_in: 0, rows_out: 0, late_rows: 0 }
        });
        act(shown);
    }
}

/// A line that goes away with it.
#[derive(Debug)]
pub(crate) struct Working(ProgressBar);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

impl QueryListener for Progress {
    fn on_started(&self, event: &QueryStarted) {
        self.with(&event.name, |shown| shown.line.set_message(format!("{}  starting", event.name)));
    }

    fn on_progress(&self, event: &QueryProgress) {
        if self.mode == ProgressMode::Json {
            let mut line = serde_json::to_vec(event).unwrap_or_default();
            line.push(b'\n');
            // Nobody to tell if standard error is gone.
            let _ = std::io::stderr().lock().write_all(&line);
        }
        self.with(&event.name, |shown| {
            shown.rows_in += event.rows_in;
            shown.rows_out += event.rows_out;
            shown.late_rows += event.late_rows;
            shown.line.set_message(line_of(event, shown));
        });
    }

    fn on_terminated(&self, event: &QueryTerminated) {
        self.with(&event.name, |shown| {
            let seconds = shown.since.elapsed().as_secs_f64().max(0.001);
            shown.line.finish_with_message(format!(
                "{}  {} rows in, {} rows out, {}/s",
                event.name,
                count(shown.rows_in as f64),
                count(shown.rows_out as f64),
                count(shown.rows_in as f64 / seconds)
            ));
        });
    }
}

/// What the live line says.
fn line_of(progress: &QueryProgress, shown: &Shown) -> String {
    let lags = progress.sources.iter().flat_map(|source| source.figures.values());
    let lags: Vec<f64> = lags.filter_map(|figures| figures.get("lag").copied()).collect();
    let lag = if lags.is_empty() { String::new() } else { format!("  lag {}", count(lags.iter().sum())) };
    let watermark =
        progress.event_time.as_ref().map_or(String::new(), |time| format!("  watermark {}", time.watermark));
    let late = if shown.late_rows == 0 {
        String::new()
    } else {
        format!("  late {}", count(shown.late_rows as f64))
    };
    format!(
        "{}  {} epoch {}  in {} ({}/s){lag}{watermark}{late}  out {} ({}/s)  p50 {}  p99 {}  checkpoint {} in {:.1} ms",
        progress.name,
        progress.mode,
        progress.epoch,
        count(shown.rows_in as f64),
        count(progress.rows_in_per_second),
        count(shown.rows_out as f64),
        count(progress.rows_out_per_second),
        micros(progress.latency.p50_us),
        micros(progress.latency.p99_us),
        HumanBytes(progress.checkpoint_bytes),
        progress.checkpoint_ms,
    )
}

/// A count that fits a line.
fn count(number: f64) -> String {
    match number {
        n if n < 10_000.0 => format!("{n:.0}"),
        n if n < 10_000_000.0 => format!("{:.1}k", n / 1e3),
        n => format!("{:.1}M", n / 1e6),
    }
}

/// A time in the unit that suits it.
fn micros(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_a_line() {
        assert_eq!((count(9_999.0), count(12_345.0)), ("9999".to_owned(), "12.3k".to_owned()));
        assert_eq!(count(25_000_000.0), "25.0M");
        assert_eq!((micros(12.4), micros(1_500.0)), ("12 us".to_owned(), "1.5 ms".to_owned()));
        assert_eq!(micros(2_500_000.0), "2.5 s");
    }
}
