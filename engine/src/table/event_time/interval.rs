//! Lengths of time as Spark writes them: `10 seconds`, `1 hour 30 minutes`.

use datafusion::common::ScalarValue;
use std::time::Duration;

const DAY_MICROS: i128 = 86_400_000_000;

/// Microseconds of a length of time given as text: numbers with units (`us`, `ms`, `s`, `minutes`, `hours`,
/// `days`, `weeks`, ...), one after the other, which add up; perhaps `interval` in front. Seconds may have a
/// fraction.
///
/// # Errors
/// What is wrong with the text, for the end of a sentence that names it.
pub(crate) fn micros_of_text(text: &str) -> Result<i64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let rest = lower.strip_prefix("interval").unwrap_or(&lower);
    let rest = rest.replace('\'', " ");
    let mut words = Vec::new();
    for word in rest.split_whitespace() {
        // A unit may follow its number at once.
        let at = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
        words.extend([&word[..at], &word[at..]].into_iter().filter(|part| !part.is_empty()));
    }
    let [_, _, ..] = &words[..] else { return Err(unreadable(text)) };
    let mut total = 0i128;
    for pair in words.chunks(2) {
        let [number, unit] = pair else { return Err(unreadable(text)) };
        total += part(number, unit, text)?;
    }
    i64::try_from(total).map_err(|_| format!("`{text}` is longer than time can be told"))
}

fn unreadable(text: &str) -> String {
    format!(
        "`{text}` is not an interval: write numbers with units, such as `10 seconds` or `1 hour 30 minutes`"
    )
}

fn part(number: &str, unit: &str, text: &str) -> Result<i128, String> {
    let micros: i128 = match unit {
        "us" | "microsecond" | "microseconds" => 1,
        "ms" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => DAY_MICROS,
        "w" | "week" | "weeks" => 7 * DAY_MICROS,
        "month" | "months" | "year" | "years" => return Err(of_months(text)),
        _ => return Err(unreadable(text)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !fraction.is_empty() && (micros != 1_000_000 || fraction.len() > 6) {
        return Err(format!("`{text}`: only seconds have a fraction, of at most six digits"));
    }
    let negative = whole.starts_with('-');
    let whole: i64 = whole.parse().map_err(|_| unreadable(text))?;
    let fraction: i64 = format!("{fraction:0<6}").parse().map_err(|_| unreadable(text))?;
    let fraction = i128::from(if negative { -fraction } else { fraction });
    Ok(i128::from(whole) * micros + fraction)
}

fn of_months(text: &str) -> String {
    format!("`{text}` has months or years, which are not all equally long: write days")
}

/// Microseconds of a literal: text, or an `INTERVAL '...'` without months.
///
/// # Errors
/// What is wrong with it; `None` if it is neither.
pub(crate) fn micros_of_literal(value: &ScalarValue) -> Option<Result<i64, String>> {
    let total = match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => return Some(micros_of_text(text)),
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months != 0 => {
            return Some(Err(of_months(&value.to_string())));
        }
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            i128::from(interval.days) * DAY_MICROS + i128::from(interval.nanoseconds.div_euclid(1000))
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            i128::from(interval.days) * DAY_MICROS + i128::from(interval.milliseconds) * 1000
        }
        ScalarValue::IntervalYearMonth(Some(_)) => return Some(Err(of_months(&value.to_string()))),
        _ => return None,
    };
    Some(i64::try_from(total).map_err(|_| format!("`{value}` is longer than time can be told")))
}

/// A length of time of an API call: a [`Duration`], or text as Spark writes it. What is wrong with a text is
/// told by what takes it.
pub trait ToInterval {
    /// The length.
    ///
    /// # Errors
    /// If the text is no interval, has months or is negative.
    fn to_interval(self) -> crate::error::Result<Duration>;
}

impl ToInterval for Duration {
    fn to_interval(self) -> crate::error::Result<Duration> {
        Ok(self)
    }
}

impl ToInterval for &str {
    fn to_interval(self) -> crate::error::Result<Duration> {
        let micros = micros_of_text(self).map_err(crate::error::Error::user)?;
        let micros = u64::try_from(micros);
        micros.map(Duration::from_micros).map_err(|_| {
            crate::error::Error::user(format!("`{self}` is negative: an interval here is zero or longer"))
        })
    }
}

impl ToInterval for &String {
    fn to_interval(self) -> crate::error::Result<Duration> {
        self.as_str().to_interval()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_spark_writes_them() {
        for (text, micros) in [
            ("10 seconds", 10_000_000),
            ("INTERVAL 1 hour 30 minutes", 5_400_000_000),
            ("interval '10' second", 10_000_000),
            ("1 week", 604_800_000_000),
            ("100ms", 100_000),
            ("1.25 seconds", 1_250_000),
            ("-1.5 s", -1_500_000),
            (" 2  DAYS 3 us ", 2 * 86_400_000_000 + 3),
        ] {
            assert_eq!(micros_of_text(text), Ok(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_interval_is_said() {
        for (text, said) in [
            ("", "`` is not an interval"),
            ("10", "`10` is not an interval"),
            ("seconds", "`seconds` is not an interval"),
            ("10 seconds 3", "is not an interval"),
            ("1 month", "not all equally long"),
            ("2 years", "not all equally long"),
            ("1.5 hours", "only seconds have a fraction"),
            ("99999999999999999999 s", "is not an interval"),
            ("9223372036854775807 days", "longer than time can be told"),
        ] {
            assert!(micros_of_text(text).unwrap_err().contains(said), "{text}");
        }
        assert!("-1 second".to_interval().unwrap_err().to_string().contains("is negative"));
    }
}
