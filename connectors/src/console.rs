//! A sink that prints rows.

use crate::error::{ConnectorError, Result};
use crate::sink::{Delivery, Sink, SinkFactory, SinkTraits};
use lotic_operators::{Epoch, Instance, Rows};
use std::fmt::{self, Debug, Display, Write as _};
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

type Format<T> = fn(&T, &mut String) -> fmt::Result;
pub(crate) type Output = Arc<Mutex<dyn Write + Send>>;

/// A sink that prints rows, one a line, as they come.
///
/// ```
/// use lotic_connectors::Console;
/// let console = Console::<u64>::display().truncate(80);
/// # let _ = console;
/// ```
///
/// # Delivery
/// At least once, visible at once.
///
/// # Cost
/// One write for each batch, on the data thread: a terminal that stands still holds the query up.
pub struct Console<T> {
    name: String,
    format: Format<T>,
    headers: bool,
    rows_max: u64,
    truncate: usize,
    output: Option<Output>,
}

impl<T> Clone for Console<T> {
    fn clone(&self) -> Self {
        Console { name: self.name.clone(), output: self.output.clone(), ..*self }
    }
}

impl<T> Debug for Console<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Console({})", self.name)
    }
}

impl<T: Display> Console<T> {
    /// Prints rows as they display.
    #[must_use]
    pub fn display() -> Self {
        Console::with_format(|row, text| write!(text, "{row}"))
    }
}

impl<T: Debug> Console<T> {
    /// Prints rows for debugging.
    #[must_use]
    pub fn debug() -> Self {
        Console::with_format(|row, text| write!(text, "{row:?}"))
    }
}

impl<T> Console<T> {
    fn with_format(format: Format<T>) -> Self {
        let name = "console".to_owned();
        Console { name, format, headers: false, rows_max: u64::MAX, truncate: usize::MAX, output: None }
    }

    /// What to call the sink in errors, metrics and `explain`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Prints a line with its number before the rows of each epoch.
    #[must_use]
    pub fn headers(mut self) -> Self {
        self.headers = true;
        self
    }

    /// Prints at most this many rows of each epoch, and says how many were left out.
    #[must_use]
    pub fn rows_per_epoch(mut self, rows: u64) -> Self {
        self.rows_max = rows;
        self
    }

    /// Cuts a row to this many characters; the cut is shown by `...`.
    #[must_use]
    pub fn truncate(mut self, characters: usize) -> Self {
        self.truncate = characters.max(1);
        self
    }

    /// Prints to this instead of the standard output.
    #[must_use]
    pub fn to(mut self, output: impl Write + Send + 'static) -> Self {
        self.output = Some(Arc::new(Mutex::new(output)));
        self
    }
}

impl<T: Send + 'static> SinkFactory<Rows<T>> for Console<T> {
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            name: self.name.clone(),
            delivery: Delivery::AtLeastOnce,
            max_parallelism: 1,
            batches_only: false,
        }
    }

    fn create(&self, _instance: Instance) -> Result<Box<dyn Sink<Rows<T>>>> {
        let (console, epoch) = (self.clone(), Epoch::NONE);
        Ok(Box::new(Printer { console, epoch, rows: 0, line: String::new(), text: String::new() }))
    }
}

struct Printer<T> {
    console: Console<T>,
    epoch: Epoch,
    /// Rows of the epoch so far, printed or not.
    rows: u64,
    line: String,
    text: String,
}

impl<T> Printer<T> {
    fn append(&mut self, row: &T) -> Result<()> {
        if self.rows == 0 && self.console.headers {
            self.text.push_str("--- epoch ");
            self.text.push_str(&self.epoch.to_string());
            self.text.push_str(" ---\n");
        }
        self.rows += 1;
        if self.rows > self.console.rows_max {
            return Ok(());
        }
        self.line.clear();
        (self.console.format)(row, &mut self.line).map_err(|_| {
            ConnectorError::user(format!(
                "sink `{}` cannot print row {} of epoch {}: its own formatting failed",
                self.console.name, self.rows, self.epoch
            ))
        })?;
        self.text.push_str(truncated(&mut self.line, self.console.truncate));
        self.text.push('\n');
        Ok(())
    }

    fn print(&mut self) -> Result<()> {
        let printed = print(&self.console.name, self.console.output.as_ref(), &self.text);
        self.text.clear();
        printed
    }
}

/// Prints to an output, or the standard output, and flushes it.
pub(crate) fn print(sink: &str, output: Option<&Output>, text: &str) -> Result<()> {
    let printed = match output {
        None => print_to(&mut io::stdout().lock(), text),
        Some(output) => print_to(&mut *output.lock().unwrap_or_else(PoisonError::into_inner), text),
    };
    printed.map_err(|cause| {
        if cause.kind() == ErrorKind::BrokenPipe {
            let message = format!("sink `{sink}` cannot print: its reader closed the pipe");
            return ConnectorError::external(message, cause);
        }
        ConnectorError::external(format!("sink `{sink}` cannot print"), cause)
    })
}

fn print_to(output: &mut dyn Write, text: &str) -> io::Result<()> {
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// The line cut to this many characters.
fn truncated(line: &mut String, characters: usize) -> &str {
    let Some((cut, _)) = line.char_indices().nth(characters) else { return line };
    line.truncate(cut);
    if let Some(kept) = characters.checked_sub(3).filter(|kept| *kept > 0) {
        let (cut, _) = line.char_indices().nth(kept).expect("invariant: the line is longer");
        line.truncate(cut);
        line.push_str("...");
    }
    line
}

impl<T: Send + 'static> Sink<Rows<T>> for Printer<T> {
    fn start(&mut self, epoch: Epoch) -> Result<()> {
        self.epoch = epoch;
        Ok(())
    }

    fn write(&mut self, batch: &mut Rows<T>, _waker: &Waker) -> Result<()> {
        for row in batch {
            self.append(&row)?;
        }
        if self.text.is_empty() { Ok(()) } else { self.print() }
    }

    fn pre_commit(&mut self, epoch: Epoch) -> Result<Option<crate::sink::Prepare>> {
        let hidden = self.rows.saturating_sub(self.console.rows_max);
        self.rows = 0;
        self.epoch = epoch.next();
        if hidden > 0 {
            self.text = format!("... and {hidden} more rows\n");
            self.print()?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Sends on what is written.
    struct Wire(mpsc::Sender<String>);

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            self.0.send(text).map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(console: Console<String>, epochs: &[&[&str]]) -> String {
        let (sender, text) = mpsc::channel();
        let mut sink = console.to(Wire(sender)).create(Instance::ONLY).unwrap();
        sink.start(Epoch(1)).unwrap();
        for (epoch, rows) in (1..).zip(epochs) {
            let rows: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
            sink.write(&mut Rows::from(rows), Waker::noop()).unwrap();
            assert!(sink.pre_commit(Epoch(epoch)).unwrap().is_none());
        }
        text.try_iter().collect()
    }

    #[test]
    fn rows_are_printed_as_they_are_and_nothing_else() {
        assert_eq!(printed(Console::display(), &[&["a", "b"], &[], &["c"]]), "a\nb\nc\n");
        assert_eq!(printed(Console::debug(), &[&["a"]]), "\"a\"\n");
    }

    #[test]
    fn headers_and_limits_on_request() {
        let console = Console::display().headers().rows_per_epoch(1);
        let expected = "--- epoch 1 ---\na\n... and 1 more rows\n--- epoch 3 ---\nc\n";
        assert_eq!(printed(console, &[&["a", "b"], &[], &["c"]]), expected);
    }

    #[test]
    fn long_rows_are_cut_at_characters_not_bytes() {
        let cut = |text: &str, characters| truncated(&mut text.to_owned(), characters).to_owned();
        assert_eq!(cut("äöüäöü", 6), "äöüäöü");
        assert_eq!(cut("äöüäöü", 5), "äö...");
        assert_eq!(cut("äöüäöü", 3), "äöü");
    }

    #[test]
    fn a_closed_pipe_is_an_error_not_a_panic() {
        let (sender, text) = mpsc::channel();
        drop(text);
        let mut sink = Console::display().to(Wire(sender)).create(Instance::ONLY).unwrap();
        let error = sink.write(&mut Rows::from(vec![1]), Waker::noop()).unwrap_err();
        assert!(error.to_string().contains("its reader closed the pipe"), "{error}");
    }
}
