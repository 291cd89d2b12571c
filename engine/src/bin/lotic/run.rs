//! `lotic run` and `lotic sql`: statements in their order.

use crate::args::RunOptions;
use crate::events::{Event, Events};
use crate::fault::Fault;
use crate::output::{Output, StdoutFormat};
use crate::progress::Progress;
use crate::script::{Insert, Kind, Script, Statement};
use crate::settings;
use crate::signals::{self, Stoppable};
use crate::streams::Streams;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::LogicalPlan;
use lotic::table::{DataFrame, RunOptions as Settings, StatementResult};
use lotic::{OutputMode, Session};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs all statements of a script. Bounded ones run one after the other; queries over streams are started
/// in their order and run side by side until they are stopped or their trigger ends them.
///
/// # Errors
/// The first statement that is wrong or query that fails; what runs is stopped in order before.
pub(crate) fn run(script: &Script, options: &RunOptions) -> Result<ExitCode, Fault> {
    let statements = script.statements()?;
    let (events, told) = Events::new();
    let stoppable = Stoppable::default();
    signals::listen(events.clone(), stoppable.clone())
        .map_err(|error| Fault::failed(format!("signals cannot be listened for: {error}")))?;
    let progress = Progress::new(options.progress);
    let closed = events.clone();
    let on_closed = Box::new(move || closed.tell(Event::Closed));
    let output = Arc::new(Output::new(options.format, Arc::clone(&progress), on_closed));
    let session = settings::session(options)?;
    session.add_listener(Arc::clone(&progress) as _);
    let stdout = StdoutFormat::new(Arc::clone(&output));
    session.register_format(Arc::new(stdout.clone()))?;
    let mut run = Run {
        session,
        options,
        output,
        progress: Arc::clone(&progress),
        streams: Streams::new(events, told, stoppable),
        queries: 0,
        prints: None,
    };
    let done = run.statements(&statements);
    let ended = run.streams.wait(done.is_err());
    progress.clear();
    let finished = stdout.finish();
    done.and(ended)?;
    finished?;
    Ok(ExitCode::SUCCESS)
}

/// What the query of a SELECT over a stream is called.
const PRINTED: &str = "select";

struct Run<'a> {
    session: Session,
    options: &'a RunOptions,
    output: Arc<Output>,
    progress: Arc<Progress>,
    streams: Streams,
    /// Queries over streams so far.
    queries: usize,
    /// The SELECT over a stream that prints.
    prints: Option<&'a Statement>,
}

impl<'a> Run<'a> {
    fn statements(&mut self, statements: &'a [Statement]) -> Result<(), Fault> {
        for statement in statements {
            if self.streams.are_to_stop() || self.output.is_closed() {
                return Ok(());
            }
            match &statement.kind {
                Kind::Query => self.query(statement)?,
                Kind::Insert(insert) => self.insert(statement, insert)?,
                Kind::Tell | Kind::Define => self.other(statement, &Settings::default())?,
            }
        }
        Ok(())
    }

    fn query(&mut self, statement: &'a Statement) -> Result<(), Fault> {
        let said = |error| Fault::of_statement(&error, statement);
        let frame = self.session.sql(&statement.positioned()).map_err(said)?;
        if !frame.is_streaming() {
            return self.show(&frame, statement);
        }
        if let Some(first) = self.prints.replace(statement) {
            let line = first.script.text[..first.range.start].matches('\n').count() + 1;
            return Err(Fault::input("only one SELECT over a stream can print: rows share standard output")
                .help(format!("the first is in line {line}; INSERT INTO a table for the others"))
                .at(statement.place()));
        }
        self.queries += 1;
        let mut writer = frame.write_stream().output_mode(output_mode(self.options.output_mode, &frame));
        if let Some(trigger) = self.options.trigger {
            writer = writer.trigger(trigger);
        }
        if let Some(folder) = self.folder(&self.options.checkpoint, PRINTED) {
            writer = writer.configure(move |query| query.checkpoint_location(&folder));
        }
        if let Some(folder) = self.folder(&self.options.from_savepoint, PRINTED) {
            writer = writer.configure(move |query| query.from_savepoint(&folder));
        }
        let leaves = self.options.allow_non_restored_state;
        writer = writer.configure(move |query| query.allow_non_restored_state(leaves));
        let query = writer.format(StdoutFormat::NAME).query_name(PRINTED).start().map_err(said)?;
        self.streams.add(query, statement.clone(), self.folder(&self.options.savepoint, PRINTED));
        Ok(())
    }

    fn insert(&mut self, statement: &Statement, insert: &Insert) -> Result<(), Fault> {
        let said = |error| Fault::of_statement(&error, statement);
        let text = statement.script.positioned(&insert.query);
        let frame = self.session.sql(&text).map_err(said)?;
        if !frame.is_streaming() {
            let _working = self.progress.working(&insert.table);
            return self.other(statement, &Settings::default());
        }
        self.queries += 1;
        let settings = Settings {
            trigger: self.options.trigger,
            checkpoint: self.folder(&self.options.checkpoint, &insert.table),
            from_savepoint: self.folder(&self.options.from_savepoint, &insert.table),
            allow_non_restored_state: self.options.allow_non_restored_state,
            output_mode: Some(output_mode(self.options.output_mode, &frame)),
            query_name: Some(insert.table.clone()),
        };
        self.other(statement, &settings)
    }

    /// Runs a statement that is not a query, and shows what it gives.
    fn other(&mut self, statement: &Statement, settings: &Settings) -> Result<(), Fault> {
        let said = |error| Fault::of_statement(&error, statement);
        for result in self.session.execute_with(&statement.positioned(), settings).map_err(said)? {
            match result {
                StatementResult::Rows(frame) => self.show(&frame, statement)?,
                StatementResult::Started(query) => {
                    let savepoint = self.folder(&self.options.savepoint, query.name());
                    self.streams.add(query, statement.clone(), savepoint);
                }
                StatementResult::Done | StatementResult::Written => {}
            }
        }
        Ok(())
    }

    /// Computes a bounded table and prints it.
    fn show(&self, frame: &DataFrame, statement: &Statement) -> Result<(), Fault> {
        let said = |error| Fault::of_statement(&error, statement);
        let _working = self.progress.working("query");
        let mut batches = frame.to_local_iterator().map_err(said)?.map(|batch| batch.map_err(said));
        self.output.result(frame.schema(), &mut batches)
    }

    /// The subfolder of the newest query in a folder of checkpoints or savepoints.
    fn folder(&self, of: &Option<PathBuf>, target: &str) -> Option<PathBuf> {
        of.as_ref().map(|folder| folder.join(folder_name(self.queries, target)))
    }
}

/// The mode asked for; else append, or update where groups change.
pub(crate) fn output_mode(asked: Option<OutputMode>, frame: &DataFrame) -> OutputMode {
    asked.unwrap_or_else(|| {
        let groups = frame.logical_plan().exists(|plan| Ok(matches!(plan, LogicalPlan::Aggregate(_))));
        // Groups by event time come once, when they are over.
        let changes = || frame.write_stream().format("noop").explain().is_err();
        if groups.unwrap_or(false) && changes() { OutputMode::Update } else { OutputMode::Append }
    })
}

/// The folder of a query in the folder of checkpoints: by its position and where it writes.
fn folder_name(position: usize, target: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    format!("{position:02}-{}", target.chars().map(safe).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_query_stays_within_the_folder_of_checkpoints() {
        assert_eq!(folder_name(1, "counts"), "01-counts");
        assert_eq!(folder_name(12, "\"../../etc\""), "12-_______etc_");
    }
}
