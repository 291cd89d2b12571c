//! Random tables: types, and rows of them with nulls and the values at the ends of each type.

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, LargeStringArray, ListArray, MapArray,
    RecordBatch, StringArray, StringViewArray, StructArray, Time64MicrosecondArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit, i256};
use proptest::prelude::*;
use std::sync::Arc;

const TEXTS: [&str; 6] = ["", "a", "maçã", "日本語 \u{1f600}", "line\nbreak, \"quoted\"", "\u{0}tab\t"];

/// Types that both formats have.
pub fn flat() -> impl Strategy<Value = DataType> {
    use DataType::*;
    let unit = prop_oneof![
        Just(TimeUnit::Second),
        Just(TimeUnit::Millisecond),
        Just(TimeUnit::Microsecond),
        Just(TimeUnit::Nanosecond)
    ];
    let zone = prop_oneof![Just(None), Just(Some(Arc::from("UTC"))), Just(Some(Arc::from("+03:00")))];
    prop_oneof![
        4 => prop::sample::select(vec![
            Boolean, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, Float32, Float64, Utf8, LargeUtf8,
            Utf8View, Binary, Date32,
        ]),
        1 => (unit, zone).prop_map(|(unit, zone)| Timestamp(unit, zone)),
    ]
}

/// Types that Parquet has.
pub fn nested() -> impl Strategy<Value = DataType> {
    let decimal = (1_u8..=38).prop_flat_map(|precision| {
        (0..=precision).prop_map(move |scale| DataType::Decimal128(precision, scale as i8))
    });
    let leaf = prop_oneof![
        4 => flat(),
        1 => decimal,
        1 => Just(DataType::Decimal256(60, 12)),
        1 => Just(DataType::UInt64),
        1 => Just(DataType::Time64(TimeUnit::Microsecond)),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| DataType::List(Arc::new(Field::new("item", item, true)))),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|kinds| DataType::Struct(fields(kinds))),
            inner.prop_map(|value| {
                let pair = [Field::new("keys", DataType::Utf8, false), Field::new("values", value, true)];
                let entries = DataType::Struct(pair.into_iter().collect());
                DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
            }),
        ]
    })
}

/// Columns `c0`, `c1` and so on.
pub fn fields(kinds: Vec<DataType>) -> Fields {
    let field = |(index, kind)| Field::new(format!("c{index}"), kind, true);
    kinds.into_iter().enumerate().map(field).collect()
}

/// Rows of a schema: the same for the same seed.
pub fn rows(fields: &Fields, count: usize, seed: u64) -> RecordBatch {
    let mut random = Random(seed | 1);
    let columns = fields.iter().map(|field| random.array(field.data_type(), count)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns).unwrap()
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end
    }

    /// A number of any size, the least and the greatest among them.
    fn number(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => 0,
            _ => self.next() as i64 >> self.below(64),
        }
    }

    fn some<T>(&mut self, count: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<Option<T>> {
        let nulls = self.below(3);
        (0..count).map(|_| (nulls == 0 || self.below(4) > 0).then(|| make(self))).collect()
    }

    fn text(&mut self) -> String {
        format!("{}{}", TEXTS[self.below(TEXTS.len())], self.below(5))
    }

    fn array(&mut self, kind: &DataType, count: usize) -> ArrayRef {
        use DataType::*;
        match kind {
            Boolean => Arc::new(BooleanArray::from(self.some(count, |r| r.below(2) == 1))),
            Int8 => Arc::new(Int8Array::from(self.some(count, |r| r.number() as i8))),
            Int16 => Arc::new(Int16Array::from(self.some(count, |r| r.number() as i16))),
            Int32 => Arc::new(Int32Array::from(self.some(count, |r| r.number() as i32))),
            Int64 => Arc::new(Int64Array::from(self.some(count, Self::number))),
            UInt8 => Arc::new(UInt8Array::from(self.some(count, |r| r.number() as u8))),
            UInt16 => Arc::new(UInt16Array::from(self.some(count, |r| r.number() as u16))),
            UInt32 => Arc::new(UInt32Array::from(self.some(count, |r| r.number() as u32))),
            UInt64 => Arc::new(UInt64Array::from(self.some(count, |r| r.number() as u64))),
            Float32 => Arc::new(Float32Array::from(self.some(count, |r| r.number() as f32 / 7.0))),
            Float64 => Arc::new(Float64Array::from(self.some(count, |r| r.number() as f64 / 7.0))),
            Utf8 => Arc::new(StringArray::from(self.some(count, Self::text))),
            LargeUtf8 => Arc::new(LargeStringArray::from(self.some(count, Self::text))),
            Utf8View => Arc::new(StringViewArray::from_iter(self.some(count, Self::text))),
            Binary => {
                let bytes = self.some(count, |r| r.next().to_le_bytes()[..r.below(8)].to_vec());
                Arc::new(BinaryArray::from_iter(bytes))
            }
            Date32 => Arc::new(Date32Array::from(self.some(count, |r| r.below(60_000) as i32 - 30_000))),
            Time64(TimeUnit::Microsecond) => {
                let times = self.some(count, |r| r.below(86_400_000_000) as i64);
                Arc::new(Time64MicrosecondArray::from(times))
            }
            Timestamp(unit, zone) => self.timestamps(*unit, zone.clone(), count),
            Decimal128(precision, scale) => {
                let limit = 10_i128.pow(u32::from(*precision));
                let values = self.some(count, |r| (i128::from(r.number()) * 1_000_000_007) % limit);
                Arc::new(Decimal128Array::from(values).with_precision_and_scale(*precision, *scale).unwrap())
            }
            Decimal256(precision, scale) => {
                let values = self.some(count, |r| i256::from(r.number()) * i256::from(r.number()));
                Arc::new(Decimal256Array::from(values).with_precision_and_scale(*precision, *scale).unwrap())
            }
            other => self.nested(other, count),
        }
    }

    /// Years 1905 to 2100. Of the second before 1970, ORC can hold the first millisecond only.
    fn timestamps(&mut self, unit: TimeUnit, zone: Option<Arc<str>>, count: usize) -> ArrayRef {
        let (per_second, seconds) = match unit {
            TimeUnit::Second => (1, 1),
            TimeUnit::Millisecond => (1_000, 1),
            TimeUnit::Microsecond => (1_000_000, 1),
            TimeUnit::Nanosecond => (1_000_000_000, 1),
        };
        let values = self.some(count, |r| {
            let second = (r.below(6_150_000_000) as i64 - 2_050_000_000) * seconds;
            let part = if second == -1 { 0 } else { r.below(per_second as usize) as i64 };
            second * per_second + part
        });
        cast(&Int64Array::from(values), &DataType::Timestamp(unit, zone)).unwrap()
    }

    fn nulls(&mut self, count: usize) -> Option<NullBuffer> {
        (self.below(2) == 0).then(|| (0..count).map(|_| self.below(4) > 0).collect::<Vec<_>>().into())
    }

    fn nested(&mut self, kind: &DataType, count: usize) -> ArrayRef {
        let nulls = self.nulls(count);
        let valid = |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let lengths: Vec<usize> = (0..count).map(|row| if valid(row) { self.below(4) } else { 0 }).collect();
        let total = lengths.iter().sum();
        let offsets = OffsetBuffer::from_lengths(lengths);
        match kind {
            DataType::List(item) => {
                let values = self.array(item.data_type(), total);
                Arc::new(ListArray::new(Arc::clone(item), offsets, values, nulls))
            }
            DataType::Map(entries, sorted) => {
                let DataType::Struct(pair) = entries.data_type() else { unreachable!() };
                let keys: ArrayRef =
                    Arc::new(StringArray::from_iter_values((0..total).map(|key| format!("k{key}"))));
                let values = self.array(pair[1].data_type(), total);
                let pairs = StructArray::new(pair.clone(), vec![keys, values], None);
                Arc::new(MapArray::new(Arc::clone(entries), offsets, pairs, nulls, *sorted))
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|field| self.array(field.data_type(), count)).collect();
                Arc::new(StructArray::new(fields.clone(), columns, nulls))
            }
            other => unreachable!("no rows of {other}"),
        }
    }
}
