//! Lists to rows: how much comes out at once, and what stands behind nulls.

#![cfg(feature = "table")]
#![allow(clippy::unwrap_used, reason = "tests")]

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use lotic_operators::table::{ListColumn, TableBatch, Unnest, UnnestSpec};
use lotic_operators::{Batch, Emitted, Operator, Output};
use proptest::prelude::*;
use std::sync::Arc;

type Lists = Vec<Option<Vec<Option<i64>>>>;

fn input(lists: &Lists) -> RecordBatch {
    let number = Int64Array::from_iter_values(0..lists.len() as i64);
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(lists.clone());
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(number) as ArrayRef, true),
        ("l", Arc::new(list) as ArrayRef, true),
    ])
    .unwrap()
}

fn unnest(null_is_row: bool, empty_is_row: bool) -> Unnest {
    let fields = ["n", "l"].map(|name| Field::new(name, DataType::Int64, true));
    Unnest::new(UnnestSpec {
        lists: vec![ListColumn { column: 1, depth: 1 }],
        structs: Vec::new(),
        null_is_row,
        empty_is_row,
        output: Arc::new(Schema::new(fields.to_vec())),
    })
}

/// The rows that come out, by calls that find room for `room` rows; and the most that one call made.
fn run(unnest: &mut Unnest, rows: RecordBatch, room: usize) -> (Vec<(i64, Option<i64>)>, usize) {
    let (mut all, mut most) = (Vec::new(), 0);
    let mut input = TableBatch::from(rows);
    while input.rows() > 0 {
        let mut output = Output::<TableBatch>::with_limit(room);
        unnest.process(&mut input, &mut output).unwrap();
        let mut made = 0;
        while let Some(Emitted::Batch(batch)) = output.take() {
            let rows = batch.rows_left();
            made += rows.num_rows();
            let (n, l) =
                (rows.column(0).as_primitive::<Int64Type>(), rows.column(1).as_primitive::<Int64Type>());
            all.extend(n.values().iter().copied().zip(l.iter()));
        }
        most = most.max(made);
    }
    (all, most)
}

proptest! {
    #[test]
    fn lists_are_a_loop_over_rows(
        lists in prop::collection::vec(
            prop::option::of(prop::collection::vec(prop::option::of(0i64..9), 0..5)), 0..20),
        from in 0usize..3, room in 1usize..12, null_is_row: bool, empty_is_row: bool,
    ) {
        // A slice, so that the offsets do not begin at zero.
        let rows = input(&lists);
        let from = from.min(rows.num_rows());
        let mut expected = Vec::new();
        for (n, list) in lists.iter().enumerate().skip(from) {
            match list {
                None if null_is_row => expected.push((n as i64, None)),
                Some(list) if list.is_empty() && empty_is_row => expected.push((n as i64, None)),
                list => expected.extend(list.iter().flatten().map(|value| (n as i64, *value))),
            }
        }
        let rows = rows.slice(from, rows.num_rows() - from);
        let (got, most) = run(&mut unnest(null_is_row, empty_is_row), rows, room);
        prop_assert_eq!(got, expected);
        // Only what the last row makes may be beyond the limit.
        prop_assert!(most < room + 4, "{most} rows at once with room for {room}");
    }
}

#[test]
fn lists_in_lists_come_in_slices_too() {
    let inner = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let numbers = Arc::clone(input(&vec![Some(vec![Some(1), Some(2), Some(3)]); 64]).column(1));
    let nested =
        arrow::array::FixedSizeListArray::new(Arc::new(Field::new_list_field(inner, true)), 2, numbers, None);
    let schema = Arc::new(Schema::new(vec![Field::new("l", nested.data_type().clone(), true)]));
    let output = Arc::new(Schema::new(vec![Field::new("l", DataType::Int64, true)]));
    let spec = UnnestSpec {
        lists: vec![ListColumn { column: 0, depth: 2 }],
        structs: Vec::new(),
        null_is_row: false,
        empty_is_row: false,
        output,
    };
    let mut input = TableBatch::from(RecordBatch::try_new(schema, vec![Arc::new(nested)]).unwrap());
    let mut rows = 0;
    while input.rows() > 0 {
        let mut output = Output::<TableBatch>::with_limit(10);
        Unnest::new(spec.clone()).process(&mut input, &mut output).unwrap();
        let made: usize = std::iter::from_fn(|| output.take())
            .map(|emitted| if let Emitted::Batch(batch) = emitted { batch.rows() } else { 0 })
            .sum();
        assert!(made <= 16, "{made} rows with room for 10, six for each row");
        rows += made;
    }
    assert_eq!(rows, 32 * 6);
}

#[test]
fn the_fields_of_a_null_struct_are_null_whatever_stands_behind_it() {
    let field = Arc::new(Field::new("a", DataType::Int64, true));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let nulls = NullBuffer::from(vec![true, false, true]);
    let structs = StructArray::new(vec![Arc::clone(&field)].into(), vec![values], Some(nulls));
    let rows =
        RecordBatch::try_from_iter_with_nullable([("s", Arc::new(structs) as ArrayRef, true)]).unwrap();
    let spec = UnnestSpec {
        lists: Vec::new(),
        structs: vec![0],
        null_is_row: false,
        empty_is_row: false,
        output: Arc::new(Schema::new(vec![field])),
    };
    let mut output = Output::<TableBatch>::default();
    Unnest::new(spec).process(&mut TableBatch::from(rows), &mut output).unwrap();
    let Some(Emitted::Batch(made)) = output.take() else { panic!("nothing came out") };
    let made: Vec<_> = made.rows_left().column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(made, [Some(1), None, Some(3)]);
}
