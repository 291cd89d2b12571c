//! Tables in memory, by name: what one query writes another can read, and a program or test can put rows in
//! and take them out.
//!
//! ```
//! use arrow::datatypes::{DataType, Field, Schema};
//! use lotic_connectors::table::memory::MemoryTables;
//! use std::sync::Arc;
//!
//! let tables = MemoryTables::default();
//! let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
//! let numbers = tables.create("numbers", schema, 1).unwrap();
//! assert_eq!(tables.get("NUMBERS").unwrap().name(), numbers.name());
//! ```

mod sink;
mod source;
mod table;

pub use table::MemoryTable;

use super::options::OptionSpec;
use super::{BoundedTable, ReadRequest, SaveMode, StreamTable, TableFormat, WriteRequest};
use crate::error::{ConnectorError, Result};
use crate::sink::SinkFactory;
use crate::table::blackhole::Blackhole;
use arrow::datatypes::SchemaRef;
use lotic_operators::table::TableBatch;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const OPTIONS: [OptionSpec; 1] =
    [OptionSpec::new("name", "", "The name of the table, in any case. Required.")];

/// The tables in memory by name, in any case. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryTables(Arc<Mutex<BTreeMap<String, MemoryTable>>>);

impl MemoryTables {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, MemoryTable>> {
        // No user code runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an empty table, in at least one partition.
    ///
    /// # Errors
    /// If there is one of that name.
    pub fn create(&self, name: &str, schema: SchemaRef, partitions: usize) -> Result<MemoryTable> {
        let mut tables = self.lock();
        let key = name.to_ascii_lowercase();
        if tables.contains_key(&key) {
            return Err(ConnectorError::user(format!(
                "there is already a table `{name}` in memory: take another name, or remove it first"
            )));
        }
        let table = MemoryTable::partitioned(name, schema, partitions);
        tables.insert(key, table.clone());
        Ok(table)
    }

    /// The table of that name.
    ///
    /// # Errors
    /// If there is none: the names there are, and the nearest of them.
    pub fn get(&self, name: &str) -> Result<MemoryTable> {
        let tables = self.lock();
        if let Some(table) = tables.get(&name.to_ascii_lowercase()) {
            return Ok(table.clone());
        }
        let names: Vec<&str> = tables.values().map(MemoryTable::name).collect();
        let hint = match super::options::nearest(name, names.iter().copied()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None if names.is_empty() => "there are none; create it, or write to it, first".to_owned(),
            None => format!("there are: {}", names.join(", ")),
        };
        Err(ConnectorError::user(format!("there is no table `{name}` in memory: {hint}")))
    }

    /// Takes a table out. Who holds it goes on with it.
    pub fn remove(&self, name: &str) -> Option<MemoryTable> {
        self.lock().remove(&name.to_ascii_lowercase())
    }

    /// The table of that name with these columns, made if there is none.
    fn get_or_create(&self, name: &str, schema: SchemaRef) -> Result<MemoryTable> {
        let mut tables = self.lock();
        let table = tables
            .entry(name.to_ascii_lowercase())
            .or_insert_with(|| MemoryTable::new(name, Arc::clone(&schema)));
        table.check_schema(&schema)?;
        Ok(table.clone())
    }
}

/// The format `memory`.
///
/// # Delivery
/// As a source: replayable while the process lives. As a sink: exactly once while the process lives.
#[derive(Debug, Clone, Default)]
pub struct MemoryFormat {
    tables: MemoryTables,
}

impl MemoryFormat {
    /// Reads and writes these tables.
    pub fn new(tables: MemoryTables) -> Self {
        MemoryFormat { tables }
    }

    fn asked(&self, request: &ReadRequest) -> Result<Arc<MemoryTable>> {
        request.options.check("memory", &OPTIONS)?;
        let table = self.tables.get(name(&request.options)?)?;
        if let Some(schema) = &request.schema {
            table.check_schema(schema)?;
        }
        Ok(Arc::new(table))
    }
}

fn name(options: &super::Options) -> Result<&str> {
    options.get("name").ok_or_else(|| {
        ConnectorError::user("format `memory` needs the option `name`: the name of the table in memory")
    })
}

impl TableFormat for MemoryFormat {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn summary(&self) -> &'static str {
        "Tables in the memory of the process, by name: for tests, examples and small results."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        OPTIONS.to_vec()
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        OPTIONS.to_vec()
    }

    fn stream(&self, request: &ReadRequest) -> Result<Arc<dyn StreamTable>> {
        Ok(self.asked(request)?)
    }

    fn bounded(&self, request: &ReadRequest) -> Result<Arc<dyn BoundedTable>> {
        Ok(self.asked(request)?)
    }

    /// A stream writes to a table of its own; a second query that writes to it has to continue from the
    /// checkpoint of the first.
    fn sink(&self, request: &WriteRequest) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        request.options.check("memory", &OPTIONS)?;
        super::no_partitions("memory", request)?;
        let name = name(&request.options)?;
        let table = self.tables.get_or_create(name, Arc::clone(&request.schema))?;
        let Some(save_mode) = request.save_mode else { return Ok(table.sink(request.output_mode)) };
        match save_mode {
            SaveMode::ErrorIfExists if table.row_count() > 0 => Err(ConnectorError::user(format!(
                "table `{name}` in memory has rows already: choose the save mode append, overwrite or ignore"
            ))),
            SaveMode::Ignore if table.row_count() > 0 => Ok(Box::new(Blackhole::new("memory"))),
            SaveMode::Overwrite => Ok(table.bounded_sink(true)),
            _ => Ok(table.bounded_sink(false)),
        }
    }
}
