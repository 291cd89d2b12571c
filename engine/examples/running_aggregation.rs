//! A running aggregation: each group is printed again whenever it has changed.
//!
//! ```text
//! nc -lk 9999                                                # in one terminal: type lines here
//! cargo run -p lotic --example running_aggregation           # in another: counts equal lines
//! cargo run -p lotic --example running_aggregation json      # lines such as {"nome": "Ana", "idade": 31}
//! cargo run -p lotic --example running_aggregation rate      # needs no other terminal
//! ```
//! Arguments: `socket [HOST [PORT]]`, `json [HOST [PORT]]` or `rate [ROWS_PER_SECOND [ROWS]]`. The last argument
//! of `rate` ends the stream after so many rows; otherwise Ctrl-C stops.

#[path = "support/program.rs"]
mod program;

use lotic::functions::{avg, col, count, lit, sum};
use lotic::{DataFrame, OutputMode, Session, Trigger};
use program::{end, stop_at_ctrl_c};
use std::error::Error;
use std::process::ExitCode;

const USAGE: &str = "usage: running_aggregation [socket [HOST [PORT]] | json [HOST [PORT]] | rate [ROWS_PER_SECOND \
                     [ROWS]]]";

/// How often each line came.
fn lines(lines: &DataFrame) -> lotic::Result<DataFrame> {
    lines.group_by(["value"])?.count()
}

/// People as JSON text: how often each came, and the mean age. What is no JSON is left out.
fn people(lines: &DataFrame) -> lotic::Result<DataFrame> {
    lines
        .select_expr(&["from_json(value, 'nome STRING, idade INT') AS pessoa"])?
        .filter("pessoa IS NOT NULL")?
        .select_expr(&["pessoa['nome'] AS nome", "pessoa['idade'] AS idade"])?
        .group_by(["nome"])?
        .agg([count(lit(1)).alias("count"), avg(col("idade")).alias("mean")])
}

/// Numbers by their last digit.
fn digits(numbers: &DataFrame) -> lotic::Result<DataFrame> {
    numbers
        .select_expr(&["value % 10 AS digit", "value"])?
        .group_by(["digit"])?
        .agg([count(lit(1)).alias("count"), sum(col("value")).alias("sum")])
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, otherwise: &str| {
        arguments.get(at).map_or_else(|| otherwise.to_owned(), |given| given.clone())
    };
    let kind = argument(0, "socket");

    let session = Session::builder().app_name("running-aggregation").get_or_create()?;
    let result = match kind.as_str() {
        "socket" | "json" => {
            let (host, port) = (argument(1, "localhost"), argument(2, "9999"));
            let socket = session.read_stream().format("socket").option("host", host).option("port", port);
            let text = socket.load()?;
            if kind == "json" { people(&text)? } else { lines(&text)? }
        }
        "rate" => {
            let rate = session.read_stream().format("rate").option("rowsPerSecond", argument(1, "5"));
            digits(&match arguments.get(2) {
                Some(rows) => rate.option("limit", rows.clone()).load()?,
                None => rate.load()?,
            })?
        }
        _ => return Err(format!("there is no `{kind}`; {USAGE}").into()),
    };
    let query = result
        .write_stream()
        .output_mode(OutputMode::Update)
        .format("console")
        // Of one epoch; without it 20 rows are shown.
        .option("numRows", 10_000)
        .trigger(Trigger::continuous("1 second"))
        .start()?;
    stop_at_ctrl_c(query.clone())?;
    eprintln!("running; Ctrl-C stops");
    Ok(query.await_termination()?)
}

fn main() -> ExitCode {
    end(run())
}
