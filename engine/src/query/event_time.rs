//! Event time in reports.

use lotic_operators::Timestamp;
use serde::Serialize;

/// How far event time has come in a query, by Spark's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventTimeProgress {
    /// The watermark that has reached every sink, as text: `2024-01-31T23:59:59.000Z`.
    pub watermark: String,
    /// The same, microseconds since the Unix epoch.
    pub watermark_us: i64,
}

impl EventTimeProgress {
    /// The least of these watermarks; none if there is none, or nothing but the end of the input.
    pub(super) fn of(watermarks: impl Iterator<Item = i64>) -> Option<EventTimeProgress> {
        let watermark_us = watermarks.min().filter(|watermark| *watermark != Timestamp::MAX.0)?;
        Some(EventTimeProgress { watermark: text(watermark_us), watermark_us })
    }
}

/// A time as Spark writes it in reports: ISO 8601 in UTC, cut off after milliseconds.
fn text(micros: i64) -> String {
    let (days, of_day) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    let (seconds, millis) = (of_day / 1_000_000, of_day / 1_000 % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day since the Unix epoch. Years are counted from March, so that the day that is
/// not in every year is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let from_march_of_0 = days + 719_468;
    let (era, day) =
        (from_march_of_0.div_euclid(DAYS_OF_400_YEARS), from_march_of_0.rem_euclid(DAYS_OF_400_YEARS));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_spark_does() {
        let day = 86_400_000_000;
        for (micros, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (11_016 * day - 1, "2000-02-28T23:59:59.999Z"),
            (11_016 * day, "2000-02-29T00:00:00.000Z"),
            (11_017 * day + 3_723_004_005, "2000-03-01T01:02:03.004Z"),
            (19_782 * day, "2024-02-29T00:00:00.000Z"),
            (47_541 * day, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(micros), shown);
        }
    }

    #[test]
    fn the_slowest_sink_decides_and_the_end_is_no_time() {
        let of =
            |watermarks: &[i64]| EventTimeProgress::of(watermarks.iter().copied()).map(|p| p.watermark_us);
        assert_eq!(of(&[5, 3, i64::MAX]), Some(3));
        assert_eq!((of(&[]), of(&[i64::MAX])), (None, None));
    }
}
