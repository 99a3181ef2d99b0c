//! The simulated disk's own random numbers: the same seed draws the same numbers on every machine
//! and in every version, which no crate promises.
//!
//! Good enough to choose which sectors survive; for nothing that has to be unguessable.

/// A 64-bit mixing counter.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0; the slight bias is of no matter here.
    pub(super) fn below(&mut self, end: usize) -> usize {
        // A remainder by a `usize` fits one.
        (self.next() % end as u64) as usize
    }
}
