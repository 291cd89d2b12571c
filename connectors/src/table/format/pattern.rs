//! Spark's patterns for dates and times (`yyyy-MM-dd HH:mm:ss[.SSS][XXX]`) in chrono's terms.

use crate::error::{ConnectorError, Result};
use chrono::format::{Fixed, Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use std::fmt::{Display, Write};

/// Optional sections that a pattern may have; each doubles the ways to read it.
const SECTIONS_MAX: u32 = 4;

/// A pattern, ready to read and to write.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// The pattern with all its optional sections first, with none of them last.
    variants: Vec<Vec<Item<'static>>>,
    /// The same for a time without a zone: the optional sections with a zone are left out.
    without_zone: Vec<Item<'static>>,
}

/// What a pattern is made of.
#[derive(Debug, Clone)]
struct Part {
    items: Vec<Item<'static>>,
    optional: Option<u32>,
}

impl Pattern {
    /// Reads the value of an option.
    ///
    /// # Errors
    /// If a letter is unknown or a quote or bracket is not closed: the option, the pattern and the place.
    pub(super) fn new(option: &str, pattern: &str) -> Result<Self> {
        let refused = |reason: String| {
            ConnectorError::user(format!("option `{option}` is `{pattern}`: {reason}; see Spark's patterns"))
        };
        let (parts, sections) = split(pattern).map_err(refused)?;
        let chosen = |keep: &dyn Fn(&Part) -> bool| -> Vec<Item<'static>> {
            parts.iter().filter(|part| keep(part)).flat_map(|part| part.items.clone()).collect()
        };
        let variants = (0..1_u32 << sections)
            .map(|left_out| chosen(&|part| part.optional.is_none_or(|section| left_out >> section & 1 == 0)))
            .collect();
        let with_zone: Vec<u32> = parts
            .iter()
            .filter(|part| part.items.iter().any(is_zone))
            .filter_map(|part| part.optional)
            .collect();
        let without_zone = chosen(&|part| part.optional.is_none_or(|section| !with_zone.contains(&section)));
        Ok(Pattern { variants, without_zone })
    }

    /// Whether a time is written with its zone even where an option section could leave it out.
    pub(super) fn needs_zone(&self) -> bool {
        self.without_zone.iter().any(is_zone)
    }

    fn parsed(&self, text: &str) -> impl Iterator<Item = Parsed> {
        self.variants.iter().filter_map(move |items| {
            let mut parsed = Parsed::new();
            parse(&mut parsed, text, items.iter()).ok()?;
            Some(parsed)
        })
    }

    /// The date a text stands for.
    pub(super) fn date(&self, text: &str) -> Option<NaiveDate> {
        self.parsed(text).find_map(|parsed| date_of(parsed))
    }

    /// The time a text stands for: its date, time of day and offset from UTC in seconds if it has one.
    pub(super) fn timestamp(&self, text: &str) -> Option<(NaiveDateTime, Option<i32>)> {
        self.parsed(text).find_map(|mut parsed| {
            if parsed.minute().is_none() {
                parsed.set_minute(0).ok()?;
            }
            let time = match parsed.hour_div_12() {
                None if parsed.hour_mod_12().is_none() => NaiveTime::MIN,
                _ => parsed.to_naive_time().ok()?,
            };
            let offset = parsed.offset();
            Some((date_of(parsed)?.and_time(time), offset))
        })
    }

    /// Writes a date.
    pub(super) fn write_date(&self, date: NaiveDate, out: &mut String) -> std::fmt::Result {
        write!(out, "{}", date.format_with_items(self.without_zone.iter()))
    }

    /// Writes a time without a zone.
    pub(super) fn write_local(&self, time: NaiveDateTime, out: &mut String) -> std::fmt::Result {
        write!(out, "{}", time.format_with_items(self.without_zone.iter()))
    }

    /// Writes a time with its zone.
    pub(super) fn write_zoned<Tz: TimeZone>(&self, time: &DateTime<Tz>, out: &mut String) -> std::fmt::Result
    where
        Tz::Offset: Display,
    {
        write!(out, "{}", time.format_with_items(self.variants[0].iter()))
    }
}

fn is_zone(item: &Item<'static>) -> bool {
    matches!(
        item,
        Item::Fixed(
            Fixed::TimezoneOffset
                | Fixed::TimezoneOffsetColon
                | Fixed::TimezoneOffsetColonZ
                | Fixed::TimezoneOffsetZ
        )
    )
}

/// The date; the first of the month or year if the pattern has no day or month.
fn date_of(mut parsed: Parsed) -> Option<NaiveDate> {
    if parsed.ordinal().is_none() {
        if parsed.month().is_none() {
            parsed.set_month(1).ok()?;
        }
        if parsed.day().is_none() {
            parsed.set_day(1).ok()?;
        }
    }
    parsed.to_naive_date().ok()
}

fn literal(text: impl Into<String>) -> Vec<Item<'static>> {
    vec![Item::OwnedLiteral(text.into().into_boxed_str())]
}

/// The parts of a pattern and how many optional sections there are.
fn split(pattern: &str) -> Result<(Vec<Part>, u32), String> {
    let mut parts = Vec::new();
    let mut optional = None;
    let mut sections = 0;
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '[' if optional.is_some() => return Err("sections in [] cannot be nested".to_owned()),
            '[' if sections == SECTIONS_MAX => {
                return Err(format!("more than {SECTIONS_MAX} optional sections in []"));
            }
            '[' => {
                optional = Some(sections);
                sections += 1;
                1
            }
            ']' if optional.is_none() => return Err("a `]` without a `[`".to_owned()),
            ']' => {
                optional = None;
                1
            }
            '\'' => {
                let (text, length) = quoted(rest)?;
                parts.push(Part { items: literal(text), optional });
                length
            }
            '{' | '}' | '#' => return Err(format!("`{first}` is reserved")),
            letter if letter.is_ascii_alphabetic() => {
                let length = rest.bytes().take_while(|byte| *byte == letter as u8).count();
                parts.push(Part { items: items(letter, length)?, optional });
                length
            }
            other => {
                parts.push(Part { items: literal(other), optional });
                other.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    if optional.is_some() {
        return Err("a `[` without a `]`".to_owned());
    }
    Ok((parts, sections))
}

/// A text in single quotes at the start of `rest`, and how long it is with its quotes. `''` is a quote.
fn quoted(rest: &str) -> Result<(String, usize), String> {
    if rest.starts_with("''") {
        return Ok(("'".to_owned(), 2));
    }
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, found)) = chars.next() {
        if found != '\'' {
            text.push(found);
        } else if chars.next_if(|(_, next)| *next == '\'').is_some() {
            text.push('\'');
        } else {
            return Ok((text, at + 1));
        }
    }
    Err("a single quote is not closed".to_owned())
}

fn items(letter: char, count: usize) -> Result<Vec<Item<'static>>, String> {
    let format = match (letter, count) {
        ('y' | 'u', 2) => "%y",
        ('y' | 'u', 1 | 3..=6) => "%Y",
        ('M' | 'L', 1) => "%-m",
        ('M' | 'L', 2) => "%m",
        ('M' | 'L', 3) => "%b",
        ('M' | 'L', 4) => "%B",
        ('d', 1) => "%-d",
        ('d', 2) => "%d",
        ('D', 1) => "%-j",
        ('D', 3) => "%j",
        ('H', 1) => "%-H",
        ('H', 2) => "%H",
        ('h', 1) => "%-I",
        ('h', 2) => "%I",
        ('m', 1) => "%-M",
        ('m', 2) => "%M",
        ('s', 1) => "%-S",
        ('s', 2) => "%S",
        ('S', 3) => "%3f",
        ('S', 6) => "%6f",
        ('S', 9) => "%9f",
        ('S', _) => return Err("a fraction of a second is SSS, SSSSSS or SSSSSSSSS".to_owned()),
        ('a', 1) => "%p",
        ('E', 1..=3) => "%a",
        ('E', 4) => "%A",
        ('Z', 1..=3) | ('x', 2) => "%z",
        ('x', 3) => "%:z",
        ('X', 2) => return Ok(vec![Item::Fixed(Fixed::TimezoneOffsetZ)]),
        ('X', 3) => return Ok(vec![Item::Fixed(Fixed::TimezoneOffsetColonZ)]),
        _ => {
            return Err(format!(
                "`{}` is no known letter, or not that often",
                letter.to_string().repeat(count)
            ));
        }
    };
    Ok(StrftimeItems::new(format).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Utc;

    fn timestamp(pattern: &str, text: &str) -> Option<(String, Option<i32>)> {
        let read = Pattern::new("timestampFormat", pattern).unwrap().timestamp(text);
        read.map(|(time, offset)| (time.to_string(), offset))
    }

    #[test]
    fn optional_sections_are_read_with_and_without() {
        let pattern = "yyyy-MM-dd'T'HH:mm:ss[.SSS][XXX]";
        let expected = |text: &str, offset| Some((text.to_owned(), offset));
        assert_eq!(timestamp(pattern, "2024-02-29T01:02:03"), expected("2024-02-29 01:02:03", None));
        assert_eq!(timestamp(pattern, "2024-02-29T01:02:03.450"), expected("2024-02-29 01:02:03.450", None));
        assert_eq!(timestamp(pattern, "2024-02-29T01:02:03Z"), expected("2024-02-29 01:02:03", Some(0)));
        assert_eq!(
            timestamp(pattern, "2024-02-29T01:02:03.450-03:00"),
            expected("2024-02-29 01:02:03.450", Some(-10800))
        );
        assert_eq!(timestamp(pattern, "2023-02-29T01:02:03"), None);
        assert_eq!(timestamp(pattern, "2024-02-29T01:02:03 "), None);
        assert_eq!(timestamp("dd/MM/yyyy", "05/12/2023"), expected("2023-12-05 00:00:00", None));
        assert_eq!(
            timestamp("d MMM yyyy hh 'o''clock' a", "5 Dec 2023 03 o'clock PM").unwrap().0,
            "2023-12-05 15:00:00"
        );
    }

    #[test]
    fn times_are_written_with_all_sections_they_have_values_for() {
        let pattern = Pattern::new("timestampFormat", "yyyy/MM/dd HH:mm:ss[.SSSSSS][ XXX]").unwrap();
        let time = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap().and_hms_micro_opt(1, 2, 3, 45).unwrap();
        let mut text = String::new();
        pattern.write_local(time, &mut text).unwrap();
        text.push('|');
        pattern.write_zoned(&Utc.from_utc_datetime(&time), &mut text).unwrap();
        assert_eq!(text, "2024/02/29 01:02:03.000045|2024/02/29 01:02:03.000045 Z");
        assert!(!pattern.needs_zone());
        assert!(Pattern::new("timestampFormat", "HH:mm XXX").unwrap().needs_zone());
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_option() {
        for wrong in ["yyyy-QQ", "[yyyy", "yyyy]", "[[yyyy]]", "'T", "HH:mm:ss.SS", "#", "[y][y][y][y][y]"] {
            let error = Pattern::new("dateFormat", wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("option `dateFormat` is `{wrong}`: ")), "{error}");
        }
    }
}
