//! Rows printed as tables.

use super::options::{OptionSpec, Options};
use super::show::{self, Layout, Show};
use super::{OutputMode, TableFormat, WriteRequest, no_partitions};
use crate::console::{Output, print};
use crate::error::{ConnectorError, Result};
use crate::sink::{Delivery, ModeWatch, Prepare, Sink, SinkFactory, SinkTraits};
use arrow::datatypes::SchemaRef;
use lotic_operators::table::TableBatch;
use lotic_operators::{Epoch, Instance};
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::task::Waker;

const OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new("numRows", "20", "The most rows printed of an epoch."),
    OptionSpec::new(
        "truncate",
        "true",
        "`true` cuts cells to 20 characters, a number to that many; `false` leaves them whole.",
    ),
];

/// The line above and below the number of an epoch.
const RULE: &str = "-------------------------------------------\n";

/// A sink that prints rows as tables.
///
/// In micro-batch mode, and in complete mode, each epoch with rows is one table with the number of the epoch
/// above it, as in Spark; a complete result that has become empty is a table without rows. In continuous mode rows are printed as they come, under one header, which is
/// printed again when a column has to become wider. A bounded result is one table.
///
/// # Delivery
/// At least once. In continuous mode visible at once, else at the end of the epoch.
///
/// # Cost
/// One write for each batch or table, on the data thread: a terminal that stands still holds the query up.
#[derive(Clone)]
pub struct TableConsole {
    schema: SchemaRef,
    show: Show,
    whole: Whole,
    output: Option<Output>,
}

/// When rows are printed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    InMicroBatchMode,
    EachEpoch,
    /// The one epoch of a bounded result, without its number.
    Bounded,
}

impl fmt::Debug for TableConsole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableConsole({:?}, {:?})", self.show, self.whole)
    }
}

impl TableConsole {
    /// Prints the rows of a stream.
    pub fn new(schema: SchemaRef, show: Show, mode: OutputMode) -> Self {
        let whole = if mode == OutputMode::Complete { Whole::EachEpoch } else { Whole::InMicroBatchMode };
        TableConsole { schema, show, whole, output: None }
    }

    /// Prints the rows of a bounded result, as one table.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.whole = Whole::Bounded;
        self
    }

    /// Prints to this instead of the standard output.
    #[must_use]
    pub fn to(mut self, output: impl Write + Send + 'static) -> Self {
        self.output = Some(Arc::new(Mutex::new(output)));
        self
    }
}

impl SinkFactory<TableBatch> for TableConsole {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: "console".to_owned(),
            delivery: Delivery::AtLeastOnce,
            max_parallelism: 1,
            batches_only: false,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<TableBatch>>> {
        Ok(Box::new(Printer {
            console: self.clone(),
            mode: ModeWatch::default(),
            epoch: Epoch::NONE,
            rows: 0,
            held: None,
            layout: None,
        }))
    }
}

struct Printer {
    console: TableConsole,
    mode: ModeWatch,
    epoch: Epoch,
    /// Rows of the epoch so far, printed or not.
    rows: usize,
    /// The cells to be printed at the end of the epoch; `None` if the epoch has no rows yet, or they are
    /// printed as they come.
    held: Option<Vec<Vec<String>>>,
    /// The columns under the header printed last, if rows are printed as they come.
    layout: Option<Layout>,
}

impl Printer {
    fn holds(&self) -> bool {
        match self.console.whole {
            // An epoch is printed the way it was begun, even if the mode changes meanwhile.
            Whole::InMicroBatchMode => self.held.is_some() || (self.rows == 0 && self.mode.is_micro_batch()),
            Whole::EachEpoch | Whole::Bounded => true,
        }
    }

    fn print(&self, text: &str) -> Result<()> {
        print("console", self.console.output.as_ref(), text)
    }

    /// Prints rows as they come.
    fn print_on(&mut self, cells: &[Vec<String>]) -> Result<()> {
        let mut text = String::new();
        let known = self.layout.is_some();
        let layout = self.layout.get_or_insert_with(|| Layout::new(self.console.show, &self.console.schema));
        if known {
            // Ends the table before, if it has become too narrow.
            layout.write_border(&mut text);
        }
        if layout.fit(cells) || !known {
            layout.write_header(&mut text);
        } else {
            text.clear();
        }
        layout.write_rows(cells, &mut text);
        self.print(&text)
    }

    /// Prints the table of the epoch.
    fn print_whole(&mut self, cells: &[Vec<String>]) -> Result<()> {
        let mut text = String::new();
        if let Some(layout) = self.layout.take() {
            // The table of continuous mode ends here.
            layout.write_border(&mut text);
        }
        if self.console.whole != Whole::Bounded {
            text.push_str(RULE);
            text.push_str(&format!("Epoch: {}\n", self.epoch));
            text.push_str(RULE);
        }
        let mut layout = Layout::new(self.console.show, &self.console.schema);
        layout.fit(cells);
        layout.write_header(&mut text);
        layout.write_rows(cells, &mut text);
        layout.write_border(&mut text);
        if self.rows > self.console.show.rows_max() {
            text.push_str(&self.console.show.more());
        }
        text.push('\n');
        self.print(&text)
    }
}

impl Sink<TableBatch> for Printer {
    fn start(&mut self, epoch: Epoch) -> Result<()> {
        self.epoch = epoch;
        Ok(())
    }

    fn watch(&mut self, mode: &ModeWatch) {
        self.mode = mode.clone();
    }

    fn write(&mut self, batch: &mut TableBatch, _waker: &Waker) -> Result<()> {
        let holds = self.holds();
        let rows = batch.split_front(usize::MAX);
        let room = self.console.show.rows_max().saturating_sub(self.rows);
        let mut cells = Vec::new();
        self.console.show.cells_of(&rows, room, &mut cells)?;
        self.rows += rows.num_rows();
        if holds {
            self.held.get_or_insert_default().append(&mut cells);
            Ok(())
        } else if cells.is_empty() {
            Ok(())
        } else {
            self.print_on(&cells)
        }
    }

    fn whole(&mut self) {
        if self.console.whole == Whole::EachEpoch {
            // A result without rows is a table too.
            self.held.get_or_insert_default();
        }
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<Prepare>> {
        self.epoch = epoch;
        let held = self.held.take();
        if let Some(cells) = held {
            self.print_whole(&cells)?;
        } else if self.rows > self.console.show.rows_max() {
            self.print(&self.console.show.more())?;
        }
        self.rows = 0;
        Ok(None)
    }
}

/// The format `console`.
#[derive(Debug, Clone, Copy)]
pub struct ConsoleFormat;

impl TableFormat for ConsoleFormat {
    fn name(&self) -> &'static str {
        "console"
    }

    fn summary(&self) -> &'static str {
        "Prints rows to the standard output: a table for each epoch, in continuous mode rows as they come."
    }

    fn write_options(&self) -> Vec<OptionSpec> {
        OPTIONS.to_vec()
    }

    fn sink(&self, request: &WriteRequest) -> Result<Box<dyn SinkFactory<TableBatch>>> {
        request.options.check("console", &OPTIONS)?;
        no_partitions("console", request)?;
        let show = show_of(&request.options)?;
        let console = TableConsole::new(Arc::clone(&request.schema), show, request.output_mode);
        Ok(Box::new(if request.save_mode.is_some() { console.bounded() } else { console }))
    }
}

fn show_of(options: &Options) -> Result<Show> {
    let rows = options.number("numRows")?.unwrap_or(show::ROWS);
    let truncate =
        options.parsed("truncate", "true, false or a number of characters", |value| {
            match value.to_ascii_lowercase().as_str() {
                "true" => Some(Some(show::CELL_CHARACTERS)),
                "false" => Some(None),
                number => number.parse().ok().map(Some),
            }
        })?;
    if truncate == Some(Some(0)) {
        return Err(ConnectorError::user("option `truncate` is `0`: say `false` to leave cells whole"));
    }
    Ok(Show::default().rows(rows).truncate(truncate.unwrap_or(Some(show::CELL_CHARACTERS))))
}
