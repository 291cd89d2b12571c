//! `lotic explain` and `lotic describe`: what a script would do, without running it.

use crate::fault::Fault;
use crate::run::output_mode;
use crate::script::{Kind, Script, Statement};
use crate::secrets::masked;
use lotic::{DataFrame, Session};
use std::process::ExitCode;

/// Prints the plan of each query. Definitions are carried out, nothing is read or written.
///
/// # Errors
/// The first statement that is wrong.
pub(crate) fn explain(script: &Script) -> Result<ExitCode, Fault> {
    let session = Session::builder().get_or_create()?;
    let mut text = String::new();
    for statement in script.statements()? {
        let said = |error| Fault::of_statement(&error, &statement);
        let query = match &statement.kind {
            Kind::Query => statement.range.clone(),
            Kind::Insert(insert) => insert.query.clone(),
            Kind::Define => {
                session.execute(&statement.positioned()).map_err(said)?;
                continue;
            }
            Kind::Tell => continue,
        };
        let frame = session.sql(&script.positioned(&query)).map_err(said)?;
        if !text.is_empty() {
            text.push('\n');
        }
        let shown = masked(&script.text[statement.range.clone()]);
        text.push_str(&format!("-- {}\n", shown.replace('\n', "\n-- ")));
        let plan = match &statement.kind {
            Kind::Insert(insert) if frame.is_streaming() => explain_insert(&frame, &insert.table),
            _ => frame.explain(),
        };
        text.push_str(plan.map_err(said)?.trim_end());
        text.push('\n');
    }
    Ok(crate::print(text.as_bytes(), 0))
}

/// The plan of a stream with the sink it is written to, and so with what that promises.
fn explain_insert(frame: &DataFrame, table: &str) -> lotic::Result<String> {
    frame.write_stream().output_mode(output_mode(None, frame)).into_table(table)?.explain()
}

/// Prints the columns of a table as a tree.
///
/// # Errors
/// If a definition is wrong or there is no such table.
pub(crate) fn describe(script: &Script, table: &str) -> Result<ExitCode, Fault> {
    let session = Session::builder().get_or_create()?;
    let statements = script.statements()?;
    for statement in statements.iter().filter(|statement| statement.kind == Kind::Define) {
        define(&session, statement)?;
    }
    let frame = session.table(table)?;
    Ok(crate::print(lotic::table::tree(&frame.schema()).as_bytes(), 0))
}

fn define(session: &Session, statement: &Statement) -> Result<(), Fault> {
    let done = session.execute(&statement.positioned());
    done.map(|_| ()).map_err(|error| Fault::of_statement(&error, statement))
}
