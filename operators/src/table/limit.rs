//! The first rows of a stream.

use super::TableBatch;
use crate::batch::Batch;
use crate::error::{OperatorError, Result};
use crate::operator::{Operator, Progress};
use crate::output::Output;
use crate::snapshot::{Restore, Snapshot, TableSnapshot};
use crate::state::codec::{decode, encode};
use std::sync::Arc;

const TABLE: &str = "limit";

/// LIMIT and OFFSET: drops the first `skip` rows, passes on the next `fetch`, drops the rest. One instance.
///
/// Rows are counted over the whole stream, restarts included, or over each epoch.
#[derive(Debug, Clone)]
pub struct Limit {
    skip: u64,
    fetch: Option<u64>,
    each_epoch: bool,
    /// Rows seen, as far as they matter.
    seen: u64,
    stored: Option<u64>,
}

impl Limit {
    /// Counts over the whole stream; without `fetch` there is no end.
    #[must_use]
    pub fn new(skip: u64, fetch: Option<u64>) -> Limit {
        Limit { skip, fetch, each_epoch: false, seen: 0, stored: None }
    }

    /// Counts anew in each epoch: for results that are complete in each.
    #[must_use]
    pub fn each_epoch(skip: u64, fetch: Option<u64>) -> Limit {
        Limit { each_epoch: true, ..Limit::new(skip, fetch) }
    }

    /// Whether no row to come will pass.
    pub fn is_reached(&self) -> bool {
        self.end().is_some_and(|end| self.seen >= end)
    }

    fn end(&self) -> Option<u64> {
        self.fetch.map(|fetch| self.skip.saturating_add(fetch))
    }
}

impl Operator<TableBatch, TableBatch> for Limit {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<TableBatch>) -> Result<()> {
        while input.rows() > 0 && !output.is_full() {
            let to_skip = self.skip.saturating_sub(self.seen);
            let (wanted, passes) = match self.end() {
                _ if to_skip > 0 => (to_skip, false),
                Some(end) if self.seen >= end => (u64::MAX, false),
                Some(end) => (end - self.seen, true),
                None => (u64::MAX, true),
            };
            let most = usize::try_from(wanted).unwrap_or(usize::MAX);
            let rows = input.split_front(if passes { most.min(output.room()) } else { most });
            let counts = self.end().map_or(self.skip, |end| end);
            self.seen = self.seen.saturating_add(rows.num_rows() as u64).min(counts.max(self.skip));
            if passes {
                output.builder().push(rows);
            }
        }
        Ok(())
    }

    fn end_epoch(&mut self, _output: &mut Output<TableBatch>) -> Result<Progress> {
        if self.each_epoch {
            self.seen = 0;
        }
        Ok(Progress::Done)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        if self.stored == Some(self.seen) {
            return Ok(Snapshot::empty());
        }
        let mut bytes = Vec::new();
        encode(TABLE, &self.seen, &mut bytes)?;
        let full = self.stored.is_none();
        self.stored = Some(self.seen);
        Ok(Snapshot {
            tables: vec![TableSnapshot {
                table: TABLE,
                full,
                chunks: vec![(0, Arc::new(bytes))],
                entries: None,
            }],
        })
    }

    fn restore(&mut self, restore: Restore<'_>, _output: &mut Output<TableBatch>) -> Result<()> {
        match restore.image.chunks(TABLE) {
            [] => Ok(()),
            [one] => {
                self.seen = decode(TABLE, one)?;
                Ok(())
            }
            _ => Err(OperatorError::Decode {
                table: TABLE.to_owned(),
                cause: "it was written by more than one instance".to_owned(),
            }),
        }
    }
}
