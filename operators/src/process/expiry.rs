//! Dropping what has expired of the keys' state.

use super::clocks::Clocks;
use super::{Entry, Fields, KeyedProcess, Process, TtlClock};
use crate::batch::Rows;
use crate::key::{Key, hash_of};
use crate::limits::FIRINGS_PER_CALL;
use crate::operator::Progress;
use crate::output::Output;
use crate::time::Timestamp;

fn index(clock: TtlClock) -> usize {
    match clock {
        TtlClock::Event => 0,
        TtlClock::Processing => 1,
    }
}

/// Drops what has expired of a key's state, and the state if nothing is left.
pub(super) fn expire<K, T, P: Process<K, T>>(process: &P, entry: &mut Entry<P::State>, now: [Timestamp; 2]) {
    let due = entry.expiry.iter().zip(now).any(|(time, now)| time.is_some_and(|time| time <= now));
    let Some(state) = entry.state.as_mut().filter(|_| due) else { return };
    let (mut was_empty, mut is_empty) = (true, true);
    let mut each = |ttl: super::Ttl, field: &mut dyn super::Expiring| {
        was_empty &= field.is_empty();
        field.expire(now[index(ttl.clock)]);
        is_empty &= field.is_empty();
    };
    let mut fields = Fields { each: &mut each, keep: false };
    process.expiring(state, &mut fields);
    if !fields.keep && is_empty && !was_empty {
        entry.state = None;
    }
}

/// Says when what was written expires, and has the key looked at then.
pub(super) fn expect<K: Key, T, P: Process<K, T>>(
    process: &P,
    key: &K,
    entry: &mut Entry<P::State>,
    clocks: &mut Clocks<K>,
    output: &mut Output<Rows<P::Out>>,
) {
    let Some(state) = &mut entry.state else {
        entry.expiry = [None; 2];
        return;
    };
    let now = clocks.of_expiry(output.now());
    let mut next: [Option<Timestamp>; 2] = [None; 2];
    let mut each = |ttl: super::Ttl, field: &mut dyn super::Expiring| {
        let clock = index(ttl.clock);
        let expiry = if field.has_fresh() && now[clock] == Timestamp::MIN {
            // It begins to live with the first time that is known.
            Some(Timestamp(Timestamp::MIN.0 + 1))
        } else {
            field.stamp(now[clock].plus(ttl.after));
            field.next_expiry()
        };
        next[clock] = match (next[clock], expiry) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    };
    process.expiring(state, &mut Fields { each: &mut each, keep: false });
    for (clock, next) in next.into_iter().enumerate() {
        let Some(time) = next.filter(|time| entry.expiry[clock].is_none_or(|before| *time < before)) else {
            continue;
        };
        entry.expiry[clock] = Some(time);
        clocks.expiry[clock].add(time, key.clone());
        if clock == index(TtlClock::Processing) {
            output.wake_at(time);
        }
    }
}

impl<T, K: Key, P: Process<K, T>, F: FnMut(&T) -> K> KeyedProcess<T, K, P, F> {
    /// Looks at the keys of which something is due to expire, a slice of them.
    pub(super) fn drop_expired(&mut self, clock: usize, output: &mut Output<Rows<P::Out>>) -> Progress {
        let now = self.clocks.of_expiry(output.now());
        for _ in 0..FIRINGS_PER_CALL {
            let Some((time, key)) = self.clocks.expiry[clock].pop_due(now[clock]) else {
                return Progress::Done;
            };
            let hash = hash_of(&key);
            let entry = self.entries.get_mut(hash, &key).filter(|entry| entry.expiry[clock] == Some(time));
            let Some(entry) = entry else { continue };
            expire(&self.process, entry, now);
            entry.expiry[clock] = None;
            expect(&self.process, &key, entry, &mut self.clocks, output);
            if entry.is_empty() {
                self.entries.remove(hash, &key);
            }
        }
        Progress::Again
    }
}
