//! Statements: read from a file, taken apart, each with its place in the file.

use crate::fault::{Fault, Place};
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, SparkSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The text that statements come from.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// What to call it in messages.
    pub(crate) name: Arc<str>,
    pub(crate) text: Arc<str>,
}

/// One statement.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) script: Script,
    /// Where it stands in the script, in bytes.
    pub(crate) range: Range<usize>,
    pub(crate) kind: Kind,
}

/// What a statement does, as far as the command line treats it differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Gives rows.
    Query,
    /// Gives rows that describe something: EXPLAIN, DESCRIBE, SHOW.
    Tell,
    /// Writes rows into a table.
    Insert(Insert),
    /// Defines or sets something.
    Define,
}

/// The parts of an INSERT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Insert {
    /// The table, as written.
    pub(crate) table: String,
    /// Whether what is there is replaced.
    pub(crate) overwrite: bool,
    /// Where the rows come from, in bytes of the script.
    pub(crate) query: Range<usize>,
}

impl Script {
    /// Reads a file; `-` is standard input.
    ///
    /// # Errors
    /// If it cannot be read or is not UTF-8.
    pub(crate) fn read(path: &Path) -> Result<Script, Fault> {
        let mut bytes = Vec::new();
        let (name, read) = if path == Path::new("-") {
            ("standard input".to_owned(), std::io::stdin().read_to_end(&mut bytes).map(|_| ()))
        } else {
            (path.display().to_string(), std::fs::read(path).map(|read| bytes = read))
        };
        read.map_err(|error| Fault::input(format!("`{name}` cannot be read: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let line =
                error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
            Fault::input(format!("`{name}`, line {line}: not valid UTF-8; save the file as UTF-8"))
        })?;
        Ok(Script::new(name, text))
    }

    pub(crate) fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Script {
        Script { name: name.into(), text: text.into() }
    }

    /// Takes the text apart.
    ///
    /// # Errors
    /// The first mistake in the syntax, with its place. Nothing has run then.
    pub(crate) fn statements(&self) -> Result<Vec<Statement>, Fault> {
        let mut tokens =
            Tokenizer::new(&GenericDialect {}, &self.text).tokenize_with_location().map_err(|error| {
                let at = self.offset(error.location);
                Fault::input(error.message).at(self.place(at..at + 1))
            })?;
        tokens.push(TokenWithSpan::wrap(Token::SemiColon));
        let mut statements = Vec::new();
        for tokens in tokens.split(|token| token.token == Token::SemiColon) {
            let said = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
            let (Some(first), Some(last)) =
                (tokens.iter().find(said), tokens.iter().rev().find(|token| said(token)))
            else {
                continue;
            };
            let range = self.offset(first.span.start)..self.offset(last.span.end);
            let mut tokens = tokens.to_vec();
            let external = is_external(&tokens);
            if external && !has_location(&tokens) {
                // The grammar wants one; sockets and the like have none.
                let words = [Token::make_keyword("LOCATION"), Token::SingleQuotedString(String::new())];
                tokens.extend(words.into_iter().map(TokenWithSpan::wrap));
            }
            let parsed = self.parse(&tokens, &range, external)?;
            let kind = self.kind(&parsed, &tokens, &range);
            statements.push(Statement { script: self.clone(), range, kind });
        }
        Ok(statements)
    }

    /// Types are written as Spark writes them where columns are defined.
    fn parse(&self, tokens: &[TokenWithSpan], range: &Range<usize>, external: bool) -> Result<Parsed, Fault> {
        let dialect: &dyn Dialect = if external { &SparkSqlDialect {} } else { &GenericDialect {} };
        let parser = DFParserBuilder::new(tokens.to_vec()).with_dialect(dialect).build();
        let parsed = parser.and_then(|mut parser| parser.parse_statements());
        match parsed {
            Ok(mut statements) if statements.len() == 1 => {
                Ok(statements.pop_front().expect("invariant: there is one"))
            }
            Ok(_) => Err(Fault::input("expected one statement").at(self.place(range.clone()))),
            Err(error) => {
                let (message, location) = without_location(&error.strip_backtrace());
                let place = location.and_then(|location| self.token_at(tokens, location));
                // What is missing at the end has no place: show where the statement ends.
                let end = self.text[..range.end].char_indices().next_back().map_or(0, |(at, _)| at);
                Err(Fault::input(message).at(self.place(place.unwrap_or(end..range.end))))
            }
        }
    }

    fn token_at(&self, tokens: &[TokenWithSpan], location: Location) -> Option<Range<usize>> {
        let token = tokens.iter().find(|token| token.span.start == location)?;
        Some(self.offset(token.span.start)..self.offset(token.span.end))
    }

    fn kind(&self, parsed: &Parsed, tokens: &[TokenWithSpan], range: &Range<usize>) -> Kind {
        let Parsed::Statement(statement) = parsed else {
            return match parsed {
                Parsed::Explain(_) => Kind::Tell,
                _ => Kind::Define,
            };
        };
        match statement.as_ref() {
            ast::Statement::Query(_) => Kind::Query,
            ast::Statement::Insert(insert) => {
                let from = self.rows_of_insert(tokens).unwrap_or(range.start);
                Kind::Insert(Insert {
                    table: insert.table.to_string(),
                    overwrite: insert.overwrite,
                    query: from..range.end,
                })
            }
            ast::Statement::Explain { .. } | ast::Statement::ExplainTable { .. } => Kind::Tell,
            other if other.to_string().starts_with("SHOW") => Kind::Tell,
            _ => Kind::Define,
        }
    }

    /// Where the query of an INSERT begins.
    fn rows_of_insert(&self, tokens: &[TokenWithSpan]) -> Option<usize> {
        let said: Vec<&TokenWithSpan> =
            tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        let first = said.iter().position(|token| {
            matches!(&token.token, Token::Word(word)
                if matches!(word.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM))
        })?;
        let mut first = first;
        while first > 0 && said[first - 1].token == Token::LParen {
            first -= 1;
        }
        Some(self.offset(said[first].span.start))
    }

    /// The byte at a line and a column, both counted from 1, columns in characters.
    pub(crate) fn offset(&self, location: Location) -> usize {
        let mut start = 0;
        for _ in 1..location.line {
            match self.text[start..].find('\n') {
                Some(end) => start += end + 1,
                None => return self.text.len(),
            }
        }
        let column = (location.column as usize).saturating_sub(1);
        self.text[start..].char_indices().nth(column).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// A part of the text, of whole characters.
    pub(crate) fn place(&self, range: Range<usize>) -> Place {
        let end = self.text.ceil_char_boundary(range.end.min(self.text.len()));
        Place { script: self.clone(), range: self.text.floor_char_boundary(range.start.min(end))..end }
    }

    /// A part of the text with what precedes it blanked out, so that lines and columns in messages about it
    /// are those of the file.
    pub(crate) fn positioned(&self, range: &Range<usize>) -> String {
        let before = &self.text[..range.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let mut text = "\n".repeat(before.matches('\n').count());
        text.extend(std::iter::repeat_n(' ', before[line_start..].chars().count()));
        text.push_str(&self.text[range.clone()]);
        text
    }
}

impl Statement {
    /// The statement as text, with the lines and columns of its file.
    pub(crate) fn positioned(&self) -> String {
        self.script.positioned(&self.range)
    }

    /// All of it.
    pub(crate) fn place(&self) -> Place {
        self.script.place(self.range.clone())
    }
}

fn keywords(tokens: &[TokenWithSpan]) -> impl Iterator<Item = Keyword> {
    tokens.iter().filter_map(|token| match &token.token {
        Token::Word(word) => Some(word.keyword),
        _ => None,
    })
}

/// Whether it defines an external table.
fn is_external(tokens: &[TokenWithSpan]) -> bool {
    keywords(tokens).next() == Some(Keyword::CREATE)
        && keywords(tokens).take(4).any(|word| word == Keyword::EXTERNAL)
}

fn has_location(tokens: &[TokenWithSpan]) -> bool {
    keywords(tokens).any(|word| word == Keyword::LOCATION)
}

/// Takes the location out of a parser's message.
fn without_location(message: &str) -> (String, Option<Location>) {
    let message = message.trim_start_matches("SQL error: ");
    let message =
        message.strip_prefix("ParserError(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(message);
    let message = message.trim_matches('"').replace("\\\"", "\"");
    let Some((said, place)) = message.rsplit_once(" at Line: ") else { return (sentence(&message), None) };
    let mut numbers = place.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(line), Some(column)) => (sentence(said), Some(Location { line, column })),
        _ => (sentence(&message), None),
    }
}

fn sentence(message: &str) -> String {
    message.replacen("Expected: ", "expected ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Vec<(Kind, String)> {
        let script = Script::new("t.sql", text);
        let statements = script.statements().unwrap();
        statements.into_iter().map(|one| (one.kind.clone(), text[one.range].to_owned())).collect()
    }

    #[test]
    fn a_script_is_taken_apart_with_semicolons_in_strings_and_comments_left_alone() {
        let text = "-- first; not a statement\nSELECT ';' AS a; ;\n  CREATE VIEW v AS SELECT 1; /* ; */ EXPLAIN SELECT 1";
        let found = kinds(text);
        assert_eq!(found[0], (Kind::Query, "SELECT ';' AS a".to_owned()));
        assert_eq!(found[1].0, Kind::Define);
        assert_eq!(found[2], (Kind::Tell, "EXPLAIN SELECT 1".to_owned()));
        assert_eq!(found.len(), 3);
        assert!(kinds(" -- nothing\n;;").is_empty());
    }

    #[test]
    fn an_insert_names_its_table_and_its_query() {
        for (text, query, overwrite) in [
            ("INSERT INTO s.t SELECT a FROM b", "SELECT a FROM b", false),
            ("INSERT OVERWRITE t (SELECT 1)", "(SELECT 1)", true),
            ("INSERT INTO t VALUES (1), (2)", "VALUES (1), (2)", false),
            (
                "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
                "WITH x AS (SELECT 1) SELECT * FROM x",
                false,
            ),
        ] {
            let Kind::Insert(insert) = kinds(text).remove(0).0 else { panic!("{text}") };
            assert_eq!(&text[insert.query], query);
            assert_eq!(insert.overwrite, overwrite);
        }
    }

    #[test]
    fn a_mistake_in_the_syntax_has_its_place() {
        for (text, wrong, line) in [
            ("SELECT 1;\nSELECT FROM WHERE é x", "x", 2),
            ("SELECT a b c FROM t", "c", 1),
            ("SELECT 1;\n\n  SELECT 'open", "'", 3),
            ("CREATE EXTERNAL TABEL t", "TABEL", 1),
            ("SELECT (1", "1", 1),
        ] {
            let fault = Script::new("t.sql", text).statements().unwrap_err();
            let place = fault.place.clone().unwrap();
            let shown = &text[place.range.clone()];
            assert!(shown == wrong || text.contains("WHERE é"), "{text}: `{shown}`, {}", fault.message);
            assert_eq!(text[..place.range.start].matches('\n').count() + 1, line, "{text}");
            assert!(!fault.message.contains("Line:"), "{}", fault.message);
        }
    }

    #[test]
    fn a_mistake_at_a_character_of_several_bytes_is_shown() {
        for text in ["''r\"é", "SET a = -l'IéQ\n6(\"é;' r\"év(\nB"] {
            let fault = Script::new("t.sql", text).statements().unwrap_err();
            assert!(text.is_char_boundary(fault.place.clone().unwrap().range.end), "{text}");
            assert!(fault.render(false).contains("t.sql"), "{text}");
        }
    }

    #[test]
    fn a_statement_keeps_the_lines_and_columns_of_its_file() {
        let text = "SELECT 1; -- é\n  SELECT 2;  SELECT 3";
        let script = Script::new("t.sql", text);
        let third = script.statements().unwrap().remove(2);
        assert_eq!(third.positioned(), format!("\n{}SELECT 3", " ".repeat(13)));
    }

    #[test]
    fn a_table_without_a_location_needs_none() {
        let text =
            "CREATE UNBOUNDED EXTERNAL TABLE t (a INT) STORED AS socket OPTIONS ('port' '1'); SELECT 1";
        let found = Script::new("t.sql", text).statements().unwrap();
        assert_eq!(found[0].kind, Kind::Define);
        let text = "CREATE EXTERNAL TABLE t (a STRUCT<b: INT, c: ARRAY<STRING>>) STORED AS json LOCATION 'x'";
        assert_eq!(Script::new("t.sql", text).statements().unwrap()[0].kind, Kind::Define);
        assert!(found[1].positioned().ends_with("SELECT 1"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-zA-Z0-9 ;'\"()\n,.é*/-]{0,60}", head in prop::sample::select(vec![
            "", "SELECT ", "INSERT INTO t ", "CREATE EXTERNAL TABLE t ", "EXPLAIN ", "SET a = ", "COPY ",
        ])) {
            let script = Script::new("t.sql", format!("{head}{text}"));
            match script.statements() {
                Ok(statements) => for one in statements {
                    prop_assert!(!script.text[one.range].is_empty());
                },
                Err(fault) => prop_assert!(!fault.render(false).is_empty()),
            }
        }
    }
}
