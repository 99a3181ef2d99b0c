//! What lies beside the batches and lies: indexes, snapshots of producers, epochs, and files of our
//! own. None of it costs a record, and nobody is shown what was aborted.

use super::Felt::{Refused, Whole};
use super::*;

/// A name, and what becomes of a file.
type Spoilt = (&'static str, fn(&mut Vec<u8>));

/// Ways in which a file of entries is not what was written.
const SPOILT: [Spoilt; 11] = [
    ("emptied", |bytes| bytes.clear()),
    ("one byte", |bytes| bytes.truncate(1)),
    ("halved", |bytes| bytes.truncate(bytes.len() / 2)),
    ("a byte less", |bytes| bytes.truncate(bytes.len().saturating_sub(1))),
    ("a byte more", |bytes| bytes.push(7)),
    ("of zeros", |bytes| bytes.fill(0)),
    ("of ones", |bytes| bytes.fill(0xff)),
    ("reversed", |bytes| bytes.reverse()),
    ("twice", |bytes| bytes.extend_from_within(..)),
    ("a page of garbage", |bytes| {
        *bytes = (0..4_096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    }),
    ("a bit flipped in each word", |bytes| {
        bytes.iter_mut().step_by(4).for_each(|byte| *byte ^= 2);
    }),
];

/// Plants each way in every file that ends so.
fn hold_spoilt(suffix: &'static str, expected: [Felt; 5]) {
    let source = Source::new();
    let mut table = Vec::new();
    for (what, spoil) in SPOILT {
        let lie = Lie::new(what, 0..0, move |files: &mut Files| {
            let named = files.iter_mut().filter(|(name, _)| name.ends_with(suffix));
            named.for_each(|(_, bytes)| spoil(bytes));
        });
        table.push((lie, expected));
    }
    let there = source.closed.keys().any(|name| name.ends_with(suffix));
    assert!(there, "a log without {suffix}: {:?}", source.closed.keys());
    hold(&source, &table);
}

#[test]
fn offset_indexes() {
    hold_spoilt(".index", [Whole; 5]);
}

#[test]
fn time_indexes() {
    hold_spoilt(".timeindex", [Whole; 5]);
}

#[test]
fn indexes_of_aborted_transactions() {
    hold_spoilt(".txnindex", [Whole; 5]);
}

#[test]
fn snapshots_of_producers() {
    hold_spoilt(".snapshot", [Whole; 5]);
}

#[test]
fn digests() {
    hold_spoilt(".digest", [Whole; 5]);
}

#[test]
fn what_vouches_for_indexes_and_snapshots() {
    hold_spoilt("tidelog.aborted", [Whole; 5]);
    hold_spoilt("tidelog.producers", [Whole; 5]);
}

/// Well formed, and about another segment.
#[test]
fn sidecars_of_another_segment() {
    let source = Source::new();
    let mut table = Vec::new();
    for suffix in [".index", ".timeindex", ".txnindex", ".digest"] {
        let lie = Lie::new(suffix, 0..0, move |files: &mut Files| {
            let names: Vec<_> =
                files.keys().filter(|name| name.ends_with(suffix)).cloned().collect();
            let bytes: Vec<_> = names.iter().map(|name| files[name].clone()).collect();
            for (at, name) in names.iter().enumerate() {
                files.insert(name.clone(), bytes[(at + 1) % bytes.len()].clone());
            }
        });
        table.push((lie, [Whole; 5]));
        if suffix == ".txnindex" {
            continue; // where another hand left none, there was nothing to index
        }
        let lie = Lie::new(suffix, 0..0, move |files: &mut Files| {
            files.retain(|name, _| !name.ends_with(suffix));
        });
        table.push((lie, [Whole; 5]));
    }
    hold(&source, &table);
}

/// Entries in their order and within the file, and none of them where a batch begins.
#[test]
fn indexes_that_point_beside_batches() {
    let source = Source::new();
    let entries = |what, make: fn(i64, usize) -> Vec<u8>, suffix: &'static str| {
        Lie::new(what, 0..0, move |files: &mut Files| {
            let names: Vec<_> =
                files.keys().filter(|name| name.ends_with(".log")).cloned().collect();
            for name in names {
                let stem = name.trim_end_matches(".log");
                let base: i64 = stem.parse().expect("a base");
                let length = split(&files[&name]).iter().map(|(_, batch)| batch.len()).sum();
                files.insert(format!("{stem}{suffix}"), make(base, length));
            }
        })
    };
    fn pair(offset: u32, position: u32) -> [u8; 8] {
        (u64::from(offset) << 32 | u64::from(position)).to_be_bytes()
    }
    fn timed(time: i64, offset: u32) -> Vec<u8> {
        [&time.to_be_bytes()[..], &offset.to_be_bytes()[..]].concat()
    }
    hold(
        &source,
        &[
            (entries("beside a batch", |_, _| pair(3, 77).to_vec(), ".index"), [Whole; 5]),
            (
                entries("an offset at the end", |_, len| pair(1, len as u32).to_vec(), ".index"),
                [Whole; 5],
            ),
            (
                entries("beyond the file", |_, len| pair(2, len as u32 + 900).to_vec(), ".index"),
                [Whole; 5],
            ),
            (entries("a later batch's", |_, _| pair(1, 500).to_vec(), ".index"), [Whole; 5]),
            (entries("the last time", |_, _| timed(i64::MAX, 0), ".timeindex"), [Whole; 5]),
            (entries("no time", |_, _| timed(-1, 4), ".timeindex"), [Whole; 5]),
            (entries("an offset beyond", |_, _| timed(START, 900), ".timeindex"), [Whole; 5]),
            (
                entries(
                    "times that fall",
                    |_, _| [timed(START + 900, 1), timed(START, 3)].concat(),
                    ".timeindex",
                ),
                [Whole; 5],
            ),
        ],
    );
}

/// The index says of committed records that they were aborted, and of aborted ones nothing.
#[test]
fn aborted_transactions_that_were_none() {
    let source = Source::new();
    let entry = |producer: i64, first: i64, last: i64, stable: i64| {
        let numbers = [producer, first, last, stable].map(i64::to_be_bytes).concat();
        [&0_u16.to_be_bytes()[..], &numbers].concat()
    };
    let with = |what, bytes: Vec<u8>| {
        Lie::new(what, 0..0, move |files: &mut Files| {
            let logs: Vec<_> =
                files.keys().filter(|name| name.ends_with(".log")).cloned().collect();
            for name in logs {
                files.insert(name.replace(".log", ".txnindex"), bytes.clone());
            }
        })
    };
    hold(
        &source,
        &[
            (with("none", Vec::new()), [Whole; 5]),
            (with("the committed producer", entry(9, 0, source.end, 0)), [Whole; 5]),
            (with("another format", vec![0, 9, 1, 2]), [Whole; 5]),
            (with("below zero", entry(11, -5, -1, -9)), [Whole; 5]),
            (with("an end before the start", entry(11, 40, 3, 2)), [Whole; 5]),
        ],
    );
}

#[test]
fn epoch_files() {
    let source = Source::new();
    let with = |what, text: &'static str| {
        Lie::new(what, 0..0, move |files: &mut Files| {
            files.insert("leader-epoch-checkpoint".to_owned(), text.as_bytes().to_vec());
        })
    };
    let texts = [
        ("empty", ""),
        ("no text", "\u{fffd}\0\0"),
        ("no line", "0\n"),
        ("another version", "7\n1\n0 0\n"),
        ("none", "0\n0\n"),
        ("more lines than it says", "0\n1\n0 0\n1 10\n"),
        ("fewer lines than it says", "0\n9\n0 0\n"),
        ("a count beyond all", "0\n99999999999999999999\n0 0\n"),
        ("the largest count", "0\n2147483647\n0 0\n"),
        ("a count below zero", "0\n-1\n0 0\n"),
        ("letters", "0\n1\nzero 0\n"),
        ("one number", "0\n1\n0\n"),
        ("epochs out of order", "0\n3\n2 0\n1 20\n0 40\n"),
        ("offsets out of order", "0\n3\n0 40\n1 20\n2 0\n"),
        ("one epoch twice", "0\n2\n0 0\n0 20\n"),
        ("one offset twice", "0\n3\n0 0\n1 0\n2 0\n"),
        ("epochs below zero", "0\n2\n-7 0\n-1 20\n"),
        ("offsets below zero", "0\n2\n0 -5\n1 20\n"),
        ("offsets beyond the end", "0\n2\n0 0\n1 99999\n"),
        ("other epochs than the batches have", "0\n3\n5 0\n6 10\n7 30\n"),
    ];
    let table: Vec<_> = texts.map(|(what, text)| (with(what, text), [Whole; 5])).into();
    hold(&source, &table);
}

/// No epoch lies above the last one: the log is not opened for appends that could have none.
#[test]
fn the_last_epoch_of_all() {
    let source = Source::new();
    let lie = Lie::new("the last epoch", 0..0, |files: &mut Files| {
        files.insert("leader-epoch-checkpoint".to_owned(), b"0\n1\n2147483647 0\n".to_vec());
    });
    hold(&source, &[(lie, [Refused; 5])]);
}

#[test]
fn partition_metadata_and_keeper() {
    let source = Source::new();
    let metadata = |what, text: &'static str| {
        Lie::new(what, 0..0, move |files: &mut Files| {
            files.insert("partition.metadata".to_owned(), text.as_bytes().to_vec());
        })
    };
    hold(
        &source,
        &[
            (metadata("empty", ""), [Whole, Whole, Refused, Refused, Refused]),
            (metadata("no text", "\u{fffd}\0"), [Whole, Whole, Refused, Refused, Refused]),
            (
                metadata("another version", "version: 9\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n"),
                [Whole, Whole, Refused, Refused, Refused],
            ),
            (metadata("no id", "version: 0\n"), [Whole, Whole, Refused, Refused, Refused]),
            (
                metadata("half an id", "version: 0\ntopic_id: AAAA\n"),
                [Whole, Whole, Refused, Refused, Refused],
            ),
            (metadata("another id", "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n"), [Whole; 5]),
        ],
    );
    let mut table = Vec::new();
    for (what, spoil) in SPOILT {
        let lie = Lie::new(what, 0..0, move |files: &mut Files| {
            if let Some(keeper) = files.get_mut("tidelog.keeper") {
                spoil(keeper);
            }
        });
        // of two slots one is enough
        let one_left = ["halved", "a byte less"].contains(&what);
        let ours = if one_left { Whole } else { Refused };
        table.push((lie, [ours, ours, Whole, Whole, Whole]));
    }
    hold(&source, &table);
}
