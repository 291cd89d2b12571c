//! The open-loop sender, in two forms that share the schedule.
//!
//! [`DueRecords`] hands out the records that are due; wrapped in a source it runs on the engine's own thread
//! and costs no hop. [`SenderThread`] is the outside world: a thread of its own that pushes each record when
//! it is due, spinning over the last stretch. Both keep a histogram of their own lateness, the instrument's
//! error.

use crate::clock::Timebase;
use crate::cpu::{ThreadId, current_thread};
use crate::event::{Event, Keys};
use crate::recorder::{HIGHEST_NS, Window, histogram};
use crate::schedule::{Pace, Schedule, Share};
use hdrhistogram::Histogram;
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A sender further ahead than this sleeps; closer, it spins, since sleeping overshoots.
const SPIN_NS: u64 = 2_000_000;
/// Records that share a clock reading at most, so that `sent_ns` stays true when a push has to wait.
const RECORDS_PER_READING: usize = 32;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    /// When.
    pub pace: Pace,
    /// Which part of it.
    pub share: Share,
    /// Number of different keys.
    pub keys: u64,
    /// Seed of the keys.
    pub seed: u64,
    /// What is measured; sending ends with it.
    pub window: Window,
}

/// Hands out each record once it is due. Asked late, it hands out all that became due since: the schedule
/// does not wait for the system under test.
#[derive(Debug)]
pub struct DueRecords {
    traffic: Traffic,
    schedule: Schedule,
    keys: Keys,
    index: u64,
    ended: bool,
    late: Histogram<u64>,
}

impl DueRecords {
    /// The records of this traffic, from the first.
    #[must_use]
    pub fn new(traffic: Traffic) -> DueRecords {
        DueRecords {
            schedule: Schedule::shared(traffic.pace, traffic.share),
            keys: Keys::new(traffic.seed, traffic.keys),
            index: traffic.share.index,
            traffic,
            ended: false,
            late: histogram(),
        }
    }

    /// Appends the records due by `now_ns`, at most `max_records`; returns how many. They count as sent now.
    pub fn take_due(&mut self, now_ns: u64, max_records: usize, records: &mut Vec<Event>) -> usize {
        let before = records.len();
        if self.schedule.next_ns().is_none() {
            self.take_unpaced(now_ns, max_records, records);
        } else {
            while let Some(event) = self.next_due(now_ns) {
                records.push(event);
                if records.len() - before == max_records {
                    break;
                }
            }
        }
        records.len() - before
    }

    #[inline]
    fn next_due(&mut self, now_ns: u64) -> Option<Event> {
        let intended_ns = self.next_ns()?;
        if intended_ns > now_ns {
            return None;
        }
        self.schedule.advance();
        if self.traffic.window.holds(intended_ns) {
            self.late.saturating_record((now_ns - intended_ns).min(HIGHEST_NS));
        }
        Some(self.event(intended_ns, now_ns))
    }

    fn take_unpaced(&mut self, now_ns: u64, max_records: usize, records: &mut Vec<Event>) {
        self.ended = now_ns >= self.traffic.window.to_ns;
        if !self.ended {
            records.extend((0..max_records).map(|_| self.event(now_ns, now_ns)));
        }
    }

    #[inline]
    fn event(&mut self, intended_ns: u64, sent_ns: u64) -> Event {
        let key = self.keys.at(self.index);
        self.index += self.traffic.share.of.get();
        Event { key, intended_ns, sent_ns }
    }

    /// When the next record is due, 0 for an unpaced one; `None` if all were handed out.
    #[inline]
    pub fn next_ns(&self) -> Option<u64> {
        match self.schedule.next_ns() {
            Some(next_ns) if next_ns < self.traffic.window.to_ns => Some(next_ns),
            Some(_) => None,
            None => (!self.ended).then_some(0),
        }
    }

    /// When sending ends.
    pub fn ends_ns(&self) -> u64 {
        self.traffic.window.to_ns
    }

    /// Records handed out so far.
    pub fn sent(&self) -> u64 {
        (self.index - self.traffic.share.index) / self.traffic.share.of
    }

    /// Actual minus intended send times of the measured records, in nanoseconds; empty if unpaced.
    pub fn lateness(&self) -> &Histogram<u64> {
        &self.late
    }

    /// What was sent.
    #[must_use]
    pub fn finish(self) -> Sent {
        Sent { records: self.sent(), late: self.late }
    }
}

/// What a sender did.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Records sent, warm-up included.
    pub records: u64,
    /// Actual minus intended send times of the measured records, in nanoseconds; empty if unpaced.
    pub late: Histogram<u64>,
}

/// Sends everything from the calling thread: `push` is called for each record when it is due and may wait.
/// Returns early if it breaks.
pub fn send_all(
    timebase: &Timebase,
    mut due: DueRecords,
    mut push: impl FnMut(Event) -> ControlFlow<()>,
) -> Sent {
    let mut batch = Vec::with_capacity(RECORDS_PER_READING);
    while let Some(next_ns) = due.next_ns() {
        let now_ns = wait_until(timebase, next_ns);
        due.take_due(now_ns, RECORDS_PER_READING, &mut batch);
        for event in batch.drain(..) {
            if push(event).is_break() {
                return due.finish();
            }
        }
    }
    due.finish()
}

/// Waits for a time, sleeping while it is far and spinning over the last stretch; returns what it then is.
pub fn wait_until(timebase: &Timebase, until_ns: u64) -> u64 {
    loop {
        let now_ns = timebase.now_ns();
        if now_ns >= until_ns {
            return now_ns;
        }
        let ahead_ns = until_ns - now_ns;
        if ahead_ns > SPIN_NS {
            std::thread::sleep(Duration::from_nanos(ahead_ns - SPIN_NS));
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Waits for a time without spinning; returns what it then is, which is later by what the system takes to
/// wake a thread. For a sender that must leave the processors to others.
pub fn sleep_until(timebase: &Timebase, until_ns: u64) -> u64 {
    loop {
        let now_ns = timebase.now_ns();
        if now_ns >= until_ns {
            return now_ns;
        }
        std::thread::sleep(Duration::from_nanos(until_ns - now_ns));
    }
}

/// A sender on a thread of its own.
#[derive(Debug)]
pub struct SenderThread {
    thread: JoinHandle<Sent>,
    id: Option<ThreadId>,
}

impl SenderThread {
    /// Starts the thread, which sends as soon as the clock has begun.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start<P>(timebase: Timebase, due: DueRecords, push: P) -> std::io::Result<SenderThread>
    where
        P: FnMut(Event) -> ControlFlow<()> + Send + 'static,
    {
        let (tell, told) = mpsc::channel();
        let body = move || {
            let told_nobody = tell.send(current_thread()).is_err();
            assert!(!told_nobody, "invariant: the starter waits for the thread id");
            while timebase.since_begin().is_none() {
                std::thread::sleep(Duration::from_micros(200));
            }
            send_all(&timebase, due, push)
        };
        let thread = std::thread::Builder::new().name("generator".to_owned()).spawn(body)?;
        Ok(SenderThread { thread, id: told.recv().ok().flatten() })
    }

    /// The thread, so that its use of a processor can be told from the engine's.
    pub fn id(&self) -> Option<ThreadId> {
        self.id
    }

    /// Waits until everything is sent.
    ///
    /// # Panics
    /// If the thread did.
    pub fn join(self) -> Sent {
        match self.thread.join() {
            Ok(sent) => sent,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;
    use std::sync::{Arc, Mutex};

    fn traffic(pace: Pace) -> Traffic {
        let window = Window { from_ns: 5_000_000, to_ns: 20_000_000 };
        Traffic { pace, share: Share::ALL, keys: 10, seed: 1, window }
    }

    fn constant(per_second: u64) -> Pace {
        Pace::Constant { per_second: NonZeroU64::new(per_second).unwrap() }
    }

    #[test]
    fn asked_late_it_hands_out_all_that_became_due() {
        let mut due = DueRecords::new(traffic(constant(1_000_000)));
        let mut records = Vec::new();
        assert_eq!(due.take_due(0, 100, &mut records), 1);
        assert_eq!(due.take_due(0, 100, &mut records), 0);
        assert_eq!(due.take_due(10_000, 5, &mut records), 5);
        assert_eq!(due.take_due(10_000, 100, &mut records), 5);
        let intended: Vec<u64> = records.iter().map(|event| event.intended_ns).collect();
        assert_eq!(intended, (0..=10).map(|index| index * 1000).collect::<Vec<_>>());
        assert!(records[1..].iter().all(|event| event.sent_ns == 10_000));
        assert_eq!(due.take_due(u64::MAX, usize::MAX, &mut records), 20_000 - 11);
        assert_eq!((due.next_ns(), due.sent()), (None, 20_000));
        assert_eq!(due.lateness().len(), 15_000, "the warm-up is not counted");
    }

    #[test]
    fn unpaced_it_fills_what_it_is_given_until_the_window_ends() {
        let mut due = DueRecords::new(traffic(Pace::Unpaced));
        let mut records = Vec::new();
        assert_eq!(due.take_due(3, 64, &mut records), 64);
        assert!(records.iter().all(|event| event.intended_ns == 3 && event.sent_ns == 3));
        assert_eq!(due.next_ns(), Some(0));
        assert_eq!(due.take_due(20_000_000, 64, &mut records), 0);
        assert_eq!((due.next_ns(), due.sent()), (None, 64));
    }

    #[test]
    fn shares_have_the_keys_of_the_whole() {
        let of = NonZeroU64::new(2).unwrap();
        let mut whole = Vec::new();
        DueRecords::new(traffic(constant(100_000))).take_due(u64::MAX, usize::MAX, &mut whole);
        let mut shared = Vec::new();
        for index in 0..2 {
            let mut due =
                DueRecords::new(Traffic { share: Share { index, of }, ..traffic(constant(100_000)) });
            due.take_due(u64::MAX, usize::MAX, &mut shared);
            assert_eq!(due.sent(), 1000);
        }
        shared.sort_unstable_by_key(|event| event.intended_ns);
        assert_eq!(shared, whole);
    }

    #[test]
    fn the_thread_sends_each_record_when_it_is_due_and_not_before() {
        let timebase = Timebase::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (clock, sink) = (timebase.clone(), Arc::clone(&seen));
        let sender = SenderThread::start(timebase.clone(), DueRecords::new(traffic(constant(10_000))), {
            move |event| {
                sink.lock().unwrap().push((clock.now_ns(), event));
                ControlFlow::Continue(())
            }
        })
        .unwrap();
        assert!(sender.id().is_some());
        timebase.begin();
        let sent = sender.join();
        let seen = seen.lock().unwrap();
        assert_eq!((sent.records, seen.len()), (200, 200));
        assert!(seen.iter().all(|(now, event)| event.intended_ns <= event.sent_ns && event.sent_ns <= *now));
        assert_eq!(sent.late.len(), 150);
    }

    #[test]
    fn a_push_that_breaks_ends_the_sending() {
        let timebase = Timebase::begun();
        let mut left = 7;
        let sent = send_all(&timebase, DueRecords::new(traffic(constant(1_000_000))), |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(sent.records >= 7 && sent.records < 20_000);
    }
}
