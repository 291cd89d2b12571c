//! Rows to the owners of their keys.

use super::keys::{KeyEncoder, hash_bytes};
use super::{TableBatch, TableBuilder};
use crate::batch::Batch;
use crate::error::Result;
use crate::key::owner_of;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Splits a batch among the instances of the next actor: one builder for each.
pub type PartitionTable = Box<dyn FnMut(&mut TableBatch, &mut [TableBuilder]) + Send>;

/// Rows go to the instance that owns their key, the one whose state [`super::GroupedAggregate`] keeps it in.
/// `keys` are evaluated on rows of `input`. Null is a key like any other. The order of rows to one instance
/// is kept.
///
/// A splitter cannot refuse a row, so keys have to be such that they cannot fail: columns, made by a
/// projection before. Rows whose key cannot be evaluated go to the first instance, whose operator evaluates
/// the same key and reports the error.
///
/// # Errors
/// If a key has a type that cannot be a key.
pub fn partition_by(
    keys: Vec<Arc<dyn PhysicalExpr>>,
    input: &SchemaRef,
) -> Result<impl Fn() -> PartitionTable + Send + Sync + Clone + 'static> {
    let types = super::aggregate::types_of(&keys, input)?;
    KeyEncoder::new(keys.clone(), &types)?;
    Ok(move || -> PartitionTable {
        let encoder = KeyEncoder::new(keys.clone(), &types).expect("invariant: it could be made before");
        let mut owned: Vec<Vec<u32>> = Vec::new();
        Box::new(move |batch, builders| {
            if let Some(batch) = batch.take() {
                split(&encoder, &mut owned, &RecordBatch::from(batch), builders);
            }
        })
    })
}

fn split(encoder: &KeyEncoder, owned: &mut Vec<Vec<u32>>, rows: &RecordBatch, builders: &mut [TableBuilder]) {
    let keys = encoder.columns(rows).and_then(|columns| encoder.encode(&columns));
    let (Ok(keys), true) = (keys, builders.len() > 1) else {
        builders[0].push(rows.clone());
        return;
    };
    owned.resize_with(builders.len(), Vec::new);
    owned.iter_mut().for_each(Vec::clear);
    for (row, key) in keys.iter().enumerate() {
        owned[owner_of(hash_bytes(key.data()), builders.len())].push(row as u32);
    }
    for (owned, builder) in owned.iter_mut().zip(builders) {
        if owned.len() == rows.num_rows() {
            builder.push(rows.clone());
        } else if !owned.is_empty() {
            let part = take_record_batch(rows, &UInt32Array::from(std::mem::take(owned)));
            builder.push(part.expect("invariant: the rows are those of the batch"));
        }
    }
}
