//! Damages inputs, the same way for the same seed.

/// Bytes that mean something to one format or another.
const WORDS: [&[u8]; 20] = [
    b"\"",
    b"\n",
    b"\r\n",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\\",
    b"null",
    b"=",
    b"/",
    b"..",
    b"PAR1",
    b"ORC",
    b"\xff\xff\xff\xff",
    b"\x00",
    b"99999999999999999999",
    b"\xef\xbb\xbf",
    b"%",
];

/// A seeded source of damage.
pub struct Mutator(u64);

impl Mutator {
    /// The damage of this seed.
    pub fn new(seed: u64) -> Mutator {
        Mutator(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }

    /// One of the inputs, damaged in one to eight places.
    pub fn damage(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => drop(bytes.splice(at..at, WORDS[self.below(WORDS.len())].iter().copied())),
                3 => {
                    let copy = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, copy));
                }
                4 => bytes[at..end].fill(0xff),
                5 => {
                    let other = &inputs[self.below(inputs.len())];
                    let from = self.below(other.len());
                    let part = other[from..(from + 32).min(other.len())].to_vec();
                    drop(bytes.splice(at..end, part));
                }
                _ if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ => bytes.push(self.below(256) as u8),
            }
        }
        bytes
    }
}

/// A number from the environment.
pub fn number_of(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
