//! Schemas as text, as Spark prints them.

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use std::fmt::Write;

/// A schema as Spark's tree:
///
/// ```
/// let schema = lotic::table::parse_ddl("nome STRING, idade INT NOT NULL")?;
/// assert_eq!(
///     lotic::table::tree(&schema),
///     "root\n |-- nome: string (nullable = true)\n |-- idade: integer (nullable = false)\n"
/// );
/// # Ok::<(), lotic::Error>(())
/// ```
pub fn tree(schema: &Schema) -> String {
    let mut text = String::from("root\n");
    for field in schema.fields() {
        line(&mut text, " |", field.name(), field);
    }
    text
}

fn line(text: &mut String, prefix: &str, name: &str, field: &Field) {
    let _ = writeln!(
        text,
        "{prefix}-- {name}: {} (nullable = {})",
        spark_name(field.data_type()),
        field.is_nullable()
    );
    nested(text, &format!("{prefix}    |"), field.data_type());
}

fn nested(text: &mut String, prefix: &str, kind: &DataType) {
    match kind {
        DataType::Struct(fields) => fields.iter().for_each(|field| line(text, prefix, field.name(), field)),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => {
            let shown = spark_name(item.data_type());
            let _ = writeln!(text, "{prefix}-- element: {shown} (containsNull = {})", item.is_nullable());
            nested(text, &format!("{prefix}    |"), item.data_type());
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return };
            let [key, value] = &fields[..] else { return };
            let deeper = format!("{prefix}    |");
            let _ = writeln!(text, "{prefix}-- key: {}", spark_name(key.data_type()));
            nested(text, &deeper, key.data_type());
            let shown = spark_name(value.data_type());
            let _ = writeln!(text, "{prefix}-- value: {shown} (valueContainsNull = {})", value.is_nullable());
            nested(text, &deeper, value.data_type());
        }
        _ => {}
    }
}

/// What Spark calls a type; types that Spark does not have go by their Arrow name, in lower case.
pub(super) fn spark_name(kind: &DataType) -> String {
    match kind {
        DataType::Null => "void".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "byte".to_owned(),
        DataType::Int16 => "short".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "binary".to_owned()
        }
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp".to_owned(),
        DataType::Timestamp(_, None) => "timestamp_ntz".to_owned(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Struct(_) => "struct".to_owned(),
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(..) => "array".to_owned(),
        DataType::Map(..) => "map".to_owned(),
        DataType::Dictionary(_, value) => spark_name(value),
        other => other.to_string().to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::parse_ddl;

    #[test]
    fn nested_types_are_printed_as_spark_does() {
        let schema = parse_ddl(
            "id BIGINT NOT NULL, tags ARRAY<STRING>, props MAP<STRING, STRUCT<a: INT, b: DECIMAL(10,2)>>, at TIMESTAMP",
        )
        .unwrap();
        let expected = "\
root
 |-- id: long (nullable = false)
 |-- tags: array (nullable = true)
 |    |-- element: string (containsNull = true)
 |-- props: map (nullable = true)
 |    |-- key: string
 |    |-- value: struct (valueContainsNull = true)
 |    |    |-- a: integer (nullable = true)
 |    |    |-- b: decimal(10,2) (nullable = true)
 |-- at: timestamp (nullable = true)
";
        assert_eq!(tree(&schema), expected);
    }
}
