//! What the state of an operator is made of: stored beside it, so that state of another query is refused.

use crate::error::{OperatorError, Result};
use crate::snapshot::{Restore, TableSnapshot};
use crate::state::codec::{decode, encode};
use std::fmt;

/// The key types, aggregates or columns of an operator's state, as text.
#[derive(Debug)]
pub(super) struct StateShape {
    table: &'static str,
    /// The table of the state itself, which errors name.
    of: &'static str,
    text: String,
    stored: bool,
}

impl StateShape {
    /// `table` keeps the shape of the state in the table `of`.
    pub(super) fn new(table: &'static str, of: &'static str, text: String) -> Self {
        StateShape { table, of, text, stored: false }
    }

    /// Whether a snapshot has it.
    pub(super) fn is_stored(&self) -> bool {
        self.stored
    }

    /// Adds it to the first snapshot.
    pub(super) fn store(&mut self, tables: &mut Vec<TableSnapshot>) -> Result<()> {
        if !std::mem::replace(&mut self.stored, true) {
            let mut bytes = Vec::new();
            encode(self.table, &self.text, &mut bytes)?;
            tables.push(TableSnapshot::single(self.table, bytes));
        }
        Ok(())
    }

    /// Refuses an image whose state has another shape.
    pub(super) fn check(&self, restore: Restore<'_>) -> Result<()> {
        for chunk in restore.image.chunks(self.table) {
            let stored: String = decode(self.table, chunk)?;
            if stored != self.text {
                let cause = format!("it holds {stored}, this query keeps {}", self.text);
                return Err(OperatorError::Decode { table: self.of.to_owned(), cause });
            }
        }
        Ok(())
    }
}

impl fmt::Display for StateShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
