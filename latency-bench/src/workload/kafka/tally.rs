//! Counts what arrives: each record once, and in order within its key.

use super::super::Delivery;
use super::payload::Stamp;
use std::collections::HashMap;

/// Records of a run, at most: numbers above are not this run's.
const NUMBERS: u64 = 1 << 32;

/// What has arrived.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By the number of the record.
    arrived: Vec<bool>,
    /// By key, the highest number that has arrived.
    last: HashMap<Vec<u8>, u64>,
    once: u64,
    again: u64,
    disordered: u64,
    strange: u64,
}

impl Tally {
    /// Counts a record that a header was read of, or was not; true if it arrives for the first time.
    pub(super) fn take(&mut self, key: &[u8], stamp: Option<Stamp>) -> bool {
        let Some(Stamp { number, .. }) = stamp.filter(|stamp| stamp.number < NUMBERS) else {
            self.strange += 1;
            return false;
        };
        let at = number as usize;
        if at >= self.arrived.len() {
            self.arrived.resize((at + 1).next_power_of_two(), false);
        }
        if std::mem::replace(&mut self.arrived[at], true) {
            self.again += 1;
            return false;
        }
        self.once += 1;
        match self.last.get_mut(key) {
            Some(last) if *last > number => self.disordered += 1,
            Some(last) => *last = number,
            None => drop(self.last.insert(key.to_vec(), number)),
        }
        true
    }

    /// Records that arrived, each counted once.
    pub(super) fn once(&self) -> u64 {
        self.once
    }

    /// What is wrong, by what was promised. Records that are missing are for the caller, who knows how many
    /// were sent.
    pub(super) fn check(&self, delivery: Option<Delivery>) -> Result<(), String> {
        let wrong = [
            (self.strange, "records arrived that were not sent by this run"),
            (self.disordered, "records came out of order within their key"),
            (if delivery == Some(Delivery::ExactlyOnce) { self.again } else { 0 }, "records came twice"),
        ];
        match wrong.iter().find(|(count, _)| *count > 0) {
            Some((count, what)) => Err(format!("{count} {what}")),
            None => Ok(()),
        }
    }

    /// What to tell of a run in which nothing was wrong.
    pub(super) fn note(&self) -> String {
        match self.again {
            0 => "no record lost, twice or out of order within its key".to_owned(),
            again => format!("no record lost or out of order within its key; {again} came twice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(records: &[(&str, u64)]) -> Tally {
        let mut tally = Tally::default();
        for &(key, number) in records {
            tally.take(key.as_bytes(), Some(Stamp { intended_ns: 0, sent_ns: 0, number }));
        }
        tally
    }

    #[test]
    fn each_record_counts_once() {
        let tally = tally(&[("a", 0), ("b", 2), ("a", 1), ("b", 3)]);
        assert_eq!(tally.once(), 4);
        assert_eq!(tally.check(Some(Delivery::ExactlyOnce)), Ok(()));
        assert_eq!(tally.note(), "no record lost, twice or out of order within its key");
    }

    #[test]
    fn twice_is_wrong_only_where_once_was_promised() {
        let tally = tally(&[("a", 0), ("a", 1), ("a", 0)]);
        assert_eq!(tally.once(), 2, "so that another one is found missing");
        assert_eq!(tally.check(Some(Delivery::ExactlyOnce)), Err("1 records came twice".to_owned()));
        assert_eq!(tally.check(Some(Delivery::AtLeastOnce)), Ok(()));
        assert!(tally.note().ends_with("1 came twice"), "{}", tally.note());
    }

    #[test]
    fn order_counts_within_a_key() {
        let wrong = tally(&[("a", 1), ("b", 0), ("a", 0x1_0000), ("a", 2)]).check(None);
        assert_eq!(wrong, Err("1 records came out of order within their key".to_owned()));
    }

    #[test]
    fn what_another_wrote_is_found() {
        let mut tally = tally(&[("a", NUMBERS)]);
        assert!(!tally.take(b"a", None));
        assert_eq!(tally.check(None), Err("2 records arrived that were not sent by this run".to_owned()));
    }
}
