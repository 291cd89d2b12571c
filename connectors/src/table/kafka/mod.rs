//! Topics of Apache Kafka: read as a stream, read bounded, written.
//!
//! # Columns that are read
//! | column | type | |
//! |---|---|---|
//! | `key`, `value` | BINARY | null as in the record: decode them with `CAST(value AS STRING)`, `from_json` |
//! | `topic`, `partition`, `offset` | STRING, INT, BIGINT | where the record is |
//! | `timestamp` | TIMESTAMP | in milliseconds; null if the record has none |
//! | `timestampType` | INT | 0: set by the producer, 1: by the broker, -1: none |
//! | `headers` | ARRAY<STRUCT<key STRING, value BINARY>> | with `includeHeaders`; null if there are none |
//!
//! # Columns that are written
//! | column | type | |
//! |---|---|---|
//! | `value` | STRING or BINARY | required; null is a tombstone |
//! | `key` | STRING or BINARY | null without it |
//! | `topic` | STRING | required without the option `topic`, which goes before it |
//! | `partition` | INT | by the key where it is null |
//! | `headers` | ARRAY<STRUCT<key STRING, value BINARY>> | the value may be STRING too |
//!
//! Any other column is an error. Output modes: append and update write the rows of an epoch, as Spark does, so
//! that a reader takes the newest of each key; complete writes the whole result again in each epoch.

mod bounded;
mod columns;
mod settings;
mod sink;

use super::columns::{Wanted, check_given};
use super::from_rows::FromRows;
use super::options::OptionSpec;
use super::{BoundedTable, ReadRequest, SaveMode, StreamTable, TableFormat, WriteRequest};
use crate::error::{ConnectorError, Result};
use crate::kafka::{KafkaRecord, KafkaSource};
use crate::sink::SinkFactory;
use crate::source::SourceFactory;
use arrow::datatypes::SchemaRef;
use bounded::KafkaBounded;
use lotic_operators::Instance;
use lotic_operators::table::TableBatch;
use std::sync::Arc;

/// The format `kafka`.
///
/// # Delivery
/// As a source: replayable, see [`KafkaSource`]. As a sink: at least once, or exactly once with the option
/// `deliveryGuarantee`, see [`KafkaSink`](crate::kafka::KafkaSink).
///
/// # Bounded reads
/// Where they begin and end is asked of the brokers when the read is planned, once for all partitions; what
/// comes later is not read. A consumer of its own reads each partition.
///
/// # Errors
/// Options, columns and Kafka parameters are checked when the table is made, without a broker; topics when it
/// is read or written.
///
/// # Cost
/// Key and value are copied once into their column; a column that is not asked for costs nothing.
#[derive(Debug, Clone, Copy)]
pub struct KafkaFormat;

impl TableFormat for KafkaFormat {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn summary(&self) -> &'static str {
        "Topics of Apache Kafka: records with key, value, place, time and headers."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        settings::READ.to_vec()
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        settings::WRITE.to_vec()
    }

    fn stream(&self, request: &ReadRequest) -> Result<Arc<dyn StreamTable>> {
        let source = settings::source(&request.options)?;
        let schema = columns::schema(settings::include_headers(&request.options)?);
        check_given("kafka", request, &schema)?;
        // Checks the parameters; connects to nothing.
        source.create(Instance::ONLY)?;
        Ok(Arc::new(KafkaStream { source, schema }))
    }

    fn bounded(&self, request: &ReadRequest) -> Result<Arc<dyn BoundedTable>> {
        let read = settings::bounded(&request.options)?;
        let with_headers = settings::include_headers(&request.options)?;
        let table = KafkaBounded::new(read, with_headers);
        check_given("kafka", request, &table.schema())?;
        Ok(Arc::new(table))
    }

    fn sink(&self, request: &WriteRequest) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        super::no_partitions("kafka", request)?;
        match request.save_mode {
            None | Some(SaveMode::Append | SaveMode::ErrorIfExists) => {}
            Some(mode) => {
                return Err(ConnectorError::user(format!(
                    "format `kafka` does not support save mode {mode:?}: rows of a topic are neither replaced nor \
                     looked for; use append, or error, which appends as well"
                )));
            }
        }
        let sink = sink::sink(&request.options, &request.schema)?;
        // Checks the parameters; connects to nothing.
        sink.create(Instance::ONLY)?;
        Ok(sink)
    }
}

#[derive(Debug)]
struct KafkaStream {
    source: KafkaSource,
    schema: SchemaRef,
}

impl StreamTable for KafkaStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn source(&self, projection: Option<&[usize]>) -> Result<Box<dyn SourceFactory<TableBatch>>> {
        let wanted = Wanted::new(&self.schema, projection)?;
        let convert = Arc::new(move |records: &[KafkaRecord]| columns::batch(&wanted, records));
        Ok(Box::new(FromRows::new(self.source.clone(), convert)))
    }
}
