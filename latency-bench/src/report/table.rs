//! The table on stdout: medians of the runs of each configuration, side by side.

use super::{Measured, Row};
use crate::environment::Machine;
use crate::workload::Load;
use std::fmt::Write;

/// Heading and figure of each column.
type Column = (&'static str, fn(&Measured) -> String);

const LATENCIES: &[Column] = &[
    ("p50", |one| latency(one, |row| row.p50_us)),
    ("p90", |one| latency(one, |row| row.p90_us)),
    ("p99", |one| latency(one, |row| row.p99_us)),
    ("p99.9", |one| latency(one, |row| row.p999_us)),
    ("p99.99", |one| latency(one, |row| row.p9999_us)),
    ("max", |one| latency(one, |row| row.max_us)),
    ("p99 of the runs", p99_range),
    ("from send p99", |one| latency(one, |row| row.from_send_p99_us)),
    ("sender late p99", |one| latency(one, |row| row.generator_late_p99_us)),
];

const RATES: &[Column] = &[
    ("records/s", |one| {
        median(one, |row| row.throughput_per_s).map_or("-".to_owned(), |rate| grouped(rate as u64))
    }),
    ("CPU", |one| {
        let known = one.rows.iter().all(|row| row.cpu_cores.is_some());
        let cores = median(one, |row| row.cpu_cores.unwrap_or_default()).filter(|_| known);
        cores.map_or("-".to_owned(), |cores| format!("{cores:.3}"))
    }),
];

/// The whole text: machine, one block for each workload and load, notes.
#[must_use]
pub fn render(machine: &Machine, measured: &[Measured]) -> String {
    let mut text = String::new();
    for (name, value) in machine.lines() {
        text += &format!("{name:>10}  {value}\n");
    }
    for block in blocks(measured) {
        text.push('\n');
        text += &render_block(block);
    }
    text += "\nLatency in microseconds from the intended send time, medians of the runs. \"x\" is the ratio to the\n\
             first line of a block. CPU is in cores, without the generator's thread if it has one of its own.\n";
    text
}

/// Neighbours that belong side by side: the same workload under the same load.
pub fn blocks(measured: &[Measured]) -> impl Iterator<Item = &[Measured]> {
    measured.chunk_by(|a, b| {
        a.config.workload == b.config.workload
            && a.config.variety == b.config.variety
            && a.config.load == b.config.load
    })
}

/// What a block is about: `keyed-count, 10,000 records/s`.
pub fn heading(block: &[Measured]) -> String {
    let config = &block[0].config;
    let load = match config.load {
        Load::Idle => "idle".to_owned(),
        Load::PerSecond(rate) => format!("{} records/s", grouped(rate.get())),
        Load::Saturated => "saturated".to_owned(),
    };
    format!("{}, {load}", config.name())
}

/// The cells of a block, the first line of them headings.
pub fn cells(block: &[Measured]) -> Vec<Vec<String>> {
    let saturated = block[0].config.load == Load::Saturated;
    let columns: Vec<&Column> = LATENCIES.iter().chain(RATES).collect();
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(columns.iter().map(|(heading, _)| (*heading).to_owned()));
    lines[0].extend(
        if saturated { vec!["records/s x"] } else { vec!["p50 x", "p99 x"] }.into_iter().map(str::to_owned),
    );
    for one in block {
        let mut line = vec![one.config.label()];
        line.extend(columns.iter().map(|(_, figure)| figure(one)));
        if saturated {
            line.push(ratio(one, &block[0], |row| row.throughput_per_s));
        } else {
            line.push(ratio(one, &block[0], |row| row.p50_us));
            line.push(ratio(one, &block[0], |row| row.p99_us));
        }
        lines.push(line);
    }
    lines
}

/// Notes of a block's runs, each once.
pub fn notes(block: &[Measured]) -> Vec<String> {
    let mut notes = Vec::new();
    for one in block {
        for note in one.results.iter().flat_map(|result| &result.notes) {
            let note = format!("{}: {note}", one.config.label());
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
    }
    notes
}

fn render_block(block: &[Measured]) -> String {
    let lines = cells(block);
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = format!("{} ({} runs)\n", heading(block), block[0].rows.len());
    for line in &lines {
        let mut cells = line.iter().zip(&widths);
        if let Some((first, width)) = cells.next() {
            write!(text, "  {first:<width$}").expect("invariant: a string takes all that is written");
        }
        for (cell, width) in cells {
            write!(text, "  {cell:>width$}").expect("invariant: a string takes all that is written");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    for note in notes(block) {
        text += &format!("  {note}\n");
    }
    text
}

fn median(one: &Measured, figure: impl Fn(&Row) -> f64) -> Option<f64> {
    one.spread(figure).map(|spread| spread.median)
}

fn has_latency(one: &Measured) -> bool {
    one.rows.iter().any(|row| row.count > 0)
}

fn latency(one: &Measured, figure: impl Fn(&Row) -> f64) -> String {
    let median = median(one, figure).filter(|_| has_latency(one));
    median.map_or("-".to_owned(), microseconds)
}

fn p99_range(one: &Measured) -> String {
    let spread = one.spread(|row| row.p99_us).filter(|_| has_latency(one));
    spread
        .map_or("-".to_owned(), |spread| format!("{}-{}", microseconds(spread.min), microseconds(spread.max)))
}

fn ratio(one: &Measured, base: &Measured, figure: impl Fn(&Row) -> f64 + Copy) -> String {
    match (median(one, figure), median(base, figure)) {
        (Some(ours), Some(base)) if base > 0.0 && ours > 0.0 => times(ours / base),
        _ => "-".to_owned(),
    }
}

/// A ratio with about three digits.
pub fn times(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 100.0 => grouped(ratio.round() as u64),
        ratio if ratio >= 10.0 => format!("{ratio:.1}"),
        ratio if ratio >= 0.1 => format!("{ratio:.2}"),
        ratio => format!("{ratio:.3}"),
    }
}

/// Microseconds with about three digits: `0.12`, `45.6`, `12,345`.
pub fn microseconds(us: f64) -> String {
    match us {
        us if us >= 1000.0 => grouped(us.round() as u64),
        us if us >= 10.0 => format!("{us:.1}"),
        us => format!("{us:.2}"),
    }
}

/// A number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::made_up;

    #[test]
    fn numbers_are_short_and_readable() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.123, 9.999, 45.64, 999.96, 12_345.4].map(microseconds),
            ["0.12", "10.00", "45.6", "1000.0", "12,345"]
        );
        assert_eq!([0.0123, 0.5, 12.34, 1234.5].map(times), ["0.012", "0.50", "12.3", "1,235"]);
    }

    #[test]
    fn columns_line_up_and_ratios_are_to_the_first_line() {
        let measured = made_up::comparison();
        let text = render(&made_up::machine(), &measured);
        let block: Vec<&str> =
            text.lines().skip_while(|line| !line.contains("10,000 records/s")).take(5).collect();
        let end_of = |line: &str, what: &str| line.find(what).map(|at| at + what.len());
        assert_eq!(
            end_of(block[1], "p50 x"),
            end_of(block[2], "1.00").map(|_| block[1].find("p50 x").unwrap() + 5)
        );
        assert!(block[2].trim_start().starts_with("lotic continuous 100 ms"), "{text}");
        assert!(block[3].contains("lotic micro-batch 100 ms"), "{text}");
        assert_eq!(ratio(&measured[0], &measured[0], |row| row.p99_us), "1.00");
        let widths: Vec<usize> = block[1..].iter().map(|line| line.len()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{widths:?}\n{text}");
    }

    #[test]
    fn an_idle_run_has_no_latency() {
        let idle = made_up::idle();
        assert_eq!(latency(&idle, |row| row.p99_us), "-");
        assert_eq!(p99_range(&idle), "-");
        assert!(render(&made_up::machine(), &[idle]).contains("idle"));
    }
}
