//! The result of a bounded plan as a source of ours: what batch writes and typed streams read.

use super::context::TableContext;
use crate::error::Error;
use datafusion::arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::LogicalPlan;
use futures::channel::mpsc::{Receiver, channel};
use futures::{SinkExt, Stream, StreamExt};
use lotic_connectors::{
    ConnectorError, Latest, Offsets, PollRequest, Polled, Polling, Result, Source, SourceFactory,
    SourceTraits,
};
use lotic_operators::table::TableBatch;
use lotic_operators::{Batch, Instance};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Batches that DataFusion may be ahead of the actors.
const BATCHES_AHEAD: usize = 4;
const PARTITION: &str = "rows";

/// A bounded plan, run by DataFusion and read once.
///
/// # Delivery
/// It is computed anew if the query is started anew; it cannot be gone on with in the middle.
pub(super) struct BoundedRows {
    pub(super) tables: Arc<TableContext>,
    pub(super) plan: LogicalPlan,
}

impl SourceFactory<TableBatch> for BoundedRows {
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            name: "bounded".to_owned(),
            replayable: true,
            polling: Polling::NonBlocking,
            max_parallelism: 1,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Source<TableBatch>>> {
        let (tables, plan) = (Arc::clone(&self.tables), self.plan.clone());
        Ok(Box::new(Reading { tables, plan, computed: None, current: None, next: 0 }))
    }
}

/// What the computing side says.
enum Computed {
    Rows(RecordBatch),
    /// The last word; without it the computation was cut off.
    End(std::result::Result<(), Error>),
}

struct Reading {
    tables: Arc<TableContext>,
    plan: LogicalPlan,
    computed: Option<Receiver<Computed>>,
    current: Option<TableBatch>,
    next: u64,
}

impl Reading {
    fn compute(&self) -> Receiver<Computed> {
        let (mut put, computed) = channel(BATCHES_AHEAD);
        let frame = DataFrame::new(self.tables.state(), self.plan.clone());
        self.tables.runtime().spawn(async move {
            let mut rows = put.clone();
            let run = async {
                let mut stream = frame.execute_stream().await?;
                while let Some(batch) = stream.next().await {
                    if rows.send(Computed::Rows(batch?)).await.is_err() {
                        // The query was stopped.
                        break;
                    }
                }
                Ok::<(), datafusion::common::DataFusionError>(())
            };
            let end = run.await.map_err(Error::from);
            let _ = put.send(Computed::End(end)).await;
        });
        computed
    }

    /// The next rows; `None` when all were read.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<TableBatch>>> {
        loop {
            if let Some(rows) = self.current.take_if(|rows| rows.rows() > 0) {
                return Poll::Ready(Ok(Some(rows)));
            }
            let Some(computed) = &mut self.computed else { return Poll::Ready(Ok(None)) };
            match Pin::new(computed).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Computed::Rows(rows))) => self.current = Some(TableBatch::from(rows)),
                Poll::Ready(Some(Computed::End(Ok(())))) => self.computed = None,
                Poll::Ready(Some(Computed::End(Err(error)))) => return Poll::Ready(Err(told(&error))),
                Poll::Ready(None) => {
                    let cut = "a function panicked while the table was computed: see the log";
                    return Poll::Ready(Err(ConnectorError::user(cut)));
                }
            }
        }
    }
}

fn told(error: &Error) -> ConnectorError {
    match error.kind() {
        crate::error::ErrorKind::External => {
            ConnectorError::external("the table could not be read", error.clone())
        }
        crate::error::ErrorKind::Internal => ConnectorError::internal(error.to_string()),
        crate::error::ErrorKind::User => ConnectorError::user(error.to_string()),
    }
}

impl Source<TableBatch> for Reading {
    fn start(&mut self, from: &Offsets) -> Result<()> {
        if from.get(PARTITION).is_some_and(|next| next > 0) {
            return Err(ConnectorError::user(
                "a bounded table is written as a whole and cannot be gone on with: start without the checkpoint",
            ));
        }
        self.computed = Some(self.compute());
        Ok(())
    }

    fn poll(&mut self, request: PollRequest<'_>) -> Result<Polled<TableBatch>> {
        let until = request.until.map_or(u64::MAX, |until| until.get(PARTITION).unwrap_or(0));
        let rows_max = until.saturating_sub(self.next).min(request.max_rows as u64) as usize;
        let mut rows = match self.advance(&mut Context::from_waker(request.waker)) {
            Poll::Pending => return Ok(Polled::Pending(None)),
            Poll::Ready(rows) => match rows? {
                Some(rows) => rows,
                None => return Ok(Polled::Finished),
            },
        };
        if rows_max == 0 {
            self.current = Some(rows);
            return Ok(Polled::AtEnd);
        }
        let front = rows.split_front(rows_max);
        self.next += front.num_rows() as u64;
        self.current = Some(rows);
        Ok(Polled::Batch(TableBatch::from(front)))
    }

    fn offsets(&self) -> Offsets {
        Offsets::single(PARTITION, self.next)
    }

    fn latest(&mut self, max_rows: u64, _waker: &Waker) -> Result<Latest> {
        Ok(Latest::At(Offsets::single(PARTITION, self.next.saturating_add(max_rows))))
    }
}
