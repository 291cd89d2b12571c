//! What computes a table: collect, count, show; and what says how it would be computed.

use super::frame::DataFrame;
use crate::error::{Error, Result};
use datafusion::arrow::array::RecordBatch;
use lotic_connectors::table::show::Show;
use std::io::Write;

impl DataFrame {
    /// The rows.
    ///
    /// # Errors
    /// If it is a stream, or cannot be computed.
    pub fn collect(&self) -> Result<Vec<RecordBatch>> {
        self.bounded("collect")?;
        self.session.tables()?.collect(&self.plan)
    }

    /// The rows batch by batch, while they are computed: the table may be larger than memory. Whoever drops the iterator
    /// ends the computation; after an error nothing follows.
    ///
    /// # Errors
    /// If it is a stream; an item is an error if the table cannot be computed.
    pub fn to_local_iterator(&self) -> Result<impl Iterator<Item = Result<RecordBatch>> + Send + use<>> {
        self.bounded("to_local_iterator")?;
        // Its threads compute the rows.
        let session = self.session.clone();
        Ok(session.tables()?.batches(&self.plan).inspect(move |_| _ = &session))
    }

    /// The number of rows.
    ///
    /// # Errors
    /// If it is a stream, or cannot be computed.
    pub fn count(&self) -> Result<u64> {
        self.bounded("count")?;
        let counted = self.inner()?.count();
        Ok(self.session.tables()?.wait(counted)? as u64)
    }

    /// Prints the first 20 rows as a table, cells cut to 20 characters, to standard output.
    ///
    /// # Errors
    /// If it is a stream, cannot be computed, or standard output is closed.
    pub fn show(&self) -> Result<()> {
        self.show_rows(20, Some(20))
    }

    /// Prints the first rows as a table, cells cut to that many characters, to standard output.
    ///
    /// # Errors
    /// As for [`DataFrame::show`].
    pub fn show_rows(&self, rows: usize, truncate: Option<usize>) -> Result<()> {
        let text = self.show_string(rows, truncate)?;
        let written = std::io::stdout().lock().write_all(text.as_bytes());
        written.map_err(|error| Error::external(format!("the table could not be printed: {error}")))
    }

    /// The first rows as a table, as Spark shows it.
    ///
    /// # Errors
    /// If it is a stream, or cannot be computed.
    pub fn show_string(&self, rows: usize, truncate: Option<usize>) -> Result<String> {
        self.bounded("show")?;
        // One more tells whether there are more.
        let first = self.limit(rows.saturating_add(1))?.collect()?;
        Ok(Show::default().rows(rows).truncate(truncate).render(&self.schema(), &first)?)
    }

    /// How it would be computed: the logical plan as written, and for a stream the actors that would run (in
    /// output mode append, or the one that the query needs), for a bounded table DataFusion's physical plan.
    ///
    /// # Errors
    /// If it cannot be planned, or a stream cannot do it.
    pub fn explain(&self) -> Result<String> {
        let logical = self.plan.display_indent();
        if !self.is_streaming() {
            let (state, plan) = (self.session.tables()?.state(), self.plan.clone());
            let physical =
                self.session.tables()?.wait(async move { state.create_physical_plan(&plan).await })?;
            let shown = datafusion::physical_plan::displayable(physical.as_ref()).indent(false).to_string();
            return Ok(format!("== Logical plan ==\n{logical}\n\n== Physical plan (bounded) ==\n{shown}"));
        }
        let append = self.stream_plan("append");
        let shown = match append {
            Err(error) if error.kind() == crate::error::ErrorKind::User => {
                // An aggregation has no append mode.
                let update = self.stream_plan("update").or_else(|_| self.stream_plan("complete"));
                update.map_err(|_| error)?
            }
            other => other?,
        };
        Ok(format!("== Logical plan ==\n{logical}\n\n== Streaming plan ==\n{shown}"))
    }

    fn stream_plan(&self, mode: &str) -> Result<String> {
        let tables = self.session.tables()?;
        if tables.reads_typed(&self.plan) {
            return Ok("follows the typed stream it is made of: see the query's own explain\n".to_owned());
        }
        let mode = super::ToOutputMode::to_output_mode(mode)?;
        let sink = lotic_connectors::table::foreach::ForEachTable::new(|_: RecordBatch| ()).named("sink");
        let query = tables.plan(&self.session, &self.plan, mode)?.sink(Box::new(sink));
        let shown = query.explain();
        query.discard();
        shown
    }

    fn bounded(&self, what: &str) -> Result<()> {
        if self.is_streaming() {
            return Err(Error::user(format!(
                "`{what}` needs a bounded table, and this is a stream without an end: queries over streams are \
                 started with `write_stream().start()`, for instance with `.format(\"console\")`"
            )));
        }
        Ok(())
    }
}
