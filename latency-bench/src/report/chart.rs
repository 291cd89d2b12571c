//! Line charts as inline SVG: latency on a logarithmic axis, over percentiles or over time.

use super::table::microseconds;
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;

/// The lowest latency that is drawn, in microseconds: below it the clock decides.
const FLOOR_US: f64 = 0.01;

/// A line of a chart.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it shows.
    pub label: String,
    /// A CSS colour.
    pub color: String,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Position on the horizontal axis, and microseconds.
    pub points: Vec<(f64, f64)>,
}

/// The horizontal axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows.
    pub label: &'static str,
    /// Where it ends; it begins at 0.
    pub to: f64,
    /// Positions with names.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Percentiles, equally wide for each further nine; [`percentile_at`] places a quantile. `records` is the
    /// number of records of the largest histogram.
    #[must_use]
    pub fn percentiles(records: u64) -> Axis {
        let to = percentile_at(1.0, records).clamp(2.0, 6.0);
        let names = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"];
        let ticks = names.iter().enumerate().map(|(nines, name)| (nines as f64, (*name).to_owned()));
        Axis { label: "percentile of the records", to, ticks: ticks.filter(|(at, _)| *at <= to).collect() }
    }

    /// Seconds.
    #[must_use]
    pub fn seconds(to: f64) -> Axis {
        let step =
            [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0].into_iter().find(|step| to / step <= 12.0);
        let step = step.unwrap_or(to / 10.0);
        let count = (to / step).floor() as u32;
        let digits = usize::from(step < 1.0);
        let ticks =
            (0..=count).map(|at| (f64::from(at) * step, format!("{:.digits$} s", f64::from(at) * step)));
        Axis { label: "intended send time since the run began", to, ticks: ticks.collect() }
    }
}

/// Where a quantile lies on the axis of [`Axis::percentiles`]; the last record of a histogram lies where it
/// alone is above.
pub fn percentile_at(quantile: f64, records: u64) -> f64 {
    let above = (1.0 - quantile).max(1.0 / records.max(1) as f64);
    -above.log10()
}

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// For those who cannot see it.
    pub title: String,
    /// The horizontal axis.
    pub axis: Axis,
    /// What is drawn, the first on top.
    pub lines: Vec<Line>,
    /// Vertical lines with a few words.
    pub marks: Vec<(f64, String)>,
}

impl Chart {
    /// The chart as an `<svg>` element.
    #[must_use]
    pub fn svg(&self) -> String {
        let decades = self.decades();
        let title = escape(&self.title);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\" \
             xmlns=\"http://www.w3.org/2000/svg\">\n"
        );
        self.draw_grid(&mut svg, decades);
        for line in self.lines.iter().rev() {
            self.draw_line(&mut svg, line, decades);
        }
        self.draw_marks(&mut svg);
        svg += "</svg>\n";
        svg
    }

    /// Powers of ten that hold all points, in microseconds; at least two apart.
    fn decades(&self) -> (i32, i32) {
        let values = || self.lines.iter().flat_map(|line| &line.points).map(|(_, us)| us.max(FLOOR_US));
        let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(FLOOR_US, f64::max));
        let low = low.min(high).log10().floor() as i32;
        (low, (high.log10().ceil() as i32).max(low + 2))
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (at / self.axis.to).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn draw_grid(&self, svg: &mut String, decades: (i32, i32)) {
        let written = "invariant: a string takes all that is written";
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for decade in decades.0..=decades.1 {
            let y = y(10f64.powi(decade), decades);
            let name = decade_name(decade);
            writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                LEFT - 8.0,
                y + 4.0
            )
            .expect(written);
        }
        for (at, name) in &self.axis.ticks {
            let x = self.x(*at);
            writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                bottom + 18.0
            )
            .expect(written);
        }
        let middle = (LEFT + right) / 2.0;
        writeln!(
            svg,
            "<text class=\"tick\" x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            self.axis.label
        )
        .expect(written);
        writeln!(svg, "<text class=\"tick\" x=\"6\" y=\"14\">latency</text>").expect(written);
    }

    fn draw_line(&self, svg: &mut String, line: &Line, decades: (i32, i32)) {
        let points: Vec<String> =
            line.points.iter().map(|(at, us)| format!("{:.1},{:.1}", self.x(*at), y(*us, decades))).collect();
        let dash = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let last = line.points.last().map_or(0.0, |(_, us)| *us);
        writeln!(
            svg,
            "<polyline class=\"line\" stroke=\"{}\"{dash} points=\"{}\"><title>{}: up to {} us</title></polyline>",
            line.color,
            points.join(" "),
            escape(&line.label),
            microseconds(last),
        )
        .expect("invariant: a string takes all that is written");
    }

    fn draw_marks(&self, svg: &mut String) {
        for (at, words) in &self.marks {
            let x = self.x(*at);
            let anchor = if x > WIDTH * 0.75 { ("end", x - 5.0) } else { ("start", x + 5.0) };
            writeln!(
                svg,
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\
                 <text class=\"words\" x=\"{:.1}\" y=\"{}\" text-anchor=\"{}\">{}</text>",
                HEIGHT - BOTTOM,
                anchor.1,
                TOP + 12.0,
                anchor.0,
                escape(words),
            )
            .expect("invariant: a string takes all that is written");
        }
    }
}

fn y(us: f64, (low, high): (i32, i32)) -> f64 {
    let share = (us.max(FLOOR_US).log10() - f64::from(low)) / f64::from(high - low);
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
}

/// The name of a power of ten of microseconds.
fn decade_name(decade: i32) -> String {
    match decade {
        ..=-1 => format!("{} ns", 10f64.powi(decade + 3)),
        0..=2 => format!("{} µs", 10f64.powi(decade)),
        3..=5 => format!("{} ms", 10f64.powi(decade - 3)),
        _ => format!("{} s", 10f64.powi(decade - 6)),
    }
}

/// Text that cannot be taken for markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let line = Line { label: "a <b>".to_owned(), color: "red".to_owned(), dashed: true, points };
        Chart {
            title: "t".to_owned(),
            axis: Axis::percentiles(1_000_000),
            lines: vec![line],
            marks: Vec::new(),
        }
    }

    #[test]
    fn each_further_nine_is_as_wide_as_the_last() {
        let at = [0.0, 0.9, 0.99, 0.999].map(|quantile| percentile_at(quantile, u64::MAX));
        for (nines, at) in at.into_iter().enumerate() {
            assert!((at - nines as f64).abs() < 1e-9, "{at}");
        }
        assert!((percentile_at(1.0, 1000) - 3.0).abs() < 1e-9, "the last of a thousand is at 99.9 %");
        let names: Vec<String> = Axis::percentiles(100_000).ticks.into_iter().map(|(_, name)| name).collect();
        assert_eq!(names.last().unwrap(), "99.999 %");
    }

    #[test]
    fn all_points_are_inside_the_frame() {
        let chart = chart(vec![(0.0, 0.0), (1.0, 3.0), (6.0, 12_345.0), (99.0, 60_000_000.0)]);
        let decades = chart.decades();
        assert_eq!(decades, (-2, 8));
        for (at, us) in &chart.lines[0].points {
            assert!((LEFT..=WIDTH - RIGHT).contains(&chart.x(*at)));
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y(*us, decades)), "{us}");
        }
        let svg = chart.svg();
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("stroke-dasharray"));
    }

    #[test]
    fn decades_and_seconds_have_names() {
        assert_eq!(
            [-1, 0, 2, 3, 5, 6].map(decade_name),
            ["100 ns", "1 µs", "100 µs", "1 ms", "100 ms", "1 s"]
        );
        let ticks: Vec<String> = Axis::seconds(6.0).ticks.into_iter().map(|(_, name)| name).collect();
        assert_eq!(ticks.first().map(String::as_str), Some("0.0 s"));
        assert_eq!(ticks.last().map(String::as_str), Some("6.0 s"));
    }

    #[test]
    fn a_chart_without_points_is_drawn_too() {
        assert!(chart(Vec::new()).svg().contains("</svg>"));
    }
}
