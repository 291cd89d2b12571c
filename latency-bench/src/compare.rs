//! `compare A.json B.json`: what changed between two reports, and whether it can be told from noise.

use crate::report::table::{grouped, microseconds, times};
use crate::report::{Report, Row};
use crate::stats::Spread;
use std::fmt;

/// What is compared, and whether more is better.
const FIGURES: &[(&str, bool, fn(&Row) -> f64)] = &[
    ("p50", false, |row| row.p50_us),
    ("p99", false, |row| row.p99_us),
    ("p99.9", false, |row| row.p999_us),
    ("records/s", true, |row| row.throughput_per_s),
];

/// What runs must have in common to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    engine: String,
    workload: String,
    mode: String,
    trigger: String,
    delivery: Option<String>,
    rate: Option<u64>,
}

impl Key {
    fn of(row: &Row) -> Key {
        Key {
            engine: row.engine.clone(),
            workload: row.workload.clone(),
            mode: row.mode.clone(),
            trigger: row.trigger.clone(),
            delivery: row.delivery.clone(),
            rate: row.rate,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.workload, self.engine, self.mode)?;
        if self.trigger != "none" {
            write!(f, " {}", self.trigger)?;
        }
        if let Some(delivery) = &self.delivery {
            write!(f, " {delivery}")?;
        }
        match self.rate {
            Some(rate) => write!(f, " {}/s", grouped(rate)),
            None => f.write_str(" saturated"),
        }
    }
}

/// What can be said of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every run of the second report is better than every run of the first.
    Better,
    /// Every run of the second report is worse than every run of the first.
    Worse,
    /// The runs of the two reports overlap.
    Unclear,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Unclear => "unclear",
        })
    }
}

/// One figure of one configuration in both reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The configuration, in words.
    pub what: String,
    /// The figure.
    pub figure: &'static str,
    /// Its runs in the first report.
    pub before: Spread,
    /// Its runs in the second report.
    pub after: Spread,
    /// What can be said.
    pub verdict: Verdict,
}

impl Change {
    /// The second median by the first; none if the first is 0.
    pub fn ratio(&self) -> Option<f64> {
        (self.before.median > 0.0).then(|| self.after.median / self.before.median)
    }
}

/// Two reports side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What both reports have.
    pub changes: Vec<Change>,
    /// Configurations that only one of them has, and differences of the machines.
    pub remarks: Vec<String>,
}

/// Compares all configurations that both reports have.
#[must_use]
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let mut comparison = Comparison { changes: Vec::new(), remarks: machine_remarks(before, after) };
    let (old, new) = (groups(before), groups(after));
    for (key, rows) in &old {
        match new.iter().find(|(other, _)| other == key) {
            Some((_, others)) => comparison.changes.extend(changes(key, rows, others)),
            None => comparison.remarks.push(format!("only the first report has {key}")),
        }
    }
    for (key, _) in new.iter().filter(|(key, _)| !old.iter().any(|(other, _)| other == key)) {
        comparison.remarks.push(format!("only the second report has {key}"));
    }
    comparison
}

fn groups(report: &Report) -> Vec<(Key, Vec<&Row>)> {
    let mut groups: Vec<(Key, Vec<&Row>)> = Vec::new();
    for row in &report.rows {
        let key = Key::of(row);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    groups
}

fn changes(key: &Key, before: &[&Row], after: &[&Row]) -> Vec<Change> {
    let of = |rows: &[&Row], figure: fn(&Row) -> f64| Spread::of(rows.iter().map(|row| figure(row)));
    FIGURES
        .iter()
        .filter_map(|&(name, more_is_better, figure)| {
            let (before, after) = (of(before, figure)?, of(after, figure)?);
            let verdict = verdict(before, after, more_is_better);
            Some(Change { what: key.to_string(), figure: name, before, after, verdict })
        })
        .filter(|change| change.before.max > 0.0 || change.after.max > 0.0)
        .collect()
}

fn verdict(before: Spread, after: Spread, more_is_better: bool) -> Verdict {
    if before.overlaps(&after) {
        Verdict::Unclear
    } else if (after.median > before.median) == more_is_better {
        Verdict::Better
    } else {
        Verdict::Worse
    }
}

fn machine_remarks(before: &Report, after: &Report) -> Vec<String> {
    let settings = |report: &Report| report.machine.lines();
    settings(before)
        .into_iter()
        .zip(settings(after))
        .filter(|((name, old), (_, new))| !matches!(*name, "date" | "commit" | "host noise") && old != new)
        .map(|((name, old), (_, new))| format!("{name} differs: {old} -> {new}"))
        .collect()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for change in &self.changes {
            if last != Some(&change.what) {
                writeln!(f, "{}", change.what)?;
                last = Some(&change.what);
            }
            let unit = if change.figure == "records/s" { "" } else { "us" };
            let side = |spread: &Spread| {
                let show =
                    |value: f64| if unit.is_empty() { grouped(value as u64) } else { microseconds(value) };
                format!("{} {unit} [{}-{}]", show(spread.median), show(spread.min), show(spread.max))
            };
            let ratio = change.ratio().map_or("-".to_owned(), |ratio| format!("x {}", times(ratio)));
            writeln!(
                f,
                "  {:<9}  {:>34}  ->  {:>34}  {ratio:>8}  {}",
                change.figure,
                side(&change.before),
                side(&change.after),
                change.verdict
            )?;
        }
        for remark in &self.remarks {
            writeln!(f, "note: {remark}")?;
        }
        let count = |verdict| self.changes.iter().filter(|change| change.verdict == verdict).count();
        let (better, worse) = (count(Verdict::Better), count(Verdict::Worse));
        write!(f, "{better} better, {worse} worse, {} unclear", count(Verdict::Unclear))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::made_up;

    fn report(p99s: &[f64], throughput: f64) -> Report {
        let mut rows = Vec::new();
        for (run, &p99_us) in p99s.iter().enumerate() {
            let mut row = made_up::comparison()[0].rows[0].clone();
            row.run = run as u32 + 1;
            row.p99_us = p99_us;
            row.throughput_per_s = throughput + run as f64;
            rows.push(row);
        }
        Report { machine: made_up::machine(), rows }
    }

    fn verdict_of(comparison: &Comparison, figure: &str) -> Verdict {
        comparison.changes.iter().find(|change| change.figure == figure).unwrap().verdict
    }

    #[test]
    fn a_verdict_needs_runs_that_do_not_overlap() {
        let before = report(&[30.0, 40.0, 35.0], 1000.0);
        let better = compare(&before, &report(&[20.0, 10.0, 29.9], 2000.0));
        assert_eq!(verdict_of(&better, "p99"), Verdict::Better);
        assert_eq!(verdict_of(&better, "records/s"), Verdict::Better, "more records are better");
        assert_eq!(verdict_of(&better, "p50"), Verdict::Unclear, "the same runs");
        assert!((better.changes[1].ratio().unwrap() - 20.0 / 35.0).abs() < 1e-9, "medians are compared");
        let unclear = compare(&before, &report(&[10.0, 10.0, 31.0], 1002.0));
        assert_eq!(verdict_of(&unclear, "p99"), Verdict::Unclear);
        assert_eq!(verdict_of(&unclear, "records/s"), Verdict::Unclear);
        let worse = compare(&before, &report(&[41.0, 90.0], 10.0));
        assert_eq!(verdict_of(&worse, "p99"), Verdict::Worse);
        assert_eq!(verdict_of(&worse, "records/s"), Verdict::Worse);
        assert!(worse.to_string().ends_with("0 better, 2 worse, 2 unclear"), "{worse}");
    }

    #[test]
    fn only_like_is_compared_with_like() {
        let before = report(&[30.0], 1000.0);
        let mut after = report(&[30.0], 1000.0);
        after.rows[0].rate = Some(77);
        after.machine.cpu = "another".to_owned();
        let comparison = compare(&before, &after);
        assert!(comparison.changes.is_empty());
        let text = comparison.to_string();
        for wanted in ["only the first report has", "only the second report has", "77/s", "processor differs"]
        {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }

    #[test]
    fn an_idle_run_compares_nothing_it_has_not() {
        let mut before = report(&[0.0], 0.0);
        let row = &mut before.rows[0];
        (row.p50_us, row.p999_us, row.rate) = (0.0, 0.0, Some(0));
        row.throughput_per_s = 0.0;
        assert!(compare(&before, &before.clone()).changes.is_empty());
    }
}
