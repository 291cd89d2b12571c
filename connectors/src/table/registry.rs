//! The one table from format name to format.

use super::TableFormat;
use crate::error::{ConnectorError, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The formats by name.
#[derive(Debug, Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn TableFormat>>);

/// The built-in formats.
pub fn registry() -> Registry {
    Registry::default()
}

impl Registry {
    /// Adds a format, or replaces the one of that name.
    pub fn register(&mut self, format: Arc<dyn TableFormat>) {
        self.0.insert(format.name(), format);
    }

    /// The formats, by name.
    pub fn formats(&self) -> impl Iterator<Item = &Arc<dyn TableFormat>> {
        self.0.values()
    }

    /// The format of that name, in any case.
    ///
    /// # Errors
    /// If there is none: the names there are, and the nearest of them.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn TableFormat>> {
        let asked = name.to_ascii_lowercase();
        self.0.get(asked.as_str()).ok_or_else(|| {
            let names: Vec<&str> = self.0.keys().copied().collect();
            let nearest = super::options::nearest(&asked, names.iter().copied());
            let hint = nearest.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            ConnectorError::user(format!(
                "there is no format `{name}`{hint} The formats are: {}",
                names.join(", ")
            ))
        })
    }
}
