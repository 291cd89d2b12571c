//! What DataFusion says, in the engine's words.

use crate::error::{Error, Location};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Diagnostic, SchemaError, Span};
use datafusion::sql::sqlparser::parser::ParserError;
use lotic_connectors::{ConnectorError, ErrorKind as ConnectorErrorKind};

impl From<Span> for Location {
    fn from(span: Span) -> Self {
        Location { line: span.start.line, column: span.start.column }
    }
}

impl From<datafusion::sql::sqlparser::tokenizer::Span> for Location {
    fn from(span: datafusion::sql::sqlparser::tokenizer::Span) -> Self {
        Location { line: span.start.line, column: span.start.column }
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::Diagnostic(diagnostic, error) => located(&diagnostic, Error::from(*error)),
            DataFusionError::Context(_, error) => Error::from(*error),
            DataFusionError::Collection(mut errors) if !errors.is_empty() => {
                Error::from(errors.swap_remove(0))
            }
            DataFusionError::Shared(error) => shared(&error),
            DataFusionError::External(error) => match error.downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => match error.downcast::<ConnectorError>() {
                    Ok(error) => Error::from(*error),
                    Err(error) => Error::external(error.to_string()),
                },
            },
            DataFusionError::ArrowError(error, _) => arrow(*error),
            DataFusionError::SQL(error, _) => parser(&error),
            DataFusionError::IoError(error) => Error::external(error.to_string()),
            DataFusionError::ObjectStore(error) => Error::external(error.to_string()),
            DataFusionError::ParquetError(error) => Error::external(error.to_string()),
            DataFusionError::ExecutionJoin(error) => Error::external(error.to_string()),
            DataFusionError::SchemaError(error, _) => schema(&error),
            DataFusionError::Internal(message) => Error::internal(message),
            DataFusionError::NotImplemented(message) => Error::user(format!("not supported: {message}")),
            DataFusionError::Plan(message) => planned(&message),
            DataFusionError::Configuration(message) | DataFusionError::Execution(message) => {
                Error::user(message)
            }
            other => Error::user(other.strip_backtrace()),
        }
    }
}

fn located(diagnostic: &Diagnostic, error: Error) -> Error {
    match diagnostic.span {
        Some(span) if error.location().is_none() => error.at_location(span.into()),
        _ => error,
    }
}

/// An error that others hold too: its words, and its kind as far as it can be told without taking it apart.
fn shared(error: &DataFusionError) -> Error {
    match error.find_root() {
        DataFusionError::External(cause) => {
            let user = cause.downcast_ref::<ConnectorError>().map(ConnectorError::kind)
                == Some(ConnectorErrorKind::User);
            if user { Error::user(cause.to_string()) } else { Error::external(cause.to_string()) }
        }
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) | DataFusionError::ParquetError(_) => {
            Error::external(error.message().into_owned())
        }
        root => Error::user(root.message().into_owned()),
    }
}

/// Values that do not fit their type and the like are the input's fault; files are the outside's.
fn arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(error) => match error.downcast::<DataFusionError>() {
            Ok(error) => Error::from(*error),
            Err(error) => match error.downcast::<ConnectorError>() {
                Ok(error) => Error::from(*error),
                Err(error) => Error::external(error.to_string()),
            },
        },
        ArrowError::IoError(message, _) => Error::external(message),
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::SchemaError(message)
        | ArrowError::InvalidArgumentError(message)
        | ArrowError::ArithmeticOverflow(message) => Error::user(message),
        ArrowError::DivideByZero => Error::user("division by zero"),
        other => Error::user(other.to_string()),
    }
}

/// The start of what is said of a table that is not there; the session knows what there is instead.
const NO_TABLE: &str = "there is no table `";

/// The name of the table that is not there, if that is the error.
pub(super) fn missing_table(error: &Error) -> Option<String> {
    error.to_string().strip_prefix(NO_TABLE)?.strip_suffix('`').map(str::to_owned)
}

/// An error of the planner in one line, without what is said to the library's own developers.
fn planned(message: &str) -> Error {
    if let Some(name) = message.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found")) {
        let name = name.strip_prefix("datafusion.public.").unwrap_or(name);
        return Error::user(format!("{NO_TABLE}{name}`"));
    }
    if message == "Column count doesn't match insert query!" {
        return Error::user(
            "the query has not as many columns as the table: name those it has, as in `INSERT INTO t (a, b) \
             SELECT a, b FROM ...`",
        );
    }
    // The library tries one rule after the other and says why each does not fit: its last words tell all.
    let start = message.find("No function matches").unwrap_or(0);
    let lines = message[start..].lines().map(str::trim).filter(|line| !line.is_empty());
    Error::user(lines.collect::<Vec<_>>().join(" "))
}

fn schema(error: &SchemaError) -> Error {
    let SchemaError::FieldNotFound { field, valid_fields } = error else {
        return Error::user(error.to_string());
    };
    let names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
    no_column(&field.flat_name(), &field.name, &names)
}

/// There is no such column: the nearest one, or all there are.
pub(super) fn no_column(shown: &str, name: &str, names: &[&str]) -> Error {
    let hint = match lotic_connectors::table::options::nearest(name, names.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if names.is_empty() => "there are no columns here".to_owned(),
        None => format!("the columns are: {}", names.join(", ")),
    };
    Error::user(format!("there is no column `{shown}`: {hint}"))
}

/// An error of the parser, with its place, which stands at the end of the parser's words.
pub(super) fn parser(error: &ParserError) -> Error {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.as_str(),
        ParserError::RecursionLimitExceeded => {
            return Error::user("the text is nested too deeply: split the expression");
        }
    };
    let Some((words, place)) = message.rsplit_once(" at Line: ") else { return Error::user(message) };
    let location = place.split_once(", Column: ").and_then(|(line, column)| {
        Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    match location {
        Some(location) => Error::user(words).at_location(location),
        None => Error::user(message),
    }
}
