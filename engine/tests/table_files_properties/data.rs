//! Random columns, rows of them, and files of these.

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lotic::testing::Random;
use std::sync::Arc;

pub(crate) const FORMATS: [&str; 4] = ["csv", "json", "parquet", "orc"];

fn time(zone: Option<&str>) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
}

fn list() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Int64, true)))
}

fn pair() -> Fields {
    vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)].into()
}

fn map() -> DataType {
    let entries =
        vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Int64, true)];
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries.into()), false)), false)
}

/// The types of which a format can hold columns.
fn kinds(format: &str) -> Vec<DataType> {
    use DataType::*;
    let mut kinds = vec![
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        Float32,
        Float64,
        Utf8,
        Date32,
        time(None),
        time(Some("UTC")),
    ];
    if format != "orc" {
        kinds.push(Decimal128(9, 2));
    }
    if format != "csv" {
        kinds.push(Binary);
    }
    if matches!(format, "json" | "parquet") {
        kinds.extend([list(), Struct(pair()), map()]);
    }
    kinds
}

/// Whether what is written of these columns in a format is read back as it was. Of a struct JSON does not tell
/// whether it or all its fields are null.
pub(crate) fn holds(format: &str, schema: &Schema) -> bool {
    let known = |kind: &DataType| match kind {
        DataType::Struct(_) | DataType::Map(_, _) => format == "parquet",
        DataType::Decimal128(_, _) => format != "orc",
        kind => kinds(format).contains(kind),
    };
    // A null in a single column of text cannot be told from an empty string in CSV.
    let alone = format == "csv" && schema.fields().len() == 1;
    format == "parquet" || (!alone && schema.fields().iter().all(|field| known(field.data_type())))
}

/// Columns `k BIGINT, c1, c2, ...` that each of the formats can hold.
pub(crate) fn schema(random: &mut Random, formats: &[&str]) -> SchemaRef {
    let mut known = kinds(formats[0]);
    known.retain(|kind| formats.iter().all(|format| kinds(format).contains(kind)));
    let mut fields = vec![Field::new("k", DataType::Int64, true)];
    for at in 1..=1 + random.below(5) {
        fields.push(Field::new(format!("c{at}"), random.pick(&known).clone(), true));
    }
    Arc::new(Schema::new(fields))
}

/// Random rows, few values of each type.
pub(crate) fn rows(random: &mut Random, schema: &SchemaRef, count: usize) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| column(random, field.data_type(), count)).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

fn some<T>(random: &mut Random, count: usize, mut make: impl FnMut(&mut Random) -> T) -> Vec<Option<T>> {
    (0..count).map(|_| if random.once_in(6) { None } else { Some(make(random)) }).collect()
}

fn numbers(random: &mut Random, count: usize, of: usize, times: i64) -> Int64Array {
    Int64Array::from(some(random, count, |random| (random.below(of) as i64 - of as i64 / 3) * times))
}

fn words(random: &mut Random, count: usize) -> StringArray {
    let words = ["a", "b", "", "ação", " x ", "c,\"d\"", "7", "日本"];
    StringArray::from(some(random, count, |random| *random.pick(&words)))
}

fn column(random: &mut Random, kind: &DataType, count: usize) -> ArrayRef {
    use DataType::*;
    match kind {
        Boolean => Arc::new(BooleanArray::from(some(random, count, |random| random.once_in(2)))),
        Utf8 => Arc::new(words(random, count)),
        Binary => {
            let bytes: [&[u8]; 4] = [b"", b"\x00\xff", b"abc", b"\n"];
            Arc::new(BinaryArray::from_iter(some(random, count, |random| *random.pick(&bytes))))
        }
        // Quarters: sums of them are exact, in whatever order.
        Float32 | Float64 => {
            let quarters = some(random, count, |random| random.below(40) as f64 / 4.0 + 0.25);
            cast(&Float64Array::from(quarters), kind).unwrap()
        }
        Date32 => {
            let days = cast(&numbers(random, count, 9, 400), &Int32).unwrap();
            cast(&days, kind).unwrap()
        }
        Timestamp(_, _) => cast(&numbers(random, count, 9, 86_399_123_456), kind).unwrap(),
        Decimal128(_, _) => {
            let cents = some(random, count, |random| random.below(500) as i128 - 100);
            Arc::new(Decimal128Array::from(cents).with_precision_and_scale(9, 2).unwrap())
        }
        List(_) | Struct(_) | Map(_, _) => nested(random, kind, count),
        _ => cast(&numbers(random, count, 9, 1), kind).unwrap(),
    }
}

fn nested(random: &mut Random, kind: &DataType, count: usize) -> ArrayRef {
    let valid: Vec<bool> = (0..count).map(|_| !random.once_in(6)).collect();
    let lengths: Vec<usize> = valid.iter().map(|valid| if *valid { random.below(3) } else { 0 }).collect();
    let total = lengths.iter().sum();
    let (offsets, nulls) = (OffsetBuffer::from_lengths(lengths), Some(NullBuffer::from(valid)));
    match kind {
        DataType::List(item) => {
            let values = Arc::new(numbers(random, total, 4, 1));
            Arc::new(ListArray::new(Arc::clone(item), offsets, values, nulls))
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else { unreachable!() };
            let keys = StringArray::from_iter_values((0..total).map(|key| format!("k{key}")));
            let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(numbers(random, total, 4, 1))];
            let entries_array = StructArray::new(fields.clone(), columns, None);
            Arc::new(MapArray::new(Arc::clone(entries), offsets, entries_array, nulls, *sorted))
        }
        _ => {
            let columns: Vec<ArrayRef> =
                vec![Arc::new(numbers(random, count, 4, 1)), Arc::new(words(random, count))];
            Arc::new(StructArray::new(pair(), columns, nulls))
        }
    }
}

/// Each row as the text of its values.
pub(crate) fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("null");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect();
        rows.extend((0..batch.num_rows()).map(row));
    }
    rows
}
