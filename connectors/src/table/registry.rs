//! The one table from format name to format.

use super::TableFormat;
use super::blackhole::BlackholeFormat;
use super::console::ConsoleFormat;
use super::files::FilesFormat;
use super::format::csv::Csv;
use super::format::json::Json;
use super::format::text::Text;
use super::memory::{MemoryFormat, MemoryTables};
use super::rate::RateFormat;
use super::socket::SocketFormat;
use crate::error::{ConnectorError, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The formats by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    formats: BTreeMap<&'static str, Arc<dyn TableFormat>>,
    memory: MemoryTables,
}

/// The built-in formats. Each call gives a registry with tables in memory of its own.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register(Arc::new(BlackholeFormat::BLACKHOLE));
    registry.register(Arc::new(BlackholeFormat::NOOP));
    registry.register(Arc::new(ConsoleFormat));
    registry.register(Arc::new(FilesFormat::new(Csv)));
    registry.register(Arc::new(FilesFormat::new(Json)));
    registry.register(Arc::new(FilesFormat::new(Text)));
    #[cfg(feature = "kafka")]
    registry.register(Arc::new(super::kafka::KafkaFormat));
    #[cfg(feature = "orc")]
    registry.register(Arc::new(FilesFormat::new(super::format::orc::Orc)));
    #[cfg(feature = "parquet")]
    registry.register(Arc::new(FilesFormat::new(super::format::parquet::Parquet)));
    registry.register(Arc::new(MemoryFormat::new(registry.memory().clone())));
    registry.register(Arc::new(RateFormat));
    registry.register(Arc::new(SocketFormat));
    registry
}

impl Registry {
    /// Adds a format, or replaces the one of that name.
    pub fn register(&mut self, format: Arc<dyn TableFormat>) {
        self.formats.insert(format.name(), format);
    }

    /// The tables that the format `memory` reads and writes.
    pub fn memory(&self) -> &MemoryTables {
        &self.memory
    }

    /// The formats, by name.
    pub fn formats(&self) -> impl Iterator<Item = &Arc<dyn TableFormat>> {
        self.formats.values()
    }

    /// The format of that name, in any case.
    ///
    /// # Errors
    /// If there is none: the names there are, and the nearest of them.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn TableFormat>> {
        let asked = name.to_ascii_lowercase();
        self.formats.get(asked.as_str()).ok_or_else(|| {
            let names: Vec<&str> = self.formats.keys().copied().collect();
            let nearest = super::options::nearest(&asked, names.iter().copied());
            let hint = match nearest {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("the formats are: {}", names.join(", ")),
            };
            ConnectorError::user(format!("there is no format `{name}`: {hint}"))
        })
    }
}
