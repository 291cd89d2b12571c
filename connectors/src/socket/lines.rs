//! Bytes to lines, whatever pieces the bytes arrive in.

use super::{InvalidUtf8, LongLine};
use lotic_operators::Timestamp;
use std::collections::VecDeque;

/// A complete line and when its last byte was received.
pub(super) type Line = (String, Timestamp);

/// Memory that a line needs while it waits: an empty one is not free.
fn bytes_of(text: &str) -> usize {
    text.len() + size_of::<Line>()
}

/// Splits bytes into lines. A line ends with `\n` or `\r\n`; the last one may go without.
#[derive(Debug)]
pub(super) struct Splitter {
    pub(super) line_bytes_max: usize,
    pub(super) long_line: LongLine,
    pub(super) invalid_utf8: InvalidUtf8,
    ready: VecDeque<Line>,
    ready_bytes: usize,
    partial: Vec<u8>,
    /// The open line is too long and its bytes are dropped.
    skipping: bool,
    lines: u64,
    skipped: u64,
    failure: Option<String>,
}

impl Splitter {
    pub(super) fn new(line_bytes_max: usize, long_line: LongLine, invalid_utf8: InvalidUtf8) -> Self {
        Splitter {
            line_bytes_max,
            long_line,
            invalid_utf8,
            ready: VecDeque::new(),
            ready_bytes: 0,
            partial: Vec::new(),
            skipping: false,
            lines: 0,
            skipped: 0,
            failure: None,
        }
    }

    /// Takes in bytes. After a failure nothing is taken in any more.
    pub(super) fn feed(&mut self, bytes: &[u8], received: Timestamp) {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        let last = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            self.complete(piece, received);
        }
        self.append(last);
    }

    /// The input has ended: what is left is a line.
    pub(super) fn finish(&mut self, received: Timestamp) {
        if self.skipping || !self.partial.is_empty() {
            self.complete(&[], received);
        }
    }

    /// The connection broke: what is left is torn. Returns its length.
    pub(super) fn discard_partial(&mut self) -> usize {
        self.skipping = false;
        std::mem::take(&mut self.partial).len()
    }

    fn append(&mut self, piece: &[u8]) {
        if self.skipping || self.failure.is_some() {
            return;
        }
        self.partial.extend_from_slice(piece);
        // The last byte may be the `\r` of a line that is just short enough.
        if self.partial.len() > self.line_bytes_max + 1 {
            self.too_long(self.partial.len());
            self.skipping = true;
            self.partial = Vec::new();
        }
    }

    fn complete(&mut self, piece: &[u8], received: Timestamp) {
        if self.failure.is_some() {
            return;
        }
        if self.skipping {
            self.skipping = false;
            self.lines += 1;
            return;
        }
        if self.partial.is_empty() {
            self.accept(piece.to_vec(), received);
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(piece);
            self.accept(line, received);
        }
    }

    fn accept(&mut self, mut line: Vec<u8>, received: Timestamp) {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.len() > self.line_bytes_max {
            self.too_long(line.len());
            self.lines += 1;
            return;
        }
        let text = match (String::from_utf8(line), self.invalid_utf8) {
            (Ok(text), _) => text,
            (Err(error), InvalidUtf8::Replace) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
            (Err(error), InvalidUtf8::Fail) => {
                self.failure = Some(format!(
                    "line {} is not UTF-8 ({}); send UTF-8, or set `invalid_utf8` to `Replace` (option \
                     `invalidUtf8`)",
                    self.lines + 1,
                    error.utf8_error()
                ));
                return;
            }
        };
        self.lines += 1;
        self.ready_bytes += bytes_of(&text);
        self.ready.push_back((text, received));
    }

    fn too_long(&mut self, bytes: usize) {
        match self.long_line {
            LongLine::Skip => self.skipped += 1,
            LongLine::Fail => {
                self.failure = Some(format!(
                    "line {} is too long: {bytes} bytes so far, the limit is {}; raise `line_bytes_max` \
                     (option `maxLineBytes`), or set `long_line` to `Skip` (option `longLine`)",
                    self.lines + 1,
                    self.line_bytes_max
                ));
            }
        }
    }

    /// The next line.
    pub(super) fn next(&mut self) -> Option<Line> {
        let line = self.ready.pop_front()?;
        self.ready_bytes -= bytes_of(&line.0);
        Some(line)
    }

    /// Complete lines not yet taken.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Memory that the complete lines not yet taken need.
    pub(super) fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Over-long lines skipped since the last call.
    pub(super) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Whether no more lines can come.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Why no more lines can come, once all before it were taken.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref().filter(|_| self.ready.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(0);

    fn split(splitter: &mut Splitter, pieces: &[&[u8]]) -> Vec<String> {
        for piece in pieces {
            splitter.feed(piece, NOW);
        }
        splitter.finish(NOW);
        std::iter::from_fn(|| splitter.next()).map(|(line, _)| line).collect()
    }

    fn skipping(line_bytes_max: usize) -> Splitter {
        Splitter::new(line_bytes_max, LongLine::Skip, InvalidUtf8::Replace)
    }

    fn strict(line_bytes_max: usize) -> Splitter {
        Splitter::new(line_bytes_max, LongLine::Fail, InvalidUtf8::Fail)
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_the_pieces(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), Just(0xff)], 0..60),
            piece_bytes in 1usize..8,
        ) {
            let whole = split(&mut skipping(5), &[&bytes]);
            let pieces: Vec<&[u8]> = bytes.chunks(piece_bytes).collect();
            prop_assert_eq!(split(&mut skipping(5), &pieces), whole);
        }
    }

    #[test]
    fn line_ends_and_the_last_line() {
        assert_eq!(split(&mut strict(9), &[b"a\r\n\nb\rc\nd"]), ["a", "", "b\rc", "d"]);
        assert_eq!(split(&mut strict(9), &[b"a\n"]), ["a"]);
        assert_eq!(split(&mut strict(9), &[b"a\r", b"\nb\r"]), ["a", "b"]);
        assert_eq!(split(&mut strict(9), &[b""]), [""; 0]);
    }

    #[test]
    fn a_long_line_fails_after_the_lines_before_it_and_names_itself() {
        let mut splitter = strict(3);
        assert_eq!(split(&mut splitter, &[b"one\r\ntwo\nth", b"ree\nfour\n"]), ["one", "two"]);
        let failure = splitter.failure().unwrap();
        assert!(failure.starts_with("line 3 is too long: 5 bytes so far, the limit is 3"), "{failure}");
    }

    #[test]
    fn a_long_line_without_end_does_not_fill_memory() {
        let mut splitter = skipping(3);
        for _ in 0..1000 {
            splitter.feed(&[b'x'; 100], NOW);
            assert!(splitter.partial.capacity() <= 200);
        }
        assert_eq!(split(&mut splitter, &[b"\nnext\nok"]), ["ok"]);
        assert_eq!(splitter.take_skipped(), 2);
    }

    #[test]
    fn bytes_that_are_not_text() {
        let mut splitter = strict(9);
        assert_eq!(split(&mut splitter, &[b"a\n\xff\nb\n"]), ["a"]);
        assert!(splitter.failure().unwrap().starts_with("line 2 is not UTF-8"));
        assert_eq!(split(&mut skipping(9), &[b"\xffb\n"]), ["\u{fffd}b"]);
    }
}
