//! `nexmark`: the queries of an auction house, from the NEXMark benchmark (Tucker, Tufte, Papadimos and Maier,
//! 2002) and what Apache Beam and Apache Flink added to it. Their SQL and their documentation are in the folder
//! `nexmark` of this crate.
//!
//! Events are made before a run begins, as Arrow batches; while it runs, sources hand out slices of them as they
//! become due, so that the generator costs next to nothing. The event time of an event is its intended send time.

#[cfg(test)]
mod answers;
mod arrivals;
mod events;
mod queries;
mod release;
mod source;

use super::lotic::LoticRun;
use super::{Engine, Epochs, Load, Mode, RunConfig, RunResult, Workload};
use crate::clock::Timebase;
use crate::cpu::ThreadId;
use crate::error::Result;
use crate::options::{DURATION, EPOCH, Modes, Options, WaitChoice};
use crate::recorder::{Recorder, Window, histogram};
use crate::schedule::{Pace, Schedule};
use arrivals::{ARRIVALS, Arrivals};
use events::Events;
use lotic::Session;
use queries::{QUERIES, Query, TABLES, Timed};
use release::{Pacing, Release, ReleaseThread};
use source::Nexmark;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long queries over windows of 10 s are measured unless told otherwise: two of them close.
const WINDOWS: Duration = Duration::from_secs(22);
/// Events of a saturated run.
const SATURATED_EVENTS: u64 = 1_000_000;
/// How many of them there are in a second of event time.
const SATURATED_PER_SECOND: NonZeroU64 = NonZeroU64::new(10_000).expect("invariant: a rate is not 0");
/// Rows of a source in a micro-batch of a saturated run.
const SATURATED_BATCH_ROWS: u64 = 64 * 1024;

/// The names of the queries, for the command line.
pub(crate) fn query_names() -> impl Iterator<Item = &'static str> {
    QUERIES.iter().map(|query| query.name)
}

/// The queries asked for; all of them if none is.
fn asked(options: &Options) -> impl Iterator<Item = &'static Query> {
    let is_asked = |name| options.queries.is_empty() || options.queries.iter().any(|asked| asked == name);
    QUERIES.iter().filter(move |query| is_asked(query.name))
}

/// Latency of the queries at a rate.
#[derive(Debug)]
pub(super) struct Rated;

impl Workload for Rated {
    fn name(&self) -> &'static str {
        "nexmark"
    }

    fn description(&self) -> &'static str {
        "NEXMark by SQL: latency of each row, or from the event that closes a window to its last row"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let mut cases = Vec::new();
        for query in asked(options) {
            let own = if query.timed == Timed::Window { WINDOWS } else { DURATION };
            for load in options.loads() {
                let triggers = options.triggers().into_iter();
                cases.extend(triggers.map(|trigger| RunConfig {
                    variety: query.name,
                    duration: options.duration.unwrap_or(own),
                    ..options.lotic(self.name(), load, trigger)
                }));
            }
        }
        cases
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        let query = query_of(config)?;
        let mut schedule = Schedule::new(config.traffic().pace);
        let next = move || {
            let next_ns = schedule.next_ns();
            schedule.advance();
            next_ns
        };
        let to_ns = config.window().to_ns;
        let intended_ns = std::iter::from_fn(next).take_while(|&next_ns| next_ns < to_ns).collect();
        let pacing = if config.wait == WaitChoice::Busy { Pacing::Inline } else { Pacing::Thread };
        let result = on_lotic(config, query, Events::new(config.seed, intended_ns)?, pacing)?;
        if query.timed == Timed::Window && result.from_intended.is_empty() {
            return Err(config.failed(
                "no window was closed while it was measured: windows are of 10 s and rows are waited for by 1 s; \
                 give a longer --duration",
            ));
        }
        Ok(result)
    }
}

/// Throughput of the queries.
#[derive(Debug)]
pub(super) struct Saturated;

impl Workload for Saturated {
    fn name(&self) -> &'static str {
        "nexmark-throughput"
    }

    fn description(&self) -> &'static str {
        "NEXMark by SQL: rows per second over 1,000,000 events in memory, beside DataFusion's batch answer"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let mut triggers = Vec::new();
        if options.modes != Modes::MicroBatch {
            triggers.push((Mode::Continuous, options.epochs.unwrap_or(Epochs::Every(EPOCH))));
        }
        if options.modes != Modes::Continuous {
            triggers.push((Mode::MicroBatch, options.epochs.unwrap_or(Epochs::Every(Duration::ZERO))));
        }
        let mut cases = Vec::new();
        for query in asked(options) {
            let case = |trigger| options.lotic(self.name(), Load::Saturated, trigger);
            let batch = case((Mode::MicroBatch, Epochs::Off));
            let batch = RunConfig { engine: Engine::DataFusion, parallelism: 1, ..batch };
            let all = triggers.iter().map(|&trigger| case(trigger)).chain([batch]);
            cases.extend(all.map(|config| RunConfig { variety: query.name, ..config }));
        }
        cases
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        let query = query_of(config)?;
        let mut schedule = Schedule::new(Pace::Constant { per_second: SATURATED_PER_SECOND });
        let next = |_| {
            let next_ns = schedule.next_ns().unwrap_or_default();
            schedule.advance();
            next_ns
        };
        let events = Events::new(config.seed, (0..SATURATED_EVENTS).map(next).collect())?;
        match config.engine {
            Engine::DataFusion => on_datafusion(config, query, events),
            _ => on_lotic(config, query, events, Pacing::AtOnce),
        }
    }
}

fn query_of(config: &RunConfig) -> Result<&'static Query> {
    let query = queries::query(config.variety);
    query.ok_or_else(|| config.failed(format!("there is no query `{}` of NEXMark", config.variety)))
}

fn format(config: &RunConfig, release: &Arc<Release>) -> Arc<Nexmark> {
    let epoch_rows = if release.pacing() == Pacing::AtOnce { SATURATED_BATCH_ROWS } else { u64::MAX };
    let release = Arc::clone(release);
    Arc::new(Nexmark { release, batch_rows: config.batch_records, epoch_rows, disorder: 1 })
}

/// Rows of the tables that a query reads.
fn rows_read(query: &Query, events: &Events) -> u64 {
    query.reads.iter().map(|table| events.table(*table).num_rows() as u64).sum()
}

/// From the first event to the last row.
fn on_lotic(
    config: &RunConfig,
    query: &'static Query,
    events: Arc<Events>,
    pacing: Pacing,
) -> Result<RunResult> {
    // What comes in at once has no intended times, and so no latency.
    let window = if pacing == Pacing::AtOnce { Window { from_ns: 0, to_ns: 0 } } else { config.window() };
    let run = LoticRun::new(config, Timebase::new(), Recorder::new(window))?;
    let release = Release::new(run.timebase.clone(), Arc::clone(&events), pacing);
    let arrivals = Arrivals::new(query, Arc::clone(&release), run.probe.clone());
    let started = || -> Result<_, lotic::Error> {
        run.session.register_format(format(config, &release))?;
        run.session.register_format(Arc::new(arrivals.clone()))?;
        run.session.execute(TABLES)?;
        let rows = run.session.sql(query.sql)?;
        rows.write_stream().format(ARRIVALS).output_mode(query.mode).query()
    };
    let streaming = run.start(started().map_err(|error| run.failed(&error))?)?;
    let thread = (pacing == Pacing::Thread).then(|| ReleaseThread::start(&release)).transpose();
    let thread = thread.map_err(|error| config.failed(error.to_string()))?;
    let excluded: Vec<ThreadId> = thread.iter().filter_map(ReleaseThread::id).collect();
    let cpu = (pacing != Pacing::AtOnce).then(|| config.cpu_meter(&run.timebase, excluded));
    run.timebase.begin();
    thread.into_iter().for_each(ReleaseThread::join);
    run.await_end(&streaming)?;
    let seconds = run.timebase.now_ns() as f64 / 1e9;
    let seen = arrivals.finish(Recorder::new(window), config.parallelism);
    Ok(RunResult {
        from_intended: seen.from_intended,
        from_send: seen.from_send,
        late: release.lateness(window),
        throughput_per_s: rows_read(query, &events) as f64 / seconds,
        cpu_cores: cpu.and_then(|cpu| cpu.cores()),
        intervals: None,
        marks: Vec::new(),
        notes: Vec::new(),
        began_at: run.timebase.began_at(),
    })
}

/// The batch answer of the same text over the same events, on one thread.
fn on_datafusion(config: &RunConfig, query: &'static Query, events: Arc<Events>) -> Result<RunResult> {
    let timebase = Timebase::begun();
    let release = Release::new(timebase.clone(), Arc::clone(&events), Pacing::AtOnce);
    let answer = || -> Result<Duration, lotic::Error> {
        let session = Session::builder().app_name("nexmark").parallelism(1).get_or_create()?;
        session.set("datafusion.execution.target_partitions", "1")?;
        session.register_format(format(config, &release))?;
        session.execute(&TABLES.replace("UNBOUNDED ", ""))?;
        let rows = session.sql(query.sql)?;
        let began = Instant::now();
        rows.collect()?;
        Ok(began.elapsed())
    };
    let took = answer().map_err(|error| config.failed(error.to_string()))?;
    Ok(RunResult {
        from_intended: histogram(),
        from_send: histogram(),
        late: histogram(),
        throughput_per_s: rows_read(query, &events) as f64 / took.as_secs_f64(),
        cpu_cores: None,
        intervals: None,
        marks: Vec::new(),
        notes: Vec::new(),
        began_at: timebase.began_at(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(queries: &[&str]) -> Options {
        Options {
            queries: queries.iter().map(|&name| name.to_owned()).collect(),
            rates: vec![NonZeroU64::new(20_000).unwrap()],
            ..Options::default()
        }
    }

    #[test]
    fn queries_are_chosen_by_name() {
        let names = |options: &Options| {
            let names: Vec<String> = Rated.cases(options).iter().map(RunConfig::name).collect();
            names
        };
        assert_eq!(names(&options(&["q7"])), ["nexmark/q7"; 3]);
        assert_eq!(names(&options(&[])).len(), QUERIES.len() * 3);
        let windows = Rated.cases(&options(&["q7"])).remove(0).duration;
        let rows = Rated.cases(&options(&["q0"])).remove(0).duration;
        assert_eq!((windows, rows), (WINDOWS, DURATION));
    }

    #[test]
    fn rows_are_measured_at_a_rate_in_both_modes() {
        let options = Options { duration: Some(Duration::from_millis(200)), ..options(&["q0", "q17"]) };
        for config in Rated.cases(&options) {
            let result = Rated.run(&config).unwrap();
            // Every event of the window is a row of q0; 46 of 50 events are bids.
            let expected = 4000 * 46 / 50;
            if config.variety == "q0" {
                assert_eq!(result.from_intended.len(), expected, "{}", config.label());
            } else {
                assert!((1..=expected).contains(&result.from_intended.len()), "{}", config.label());
            }
            assert_eq!(result.late.len(), 4000);
            assert!(result.throughput_per_s > 0.0);
        }
    }

    #[test]
    fn a_saturated_run_has_a_throughput_and_no_latency() {
        let options = Options { parallelism: 2, ..options(&["q11"]) };
        let cases = Saturated.cases(&options);
        let engines: Vec<String> = cases.iter().map(RunConfig::label).collect();
        assert_eq!(engines, ["lotic continuous 100 ms", "lotic micro-batch 0 ms", "datafusion"]);
        let events = Events::new(1, (0..3000).map(|event| event * 100_000_000).collect()).unwrap();
        for config in cases {
            let (query, events) = (query_of(&config).unwrap(), Arc::clone(&events));
            let result = match config.engine {
                Engine::DataFusion => on_datafusion(&config, query, events),
                _ => on_lotic(&config, query, events, Pacing::AtOnce),
            };
            let result = result.unwrap();
            assert!(result.throughput_per_s > 0.0 && result.from_intended.is_empty(), "{}", config.label());
        }
    }

    #[test]
    fn a_run_that_closes_no_window_is_no_measurement() {
        let short = Options { duration: Some(Duration::from_millis(100)), ..options(&["q7"]) };
        let error = Rated.run(&Rated.cases(&short)[0]).unwrap_err().to_string();
        assert!(error.contains("give a longer --duration"), "{error}");
    }

    #[test]
    fn the_delay_is_that_of_the_tables() {
        let delays: Vec<&str> = TABLES.lines().filter(|line| line.contains("'watermark.delay' ")).collect();
        assert_eq!(delays.len(), 3);
        assert!(delays.iter().all(|line| line.contains("'watermark.delay' '1 second'")));
        assert_eq!(queries::DELAY_US, 1_000_000);
    }
}
