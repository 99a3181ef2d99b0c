//! Memory for what is read of segments, used again once its readers have let go of it.
//!
//! Fresh memory for each read would cost more than the read itself: the system zeroes it and faults
//! it in page by page. So a few large buffers are kept for the next read, whoever drops the last
//! view of one; the rest is freed. What an old read left in a buffer nobody sees: it is lent only
//! after a read has filled all of it. They are kept behind atomic pointers: nobody waits for them.
//! Called by `region`.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

/// Smaller reads take memory as it comes.
const SMALLEST: usize = 32 << 10;
/// Larger buffers are not kept.
const LARGEST: usize = 2 << 20;

/// The buffers that nobody uses.
static SPARE: [ArcSwapOption<Vec<u8>>; 3] = [const { ArcSwapOption::const_empty() }; 3];

/// Memory to read into.
#[derive(Debug)]
pub(super) struct ReadBuffer(Vec<u8>);

/// Takes a spare for a read of that length, unless it is much larger: whoever keeps the little that
/// was read would keep all of it.
fn take(kept: &ArcSwapOption<Vec<u8>>, len: usize) -> Option<Vec<u8>> {
    let spare = Arc::into_inner(kept.swap(None)?)?;
    if spare.capacity() / 4 <= len {
        return Some(spare);
    }
    kept.store(Some(Arc::new(spare)));
    None
}

impl ReadBuffer {
    /// Of that length, with anything in it.
    pub(super) fn of_len(len: usize) -> Self {
        let spare = || SPARE.iter().find_map(|kept| take(kept, len));
        let is_large = (SMALLEST..=LARGEST).contains(&len);
        let mut buffer = if is_large { spare().unwrap_or_default() } else { Vec::new() };
        buffer.resize(len, 0); // only what it never held is written to
        ReadBuffer(buffer)
    }

    /// Lends it, now that all of it was read.
    pub(super) fn into_bytes(mut self) -> Bytes {
        match self.is_kept() {
            true => Bytes::from_owner(self),
            false => Bytes::from(std::mem::take(&mut self.0)),
        }
    }

    fn is_kept(&self) -> bool {
        (SMALLEST..=LARGEST).contains(&self.0.capacity())
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for ReadBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for ReadBuffer {
    /// Takes the first place; those before it move on, and the last goes.
    fn drop(&mut self) {
        if !self.is_kept() {
            return;
        }
        let mut buffer = Arc::new(std::mem::take(&mut self.0));
        for place in &SPARE {
            match place.swap(Some(buffer)) {
                Some(moved) => buffer = moved,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was lent is never changed, however many buffers come and go meanwhile.
    #[test]
    fn a_buffer_is_used_again_only_when_nobody_looks_into_it() {
        let read = |byte: u8, len: usize| {
            let mut buffer = ReadBuffer::of_len(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(byte);
            buffer.into_bytes()
        };
        let mut held: Vec<(u8, Bytes)> = Vec::new();
        for (byte, len) in
            (0..200).zip([SMALLEST, 10, LARGEST, SMALLEST * 3, LARGEST + 1].iter().cycle())
        {
            held.push((byte, read(byte, *len)));
            if byte % 3 == 0 {
                held.swap_remove(held.len() / 2);
            }
            while held.len() > 6 {
                let (byte, bytes) = held.remove(0);
                let part = bytes.slice(bytes.len() / 2..);
                drop(bytes);
                assert!(part.iter().all(|found| *found == byte));
            }
        }
        assert!(held.iter().all(|(byte, bytes)| bytes.iter().all(|found| found == byte)));
    }
}
