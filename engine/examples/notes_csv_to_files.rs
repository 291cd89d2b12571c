//! The second program of the structured-streaming notes: a folder of CSV files to files of another format.
//!
//! ```text
//! cargo run -p lotic --example notes_csv_to_files            # CSV; or FORMAT [INPUT [OUTPUT [CHECKPOINT]]]
//! ```
//! FORMAT is csv, json, parquet or orc. As in the notes:
//!
//! ```python
//! user_schema = StructType().add("nome", "string").add("idade", "integer")
//! read_csv_df = spark.readStream.schema(user_schema).csv("/user/nomes/")
//! read_csv_df.printSchema()
//! read_csv_df.writeStream.format("csv") \
//!     .option("checkpointLocation", "/tmp/checkpoint").option("path", "/home/data").start()
//! ```
//! A stream of files is a folder and needs its schema. Files that are put into it later are read too. Stop the
//! program with Ctrl-C and start it again: it goes on where it was, and no row is written twice.

#[path = "support/program.rs"]
mod program;

use lotic::Session;
use program::{end, stop_at_ctrl_c};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

const INPUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/nomes");

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let format = arguments.next().unwrap_or_else(|| "csv".to_owned());
    let mut folder = |otherwise: PathBuf| arguments.next().map_or(otherwise, PathBuf::from);
    let notes = std::env::temp_dir().join("lotic-notes");
    let input = folder(PathBuf::from(INPUT));
    let output = folder(notes.join(&format));
    let checkpoint = folder(notes.join(format!("checkpoint-{format}")));

    let session = Session::builder().app_name("notes").get_or_create()?;
    let people = session.read_stream().schema("nome STRING, idade INT").csv(&input)?;
    people.print_schema();
    let query = people
        .write_stream()
        .format(&format)
        .option("checkpointLocation", &checkpoint)
        .option("path", &output)
        .start()?;
    stop_at_ctrl_c(query.clone())?;
    query.process_all_available()?;
    println!("what is in {} was written to {}", input.display(), output.display());
    println!("put more CSV files there, or stop with Ctrl-C and start again: it goes on where it was");
    Ok(query.await_termination()?)
}

fn main() -> ExitCode {
    end(run())
}
