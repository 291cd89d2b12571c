//! Records of Kafka as columns.

use crate::kafka::{KafkaRecord, MessageRecord};
use crate::table::columns::{Wanted, timestamp_type};
use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, Int32Array, Int64Array, ListBuilder, RecordBatch, StringBuilder,
    StructBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::sync::Arc;

const KEY: usize = 0;
const VALUE: usize = 1;
const TOPIC: usize = 2;
const PARTITION: usize = 3;
const OFFSET: usize = 4;
const TIMESTAMP: usize = 5;
const TIMESTAMP_TYPE: usize = 6;
pub(super) const HEADERS: usize = 7;

/// The columns of a topic.
pub(super) fn schema(with_headers: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamp_type(), true),
        Field::new("timestampType", DataType::Int32, false),
    ];
    if with_headers {
        fields.push(Field::new_list("headers", Field::new_list_field(header_type(), true), true));
    }
    Arc::new(Schema::new(fields))
}

fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)])
}

fn header_type() -> DataType {
    DataType::Struct(header_fields())
}

/// One record, wherever it lies.
pub(super) trait Row {
    fn key(&self) -> Option<&[u8]>;
    fn value(&self) -> Option<&[u8]>;
    fn topic(&self) -> &str;
    fn partition(&self) -> i32;
    fn offset(&self) -> i64;
    /// Microseconds since 1970.
    fn timestamp(&self) -> Option<i64>;
    fn timestamp_type(&self) -> i32;
    /// Calls `each` with the name and value of each header.
    fn headers(&self, each: impl FnMut(&str, Option<&[u8]>));
}

impl Row for KafkaRecord {
    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    fn topic(&self) -> &str {
        &self.topic
    }

    fn partition(&self) -> i32 {
        self.partition
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn timestamp(&self) -> Option<i64> {
        self.timestamp.map(|timestamp| timestamp.0)
    }

    fn timestamp_type(&self) -> i32 {
        self.timestamp_type.code()
    }

    fn headers(&self, mut each: impl FnMut(&str, Option<&[u8]>)) {
        for header in &self.headers {
            each(&header.name, header.value.as_deref());
        }
    }
}

impl Row for MessageRecord<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.key()
    }

    fn value(&self) -> Option<&[u8]> {
        self.value()
    }

    fn topic(&self) -> &str {
        self.topic()
    }

    fn partition(&self) -> i32 {
        self.partition()
    }

    fn offset(&self) -> i64 {
        self.offset()
    }

    fn timestamp(&self) -> Option<i64> {
        self.timestamp_ms().map(|millis| millis.saturating_mul(1000))
    }

    fn timestamp_type(&self) -> i32 {
        self.timestamp_type().code()
    }

    fn headers(&self, each: impl FnMut(&str, Option<&[u8]>)) {
        self.headers(each);
    }
}

/// The columns asked for, of some records. Key and value are copied once; a column that is not asked for
/// costs nothing.
pub(super) fn batch<R: Row>(wanted: &Wanted, rows: &[R]) -> Result<RecordBatch, ArrowError> {
    wanted.batch(rows.len(), |column| match column {
        KEY => bytes(rows, R::key),
        VALUE => bytes(rows, R::value),
        TOPIC => topics(rows),
        PARTITION => Arc::new(Int32Array::from_iter_values(rows.iter().map(R::partition))),
        OFFSET => Arc::new(Int64Array::from_iter_values(rows.iter().map(R::offset))),
        TIMESTAMP => {
            let times = rows.iter().map(R::timestamp);
            Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone("UTC"))
        }
        TIMESTAMP_TYPE => Arc::new(Int32Array::from_iter_values(rows.iter().map(R::timestamp_type))),
        _ => headers(rows),
    })
}

fn bytes<'a, R: Row>(rows: &'a [R], part: impl Fn(&'a R) -> Option<&'a [u8]>) -> ArrayRef {
    let size = rows.iter().filter_map(&part).map(<[u8]>::len).sum();
    let mut builder = BinaryBuilder::with_capacity(rows.len(), size);
    for row in rows {
        builder.append_option(part(row));
    }
    Arc::new(builder.finish())
}

fn topics<R: Row>(rows: &[R]) -> ArrayRef {
    let size = rows.iter().map(|row| row.topic().len()).sum();
    let mut builder = StringBuilder::with_capacity(rows.len(), size);
    for row in rows {
        builder.append_value(row.topic());
    }
    Arc::new(builder.finish())
}

/// Null for a record that has none, as in Spark.
fn headers<R: Row>(rows: &[R]) -> ArrayRef {
    let pairs: Vec<Box<dyn ArrayBuilder>> =
        vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())];
    let mut builder = ListBuilder::with_capacity(StructBuilder::new(header_fields(), pairs), rows.len());
    for row in rows {
        let mut any = false;
        row.headers(|name, value| {
            any = true;
            let pair = builder.values();
            if let Some(names) = pair.field_builder::<StringBuilder>(0) {
                names.append_value(name);
            }
            if let Some(values) = pair.field_builder::<BinaryBuilder>(1) {
                values.append_option(value);
            }
            pair.append(true);
        });
        builder.append(any);
    }
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{Header, TimestampType};
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
    use bytes::Bytes;
    use lotic_operators::Timestamp;

    fn record(offset: i64) -> KafkaRecord {
        KafkaRecord {
            topic: "orders".into(),
            partition: 3,
            offset,
            timestamp: Some(Timestamp::from_millis(1_500)),
            timestamp_type: TimestampType::LogAppendTime,
            key: None,
            value: Some(Bytes::from_static(b"\xff\x00")),
            headers: Vec::new(),
        }
    }

    #[test]
    fn every_part_of_a_record_is_in_its_column() {
        let mut tombstone = record(8);
        tombstone.key = Some(Bytes::from_static(b""));
        tombstone.value = None;
        tombstone.timestamp = None;
        tombstone.timestamp_type = TimestampType::None;
        tombstone.headers = vec![Header::new("a", "1"), Header::null("b"), Header::new("a", "")];
        let wanted = Wanted::new(&schema(true), None).unwrap();
        let rows = batch(&wanted, &[record(7), tombstone]).unwrap();
        assert_eq!(rows.schema(), schema(true));
        let (key, value) = (rows.column(0).as_binary::<i32>(), rows.column(1).as_binary::<i32>());
        assert!(key.is_null(0) && key.value(1).is_empty() && !key.is_null(1));
        assert!(value.value(0) == b"\xff\x00" && value.is_null(1));
        assert_eq!(rows.column(2).as_string::<i32>().value(1), "orders");
        assert_eq!(rows.column(3).as_primitive::<Int32Type>().values(), &[3, 3]);
        assert_eq!(rows.column(4).as_primitive::<Int64Type>().values(), &[7, 8]);
        let times = rows.column(5).as_primitive::<TimestampMicrosecondType>();
        assert!(times.value(0) == 1_500_000 && times.is_null(1));
        assert_eq!(rows.column(6).as_primitive::<Int32Type>().values(), &[1, -1]);
        let headers = rows.column(7).as_list::<i32>();
        assert!(headers.is_null(0) && headers.value_length(1) == 3);
        let pairs = headers.value(1);
        let pairs = pairs.as_struct();
        let names: Vec<_> = pairs.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(names, ["a", "b", "a"]);
        let values: Vec<_> = pairs.column(1).as_binary::<i32>().iter().collect();
        assert_eq!(values, [Some(&b"1"[..]), None, Some(&b""[..])]);
    }

    #[test]
    fn columns_come_in_the_order_asked_for_and_rows_without_columns_are_counted() {
        let wanted = Wanted::new(&schema(false), Some(&[4, 0])).unwrap();
        let rows = batch(&wanted, &[record(7)]).unwrap();
        assert_eq!(rows.schema().field(0).name(), "offset");
        assert_eq!((rows.num_columns(), rows.num_rows()), (2, 1));
        let none = Wanted::new(&schema(false), Some(&[])).unwrap();
        assert_eq!(batch(&none, &[record(7), record(8)]).unwrap().num_rows(), 2);
    }
}
