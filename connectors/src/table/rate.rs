//! Rows at a fixed rate as a stream.

use super::columns::{Wanted, check_given, schema_of, timestamp_type, timestamps};
use super::from_rows::FromRows;
use super::options::OptionSpec;
use super::{BoundedTable, ReadRequest, StreamTable, TableFormat};
use crate::error::{ConnectorError, Result};
use crate::limits::PARALLELISM;
use crate::rate::{RateRow, RateSource};
use crate::source::SourceFactory;
use arrow::array::Int64Array;
use arrow::datatypes::{DataType, SchemaRef};
use lotic_operators::table::TableBatch;
use std::sync::Arc;

const OPTIONS: [OptionSpec; 4] = [
    OptionSpec::new(
        "rowsPerSecond",
        "1",
        "Rows made per second over all partitions; 0: as fast as they are taken.",
    ),
    OptionSpec::new(
        "rampUpTime",
        "0 s",
        "How long the rate rises evenly from 0, at each start of the query.",
    ),
    OptionSpec::new("numPartitions", "1", "The number of partitions: how many instances can share the work."),
    OptionSpec::new("limit", "", "Ends the stream after this many rows in all."),
];

/// The format `rate`: rows made at a fixed rate, for measurements and trials.
///
/// Columns: `timestamp` TIMESTAMP, when the row was due, and `value` BIGINT, its number from 0.
///
/// # Delivery
/// Replayable: values depend on offsets alone. Times are those of the run.
#[derive(Debug, Clone, Copy)]
pub struct RateFormat;

impl TableFormat for RateFormat {
    fn name(&self) -> &'static str {
        "rate"
    }

    fn summary(&self) -> &'static str {
        "Rows with a time and a number, made at a fixed rate: for measurements and trials."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        OPTIONS.to_vec()
    }

    fn stream(&self, request: &ReadRequest) -> Result<Arc<dyn StreamTable>> {
        let options = &request.options;
        options.check("rate", &OPTIONS)?;
        let schema = schema_of([("timestamp", timestamp_type()), ("value", DataType::Int64)]);
        check_given("rate", request, &schema)?;
        let rows_per_second = options.number("rowsPerSecond")?.unwrap_or(1);
        let in_range = |value: &str| value.parse().ok().filter(|count| (1..=PARALLELISM).contains(count));
        let partitions =
            options.parsed("numPartitions", &format!("a number from 1 to {PARALLELISM}"), in_range)?;
        let mut source = RateSource::new(rows_per_second).partitions(partitions.unwrap_or(1));
        if let Some(ramp_up) = options.duration("rampUpTime")?.filter(|ramp_up| !ramp_up.is_zero()) {
            if rows_per_second == 0 {
                return Err(ConnectorError::user(
                    "option `rampUpTime` needs a rate to reach: set `rowsPerSecond` to more than 0",
                ));
            }
            source = source.ramp_up(ramp_up);
        }
        if let Some(limit) = options.number("limit")? {
            source = source.limit(limit);
        }
        Ok(Arc::new(RateTable { source, schema }))
    }

    fn bounded(&self, _request: &ReadRequest) -> Result<Arc<dyn BoundedTable>> {
        Err(ConnectorError::user(
            "format `rate` never ends and cannot be read as a bounded table: read it as a stream with \
             `read_stream`, with the option `limit` if it is to end",
        ))
    }
}

#[derive(Debug)]
struct RateTable {
    source: RateSource,
    schema: SchemaRef,
}

impl StreamTable for RateTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn source(&self, projection: Option<&[usize]>) -> Result<Box<dyn SourceFactory<TableBatch>>> {
        let wanted = Wanted::new(&self.schema, projection)?;
        let convert = Arc::new(move |rows: &[RateRow]| {
            wanted.batch(rows.len(), |column| match column {
                0 => timestamps(rows.iter().map(|row| row.timestamp.0)),
                _ => Arc::new(Int64Array::from_iter_values(
                    rows.iter().map(|row| i64::try_from(row.value).unwrap_or(i64::MAX)),
                )),
            })
        });
        Ok(Box::new(FromRows::new(self.source.clone(), convert)))
    }
}
