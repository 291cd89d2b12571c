//! Keys of rows as bytes: what decides the owner of a row, and what keyed state keeps.

use super::expression::{arrow_failed_to, evaluate_all};
use crate::error::{OperatorError, Result};
use crate::key::KeyHasher;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion_common::utils::normalize_float_zero;
use datafusion_physical_expr::PhysicalExpr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The key of a row in Arrow's row format, which is part of the checkpoint format. Equal keys have equal
/// bytes, null equal to null, whatever the encoding of the column (dictionary, view).
///
/// Short ones, such as two numbers, lie where the key lies: a look-up compares them without another access to
/// memory, and a page of state is copied without an allocation for each key.
#[derive(Debug, Clone, Eq, Default)]
pub(crate) struct KeyBytes(SmallVec<[u8; 24]>);

impl PartialEq for KeyBytes {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.is(other.as_slice())
    }
}

impl KeyBytes {
    /// Takes other bytes in the same memory.
    #[inline]
    pub(crate) fn set(&mut self, bytes: &[u8]) {
        self.0.clear();
        self.0.extend_from_slice(bytes);
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Whether these are its bytes. Those of short keys are compared a word at a time, the last of which overlaps
    /// the one before: for so few bytes a call costs more than the comparison.
    #[inline]
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        let own = self.as_slice();
        if own.len() != bytes.len() || own.len() > 4 * size_of::<u64>() {
            return own == bytes;
        }
        let (Some(own_last), Some(last)) = (own.last_chunk::<8>(), bytes.last_chunk::<8>()) else {
            return own == bytes;
        };
        let word =
            |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("invariant: chunks of eight bytes"));
        own_last == last
            && own.chunks_exact(8).zip(bytes.chunks_exact(8)).all(|(own, other)| word(own) == word(other))
    }
}

impl From<&[u8]> for KeyBytes {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        KeyBytes(SmallVec::from_slice(bytes))
    }
}

/// The hash of a key's bytes; [`crate::key::hash_of`] its [`KeyBytes`].
#[inline]
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = KeyHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

impl Hash for KeyBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Serialize for KeyBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = KeyBytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<KeyBytes, E> {
                Ok(KeyBytes::from(bytes))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// Turns the key expressions of rows into bytes.
#[derive(Debug)]
pub(super) struct KeyEncoder {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    converter: RowConverter,
}

/// A converter for columns of these types.
pub(super) fn converter(types: impl IntoIterator<Item = DataType>) -> Result<RowConverter> {
    let fields: Vec<SortField> = types.into_iter().map(SortField::new).collect();
    RowConverter::new(fields.clone()).map_err(|_| {
        let unfit = fields.iter().find(|field| !RowConverter::supports_fields(&[(*field).clone()]));
        let what = unfit.map_or_else(String::new, |field| format!(": {field:?}"));
        OperatorError::Expression(format!("a value of this type cannot be a key or be kept in state{what}"))
    })
}

impl KeyEncoder {
    /// Keys of columns of these types, which the expressions return.
    pub(super) fn new(expressions: Vec<Arc<dyn PhysicalExpr>>, types: &[DataType]) -> Result<KeyEncoder> {
        Ok(KeyEncoder { converter: converter(types.iter().cloned())?, expressions })
    }

    /// The key columns of rows. Zeros are positive, as DataFusion groups them.
    pub(super) fn columns(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let mut columns = evaluate_all(&self.expressions, rows)?;
        for column in &mut columns {
            if column.data_type().is_floating() {
                *column = normalize_float_zero(column);
            }
        }
        Ok(columns)
    }

    /// The bytes of the keys that [`KeyEncoder::columns`] returned.
    pub(super) fn encode(&self, columns: &[ArrayRef]) -> Result<Rows> {
        self.converter.convert_columns(columns).map_err(|error| arrow_failed_to("encode keys", &error))
    }

    /// The columns of keys: the inverse of [`KeyEncoder::encode`], but for dictionaries, which come as their
    /// values.
    pub(super) fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        self.converter
            .convert_rows(keys.map(|bytes| parser.parse(bytes)))
            .map_err(|error| arrow_failed_to("decode keys", &error))
    }
}
