//! `idle`: what a query costs that has nothing to do.

use super::lotic::LoticRun;
use super::{Load, RunConfig, RunResult, Workload};
use crate::clock::Timebase;
use crate::error::Result;
use crate::event::{Event, transform};
use crate::generator::Sent;
use crate::options::Options;
use crate::recorder::{Recorder, histogram};
use lotic::operators::Rows;

/// Steps between source and sink: with those two, eight actors.
const STEPS: usize = 6;

/// A query of eight actors, whose input is open and silent.
#[derive(Debug)]
pub(super) struct Idle;

impl Workload for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn description(&self) -> &'static str {
        "processor use of a query of 8 actors to which nothing comes"
    }

    fn cases(&self, options: &Options) -> Vec<RunConfig> {
        let triggers = options.triggers().into_iter();
        triggers.map(|trigger| options.lotic(self.name(), Load::Idle, trigger)).collect()
    }

    fn run(&self, config: &RunConfig) -> Result<RunResult> {
        let recorder = Recorder::new(config.window());
        let run = LoticRun::with_chaining(config, Timebase::new(), recorder, false)?;
        let (mut events, ingress) = run.session.ingress::<Event>("events");
        for _ in 0..STEPS {
            events = events.map(transform);
        }
        let probe = run.probe.clone();
        let query = run.start(events.for_each_batch(move |rows: &mut Rows<Event>| {
            probe.record(|now_ns, recorder| {
                for event in rows {
                    recorder.record(now_ns, event.intended_ns, event.sent_ns);
                }
            });
        }))?;
        let cpu = config.cpu_meter(&run.timebase, []);
        run.timebase.begin();
        std::thread::sleep(config.warm_up + config.duration);
        let sent = Sent { records: 0, late: histogram() };
        let result = config.result(&run.timebase, sent, run.probe.finish(), cpu)?;
        drop(ingress);
        run.await_end(&query)?;
        Ok(result)
    }
}
