//! The names `window` and `session_window` in SQL, as Spark has them.
//!
//! After `GROUP BY window(ts, '10 seconds')` the name `window` stands for that window in the same SELECT, and
//! `window.start` for its start. The syntax tree is rewritten before it is planned: names become the call they
//! stand for, and columns get the names that Spark gives them.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, GroupByExpr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, Subscript, Value,
    VisitMut, VisitorMut,
};
use std::ops::ControlFlow;

const WINDOWS: [&str; 2] = ["window", "session_window"];
const BOUNDS: [&str; 2] = ["start", "end"];

/// Rewrites the names of windows in a statement.
pub(crate) fn resolve(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => {
            let _ = statement.visit(&mut Queries);
        }
        Statement::Explain(explain) => resolve(&mut explain.statement),
        _ => {}
    }
}

struct Queries;

impl VisitorMut for Queries {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        match query.body.as_mut() {
            SetExpr::Select(select) => {
                let order = query.order_by.as_mut().map(|order| &mut order.kind);
                let order = match order {
                    Some(OrderByKind::Expressions(order)) => {
                        order.iter_mut().map(|order| &mut order.expr).collect()
                    }
                    _ => Vec::new(),
                };
                rewrite(select, order);
            }
            body => selects(body),
        }
        ControlFlow::Continue(())
    }
}

/// The SELECTs of a set operation.
fn selects(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => rewrite(select, Vec::new()),
        SetExpr::SetOperation { left, right, .. } => {
            selects(left);
            selects(right);
        }
        // A query within is visited by itself.
        _ => {}
    }
}

/// What an identifier is called.
fn called(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The function that a call calls, if it is one of these.
fn call_of<'n>(expr: &Expr, names: &[&'n str]) -> Option<&'n str> {
    let Expr::Function(function) = expr else { return None };
    let [name] = &function.name.0[..] else { return None };
    let name = called(name.as_ident()?);
    names.iter().find(|known| **known == name).copied()
}

fn rewrite(select: &mut Select, order: Vec<&mut Expr>) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some(name) = spark_name(expr)
        {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::new(name) };
        }
    }
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return };
    let calls = WINDOWS.into_iter().filter_map(|name| {
        let mut calls = keys.iter().filter(|key| call_of(key, &[name]).is_some());
        let first = calls.next()?;
        // Of several the name would not say which.
        calls.all(|call| call == first).then(|| (name, first.clone()))
    });
    let calls: Vec<_> = calls.collect();
    if calls.is_empty() {
        return;
    }
    let mut names = Names { calls, within_call: 0, within_query: 0 };
    let projected = select.projection.iter_mut().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    for expr in projected.chain(&mut select.having).chain(&mut select.qualify).chain(order) {
        let _ = expr.visit(&mut names);
    }
}

/// What Spark calls a column, where that is not what it is called here.
fn spark_name(expr: &Expr) -> Option<&'static str> {
    match expr {
        Expr::Identifier(ident) => WINDOWS.into_iter().find(|name| *name == called(ident)),
        Expr::CompoundIdentifier(parts) => match &parts[..] {
            [window, bound] if WINDOWS.contains(&called(window).as_str()) => {
                BOUNDS.into_iter().find(|name| *name == called(bound))
            }
            _ => None,
        },
        call => call_of(call, &[WINDOWS[0], WINDOWS[1], "window_time"]),
    }
}

/// Puts the calls in place of their names.
struct Names {
    calls: Vec<(&'static str, Expr)>,
    /// How deep in calls of the windows themselves, whose arguments are columns of the input.
    within_call: usize,
    /// How deep in subqueries, which have names of their own.
    within_query: usize,
}

impl Names {
    fn is_call(&self, expr: &Expr) -> bool {
        self.calls.iter().any(|(_, call)| call == expr)
    }

    fn call(&self, ident: &Ident) -> Option<Expr> {
        let name = called(ident);
        self.calls.iter().find(|(known, _)| **known == name).map(|(_, call)| call.clone())
    }

    fn replacement(&self, expr: &Expr) -> Option<Expr> {
        match expr {
            Expr::Identifier(ident) => self.call(ident),
            Expr::CompoundIdentifier(parts) => {
                let (window, fields) = parts.split_first()?;
                let fields = fields.iter().map(|field| {
                    let index = Expr::value(Value::SingleQuotedString(called(field)));
                    AccessExpr::Subscript(Subscript::Index { index })
                });
                let access_chain = fields.collect();
                self.call(window).map(|call| Expr::CompoundFieldAccess { root: Box::new(call), access_chain })
            }
            _ => None,
        }
    }
}

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.within_query += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.within_query -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.within_call += usize::from(self.is_call(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.is_call(expr) {
            self.within_call -= 1;
        } else if self.within_call == 0
            && self.within_query == 0
            && let Some(call) = self.replacement(expr)
        {
            *expr = call;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::parser::DFParser;

    fn resolved(sql: &str) -> String {
        let mut statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
        resolve(&mut statement);
        statement.to_string()
    }

    #[test]
    fn names_become_the_call_they_stand_for_and_columns_have_sparks_names() {
        for (sql, expected) in [
            (
                "SELECT window.start, window, count(*) FROM t GROUP BY window(ts, '1 s') HAVING window.end > x ORDER BY window",
                "SELECT window(ts, '1 s')['start'] AS start, window(ts, '1 s') AS window, count(*) FROM t GROUP BY \
                 window(ts, '1 s') HAVING window(ts, '1 s')['end'] > x ORDER BY window(ts, '1 s')",
            ),
            (
                "SELECT session_window.end AS e FROM t GROUP BY k, SESSION_WINDOW(ts, '1 s')",
                "SELECT SESSION_WINDOW(ts, '1 s')['end'] AS e FROM t GROUP BY k, SESSION_WINDOW(ts, '1 s')",
            ),
            // The argument of the outer window is the column of the inner one.
            (
                "SELECT window, sum(n) FROM (SELECT window, count(*) AS n FROM t GROUP BY window(ts, '1 s')) \
                 GROUP BY window(window_time(window), '1 m')",
                "SELECT window(window_time(window), '1 m') AS window, sum(n) FROM (SELECT window(ts, '1 s') AS \
                 window, count(*) AS n FROM t GROUP BY window(ts, '1 s')) GROUP BY window(window_time(window), '1 m')",
            ),
            // Columns of that name are left alone.
            ("SELECT window.start, a FROM v", "SELECT window.start AS start, a FROM v"),
            ("SELECT t.window, window + 1 FROM t", "SELECT t.window, window + 1 FROM t"),
            ("SELECT window_time(window) FROM v", "SELECT window_time(window) AS window_time FROM v"),
        ] {
            assert_eq!(resolved(sql), expected, "{sql}");
        }
    }

    #[test]
    fn every_query_of_a_statement_has_its_own_names() {
        let sql =
            "INSERT INTO o SELECT window FROM t GROUP BY window(a, '1 s') UNION ALL SELECT window FROM u";
        let expected = "INSERT INTO o SELECT window(a, '1 s') AS window FROM t GROUP BY window(a, '1 s') UNION ALL \
                        SELECT window AS window FROM u";
        assert_eq!(resolved(sql), expected);
    }
}
