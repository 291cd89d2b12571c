//! `kafka-stateless`, `kafka-grouped`, `kafka-join`: from a topic of Apache Kafka, through a query, to another.
//!
//! A producer outside the engine sends records of 1.2 kB to the input topic, open loop, and puts the intended
//! and the actual send time into a header, which the query hands on. A consumer outside the engine reads the
//! output topic with `read_committed` and tells the latency when a record comes to it. Every record has a
//! number, so that one which is lost, comes twice or out of order within its key is found.
//!
//! There are two floors. `floor` is the broker's own: the same producer, and the same consumer on the input
//! topic. `floor, at-least-once` goes through the broker twice, as every query does from topic to topic: a plain
//! loop reads each record and writes it. The rows of Lotic are at least once and exactly once. Each run has topics of its own, which are deleted after it.
//!
//! Producer and consumer are threads of this process and share its clock. Neither spins, so that the broker, if
//! it is on the same machine, has the processors; "sender late" says what that costs. Their threads, and those
//! of librdkafka behind them, do not count as processors in use, and neither does the broker.
//!
//! | module | what it holds |
//! |---|---|
//! | `broker`, `topics` | what it runs over |
//! | `payload`, `sender` | what is sent |
//! | `tally`, `reader` | what arrives |
//! | `query`, `relay` | what is in between: Lotic, or a plain loop |

mod broker;
mod payload;
mod query;
mod reader;
mod relay;
mod sender;
mod tally;
mod topics;

pub use broker::Broker;

use super::lotic::LoticRun;
use super::{Delivery, Engine, Epochs, Load, Mode, RunConfig, RunResult, Workload};
use crate::clock::Timebase;
use crate::cpu;
use crate::error::Result;
use crate::generator::Sent;
use crate::options::{EPOCH, Modes, Options};
use crate::recorder::Recorder;
use lotic::StreamingQuery;
use query::Program;
use reader::Reader;
use relay::Relay;
use sender::Sender;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};
use topics::Topics;

/// Long enough for many epochs, and for a tail at 10,000 records per second.
const DURATION: Duration = Duration::from_secs(5);
/// The engine and the clients connect, the broker compiles.
const WARM_UP: Duration = Duration::from_secs(2);
/// Unless told otherwise.
const RATE: NonZeroU64 = NonZeroU64::new(10_000).expect("invariant: not 0");
/// Epochs of the exactly-once rows in continuous mode, unless told otherwise.
const EPOCHS_MS: [u64; 3] = [10, 50, 100];
/// How long nothing may arrive, once all is sent, before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often to look whether all has arrived.
const LOOK: Duration = Duration::from_millis(5);
/// How long to listen for records that come again, after the query has ended.
const ECHO: Duration = Duration::from_millis(300);

/// A: truncate and encode.
pub(super) static STATELESS: KafkaToKafka = KafkaToKafka(Program::Stateless);
/// B: count by value.
pub(super) static GROUPED: KafkaToKafka = KafkaToKafka(Program::Grouped);
/// C: look up.
pub(super) static JOIN: KafkaToKafka = KafkaToKafka(Program::Join);

/// One of the programs, over a broker.
#[derive(Debug)]
pub(super) struct KafkaToKafka(Program);

impl Workload for KafkaToKafka {
    fn name(&self) -> &'static str {
        match self.0 {
            Program::Stateless => "kafka-stateless",
            Program::Grouped => "kafka-grouped",
            Program::Join => "kafka-join",
        }
    }

    fn description(&self) -> &'static str {
        match self.0 {
            Program::Stateless => "Kafka to Kafka, 1.2 kB: truncated and encoded in base64",
            Program::Grouped => "Kafka to Kafka, 1.2 kB: grouped by value and counted",
            Program::Join => "Kafka to Kafka, 1.2 kB: joined with a static table of 10,000 rows",
        }
    }

    fn needs_broker(&self) -> bool {
        true
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let rates = if options.rates.is_empty() { &[RATE][..] } else { &options.rates };
        let duration = options.duration.unwrap_or(DURATION);
        let at = |&rate: &NonZeroU64| {
            let load = Load::PerSecond(rate);
            let floor = options.lotic(self.name(), load, (Mode::Continuous, Epochs::Off));
            let floor = RunConfig { engine: Engine::Floor, ..floor };
            let relay = RunConfig { delivery: Some(Delivery::AtLeastOnce), ..floor.clone() };
            let ours = ways(options).into_iter().map(move |(delivery, mode, epochs)| RunConfig {
                delivery: Some(delivery),
                ..options.lotic(self.name(), load, (mode, epochs))
            });
            [floor, relay].into_iter().chain(ours)
        };
        let cases = rates.iter().flat_map(at);
        cases.map(|config| RunConfig { duration, warm_up: WARM_UP, ..config }).collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        match config.engine {
            Engine::Lotic | Engine::Floor => run(self.0, config),
            Engine::Timely | Engine::DataFusion => {
                Err(config.failed("there is no such program for this engine"))
            }
        }
    }
}

/// The rows of Lotic. Exactly once needs epochs that are committed.
fn ways(options: &Options) -> Vec<(Delivery, Mode, Epochs)> {
    let every = |millis| Epochs::Every(Duration::from_millis(millis));
    let usual = options.epochs.unwrap_or(Epochs::Every(EPOCH));
    let committed = match options.epochs {
        None => EPOCHS_MS.map(every).to_vec(),
        Some(Epochs::Off) => Vec::new(),
        Some(asked) => vec![asked],
    };
    let mut ways = Vec::new();
    if options.modes != Modes::MicroBatch {
        ways.push((Delivery::AtLeastOnce, Mode::Continuous, usual));
        ways.extend(committed.iter().map(|&epochs| (Delivery::ExactlyOnce, Mode::Continuous, epochs)));
    }
    if options.modes != Modes::Continuous {
        ways.push((Delivery::AtLeastOnce, Mode::MicroBatch, usual));
        ways.extend((!committed.is_empty()).then_some((Delivery::ExactlyOnce, Mode::MicroBatch, usual)));
    }
    ways
}

fn run(program: Program, config: &RunConfig) -> Result<RunResult> {
    let topics = Topics::create(config)?;
    let timebase = Timebase::new();
    let is_floor = config.engine == Engine::Floor;
    let read = if is_floor && config.delivery.is_none() { &topics.input } else { &topics.output };
    let reader = Reader::start(config, &topics, read, &timebase)?;
    let sender = Sender::connect(config, &topics, &timebase)?;
    // All that runs by now is the instrument's.
    let excluded = cpu::all_threads();
    let relay = (is_floor && config.delivery.is_some()).then(|| Relay::start(&topics)).transpose()?;
    let engine = match is_floor {
        true => None,
        false => Some(LoticRun::new(config, timebase.clone(), Recorder::new(config.window()))?),
    };
    let query = engine.as_ref().map(|run| query::start(program, run, &topics)).transpose()?;
    let cpu = config.cpu_meter(&timebase, excluded);
    timebase.begin();
    let sent = sender.join().map_err(|cause| config.failed(cause))?;
    await_all(config, &sent, &reader, query.as_ref())?;
    if let Some(query) = &query {
        query.stop().map_err(|error| config.failed(error.to_string()))?;
    }
    drop(relay);
    let (seen, tally) = reader.finish(ECHO);
    tally.check(config.delivery).map_err(|cause| config.failed(cause))?;
    let mut result = config.result(&timebase, sent, seen.finish(), cpu)?;
    result.notes.push(match (is_floor, config.delivery) {
        (true, None) => "the same producer and consumer on one topic, with no engine between".to_owned(),
        (true, Some(_)) => "a plain loop of consumer and producer: twice through the broker".to_owned(),
        (false, _) => tally.note(),
    });
    Ok(result)
}

/// Waits until every record that was sent has arrived.
fn await_all(config: &RunConfig, sent: &Sent, reader: &Reader, query: Option<&StreamingQuery>) -> Result<()> {
    let (mut arrived, mut since) = (reader.arrived(), Instant::now());
    while arrived < sent.records {
        if let Some(error) = query.and_then(StreamingQuery::exception) {
            return Err(config.failed(error.to_string()));
        }
        if since.elapsed() > PATIENCE {
            let trouble =
                reader.trouble().map_or(String::new(), |said| format!("; the consumer said: {said}"));
            return Err(config.failed(format!(
                "{} records were sent, {arrived} arrived, and for {} s no more{trouble}",
                sent.records,
                PATIENCE.as_secs()
            )));
        }
        std::thread::sleep(LOOK);
        let now = reader.arrived();
        if now > arrived {
            (arrived, since) = (now, Instant::now());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(options: &Options) -> Vec<String> {
        STATELESS.cases(options).iter().map(RunConfig::label).collect()
    }

    #[test]
    fn the_floor_stands_beside_every_way() {
        let expected = [
            "floor",
            "floor, at-least-once",
            "lotic continuous 100 ms, at-least-once",
            "lotic continuous 10 ms, exactly-once",
            "lotic continuous 50 ms, exactly-once",
            "lotic continuous 100 ms, exactly-once",
            "lotic micro-batch 100 ms, at-least-once",
            "lotic micro-batch 100 ms, exactly-once",
        ];
        assert_eq!(labels(&Options::default()), expected);
        let cases = STATELESS.cases(&Options::default());
        assert!(cases.iter().all(|config| config.load == Load::PerSecond(RATE)));
    }

    #[test]
    fn an_epoch_that_was_asked_for_is_the_only_one() {
        let every = |millis| Some(Epochs::Every(Duration::from_millis(millis)));
        let continuous = Options { epochs: every(20), modes: Modes::Continuous, ..Options::default() };
        let expected = [
            "floor",
            "floor, at-least-once",
            "lotic continuous 20 ms, at-least-once",
            "lotic continuous 20 ms, exactly-once",
        ];
        assert_eq!(labels(&continuous), expected);
        let as_fast_as_possible =
            Options { epochs: every(0), modes: Modes::MicroBatch, ..Options::default() };
        let expected = [
            "floor",
            "floor, at-least-once",
            "lotic micro-batch 0 ms, at-least-once",
            "lotic micro-batch 0 ms, exactly-once",
        ];
        assert_eq!(labels(&as_fast_as_possible), expected);
    }

    #[test]
    fn without_checkpoints_nothing_is_exactly_once() {
        let options = Options { epochs: Some(Epochs::Off), modes: Modes::Continuous, ..Options::default() };
        assert_eq!(
            labels(&options),
            ["floor", "floor, at-least-once", "lotic continuous, no checkpoints, at-least-once"]
        );
    }
}
