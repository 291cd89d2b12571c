//! The byte encoding of state: a version byte, then the name and the [shape] of the type and the value in postcard
//! (<https://postcard.jamesmunns.com>).
//!
//! [shape]: encode
//!
//! Checksums cover whole checkpoint records and are the business of the engine's checkpoint log.

use super::shape;
use crate::error::{OperatorError, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of the encoding that this code writes.
pub const VERSION: u8 = 2;

/// The name of a type without module paths: `(u32, Order)`. A type that is renamed counts as another type.
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

/// Appends the version, the label of the type, its shape and the value.
///
/// Postcard does not describe itself, so the bytes of one type can often be read as another. The shape is a number made
/// of the names and types of all fields and variants, as serde sees them: a struct that gained, lost or changed a field
/// since is refused by [`decode`] and never misread.
///
/// # Errors
/// [`OperatorError::Encode`] if the value refuses to be serialised.
pub fn encode<T>(table: &'static str, value: &T, bytes: &mut Vec<u8>) -> Result<()>
where
    T: Serialize + DeserializeOwned + 'static,
{
    encode_as::<T, T>(table, value, bytes)
}

/// As [`encode`], for a value that stands for the type `As` when it is read back, such as a slice of
/// references for a vector. On an error `bytes` are as they were.
///
/// # Errors
/// [`OperatorError::Encode`] if the value refuses to be serialised.
pub fn encode_as<As, T>(table: &'static str, value: &T, bytes: &mut Vec<u8>) -> Result<()>
where
    As: DeserializeOwned + 'static,
    T: Serialize + ?Sized,
{
    let before = bytes.len();
    bytes.push(VERSION);
    let all = (type_label::<As>(), shape::number_of::<As>(), value);
    encode_more(table, &all, bytes).inspect_err(|_| bytes.truncate(before))
}

/// Appends another value of the type that [`encode_as`] began these bytes with, to be read by [`decode_all`]. On an
/// error `bytes` are as they were.
///
/// # Errors
/// [`OperatorError::Encode`] if the value refuses to be serialised.
pub fn encode_more<T: Serialize + ?Sized>(table: &'static str, value: &T, bytes: &mut Vec<u8>) -> Result<()> {
    let before = bytes.len();
    if let Err(error) = postcard::to_io(value, &mut *bytes) {
        bytes.truncate(before);
        return Err(OperatorError::Encode { table, cause: error.to_string() });
    }
    Ok(())
}

/// Reads back what [`encode`] wrote; all of it must be used up.
///
/// # Errors
/// [`OperatorError::Decode`] if the version is unknown, the type has another name or another shape, or the bytes do
/// not fit it.
pub fn decode<T: DeserializeOwned + 'static>(table: &str, bytes: &[u8]) -> Result<T> {
    let (value, rest) = decode_first(table, bytes)?;
    if rest.is_empty() {
        return Ok(value);
    }
    let cause = format!("{} bytes are left over", rest.len());
    Err(OperatorError::Decode { table: table.to_owned(), cause })
}

/// Reads back what [`encode`] and after it [`encode_more`] wrote: at least one value.
///
/// # Errors
/// As for [`decode`].
pub fn decode_all<T: DeserializeOwned + 'static>(table: &str, bytes: &[u8]) -> Result<Vec<T>> {
    let (first, mut rest) = decode_first(table, bytes)?;
    let mut values = vec![first];
    while !rest.is_empty() {
        let (value, behind) = postcard::take_from_bytes(rest)
            .map_err(|error| OperatorError::Decode { table: table.to_owned(), cause: error.to_string() })?;
        values.push(value);
        rest = behind;
    }
    Ok(values)
}

/// The first value, and what stands behind it.
fn decode_first<'a, T: DeserializeOwned + 'static>(table: &str, bytes: &'a [u8]) -> Result<(T, &'a [u8])> {
    let fault = |cause: String| OperatorError::Decode { table: table.to_owned(), cause };
    let rest = match bytes.split_first() {
        Some((&VERSION, rest)) => rest,
        Some((version, _)) => {
            return Err(fault(format!("encoding version {version}, this build reads {VERSION}")));
        }
        None => return Err(fault("the chunk is empty".to_owned())),
    };
    let ((label, shape), rest) =
        postcard::take_from_bytes::<(String, u64)>(rest).map_err(|error| fault(error.to_string()))?;
    if label != type_label::<T>() {
        return Err(fault(format!("it holds `{label}`, this query keeps `{}`", type_label::<T>())));
    }
    if shape != shape::number_of::<T>() {
        let now = shape::text_of::<T>();
        return Err(fault(format!(
            "it holds `{label}` with other fields than this query keeps, which are now {now}; keep the type as it was, \
             or start the changed query with a checkpoint location of its own"
        )));
    }
    postcard::take_from_bytes(rest).map_err(|error| fault(error.to_string()))
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
        #[derive(serde::Deserialize)]
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
    fn a_type_whose_fields_have_changed_is_refused_though_its_bytes_would_fit() {
        mod before {
            #[derive(serde::Serialize, serde::Deserialize)]
            pub(super) struct Order {
                pub(super) amount: u64,
                pub(super) count: u64,
            }
        }
        #[derive(Serialize, serde::Deserialize)]
        struct Order {
            count: u64,
            amount: u64,
        }
        let mut bytes = Vec::new();
        encode("t", &vec![before::Order { amount: 100, count: 3 }], &mut bytes).unwrap();
        assert_eq!(decode::<Vec<before::Order>>("t", &bytes).unwrap()[0].amount, 100);
        let error = decode::<Vec<Order>>("t", &bytes).err().unwrap().to_string();
        let parts = [
            "table `t`",
            "`Vec<Order>` with other fields",
            "[Order {count: u64, amount: u64}]",
            "keep the type",
        ];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
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
