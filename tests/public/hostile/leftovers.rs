//! Leftovers of compactions and deletions that no stop leaves: garbage, cut, empty, another's.

use super::Felt::Whole;
use super::*;

/// A name, and how what lies there is made of a whole segment.
type Made = (&'static str, fn(&[u8]) -> Vec<u8>);

/// What lies under the leftover's name, made of a whole segment.
const MADE: [Made; 7] = [
    ("empty", |_| Vec::new()),
    ("a byte", |_| vec![7]),
    ("garbage", |_| b"garbage".repeat(100)),
    ("zeros", |whole| vec![0; whole.len()]),
    ("cut", |whole| whole[..whole.len() - 30].to_vec()),
    ("half", |whole| whole[..whole.len() / 2].to_vec()),
    ("flipped", |whole| {
        let mut bytes = whole.to_vec();
        bytes[70] ^= 1;
        bytes
    }),
];

fn hold_leftovers(suffixes: &[&'static str], made: &[Made]) {
    let source = Source::new();
    let third = source.bases[2];
    let last = *source.bases.last().expect("one");
    let mut table = Vec::new();
    for suffix in suffixes {
        for (what, make) in made {
            for base in [third, third + 1, last] {
                let (suffix, make) = (*suffix, *make);
                let lie = Lie::new(what, 0..0, move |files: &mut Files| {
                    let whole = files[&log_name(third)].clone();
                    files.insert(format!("{base:020}{suffix}"), make(&whole));
                });
                table.push((lie, [Whole; 5]));
            }
        }
    }
    hold(&source, &table);
}

#[test]
fn rewritten_logs() {
    hold_leftovers(&[".log.swap"], &MADE);
}

#[test]
fn unfinished_rewrites() {
    hold_leftovers(&[".log.cleaned"], &MADE);
    hold_leftovers(&[".log.cleaned"], &[("whole", <[u8]>::to_vec)]);
}

#[test]
fn deleted_logs() {
    hold_leftovers(&[".log.deleted"], &MADE[..3]);
    hold_leftovers(&[".log.deleted"], &[("whole", <[u8]>::to_vec)]);
}

#[test]
fn leftovers_of_sidecars() {
    let suffixes = [
        ".index.swap",
        ".timeindex.swap",
        ".txnindex.swap",
        ".digest.swap",
        ".index.cleaned",
        ".timeindex.deleted",
        ".log.tmp",
        ".index.tmp",
    ];
    hold_leftovers(&suffixes, &MADE[2..4]);
}

/// A rewrite that is whole takes the place of what it was made of, and of nothing else.
#[test]
fn a_rewrite_of_the_same_records() {
    let source = Source::new();
    let third = source.bases[2];
    let same = Lie::new("the same", 0..0, move |files: &mut Files| {
        let whole = files[&log_name(third)].clone();
        let length = split(&whole).iter().map(|(_, batch)| batch.len()).sum();
        files.insert(format!("{third:020}.log.swap"), whole[..length].to_vec());
    });
    let below = Lie::new("of records before its name", 0..0, move |files: &mut Files| {
        let whole = files[&log_name(third)].clone();
        files.insert(format!("{:020}.log.swap", third + 1), whole);
    });
    hold(&source, &[(same, [Whole; 5]), (below, [Whole; 5])]);
}
