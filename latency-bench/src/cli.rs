//! The command line.

use crate::compare::compare;
use crate::environment::Machine;
use crate::error::{Error, Result};
use crate::http_client::HttpArguments;
use crate::options::{Modes, Options, RUNS, WaitChoice};
use crate::report::{Measured, Report, table, write_folder};
use crate::workload::{Epochs, WORKLOADS, Workload, socket};
use crate::{runner, self_test};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What is measured without arguments.
const HEADLINE: &str = "keyed-count";

/// Latency of Lotic: open loop, from intended send times. Without arguments it compares continuous with
/// micro-batch mode on the keyed count, with checkpoints, at 10,000 and 100,000 records/s, in under 90 s.
#[derive(Debug, Parser)]
#[command(name = "lotic-latency-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the workloads.
    List,
    /// Compare two reports: ratios of the medians, and whether they can be told from noise.
    Compare {
        /// The report before.
        #[arg(value_name = "A.json")]
        before: PathBuf,
        /// The report after.
        #[arg(value_name = "B.json")]
        after: PathBuf,
    },
    /// Load a service with POST requests, open loop, and print its latency.
    Http(HttpArguments),
    /// Inject a stall and check that the instrument sees it; exit code 1 if it does not.
    SelfTest,
    /// The sending process of the workload `socket`.
    #[command(name = socket::SENDER, hide = true)]
    SendLines(socket::SenderArguments),
}

#[derive(Debug, Args)]
struct RunArguments {
    /// What to measure; may be given several times [default: keyed-count]
    #[arg(long = "workload", value_name = "NAME", value_parser = names())]
    workloads: Vec<String>,
    /// Which mode of the engine
    #[arg(long, value_enum, default_value_t)]
    mode: Modes,
    /// Offered records per second; may be given several times [default: 10000 and 100000]
    #[arg(long = "rate", value_name = "N")]
    rates: Vec<NonZeroU64>,
    /// How long each run is measured [default: 1.5, longer for some workloads]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Runs of each configuration
    #[arg(long, value_name = "N", default_value_t = RUNS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Instances of each stage
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parallelism)]
    parallelism: usize,
    /// How an actor without work waits
    #[arg(long, value_enum, default_value_t)]
    wait: WaitChoice,
    /// Milliseconds between epochs, or off for no checkpoints [default: 100, and 0 in micro-batch mode as well]
    #[arg(long, value_name = "MS|off", value_parser = epoch)]
    epoch: Option<Epochs>,
    /// Brokers of the kafka- workloads [default: $LOTIC_TEST_KAFKA, or a test broker that is started and stopped]
    #[arg(long, value_name = "HOST:PORT", value_parser = bootstrap)]
    bootstrap: Option<String>,
    /// Queries of the nexmark workloads, q0 to q22; may be given several times [default: all]
    #[cfg(any(test, feature = "tables"))]
    #[arg(long = "query", value_name = "NAME", value_parser = query_names())]
    queries: Vec<String>,
    /// Measure other engines too (needs the feature `peers`)
    #[arg(long)]
    peers: bool,
    /// Records at random distances (Poisson) instead of equal ones
    #[arg(long)]
    poisson: bool,
    /// Seed of keys and schedules
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write report.json, report.html, .hgrm and .hlog files into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the report as JSON into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(WORKLOADS.iter().map(|workload| workload.name()))
}

#[cfg(any(test, feature = "tables"))]
fn query_names() -> PossibleValuesParser {
    PossibleValuesParser::new(crate::workload::nexmark::query_names())
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give seconds, from 0.05 to 86400".to_owned()),
    }
}

fn parallelism(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=128).contains(count))
        .ok_or_else(|| "give a number from 1 to 128".to_owned())
}

fn epoch(text: &str) -> Result<Epochs, String> {
    if text == "off" {
        return Ok(Epochs::Off);
    }
    let millis = text.parse::<u64>().ok().filter(|&millis| millis <= 3_600_000);
    millis
        .map(|millis| Epochs::Every(Duration::from_millis(millis)))
        .ok_or_else(|| "give milliseconds or `off`".to_owned())
}

fn bootstrap(text: &str) -> Result<String, String> {
    let is_address = |address: &str| {
        let (host, port) = address.trim().rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().ok()? > 0).then_some(())
    };
    match text.split(',').all(|address| is_address(address).is_some()) {
        true => Ok(text.to_owned()),
        false => Err("give host:port, several separated by commas".to_owned()),
    }
}

impl RunArguments {
    fn options(&self) -> Options {
        Options {
            modes: self.mode,
            rates: self.rates.clone(),
            duration: self.duration,
            runs: self.runs,
            parallelism: self.parallelism,
            wait: self.wait,
            epochs: self.epoch,
            poisson: self.poisson,
            peers: self.peers,
            seed: self.seed,
            bootstrap: self.bootstrap.clone(),
            queries: self.queries(),
        }
    }

    #[cfg(any(test, feature = "tables"))]
    fn queries(&self) -> Vec<String> {
        self.queries.clone()
    }

    #[cfg(not(any(test, feature = "tables")))]
    fn queries(&self) -> Vec<String> {
        Vec::new()
    }

    fn check(&self) -> Result<()> {
        if self.peers && !cfg!(feature = "peers") {
            return Err(Error::Input("--peers needs a build with `--features peers`".to_owned()));
        }
        if self.bootstrap.is_some() && !cfg!(feature = "kafka") {
            return Err(Error::Input("--bootstrap needs a build with `--features kafka`".to_owned()));
        }
        if self.bootstrap.is_some() && !self.workloads().iter().any(|workload| workload.needs_broker()) {
            return Err(Error::Input(
                "--bootstrap is for workloads over Apache Kafka, such as --workload kafka-stateless"
                    .to_owned(),
            ));
        }
        let of_nexmark = |workload: &&dyn Workload| workload.name().starts_with("nexmark");
        if !self.queries().is_empty() && !self.workloads().iter().any(of_nexmark) {
            return Err(Error::Input(
                "--query is for the queries of NEXMark: add --workload nexmark or nexmark-throughput"
                    .to_owned(),
            ));
        }
        if self.epoch == Some(Epochs::Every(Duration::ZERO)) && self.mode != Modes::MicroBatch {
            return Err(Error::Input("--epoch 0 is for --mode micro-batch: as fast as possible".to_owned()));
        }
        Ok(())
    }

    fn workloads(&self) -> Vec<&'static dyn Workload> {
        let asked = |workload: &&'static dyn Workload| match self.workloads.is_empty() {
            true => workload.name() == HEADLINE,
            false => self.workloads.iter().any(|name| name == workload.name()),
        };
        WORKLOADS.iter().copied().filter(asked).collect()
    }

    fn run(&self) -> Result<()> {
        self.check()?;
        let options = self.options();
        let machine = Machine::observe(&options);
        let measured = measure(&self.workloads(), options)?;
        print!("{}", table::render(&machine, &measured));
        let rows = measured.iter().flat_map(|one| one.rows.iter().cloned()).collect();
        let report = Report { machine, rows };
        if let Some(file) = &self.json {
            report.write(file)?;
        }
        if let Some(folder) = &self.out {
            write_folder(folder, &report, &measured)?;
            println!("\nWritten: {}", folder.join("report.html").display());
        }
        Ok(())
    }
}

/// Runs the workloads, over a broker if one of them needs it.
#[cfg(feature = "kafka")]
fn measure(workloads: &[&'static dyn Workload], mut options: Options) -> Result<Vec<Measured>> {
    let broker = match workloads.iter().any(|workload| workload.needs_broker()) {
        true => Some(crate::workload::kafka::Broker::open(options.bootstrap.as_deref())?),
        false => None,
    };
    options.bootstrap = broker.as_ref().map(|broker| broker.bootstrap().to_owned());
    runner::run(workloads, &options)
}

#[cfg(not(feature = "kafka"))]
fn measure(workloads: &[&'static dyn Workload], options: Options) -> Result<Vec<Measured>> {
    runner::run(workloads, &options)
}

impl Command {
    fn run(&self) -> Result<bool> {
        match self {
            Command::List => {
                for workload in WORKLOADS {
                    println!("{:<18} {}", workload.name(), workload.description());
                }
                Ok(true)
            }
            Command::Compare { before, after } => {
                println!("{}", compare(&Report::read(before)?, &Report::read(after)?));
                Ok(true)
            }
            Command::SendLines(arguments) => {
                let sent = socket::send_lines(arguments);
                sent.map(|()| true).map_err(|error| Error::Input(format!("sending lines: {error}")))
            }
            Command::Http(arguments) => arguments.run().map(|()| true),
            Command::SelfTest => {
                let findings = self_test::run();
                for finding in &findings {
                    println!("{}  {}", if finding.holds { "ok  " } else { "FAIL" }, finding.what);
                }
                Ok(findings.iter().all(|finding| finding.holds))
            }
        }
    }
}

/// Does what the command line says. Exit code 0: done; 1: a run or the self-test failed; 2: the input is
/// wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(command) => command.run(),
        None => cli.run.run().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_documented_command_line_is_understood() {
        Cli::command().debug_assert();
        let cli = parse(
            "bench --workload keyed-count --workload pass-through --mode both --rate 10000 --rate 50000 --duration 2.5 \
             --runs 3 --parallelism 2 --wait busy --epoch 10 --peers --seed 7 --out there --json file.json",
        )
        .unwrap();
        let options = cli.run.options();
        assert_eq!(options.rates.len(), 2);
        assert_eq!(options.duration, Some(Duration::from_millis(2500)));
        assert_eq!(
            (options.epochs, options.wait),
            (Some(Epochs::Every(Duration::from_millis(10))), WaitChoice::Busy)
        );
        let names: Vec<&str> = cli.run.workloads().iter().map(|workload| workload.name()).collect();
        assert_eq!(names, ["pass-through", "keyed-count"]);
        for line in
            ["bench list", "bench compare a b", "bench self-test", "bench --mode micro-batch --epoch off"]
        {
            parse(line).unwrap();
        }
    }

    #[test]
    fn without_arguments_it_is_the_headline() {
        let cli = parse("bench").unwrap();
        let names: Vec<&str> = cli.run.workloads().iter().map(|workload| workload.name()).collect();
        assert_eq!((cli.command.is_none(), names), (true, vec![HEADLINE]));
    }

    #[test]
    fn a_misspelt_workload_is_told_the_nearest_and_exits_with_2() {
        let error = parse("bench --workload keyd-count").unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (ErrorKind::InvalidValue, 2));
        let text = error.to_string();
        assert!(text.contains("similar value exists: 'keyed-count'"), "{text}");
    }

    #[test]
    fn nonsense_is_refused_with_2() {
        for line in [
            "bench --rate 0",
            "bench --duration -1",
            "bench --duration soon",
            "bench --runs 0",
            "bench --parallelism 129",
            "bench --epoch sometimes",
            "bench --bootstrap broker",
            "bench --bootstrap broker:0,other:9092",
            "bench --mode batch",
            "bench --workload nexmark --query q99",
            "bench compare a",
            "bench list --runs 2",
        ] {
            assert_eq!(parse(line).map(|_| ()).unwrap_err().exit_code(), 2, "{line}");
        }
        let unused = parse("bench --bootstrap one:9092,two:9092").unwrap().run.check().unwrap_err();
        assert_eq!(unused.exit_code(), 2, "no workload over a broker is asked for");
        let unused = parse("bench --query q5").unwrap().run.check().unwrap_err();
        assert_eq!(unused.exit_code(), 2, "no workload of NEXMark is asked for");
        let zero = parse("bench --epoch 0").unwrap().run.check().unwrap_err();
        assert_eq!(zero.exit_code(), 2);
        let missing = Report::read(std::path::Path::new("no/such/report.json")).unwrap_err();
        assert_eq!(missing.exit_code(), 2);
        assert!(missing.to_string().contains("no/such/report.json"), "{missing}");
    }
}
