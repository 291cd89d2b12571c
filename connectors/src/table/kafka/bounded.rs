//! Topics as bounded tables.

use super::columns;
use crate::error::{ConnectorError, Result};
use crate::kafka::{BoundedRead, Range, RangeReader};
use crate::limits::{KAFKA_BATCH_BYTES, TABLE_BATCH_ROWS};
use crate::table::columns::Wanted;
use crate::table::{BoundedTable, RowReader};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, Mutex, PoisonError};

/// A bounded table. Its ranges are fixed when its partitions are asked for, or once for all in a snapshot.
#[derive(Debug)]
pub(super) struct KafkaBounded {
    read: BoundedRead,
    schema: SchemaRef,
    with_headers: bool,
    ranges: Mutex<Option<Arc<[Range]>>>,
    is_snapshot: bool,
}

impl KafkaBounded {
    pub(super) fn new(read: BoundedRead, with_headers: bool) -> Self {
        let schema = columns::schema(with_headers);
        KafkaBounded { read, schema, with_headers, ranges: Mutex::default(), is_snapshot: false }
    }

    fn known(&self) -> Option<Arc<[Range]>> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self) -> Result<Arc<[Range]>> {
        let ranges: Arc<[Range]> = self.read.ranges()?.into();
        *self.ranges.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&ranges));
        Ok(ranges)
    }
}

impl BoundedTable for KafkaBounded {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn partitions(&self) -> Result<usize> {
        let known = self.known().filter(|_| self.is_snapshot);
        Ok(known.map_or_else(|| self.find(), Ok)?.len())
    }

    fn read(&self, partition: usize, projection: Option<&[usize]>) -> Result<RowReader> {
        let ranges = self.known().map_or_else(|| self.find(), Ok)?;
        let range = ranges.get(partition);
        let range =
            range.ok_or_else(|| ConnectorError::internal(format!("there is no partition {partition}")))?;
        let wanted = Wanted::new(&self.schema, projection)?;
        let headers = self.with_headers && wanted.columns.contains(&columns::HEADERS);
        Ok(Box::new(RangeRows { reader: self.read.open(range, headers)?, wanted, failed: false }))
    }

    fn snapshot(&self) -> Result<Option<Arc<dyn BoundedTable>>> {
        let snapshot = KafkaBounded {
            ranges: Mutex::new(Some(self.read.ranges()?.into())),
            is_snapshot: true,
            ..KafkaBounded::new(self.read.clone(), self.with_headers)
        };
        Ok(Some(Arc::new(snapshot)))
    }
}

struct RangeRows {
    reader: RangeReader,
    wanted: Wanted,
    failed: bool,
}

impl Iterator for RangeRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let wanted = &self.wanted;
        let made =
            self.reader.next(TABLE_BATCH_ROWS, KAFKA_BATCH_BYTES, |records| columns::batch(wanted, records));
        let next = made.and_then(|batch| {
            batch.transpose().map_err(|error| {
                ConnectorError::internal(format!("records do not fit their columns: {error}"))
            })
        });
        self.failed = next.is_err();
        next.transpose()
    }
}
