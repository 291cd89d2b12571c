//! Partition folders: `name=value` in the path of a file is a column of all its rows.
//!
//! The names are written as Spark and Hive write them: characters that have a meaning in a path are
//! percent-escaped, so that a value is always one folder and can never lead out of its parent.

use crate::error::{ConnectorError, Result};
use crate::limits::FILE_NAME_BYTES;
use arrow::array::{Array, ArrayRef, StringArray, UInt32Array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::DataType;
use std::fmt::Write;

/// The folder of null. As in Spark the empty string goes there too, and so is read back as null.
pub(super) const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// The column and value that a folder stands for; `None` if it is no partition folder.
pub(super) fn parse(folder: &str) -> Option<(String, Option<String>)> {
    let (name, value) = folder.split_once('=')?;
    if name.is_empty() {
        return None;
    }
    let value = if value == NULL_FOLDER { None } else { Some(unescape(value)) };
    Some((unescape(name), value))
}

/// The partition columns of a file, from its path within the table's folder.
pub(super) fn of_path(relative: &str) -> Vec<(String, Option<String>)> {
    let mut parts: Vec<&str> = relative.split('/').collect();
    parts.pop();
    parts.into_iter().filter_map(parse).collect()
}

/// The folder of a value.
///
/// # Errors
/// If the name would be longer than file systems take.
pub(super) fn folder(column: &str, value: Option<&str>) -> Result<String> {
    let mut folder = String::new();
    escape(column, &mut folder);
    folder.push('=');
    match value {
        None | Some("") => folder.push_str(NULL_FOLDER),
        // So that it is not read back as null.
        Some(NULL_FOLDER) => {
            folder.push_str("%5F");
            folder.push_str(&NULL_FOLDER[1..]);
        }
        Some(value) => escape(value, &mut folder),
    }
    if folder.len() > FILE_NAME_BYTES {
        return Err(ConnectorError::user(format!(
            "a value of partition column `{column}` makes a folder name of {} bytes, at most {FILE_NAME_BYTES} \
             are possible: partition by a column with shorter values",
            folder.len()
        )));
    }
    Ok(folder)
}

fn escape(text: &str, to: &mut String) {
    for (at, c) in text.char_indices() {
        let special = c.is_ascii_control()
            || "\"#%'*/:=?\\{}[]^<>|".contains(c)
            // A name that begins with a dot is hidden.
            || (at == 0 && to.is_empty() && c == '.');
        if special {
            let _ = write!(to, "%{:02X}", u32::from(c));
        } else {
            to.push(c);
        }
    }
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                plain.push(byte);
                at += 3;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| text.to_owned())
}

/// The type that all values of an inferred partition column fit: a whole number or text.
pub(super) fn infer_type<'a>(values: impl Iterator<Item = &'a str> + Clone) -> DataType {
    let plain = |text: &str| {
        !text.starts_with('+') && (text == "0" || !text.trim_start_matches('-').starts_with('0'))
    };
    if values.clone().all(|text| plain(text) && text.parse::<i32>().is_ok()) {
        DataType::Int32
    } else if values.clone().all(|text| plain(text) && text.parse::<i64>().is_ok()) {
        DataType::Int64
    } else {
        DataType::Utf8
    }
}

/// A value as an array of one row.
///
/// # Errors
/// Why the value is not of that type.
pub(super) fn constant(value: Option<&str>, data_type: &DataType) -> Result<ArrayRef, String> {
    let Some(value) = value else { return Ok(new_null_array(data_type, 1)) };
    let text = StringArray::from(vec![value]);
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&text, data_type, &strict).map_err(|error| error.to_string())
}

/// The one row of `constant`, this many times.
pub(super) fn repeat(constant: &ArrayRef, rows: usize) -> ArrayRef {
    if constant.is_null(0) {
        return new_null_array(constant.data_type(), rows);
    }
    take(constant, &UInt32Array::from(vec![0; rows]), None).expect("invariant: row 0 is there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folders_are_named_as_spark_names_them() {
        for (value, name) in [
            (Some("a=b"), "k=a%3Db"),
            (Some("../.."), "k=..%2F.."),
            (Some("%2F"), "k=%252F"),
            (Some(".."), "k=.."),
            (Some("2024-01-01 10:00:00"), "k=2024-01-01 10%3A00%3A00"),
            (Some("São Paulo ☕"), "k=São Paulo ☕"),
            (Some(""), "k=__HIVE_DEFAULT_PARTITION__"),
            (None, "k=__HIVE_DEFAULT_PARTITION__"),
            (Some("nul\0"), "k=nul%00"),
        ] {
            assert_eq!(folder("k", value).unwrap(), name);
        }
        assert_eq!(folder(".k", Some("v")).unwrap(), "%2Ek=v");
        let error = folder("k", Some(&"x".repeat(300))).unwrap_err().to_string();
        assert!(error.contains("partition column `k`") && error.contains("302 bytes"), "{error}");
    }

    #[test]
    fn what_is_no_partition_folder_is_left_alone() {
        assert_eq!(parse("plain"), None);
        assert_eq!(parse("=x"), None);
        assert_eq!(parse("k=%zz%"), Some(("k".to_owned(), Some("%zz%".to_owned()))));
        assert_eq!(parse("k=%FF"), Some(("k".to_owned(), Some("%FF".to_owned()))));
        assert_eq!(
            of_path("a=1/x/b=2/c=3.csv"),
            vec![("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), Some("2".to_owned())),]
        );
    }

    #[test]
    fn whole_numbers_are_inferred_where_all_fit() {
        assert_eq!(infer_type(["1", "-2", "0"].into_iter()), DataType::Int32);
        assert_eq!(infer_type(["1", "99999999999"].into_iter()), DataType::Int64);
        assert_eq!(infer_type(["1", "01"].into_iter()), DataType::Utf8);
        assert_eq!(infer_type(["1", "x"].into_iter()), DataType::Utf8);
        assert!(constant(Some("x"), &DataType::Int32).unwrap_err().contains('x'));
    }

    proptest! {
        #[test]
        fn a_value_is_one_folder_and_is_read_back(column in "[^=]{1,8}", value in any::<String>()) {
            if let Ok(folder) = folder(&column, Some(&value)) {
                prop_assert!(!folder.contains('/') && !folder.contains('\0') && !folder.starts_with('.'));
                let (read, back) = parse(&folder).unwrap();
                prop_assert_eq!(read, column);
                prop_assert_eq!(back.unwrap_or_default(), value);
            }
        }
    }
}
