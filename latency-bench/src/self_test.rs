//! `self-test`: proves that the instrument is not blind. A made-up pipeline stops once, at a known time and
//! for a known while; the latency from intended send times must show it, and the latency from actual send
//! times, which a closed loop would report, must not.

use crate::clock::Timebase;
use crate::event::Event;
use crate::generator::{DueRecords, Sent, Traffic, send_all};
use crate::recorder::{Recorded, Recorder, Window};
use crate::report::micros;
use crate::report::table::microseconds;
use crate::schedule::{Pace, Share};
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::time::Duration;

const WINDOW: Window = Window { from_ns: 100_000_000, to_ns: 1_100_000_000 };
const PER_SECOND: NonZeroU64 = NonZeroU64::new(10_000).expect("invariant: not 0");
/// Long enough that it holds up 15 % of the records, and longer than a busy host's own stalls.
const STALL: Duration = Duration::from_millis(150);
const STALL_AT_NS: u64 = 500_000_000;

/// What the test found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was checked, with the figures.
    pub what: String,
    /// Whether it is as it must be.
    pub holds: bool,
}

/// Runs both forms of the generator at both paces, with and without the stall.
#[must_use]
pub fn run() -> Vec<Finding> {
    let paces = [
        ("constant", Pace::Constant { per_second: PER_SECOND }),
        ("Poisson", Pace::Poisson { per_second: PER_SECOND, seed: 1 }),
    ];
    let mut findings = Vec::new();
    for (name, pace) in paces {
        let traffic = Traffic { pace, share: Share::ALL, keys: 100, seed: 1, window: WINDOW };
        let calm = pushed(traffic, Duration::ZERO);
        findings.push(calm_is_calm(name, &calm.1));
        findings.extend(stall_is_seen(&format!("{name}, pushed"), &pushed(traffic, STALL)));
        findings.extend(stall_is_seen(&format!("{name}, polled"), &polled(traffic, STALL)));
    }
    findings
}

/// The made-up pipeline: takes each record, and stops once.
struct Pipeline {
    timebase: Timebase,
    recorder: Recorder,
    stall: Option<Duration>,
}

impl Pipeline {
    fn new(stall: Duration) -> Pipeline {
        let stall = (!stall.is_zero()).then_some(stall);
        Pipeline { timebase: Timebase::begun(), recorder: Recorder::new(WINDOW), stall }
    }

    fn take(&mut self, event: Event) {
        if event.intended_ns >= STALL_AT_NS
            && let Some(stall) = self.stall.take()
        {
            std::thread::sleep(stall);
        }
        self.recorder.record(self.timebase.now_ns(), event.intended_ns, event.sent_ns);
    }
}

/// The generator pushes, and waits when the pipeline does: its actual send times fall behind.
fn pushed(traffic: Traffic, stall: Duration) -> (Sent, Recorded) {
    let mut pipeline = Pipeline::new(stall);
    let sent = send_all(&pipeline.timebase.clone(), DueRecords::new(traffic), |event| {
        pipeline.take(event);
        ControlFlow::Continue(())
    });
    (sent, pipeline.recorder.finish())
}

/// The pipeline polls, and does not while it stops.
fn polled(traffic: Traffic, stall: Duration) -> (Sent, Recorded) {
    let mut pipeline = Pipeline::new(stall);
    let mut due = DueRecords::new(traffic);
    let mut batch = Vec::new();
    while due.next_ns().is_some() {
        due.take_due(pipeline.timebase.now_ns(), 64, &mut batch);
        for event in batch.drain(..) {
            pipeline.take(event);
        }
        std::hint::spin_loop();
    }
    (due.finish(), pipeline.recorder.finish())
}

fn calm_is_calm(name: &str, seen: &Recorded) -> Finding {
    let p50 = micros(seen.from_intended.value_at_quantile(0.5));
    let what =
        format!("{name}: without a stall half of the records take under 15 ms ({} us)", microseconds(p50));
    Finding { what, holds: p50 < STALL.as_micros() as f64 / 10.0 }
}

fn stall_is_seen(name: &str, (sent, seen): &(Sent, Recorded)) -> Vec<Finding> {
    let at = |quantile| micros(seen.from_intended.value_at_quantile(quantile));
    let (p97, max) = (at(0.97), at(1.0));
    let from_send_p97 = micros(seen.from_send.value_at_quantile(0.97));
    let late_p97 = micros(sent.late.value_at_quantile(0.97));
    let stall = STALL.as_micros() as f64;
    let finding = |holds, what: String| Finding { what: format!("{name}: {what}"), holds };
    vec![
        finding(sent.records == seen.seen, format!("{} records sent, {} arrived", sent.records, seen.seen)),
        finding(
            max >= stall * 0.98,
            format!("the slowest record waited for the whole stall ({} us)", microseconds(max)),
        ),
        // The slowest 3 % of all records are those that waited for more than four fifths of the stall.
        finding(
            p97 >= stall * 0.7,
            format!("so did many others: p97 from intended times is {} us", microseconds(p97)),
        ),
        finding(
            from_send_p97 < p97 / 4.0,
            format!("p97 from actual send times does not show it ({} us)", microseconds(from_send_p97)),
        ),
        finding(
            late_p97 >= stall * 0.7,
            format!("the generator owns up to sending late (p97 {} us)", microseconds(late_p97)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instrument_sees_a_stall_and_a_blind_one_is_found_out() {
        let pace = Pace::Constant { per_second: PER_SECOND };
        let traffic = Traffic { pace, share: Share::ALL, keys: 100, seed: 1, window: WINDOW };
        let (sent, seen) = pushed(traffic, STALL);
        assert!(seen.from_intended.max() as f64 >= STALL.as_nanos() as f64 * 0.98);
        // What an instrument would show that counts from the actual send times.
        let blind = Recorded { from_intended: seen.from_send.clone(), ..seen };
        assert!(stall_is_seen("blind", &(sent, blind)).iter().any(|finding| !finding.holds));
    }
}
