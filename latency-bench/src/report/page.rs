//! The HTML page: tables and plots in one file that needs nothing else, no script either.

use super::chart::{Axis, Chart, Line, escape, percentile_at};
use super::table::{blocks, cells, heading, notes};
use super::{Measured, micros};
use crate::environment::Machine;
use crate::recorder::Intervals;
use crate::workload::{Engine, Load};
use hdrhistogram::Histogram;

const STYLE: &str = include_str!("page.css");
/// Points of a percentile curve for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 10;
/// Colours of Lotic's own lines, in the order of a block.
const COLORS: [&str; 6] = ["#2f6fde", "#e0572b", "#c79a12", "#8a56c4", "#17998c", "#c2418e"];

/// The whole page.
#[must_use]
pub fn render(machine: &Machine, measured: &[Measured]) -> String {
    let sections: String = blocks(measured).map(section).collect();
    let lines: String = machine
        .lines()
        .into_iter()
        .map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(&value)))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Lotic latency, {date}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Lotic latency</h1>\n<p class=\"lead\">{cpu}, {cores} cores, {date}, commit {commit}</p>\n\
         {sections}\
         <section>\n<h2>How it was measured</h2>\n{METHOD}<table class=\"machine\">\n{lines}</table>\n</section>\n\
         </main>\n</body>\n</html>\n",
        date = escape(&machine.date),
        cpu = escape(&machine.cpu),
        cores = machine.cores,
        commit = escape(&machine.commit),
    )
}

const METHOD: &str = "<p>Open loop: a schedule fixes each record's send time before the run, and latency is the \
time at the sink minus that <em>intended</em> time, so that a stall is seen by every record it held up. Nothing is \
corrected afterwards. Tables show medians of the runs; curves hold all runs together. The floor is the same work as \
plain function calls from the same generator: what it shows is the machine's.</p>\n";

fn section(block: &[Measured]) -> String {
    let mut html = format!("<section>\n<h2>{}</h2>\n", escape(&heading(block)));
    if block.iter().any(|one| !one.merged().is_empty()) && block[0].config.load != Load::Saturated {
        let chart = percentile_chart(block);
        html += &figure(&chart, &legend(&chart));
    }
    html += &table(block);
    for note in notes(block) {
        html += &format!("<p class=\"note\">{}</p>\n", escape(&note));
    }
    for (at, one) in block.iter().enumerate() {
        if let Some(chart) = time_chart(one, color(block, at)) {
            html += &format!("<h3>{} over time, first run</h3>\n", escape(&one.config.label()));
            html += &figure(&chart, &legend(&chart));
        }
    }
    html += "</section>\n";
    html
}

fn figure(chart: &Chart, legend: &str) -> String {
    format!("<figure>\n{legend}{}</figure>\n", chart.svg())
}

fn legend(chart: &Chart) -> String {
    let entries: String = chart
        .lines
        .iter()
        .map(|line| {
            let style = if line.dashed { "dashed" } else { "solid" };
            format!(
                "<span><i style=\"border-top: 3px {style} {}\"></i>{}</span>\n",
                line.color,
                escape(&line.label)
            )
        })
        .collect();
    format!("<figcaption class=\"legend\">\n{entries}</figcaption>\n")
}

/// The floor is grey, another engine green, Lotic's lines have a colour each.
fn color(block: &[Measured], at: usize) -> &'static str {
    match block[at].config.engine {
        Engine::Floor => "#8b929b",
        Engine::Timely | Engine::DataFusion => "#3a9a4b",
        Engine::Lotic => {
            let before = block[..at].iter().filter(|one| one.config.engine == Engine::Lotic).count();
            COLORS[before % COLORS.len()]
        }
    }
}

fn percentile_chart(block: &[Measured]) -> Chart {
    let histograms: Vec<Histogram<u64>> = block.iter().map(Measured::merged).collect();
    let records = histograms.iter().map(Histogram::len).max().unwrap_or(0);
    let lines = block.iter().enumerate().zip(&histograms).map(|((at, one), histogram)| Line {
        label: one.config.label(),
        color: color(block, at).to_owned(),
        dashed: one.config.engine != Engine::Lotic,
        points: curve(histogram),
    });
    Chart {
        title: format!("{}: latency by percentile", heading(block)),
        axis: Axis::percentiles(records),
        lines: lines.filter(|line| !line.points.is_empty()).collect(),
        marks: Vec::new(),
    }
}

fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    histogram
        .iter_quantiles(TICKS_PER_HALF_DISTANCE)
        .map(|step| {
            (percentile_at(step.quantile_iterated_to(), histogram.len()), micros(step.value_iterated_to()))
        })
        .collect()
}

fn time_chart(one: &Measured, color: &str) -> Option<Chart> {
    let result = one.results.iter().find(|result| result.intervals.is_some())?;
    let intervals = result.intervals.as_ref()?;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let line = |name: &str, color: &str, dashed, quantile| Line {
        label: name.to_owned(),
        color: color.to_owned(),
        dashed,
        points: over_time(intervals, quantile),
    };
    let end = intervals.iter().last().map_or(0, |(from_ns, _)| from_ns + intervals.length_ns());
    Some(Chart {
        title: format!("{}: latency over time", one.config.label()),
        axis: Axis::seconds(seconds(end).max(0.1)),
        lines: vec![
            line("p50 of the interval", color, false, 0.5),
            line("p99", "#8a56c4", false, 0.99),
            line("max", "#8b929b", true, 1.0),
        ],
        marks: result.marks.iter().map(|(at_ns, words)| (seconds(*at_ns), words.clone())).collect(),
    })
}

/// A quantile of each interval, at the middle of the interval.
fn over_time(intervals: &Intervals, quantile: f64) -> Vec<(f64, f64)> {
    let middle = intervals.length_ns() / 2;
    intervals
        .iter()
        .filter(|(_, histogram)| !histogram.is_empty())
        .map(|(from_ns, histogram)| {
            ((from_ns + middle) as f64 / 1e9, micros(histogram.value_at_quantile(quantile)))
        })
        .collect()
}

fn table(block: &[Measured]) -> String {
    let lines = cells(block);
    let row = |tag: &str, line: &[String]| {
        let cells: String = line.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let (head, body) = lines.split_first().expect("invariant: a table has headings");
    let body: String = body.iter().map(|line| row("td", line)).collect();
    format!(
        "<div class=\"scroll\"><table>\n<caption>Latency in µs from the intended send time, medians of {} runs; x is the \
         ratio to the first line</caption>\n<thead>{}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n",
        block[0].rows.len(),
        row("th", head),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::made_up;

    #[test]
    fn the_page_holds_everything_and_asks_for_nothing() {
        let mut measured = made_up::comparison();
        measured.push(made_up::over_time());
        let html = render(&made_up::machine(), &measured);
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        assert!(html.matches("<svg").count() >= 3, "two percentile plots and one over time");
        for wanted in
            ["lotic continuous 100 ms", "floor", "switch to micro-batch", "made-up processor &lt;1&gt;"]
        {
            assert!(html.contains(wanted), "{wanted}");
        }
        let asked_for = html.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http:", "https:", "<script", "src=", "@import", "url("] {
            assert!(!asked_for.contains(outside), "{outside}");
        }
    }

    #[test]
    fn curves_rise_from_left_to_right() {
        let histogram = made_up::comparison()[0].merged();
        let curve = curve(&histogram);
        assert!(curve.len() > 20);
        assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
    }

    #[test]
    fn colours_stay_with_the_engine() {
        let block = made_up::comparison();
        let first: &[Measured] = blocks(&block).next().unwrap();
        let colors: Vec<&str> = (0..first.len()).map(|at| color(first, at)).collect();
        assert_eq!(colors, [COLORS[0], COLORS[1], "#3a9a4b", "#8b929b"]);
    }
}
