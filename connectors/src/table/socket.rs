//! Lines over TCP as a stream.

use super::columns::{Wanted, check_given, schema_of, timestamp_type, timestamps};
use super::from_rows::FromRows;
use super::options::{OptionSpec, Options};
use super::{ReadRequest, StreamTable, TableFormat};
use crate::error::{ConnectorError, Result};
use crate::socket::{InvalidUtf8, LongLine, Reconnect, SocketSource, TimedLine};
use crate::source::SourceFactory;
use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, SchemaRef};
use lotic_operators::table::TableBatch;
use std::sync::Arc;

const OPTIONS: [OptionSpec; 12] = [
    OptionSpec::new("host", "", "The host to connect to. Required."),
    OptionSpec::new("port", "", "The port to connect to, 1 to 65535. Required."),
    OptionSpec::new("includeTimestamp", "false", "Adds the column `timestamp`: when the line was received."),
    OptionSpec::new(
        "reconnect",
        "false",
        "Connects again when the connection is refused, breaks or is closed.",
    ),
    OptionSpec::new(
        "reconnectWaitMin",
        "100 ms",
        "The wait before the first new attempt; doubles each time.",
    ),
    OptionSpec::new("reconnectWaitMax", "10 s", "The longest wait between attempts."),
    OptionSpec::new(
        "reconnectAttempts",
        "",
        "Attempts in a row that bring nothing, after which the query fails; without it there is no limit.",
    ),
    OptionSpec::new(
        "endWhenClosed",
        "true, or false with reconnect",
        "Whether the stream ends when the peer closes the connection in good order.",
    ),
    OptionSpec::new("connectTimeout", "2 s", "How long one attempt to connect may take."),
    OptionSpec::new("maxLineBytes", "1m", "The longest line accepted, without its end."),
    OptionSpec::new("longLine", "fail", "What to do with a longer line: `fail` or `skip`."),
    OptionSpec::new("invalidUtf8", "fail", "What to do with a line that is not UTF-8: `fail` or `replace`."),
];

/// The format `socket`: lines of text over TCP, as in Spark, to try things out with.
///
/// Columns: `value` STRING, and `timestamp` TIMESTAMP if `includeTimestamp` says so.
///
/// # Delivery
/// Not replayable: lines received after the last checkpoint are lost when the query restarts.
#[derive(Debug, Clone, Copy)]
pub struct SocketFormat;

impl TableFormat for SocketFormat {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn summary(&self) -> &'static str {
        "Lines of text over TCP, to try things out with. Not replayable: a restart loses what was in flight."
    }

    fn read_options(&self) -> Vec<OptionSpec> {
        OPTIONS.to_vec()
    }

    fn stream(&self, request: &ReadRequest) -> Result<Arc<dyn StreamTable>> {
        let options = &request.options;
        options.check("socket", &OPTIONS)?;
        let with_time = options.bool("includeTimestamp", false)?;
        let schema = if with_time {
            schema_of([("value", DataType::Utf8), ("timestamp", timestamp_type())])
        } else {
            schema_of([("value", DataType::Utf8)])
        };
        check_given("socket", request, &schema)?;
        Ok(Arc::new(SocketTable { source: source_of(options)?, schema }))
    }
}

fn required<'a>(options: &'a Options, name: &str, example: &str) -> Result<&'a str> {
    options.get(name).map(str::trim).filter(|value| !value.is_empty()).ok_or_else(|| {
        ConnectorError::user(format!("format `socket` needs the option `{name}`, such as `{example}`"))
    })
}

fn source_of(options: &Options) -> Result<SocketSource> {
    let host = required(options, "host", "localhost")?;
    required(options, "port", "9999")?;
    let port = options.parsed("port", "a port from 1 to 65535", |value| value.parse().ok())?;
    let port = port.filter(|port| *port > 0).ok_or_else(|| {
        ConnectorError::user("option `port` is `0`: expected a port from 1 to 65535".to_owned())
    })?;
    let mut source = SocketSource::new(host, port);
    let reconnect = options.bool("reconnect", false)?;
    if reconnect {
        source = source.reconnect(reconnect_of(options)?);
    } else if let Some((name, _)) = options.iter().find(|(name, _)| is_of_reconnect(name)) {
        return Err(ConnectorError::user(format!(
            "option `{name}` has no effect without `reconnect`: set `reconnect` to true"
        )));
    }
    let end = options.bool("endWhenClosed", !reconnect)?;
    if !end && !reconnect {
        return Err(ConnectorError::user(
            "option `endWhenClosed` is false, but the source does not connect again: set `reconnect` to true",
        ));
    }
    source = source.end_when_closed(end);
    if let Some(wait) = options.duration("connectTimeout")? {
        source = source.connect_wait_max(wait);
    }
    if let Some(bytes) = options.bytes("maxLineBytes")? {
        source = source.line_bytes_max(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    let long_line = options.parsed("longLine", "`fail` or `skip`", |value| match value {
        "fail" => Some(LongLine::Fail),
        "skip" => Some(LongLine::Skip),
        _ => None,
    })?;
    let invalid_utf8 = options.parsed("invalidUtf8", "`fail` or `replace`", |value| match value {
        "fail" => Some(InvalidUtf8::Fail),
        "replace" => Some(InvalidUtf8::Replace),
        _ => None,
    })?;
    Ok(source.long_line(long_line.unwrap_or_default()).invalid_utf8(invalid_utf8.unwrap_or_default()))
}

fn is_of_reconnect(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("reconnect") && name != "reconnect"
}

fn reconnect_of(options: &Options) -> Result<Reconnect> {
    let usual = Reconnect::default();
    let wait_min = options.duration("reconnectWaitMin")?.unwrap_or(usual.wait_min);
    let wait_max = options.duration("reconnectWaitMax")?.unwrap_or(usual.wait_max.max(wait_min));
    if wait_max < wait_min {
        return Err(ConnectorError::user(
            "option `reconnectWaitMax` is less than `reconnectWaitMin`: the longest wait is the longer one",
        ));
    }
    let attempts_max = options.parsed("reconnectAttempts", "a number from 1", |value| {
        value.parse().ok().filter(|attempts| *attempts > 0)
    })?;
    Ok(Reconnect { wait_min, wait_max, attempts_max })
}

#[derive(Debug)]
struct SocketTable {
    source: SocketSource,
    schema: SchemaRef,
}

impl StreamTable for SocketTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn source(&self, projection: Option<&[usize]>) -> Result<Box<dyn SourceFactory<TableBatch>>> {
        let wanted = Wanted::new(&self.schema, projection)?;
        let source = self.source.clone();
        if wanted.columns.iter().all(|column| *column == 0) {
            let convert = Arc::new(move |lines: &[String]| {
                let values = || Arc::new(StringArray::from_iter_values(lines)) as ArrayRef;
                wanted.batch(lines.len(), |_| values())
            });
            return Ok(Box::new(FromRows::new(source, convert)));
        }
        let convert = Arc::new(move |lines: &[TimedLine]| {
            wanted.batch(lines.len(), |column| match column {
                0 => Arc::new(StringArray::from_iter_values(lines.iter().map(|line| &line.line))),
                _ => timestamps(lines.iter().map(|line| line.received.0)),
            })
        });
        Ok(Box::new(FromRows::new(source.with_time(), convert)))
    }
}
