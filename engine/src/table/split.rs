//! `split`, by Spark's name: text to a list of its parts.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListBuilder, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::Regex;
use std::sync::Arc;

/// The parts of a text around the matches of a regular expression.
///
/// # Errors
/// Where the query is run, if the expression is not one of the crate `regex`, whose syntax is Java's without
/// look-around and back-references.
pub fn split(text: Expr, pattern: Expr) -> Expr {
    function().call(vec![text, pattern])
}

/// `split(text, regex[, limit])`.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(Split { signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Split {
    signature: Signature,
}

impl ScalarUDFImpl for Split {
    fn name(&self) -> &str {
        "split"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let texts = arguments.iter().take(2).all(|of| of.is_string() || of.is_null());
        let limit = arguments.get(2).is_none_or(|of| of.is_integer() || of.is_null());
        if !(2..=3).contains(&arguments.len()) || !texts || !limit {
            return plan_err!("split takes a text, a regular expression and, if at all, a whole number");
        }
        Ok(DataType::List(Arc::new(item())))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let column = |at: usize, of: DataType| -> Result<ArrayRef> {
            Ok(cast(&arguments.args[at].to_array(rows)?, &of)?)
        };
        let (texts, patterns) = (column(0, DataType::Utf8)?, column(1, DataType::Utf8)?);
        let (texts, patterns) = (texts.as_string::<i32>(), patterns.as_string::<i32>());
        let limits = match arguments.args.len() {
            2 => Int32Array::from_value(-1, rows),
            _ => column(2, DataType::Int32)?.as_primitive::<Int32Type>().clone(),
        };
        let mut lists = ListBuilder::new(StringBuilder::new()).with_field(item());
        let mut known: Option<(String, Regex)> = None;
        for row in 0..rows {
            if texts.is_null(row) || patterns.is_null(row) || limits.is_null(row) {
                lists.append_null();
                continue;
            }
            let pattern = patterns.value(row);
            // Mostly one for all rows.
            if known.as_ref().is_none_or(|(last, _)| last != pattern) {
                known = Some((pattern.to_owned(), compiled(pattern)?));
            }
            if let Some((_, regex)) = &known {
                append_parts(texts.value(row), regex, limits.value(row), lists.values());
            }
            lists.append(true);
        }
        Ok(ColumnarValue::Array(Arc::new(lists.finish())))
    }
}

fn item() -> Field {
    Field::new_list_field(DataType::Utf8, true)
}

fn compiled(pattern: &str) -> Result<Regex> {
    let wrong = |error: regex::Error| -> DataFusionError {
        exec_datafusion_err!("split: `{pattern}` is no regular expression: {error}")
    };
    Regex::new(pattern).map_err(wrong)
}

/// As Java splits: not at a match without characters at the ends of the text; at most `limit` parts if it is positive,
/// all of them otherwise, the empty ones at the end too.
fn append_parts(text: &str, regex: &Regex, limit: i32, parts: &mut StringBuilder) {
    let most = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let at_an_end = |found: &regex::Match<'_>| found.is_empty() && [0, text.len()].contains(&found.start());
    let mut begun = 0;
    for found in regex.find_iter(text).filter(|found| !at_an_end(found)).take(most - 1) {
        parts.append_value(&text[begun..found.start()]);
        begun = found.end();
    }
    parts.append_value(&text[begun..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, pattern: &str, limit: i32) -> Vec<String> {
        let mut parts = StringBuilder::new();
        append_parts(text, &compiled(pattern).unwrap(), limit, &mut parts);
        parts.finish().iter().map(|part| part.unwrap().to_owned()).collect()
    }

    #[test]
    fn parts_are_those_of_sparks_documentation() {
        assert_eq!(parts("oneAtwoBthreeC", "[ABC]", -1), ["one", "two", "three", ""]);
        assert_eq!(parts("oneAtwoBthreeC", "[ABC]", 2), ["one", "twoBthreeC"]);
        assert_eq!(parts("oneAtwoBthreeC", "[ABC]", 0), ["one", "two", "three", ""]);
        assert_eq!(parts("oneAtwoBthreeC", "[ABC]", 1), ["oneAtwoBthreeC"]);
        assert_eq!(parts("maçã", "", -1), ["m", "a", "ç", "ã"]);
        assert_eq!(parts("", ",", -1), [""]);
        assert_eq!(parts(",a,,b", ",", -1), ["", "a", "", "b"]);
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = compiled("a(").unwrap_err().to_string();
        assert!(error.contains("split: `a(` is no regular expression"), "{error}");
    }
}
