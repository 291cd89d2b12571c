//! Records of a CSV file split into fields.

use super::dialect::Dialect;
use crate::error::Result;
use crate::limits::{TEXT_BATCH_BYTES, TEXT_RECORD_BYTES};
use crate::table::format::lines::{Lines, too_long};
use std::ops::Range;
use std::str;

/// A value as it stands in the file, without quotes and escapes.
#[derive(Debug, Clone, Copy)]
struct Field {
    /// Where it ends in the values; it begins where the one before ends.
    end: usize,
    quoted: bool,
}

/// A record of a batch.
#[derive(Debug)]
pub(super) struct Record {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Its text in the buffer of lines.
    pub(super) text: Range<usize>,
    /// What is wrong with it.
    pub(super) problem: Option<String>,
    /// Its first field and the one after the last.
    fields: Range<usize>,
}

impl Record {
    /// How many values it has.
    pub(super) fn width(&self) -> usize {
        self.fields.len()
    }
}

/// What a record has in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    /// Nothing, or what stands for null.
    Null,
    /// `""`.
    QuotedEmpty,
    /// A value.
    Text(&'a str),
    /// Bytes that are not UTF-8.
    NotText,
}

/// The values of some records.
#[derive(Debug, Default)]
pub(super) struct Values {
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

impl Values {
    fn push(&mut self, value: &[u8], quoted: bool) {
        self.bytes.extend_from_slice(value);
        self.fields.push(Field { end: self.bytes.len(), quoted });
    }

    /// What a record has in a column; null if it has not that many.
    pub(super) fn cell<'a>(&'a self, text: Option<&'a str>, record: &Record, column: usize) -> Cell<'a> {
        if column >= record.fields.len() {
            return Cell::Null;
        }
        let index = record.fields.start + column;
        let start = if index == 0 { 0 } else { self.fields[index - 1].end };
        let Field { end, quoted } = self.fields[index];
        if start == end {
            return if quoted { Cell::QuotedEmpty } else { Cell::Null };
        }
        // The values together may be UTF-8 where one of them, cut inside a character, is not.
        let value = match text {
            Some(text) => text.get(start..end),
            None => str::from_utf8(&self.bytes[start..end]).ok(),
        };
        value.map_or(Cell::NotText, Cell::Text)
    }

    /// All values as one text, if they are UTF-8.
    pub(super) fn text(&self) -> Option<&str> {
        str::from_utf8(&self.bytes).ok()
    }
}

/// Where the splitting of a record stands, which may go on over several lines.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    position: usize,
    /// The open quote: where it stands, and where its value begins among the values.
    quote: Option<(usize, usize)>,
}

impl Cursor {
    /// Splits on; `text` is the record as far as it is known. Whether the record is complete: it is not if it
    /// ends inside quotes.
    fn split(&mut self, text: &[u8], dialect: &Dialect, values: &mut Values) -> bool {
        loop {
            if self.quote.is_none() {
                let mut start = self.position;
                while dialect.trim_start && text.get(start).is_some_and(|byte| dialect.is_space(*byte)) {
                    start += 1;
                }
                if dialect.quote.is_none() || text.get(start).copied() != dialect.quote {
                    if self.plain(start, text, dialect, values) {
                        return true;
                    }
                    continue;
                }
                self.quote = Some((start, values.bytes.len()));
                self.position = start + 1;
            }
            if !self.quoted(text, dialect, values) {
                return false;
            }
            self.quote = None;
            if self.position >= text.len() {
                return true;
            }
            self.position += 1;
        }
    }

    /// Takes a value without quotes. Whether it was the last.
    fn plain(&mut self, start: usize, text: &[u8], dialect: &Dialect, values: &mut Values) -> bool {
        let end = end_of_value(text, start, dialect);
        let mut value = &text[start..end];
        while let [rest @ .., last] = value
            && dialect.trim_end
            && dialect.is_space(*last)
        {
            value = rest;
        }
        values.push(value, false);
        self.position = end + 1;
        end == text.len()
    }

    /// Takes the rest of a quoted value and stops at the separator or end after it. Whether it is complete.
    fn quoted(&mut self, text: &[u8], dialect: &Dialect, values: &mut Values) -> bool {
        loop {
            let rest = &text[self.position..];
            let special = |byte: &u8| Some(*byte) == dialect.quote || Some(*byte) == dialect.escape;
            let at = rest.iter().position(special).unwrap_or(rest.len());
            values.bytes.extend_from_slice(&rest[..at]);
            self.position += at;
            let Some(found) = rest.get(at).copied() else { return false };
            let next = rest.get(at + 1).copied();
            if Some(found) != dialect.quote {
                // An escape. What it stands before may be on the next line.
                let Some(next) = next else { return false };
                let escapes = special(&next);
                values.bytes.push(if escapes { next } else { found });
                self.position += if escapes { 2 } else { 1 };
            } else if next == dialect.quote {
                values.bytes.push(found);
                self.position += 2;
            } else {
                self.close(text, dialect, values);
                return true;
            }
        }
    }

    /// Ends a quoted value at the quote that stands here. A value that goes on after it was not quoted at
    /// all, and is taken as it stands.
    fn close(&mut self, text: &[u8], dialect: &Dialect, values: &mut Values) {
        let mut after = self.position + 1;
        while dialect.trim_end && text.get(after).is_some_and(|byte| dialect.is_space(*byte)) {
            after += 1;
        }
        if text.get(after).is_none_or(|byte| *byte == dialect.separator) {
            values.push(&[], true);
            self.position = after;
        } else if let Some((quote, value)) = self.quote {
            let end = end_of_value(text, after, dialect);
            values.bytes.truncate(value);
            values.push(&text[quote..end], false);
            self.position = end;
        }
    }
}

fn end_of_value(text: &[u8], start: usize, dialect: &Dialect) -> usize {
    let length = text[start..].iter().position(|byte| *byte == dialect.separator);
    length.map_or(text.len(), |length| start + length)
}

/// Reads records of a file.
pub(super) struct Records {
    dialect: Dialect,
    lines: Lines,
    /// The records read last.
    pub(super) records: Vec<Record>,
    /// Their values.
    pub(super) values: Values,
}

impl Records {
    pub(super) fn new(dialect: Dialect, lines: Lines) -> Self {
        Records { dialect, lines, records: Vec::new(), values: Values::default() }
    }

    /// The text of a record.
    pub(super) fn text_of(&self, record: &Record) -> &[u8] {
        self.lines.bytes(record.text.clone())
    }

    /// Reads the next records in place of those read last. Whether there are any.
    pub(super) fn read(&mut self, records_max: usize) -> Result<bool> {
        self.records.clear();
        self.values.bytes.clear();
        self.values.fields.clear();
        self.lines.release();
        while self.records.len() < records_max && self.lines.held() < TEXT_BATCH_BYTES {
            let Some(record) = self.read_one()? else { break };
            self.records.push(record);
        }
        Ok(!self.records.is_empty())
    }

    fn read_one(&mut self) -> Result<Option<Record>> {
        let first = loop {
            let Some(line) = self.lines.next()? else { return Ok(None) };
            if line.too_long.is_some() || !self.dialect.skips(self.lines.bytes(line.bytes.clone())) {
                break line;
            }
        };
        let first_field = self.values.fields.len();
        let mut text = first.bytes.clone();
        let mut problem = first.too_long.map(too_long);
        let mut cursor = Cursor::default();
        while problem.is_none() {
            if cursor.split(&self.lines.buffer()[text.clone()], &self.dialect, &mut self.values) {
                break;
            }
            let next = if self.dialect.multi_line { self.lines.next()? } else { None };
            problem = match next {
                Some(line) => {
                    let bytes = (line.whole.start - text.start) as u64
                        + line.too_long.unwrap_or(line.bytes.len() as u64);
                    text.end = line.bytes.end;
                    (bytes > TEXT_RECORD_BYTES as u64).then(|| too_long(bytes))
                }
                None if self.dialect.multi_line => Some("a quoted value is not closed".to_owned()),
                None => Some(
                    "a quoted value is not closed on its line (values with line breaks need option `multiLine`)"
                        .to_owned(),
                ),
            };
        }
        if problem.is_some() {
            // What was read of a value that is not complete.
            self.values.bytes.truncate(self.values.fields.last().map_or(0, |field| field.end));
        }
        let fields = first_field..self.values.fields.len();
        Ok(Some(Record { line: first.number, text, problem, fields }))
    }
}
