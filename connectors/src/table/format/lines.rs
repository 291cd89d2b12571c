//! Lines of a file, found in one growing buffer so that nothing is copied.

use super::compression;
use crate::error::{ConnectorError, Result};
use crate::limits::{TEXT_DOCUMENT_BYTES, TEXT_READ_BYTES, TEXT_RECORD_BYTES, TEXT_SHOWN_BYTES};
use memchr::{memchr, memchr2, memmem};
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line, as a place in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its bytes without what ends it. Only the first of them if the line is over the limit.
    pub(super) bytes: Range<usize>,
    /// The bytes with what ends it.
    pub(super) whole: Range<usize>,
    /// How many bytes the line has, if that is over the limit.
    pub(super) too_long: Option<u64>,
}

/// Reads a file line by line. Places stay valid until [`Lines::release`].
pub(super) struct Lines {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    /// What was read and not released.
    buffer: Vec<u8>,
    /// Where the next line begins.
    position: usize,
    /// The number of the next line.
    number: u64,
    at_end: bool,
    /// What ends a line; `\n`, `\r\n` or `\r` if `None`.
    separator: Option<Vec<u8>>,
    bytes_max: usize,
    /// How many bytes are read at a time.
    read_bytes: usize,
}

impl Lines {
    /// Opens a file. A byte order mark is skipped.
    pub(super) fn open(path: &Path, separator: Option<&str>) -> Result<Self> {
        let mut lines = Lines::of(path, compression::open(path)?, separator);
        while lines.buffer.len() < BYTE_ORDER_MARK.len() && !lines.at_end {
            lines.fill()?;
        }
        if lines.buffer.starts_with(BYTE_ORDER_MARK) {
            lines.position = BYTE_ORDER_MARK.len();
        }
        Ok(lines)
    }

    fn of(path: &Path, input: Box<dyn Read + Send>, separator: Option<&str>) -> Self {
        Lines {
            path: path.to_owned(),
            input,
            buffer: Vec::new(),
            position: 0,
            number: 1,
            at_end: false,
            separator: separator.map(|text| text.as_bytes().to_vec()),
            bytes_max: TEXT_RECORD_BYTES,
            read_bytes: TEXT_READ_BYTES,
        }
    }

    /// The lines of a text, read a few bytes at a time, so that line ends fall on every edge.
    #[cfg(test)]
    pub(super) fn of_text(text: &str, step: usize, separator: Option<&str>) -> Self {
        let input = std::io::Cursor::new(text.as_bytes().to_vec());
        Lines { read_bytes: step, ..Lines::of(Path::new("file"), Box::new(input), separator) }
    }

    /// The bytes of a place.
    pub(super) fn bytes(&self, place: Range<usize>) -> &[u8] {
        &self.buffer[place]
    }

    /// The buffer that all places point into.
    pub(super) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// What was read and not given out, and where in the buffer it begins.
    pub(super) fn rest(&self) -> (&[u8], usize) {
        (&self.buffer[self.position..], self.position)
    }

    /// Gives out the next line, of which the caller has found the end: it has this many bytes, and that many with
    /// what ends it. All of them are in the buffer, and it is not over the limit.
    pub(super) fn give_found(&mut self, bytes: usize, whole: usize) -> Line {
        let start = self.position;
        self.give(start..start + bytes, start + whole, 0)
    }

    /// Bytes of the lines given out since the last release.
    pub(super) fn held(&self) -> usize {
        self.position
    }

    /// Lets go of the lines given out.
    pub(super) fn release(&mut self) {
        self.buffer.drain(..self.position);
        self.position = 0;
    }

    /// Reads more. Sets `at_end` when there is no more.
    fn fill(&mut self) -> Result<()> {
        let read = (&mut self.input).take(self.read_bytes as u64).read_to_end(&mut self.buffer);
        self.at_end = read.as_ref().is_ok_and(|read| *read < self.read_bytes);
        read.map(drop).map_err(|error| {
            let place = format!("cannot read `{}` after line {}", self.path.display(), self.number - 1);
            match error.kind() {
                ErrorKind::UnexpectedEof => {
                    ConnectorError::external(format!("{place}: the compressed file is truncated"), error)
                }
                _ => ConnectorError::external(place, error),
            }
        })
    }

    /// Where the first end of a line is at or after `from`: its place.
    fn terminator(&self, from: usize) -> Option<Range<usize>> {
        let bytes = &self.buffer[from..];
        if let Some(separator) = &self.separator {
            let at = match separator.as_slice() {
                [one] => memchr(*one, bytes),
                all => memmem::find(bytes, all),
            };
            return at.map(|at| from + at..from + at + separator.len());
        }
        let at = memchr2(b'\n', b'\r', bytes)?;
        let length = terminator_bytes(bytes, at);
        // The newline of a return at the end may be still to come.
        let length = if self.at_end { length.or(Some(1)) } else { length }?;
        Some(from + at..from + at + length)
    }

    /// The next line; `None` at the end. The last line counts also if nothing ends it.
    pub(super) fn next(&mut self) -> Result<Option<Line>> {
        let start = self.position;
        let mut searched = start;
        let mut dropped = 0_u64;
        loop {
            if let Some(end) = self.terminator(searched) {
                return Ok(Some(self.give(start..end.start, end.end, dropped)));
            }
            if self.at_end {
                let end = self.buffer.len();
                let any = end > start || dropped > 0;
                return Ok(any.then(|| self.give(start..end, end, dropped)));
            }
            // What ends the line may have begun in what was searched.
            let overlap = self.separator.as_ref().map_or(1, Vec::len);
            if self.buffer.len() - start > self.bytes_max + overlap {
                let keep = start + TEXT_SHOWN_BYTES;
                let tail = self.buffer.len() - overlap;
                dropped += (tail - keep) as u64;
                self.buffer.drain(keep..tail);
                searched = keep;
            } else {
                searched = self.buffer.len().saturating_sub(overlap).max(searched);
            }
            self.fill()?;
        }
    }

    fn give(&mut self, mut bytes: Range<usize>, next: usize, dropped: u64) -> Line {
        let number = self.number;
        self.number += 1;
        self.position = next;
        let length = bytes.len() as u64 + dropped;
        let too_long = (length > self.bytes_max as u64).then_some(length);
        let whole = bytes.start..next;
        if too_long.is_some() {
            bytes.end = bytes.start + TEXT_SHOWN_BYTES.min(bytes.len());
        }
        Line { number, bytes, whole, too_long }
    }
}

/// How many bytes end the line that ends here; `None` if it depends on what comes behind the bytes.
#[inline]
pub(super) fn terminator_bytes(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'\r', Some(b'\n')) => Some(2),
        (b'\r', None) => None,
        _ => Some(1),
    }
}

/// Why a record over the limit cannot be read.
pub(super) fn too_long(bytes: u64) -> String {
    format!("the record has {bytes} bytes, more than the limit of {TEXT_RECORD_BYTES}")
}

/// All of a file, without its byte order mark.
pub(super) fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let failed =
        |error: std::io::Error| ConnectorError::external(format!("cannot read `{}`", path.display()), error);
    let mut bytes = Vec::new();
    let limit = TEXT_DOCUMENT_BYTES as u64;
    compression::open(path)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(ConnectorError::user(format!(
            "{}: the file is to be read as a whole and has more than {limit} bytes: one record a line has no \
             such limit",
            path.display()
        )));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &str, step: usize, separator: Option<&str>, bytes_max: usize) -> Vec<(String, Option<u64>)> {
        let mut lines = Lines { bytes_max, ..Lines::of_text(text, step, separator) };
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            assert_eq!(line.number, found.len() as u64 + 1);
            found.push((String::from_utf8_lossy(lines.bytes(line.bytes)).into_owned(), line.too_long));
            if found.len() % 2 == 0 {
                lines.release();
            }
        }
        found
    }

    /// What splitting means, the slow way.
    fn reference(text: &str, separator: Option<&str>) -> Vec<String> {
        let plain = text.replace("\r\n", "\n").replace('\r', "\n");
        let (text, separator) = separator.map_or((plain.as_str(), "\n"), |separator| (text, separator));
        let mut lines: Vec<String> = text.split(separator).map(str::to_owned).collect();
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_reference_however_the_bytes_come(
            text in "[ab\r\n|;]{0,40}", step in 1_usize..8, choice in 0_usize..3,
        ) {
            let separator = [None, Some("|"), Some("|;")][choice];
            let found: Vec<String> = all(&text, step, separator, 1000).into_iter().map(|line| line.0).collect();
            prop_assert_eq!(found, reference(&text, separator));
        }
    }

    #[test]
    fn a_line_over_the_limit_is_named_with_its_length_and_the_next_is_read() {
        let long = "x".repeat(5000);
        for step in [1, 700, 100_000] {
            let found = all(&format!("a\n{long}\r\nb"), step, None, 2000);
            assert_eq!(found[1].1, Some(5000), "{step}");
            assert_eq!(found[1].0, "x".repeat(TEXT_SHOWN_BYTES));
            assert_eq!((found[0].0.as_str(), found[2].0.as_str(), found.len()), ("a", "b", 3));
        }
    }
}
