//! `table`: the same query through both doors. Records are JSON text; it is parsed, filtered, projected and
//! counted by key, once by SQL over Arrow batches and once by closures over a struct.

mod door;
mod files;

pub(super) use files::TableFiles;

use super::lotic::{Feed, LoticRun};
use super::{Engine, RunConfig, RunResult, Workload};
use crate::clock::Timebase;
use crate::error::Result;
use crate::event::Event;
use crate::options::Options;
use crate::recorder::Recorder;
use lotic::OutputMode;
use lotic::operators::Rows;
use serde::Deserialize;
use std::fmt::Write;
use std::sync::Arc;

const TYPED: &str = "typed";
const SQL: &str = "sql";

/// The query. The newest times of a key are those of the record that was counted last.
const QUERY: &str = "\
    SELECT record.key AS key, count(*) AS count,
           max(record.intended_ns) AS intended_ns, max(record.sent_ns) AS sent_ns
    FROM (SELECT from_json(value, 'key BIGINT, intended_ns BIGINT, sent_ns BIGINT') AS record FROM events)
    WHERE record.key >= 0
    GROUP BY record.key";

/// The table door beside the typed one.
#[derive(Debug)]
pub(super) struct Table;

impl Workload for Table {
    fn name(&self) -> &'static str {
        "table"
    }

    fn description(&self) -> &'static str {
        "JSON text parsed, filtered, projected and counted by 10,000 keys: by SQL and by typed closures"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let cases = super::side_by_side(self.name(), options).into_iter();
        cases
            .filter(|config| config.engine == Engine::Lotic)
            .flat_map(|config| [TYPED, SQL].map(|variety| RunConfig { variety, ..config.clone() }))
            .collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        if config.variety == TYPED { typed(config) } else { sql(config) }
    }
}

/// The text of a record.
fn write_json(event: &Event, text: &mut String) {
    let Event { key, intended_ns, sent_ns } = event;
    write!(text, r#"{{"key":{key},"intended_ns":{intended_ns},"sent_ns":{sent_ns}}}"#)
        .expect("invariant: a string takes all that is written");
}

/// What the text of a record holds.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Parsed {
    key: i64,
    intended_ns: u64,
    sent_ns: u64,
}

fn typed(config: &RunConfig) -> Result<RunResult> {
    let run = LoticRun::new(config, Timebase::new(), Recorder::new(config.window()))?;
    let (events, feed) = run.events();
    let probe = run.probe.clone();
    let query = events
        .map(|event| {
            let mut text = String::with_capacity(80);
            write_json(&event, &mut text);
            text
        })
        .map(|text| serde_json::from_str::<Parsed>(&text).ok())
        .flat_map(|parsed| parsed.filter(|parsed| parsed.key >= 0))
        .key_by(|parsed| parsed.key)
        .map_with_state(|count: &mut u64, parsed: Parsed| {
            *count += 1;
            (parsed, *count)
        })
        .for_each_batch(move |rows: &mut Rows<(Parsed, u64)>| {
            probe.record(|now_ns, recorder| {
                for (parsed, _) in rows {
                    recorder.record(now_ns, parsed.intended_ns, parsed.sent_ns);
                }
            });
        });
    run.drive(query, feed, |_, _| Ok(()))
}

fn sql(config: &RunConfig) -> Result<RunResult> {
    let run = LoticRun::new(config, Timebase::new(), Recorder::new(config.window()))?;
    let failed = |error: lotic::Error| config.failed(error.to_string());
    let (source, feed) = door::Events::new(&run);
    run.session.register_format(Arc::new(source)).map_err(failed)?;
    run.session.register_format(Arc::new(door::Arrivals::new(run.probe.clone()))).map_err(failed)?;
    let events = run.session.read_stream().format(door::EVENTS).load().map_err(failed)?;
    events.create_or_replace_temp_view("events").map_err(failed)?;
    let query = run
        .session
        .sql(QUERY)
        .and_then(|counts| {
            counts.write_stream().format(door::ARRIVALS).output_mode(OutputMode::Update).query()
        })
        .map_err(failed)?;
    run.drive(query, feed, |_, _| Ok(()))
}

/// Where the records of a run come from.
type Input = (door::Origin, Feed);

fn input(run: &LoticRun<'_>) -> Input {
    use crate::options::WaitChoice;
    use crate::workload::Load;
    if run.config.load == Load::Saturated || run.config.wait == WaitChoice::Busy {
        let (factory, sent) = run.due();
        (door::Origin::Inline(Arc::new(factory)), Feed::Inline(sent))
    } else {
        let (ingress, source) = lotic::connectors::ingress::channel("events", lotic::limits::INGRESS_ROWS);
        (door::Origin::Thread(Arc::new(source)), Feed::Thread(ingress))
    }
}
