//! The peer: timely dataflow 0.32, one worker that spins, in the same open loop.
//!
//! The program is written as timely's own `examples/openloop.rs` is: the records that are due go in as one
//! batch, time advances, the worker steps. Records carry their times, and the sink reads the clock once for
//! each container, as Lotic's does.

use crate::clock::Timebase;
use crate::error::Result;
use crate::event::{Counted, Counts, Event, is_kept, transform};
use crate::generator::{DueRecords, Sent};
use crate::recorder::{Recorded, Recorder};
use crate::workload::{RunConfig, RunResult};
use std::cell::RefCell;
use std::rc::Rc;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Input;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::{InputHandleVec, Scope, StreamVec};
use timely::worker::Worker;

/// `pass-through`: map and filter, each an operator of its own.
///
/// # Errors
/// If records were lost.
pub fn pass_through(config: &RunConfig) -> Result<RunResult> {
    execute(config, |scope, input, sink| {
        let kept = scope.input_from(input).map(transform).filter(is_kept);
        record(kept, sink, |event| (event.intended_ns, event.sent_ns));
    })
}

/// `keyed-count`: a hash map of running counts in one operator, which emits each.
///
/// # Errors
/// If records were lost.
pub fn keyed_count(config: &RunConfig) -> Result<RunResult> {
    execute(config, |scope, input, sink| {
        let counted = scope.input_from(input).unary(Pipeline, "Count", |_, _| {
            let mut counts = Counts::default();
            move |input, output| {
                input.for_each_stamp(|stamp, containers| {
                    let events = containers.flat_map(|container| container.drain(..));
                    output.session(&stamp).give_iterator(events.map(|event| counts.add(event)));
                });
            }
        });
        record(counted, sink, |counted: &Counted| (counted.intended_ns, counted.sent_ns));
    })
}

type Sink = Rc<RefCell<(Timebase, Recorder)>>;
type Events = InputHandleVec<u64, Event>;

/// Records the latency of everything that arrives.
fn record<D: 'static>(
    stream: StreamVec<'_, u64, D>,
    sink: &Sink,
    times: impl Fn(&D) -> (u64, u64) + 'static,
) {
    let sink = Rc::clone(sink);
    stream.sink(Pipeline, "Record", move |(input, _)| {
        let (timebase, recorder) = &mut *sink.borrow_mut();
        input.for_each(|_, container| {
            let now_ns = timebase.now_ns();
            for result in container.drain(..) {
                let (intended_ns, sent_ns) = times(&result);
                recorder.record(now_ns, intended_ns, sent_ns);
            }
        });
    });
}

/// Runs a dataflow on one worker, which spins: what is due goes in, time advances, the worker steps.
fn execute(
    config: &RunConfig,
    build: impl for<'scope> FnOnce(Scope<'scope, u64>, &mut Events, &Sink) + Send + Sync + 'static,
) -> Result<RunResult> {
    let timebase = Timebase::new();
    let cpu = config.cpu_meter(&timebase, []);
    let (due, recorder) = (DueRecords::new(config.traffic()), Recorder::new(config.window()));
    let (clock, batch_records) = (timebase.clone(), config.batch_records);
    let (sent, seen) =
        timely::execute_directly(move |worker| drive(worker, clock, (due, batch_records), recorder, build));
    config.result(&timebase, sent, seen, cpu)
}

fn drive(
    worker: &mut Worker,
    timebase: Timebase,
    (mut due, batch_records): (DueRecords, usize),
    recorder: Recorder,
    build: impl for<'scope> FnOnce(Scope<'scope, u64>, &mut Events, &Sink),
) -> (Sent, Recorded) {
    let sink: Sink = Rc::new(RefCell::new((timebase.clone(), recorder)));
    let mut input = Events::new();
    worker.dataflow(|scope| build(scope, &mut input, &sink));
    worker.step();
    timebase.begin();
    let mut batch = Vec::with_capacity(batch_records);
    while due.next_ns().is_some() {
        let now_ns = timebase.now_ns();
        if due.take_due(now_ns, batch_records, &mut batch) > 0 {
            input.send_batch(&mut batch);
            batch.clear();
            input.advance_to(now_ns + 1);
        }
        worker.step();
    }
    input.close();
    while worker.step() {}
    let recorder = sink.borrow().1.clone();
    (due.finish(), recorder.finish())
}
