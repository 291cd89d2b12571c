//! Options: names as Spark's, in any case; an unknown one is an error that names the nearest known one.

use crate::error::{ConnectorError, Result};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::str::FromStr;
use std::time::Duration;

/// An option that a format knows: what the checks and the documentation are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its name, as Spark writes it; one that ends with `.*` stands for all names that begin so, such as
    /// `kafka.*`.
    pub name: &'static str,
    /// The default, as a user would write it; empty if it has none.
    pub default: &'static str,
    /// What it means, what values it takes, its unit.
    pub doc: &'static str,
}

impl OptionSpec {
    /// An option.
    pub const fn new(name: &'static str, default: &'static str, doc: &'static str) -> Self {
        OptionSpec { name, default, doc }
    }

    /// Whether an option of this name, in any case, is this one.
    pub fn covers(&self, name: &str) -> bool {
        match self.name.strip_suffix('*').filter(|prefix| prefix.ends_with('.')) {
            None => self.name.eq_ignore_ascii_case(name),
            Some(prefix) => name
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix) && name.len() > prefix.len()),
        }
    }
}

/// The options given to a reader or writer. Names are the same in any case; the last value given counts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, (String, String)>);

/// Values that may be secret are not shown.
impl Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value }));
        f.debug_map().entries(shown).finish()
    }
}

/// Whether the value of an option may be a secret, by its name.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.replace(['.', '_', '-'], "");
    [
        "passw",
        "passphrase",
        "secret",
        "token",
        "sasl",
        "credential",
        "privatekey",
        "sslkey",
        "apikey",
        "accesskey",
    ]
    .iter()
    .any(|part| name.contains(part))
}

/// The candidate most like `name`, if one is alike at all.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let likeness = |candidate: &str| {
        if name.len() <= 2 {
            return 0.0;
        }
        // Of short names, two letters that changed places make too much of a difference for the one measure.
        let slip = strsim::osa_distance(&name, candidate) == 1;
        strsim::jaro_winkler(&name, candidate).max(if slip { 0.9 } else { 0.0 })
    };
    candidates
        .map(|candidate| (likeness(&candidate.to_ascii_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

impl Options {
    /// Sets an option.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.0.insert(name.to_ascii_lowercase(), (name, value.into()));
    }

    /// The value given for an option.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(|(_, value)| value.as_str())
    }

    /// Takes an option out.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        self.0.remove(&name.to_ascii_lowercase()).map(|(_, value)| value)
    }

    /// All options as they were given, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.values().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Makes sure that every option is one of `known`.
    ///
    /// # Errors
    /// The first that is not, with the nearest known one, or all of them.
    pub fn check(&self, format: &str, known: &[OptionSpec]) -> Result<()> {
        for (name, _) in self.iter() {
            if known.iter().any(|spec| spec.covers(name)) {
                continue;
            }
            let names = || known.iter().map(|spec| spec.name);
            let hint = match nearest(name, names()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None if known.is_empty() => "it takes no options".to_owned(),
                None => format!("its options are: {}", names().collect::<Vec<_>>().join(", ")),
            };
            return Err(ConnectorError::user(format!("format `{format}` has no option `{name}`: {hint}")));
        }
        Ok(())
    }

    /// The value of an option, parsed by `parse`; `None` if it was not given.
    ///
    /// # Errors
    /// If `parse` refuses it: the option, the value and what was expected.
    pub fn parsed<T>(
        &self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match parse(value.trim()) {
            Some(parsed) => Ok(Some(parsed)),
            None => {
                let shown = if is_secret(name) { "***" } else { value };
                Err(ConnectorError::user(format!("option `{name}` is `{shown}`: expected {expected}")))
            }
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// If it is neither `true` nor `false`.
    pub fn bool(&self, name: &str, default: bool) -> Result<bool> {
        let parsed = self.parsed(name, "true or false", |value| value.to_ascii_lowercase().parse().ok())?;
        Ok(parsed.unwrap_or(default))
    }

    /// A number.
    ///
    /// # Errors
    /// If it is none, or out of the type's range.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.parsed(name, "a number", |value| value.parse().ok())
    }

    /// A single character; `\t` and the like are understood. `None` if not given or empty.
    ///
    /// # Errors
    /// If it is more than one byte.
    pub fn byte(&self, name: &str) -> Result<Option<u8>> {
        if self.get(name).is_some_and(str::is_empty) {
            return Ok(None);
        }
        let value = self.get(name).unwrap_or_default();
        let byte = match value {
            "" => return Ok(None),
            "\\t" => Some(b'\t'),
            "\\0" | "\\u0000" => Some(0),
            "\\\\" => Some(b'\\'),
            _ => <[u8; 1]>::try_from(value.as_bytes()).ok().map(|[byte]| byte),
        };
        byte.map(Some).ok_or_else(|| {
            ConnectorError::user(format!("option `{name}` is `{value}`: expected one character of one byte"))
        })
    }

    /// A length of time such as `10 seconds`, `1h`, `500 ms`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>> {
        self.parsed(name, "a length of time such as `10 seconds`, `500 ms` or `7d`", parse_duration)
    }

    /// A number of bytes such as `64m` or `1g`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Option<u64>> {
        self.parsed(name, "a number of bytes such as `1048576`, `512k`, `64m` or `1g`", parse_bytes)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Options {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut options = Options::default();
        for (name, value) in entries {
            options.set(name, value);
        }
        options
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text);
    let number: u64 = number.parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let micros: u64 = match unit.as_str() {
        "us" | "microsecond" | "microseconds" => 1,
        "ms" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        "week" | "weeks" => 604_800_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [OptionSpec; 2] =
        [OptionSpec::new("header", "false", ""), OptionSpec::new("maxFilesPerTrigger", "", "")];

    #[test]
    fn an_unknown_option_names_the_nearest_known_one() {
        let options: Options = [("MAXfilesPERtrigger", "1")].into_iter().collect();
        assert_eq!(options.number::<usize>("maxFilesPerTrigger").unwrap(), Some(1));
        options.check("csv", &KNOWN).unwrap();
        let wrong: Options = [("headers", "true")].into_iter().collect();
        let error = wrong.check("csv", &KNOWN).unwrap_err().to_string();
        assert_eq!(error, "format `csv` has no option `headers`: did you mean `header`?");
        assert_eq!(nearest("cvs", ["csv", "json"].into_iter()), Some("csv"));
        assert_eq!(nearest("xy", ["x", "yz"].into_iter()), None);
        let far: Options = [("zzz", "true")].into_iter().collect();
        let error = far.check("csv", &KNOWN).unwrap_err().to_string();
        assert!(error.ends_with("its options are: header, maxFilesPerTrigger"), "{error}");
    }

    #[test]
    fn a_prefix_stands_for_all_names_that_begin_so() {
        let spec = OptionSpec::new("kafka.*", "", "");
        assert!(spec.covers("kafka.client.id") && spec.covers("KAFKA.linger.ms"));
        assert!(!spec.covers("kafka.") && !spec.covers("kafka") && !spec.covers("kafkaConsumer.x"));
        let options: Options = [("kafka", "x")].into_iter().collect();
        let error = options.check("kafka", &[spec]).unwrap_err().to_string();
        assert!(error.ends_with("did you mean `kafka.*`?"), "{error}");
    }

    #[test]
    fn names_of_secrets_are_known_however_they_are_spelt() {
        for secret in
            ["password", "ssl.key.pem", "kafka.sasl.jaas.config", "api_key", "AWS-Access-Key-Id", "authToken"]
        {
            assert!(is_secret(secret), "{secret}");
        }
        for plain in ["path", "header", "key", "subscribe", "checkpointLocation"] {
            assert!(!is_secret(plain), "{plain}");
        }
    }

    #[test]
    fn values_are_read_with_their_units_or_refused_by_name() {
        let options: Options = [
            ("a", "10 seconds"),
            ("b", "64m"),
            ("c", "TRUE"),
            ("d", "\\t"),
            ("e", "eleven"),
            ("f", "99999999999 weeks"),
            ("kafka.sasl.password", "hunter2"),
        ]
        .into_iter()
        .collect();
        assert_eq!(options.duration("a").unwrap(), Some(Duration::from_secs(10)));
        assert_eq!(options.bytes("b").unwrap(), Some(64 << 20));
        assert!(options.bool("c", false).unwrap());
        assert_eq!(options.byte("d").unwrap(), Some(b'\t'));
        let error = options.number::<u64>("e").unwrap_err().to_string();
        assert_eq!(error, "option `e` is `eleven`: expected a number");
        assert!(options.duration("f").is_err());
        let error = options.number::<u64>("kafka.sasl.password").unwrap_err().to_string();
        assert!(!error.contains("hunter2") && !format!("{options:?}").contains("hunter2"), "{error}");
    }
}
