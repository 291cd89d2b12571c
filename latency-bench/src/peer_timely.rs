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
use crate::window_ends::WindowEnds;
use crate::workload::{RunConfig, RunResult};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Capability, Input};
use timely::dataflow::{InputHandleVec, Scope, StreamVec};
use timely::worker::Worker;

/// `pass-through`: map and filter, each an operator of its own.
///
/// # Errors
/// If records were lost.
pub fn pass_through(config: &RunConfig) -> Result<RunResult> {
    execute(config, Recorder::new(config.window()), |scope, input, sink| {
        let kept = scope.input_from(input).map(transform).filter(is_kept);
        record(kept, sink, |event| (event.intended_ns, event.sent_ns));
    })
}

/// `keyed-count`: a hash map of running counts in one operator, which emits each.
///
/// # Errors
/// If records were lost.
pub fn keyed_count(config: &RunConfig) -> Result<RunResult> {
    execute(config, Recorder::new(config.window()), |scope, input, sink| {
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

/// `window-end`: counts by window in one operator, which emits those of a window once the input's frontier has
/// reached its end.
///
/// # Errors
/// If records were lost.
pub fn window_end(config: &RunConfig, window_ns: u64) -> Result<RunResult> {
    execute(config, WindowEnds::new(config.window()), move |scope, input, sink| {
        let counted = scope.input_from(input).unary_frontier(Pipeline, "Window", move |_, _| {
            let mut open: BTreeMap<u64, (Capability<u64>, Counts)> = BTreeMap::new();
            move |(input, frontier), output| {
                let port = output.output_index();
                input.for_each_stamp(|stamp, containers| {
                    for event in containers.flat_map(|container| container.drain(..)) {
                        let end_ns = (event.intended_ns / window_ns + 1) * window_ns;
                        let begin =
                            || (stamp.delayed(&end_ns.max(event.sent_ns + 1), port), Counts::default());
                        open.entry(end_ns).or_insert_with(begin).1.add(event);
                    }
                });
                while let Some(window) = open.first_entry()
                    && !frontier.less_than(window.key())
                {
                    let (end_ns, (capability, mut counts)) = window.remove_entry();
                    let closed = counts.drain().map(|(key, count)| Counted {
                        key,
                        count,
                        intended_ns: end_ns,
                        sent_ns: end_ns,
                    });
                    output.session(&capability).give_iterator(closed);
                }
            }
        });
        consume(counted, sink, |ends, now_ns, counted| ends.row(now_ns, counted.intended_ns, counted.count));
    })
}

type Sink<S> = Rc<RefCell<(Timebase, S)>>;
type Events = InputHandleVec<u64, Event>;

/// Records the latency of everything that arrives.
fn record<D: 'static>(
    stream: StreamVec<'_, u64, D>,
    sink: &Sink<Recorder>,
    times: impl Fn(&D) -> (u64, u64) + 'static,
) {
    consume(stream, sink, move |recorder, now_ns, result| {
        let (intended_ns, sent_ns) = times(&result);
        recorder.record(now_ns, intended_ns, sent_ns);
    });
}

/// Tells the sink of everything that arrives, with the time, which is read once for each container.
fn consume<D: 'static, S: 'static>(
    stream: StreamVec<'_, u64, D>,
    sink: &Sink<S>,
    take: impl Fn(&mut S, u64, D) + 'static,
) {
    let sink = Rc::clone(sink);
    stream.sink(Pipeline, "Record", move |(input, _)| {
        let (timebase, into) = &mut *sink.borrow_mut();
        input.for_each(|_, container| {
            let now_ns = timebase.now_ns();
            container.drain(..).for_each(|result| take(into, now_ns, result));
        });
    });
}

/// Runs a dataflow on one worker, which spins: what is due goes in, time advances, the worker steps.
fn execute<S: Seen>(
    config: &RunConfig,
    sink: S,
    build: impl for<'scope> FnOnce(Scope<'scope, u64>, &mut Events, &Sink<S>) + Send + Sync + 'static,
) -> Result<RunResult> {
    let timebase = Timebase::new();
    let cpu = config.cpu_meter(&timebase, []);
    let due = DueRecords::new(config.traffic());
    let (clock, batch_records) = (timebase.clone(), config.batch_records);
    let (sent, seen) =
        timely::execute_directly(move |worker| drive(worker, clock, (due, batch_records), sink, build));
    config.result(&timebase, sent, seen, cpu)
}

fn drive<S: Seen>(
    worker: &mut Worker,
    timebase: Timebase,
    (mut due, batch_records): (DueRecords, usize),
    sink: S,
    build: impl for<'scope> FnOnce(Scope<'scope, u64>, &mut Events, &Sink<S>),
) -> (Sent, Recorded) {
    let sink: Sink<S> = Rc::new(RefCell::new((timebase.clone(), sink)));
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
    let seen = sink.borrow().1.clone();
    (due.finish(), seen.finish())
}

/// What a sink keeps.
trait Seen: Clone + Send + Sync + 'static {
    fn finish(self) -> Recorded;
}

impl Seen for Recorder {
    fn finish(self) -> Recorded {
        Recorder::finish(self)
    }
}

impl Seen for WindowEnds {
    fn finish(self) -> Recorded {
        WindowEnds::finish(self)
    }
}
