//! Records of a CSV file split into fields.
//!
//! Most records are plain: they stand on one line, whole in the buffer, and no value is in quotes. Their values are
//! found in one pass and left where they are. All others go the long way, and their values are copied.

use super::dialect::Dialect;
use crate::error::Result;
use crate::limits::{TEXT_BATCH_BYTES, TEXT_RECORD_BYTES};
use crate::table::format::lines::{Lines, terminator_bytes, too_long};
use memchr::{memchr, memchr2, memchr3};
use std::ops::Range;
use std::str;

/// A value, without quotes and escapes.
#[derive(Debug, Clone, Copy)]
struct Field {
    start: u32,
    end: u32,
    quoted: bool,
    /// Whether it lies in the buffer of lines, as it stands in the file, or among the copied values.
    in_file: bool,
}

/// A record of a batch.
#[derive(Debug)]
pub(super) struct Record {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Its text in the buffer of lines.
    text: Range<u32>,
    /// What is wrong with it.
    pub(super) problem: Option<String>,
    /// Its first field and the one after the last.
    fields: Range<u32>,
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

/// The fields of some records.
#[derive(Debug, Default)]
struct Values {
    /// The values that are not as they stand in the file.
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

impl Values {
    /// Adds a value by copying it.
    fn push(&mut self, value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.push_copied(start, false);
    }

    /// Adds the value that was copied, from `start` to here.
    fn push_copied(&mut self, start: usize, quoted: bool) {
        let (start, end) = (start as u32, self.bytes.len() as u32);
        self.fields.push(Field { start, end, quoted, in_file: false });
    }
}

/// Bytes, and what text they are as a whole, if they are UTF-8.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    text: Option<&'a str>,
}

impl<'a> Text<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Text { bytes, text: str::from_utf8(bytes).ok() }
    }

    /// The text of a part. The whole may be UTF-8 where a part, cut inside a character, is not.
    #[inline]
    fn part(&self, part: Range<usize>) -> Option<&'a str> {
        match self.text {
            Some(text) => text.get(part),
            None => str::from_utf8(&self.bytes[part]).ok(),
        }
    }
}

/// The values of the records read last.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    fields: &'a [Field],
    in_file: Text<'a>,
    copied: Text<'a>,
}

impl<'a> Cells<'a> {
    fn new(values: &'a Values, lines: &'a Lines) -> Self {
        let in_file = Text::of(&lines.buffer()[..lines.held()]);
        Cells { fields: &values.fields, in_file, copied: Text::of(&values.bytes) }
    }

    /// What a record has in a column; null if it has not that many.
    #[inline]
    pub(super) fn cell(&self, record: &Record, column: usize) -> Cell<'a> {
        if column >= record.width() {
            return Cell::Null;
        }
        let Field { start, end, quoted, in_file } = self.fields[record.fields.start as usize + column];
        if start == end {
            return if quoted { Cell::QuotedEmpty } else { Cell::Null };
        }
        let text = if in_file { &self.in_file } else { &self.copied };
        text.part(start as usize..end as usize).map_or(Cell::NotText, Cell::Text)
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
        values.push(value);
        self.position = end + 1;
        end == text.len()
    }

    /// Takes the rest of a quoted value and stops at the separator or end after it. Whether it is complete.
    fn quoted(&mut self, text: &[u8], dialect: &Dialect, values: &mut Values) -> bool {
        loop {
            let rest = &text[self.position..];
            let special = |byte: &u8| Some(*byte) == dialect.quote || Some(*byte) == dialect.escape;
            let at = match (dialect.quote, dialect.escape) {
                (Some(quote), Some(escape)) => memchr2(quote, escape, rest),
                _ => rest.iter().position(special),
            };
            let at = at.unwrap_or(rest.len());
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
        let Some((quote, value)) = self.quote else { return };
        let mut after = self.position + 1;
        while dialect.trim_end && text.get(after).is_some_and(|byte| dialect.is_space(*byte)) {
            after += 1;
        }
        if text.get(after).is_none_or(|byte| *byte == dialect.separator) {
            values.push_copied(value, true);
            self.position = after;
        } else {
            let end = end_of_value(text, after, dialect);
            values.bytes.truncate(value);
            values.push(&text[quote..end]);
            self.position = end;
        }
    }
}

fn end_of_value(text: &[u8], start: usize, dialect: &Dialect) -> usize {
    let length = memchr(dialect.separator, &text[start..]);
    length.map_or(text.len(), |length| start + length)
}

/// Reads records of a file.
pub(super) struct Records {
    dialect: Dialect,
    lines: Lines,
    /// The records read last.
    pub(super) records: Vec<Record>,
    values: Values,
}

impl Records {
    pub(super) fn new(dialect: Dialect, lines: Lines) -> Self {
        Records { dialect, lines, records: Vec::new(), values: Values::default() }
    }

    /// The text of a record.
    pub(super) fn text_of(&self, record: &Record) -> &[u8] {
        self.lines.bytes(record.text.start as usize..record.text.end as usize)
    }

    /// The records read last, and their values.
    pub(super) fn cells(&mut self) -> (&mut [Record], Cells<'_>) {
        (&mut self.records, Cells::new(&self.values, &self.lines))
    }

    /// Reads the next records in place of those read last. Whether there are any.
    pub(super) fn read(&mut self, records_max: usize) -> Result<bool> {
        self.records.clear();
        self.values.bytes.clear();
        self.values.fields.clear();
        self.lines.release();
        while self.records.len() < records_max && self.lines.held() < TEXT_BATCH_BYTES {
            let record = match self.read_plain() {
                Some(record) => record,
                None => match self.read_one()? {
                    Some(record) => record,
                    None => break,
                },
            };
            self.records.push(record);
        }
        Ok(!self.records.is_empty())
    }

    /// Reads the next record if it is plain.
    fn read_plain(&mut self) -> Option<Record> {
        let Dialect { separator, quote, comment, trim_start, trim_end, .. } = self.dialect;
        let (rest, base) = self.lines.rest();
        let first = *rest.first()?;
        // The line may hold no record.
        let skipped = matches!(first, b' ' | b'\t' | b'\n' | b'\r') || Some(first) == comment;
        if skipped || trim_start || trim_end {
            return None;
        }
        let fields = self.values.fields.len();
        let found = split_plain(rest, base, (separator, quote), &mut self.values.fields);
        let Some((bytes, whole)) = found.filter(|(bytes, _)| *bytes <= TEXT_RECORD_BYTES) else {
            self.values.fields.truncate(fields);
            return None;
        };
        let line = self.lines.give_found(bytes, whole);
        let text = line.bytes.start as u32..line.bytes.end as u32;
        let fields = fields as u32..self.values.fields.len() as u32;
        Some(Record { line: line.number, text, problem: None, fields })
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
        let fields = first_field as u32..self.values.fields.len() as u32;
        let text = text.start as u32..text.end as u32;
        Ok(Some(Record { line: first.number, text, problem, fields }))
    }
}

/// Finds the values of a line, which lies at `base` in the buffer, and its end: its bytes, without and with what ends
/// it. `None` if a value is in quotes or the line does not end here.
fn split_plain(
    text: &[u8],
    base: usize,
    (separator, quote): (u8, Option<u8>),
    fields: &mut Vec<Field>,
) -> Option<(usize, usize)> {
    let mut start = 0;
    loop {
        let rest = &text[start..];
        if quote.is_some() && rest.first().copied() == quote {
            return None;
        }
        let end = start + memchr3(separator, b'\n', b'\r', rest)?;
        let (from, to) = ((base + start) as u32, (base + end) as u32);
        fields.push(Field { start: from, end: to, quoted: false, in_file: true });
        if text[end] != separator {
            return terminator_bytes(text, end).map(|bytes| (end, end + bytes));
        }
        start = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Options;
    use proptest::prelude::*;

    /// A value and whether it was quoted, by the rules read one character at a time; `None` if a quote is open.
    fn reference(line: &str, escape: char) -> Option<Vec<(String, bool)>> {
        let chars: Vec<char> = line.chars().collect();
        let (mut fields, mut at) = (Vec::new(), 0);
        loop {
            let start = at;
            let (mut value, mut quoted) = (String::new(), false);
            if chars.get(at) == Some(&'"') {
                quoted = true;
                at += 1;
                loop {
                    let (found, next) = (*chars.get(at)?, chars.get(at + 1).copied());
                    let pair = (found == '"' && next == Some('"'))
                        || (found == escape
                            && found != '"'
                            && matches!(next, Some(c) if c == '"' || c == escape));
                    if pair {
                        value.push(next?);
                        at += 2;
                    } else if found == '"' {
                        at += 1;
                        break;
                    } else {
                        value.push(found);
                        at += 1;
                    }
                }
            }
            let rest: String = chars[at..].iter().take_while(|found| **found != ',').collect();
            if !quoted || !rest.is_empty() {
                quoted = false;
                at += rest.chars().count();
                value = chars[start..at].iter().collect();
            }
            fields.push((value, quoted));
            if at == chars.len() {
                return Some(fields);
            }
            at += 1;
        }
    }

    /// A record as a file has it: line, text, values unless something is wrong with it.
    type Found = (u64, String, Option<Vec<(String, bool)>>);

    /// The records of a file whose lines are split one by one.
    fn records_of(text: &str, escape: char) -> Vec<Found> {
        let plain = text.replace("\r\n", "\n").replace('\r', "\n");
        let lines = plain.split('\n').zip(1..).filter(|(line, _)| line.contains(|c: char| c != ' '));
        // Whether an empty value was quoted is all that can be seen of quotes.
        let values = |line: &str| {
            let values = reference(line, escape)?.into_iter();
            Some(
                values
                    .map(|(value, quoted)| (quoted && value.is_empty(), value))
                    .map(|(q, v)| (v, q))
                    .collect(),
            )
        };
        lines.map(|(line, number)| (number, line.to_owned(), values(line))).collect()
    }

    fn found(records: &Records, record: &Record, cells: Cells<'_>) -> Found {
        let values = (0..record.width()).map(|column| match cells.cell(record, column) {
            Cell::Null => (String::new(), false),
            Cell::QuotedEmpty => (String::new(), true),
            Cell::Text(text) => (text.to_owned(), false),
            Cell::NotText => panic!("the file is text"),
        });
        let text = String::from_utf8_lossy(records.text_of(record)).into_owned();
        (record.line, text, record.problem.is_none().then(|| values.collect()))
    }

    proptest! {
        #[test]
        fn records_are_those_of_the_reference_however_the_bytes_come(
            text in "([ab1é]{0,3}[,\"\\\\ \r\n]){0,24}[ab]{0,2}",
            step in 1_usize..40, most in 1_usize..6, doubled in any::<bool>(),
        ) {
            let escape = if doubled { '"' } else { '\\' };
            let options: Options = [("escape", escape.to_string())].into_iter().collect();
            let dialect = Dialect::for_reading(&options).unwrap();
            let mut records = Records::new(dialect, Lines::of_text(&text, step, None));
            let mut all = Vec::new();
            while records.read(most).unwrap() {
                let cells = Cells::new(&records.values, &records.lines);
                all.extend(records.records.iter().map(|record| found(&records, record, cells)));
            }
            prop_assert_eq!(all, records_of(&text, escape));
        }
    }

    proptest! {
        #[test]
        fn values_are_those_of_the_reference_in_one_piece_or_two(
            line in "[ab,\"\\\\é]{0,24}", cut in 0_usize..24, doubled in any::<bool>(),
        ) {
            let escape = if doubled { '"' } else { '\\' };
            let options: Options = [("escape", escape.to_string())].into_iter().collect();
            let dialect = Dialect::for_reading(&options).unwrap();
            let split = |pieces: &[usize]| {
                let (mut values, mut cursor) = (Values::default(), Cursor::default());
                let complete = pieces.iter().any(|end| cursor.split(&line.as_bytes()[..*end], &dialect, &mut values));
                let fields: Vec<(String, bool)> = values.fields.iter().map(|field| {
                    let value = &values.bytes[field.start as usize..field.end as usize];
                    (String::from_utf8_lossy(value).into_owned(), field.quoted)
                }).collect();
                complete.then_some(fields)
            };
            prop_assert_eq!(split(&[line.len()]), reference(&line, escape));
            // A line break inside quotes cuts a record: what is open at the cut goes on after it.
            let cut = (0..=cut.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
            if reference(&line[..cut], escape).is_none() {
                prop_assert_eq!(split(&[cut, line.len()]), reference(&line, escape));
            }
        }
    }
}
