//! When epochs begin, and with it the mode in which a query runs.

use crate::error::{Error, Result};
use std::time::Duration;

/// When epochs begin. The mode follows from it and can be switched while the query runs
/// ([`crate::StreamingQuery::set_trigger`]); the query text never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// Continuous mode: records flow as they come, a marker ends an epoch at this interval. The interval
    /// bounds how much is replayed after a crash and when exactly-once sinks show their output; it is
    /// not a latency.
    Continuous(Duration),
    /// Micro-batch mode: at this interval, whatever has arrived is admitted as one batch. Zero means as
    /// fast as possible: a batch begins when the one before is committed.
    ProcessingTime(Duration),
    /// Micro-batch mode over what is there at the start, in batches as large as the sources allow, then
    /// the query stops.
    AvailableNow,
    /// One micro-batch of what is there at the start, then the query stops.
    Once,
}

/// How a query runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Records flow as they come.
    Continuous,
    /// Records are admitted batch by batch.
    MicroBatch,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Continuous => "continuous",
            Mode::MicroBatch => "micro-batch",
        })
    }
}

/// An interval given as a duration or as Spark writes it: `"1 second"`, `"100 ms"`.
///
/// # Panics
/// The conversion from text panics on text that is not an interval; use [`parse_interval`] for input that
/// is not a literal in the program.
#[derive(Debug, Clone, Copy)]
pub struct Interval(pub Duration);

impl From<Duration> for Interval {
    fn from(duration: Duration) -> Self {
        Interval(duration)
    }
}

impl From<&str> for Interval {
    fn from(text: &str) -> Self {
        match parse_interval(text) {
            Ok(duration) => Interval(duration),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Trigger {
    /// Continuous mode with a marker at this interval.
    ///
    /// # Panics
    /// If given text that is not an interval.
    pub fn continuous(interval: impl Into<Interval>) -> Trigger {
        Trigger::Continuous(interval.into().0)
    }

    /// Micro-batches at this interval; zero means as fast as possible.
    ///
    /// # Panics
    /// If given text that is not an interval.
    pub fn processing_time(interval: impl Into<Interval>) -> Trigger {
        Trigger::ProcessingTime(interval.into().0)
    }

    /// The mode that this trigger asks for.
    pub fn mode(self) -> Mode {
        match self {
            Trigger::Continuous(_) => Mode::Continuous,
            _ => Mode::MicroBatch,
        }
    }

    /// # Errors
    /// If the interval of a continuous trigger is shorter than a millisecond.
    pub(crate) fn check(self) -> Result<Trigger> {
        match self {
            Trigger::Continuous(interval) if interval < Duration::from_millis(1) => {
                Err(Error::user(format!(
                    "trigger continuous({interval:?}): the epoch interval is at least 1 ms; it bounds replay \
                 after a crash, not latency"
                )))
            }
            trigger => Ok(trigger),
        }
    }

    /// Makes sure that a sink that needs whole batches gets them.
    ///
    /// # Errors
    /// If the mode is continuous.
    pub(crate) fn check_sink(self, sink: &str) -> Result<()> {
        match self.mode() {
            Mode::MicroBatch => Ok(()),
            Mode::Continuous => Err(Error::user(format!(
                "sink `{sink}` takes whole batches with numbers of their own and cannot run in continuous mode: \
                 use a micro-batch trigger such as processing_time(\"100 ms\") or available_now"
            ))),
        }
    }
}

impl std::fmt::Display for Trigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trigger::Continuous(interval) => write!(f, "continuous({interval:?})"),
            Trigger::ProcessingTime(interval) if interval.is_zero() => {
                f.write_str("processing-time(as fast as possible)")
            }
            Trigger::ProcessingTime(interval) => write!(f, "processing-time({interval:?})"),
            Trigger::AvailableNow => f.write_str("available-now"),
            Trigger::Once => f.write_str("once"),
        }
    }
}

/// Reads an interval as Spark writes it: a whole number and a unit (`us`, `ms`, `s`, `second(s)`,
/// `minute(s)`, `hour(s)`, `day(s)`), with or without a space.
///
/// # Errors
/// If the text is something else, naming it.
pub fn parse_interval(text: &str) -> Result<Duration> {
    let wrong = || {
        Error::user(format!(
            "`{text}` is not an interval: write a whole number and a unit, such as `100 ms` or `10 seconds`"
        ))
    };
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
    let micros_per_unit: u64 = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
        "us" | "microsecond" | "microseconds" => 1,
        "ms" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(micros_per_unit).map(Duration::from_micros).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_spark_writes_them() {
        assert_eq!(parse_interval("1 second").unwrap(), Duration::from_secs(1));
        assert_eq!(parse_interval("100ms").unwrap(), Duration::from_millis(100));
        assert_eq!(parse_interval(" 5 Minutes ").unwrap(), Duration::from_secs(300));
        for wrong in ["", "second", "1", "1 fortnight", "-1 s", "1.5 s", "99999999999999999999 s"] {
            let error = parse_interval(wrong).unwrap_err();
            assert!(error.to_string().contains(&format!("`{wrong}`")), "{error}");
        }
    }

    #[test]
    fn an_epoch_interval_below_a_millisecond_is_refused() {
        assert!(Trigger::continuous(Duration::from_micros(10)).check().is_err());
        assert!(Trigger::processing_time(Duration::ZERO).check().is_ok());
    }
}
