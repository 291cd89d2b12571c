//! What an actor does while its inputs are empty: a named choice, as in the LMAX Disruptor.

use std::time::Duration;

/// What an actor does while its inputs are empty. Only actors that another thread feeds have to choose: a
/// neighbour on the same thread wakes them at almost no cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitStrategy {
    /// Looks again and again for that long, then parks: no wake-up is paid while records keep coming, and an
    /// idle query costs nothing. The default, with 30 us.
    SpinThenPark(Duration),
    /// Parks at once. Least processor time; every record after a pause pays a wake-up (5-10 us at the
    /// median, milliseconds at the far end on a busy machine).
    Park,
    /// Never parks: the worker thread uses a whole core. Lowest latency where a core can be given away.
    BusySpin,
}

impl Default for WaitStrategy {
    fn default() -> Self {
        WaitStrategy::SpinThenPark(Duration::from_micros(30))
    }
}

/// The state of one actor's waiting.
#[derive(Debug)]
pub(crate) struct Waiting {
    strategy: WaitStrategy,
    idle_since_ns: Option<u64>,
}

impl Waiting {
    pub(crate) fn new(strategy: WaitStrategy) -> Waiting {
        Waiting { strategy, idle_since_ns: None }
    }

    /// There was something to do.
    #[inline]
    pub(crate) fn busy(&mut self) {
        self.idle_since_ns = None;
    }

    /// There was nothing to do: whether to look again at once instead of parking.
    #[inline]
    pub(crate) fn look_again(&mut self, now_ns: impl FnOnce() -> u64) -> bool {
        match self.strategy {
            WaitStrategy::BusySpin => true,
            WaitStrategy::Park => false,
            WaitStrategy::SpinThenPark(limit) => {
                let now = now_ns();
                let since = *self.idle_since_ns.get_or_insert(now);
                u128::from(now.saturating_sub(since)) < limit.as_nanos()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spins_for_its_time_and_parks_until_busy_again() {
        let mut waiting = Waiting::new(WaitStrategy::SpinThenPark(Duration::from_nanos(100)));
        assert!(waiting.look_again(|| 1000));
        assert!(waiting.look_again(|| 1099));
        assert!(!waiting.look_again(|| 1100));
        waiting.busy();
        assert!(waiting.look_again(|| 5000));
        assert!(!Waiting::new(WaitStrategy::Park).look_again(|| 0));
        assert!(Waiting::new(WaitStrategy::BusySpin).look_again(|| u64::MAX));
    }
}
