//! Lists of what may be gone: entries come one by one, and nobody tells when one has ended.
//!
//! Owns nothing. Who keeps weak pointers to all that want to be told of something adds them to its
//! list here: a look through all of it at each addition would make the ten thousandth a hundred
//! times as dear as the hundredth. What is gone stays until the list is full, and who reads the
//! list passes it over. The list is never longer than four times as many as were there at once, and
//! a few; it does not shrink.

/// Adds an entry. Where the list would grow, those that are gone leave it first, and there is room
/// for as many more as are left before the next look: all looks together are linear in what comes.
pub(crate) fn push<T>(list: &mut Vec<T>, entry: T, is_there: impl Fn(&T) -> bool) {
    if list.len() == list.capacity() {
        list.retain(is_there);
        list.reserve(list.len().max(4));
    }
    list.push(entry);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::{Arc, Weak};

    use super::push;

    #[test]
    fn looks_are_linear_in_what_comes() {
        const COME: usize = 10_000;
        for stay_for in [0, 1, 100, COME] {
            let (looks, mut list) = (Cell::new(0), Vec::new());
            for at in 0..COME {
                let is_there = |other: &usize| {
                    looks.set(looks.get() + 1);
                    other + stay_for >= at
                };
                push(&mut list, at, is_there);
                assert!(list.len() <= 4 * stay_for + 12, "{} of {stay_for}", list.len());
            }
            assert!(looks.get() <= 2 * COME, "{} looks", looks.get());
            let left: Vec<_> = list.into_iter().filter(|at| at + stay_for >= COME).collect();
            assert_eq!(left, (COME - stay_for..COME).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_there_stays_and_what_is_gone_leaves() {
        let (mut list, mut held) = (Vec::new(), Vec::new());
        let is_there = |one: &Weak<usize>| one.strong_count() > 0;
        for at in 0..1000 {
            let one = Arc::new(at);
            push(&mut list, Arc::downgrade(&one), is_there);
            if at % 30 == 0 {
                held.push(one);
            }
        }
        assert!(list.iter().filter_map(Weak::upgrade).eq(held.iter().cloned()));
        assert!(list.len() <= 4 * held.len() + 12, "{} of {}", list.len(), held.len());
    }
}
