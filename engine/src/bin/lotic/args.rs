//! The command line: what can be asked for, and how values are read.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use lotic::query::parse_interval;
use lotic::{OutputMode, Trigger};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  Query a folder of CSV files and print the answer
    lotic sql \"CREATE EXTERNAL TABLE people (name STRING, age INT) STORED AS csv LOCATION 'people/'; \\
               SELECT name FROM people WHERE age >= 18\"

  Run the statements of a file; state and offsets survive restarts
    lotic run counts.sql --checkpoint /var/lib/lotic/counts

  The same statements in micro-batches, or once over what is there now
    lotic run counts.sql --trigger processing-time:1s
    lotic run counts.sql --trigger available-now

  Hand the rows on
    lotic run counts.sql --format json | jq .word

  See what would run, and what a checkpoint holds
    lotic explain counts.sql
    lotic checkpoint ls /var/lib/lotic/counts

Results go to standard output, everything else to standard error. Ctrl-C stops in order: what is in flight is
processed and a last checkpoint written. Exit status: 0 done or stopped, 1 the query failed, 2 the input is wrong.";

const RUN_EXAMPLES: &str = "\
Examples:
  lotic run words.sql                                     print rows as they come, until Ctrl-C
  lotic run copy.sql --checkpoint state/                  go on after a restart where the last run stopped
  lotic run copy.sql --checkpoint state/ --savepoint before-upgrade/
                                                          keep a copy of the state on SIGTERM
  lotic run copy.sql --checkpoint new/ --from-savepoint before-upgrade/
                                                          and go on from it
  lotic run copy.sql --trigger continuous:100ms           an epoch, and with it a commit, every 100 ms
  lotic run copy.sql --trigger available-now              work off what is there, then end
  lotic run counts.sql --output-mode complete             all groups at the end of each epoch
  echo 'SELECT 1 + 1' | lotic run - --format csv          statements from standard input
  lotic run copy.sql --set workers=2 --parallelism 2      two instances on two threads

Settings for --set: app.name, chaining, wait (spin, park, busy), watermark.idle (a time, or never),
watermark.policy (min, max), workers, and DataFusion's `datafusion.*`.";

/// A continuous-processing engine for streams, files and tables, in SQL.
#[derive(Debug, Parser)]
#[command(name = "lotic", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Which log messages to write to standard error.
    #[arg(long, global = true, value_enum, default_value = "warn", value_name = "LEVEL")]
    pub(crate) log: LogLevel,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the statements of a file.
    #[command(after_help = RUN_EXAMPLES)]
    Run {
        /// The file; `-` for standard input.
        file: PathBuf,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Run the statements given on the command line.
    #[command(after_help = "Example:\n  lotic sql \"SELECT upper('lotic') AS name\" --format json")]
    Sql {
        /// The statements, separated by semicolons. They may begin with a comment.
        #[arg(allow_hyphen_values = true)]
        statements: String,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Show how the queries of a file would run, without running them.
    #[command(after_help = "Example:\n  lotic explain counts.sql")]
    Explain {
        /// The file; `-` for standard input.
        file: PathBuf,
    },
    /// Show the columns of a table or view that a file defines.
    #[command(after_help = "Example:\n  lotic describe counts.sql words")]
    Describe {
        /// The file; `-` for standard input.
        file: PathBuf,
        /// The table or view.
        table: String,
    },
    /// List the formats for STORED AS, with their options.
    #[command(after_help = "Examples:\n  lotic formats\n  lotic formats csv")]
    Formats {
        /// Only this format.
        format: Option<String>,
    },
    /// Look at checkpoints. Nothing is changed; the query may be running.
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Write a completion script for a shell.
    #[command(
        after_help = "Example:\n  lotic completions bash > ~/.local/share/bash-completion/completions/lotic"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// List the epochs: when written, how large, in which mode.
    #[command(after_help = "Example:\n  lotic checkpoint ls /var/lib/lotic/counts")]
    Ls {
        /// The checkpoint folder of a query.
        folder: PathBuf,
    },
    /// Show one checkpoint: operators, their state, where sources stand, commits that are pending.
    #[command(after_help = "Examples:\n  lotic checkpoint show state/\n  lotic checkpoint show state/ 42")]
    Show {
        /// The checkpoint folder of a query.
        folder: PathBuf,
        /// Which epoch; the newest that is whole if not given.
        epoch: Option<u64>,
    },
    /// Read everything, check every checksum, and say which epochs are whole. Exits with 1 if the newest is
    /// damaged.
    #[command(
        after_help = "Example:\n  lotic checkpoint verify state/ && lotic run counts.sql --checkpoint state/"
    )]
    Verify {
        /// The checkpoint folder of a query.
        folder: PathBuf,
    },
}

/// How statements run and how their results are shown.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    /// When epochs begin: `continuous:INTERVAL` (records flow as they come), `processing-time:INTERVAL`
    /// (micro-batches), `available-now` (what is there, in batches), `once` (in one batch).
    #[arg(long, value_name = "TRIGGER", value_parser = trigger)]
    pub(crate) trigger: Option<Trigger>,
    /// Keep checkpoints in this folder, one subfolder for each INSERT, and go on from them.
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Begin with the savepoint in this folder, which has one subfolder for each INSERT, where `--checkpoint` has
    /// nothing yet.
    #[arg(long, value_name = "DIR")]
    pub(crate) from_savepoint: Option<PathBuf>,
    /// When told to end by Ctrl-C or SIGTERM, write a savepoint to this folder, one subfolder for each INSERT.
    #[arg(long, value_name = "DIR", requires = "checkpoint")]
    pub(crate) savepoint: Option<PathBuf>,
    /// Leave the state of operators behind that the checkpoint has and the query no longer has.
    #[arg(long)]
    pub(crate) allow_non_restored_state: bool,
    /// Instances of each operator.
    #[arg(long, value_name = "N")]
    pub(crate) parallelism: Option<usize>,
    /// Change a setting; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub(crate) settings: Vec<(String, String)>,
    /// Show progress on standard error: a live line (the default on a terminal), one JSON object for each
    /// report, or nothing.
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) progress: Option<ProgressMode>,
    /// How rows are written to standard output.
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) format: RowFormat,
    /// Which rows of a streaming result come: new ones, changed ones, or all of them each epoch. The default
    /// is append where the query allows it, else update.
    #[arg(long, value_name = "MODE", value_parser = output_mode)]
    pub(crate) output_mode: Option<OutputMode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// One JSON object a line.
    Json,
    /// A line that is drawn anew.
    Bar,
    /// Nothing.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// Aligned columns under a header.
    Table,
    /// One JSON object a line.
    Json,
    /// Comma-separated values under a header.
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Nothing.
    Off,
    /// Errors.
    Error,
    /// Warnings too.
    Warn,
    /// What happens.
    Info,
    /// In detail.
    Debug,
    /// In every detail.
    Trace,
}

/// Reads a trigger.
fn trigger(text: &str) -> Result<Trigger, String> {
    let (name, interval) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
    let interval = interval.map(parse_interval).transpose().map_err(|error| error.to_string())?;
    match (name, interval) {
        ("continuous", Some(interval)) if interval.as_micros() < 1000 => {
            Err("the interval of a continuous trigger is at least 1 ms; it bounds replay, not latency"
                .to_owned())
        }
        ("continuous", Some(interval)) => Ok(Trigger::Continuous(interval)),
        ("processing-time", Some(interval)) => Ok(Trigger::ProcessingTime(interval)),
        ("processing-time", None) => Ok(Trigger::ProcessingTime(std::time::Duration::ZERO)),
        ("available-now", None) => Ok(Trigger::AvailableNow),
        ("once", None) => Ok(Trigger::Once),
        ("continuous", None) => Err("give the interval of its epochs: `continuous:1s`".to_owned()),
        ("available-now" | "once", Some(_)) => Err(format!("`{name}` takes no interval")),
        _ => Err("expected `continuous:1s`, `processing-time:100ms`, `available-now` or `once`".to_owned()),
    }
}

fn output_mode(text: &str) -> Result<OutputMode, String> {
    match text {
        "append" => Ok(OutputMode::Append),
        "update" => Ok(OutputMode::Update),
        "complete" => Ok(OutputMode::Complete),
        _ => Err("expected `append`, `update` or `complete`".to_owned()),
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as `workers=2`")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::time::Duration;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn triggers_are_read_or_refused_with_what_to_write() {
        assert_eq!(trigger("continuous:1s").unwrap(), Trigger::Continuous(Duration::from_secs(1)));
        let expected = Trigger::ProcessingTime(Duration::from_millis(100));
        assert_eq!(trigger("processing-time:100 ms").unwrap(), expected);
        assert_eq!(trigger("processing-time").unwrap(), Trigger::ProcessingTime(Duration::ZERO));
        assert_eq!(trigger("available-now").unwrap(), Trigger::AvailableNow);
        assert_eq!(trigger("once").unwrap(), Trigger::Once);
        for (wrong, told) in [
            ("continuous", "continuous:1s"),
            ("continuous:10us", "at least 1 ms"),
            ("continuous:soon", "`soon` is not an interval"),
            ("once:1s", "takes no interval"),
            ("hourly", "available-now"),
        ] {
            let error = trigger(wrong).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }
}
