//! Event time on a `DataFrame`.

use super::interval::ToInterval;
use super::watermark::{DeduplicateNode, WatermarkNode};
use crate::error::{Error, Result};
use crate::table::DataFrame;
use crate::table::column::resolve;
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use lotic_operators::table::{bears_event_time, watermark_delay};
use std::time::Duration;

impl DataFrame {
    /// Gives a stream event time: rows up to `delay` (`"10 seconds"`, or a [`Duration`]) behind the latest
    /// time in this column are still waited for. The watermark is the latest time less the delay; it never
    /// moves back, and what it has passed is over: windows are emitted and forgotten, and rows that come after
    /// it are dropped and counted. Rows without a time pass and do not move it.
    ///
    /// The column is a timestamp, or a window. Another watermark before this one is replaced. Filters are not
    /// moved below it: rows that are filtered out later move it too. On a bounded table it does nothing, since
    /// there all rows are waited for.
    ///
    /// # Errors
    /// If there is no such column or it has another type, or the delay is no interval.
    ///
    /// # Examples
    /// ```
    /// use lotic::Session;
    /// use lotic::functions::{col, window};
    ///
    /// let session = Session::builder().get_or_create()?;
    /// let ticks = session.read_stream().format("rate").option("rowsPerSecond", 100).load()?;
    /// let counts = ticks
    ///     .with_watermark("timestamp", "2 seconds")?
    ///     .group_by([window(col("timestamp"), "1 second")])?
    ///     .count()?;
    /// assert!(counts.explain()?.contains("watermark"));
    /// # Ok::<(), lotic::Error>(())
    /// ```
    pub fn with_watermark(&self, column: &str, delay: impl ToInterval) -> Result<DataFrame> {
        let delay = delay.to_interval().map_err(|error| Error::user(format!("with_watermark: {error}")))?;
        self.watermarked(column, delay)
    }

    pub(crate) fn watermarked(&self, column: &str, delay: Duration) -> Result<DataFrame> {
        let column = resolve(column, self.logical_plan().schema())?;
        let node = WatermarkNode::new(self.logical_plan().clone(), column, delay)?;
        if !self.is_streaming() {
            return Ok(self.clone());
        }
        Ok(DataFrame::new(self.session().clone(), node.into_plan()))
    }

    /// One row for each value of these columns, of all columns if none is named: in a stream the first that
    /// comes, in a bounded table any.
    ///
    /// In a stream the values are kept for ever, unless one of the columns has event time: then those that the
    /// watermark has passed are forgotten, and rows with such a time are late.
    ///
    /// # Errors
    /// If there is no such column or its type cannot be compared.
    pub fn drop_duplicates(&self, columns: &[&str]) -> Result<DataFrame> {
        self.without_duplicates(columns, false)
    }

    /// One row for each value of these columns, of all but the event time if none is named, where duplicates
    /// come within the watermark's delay of each other: in a stream a value is forgotten once the watermark is
    /// past the time of its first row and the delay, so that the state has bounds. A bounded table is
    /// treated as by [`DataFrame::drop_duplicates`].
    ///
    /// # Errors
    /// If there is no such column, its type cannot be compared, or the stream has no watermark.
    pub fn drop_duplicates_within_watermark(&self, columns: &[&str]) -> Result<DataFrame> {
        let schema = self.logical_plan().schema();
        let timed = |at: usize| {
            let field = schema.field(at);
            watermark_delay(field).is_some() && bears_event_time(field.data_type())
        };
        if self.is_streaming() && !(0..schema.fields().len()).any(timed) {
            return Err(Error::user(
                "drop_duplicates_within_watermark needs a column with a watermark, which says when a value is \
                 forgotten: call `with_watermark` before it, or use `drop_duplicates`",
            ));
        }
        self.without_duplicates(columns, true)
    }

    fn without_duplicates(&self, names: &[&str], within_watermark: bool) -> Result<DataFrame> {
        let schema = self.logical_plan().schema();
        let columns: Vec<Column> = match names {
            [] => schema.columns(),
            names => names.iter().map(|name| resolve(name, schema)).collect::<Result<_>>()?,
        };
        if !self.is_streaming() {
            let all = schema.columns().into_iter().map(Expr::Column).collect();
            let columns = columns.into_iter().map(Expr::Column).collect();
            return self.through(|frame| frame.distinct_on(columns, all, None));
        }
        let input = self.logical_plan().clone();
        let node = DeduplicateNode { input, columns, within_watermark };
        Ok(DataFrame::new(self.session().clone(), node.into_plan()))
    }
}
