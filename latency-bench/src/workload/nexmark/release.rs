//! Which events may be read: those that are due, by a thread that tells when, or by the clock of who asks.

use super::events::Events;
use crate::clock::Timebase;
use crate::cpu::{ThreadId, current_thread};
use crate::generator::wait_until;
use crate::recorder::{HIGHEST_NS, Window, histogram};
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

/// Who says which events are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pacing {
    /// A thread, which wakes the sources: the outside world.
    Thread,
    /// The source that is polled, by the clock: costs no hop.
    Inline,
    /// Nobody: all events may be read as soon as the run has begun.
    AtOnce,
}

/// The events of a run, and how many of them may be read.
#[derive(Debug)]
pub(super) struct Release {
    timebase: Timebase,
    events: Arc<Events>,
    pacing: Pacing,
    released: AtomicU64,
    /// When each event was released, in nanoseconds.
    sent_ns: Box<[AtomicU64]>,
    /// Who waits, and for which event.
    waiting: Mutex<Vec<(u64, Waker)>>,
}

impl Release {
    pub(super) fn new(timebase: Timebase, events: Arc<Events>, pacing: Pacing) -> Arc<Release> {
        let sent_ns = (0..events.count()).map(|_| AtomicU64::new(0)).collect();
        let (released, waiting) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Release { timebase, events, pacing, released, sent_ns, waiting })
    }

    pub(super) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    pub(super) fn pacing(&self) -> Pacing {
        self.pacing
    }

    /// How many events may be read; none before the run begins.
    pub(super) fn released(&self) -> Option<u64> {
        let now_ns = self.timebase.since_begin()?;
        match self.pacing {
            Pacing::Thread => {}
            Pacing::Inline => self.release(self.events.due_by(now_ns), now_ns),
            Pacing::AtOnce => self.release(self.events.count(), now_ns),
        }
        Some(self.released.load(Ordering::Acquire))
    }

    fn release(&self, events: u64, now_ns: u64) {
        let before = self.released.load(Ordering::Acquire);
        if before < events {
            // Sources on several threads may be at it at once; one time of theirs is as good as the other.
            for sent_ns in &self.sent_ns[before as usize..events as usize] {
                sent_ns.store(now_ns, Ordering::Relaxed);
            }
            self.released.fetch_max(events, Ordering::Release);
        }
    }

    /// When an event was released.
    pub(super) fn sent_ns(&self, event: u64) -> u64 {
        self.sent_ns[event as usize].load(Ordering::Relaxed)
    }

    /// Waits for an event: the waker is woken once it is released. Returns after how long to look again, if
    /// nobody wakes.
    pub(super) fn wait_for(&self, event: u64, waker: &Waker) -> Option<Duration> {
        if self.pacing == Pacing::Thread {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|(_, known)| !known.will_wake(waker));
            waiting.push((event, waker.clone()));
            return None;
        }
        let due_ns = if event < self.events.count() { self.events.intended_ns(event) } else { 0 };
        Some(Duration::from_nanos(due_ns.saturating_sub(self.timebase.now_ns())))
    }

    fn wake(&self, released: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // A waker hands a message to its thread; nothing runs here.
        for (_, waker) in waiting.extract_if(.., |(event, _)| *event < released) {
            waker.wake();
        }
    }

    /// Releases all events on the calling thread, each when it is due.
    fn release_all(&self) {
        let mut released = 0;
        while released < self.events.count() {
            let now_ns = wait_until(&self.timebase, self.events.intended_ns(released));
            released = self.events.due_by(now_ns);
            self.release(released, now_ns);
            self.wake(released);
        }
    }

    /// Actual minus intended times of the events of a window, in nanoseconds; empty if nothing was paced.
    pub(super) fn lateness(&self, window: Window) -> Histogram<u64> {
        let mut late = histogram();
        if self.pacing != Pacing::AtOnce {
            for event in 0..self.released.load(Ordering::Acquire) {
                let intended_ns = self.events.intended_ns(event);
                if window.holds(intended_ns) {
                    let late_ns = self.sent_ns(event).saturating_sub(intended_ns);
                    late.saturating_record(late_ns.min(HIGHEST_NS));
                }
            }
        }
        late
    }
}

/// The thread that releases events.
#[derive(Debug)]
pub(super) struct ReleaseThread {
    thread: JoinHandle<()>,
    id: Option<ThreadId>,
}

impl ReleaseThread {
    /// Starts the thread, which begins as soon as the clock does.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(release: &Arc<Release>) -> std::io::Result<ReleaseThread> {
        let (tell, told) = mpsc::channel();
        let release = Arc::clone(release);
        let body = move || {
            // Who starts it may have given up.
            let _ = tell.send(current_thread());
            while release.timebase.since_begin().is_none() {
                std::thread::sleep(Duration::from_micros(200));
            }
            release.release_all();
        };
        let thread = std::thread::Builder::new().name("generator".to_owned()).spawn(body)?;
        Ok(ReleaseThread { thread, id: told.recv().ok().flatten() })
    }

    /// The thread, so that its use of a processor can be told from the engine's.
    pub(super) fn id(&self) -> Option<ThreadId> {
        self.id
    }

    /// Waits until everything is released.
    ///
    /// # Panics
    /// If the thread did.
    pub(super) fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(timebase: &Timebase, pacing: Pacing) -> Arc<Release> {
        let events = Events::new(1, (0..100).map(|event| event * 100_000).collect()).unwrap();
        Release::new(timebase.clone(), events, pacing)
    }

    #[test]
    fn nothing_is_released_before_the_run_begins() {
        for pacing in [Pacing::Thread, Pacing::Inline, Pacing::AtOnce] {
            assert_eq!(release(&Timebase::new(), pacing).released(), None);
        }
    }

    #[test]
    fn at_once_is_all_of_them() {
        let release = release(&Timebase::begun(), Pacing::AtOnce);
        assert_eq!(release.released(), Some(100));
        assert_eq!(release.lateness(Window { from_ns: 0, to_ns: u64::MAX }).len(), 0);
    }

    #[test]
    fn no_event_is_released_before_it_is_due() {
        for pacing in [Pacing::Thread, Pacing::Inline] {
            let timebase = Timebase::new();
            let release = release(&timebase, pacing);
            let thread = (pacing == Pacing::Thread).then(|| ReleaseThread::start(&release).unwrap());
            timebase.begin();
            while release.released() != Some(100) {
                std::thread::yield_now();
            }
            thread.into_iter().for_each(ReleaseThread::join);
            assert!((0..100).all(|event| release.sent_ns(event) >= event * 100_000));
            let late = release.lateness(Window { from_ns: 0, to_ns: 5_000_000 });
            assert_eq!(late.len(), 50, "the events of the window");
        }
    }

    #[test]
    fn who_waits_is_woken() {
        struct Woken(AtomicU64);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let release = release(&Timebase::begun(), Pacing::Thread);
        let woken = Arc::new(Woken(AtomicU64::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        release.wait_for(3, &waker);
        release.wait_for(50, &waker);
        release.wake(50);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "event 50 is still to come");
        release.wake(51);
        release.wake(52);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "once for each time it asked");
    }
}
