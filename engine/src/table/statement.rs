//! SQL text as statements, each with its place.

use super::errors::parser as parser_error;
use crate::error::{Error, Location, Result};
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, SparkSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// One statement of a text, parsed and not run.
#[derive(Debug, Clone)]
pub struct Statement {
    pub(super) parsed: Parsed,
    text: String,
    location: Location,
}

impl Statement {
    /// The statement as written, without what is around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it begins in the text it is from.
    pub fn location(&self) -> Location {
        self.location
    }
}

/// The statements of a text, which are set apart by semicolons.
///
/// # Errors
/// If the text is no SQL: what was expected, with the place.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().map_err(|error| {
        let location = Location { line: error.location.line, column: error.location.column };
        Error::user(error.message).at_location(location)
    })?;
    let parts = tokens.split(|token| token.token == Token::SemiColon);
    parts.filter_map(|tokens| statement(tokens).transpose()).collect()
}

fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_) | Token::EOF)
}

fn statement(tokens: &[TokenWithSpan]) -> Result<Option<Statement>> {
    let Some(first) = tokens.iter().position(|token| !is_blank(token)) else { return Ok(None) };
    let last = tokens.iter().rposition(|token| !is_blank(token)).unwrap_or(first);
    let mut tokens = tokens[first..=last].to_vec();
    let text = tokens.iter().map(|token| token.token.to_string()).collect();
    let location: Location = tokens[0].span.into();
    let external = is_create_external(&tokens);
    if external && !has_location(&tokens) {
        // The parser wants one; sockets and the like have none.
        let end = tokens[tokens.len() - 1].span;
        for token in [Token::make_keyword("LOCATION"), Token::SingleQuotedString(String::new())] {
            tokens.push(TokenWithSpan::new(token, end));
        }
    }
    // Spark's types have their own syntax in the one, the rest is DataFusion's.
    let dialect: &dyn Dialect = if external { &SparkSqlDialect {} } else { &GenericDialect {} };
    let mut parser = DFParserBuilder::new(tokens).with_dialect(dialect).build()?;
    let mut parsed = parser.parse_statement().map_err(|error| located(error, location))?;
    super::event_time::resolve(&mut parsed);
    let rest = parser.parser.peek_token();
    if rest.token != Token::EOF {
        return Err(Error::user(format!(
            "`{}` was not expected here: end the statement with `;`",
            rest.token
        ))
        .at_location(rest.span.into()));
    }
    Ok(Some(Statement { parsed, text, location }))
}

fn located(error: datafusion::common::DataFusionError, statement: Location) -> Error {
    let error = match &error {
        datafusion::common::DataFusionError::SQL(error, _) => parser_error(error),
        _ => Error::from(error),
    };
    if error.location().is_some() { error } else { error.at_location(statement) }
}

fn keywords(tokens: &[TokenWithSpan]) -> impl Iterator<Item = (Keyword, usize)> {
    tokens.iter().scan(0usize, |depth, token| {
        let keyword = match &token.token {
            Token::LParen => {
                *depth += 1;
                Keyword::NoKeyword
            }
            Token::RParen => {
                *depth = depth.saturating_sub(1);
                Keyword::NoKeyword
            }
            Token::Word(word) => word.keyword,
            _ => Keyword::NoKeyword,
        };
        Some((keyword, *depth))
    })
}

fn is_create_external(tokens: &[TokenWithSpan]) -> bool {
    let words: Vec<TokenWithSpan> = tokens.iter().filter(|token| !is_blank(token)).cloned().collect();
    let mut words = keywords(&words).map(|(keyword, _)| keyword);
    words.next() == Some(Keyword::CREATE)
        && words.find(|word| !matches!(word, Keyword::OR | Keyword::REPLACE | Keyword::UNBOUNDED))
            == Some(Keyword::EXTERNAL)
}

fn has_location(tokens: &[TokenWithSpan]) -> bool {
    keywords(tokens).any(|(keyword, depth)| keyword == Keyword::LOCATION && depth == 0)
}
