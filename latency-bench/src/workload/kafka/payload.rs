//! What a record is: a value of 1.2 kB that follows from its key, and a header with its times and its number.

use crate::event::splitmix;

/// The header of each record: its intended send time, its actual send time and its number, in this order, as
/// unsigned 64-bit numbers, most significant byte first. Times are nanoseconds since the run began.
pub(super) const HEADER: &str = "intended-ns";
/// Bytes of a value.
pub(super) const VALUE_BYTES: usize = 1200;
const STAMP_BYTES: usize = 24;

/// What the header of a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
    /// Counted from 0 in the order of sending.
    pub(super) number: u64,
}

impl Stamp {
    pub(super) fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        let words = [self.intended_ns, self.sent_ns, self.number];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// `None` if it is not such a header.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Stamp> {
        let bytes: &[u8; STAMP_BYTES] = bytes.try_into().ok()?;
        let (words, _) = bytes.as_chunks::<8>();
        let word = |at: usize| u64::from_be_bytes(words[at]);
        Some(Stamp { intended_ns: word(0), sent_ns: word(1), number: word(2) })
    }
}

/// The key of a record as it is sent.
pub(super) fn key_text(key: u64) -> String {
    format!("key-{key:08}")
}

/// The value of a key: text, the same in every run, no two alike.
pub(super) fn value(key: u64) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut value = key_text(key).into_bytes();
    value.push(b' ');
    let letters = (0..).flat_map(|at| splitmix(splitmix(key) ^ at).to_be_bytes());
    value.extend(letters.map(|byte| LETTERS[usize::from(byte % 64)]).take(VALUE_BYTES - value.len()));
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_stamp_is_read_as_it_is_written() {
        let stamp = Stamp { intended_ns: 1, sent_ns: u64::MAX, number: 1 << 40 };
        assert_eq!(Stamp::from_bytes(&stamp.to_bytes()), Some(stamp));
        assert_eq!(stamp.to_bytes()[..8], 1u64.to_be_bytes());
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        assert_eq!(Stamp::from_bytes(b""), None);
        assert_eq!(Stamp::from_bytes(&[0; 23]), None);
        assert_eq!(Stamp::from_bytes(&[0; 25]), None);
    }

    #[test]
    fn values_are_text_of_1200_bytes_and_differ() {
        let values: HashSet<Vec<u8>> = (0..1000).map(value).collect();
        assert_eq!(values.len(), 1000);
        assert!(values.iter().all(|value| value.len() == VALUE_BYTES && value.is_ascii()));
        assert_eq!(value(7), value(7));
    }
}
