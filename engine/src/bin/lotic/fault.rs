//! What went wrong, shown: file, line and column, the text underlined, what to do.

use crate::script::{Script, Statement};
use crate::secrets::masked;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use datafusion::sql::sqlparser::tokenizer::Location;
use lotic::{Error, ErrorKind};
use std::ops::Range;

/// Why the command ends, and with which exit status.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) place: Option<Place>,
    pub(crate) helps: Vec<String>,
    pub(crate) status: u8,
}

/// A part of a script.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) script: Script,
    /// In bytes.
    pub(crate) range: Range<usize>,
}

/// The exit status when the query failed.
pub(crate) const FAILED: u8 = 1;
/// The exit status when the input is wrong.
pub(crate) const WRONG_INPUT: u8 = 2;

impl Fault {
    /// The input is wrong.
    pub(crate) fn input(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), place: None, helps: Vec::new(), status: WRONG_INPUT }
    }

    /// The query failed.
    pub(crate) fn failed(message: impl Into<String>) -> Fault {
        Fault { status: FAILED, ..Fault::input(message) }
    }

    /// An error of the engine about a statement that has not run.
    pub(crate) fn of_statement(error: &Error, statement: &Statement) -> Fault {
        let message = error.to_string();
        let place = error
            .location()
            .and_then(|location| place_at(location.line, location.column, statement))
            .unwrap_or_else(|| place_of(&message, statement));
        let (message, helps) = with_help(message);
        let status = if error.kind() == ErrorKind::User { WRONG_INPUT } else { FAILED };
        Fault { message, place: Some(place), helps, status }
    }

    /// A query that ran and failed.
    pub(crate) fn of_query(name: &str, error: &Error, statement: &Statement) -> Fault {
        Fault::failed(format!("query `{name}` failed: {error}")).at(statement.place())
    }

    /// Says where.
    pub(crate) fn at(mut self, place: Place) -> Fault {
        self.place = Some(place);
        self
    }

    /// Says what to do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Fault {
        self.helps.push(help.into());
        self
    }

    /// The message as it goes to standard error.
    pub(crate) fn render(&self, colours: bool) -> String {
        let text = self.place.as_ref().map(|place| masked(&place.script.text));
        let mut group = match self.place.as_ref().zip(text.as_deref()) {
            Some((place, text)) => {
                let range = place.shown();
                let snippet = Snippet::source(text)
                    .path(&*place.script.name)
                    .annotation(AnnotationKind::Primary.span(range));
                Group::with_title(Level::ERROR.primary_title(self.message.as_str())).element(snippet)
            }
            None => Group::with_title(Level::ERROR.primary_title(self.message.as_str())),
        };
        for help in &self.helps {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let status = if error.kind() == ErrorKind::User { WRONG_INPUT } else { FAILED };
        Fault { status, ..Fault::input(error.to_string()) }
    }
}

impl Place {
    /// What to underline: of a part with several lines, the first.
    fn shown(&self) -> Range<usize> {
        let part = &self.script.text[self.range.clone()];
        let end = part.find('\n').unwrap_or(part.len());
        self.range.start..self.range.start + part[..end].trim_end().len()
    }
}

/// The word at a line and a column, if they are within the statement.
fn place_at(line: u64, column: u64, statement: &Statement) -> Option<Place> {
    let script = &statement.script;
    let start = script.offset(Location { line, column });
    // The beginning stands for the whole: it is said where nothing better is known.
    if start == statement.range.start || !statement.range.contains(&start) {
        return None;
    }
    let rest = &script.text[start..statement.range.end];
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    let length = match rest.chars().next()? {
        quote @ ('\'' | '"' | '`') => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
        first if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
        first => first.len_utf8(),
    };
    Some(script.place(start..start + length))
}

/// Where in a statement a message points: at the position it gives, else at the first name it quotes that
/// stands in the statement, else at the whole.
fn place_of(message: &str, statement: &Statement) -> Place {
    let script = &statement.script;
    let text = &script.text[statement.range.clone()];
    for name in quoted(message) {
        if let Some(at) = find_word(text, name) {
            let start = statement.range.start + at;
            return script.place(start..start + name.len());
        }
    }
    statement.place()
}

/// The names that a message quotes; those of options and columns before those of formats and tables.
fn quoted(message: &str) -> Vec<&str> {
    let mut names: Vec<(bool, &str)> = Vec::new();
    for quote in ['`', '\'', '"'] {
        let parts: Vec<&str> = message.split(quote).collect();
        for pair in parts.windows(2).step_by(2).filter(|pair| pair.len() == 2) {
            let first = ["option ", "column ", "field named ", "function "];
            names.push((!first.iter().any(|word| pair[0].ends_with(word)), pair[1]));
        }
    }
    names.retain(|(_, name)| !name.is_empty() && !name.contains('\n'));
    names.sort_by_key(|(later, _)| *later);
    // A name with its catalog and schema is written without them.
    let short = |name: &'_ str| name.rsplit('.').next().map(str::len).map(|length| name.len() - length);
    names
        .into_iter()
        .flat_map(|(_, name)| [Some(name), short(name).map(|at| &name[at..])])
        .flatten()
        .filter(|name| !name.is_empty())
        .collect()
}

/// Where a name stands in a text on its own, in any case.
fn find_word(text: &str, name: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (text, name) = (text.to_ascii_lowercase(), name.to_ascii_lowercase());
    text.match_indices(&name).map(|(at, _)| at).find(|at| {
        let before = text[..*at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Parts a message from what it says should be done.
fn with_help(message: String) -> (String, Vec<String>) {
    match message.find("did you mean") {
        Some(at) => {
            let said = message[..at].trim_end().trim_end_matches([':', ';', ',', '.']).to_owned();
            (said, vec![message[at..].trim().to_owned()])
        }
        None => (message, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Statement {
        Script::new("t.sql", text).statements().unwrap().pop().unwrap()
    }

    #[test]
    fn an_option_that_is_wrong_is_underlined_and_the_help_stands_apart() {
        let statement = statement(
            "SELECT 1;\nCREATE EXTERNAL TABLE csv_t (a INT) STORED AS csv LOCATION 'x'\nOPTIONS ('headers' 'true')",
        );
        let error = Error::user("format `csv` has no option `headers`: did you mean `header`?");
        let fault = Fault::of_statement(&error, &statement);
        let shown = fault.render(false);
        assert_eq!(fault.status, WRONG_INPUT);
        assert!(shown.contains("t.sql:3:11"), "{shown}");
        assert!(shown.contains("^^^^^^^"), "{shown}");
        assert!(shown.contains("help: did you mean `header`?"), "{shown}");
    }

    #[test]
    fn a_message_without_a_name_points_at_the_statement() {
        let statement = statement("SELECT 1;\n  SELECT 2\nFROM x");
        let shown = Fault::of_statement(&Error::external("the disk is full"), &statement).render(false);
        assert!(shown.contains("t.sql:2:3") && shown.contains("the disk is full"), "{shown}");
        assert_eq!(find_word("select agent, age from x", "AGE"), Some(14));
    }
}
