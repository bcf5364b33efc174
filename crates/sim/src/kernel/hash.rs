//! A hash of a state that is the same on every machine, in every run and in each build.
//!
//! Rust's own hasher is seeded at random on purpose; states that are compared between runs need one that is
//! not. Numbers are mixed by value, so that neither their width nor the order of their bytes matters.

use core::hash::Hasher;

/// The multiplier of `wyhash`'s and `rustc-hash`'s kind: odd, with its bits spread.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes one word after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StableHasher(u64);

impl StableHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ SPREAD) * u128::from(SPREAD | 1);
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(17).wrapping_add(word);
    }
}

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.mix(u64::from(*byte));
        }
    }
    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }
    fn write_u16(&mut self, number: u16) {
        self.mix(u64::from(number));
    }
    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }
    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }
    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }
    fn write_i32(&mut self, number: i32) {
        self.mix(i64::from(number) as u64);
    }
    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }
    fn finish(&self) -> u64 {
        let mut mixed = *self;
        mixed.mix(SPREAD);
        mixed.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hash;

    fn hash(value: impl Hash) -> u64 {
        let mut hasher = StableHasher::default();
        value.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn the_hash_is_the_same_in_every_build_and_tells_order_and_zeros_apart() {
        assert_eq!(hash((1_u32, 2_u8, -1_i32)), 14_146_878_509_155_184_792);
        assert_ne!(hash((1, 2)), hash((2, 1)));
        assert_ne!(hash([0_u32; 2]), hash([0_u32; 3]));
    }
}
