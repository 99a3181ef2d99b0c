//! Ranges of offsets with a value each: neighbours of one value are one range.
//!
//! Invariants: no range is empty, none overlap, and no two that touch have the same value.
//! Used by coordinators for what is finished, for what has changed since the last snapshot, and for
//! what a state looks like in the log.

use std::collections::BTreeMap;

/// A map from offsets to values, kept as ranges; both ends of a range belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runs<V> {
    runs: BTreeMap<i64, (i64, V)>,
}

impl<V> Default for Runs<V> {
    fn default() -> Self {
        Runs { runs: BTreeMap::new() }
    }
}

impl<V: Copy + PartialEq> Runs<V> {
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    /// The value at an offset.
    pub(crate) fn get(&self, offset: i64) -> Option<V> {
        let (_, (last, value)) = self.runs.range(..=offset).next_back()?;
        (*last >= offset).then_some(*value)
    }

    /// Gives a range a value, whatever parts of it had before.
    pub(crate) fn set(&mut self, first: i64, last: i64, value: V) {
        if first > last {
            return;
        }
        self.clear_range(first, last);
        let (mut from, mut to) = (first, last);
        if let Some((before, (end, other))) = self.runs.range(..first).next_back()
            && end.checked_add(1) == Some(first)
            && *other == value
        {
            from = *before;
        }
        if let Some(next) = last.checked_add(1)
            && let Some((end, other)) = self.runs.get(&next)
            && *other == value
        {
            to = *end;
            self.runs.remove(&next);
        }
        self.runs.insert(from, (to, value));
    }

    /// Takes a range out.
    pub(crate) fn clear_range(&mut self, first: i64, last: i64) {
        if let Some((start, (end, value))) = self.runs.range(..first).next_back()
            && *end >= first
        {
            let (start, end, value) = (*start, *end, *value);
            self.runs.insert(start, (first - 1, value));
            if end > last {
                self.runs.insert(last + 1, (end, value));
                return;
            }
        }
        while let Some((start, (end, value))) = self.runs.range(first..=last).next() {
            let (start, end, value) = (*start, *end, *value);
            self.runs.remove(&start);
            if end > last {
                self.runs.insert(last + 1, (end, value));
                return;
            }
        }
    }

    /// Takes out everything below an offset.
    pub(crate) fn clear_below(&mut self, offset: i64) {
        if self.runs.first_key_value().is_some_and(|(first, _)| *first < offset) {
            self.clear_range(i64::MIN, offset - 1);
        }
    }

    /// Takes out everything from an offset on.
    pub(crate) fn clear_from(&mut self, offset: i64) {
        self.clear_range(offset, i64::MAX - 1);
    }

    /// The ranges in order: first, last, value.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, i64, V)> + '_ {
        self.runs.iter().map(|(first, (last, value))| (*first, *last, *value))
    }

    /// The parts of ranges that lie in `first..=last`, in order.
    pub(crate) fn within(&self, first: i64, last: i64) -> impl Iterator<Item = (i64, i64, V)> + '_ {
        let before = self.runs.range(..first).next_back().filter(|(_, (end, _))| *end >= first);
        let from = before.map_or(first, |(start, _)| *start);
        self.runs
            .range(from..=last.max(from))
            .filter(move |(start, (end, _))| **start <= last && *end >= first)
            .map(move |(start, (end, value))| ((*start).max(first), (*end).min(last), *value))
    }

    /// The end of the last range.
    pub(crate) fn last(&self) -> Option<i64> {
        self.runs.last_key_value().map(|(_, (last, _))| *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation against an array, at random.
    #[test]
    fn ranges_are_what_an_array_is() {
        const WIDTH: i64 = 24;
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: i64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            i64::try_from(random >> 1).unwrap() % below
        };
        let (mut runs, mut array) = (Runs::default(), [None; 24]);
        for _ in 0..20_000 {
            let (a, b) = (draw(WIDTH), draw(WIDTH));
            let (first, last) = (a.min(b), a.max(b));
            let range = usize::try_from(first).unwrap()..=usize::try_from(last).unwrap();
            match draw(8) {
                0 => {
                    runs.clear_range(first, last);
                    array[range].fill(None);
                }
                1 if draw(4) == 0 => {
                    runs.clear_below(first);
                    array[..*range.start()].fill(None);
                }
                2 if draw(4) == 0 => {
                    runs.clear_from(first);
                    array[*range.start()..].fill(None);
                }
                _ => {
                    let value = draw(2);
                    runs.set(first, last, value);
                    array[range].fill(Some(value));
                }
            }
            let mut seen = [None; 24];
            let mut before: Option<(i64, i64)> = None;
            for (first, last, value) in runs.iter() {
                assert!(first <= last);
                assert!(before.is_none_or(|it| it.0 < first && it != (first - 1, value)));
                before = Some((last, value));
                (first..=last).for_each(|at| seen[usize::try_from(at).unwrap()] = Some(value));
            }
            assert_eq!(seen, array);
            let at = draw(WIDTH);
            assert_eq!(runs.get(at), array[usize::try_from(at).unwrap()]);
            let inside: i64 = runs.within(first, last).map(|(a, b, _)| b - a + 1).sum();
            let range = usize::try_from(first).unwrap()..=usize::try_from(last).unwrap();
            assert_eq!(usize::try_from(inside).unwrap(), array[range].iter().flatten().count());
        }
    }
}
