//! A part of the dataflow under construction. Stateless steps are collected and become one operator.

use super::Planner;
use super::legal::Emission;
use crate::error::{Error, Result};
use crate::stream::Piped;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::scalar::ScalarValue;
use lotic_operators::table::{Step, Steps, TableBatch};
use std::sync::Arc;

pub(super) struct Part {
    piped: Piped<TableBatch>,
    /// Steps that are not an operator yet, with what to call them and what they compute.
    steps: Vec<Step>,
    shown: Vec<(&'static str, String)>,
    /// The columns after the steps.
    schema: SchemaRef,
    emission: Emission,
}

impl Part {
    pub(super) fn new(piped: Piped<TableBatch>, schema: SchemaRef, emission: Emission) -> Part {
        Part { piped, steps: Vec::new(), shown: Vec::new(), schema, emission }
    }

    pub(super) fn emission(&self) -> Emission {
        self.emission
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The end of the dataflow. Nothing is pending.
    pub(super) fn into_piped(self) -> Piped<TableBatch> {
        assert!(self.steps.is_empty(), "invariant: a part is sealed before it is used");
        self.piped
    }

    pub(super) fn filter(mut self, predicate: Arc<dyn PhysicalExpr>, expr: &Expr) -> Part {
        if matches!(expr, Expr::Literal(ScalarValue::Boolean(Some(true)), _)) {
            return self;
        }
        self.steps.push(Step::Filter(predicate));
        self.shown.push(("filter", expr.to_string()));
        self
    }

    /// Keeps these columns, or all if there are none: rows without columns are only made where a schema asks
    /// for them.
    pub(super) fn project(
        mut self,
        columns: Vec<Arc<dyn PhysicalExpr>>,
        schema: &SchemaRef,
        shown: String,
    ) -> Part {
        if columns.is_empty() {
            return self;
        }
        self.shown.push(("project", shown));
        self.make(columns, schema);
        self
    }

    fn make(&mut self, columns: Vec<Arc<dyn PhysicalExpr>>, schema: &SchemaRef) {
        let names = schema.fields().iter().map(|field| field.name().clone());
        let columns = columns.into_iter().zip(names).collect();
        self.steps.push(Step::Project { columns, schema: Arc::clone(schema) });
        self.schema = Arc::clone(schema);
    }

    /// The same columns under the names of another schema; without a column, rows that have none.
    ///
    /// # Errors
    /// If the types differ.
    pub(super) fn with_schema(mut self, schema: &SchemaRef) -> Result<Part> {
        if &self.schema == schema {
            return Ok(self);
        }
        let types = |schema: &Schema| {
            schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
        };
        if !schema.fields().is_empty() && types(&self.schema) != types(schema) {
            return Err(Error::internal(format!(
                "a plan with columns ({}) was to have ({})",
                super::typed(&self.schema),
                super::typed(schema)
            )));
        }
        let columns = self.schema.fields().iter().zip(schema.fields()).enumerate();
        let renamed = columns.clone().any(|(_, (ours, theirs))| ours.name() != theirs.name());
        let columns = columns
            .map(|(at, (field, _))| Arc::new(Column::new(field.name(), at)) as Arc<dyn PhysicalExpr>)
            .collect();
        if renamed {
            self.shown.push(("project", super::names(schema)));
        }
        self.make(columns, schema);
        Ok(self)
    }

    /// Makes one operator of the pending steps.
    pub(super) fn sealed(mut self, _planner: &Planner<'_>) -> Part {
        if self.steps.is_empty() {
            return self;
        }
        let steps = Arc::new(std::mem::take(&mut self.steps));
        let shown = std::mem::take(&mut self.shown);
        let mut kinds: Vec<&str> = shown.iter().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        let kind = if kinds.is_empty() { "project".to_owned() } else { kinds.join("-") };
        let text: Vec<String> = shown.iter().map(|(kind, text)| format!("{kind} {text}")).collect();
        self.piped =
            self.piped.operator(&kind, true, None, move |_| Box::new(Steps::new(steps.as_ref().clone())));
        self.piped.describe(text.join("; "), String::new());
        self
    }
}
