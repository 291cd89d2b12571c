//! Lists to rows, structs to columns.

use super::Planner;
use super::part::Part;
use crate::error::Result;
use datafusion::logical_expr::logical_plan::Unnest;
use lotic_operators::table::{self, ListColumn, UnnestSpec};
use std::sync::Arc;

impl Planner<'_> {
    pub(super) fn unnest(&mut self, node: &Unnest, under: bool) -> Result<Part> {
        let input = self.part(&node.input, under)?;
        let input = input.with_schema(node.input.schema().inner())?.sealed(self);
        let emission = input.emission();
        let list = |(column, list): &(usize, datafusion::logical_expr::ColumnUnnestList)| ListColumn {
            column: *column,
            depth: list.depth,
        };
        let schema = Arc::clone(node.schema.inner());
        let unnest = table::Unnest::new(UnnestSpec {
            lists: node.list_type_columns.iter().map(list).collect(),
            structs: node.struct_type_columns.clone(),
            null_is_row: node.options.preserve_nulls(),
            empty_is_row: node.options.expand_empty_as_null(),
            output: Arc::clone(&schema),
        });
        let piped = input.into_piped().operator("unnest", true, None, move |_| Box::new(unnest.clone()));
        let columns: Vec<String> = node.exec_columns.iter().map(|column| column.flat_name()).collect();
        piped.describe(format!("{} -> {}", columns.join(", "), super::names(&schema)), String::new());
        Ok(Part::new(piped, schema, emission))
    }
}
