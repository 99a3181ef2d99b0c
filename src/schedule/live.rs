//! Which sequences are pending, at about a bit each.
//!
//! Sequences are given out in a row, so the pending ones lie close together: a chunk of 4,096 of
//! them is a sorted list while it holds few and a bitmap from then on. Ten million pending entries
//! take about a megabyte and a quarter, however long they have to wait.
//!
//! Called by `state`, for each entry that comes and goes.

use std::collections::BTreeMap;

/// Sequences of one chunk.
const CHUNK_BITS: u32 = 12;
const WORDS: usize = 1 << (CHUNK_BITS - 6);
/// More than this are a bitmap.
const MOST_LISTED: usize = 128;

/// A set of sequences.
#[derive(Debug, Default)]
pub(super) struct SequenceSet {
    chunks: BTreeMap<u64, Chunk>,
    count: u64,
}

#[derive(Debug)]
enum Chunk {
    /// In order.
    Few(Vec<u16>),
    Many(Box<[u64; WORDS]>, u16),
}

fn split(sequence: u64) -> (u64, u16) {
    let low = sequence & ((1 << CHUNK_BITS) - 1);
    (sequence >> CHUNK_BITS, low as u16) // masked to twelve bits
}

fn place(low: u16) -> (usize, u64) {
    (usize::from(low >> 6), 1 << (low & 63))
}

impl SequenceSet {
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        let (chunk, low) = split(sequence);
        match self.chunks.get(&chunk) {
            None => false,
            Some(Chunk::Few(listed)) => listed.binary_search(&low).is_ok(),
            Some(Chunk::Many(words, _)) => {
                let (word, bit) = place(low);
                words[word] & bit != 0
            }
        }
    }

    /// Whether it was not there before.
    pub(super) fn insert(&mut self, sequence: u64) -> bool {
        let (number, low) = split(sequence);
        let chunk = self.chunks.entry(number).or_insert_with(|| Chunk::Few(Vec::new()));
        let inserted = chunk.insert(low);
        self.count += u64::from(inserted);
        inserted
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, sequence: u64) -> bool {
        let (number, low) = split(sequence);
        let Some(chunk) = self.chunks.get_mut(&number) else { return false };
        let removed = match chunk {
            Chunk::Few(listed) => match listed.binary_search(&low) {
                Ok(at) => {
                    listed.remove(at);
                    true
                }
                Err(_) => false,
            },
            Chunk::Many(words, count) => {
                let (word, bit) = place(low);
                let was = words[word] & bit != 0;
                words[word] &= !bit;
                *count -= u16::from(was);
                was
            }
        };
        if chunk.is_empty() {
            self.chunks.remove(&number);
        }
        self.count -= u64::from(removed);
        removed
    }
}

impl Chunk {
    fn is_empty(&self) -> bool {
        match self {
            Chunk::Few(listed) => listed.is_empty(),
            Chunk::Many(_, count) => *count == 0,
        }
    }

    fn insert(&mut self, low: u16) -> bool {
        match self {
            Chunk::Few(listed) => {
                let Err(at) = listed.binary_search(&low) else { return false };
                if listed.len() < MOST_LISTED {
                    listed.insert(at, low);
                    return true;
                }
                let mut words = Box::new([0; WORDS]);
                for listed in listed.iter().copied().chain([low]) {
                    let (word, bit) = place(listed);
                    words[word] |= bit;
                }
                *self = Chunk::Many(words, MOST_LISTED as u16 + 1); // far below 2^16
                true
            }
            Chunk::Many(words, count) => {
                let (word, bit) = place(low);
                let is_new = words[word] & bit == 0;
                words[word] |= bit;
                *count += u16::from(is_new);
                is_new
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_set() {
        let (mut set, mut model) = (SequenceSet::default(), BTreeSet::new());
        let mut state = 7u64;
        for step in 0..40_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let sequence = (state >> 40) % 9000 + (state >> 62 << 40);
            if (step / 10_000) % 2 == 0 {
                assert_eq!(set.insert(sequence), model.insert(sequence));
            } else {
                assert_eq!(set.remove(sequence), model.remove(&sequence));
            }
            let other = sequence ^ 1;
            assert_eq!(set.contains(other), model.contains(&other));
        }
        assert_eq!(set.len(), model.len() as u64);
        for sequence in model {
            assert!(set.remove(sequence));
        }
        assert!(set.chunks.is_empty() && set.len() == 0);
    }
}
