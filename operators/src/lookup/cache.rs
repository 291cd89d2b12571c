//! Answers that a lookup join remembers.

use super::options::LookupCache;
use crate::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

struct Remembered<V> {
    answer: Option<V>,
    until: Timestamp,
    number: u64,
}

/// The latest answers. All live equally long, so the oldest is the first to go in any case.
pub(super) struct Cache<K, V> {
    limits: LookupCache,
    answers: HashMap<K, Remembered<V>>,
    /// Oldest first; keys asked for again are there more than once.
    ages: VecDeque<(u64, K)>,
    next: u64,
}

impl<K: Hash + Eq + Clone, V> Cache<K, V> {
    pub(super) fn new(limits: LookupCache) -> Self {
        Cache { limits, answers: HashMap::new(), ages: VecDeque::new(), next: 0 }
    }

    /// What is known of a key.
    pub(super) fn get(&self, key: &K, now: Timestamp) -> Option<&Option<V>> {
        self.answers.get(key).filter(|held| now < held.until).map(|held| &held.answer)
    }

    pub(super) fn insert(&mut self, key: K, answer: Option<V>, now: Timestamp) {
        let number = self.next;
        self.next += 1;
        let until = now.plus(self.limits.ttl);
        self.answers.insert(key.clone(), Remembered { answer, until, number });
        self.ages.push_back((number, key));
        while self.ages.len() > self.limits.entries {
            let Some((number, key)) = self.ages.pop_front() else { return };
            if self.answers.get(&key).is_some_and(|held| held.number == number) {
                self.answers.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn cache(entries: usize) -> Cache<u8, u8> {
        Cache::new(LookupCache::new(entries, Duration::from_micros(10)))
    }

    #[test]
    fn an_answer_lives_for_its_time_and_until_newer_ones_take_its_place() {
        let mut cache = cache(2);
        cache.insert(1, Some(10), Timestamp(0));
        cache.insert(2, None, Timestamp(5));
        assert_eq!(cache.get(&1, Timestamp(9)), Some(&Some(10)));
        assert_eq!(cache.get(&1, Timestamp(10)), None);
        assert_eq!(cache.get(&2, Timestamp(14)), Some(&None), "that there is no match is an answer too");
        cache.insert(3, Some(30), Timestamp(6));
        assert_eq!(cache.get(&1, Timestamp(6)), None);
        assert_eq!(cache.get(&2, Timestamp(6)), Some(&None));
    }

    #[test]
    fn a_key_asked_for_again_is_young_again_and_memory_stays_bounded() {
        let mut cache = cache(2);
        for now in 0..100 {
            cache.insert(1, Some(now as u8), Timestamp(now));
            assert_eq!(cache.get(&1, Timestamp(now)), Some(&Some(now as u8)));
            assert!(cache.ages.len() <= 2 && cache.answers.len() <= 2);
        }
    }

    #[test]
    fn a_cache_without_entries_remembers_nothing() {
        let mut cache = cache(0);
        cache.insert(1, Some(1), Timestamp(0));
        assert_eq!(cache.get(&1, Timestamp(0)), None);
        assert!(cache.answers.is_empty());
    }
}
