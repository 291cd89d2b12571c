//! From a table to a typed stream and back, through serde.

use super::frame::DataFrame;
use super::provider::StreamProvider;
use super::reader::{SchemaSource, frame_of};
use super::rows::BoundedRows;
use super::writer::plain;
use crate::error::{Error, Result};
use crate::plan::graph::{NodeId, Outputs};
use crate::session::Session;
use crate::stream::{Piped, Stream};
use crate::table::OutputMode;
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use lotic_connectors::table::StreamTable;
use lotic_connectors::{ConnectorError, SourceFactory};
use lotic_operators::table::TableBatch;
use lotic_operators::{Batch, Operator, OperatorError, Output, Rows};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_arrow::schema::{SchemaLike, TracingOptions};
use std::marker::PhantomData;
use std::sync::Arc;

/// Where a typed stream that became a table stands. Holds no session, since the session's catalog may hold it.
#[derive(Clone)]
pub(crate) struct TypedEnd {
    node: NodeId,
    outputs: Outputs<TableBatch>,
}

impl std::fmt::Debug for TypedEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TypedEnd({})", self.node.0)
    }
}

impl TypedEnd {
    /// The stream, with these of its columns, in this order; all of them if `None`.
    ///
    /// # Errors
    /// If a query that reads it was started before: a typed stream runs once.
    pub(crate) fn piped(&self, session: &Session, columns: Option<&[usize]>) -> Result<Piped<TableBatch>> {
        if !session.graph().nodes.contains_key(&self.node) {
            return Err(Error::user(
                "a table made of a typed stream is read by one query, and that was started before: make the \
                 stream and its table anew",
            ));
        }
        let piped = Piped::new(session.clone(), self.node, self.outputs.clone());
        Ok(match columns {
            None => piped,
            Some(columns) => {
                let columns = columns.to_vec();
                piped.operator("columns", true, None, move |_| Box::new(Columns(columns.clone())))
            }
        })
    }
}

/// Keeps some columns.
struct Columns(Vec<usize>);

impl Operator<TableBatch, TableBatch> for Columns {
    fn process(
        &mut self,
        input: &mut TableBatch,
        output: &mut Output<TableBatch>,
    ) -> Result<(), OperatorError> {
        if let Some(rows) = input.take() {
            let rows = rows.rows_left().project(&self.0);
            output
                .emit(TableBatch::from(rows.map_err(|error| OperatorError::Expression(error.to_string()))?));
        }
        Ok(())
    }
}

/// The columns of a typed stream. It has no source of its own.
#[derive(Debug)]
struct TypedTable(SchemaRef);

impl StreamTable for TypedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn source(
        &self,
        _projection: Option<&[usize]>,
    ) -> Result<Box<dyn SourceFactory<TableBatch>>, ConnectorError> {
        Err(ConnectorError::internal("a typed stream was asked for a source"))
    }
}

struct FromRows<T> {
    fields: Vec<FieldRef>,
    rows: PhantomData<fn(T)>,
}

impl<T: Serialize + Send + 'static> Operator<Rows<T>, TableBatch> for FromRows<T> {
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<TableBatch>) -> Result<(), OperatorError> {
        let Some(rows) = Batch::take(input) else { return Ok(()) };
        let batch = serde_arrow::to_record_batch(&self.fields, &rows.as_slice()).map_err(|error| {
            OperatorError::User(format!("a row does not fit the table's schema: {}", said(&error)))
        })?;
        output.emit(TableBatch::from(batch));
        Ok(())
    }
}

struct ToRows<T>(PhantomData<fn(T)>);

impl<T: DeserializeOwned + Send + 'static> Operator<TableBatch, Rows<T>> for ToRows<T> {
    fn process(&mut self, input: &mut TableBatch, output: &mut Output<Rows<T>>) -> Result<(), OperatorError> {
        let Some(batch) = input.take() else { return Ok(()) };
        let rows: Vec<T> = serde_arrow::from_record_batch(batch.rows_left()).map_err(|error| {
            OperatorError::User(format!(
                "a row of the table is no `{}`: {}",
                std::any::type_name::<T>(),
                said(&error)
            ))
        })?;
        output.emit(Rows::from(rows));
        Ok(())
    }
}

/// Without the backtrace that the library may add.
fn said(error: &serde_arrow::Error) -> String {
    error.message().to_owned()
}

impl DataFrame {
    /// The rows as values of a type of your own, by column name. A stream must be one whose rows never change
    /// (output mode append).
    ///
    /// # Delivery
    /// As the table's sources. A bounded table is computed when the query is started.
    ///
    /// # Errors
    /// If a stream cannot do what the plan asks. A row that does not fit the type ends the running query.
    pub fn to_stream<T: DeserializeOwned + Send + 'static>(&self) -> Result<Stream<T>> {
        Ok(Stream::from_piped(self.rows_of(OutputMode::Append)?))
    }

    pub(super) fn rows_of<T: DeserializeOwned + Send + 'static>(
        &self,
        mode: OutputMode,
    ) -> Result<Piped<Rows<T>>> {
        let frame = plain(self)?;
        let tables = self.session.tables()?;
        let piped = if frame.is_streaming() {
            tables.plan(&self.session, &frame.plan, mode)?
        } else {
            Piped::source(&self.session, Box::new(BoundedRows { tables, plan: frame.plan }))
        };
        Ok(piped.operator("rows", true, None, |_| Box::new(ToRows(PhantomData))))
    }
}

impl Session {
    /// A table of a typed stream. The columns are found by serde from the type: its fields must be plain
    /// values, structs, lists or options of these. For other types use
    /// [`Session::table_from_stream_with_schema`].
    ///
    /// # Delivery
    /// As the stream's. One query can read it.
    ///
    /// # Errors
    /// If the columns cannot be found from the type.
    pub fn table_from_stream<T>(&self, stream: Stream<T>) -> Result<DataFrame>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let options = TracingOptions::default()
            .allow_null_fields(true)
            .map_as_struct(false)
            .sequence_as_large_list(false)
            .strings_as_large_utf8(false)
            .bytes_as_large_binary(false)
            .enums_without_data_as_strings(true);
        let fields = Vec::<FieldRef>::from_type::<T>(options).map_err(|error| {
            Error::user(format!(
                "the columns of `{}` cannot be found from its type: {}; give a schema to \
                 `table_from_stream_with_schema`",
                std::any::type_name::<T>(),
                said(&error)
            ))
        })?;
        self.table_of(stream, fields)
    }

    /// A table of a typed stream, with these columns.
    ///
    /// # Delivery
    /// As the stream's. One query can read it.
    ///
    /// # Errors
    /// If the schema is wrong. A row that does not fit it ends the running query.
    pub fn table_from_stream_with_schema<T: Serialize + Send + 'static>(
        &self,
        stream: Stream<T>,
        schema: impl Into<SchemaSource>,
    ) -> Result<DataFrame> {
        let schema = schema.into().resolve()?;
        self.table_of(stream, schema.fields().iter().cloned().collect())
    }

    fn table_of<T: Serialize + Send + 'static>(
        &self,
        stream: Stream<T>,
        fields: Vec<FieldRef>,
    ) -> Result<DataFrame> {
        let schema: SchemaRef = Arc::new(datafusion::arrow::datatypes::Schema::new(fields.clone()));
        let piped = stream
            .into_piped()
            .operator("table", true, None, move |_| {
                Box::new(FromRows::<T> { fields: fields.clone(), rows: PhantomData })
            })
            // A plan may read it more than once.
            .spread("fork", || Box::new(|rows: TableBatch, edges| vec![rows; edges]));
        let (node, outputs) = piped.into_end();
        let table: Arc<dyn StreamTable> = Arc::new(TypedTable(schema));
        let typed = Some(TypedEnd { node, outputs });
        let name = "stream".to_owned();
        frame_of(self, "stream", Arc::new(StreamProvider { name, table, typed }))
    }
}
