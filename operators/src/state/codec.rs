//! The byte encoding of state: a version byte, then postcard (<https://postcard.jamesmunns.com>).
//!
//! Checksums cover whole checkpoint records and are the business of the engine's checkpoint log.

use crate::error::{OperatorError, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of the encoding that this code writes.
pub const VERSION: u8 = 1;

/// The name of a type without module paths: `(u32, Order)`. Postcard does not describe itself, so the bytes
/// of one type can often be read as another; what is written with [`encode`] therefore carries this label.
/// A type that is renamed counts as another type; one that keeps its name but changes its fields is not
/// recognised by the label, only by bytes that do not fit.
pub fn type_label<T: ?Sized>() -> String {
    let full = std::any::type_name::<T>();
    let mut label = String::with_capacity(full.len());
    let mut word = 0;
    let mut rest = full.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ':' && rest.peek() == Some(&':') {
            rest.next();
            label.truncate(word);
        } else {
            label.push(c);
            if !(c.is_alphanumeric() || c == '_') {
                word = label.len();
            }
        }
    }
    label
}

/// Appends the version, the label of the type and the value.
///
/// # Errors
/// [`OperatorError::Encode`] if the value refuses to be serialised.
pub fn encode<T: Serialize + ?Sized>(table: &'static str, value: &T, bytes: &mut Vec<u8>) -> Result<()> {
    encode_as::<T, T>(table, value, bytes)
}

/// As [`encode`], for a value that stands for the type `As` when it is read back, such as a slice of
/// references for a vector. On an error `bytes` are as they were.
///
/// # Errors
/// [`OperatorError::Encode`] if the value refuses to be serialised.
pub fn encode_as<As: ?Sized, T: Serialize + ?Sized>(
    table: &'static str,
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let before = bytes.len();
    bytes.push(VERSION);
    if let Err(error) = postcard::to_io(&(type_label::<As>(), value), &mut *bytes) {
        bytes.truncate(before);
        return Err(OperatorError::Encode { table, cause: error.to_string() });
    }
    Ok(())
}

/// Reads back what [`encode`] wrote; all of it must be used up.
///
/// # Errors
/// [`OperatorError::Decode`] if the version is unknown or the bytes do not fit the type.
pub fn decode<T: DeserializeOwned>(table: &str, bytes: &[u8]) -> Result<T> {
    let fault = |cause: String| OperatorError::Decode { table: table.to_owned(), cause };
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            let (label, rest) =
                postcard::take_from_bytes::<String>(rest).map_err(|error| fault(error.to_string()))?;
            if label != type_label::<T>() {
                return Err(fault(format!("it holds `{label}`, this query keeps `{}`", type_label::<T>())));
            }
            match postcard::take_from_bytes(rest) {
                Ok((value, [])) => Ok(value),
                Ok((_, rest)) => Err(fault(format!("{} bytes are left over", rest.len()))),
                Err(error) => Err(fault(error.to_string())),
            }
        }
        Some((version, _)) => Err(fault(format!("encoding version {version}, this build reads {VERSION}"))),
        None => Err(fault("the chunk is empty".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn labels_have_no_paths() {
        assert_eq!(type_label::<Vec<(u32, Option<String>)>>(), "Vec<(u32, Option<String>)>");
        assert_eq!(
            type_label::<HashMap<&'static str, [crate::Timestamp; 2]>>(),
            "HashMap<&str, [Timestamp; 2]>"
        );
    }

    #[test]
    fn a_value_that_cannot_be_encoded_leaves_the_bytes_as_they_were() {
        struct Stubborn;
        impl Serialize for Stubborn {
            fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        let mut bytes = vec![1, 2, 3];
        let error = encode("t", &(7u64, Stubborn), &mut bytes).unwrap_err();
        assert!(error.to_string().contains("table `t`"), "{error}");
        assert_eq!(bytes, [1, 2, 3]);
    }

    #[test]
    fn damaged_bytes_are_errors() {
        let mut bytes = Vec::new();
        encode("t", &vec![(1u32, "one".to_owned())], &mut bytes).unwrap();
        assert_eq!(decode::<Vec<(u32, String)>>("t", &bytes).unwrap(), [(1, "one".to_owned())]);
        for length in 0..bytes.len() {
            assert!(decode::<Vec<(u32, String)>>("t", &bytes[..length]).is_err());
        }
        bytes.push(0);
        assert!(decode::<Vec<(u32, String)>>("t", &bytes).is_err());
    }
}
