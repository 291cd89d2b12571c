//! How columns and conditions are named in calls.

use super::errors::no_column;
use crate::error::{Error, Result};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema};
use datafusion::execution::SessionState;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::Expr;

/// A column: its name as it stands in the schema (any case where that is clear, `table.column` after a join,
/// `window.start` for a field of a struct), or an expression.
pub trait ToColumn {
    /// The expression, over rows of this schema.
    ///
    /// # Errors
    /// If there is no such column, with the nearest one, or there are several.
    fn to_column(self, schema: &DFSchema) -> Result<Expr>;
}

impl ToColumn for Expr {
    fn to_column(self, _schema: &DFSchema) -> Result<Expr> {
        Ok(self)
    }
}

impl ToColumn for &Expr {
    fn to_column(self, _schema: &DFSchema) -> Result<Expr> {
        Ok(self.clone())
    }
}

impl ToColumn for &str {
    fn to_column(self, schema: &DFSchema) -> Result<Expr> {
        resolve(self, schema).map(Expr::Column).or_else(|error| field_of(self, schema).ok_or(error))
    }
}

impl ToColumn for &&str {
    fn to_column(self, schema: &DFSchema) -> Result<Expr> {
        (*self).to_column(schema)
    }
}

impl ToColumn for String {
    fn to_column(self, schema: &DFSchema) -> Result<Expr> {
        self.as_str().to_column(schema)
    }
}

impl ToColumn for &String {
    fn to_column(self, schema: &DFSchema) -> Result<Expr> {
        self.as_str().to_column(schema)
    }
}

/// A condition: an expression, or SQL text such as `"idade >= 18"`.
pub trait ToCondition {
    /// The expression, over rows of this schema.
    ///
    /// # Errors
    /// If the text is wrong.
    fn to_condition(self, state: &SessionState, schema: &DFSchema) -> Result<Expr>;
}

impl ToCondition for Expr {
    fn to_condition(self, _state: &SessionState, _schema: &DFSchema) -> Result<Expr> {
        Ok(self)
    }
}

impl ToCondition for &str {
    fn to_condition(self, state: &SessionState, schema: &DFSchema) -> Result<Expr> {
        let expression = state.create_logical_expr(self, schema).map_err(Error::from);
        expression.map_err(|error| in_text(self, error))
    }
}

/// The error, with the text it is about.
pub(super) fn in_text(text: &str, error: Error) -> Error {
    let said = Error::user(format!("`{text}` is wrong: {error}"));
    error.location().map_or(said.clone(), |place| said.at_location(place))
}

impl ToCondition for &String {
    fn to_condition(self, state: &SessionState, schema: &DFSchema) -> Result<Expr> {
        self.as_str().to_condition(state, schema)
    }
}

/// A field of a struct, `column.field`, under its own name.
fn field_of(name: &str, schema: &DFSchema) -> Option<Expr> {
    let (column, field) = name.rsplit_once('.')?;
    let column = resolve(column, schema).ok()?;
    let at = schema.index_of_column(&column).ok()?;
    let DataType::Struct(fields) = schema.field(at).data_type() else { return None };
    let exact = fields.iter().find(|known| known.name() == field);
    let known = exact.or_else(|| fields.iter().find(|known| known.name().eq_ignore_ascii_case(field)))?;
    Some(get_field(Expr::Column(column), known.name().as_str()).alias(known.name()))
}

/// The column of that name: the exact name first, then any case.
pub(super) fn resolve(name: &str, schema: &DFSchema) -> Result<Column> {
    let matches = |exact: bool| -> Vec<Column> {
        let same = |a: &str, b: &str| if exact { a == b } else { a.eq_ignore_ascii_case(b) };
        schema
            .iter()
            .filter(|(qualifier, field)| {
                let qualified = qualifier.map(|table| format!("{}.{}", table.table(), field.name()));
                same(field.name(), name) || qualified.is_some_and(|qualified| same(&qualified, name))
            })
            .map(Column::from)
            .collect()
    };
    let mut found = matches(true);
    if found.is_empty() {
        found = matches(false);
    }
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            Err(no_column(name, name, &names))
        }
        _ => Err(Error::user(format!(
            "`{name}` is the name of several columns: {}; write the table's name before it, or rename one",
            found.iter().map(Column::flat_name).collect::<Vec<_>>().join(", ")
        ))),
    }
}
