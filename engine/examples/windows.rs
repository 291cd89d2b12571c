//! Windows by event time: how many readings came in each window, once when it is over, or whenever that changes.
//!
//! ```text
//! cargo run -p lotic --example windows                  # tumbling windows of a second
//! cargo run -p lotic --example windows sliding          # of a second, one every half
//! cargo run -p lotic --example windows sessions         # readings that are close together
//! cargo run -p lotic --example windows tumbling update  # whenever a window has changed
//! ```
//! Arguments: `[tumbling | sliding | sessions [append | update [ROWS]]]`. The readings are those of 10 sensors,
//! 1,000 a second, ROWS (3,000) in all; then the stream ends and all windows are shown.

#[path = "support/program.rs"]
mod program;

use lotic::functions::{col, session_window, sliding_window, window};
use lotic::{Session, Trigger};
use program::{end, stop_at_ctrl_c};
use std::error::Error;
use std::process::ExitCode;

const USAGE: &str = "usage: windows [tumbling | sliding | sessions [append | update [ROWS]]]";

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, otherwise: &str| {
        arguments.get(at).map_or_else(|| otherwise.to_owned(), |given| given.clone())
    };
    let kind = argument(0, "tumbling");
    let (by, name) = match kind.as_str() {
        "tumbling" => (window(col("timestamp"), "1 second"), "window"),
        "sliding" => (sliding_window(col("timestamp"), "1 second", "500 ms"), "window"),
        "sessions" => (session_window(col("timestamp"), "100 ms"), "session_window"),
        _ => return Err(format!("there is no `{kind}`; {USAGE}").into()),
    };
    let session = Session::builder().app_name("windows").get_or_create()?;
    let readings = session.read_stream().format("rate").option("rowsPerSecond", 1000);
    let counts = readings
        .option("limit", argument(2, "3000"))
        .load()?
        .select_expr(&["timestamp", "value % 10 AS sensor"])?
        // Readings up to 200 ms behind the latest are waited for.
        .with_watermark("timestamp", "200 ms")?
        .group_by([by, col("sensor")])?
        .count()?
        .select([format!("{name}.start"), format!("{name}.end"), "sensor".into(), "count".into()])?;
    let query = counts
        .write_stream()
        .format("console")
        // Of one epoch; without it 20 rows are shown.
        .option("numRows", 10_000)
        .output_mode(argument(1, "append").as_str())
        .trigger(Trigger::continuous("100 ms"))
        .start()?;
    stop_at_ctrl_c(query.clone())?;
    Ok(query.await_termination()?)
}

fn main() -> ExitCode {
    end(run())
}
