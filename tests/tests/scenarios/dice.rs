//! Random numbers that can be had again by their seed.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// The environment variable that holds a seed to be used again.
const SEED: &str = "PULLPASS_TEST_SEED";

/// The generator `SplitMix64`.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// With a seed of its own, which is printed, or the one in the environment.
    pub(crate) fn new() -> Self {
        let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("{SEED}={seed}");
        Self(seed)
    }

    /// Others, which differ.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// One of `0..end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// One of `all`, if there are any.
    pub(crate) fn pick<T>(&mut self, mut all: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let number = self.below(u64::try_from(all.len()).unwrap_or_default());
        all.nth(usize::try_from(number).unwrap_or_default())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
