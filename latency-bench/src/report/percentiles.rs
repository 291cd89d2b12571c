//! HdrHistogram's percentile distribution, as its plotters read it (`.hgrm`); values are microseconds.

use hdrhistogram::Histogram;
use std::fmt::Write;

/// Lines for each halving of the distance to 100 %, as HdrHistogram's own tools write.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
const NS_PER_US: f64 = 1000.0;

/// The text of a `.hgrm` file.
#[must_use]
pub fn render(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let written = "invariant: a string takes all that is written";
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / NS_PER_US, step.quantile_iterated_to());
        write!(text, "{value:12.3} {quantile:2.12} {total:10}").expect(written);
        if quantile < 1.0 {
            write!(text, " {:14.2}", 1.0 / (1.0 - quantile)).expect(written);
        }
        text.push('\n');
    }
    let (mean, deviation) = (histogram.mean() / NS_PER_US, histogram.stdev() / NS_PER_US);
    let max = histogram.max() as f64 / NS_PER_US;
    writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]").expect(written);
    writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len()).expect(written);
    let sub_buckets = 2 * 10u64.pow(u32::from(histogram.sigfig()));
    let sub_buckets = sub_buckets.next_power_of_two();
    writeln!(text, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", histogram.buckets())
        .expect(written);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::histogram;

    #[test]
    fn the_lines_are_those_of_hdrhistogram() {
        let mut latencies = histogram();
        for us in 1..=10_000u64 {
            latencies.record(us * 1000).unwrap();
        }
        let text = render(&latencies);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        let figures: Vec<Vec<f64>> = lines[2..]
            .iter()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().unwrap()).collect())
            .collect();
        assert!(figures.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        let last = figures.last().unwrap();
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 10_000.0));
        let median = figures.iter().find(|line| line[1] == 0.5).unwrap();
        assert!((median[0] - 5000.0).abs() < 10.0 && median[3] == 2.0, "{median:?}");
        assert!(text.contains("Total count    =        10000]"), "{text}");
        assert!(text.contains("SubBuckets     =         2048]"), "{text}");
    }

    #[test]
    fn an_empty_histogram_is_a_file_too() {
        assert!(render(&histogram()).contains("Total count    =            0]"));
    }
}
