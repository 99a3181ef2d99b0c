//! Where each key was written last, in bounded memory.
//!
//! A key is known by 128 bits of SipHash-1-3 under a secret drawn for each map. Two keys that meet
//! in all 128 would make one of them pass for a newer record of the other: among `n` keys of a map
//! the chance is below n * n / 2^129, so for the 917,504 keys of the largest map below 2^-89, and
//! whoever chooses the keys cannot raise it without the secret, which never leaves the process.
//!
//! When the map is full, the keys it has are all known up to one offset; the pass ends there, and
//! the next one goes on from it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::ids::Offset;

/// Seven eighths of 2^20: a table of 2^20 places of 24 bytes and one, 25 MiB, never doubles.
pub(super) const MOST_KEYS: usize = (1 << 20) / 8 * 7;

/// A key's fingerprint.
type Hash = [u64; 2];

/// The last offset of each key.
#[derive(Debug)]
pub(super) struct KeyMap {
    secret: SipHasher13,
    last: HashMap<Hash, Offset>,
    capacity: usize,
}

/// The map has no room for another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl KeyMap {
    /// A map for at most `capacity` keys, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let secret = SipHasher13::new_with_key(uuid::Uuid::new_v4().as_bytes());
        KeyMap { secret, last: HashMap::new(), capacity: capacity.clamp(1, MOST_KEYS) }
    }

    /// Notes that `key` was written at `offset`; offsets come in order.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        let full = self.last.len() >= self.capacity;
        match self.last.entry(hash(self.secret, key)) {
            Entry::Occupied(mut known) => drop(known.insert(offset)),
            Entry::Vacant(_) if full => return Err(Full),
            Entry::Vacant(free) => drop(free.insert(offset)),
        }
        Ok(())
    }

    /// Where `key` was written last, as far as the map knows.
    pub(super) fn last(&self, key: &[u8]) -> Option<Offset> {
        self.last.get(&hash(self.secret, key)).copied()
    }
}

fn hash(mut secret: SipHasher13, key: &[u8]) -> Hash {
    std::hash::Hasher::write(&mut secret, key);
    let hash = secret.finish128();
    [hash.h1, hash.h2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_each_key_is_known() {
        let mut map = KeyMap::new(10);
        for (key, offset) in [("a", 1), ("b", 2), ("a", 5), ("", 6)] {
            map.put(key.as_bytes(), Offset::new(offset)).unwrap();
        }
        let last = |key: &str| map.last(key.as_bytes()).map(Offset::get);
        assert_eq!(["a", "b", "", "c"].map(last), [Some(5), Some(2), Some(6), None]);
    }

    #[test]
    fn a_full_map_takes_known_keys_only() {
        let mut map = KeyMap::new(2);
        map.put(b"a", Offset::new(1)).unwrap();
        map.put(b"b", Offset::new(2)).unwrap();
        assert_eq!(map.put(b"c", Offset::new(3)), Err(Full));
        map.put(b"a", Offset::new(4)).unwrap();
        assert_eq!((map.last(b"a"), map.last(b"c")), (Some(Offset::new(4)), None));
        assert_eq!(KeyMap::new(0).put(b"a", Offset::ZERO), Ok(()), "there is always room for one");
    }

    #[test]
    fn two_maps_do_not_share_a_secret() {
        let (one, other) = (KeyMap::new(1), KeyMap::new(1));
        assert_ne!(hash(one.secret, b"key"), hash(other.secret, b"key"));
    }
}
