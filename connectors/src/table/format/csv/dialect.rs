//! How values, records and nulls are written in a CSV file.

use crate::error::{ConnectorError, Result};
use crate::table::{OptionSpec, Options};

const HEADER: OptionSpec = OptionSpec::new("header", "false", "whether the first record names the columns");
const SEP: OptionSpec =
    OptionSpec::new("sep", ",", "what separates values: one character of one byte, or \\t");
const DELIMITER: OptionSpec = OptionSpec::new("delimiter", ",", "the same as sep");
const NULL_VALUE: OptionSpec = OptionSpec::new("nullValue", "", "how null is written");

pub(super) const READ: [OptionSpec; 14] = [
    HEADER,
    SEP,
    DELIMITER,
    OptionSpec::new("quote", "\"", "what values are quoted with; empty for no quoting"),
    OptionSpec::new("escape", "\\", "what makes a quote part of a quoted value; a doubled quote always does"),
    OptionSpec::new("comment", "", "lines beginning with this character are skipped; empty for none"),
    OptionSpec::new("multiLine", "false", "whether quoted values may have line breaks"),
    NULL_VALUE,
    OptionSpec::new("emptyValue", "", "what a quoted empty value stands for"),
    OptionSpec::new("ignoreLeadingWhiteSpace", "false", "whether spaces before values are skipped"),
    OptionSpec::new("ignoreTrailingWhiteSpace", "false", "whether spaces after values are skipped"),
    OptionSpec::new("encoding", "UTF-8", "the encoding of the file: UTF-8"),
    OptionSpec::new("charset", "UTF-8", "the same as encoding"),
    OptionSpec::new(
        "inferSchema",
        "false",
        "whether the types of columns are found from the data (bounded reads)",
    ),
];

pub(super) const WRITE: [OptionSpec; 7] = [
    HEADER,
    SEP,
    DELIMITER,
    OptionSpec::new("quote", "\"", "what values are quoted with where they must be"),
    OptionSpec::new("escape", "\\", "what is written before a quote in a value; the quote itself doubles it"),
    OptionSpec::new("quoteAll", "false", "whether all values but null are quoted"),
    NULL_VALUE,
];

/// How a file is written.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    pub(super) header: bool,
    pub(super) separator: u8,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) comment: Option<u8>,
    pub(super) multi_line: bool,
    pub(super) null_value: String,
    pub(super) empty_value: String,
    pub(super) trim_start: bool,
    pub(super) trim_end: bool,
    pub(super) quote_all: bool,
}

impl Dialect {
    /// As the options for reading say.
    pub(super) fn for_reading(options: &Options) -> Result<Self> {
        for name in ["encoding", "charset"] {
            options.parsed(name, "UTF-8, the only encoding that is read", |value| {
                ["utf-8", "utf8", "us-ascii"].contains(&value.to_ascii_lowercase().as_str()).then_some(())
            })?;
        }
        options.bool("inferSchema", false)?;
        Dialect::of(options)
    }

    /// As the options for writing say.
    pub(super) fn for_writing(options: &Options) -> Result<Self> {
        let dialect = Dialect::of(options)?;
        if dialect.quote.is_none() {
            return Err(ConnectorError::user(
                "option `quote` is empty: writing needs a quote for values with a separator or a line break",
            ));
        }
        Ok(dialect)
    }

    fn of(options: &Options) -> Result<Self> {
        let byte = |name: &str, default: Option<u8>| match options.get(name) {
            None => Ok(default),
            Some(_) => options.byte(name),
        };
        let separator_name = if options.get("sep").is_some() { "sep" } else { "delimiter" };
        let separator = byte(separator_name, Some(b','))?;
        let dialect = Dialect {
            header: options.bool("header", false)?,
            separator: separator.ok_or_else(|| {
                ConnectorError::user(format!("option `{separator_name}` is empty: expected one character"))
            })?,
            quote: byte("quote", Some(b'"'))?,
            escape: byte("escape", Some(b'\\'))?,
            comment: byte("comment", None)?,
            multi_line: options.bool("multiLine", false)?,
            null_value: options.get("nullValue").unwrap_or_default().to_owned(),
            empty_value: options.get("emptyValue").unwrap_or_default().to_owned(),
            trim_start: options.bool("ignoreLeadingWhiteSpace", false)?,
            trim_end: options.bool("ignoreTrailingWhiteSpace", false)?,
            quote_all: options.bool("quoteAll", false)?,
        };
        dialect.check()?;
        Ok(dialect)
    }

    fn check(&self) -> Result<()> {
        let used = [
            ("sep", Some(self.separator)),
            ("quote", self.quote),
            ("escape", self.escape),
            ("comment", self.comment),
        ];
        for (at, (name, byte)) in used.iter().enumerate() {
            if matches!(byte, Some(b'\n' | b'\r')) {
                return Err(ConnectorError::user(format!("option `{name}` cannot be a line break")));
            }
            for (other, taken) in &used[..at] {
                let may = (*other, *name) == ("quote", "escape");
                if byte.is_some() && byte == taken && !may {
                    return Err(ConnectorError::user(format!(
                        "options `{other}` and `{name}` are the same character"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether a line holds no record: only spaces, or a comment.
    pub(super) fn skips(&self, line: &[u8]) -> bool {
        line.iter().all(|byte| matches!(byte, b' ' | b'\t') && *byte != self.separator)
            || (self.comment.is_some() && line.first().copied() == self.comment)
    }

    /// Whether a byte is a space that may be trimmed.
    pub(super) fn is_space(&self, byte: u8) -> bool {
        byte <= b' ' && byte != self.separator
    }
}
