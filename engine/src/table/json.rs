//! `from_json` and `to_json`, by Spark's names: JSON text to typed columns and back, decoded and encoded by
//! arrow-json.

use super::ddl::parse_ddl;
use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::json::reader::{Decoder, ReaderBuilder};
use arrow::json::writer::{EncoderOptions, make_encoder};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::cell::RefCell;
use std::sync::Arc;

/// The functions of this module.
pub(super) fn functions() -> [ScalarUDF; 2] {
    let signature = |arguments| Signature::any(arguments, Volatility::Immutable);
    [
        ScalarUDF::from(FromJson { signature: signature(2) }),
        ScalarUDF::from(ToJson { signature: signature(1) }),
    ]
}

/// `from_json(text, 'a INT, b STRING')`: a struct with the fields of the schema, which is a DDL string or the
/// text of a type such as `ARRAY<INT>`. Text that is no JSON, or no object, gives null; a field that is
/// missing or of another type is null, as in Spark's mode PERMISSIVE.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FromJson {
    signature: Signature,
}

impl ScalarUDFImpl for FromJson {
    fn name(&self) -> &str {
        "from_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        internal_err!("the type of from_json depends on its schema")
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let given = arguments.scalar_arguments.get(1).copied().flatten();
        let Some(Some(ddl)) = given.map(ScalarValue::try_as_str).map(Option::flatten) else {
            return plan_err!("from_json: the schema is a literal such as 'name STRING, age INT'");
        };
        match parse_ddl(ddl) {
            Ok(schema) => {
                let of = DataType::Struct(schema.fields().clone());
                Ok(Arc::new(Field::new(self.name(), of, true)))
            }
            Err(error) => plan_err!("from_json: {error}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = arguments.args[0].to_array(arguments.number_rows)?;
        let text = cast(&text, &DataType::Utf8)?;
        let decoded = decode(text.as_string(), arguments.return_field.data_type())?;
        Ok(ColumnarValue::Array(decoded))
    }
}

/// Rows that a decoder takes at once.
const DECODER_ROWS: usize = 8_192;

thread_local! {
    /// The last decoder of this thread: making one costs several times what a row does.
    static LAST: RefCell<Option<(DataType, Decoder)>> = const { RefCell::new(None) };
}

fn decoder_of(of: &DataType) -> Result<Decoder> {
    let last = LAST.take().filter(|(last, _)| last == of);
    if let Some((_, decoder)) = last {
        return Ok(decoder);
    }
    let field = Arc::new(Field::new("value", of.clone(), true));
    let builder =
        ReaderBuilder::new_with_field(field).with_batch_size(DECODER_ROWS).with_ignore_type_conflicts(true);
    Ok(builder.build_decoder()?)
}

/// Many rows together; where that fails, those rows one by one.
fn decode(text: &StringArray, of: &DataType) -> Result<ArrayRef> {
    let mut parts = Vec::new();
    for start in (0..text.len()).step_by(DECODER_ROWS) {
        let rows = DECODER_ROWS.min(text.len() - start);
        match decode_all(&text.slice(start, rows), of)? {
            Some(part) => parts.push(part),
            None => {
                for at in start..start + rows {
                    let row = decode_all(&text.slice(at, 1), of)?;
                    parts.push(row.unwrap_or_else(|| new_null_array(of, 1)));
                }
            }
        }
    }
    match &parts[..] {
        [] => Ok(new_null_array(of, 0)),
        [only] => Ok(Arc::clone(only)),
        _ => Ok(concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())?),
    }
}

/// `None` if a row is not exactly one JSON value.
fn decode_all(text: &StringArray, of: &DataType) -> Result<Option<ArrayRef>> {
    let mut decoder = decoder_of(of)?;
    for (at, value) in text.iter().enumerate() {
        let value = value.unwrap_or("null").as_bytes();
        // A separator ends a number or word that stands alone.
        let taken = decoder.decode(value).and_then(|taken| Ok((taken, decoder.decode(b"\n")?)));
        match taken {
            Ok((taken, 1))
                if taken == value.len() && decoder.len() == at + 1 && !decoder.has_partial_record() => {}
            _ => return Ok(None),
        }
    }
    let Ok(Some(batch)) = decoder.flush() else { return Ok(None) };
    LAST.set(Some((of.clone(), decoder)));
    Ok(Some(Arc::clone(batch.column(0))))
}

/// `to_json(value)`: the JSON text of a struct, list or map; fields that are null are left out, as in Spark.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToJson {
    signature: Signature,
}

impl ScalarUDFImpl for ToJson {
    fn name(&self) -> &str {
        "to_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match &arguments[0] {
            DataType::Struct(_) | DataType::List(_) | DataType::LargeList(_) | DataType::Map(_, _) => {
                Ok(DataType::Utf8)
            }
            other => plan_err!("to_json takes a struct, a list or a map, not {other}"),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = arguments.args[0].to_array(arguments.number_rows)?;
        let field = Arc::new(Field::new("value", values.data_type().clone(), true));
        let options = EncoderOptions::default();
        let mut encoder = make_encoder(&field, &values, &options)?;
        let mut texts = StringBuilder::with_capacity(values.len(), values.len() * 32);
        let mut text = Vec::new();
        for at in 0..values.len() {
            if values.is_null(at) {
                texts.append_null();
                continue;
            }
            text.clear();
            encoder.encode(at, &mut text);
            match std::str::from_utf8(&text) {
                Ok(text) => texts.append_value(text),
                Err(error) => return exec_err!("to_json: {error}"),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Int64Type;

    fn of() -> DataType {
        DataType::Struct(parse_ddl("a BIGINT, b STRING").unwrap().fields().clone())
    }

    #[test]
    fn what_is_no_object_is_null_and_its_neighbours_are_not() {
        let text = StringArray::from(vec![
            Some(r#"{"a": 1, "b": "x"}"#),
            None,
            Some("{"),
            Some(r#"{"a": 2} {"a": 3}"#),
            Some(""),
            Some("7"),
            Some(r#"{"a": "many", "b": "y", "c": [1]}"#),
            Some(r#"{"b": "line\nbreak"}"#),
        ]);
        let decoded = decode(&text, &of()).unwrap();
        let rows = decoded.as_struct();
        let nulls: Vec<bool> = (0..rows.len()).map(|at| rows.is_null(at)).collect();
        assert_eq!(nulls, [false, true, true, true, true, true, false, false]);
        let a: Vec<Option<i64>> = rows.column(0).as_primitive::<Int64Type>().iter().collect();
        assert_eq!((a[0], a[6], a[7]), (Some(1), None, None));
        let b: Vec<Option<&str>> = rows.column(1).as_string::<i32>().iter().collect();
        assert_eq!((b[0], b[6], b[7]), (Some("x"), Some("y"), Some("line\nbreak")));
    }

    #[test]
    fn a_decoder_is_clean_after_a_bad_row() {
        let bad = StringArray::from(vec![r#"{"a": 1"#]);
        let good = StringArray::from(vec![r#"{"a": 5}"#]);
        for _ in 0..3 {
            assert!(decode(&bad, &of()).unwrap().is_null(0));
            let rows = decode(&good, &of()).unwrap();
            assert_eq!(rows.as_struct().column(0).as_primitive::<Int64Type>().value(0), 5);
        }
    }
}
