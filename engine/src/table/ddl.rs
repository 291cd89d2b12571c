//! Schemas from text, as Spark writes them: `nome STRING, idade INT NOT NULL`.

use super::errors::parser as parser_error;
use crate::error::{Error, Location, Result};
use crate::limits::TYPE_DEPTH;
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, Fields, Schema, SchemaRef, TimeUnit,
};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, ColumnDef, ColumnOption, DataType as SqlType, ExactNumberInfo, StructField,
    TimezoneInfo,
};
use datafusion::sql::sqlparser::dialect::{GenericDialect, SparkSqlDialect};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use std::sync::Arc;

/// A schema from text: columns with Spark's type names (`STRING`, `INT`, `BIGINT` or `LONG`, `SMALLINT` or
/// `SHORT`, `TINYINT` or `BYTE`, `FLOAT`, `DOUBLE`, `BOOLEAN`, `DATE`, `TIMESTAMP` (an instant, in UTC),
/// `TIMESTAMP_NTZ`, `BINARY`, `DECIMAL(p,s)`, `ARRAY<..>`, `MAP<..,..>`, `STRUCT<a: INT, ..>`), each
/// perhaps `NOT NULL` and with a `COMMENT`. Names keep their case.
///
/// # Errors
/// If the text is wrong: what was expected, with its place.
pub fn parse_ddl(text: &str) -> Result<SchemaRef> {
    let wrong = |error: Error| {
        let place = error
            .location()
            .map_or(String::new(), |place| format!(" at line {}, column {}", place.line, place.column));
        let said = Error::user(format!("the schema `{text}` is wrong{place}: {error}"));
        error.location().map_or(said.clone(), |place| said.at_location(place))
    };
    columns(text).map_err(wrong).map(Arc::new)
}

fn columns(text: &str) -> Result<Schema> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    let tokens = tokens.map_err(|error| {
        let location = Location { line: error.location.line, column: error.location.column };
        Error::user(error.message).at_location(location)
    })?;
    // A deeper text would only be refused later, after the parser had used the stack for it.
    let depth = tokens.iter().scan(0usize, |depth, token| {
        match token.token {
            Token::Lt | Token::LParen => *depth += 1,
            Token::Gt | Token::RParen => *depth = depth.saturating_sub(1),
            Token::ShiftRight => *depth = depth.saturating_sub(2),
            _ => {}
        }
        Some(*depth)
    });
    if depth.max().unwrap_or(0) > TYPE_DEPTH {
        return Err(Error::user(format!("types are nested more than {TYPE_DEPTH} deep")));
    }
    let dialect = SparkSqlDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let mut fields = Vec::new();
    loop {
        if parser.peek_token().token == Token::EOF && fields.is_empty() {
            return Err(Error::user("it names no column: write `name TYPE, ...`"));
        }
        fields.push(column(&mut parser)?);
        if parser.consume_token(&Token::EOF) || parser.peek_token().token == Token::EOF {
            break;
        }
        parser.expect_token(&Token::Comma).map_err(|error| parser_error(&error))?;
    }
    distinct(&fields)?;
    Ok(Schema::new(fields))
}

fn distinct(fields: &[Field]) -> Result<()> {
    for (number, field) in fields.iter().enumerate() {
        if fields[..number].iter().any(|other| other.name() == field.name()) {
            return Err(Error::user(format!("column `{}` is there twice", field.name())));
        }
    }
    Ok(())
}

fn column(parser: &mut Parser<'_>) -> Result<Field> {
    let said = |error| parser_error(&error);
    let name = parser.parse_identifier().map_err(said)?;
    let _ = parser.consume_token(&Token::Colon);
    let at = parser.peek_token().span;
    let kind = parser.parse_data_type().map_err(said)?;
    let kind = arrow_type(&kind).map_err(|error| error.at_location(at.into()))?;
    let nullable = !parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]);
    if parser.parse_keyword(Keyword::COMMENT) {
        parser.parse_literal_string().map_err(said)?;
    }
    Ok(Field::new(name.value, kind, nullable))
}

/// The fields of a `CREATE EXTERNAL TABLE`. Unquoted names are in lower case, as in all of SQL.
///
/// # Errors
/// If a type is not known, or a constraint is not `NULL` or `NOT NULL`.
pub(super) fn table_columns(columns: &[ColumnDef]) -> Result<Schema> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let at = Location { line: column.name.span.start.line, column: column.name.span.start.column };
        let name = match column.name.quote_style {
            Some(_) => column.name.value.clone(),
            None => column.name.value.to_lowercase(),
        };
        let mut nullable = true;
        for option in &column.options {
            match &option.option {
                ColumnOption::Null | ColumnOption::Comment(_) => {}
                ColumnOption::NotNull => nullable = false,
                other => {
                    return Err(Error::user(format!(
                        "column `{name}`: `{other}` means nothing in an external table; leave it out"
                    ))
                    .at_location(at));
                }
            }
        }
        let kind = arrow_type(&column.data_type).map_err(|error| error.at_location(at))?;
        fields.push(Field::new(name, kind, nullable));
    }
    distinct(&fields)?;
    Ok(Schema::new(fields))
}

/// The Arrow type of an SQL type, by Spark's names.
fn arrow_type(kind: &SqlType) -> Result<DataType> {
    Ok(match kind {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::TinyInt(_) => DataType::Int8,
        SqlType::SmallInt(_) | SqlType::Int2(_) => DataType::Int16,
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) => DataType::Int32,
        SqlType::BigInt(_) | SqlType::Int8(_) => DataType::Int64,
        SqlType::Float(_) | SqlType::Real | SqlType::Float4 => DataType::Float32,
        SqlType::Double(_) | SqlType::DoublePrecision | SqlType::Float8 => DataType::Float64,
        SqlType::String(_)
        | SqlType::Text
        | SqlType::Varchar(_)
        | SqlType::Char(_)
        | SqlType::Character(_)
        | SqlType::CharVarying(_)
        | SqlType::CharacterVarying(_) => DataType::Utf8,
        SqlType::Binary(_) | SqlType::Varbinary(_) | SqlType::Bytea | SqlType::Blob(_) => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::TimestampNtz(_)
        | SqlType::Timestamp(_, TimezoneInfo::WithoutTimeZone)
        | SqlType::Datetime(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
        SqlType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        SqlType::Decimal(size) | SqlType::Numeric(size) | SqlType::Dec(size) => decimal(*size)?,
        SqlType::Array(ArrayElemTypeDef::AngleBracket(item) | ArrayElemTypeDef::Parenthesis(item)) => {
            DataType::List(Arc::new(Field::new_list_field(arrow_type(item)?, true)))
        }
        SqlType::Array(ArrayElemTypeDef::SquareBracket(item, None)) => {
            DataType::List(Arc::new(Field::new_list_field(arrow_type(item)?, true)))
        }
        SqlType::Map(key, value) => map(arrow_type(key)?, arrow_type(value)?),
        SqlType::Struct(fields, _) => DataType::Struct(struct_fields(fields)?),
        SqlType::Custom(name, arguments) if arguments.is_empty() => {
            match name.to_string().to_ascii_lowercase().as_str() {
                "long" => DataType::Int64,
                "short" => DataType::Int16,
                "byte" => DataType::Int8,
                "timestamp_ltz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                _ => return Err(unknown(kind)),
            }
        }
        _ => return Err(unknown(kind)),
    })
}

fn unknown(kind: &SqlType) -> Error {
    const NAMES: [&str; 18] = [
        "STRING",
        "INT",
        "INTEGER",
        "BIGINT",
        "LONG",
        "SMALLINT",
        "SHORT",
        "TINYINT",
        "BYTE",
        "FLOAT",
        "DOUBLE",
        "BOOLEAN",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP_NTZ",
        "BINARY",
        "DECIMAL",
        "ARRAY",
    ];
    let shown = kind.to_string();
    let hint = match lotic_connectors::table::options::nearest(&shown, NAMES.into_iter()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("the types are: {}, MAP, STRUCT", NAMES.join(", ")),
    };
    Error::user(format!("there is no type `{shown}`: {hint}"))
}

fn decimal(size: ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match size {
        // Spark's default.
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let fits = |max: u8| (1..=u64::from(max)).contains(&precision) && (0..=precision as i64).contains(&scale);
    if fits(DECIMAL128_MAX_PRECISION) {
        Ok(DataType::Decimal128(precision as u8, scale as i8))
    } else if fits(DECIMAL256_MAX_PRECISION) {
        Ok(DataType::Decimal256(precision as u8, scale as i8))
    } else {
        Err(Error::user(format!(
            "DECIMAL({precision},{scale}): the precision is 1 to {DECIMAL256_MAX_PRECISION}, the scale 0 to the precision"
        )))
    }
}

fn map(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

fn struct_fields(fields: &[StructField]) -> Result<Fields> {
    let fields = fields.iter().map(|field| {
        let name = field.field_name.as_ref().map(|name| name.value.clone());
        let name = name
            .ok_or_else(|| Error::user("a field of a STRUCT has no name: write `STRUCT<name: TYPE, ...>`"))?;
        Ok(Field::new(name, arrow_type(&field.field_type)?, true))
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    distinct(&fields)?;
    Ok(fields.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spark_names_are_understood() {
        let schema = parse_ddl(
            "a STRING, B INT, c LONG, d SHORT, e BYTE, f FLOAT, g DOUBLE, h BOOLEAN, i DATE, j TIMESTAMP, \
             k TIMESTAMP_NTZ, l BINARY, m DECIMAL(12,3), n ARRAY<ARRAY<INT>>, o MAP<STRING, BIGINT>, \
             p STRUCT<x: INT, y: STRING> NOT NULL COMMENT 'pair', `q r` VARCHAR(10), s TINYINT, t decimal",
        )
        .unwrap();
        let kind = |name: &str| schema.field_with_name(name).unwrap().data_type().clone();
        assert_eq!(kind("B"), DataType::Int32);
        assert_eq!((kind("c"), kind("d"), kind("e")), (DataType::Int64, DataType::Int16, DataType::Int8));
        assert_eq!(kind("m"), DataType::Decimal128(12, 3));
        assert_eq!(kind("t"), DataType::Decimal128(10, 0));
        assert_eq!(kind("j"), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
        assert_eq!(kind("k"), DataType::Timestamp(TimeUnit::Microsecond, None));
        assert_eq!(kind("q r"), DataType::Utf8);
        assert!(!schema.field_with_name("p").unwrap().is_nullable());
        let DataType::List(inner) = kind("n") else { panic!("no list") };
        assert!(matches!(inner.data_type(), DataType::List(_)));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = parse_ddl("nome STRING,\nidade INTT").unwrap_err();
        assert_eq!(error.location(), Some(Location { line: 2, column: 7 }));
        assert!(error.to_string().contains("there is no type `INTT`: did you mean `INT`?"), "{error}");
        for wrong in
            ["", "nome", "nome STRING idade INT", "a INT, a INT", "a DECIMAL(90,2)", "a 'x", "a INT,"]
        {
            let error = parse_ddl(wrong).unwrap_err();
            assert!(error.to_string().contains(&format!("the schema `{wrong}` is wrong")), "{error}");
        }
        let deep = format!("a {}INT{}", "ARRAY<".repeat(100), ">".repeat(100));
        assert!(parse_ddl(&deep).unwrap_err().to_string().contains("nested"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(([a-z`\"]{1,3}|INT|STRING|ARRAY|MAP|STRUCT|DECIMAL|NOT NULL|COMMENT|[0-9]{1,20}|[<>(),:; '.-]|\\PC) ?){0,24}") {
            let _ = parse_ddl(&text);
        }

        #[test]
        fn any_text_at_all_does_not_panic(text in "\\PC*") {
            let _ = parse_ddl(&text);
        }
    }
}
