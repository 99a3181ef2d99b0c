//! Batches and segments whose order is a lie: overlapping, reordered, twice, missing, exchanged,
//! under another's name.

use super::Felt::{Cut, Error, Gone, Whole};
use super::*;

/// Nothing is lost but the tail that nobody vouches for, which is put aside.
const DAMAGE: [Felt; 5] = [Error, Error, Error, Error, Cut];
/// In a directory of Kafka's offsets may be missing.
const GONE: [Felt; 5] = [Error, Error, Gone, Gone, Gone];

/// What comes a second time is passed over where nothing of ours vouches for the bytes.
const TWICE: [Felt; 5] = [Error, Error, Whole, Whole, Cut];
/// Every record is found in one of the files.
const SAME: [Felt; 5] = [Whole, Whole, Whole, Whole, Cut];

impl Source {
    /// The first offset of a segment and that of the next.
    fn span(&self, number: usize) -> Range<i64> {
        self.bases[number]..self.bases.get(number + 1).copied().unwrap_or(self.end)
    }

    /// The number of a sealed segment whose records were saved, without markers in it or behind it.
    fn plain_segment(&self) -> usize {
        let has_marker = |number: usize| {
            let span = self.span(number);
            let mut controls = self.batches.iter().filter(|(_, _, batch)| batch[22] & 0x20 > 0);
            controls.any(|(_, _, batch)| span.contains(&base_of(batch)))
        };
        let mut found = 1..self.bases.len() - 2;
        let it = found.find(|number| !has_marker(*number) && !has_marker(number + 1));
        it.expect("two segments without markers")
    }

    /// That segment's name and offsets.
    fn sealed(&self) -> (String, Range<i64>) {
        let number = self.plain_segment();
        (log_name(self.bases[number]), self.span(number))
    }
}

/// Two batches that lie behind each other, as their places.
fn neighbours(source: &Source) -> (String, Range<usize>, Range<usize>, Range<i64>) {
    let plain = source.batch("plain");
    let of_it: Vec<_> = source
        .batches
        .iter()
        .filter(|(name, at, _)| *name == plain.name && *at >= plain.at)
        .collect();
    let [(_, first, one), (_, second, two), ..] = of_it[..] else { panic!("two batches") };
    // what follows lies elsewhere, where no index looks for it
    let about = base_of(one)..source.end_of_segment(&plain.name);
    (plain.name, *first..first + one.len(), *second..second + two.len(), about)
}

#[test]
fn batches_in_another_order() {
    let source = Source::new();
    let (name, first, second, about) = neighbours(&source);
    let on = |what, change: fn(&[u8], &[u8]) -> Vec<u8>| {
        let (name, first, second) = (name.clone(), first.clone(), second.clone());
        Lie::new(what, about.clone(), move |files: &mut Files| {
            let log = files.get_mut(&name).expect("its segment");
            let made = change(&log[first.clone()], &log[second.clone()]);
            log.splice(first.start..second.end, made);
        })
    };
    hold(
        &source,
        &[
            (on("exchanged", |one, two| [two, one].concat()), [Error, Error, Gone, Gone, Cut]),
            (on("the first one twice", |one, two| [one, one, two].concat()), TWICE),
            (on("both of them twice", |one, two| [one, two, one, two].concat()), TWICE),
            (on("the first one is missing", |_, two| two.to_vec()), GONE),
            (on("the second one is missing", |one, _| one.to_vec()), GONE),
            (
                on("the first in the place of the second", |one, _| [one, one].concat()),
                [Error, Error, Error, Gone, Cut],
            ),
            (on("zeros between them", |one, two| [one, &[0; 40], two].concat()), DAMAGE),
            (on("garbage between them", |one, two| [one, b"garbage", two].concat()), DAMAGE),
        ],
    );
}

/// A batch of a much later offset among earlier ones, and one of an earlier among later ones.
#[test]
fn batches_of_other_segments() {
    let source = Source::new();
    let plain = source.batch("plain");
    let behind = plain.about.start..source.end_of_segment(&plain.name);
    let of = |what, other: Vec<u8>| {
        let plain = plain.clone();
        Lie::new(what, behind.clone(), move |files: &mut Files| {
            let log = files.get_mut(&plain.name).expect("its segment");
            log.splice(plain.at..plain.at, other.iter().copied());
        })
    };
    let (first, last) =
        (source.batches[0].2.clone(), source.batches.last().expect("one").2.clone());
    hold(
        &source,
        &[(of("the first of all", first), DAMAGE), (of("the last of all", last), DAMAGE)],
    );
}

fn remove_segment(files: &mut Files, base: i64) {
    let stem = format!("{base:020}.");
    files.retain(|name, _| !name.starts_with(&stem) || name.ends_with(".snapshot"));
}

#[test]
fn segments_that_are_missing() {
    let source = Source::new();
    let missing = |what, number: usize| {
        let base = source.bases[number];
        Lie::new(what, source.span(number), move |files: &mut Files| remove_segment(files, base))
    };
    let emptied = |what, number: usize| {
        let name = log_name(source.bases[number]);
        Lie::new(what, source.span(number), move |files: &mut Files| {
            files.get_mut(&name).expect("it").clear();
        })
    };
    let (middle, last) = (source.plain_segment(), source.bases.len() - 1);
    hold(
        &source,
        &[
            (missing("the first", 0), GONE),
            (missing("one in the middle", middle), GONE),
            (missing("the last", last).takes_markers(), [Error, Cut, Cut, Cut, Cut]),
            (emptied("the first is empty", 0), GONE),
            (emptied("one in the middle is empty", middle), GONE),
            (emptied("the last is empty", last).takes_markers(), [Error, Cut, Cut, Cut, Cut]),
        ],
    );
}

#[test]
fn segments_that_overlap() {
    let source = Source::new();
    let (name, span) = source.sealed();
    let next = log_name(span.end);
    let inner = source.batches.iter().find(|(of, at, _)| *of == name && *at > 200).expect("one");
    let (at, base) = (inner.1, base_of(&inner.2));
    let both = span.start..source.span(source.plain_segment() + 1).end;
    let copy = {
        let name = name.clone();
        Lie::new("a second one of its latter half", span.clone(), move |files: &mut Files| {
            let half = files[&name][at..].to_vec();
            files.insert(log_name(base), half);
        })
    };
    let whole = {
        let name = name.clone();
        Lie::new(
            "a second one of all of it, a name later",
            span.clone(),
            move |files: &mut Files| {
                let all = files[&name].clone();
                files.insert(log_name(base), all);
            },
        )
    };
    let swallowed = {
        let (name, next) = (name.clone(), next.clone());
        Lie::new("the next one's batches too", both.clone(), move |files: &mut Files| {
            let more = files[&next].clone();
            let log = files.get_mut(&name).expect("it");
            log.extend_from_slice(&more);
        })
    };
    let exchanged = {
        let (name, next) = (name.clone(), next.clone());
        Lie::new("exchanged contents", both.clone(), move |files: &mut Files| {
            let (one, two) = (files[&name].clone(), files[&next].clone());
            files.insert(name.clone(), two);
            files.insert(next.clone(), one);
        })
    };
    let twice = {
        let (name, next) = (name.clone(), next.clone());
        Lie::new("one's contents under both names", both, move |files: &mut Files| {
            let one = files[&name].clone();
            files.insert(next.clone(), one);
        })
    };
    hold(
        &source,
        &[
            (copy, SAME),
            (whole, SAME),
            (swallowed, SAME),
            (exchanged, [Error, Error, Gone, Gone, Cut]),
            (twice, DAMAGE),
        ],
    );
}

#[test]
fn segments_under_other_names() {
    let source = Source::new();
    let (_, span) = source.sealed();
    let renamed = |what, to: i64| {
        let base = span.start;
        Lie::new(what, span.clone(), move |files: &mut Files| {
            let from = format!("{base:020}.");
            let own: Vec<_> =
                files.keys().filter(|name| name.starts_with(&from)).cloned().collect();
            for name in own.into_iter().filter(|name| !name.ends_with(".snapshot")) {
                let bytes = files.remove(&name).expect("it");
                files.insert(format!("{to:020}.{}", &name[from.len()..]), bytes);
            }
        })
    };
    let odd = |what, name: &'static str| {
        let (sealed, _) = source.sealed();
        Lie::new(what, 0..0, move |files: &mut Files| {
            let bytes = files[&sealed].clone();
            files.insert(name.to_owned(), bytes);
        })
    };
    hold(
        &source,
        &[
            (renamed("an offset earlier", span.start - 1), SAME),
            (renamed("an offset later", span.start + 1), DAMAGE),
            (renamed("the last offset", i64::MAX - 1), GONE),
            (odd("no number", "abc.log"), [Whole; 5]),
            (odd("a short number", "12.log"), [Whole; 5]),
            (odd("a number below zero", "-0000000000000000012.log"), [Whole; 5]),
            (odd("a number beyond all", "99999999999999999999.log"), [Whole; 5]),
            (odd("no name", ".log"), [Whole; 5]),
            (odd("another's suffix", "00000000000000000012.log.bak"), [Whole; 5]),
            (odd("in capitals", "00000000000000000012.LOG"), [Whole; 5]),
        ],
    );
}
