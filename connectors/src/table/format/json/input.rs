//! The records of a JSON file, as text.

use super::MULTI_LINE;
use crate::error::Result;
use crate::limits::{JSON_DEPTH, TEXT_BATCH_BYTES};
use crate::table::Options;
use crate::table::format::lines::{Lines, read_whole, too_long};
use serde::de::IgnoredAny;
use serde_json::Deserializer;
use std::ops::Range;
use std::path::Path;

/// A record, as a place in the text.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Where its text is.
    text: Range<usize>,
    /// Why it is not to be decoded.
    pub(super) problem: Option<String>,
}

/// The records of a file.
pub(super) enum Input {
    /// A record a line.
    Lines(Box<Lines>),
    /// A document: its text and its records not yet given out.
    Document(Vec<u8>, std::vec::IntoIter<Entry>),
}

impl Input {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Self> {
        if !options.bool(MULTI_LINE, false)? {
            return Ok(Input::Lines(Box::new(Lines::open(path, None)?)));
        }
        let text = read_whole(path)?;
        let entries = split(&text);
        Ok(Input::Document(text, entries.into_iter()))
    }

    /// The text of a record read last.
    pub(super) fn text(&self, entry: &Entry) -> &[u8] {
        match self {
            Input::Lines(lines) => lines.bytes(entry.text.clone()),
            Input::Document(text, _) => &text[entry.text.clone()],
        }
    }

    /// The next records, in place of those read last; none at the end.
    pub(super) fn read(&mut self, records_max: usize) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        match self {
            Input::Document(_, rest) => entries.extend(rest.take(records_max)),
            Input::Lines(lines) => {
                lines.release();
                while entries.len() < records_max && lines.held() < TEXT_BATCH_BYTES {
                    let Some(line) = lines.next()? else { break };
                    let blank = lines.bytes(line.bytes.clone()).iter().all(u8::is_ascii_whitespace);
                    if !blank || line.too_long.is_some() {
                        let problem = line.too_long.map(too_long);
                        entries.push(Entry { line: line.number, text: line.bytes, problem });
                    }
                }
            }
        }
        for index in 0..entries.len() {
            if entries[index].problem.is_none() && is_too_deep(self.text(&entries[index])) {
                entries[index].problem =
                    Some(format!("objects and lists are nested deeper than the limit of {JSON_DEPTH}"));
            }
        }
        Ok(entries)
    }
}

/// Whether objects and lists are nested deeper than the limit.
fn is_too_deep(text: &[u8]) -> bool {
    let opening = text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if opening <= JSON_DEPTH {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH {
            return true;
        }
    }
    false
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The records of a document: the elements of a list, or the document itself. From where it cannot be read on,
/// the rest of it is one malformed record.
fn split(text: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let (mut line, mut counted) = (1, 0);
    let mut add = |text_of: Range<usize>, problem: Option<String>| {
        line += text[counted..text_of.start].iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = text_of.start;
        entries.push(Entry { line, text: text_of, problem });
    };
    let mut at = skip_space(text, 0);
    if at == text.len() {
        return entries;
    }
    if text[at] != b'[' {
        add(at..text.len(), None);
        return entries;
    }
    at = skip_space(text, at + 1);
    let mut first = true;
    loop {
        if first && text.get(at) == Some(&b']') {
            break;
        }
        first = false;
        let mut values = Deserializer::from_slice(&text[at..]).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                add(at..text.len(), Some(format!("the list cannot be read on from here: {error}")));
                return entries;
            }
            None => {
                add(at..text.len(), Some("the list is not closed".to_owned()));
                return entries;
            }
        }
        let end = at + values.byte_offset();
        add(at..end, None);
        at = skip_space(text, end);
        match text.get(at) {
            Some(b',') => at = skip_space(text, at + 1),
            Some(b']') => break,
            _ => {
                add(at..text.len(), Some("expected `,` or `]` after an element of the list".to_owned()));
                return entries;
            }
        }
    }
    let rest = skip_space(text, at + 1);
    if rest < text.len() {
        add(rest..text.len(), Some("there is more text after the list".to_owned()));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(document: &str) -> Vec<(u64, &str, bool)> {
        let entries = split(document.as_bytes()).into_iter();
        entries.map(|entry| (entry.line, &document[entry.text], entry.problem.is_some())).collect()
    }

    #[test]
    fn a_list_is_split_into_its_elements_as_far_as_it_can_be_read() {
        assert_eq!(texts("  \n"), []);
        assert_eq!(texts("[ ]\n"), []);
        assert_eq!(texts("{\"a\":\n1}"), [(1, "{\"a\":\n1}", false)]);
        assert_eq!(
            texts("[\n{\"a\":[1,\n{}]} ,\n {\"b\":\"]\"}]"),
            [(2, "{\"a\":[1,\n{}]}", false), (4, "{\"b\":\"]\"}", false)]
        );
        assert_eq!(texts("[{}, {"), [(1, "{}", false), (1, "{", true)]);
        assert_eq!(texts("[{},"), [(1, "{}", false), (1, "", true)]);
        assert_eq!(texts("[{} {}]"), [(1, "{}", false), (1, "{}]", true)]);
        assert_eq!(texts("[{}] x"), [(1, "{}", false), (1, "x", true)]);
    }

    #[test]
    fn depth_counts_what_is_open_outside_strings() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(deep(JSON_DEPTH).as_bytes()));
        assert!(is_too_deep(deep(JSON_DEPTH + 1).as_bytes()));
        assert!(!is_too_deep("[]".repeat(500).as_bytes()));
        assert!(!is_too_deep(format!("{{\"a\\\"\":\"{}\"}}", "[".repeat(500)).as_bytes()));
    }
}
