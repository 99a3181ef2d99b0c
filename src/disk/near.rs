//! Where something lies that is going to be looked at: for the processor, which fetches it
//! meanwhile.
//!
//! Who goes round thousands of logs finds each of them in no cache, and behind each pointer waits
//! for the one before; and who reads at a log's end finds there what another processor stored. So
//! the addresses of what an append or a read looks at are kept as numbers where it begins, and all
//! are asked for at once. Nothing depends on such a number: where it is of another day the wrong
//! line is fetched. On processors that cannot be asked nothing happens.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// The address of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Near(usize);

/// What is as good as nowhere: an address where nothing lies has no page to be found by, which is
/// looked for each time.
impl Default for Near {
    fn default() -> Self {
        static NOTHING: u8 = 0;
        Near::of(&NOTHING)
    }
}

impl Near {
    /// As far as one fetch goes.
    pub(crate) const LINE: usize = 64;
    /// What the processor looks up at once.
    const PAGE: usize = 4096;

    /// Where `what` lies.
    #[inline]
    pub(crate) fn of<T: ?Sized>(what: &T) -> Self {
        Near(std::ptr::from_ref(what).cast::<()>().addr())
    }

    /// Where that address says.
    pub(crate) const fn at(address: usize) -> Self {
        Near(address)
    }

    /// Where the next byte behind `bytes` lies.
    #[inline]
    pub(crate) fn behind(bytes: &[u8]) -> Self {
        Near(bytes.as_ptr_range().end.addr())
    }

    /// What lies `bytes` further on.
    #[inline]
    pub(crate) const fn plus(self, bytes: usize) -> Self {
        Near(self.0.wrapping_add(bytes))
    }

    /// Has the line fetched that it lies on.
    #[inline(always)] // an instruction
    pub(crate) fn fetch(self) {
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        super::island::near::fetch_line(self.0);
    }

    /// Has the line fetched that it lies on, to be stored into.
    #[inline(always)] // an instruction
    pub(crate) fn fetch_to_write(self) {
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        super::island::near::fetch_line_to_write(self.0);
    }

    /// Has the lines fetched of `bytes`, one at least, from there on.
    #[inline]
    pub(crate) fn fetch_all(self, bytes: usize) {
        let mut at = 0; // `step_by` would divide
        while at < bytes {
            self.plus(at).fetch();
            at += Near::LINE;
        }
        self.plus(bytes.wrapping_sub(1)).fetch(); // often on one more line
    }

    /// Has so many lines fetched from there on.
    #[inline(always)] // instructions
    pub(crate) fn fetch_lines<const LINES: usize>(self) {
        for line in 0..LINES {
            self.plus(line * Near::LINE).fetch();
        }
    }
}

/// One that is changed while others look.
#[derive(Debug)]
pub(crate) struct SharedNear(AtomicUsize);

impl Default for SharedNear {
    fn default() -> Self {
        SharedNear(AtomicUsize::new(Near::default().0))
    }
}

impl Clone for SharedNear {
    fn clone(&self) -> Self {
        SharedNear(AtomicUsize::new(self.get().0))
    }
}

impl SharedNear {
    #[inline]
    pub(crate) fn get(&self) -> Near {
        Near(self.0.load(Ordering::Relaxed)) // nothing depends on it
    }

    pub(crate) fn set(&self, near: Near) {
        self.0.store(near.0, Ordering::Relaxed);
    }

    /// The same where that is on another page: where many share this, small records seldom store.
    #[inline(always)] // an instruction or two
    pub(crate) fn follow(&self, near: Near) {
        if self.get().0 ^ near.0 >= Near::PAGE {
            self.set(near);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_what_lies_there() {
        let bytes = [0_u8; 3 * Near::LINE];
        let (front, rest) = bytes.split_at(Near::LINE);
        assert_eq!(Near::of(rest), Near::of(&bytes).plus(Near::LINE));
        assert_eq!(Near::behind(front), Near::of(rest));
        assert_eq!(Near::at(rest.as_ptr().addr()), Near::of(rest));
    }

    #[test]
    fn who_follows_goes_from_page_to_page() {
        let place = SharedNear::default();
        for (next, expected) in
            [(7 << 12, 7 << 12), ((7 << 12) + 4095, 7 << 12), (8 << 12, 8 << 12)]
        {
            place.follow(Near::at(next));
            assert_eq!(place.get(), Near::at(expected));
        }
        place.follow(Near::at((7 << 12) + 64));
        assert_eq!(place.clone().get(), Near::at((7 << 12) + 64), "also back");
    }

    #[test]
    fn any_address_may_be_asked_for() {
        for near in [Near::default(), Near::of(&7), Near::at(usize::MAX)] {
            near.fetch();
            near.fetch_all(3 * Near::LINE + 1);
            near.fetch_lines::<3>();
            near.fetch_to_write();
        }
    }
}
