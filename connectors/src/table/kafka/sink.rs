//! Rows as messages.

use super::settings;
use crate::error::{ConnectorError, Result};
use crate::kafka::{Added, HeaderRef, KafkaSink, MessageRef, MessageWriter, ToMessages};
use crate::sink::SinkFactory;
use crate::table::options::Options;
use arrow::array::{
    Array, AsArray, BinaryArray, BinaryViewArray, Int32Array, LargeBinaryArray, LargeListArray,
    LargeStringArray, ListArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use lotic_operators::table::TableBatch;
use std::ops::Range;

const COLUMNS: &str = "`value`, `key`, `topic`, `partition` and `headers`";
const HEADERS_TYPE: &str = "ARRAY<STRUCT<key STRING, value BINARY>>";

/// A sink for rows with these columns.
pub(super) fn sink(options: &Options, schema: &Schema) -> Result<Box<dyn SinkFactory<TableBatch>>> {
    settings::check(options, &settings::WRITE)?;
    let topic = options.get("topic").map(str::trim);
    if topic.is_some_and(str::is_empty) {
        return Err(ConnectorError::user(
            "option `topic` is empty: name the topic to write to, or leave it out",
        ));
    }
    settings::include_headers(options)?;
    let columns = Columns::find(schema, topic.is_some())?;
    let mut sink = KafkaSink::with_encoder(settings::parameters(options)?, columns);
    if let Some(topic) = topic {
        sink = sink.to_topic(topic);
    }
    if let Some(wait) = options.duration("connectTimeout")? {
        sink = sink.connect_wait_max(wait);
    }
    if settings::exactly_once(options)? {
        sink = exactly_once(sink, options)?;
    }
    Ok(Box::new(sink))
}

fn exactly_once(sink: KafkaSink<Columns>, options: &Options) -> Result<KafkaSink<Columns>> {
    let mut sink = sink.exactly_once();
    if let Some(topic) = options.get("epochsTopic") {
        sink = sink.epochs_topic(topic.trim());
    }
    if let Some(prefix) = options.get("transactionalIdPrefix") {
        sink = sink.transactional_id_prefix(prefix.trim());
    }
    if let Some(bytes) = options.bytes("maxEpochBytes")? {
        sink = sink.epoch_bytes_max(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if let Some(wait) = options.duration("commitTimeout")? {
        sink = sink.commit_wait_max(wait);
    }
    Ok(sink)
}

/// Where the parts of a message are among the columns of a row.
#[derive(Debug, Clone)]
struct Columns {
    value: usize,
    key: Option<usize>,
    /// `None` where the option `topic` says it.
    topic: Option<usize>,
    partition: Option<usize>,
    headers: Option<usize>,
}

impl Columns {
    fn find(schema: &Schema, topic_is_given: bool) -> Result<Columns> {
        let known = ["value", "key", "topic", "partition", "headers"];
        let mut found = [None; 5];
        for (at, field) in schema.fields().iter().enumerate() {
            let Some(part) = known.iter().position(|name| field.name().eq_ignore_ascii_case(name)) else {
                return Err(ConnectorError::user(format!(
                    "format `kafka` writes the columns {COLUMNS}, and there is no place for column `{}`: select \
                     those, or put it into the value, such as `to_json(struct(*)) AS value`",
                    field.name()
                )));
            };
            if found[part].replace(at).is_some() {
                return Err(ConnectorError::user(format!(
                    "format `kafka`: there are two columns `{}`: leave one out",
                    known[part]
                )));
            }
            check_type(known[part], field)?;
        }
        let [value, key, topic, partition, headers] = found;
        let value = value.ok_or_else(|| {
            ConnectorError::user(
                "format `kafka` needs a column `value` of type STRING or BINARY, such as \
                 `to_json(struct(*)) AS value`",
            )
        })?;
        if !topic_is_given && topic.is_none() {
            return Err(ConnectorError::user(
                "format `kafka` needs to know the topic: set the option `topic`, or add a column `topic` of type \
                 STRING",
            ));
        }
        Ok(Columns { value, key, topic: topic.filter(|_| !topic_is_given), partition, headers })
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(data_type: &DataType) -> bool {
    is_text(data_type) || matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_headers(data_type: &DataType) -> bool {
    let (DataType::List(item) | DataType::LargeList(item)) = data_type else { return false };
    let DataType::Struct(pair) = item.data_type() else { return false };
    match pair.as_ref() {
        [key, value] => {
            key.name().eq_ignore_ascii_case("key")
                && is_text(key.data_type())
                && value.name().eq_ignore_ascii_case("value")
                && is_bytes(value.data_type())
        }
        _ => false,
    }
}

fn check_type(part: &str, field: &Field) -> Result<()> {
    let data_type = field.data_type();
    let (fits, expected) = match part {
        "value" | "key" => (is_bytes(data_type), "STRING or BINARY"),
        "topic" => (is_text(data_type), "STRING"),
        "partition" => (*data_type == DataType::Int32, "INT"),
        _ => (is_headers(data_type), HEADERS_TYPE),
    };
    if fits {
        return Ok(());
    }
    Err(ConnectorError::user(format!(
        "format `kafka`: column `{}` is {data_type}: it has to be {expected}; cast it",
        field.name()
    )))
}

/// A column of text or bytes.
enum Bytes<'a> {
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
}

impl<'a> Bytes<'a> {
    /// The types were checked when the sink was made.
    fn of(column: &'a dyn Array) -> Option<Bytes<'a>> {
        Some(match column.data_type() {
            DataType::Utf8 => Bytes::Text(column.as_string_opt()?),
            DataType::LargeUtf8 => Bytes::LargeText(column.as_string_opt()?),
            DataType::Utf8View => Bytes::TextView(column.as_string_view_opt()?),
            DataType::Binary => Bytes::Binary(column.as_binary_opt()?),
            DataType::LargeBinary => Bytes::LargeBinary(column.as_binary_opt()?),
            DataType::BinaryView => Bytes::BinaryView(column.as_binary_view_opt()?),
            _ => return None,
        })
    }

    fn get(&self, row: usize) -> Option<&'a [u8]> {
        match self {
            Bytes::Text(column) => column.is_valid(row).then(|| column.value(row).as_bytes()),
            Bytes::LargeText(column) => column.is_valid(row).then(|| column.value(row).as_bytes()),
            Bytes::TextView(column) => column.is_valid(row).then(|| column.value(row).as_bytes()),
            Bytes::Binary(column) => column.is_valid(row).then(|| column.value(row)),
            Bytes::LargeBinary(column) => column.is_valid(row).then(|| column.value(row)),
            Bytes::BinaryView(column) => column.is_valid(row).then(|| column.value(row)),
        }
    }

    fn text(&self, row: usize) -> Option<&'a str> {
        match self {
            Bytes::Text(column) => column.is_valid(row).then(|| column.value(row)),
            Bytes::LargeText(column) => column.is_valid(row).then(|| column.value(row)),
            Bytes::TextView(column) => column.is_valid(row).then(|| column.value(row)),
            _ => None,
        }
    }
}

enum Lists<'a> {
    Usual(&'a ListArray),
    Large(&'a LargeListArray),
}

/// The column of headers.
struct HeaderColumn<'a> {
    lists: Lists<'a>,
    pairs: &'a dyn Array,
    names: Bytes<'a>,
    values: Bytes<'a>,
}

impl<'a> HeaderColumn<'a> {
    fn of(column: &'a dyn Array) -> Option<HeaderColumn<'a>> {
        let (lists, pairs) = match column.data_type() {
            DataType::List(_) => {
                let lists = column.as_list_opt::<i32>()?;
                (Lists::Usual(lists), lists.values())
            }
            _ => {
                let lists = column.as_list_opt::<i64>()?;
                (Lists::Large(lists), lists.values())
            }
        };
        let pair = pairs.as_struct_opt()?;
        let (names, values) = (Bytes::of(pair.column(0))?, Bytes::of(pair.column(1))?);
        Some(HeaderColumn { lists, pairs: pairs.as_ref(), names, values })
    }

    fn range(&self, row: usize) -> Range<usize> {
        match self.lists {
            Lists::Usual(lists) if lists.is_valid(row) => {
                let offsets = lists.value_offsets();
                offsets[row] as usize..offsets[row + 1] as usize
            }
            Lists::Large(lists) if lists.is_valid(row) => {
                let offsets = lists.value_offsets();
                offsets[row] as usize..offsets[row + 1] as usize
            }
            _ => 0..0,
        }
    }

    /// The headers of a row, into `headers`.
    fn get(&self, row: usize, headers: &mut Vec<HeaderRef<'a>>) -> Result<(), &'static str> {
        headers.clear();
        for at in self.range(row) {
            let name = self.names.text(at).filter(|_| self.pairs.is_valid(at));
            headers.push((name.ok_or("a header without a key")?, self.values.get(at)));
        }
        Ok(())
    }
}

/// The columns of one batch.
struct Parts<'a> {
    value: Bytes<'a>,
    key: Option<Bytes<'a>>,
    topic: Option<Bytes<'a>>,
    partition: Option<&'a Int32Array>,
    headers: Option<HeaderColumn<'a>>,
}

impl<'a> Parts<'a> {
    fn of(columns: &Columns, rows: &'a RecordBatch) -> Option<Parts<'a>> {
        let column = |at: usize| rows.columns().get(at).map(AsRef::as_ref);
        let bytes = |at: Option<usize>| match at {
            None => Some(None),
            Some(at) => Bytes::of(column(at)?).map(Some),
        };
        let partition = match columns.partition {
            None => None,
            Some(at) => Some(column(at)?.as_primitive_opt::<Int32Type>()?),
        };
        let headers = match columns.headers {
            None => None,
            Some(at) => Some(HeaderColumn::of(column(at)?)?),
        };
        let value = Bytes::of(column(columns.value)?)?;
        Some(Parts { value, key: bytes(columns.key)?, topic: bytes(columns.topic)?, partition, headers })
    }

    fn message<'h>(&self, row: usize, headers: &'h [HeaderRef<'a>]) -> Result<MessageRef<'h>, String>
    where
        'a: 'h,
    {
        let topic = self.topic.as_ref().map(|topics| topics.text(row).ok_or("no topic")).transpose()?;
        let partition = self.partition.filter(|column| column.is_valid(row)).map(|column| column.value(row));
        if let Some(partition) = partition.filter(|partition| *partition < 0) {
            return Err(format!("the partition {partition}"));
        }
        let key = self.key.as_ref().and_then(|keys| keys.get(row));
        let value = self.value.get(row);
        Ok(MessageRef { topic, partition, key, value, headers, timestamp_ms: None })
    }
}

impl ToMessages<TableBatch> for Columns {
    fn write(&mut self, batch: &mut TableBatch, writer: &mut dyn MessageWriter) -> Result<()> {
        let rows = batch.rows_left().clone();
        let mut taken = 0;
        let written = self.add_all(&rows, writer, &mut taken);
        batch.split_front(taken);
        written
    }
}

impl Columns {
    fn add_all(&self, rows: &RecordBatch, writer: &mut dyn MessageWriter, taken: &mut usize) -> Result<()> {
        let parts = Parts::of(self, rows).ok_or_else(|| {
            ConnectorError::internal("sink `kafka`: the columns of a batch are not those of the sink")
        })?;
        let mut headers = Vec::new();
        for row in 0..rows.num_rows() {
            let refused = |what: &str| {
                ConnectorError::user(format!(
                    "sink `kafka`: row {} of a batch of {} has {what}: leave such rows out, or give it one with \
                     `coalesce`",
                    row + 1,
                    rows.num_rows()
                ))
            };
            if let Some(column) = &parts.headers {
                column.get(row, &mut headers).map_err(refused)?;
            }
            let message = parts.message(row, &headers).map_err(|what| refused(&what))?;
            if writer.add(&message)? == Added::Full {
                break;
            }
            *taken += 1;
        }
        Ok(())
    }
}
