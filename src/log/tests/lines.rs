//! What an append looks at lies on as few cache lines as it can: who appends to thousands of logs
//! in turn pays for each.

use std::mem::{offset_of, size_of};

use super::super::core::{PartitionLog, Writer};
use super::super::marks::Marks;
use super::super::rules::RulesCell;
use crate::disk::latch::Latch;
use crate::sync::Mutex;

/// On which line of its log a byte lies.
fn line(at: usize) -> usize {
    at / 64
}

#[test]
fn what_an_append_reads_of_its_log_lies_on_one_line() {
    let latch = offset_of!(PartitionLog, latch) + size_of::<Latch>() - 8; // its flag comes last
    let rules = offset_of!(PartitionLog, rules);
    let marks = offset_of!(PartitionLog, marks); // the next mark comes first
    assert!(size_of::<Marks>() >= 8);
    assert_eq!(line(latch), line(rules));
    assert_eq!(line(rules + size_of::<RulesCell>() - 1), line(latch));
    assert_eq!(line(offset_of!(PartitionLog, flush_after)), line(latch));
    assert_eq!(line(marks + 7), line(latch));
}

#[test]
fn what_it_writes_lies_on_another_and_its_lock_on_a_third() {
    let offsets = offset_of!(PartitionLog, offsets); // the end comes first, the counts before it
    assert_eq!(line(offsets - 24), line(offsets + 7));
    let writer = offset_of!(PartitionLog, writer);
    let lock = size_of::<Mutex<Writer>>() - size_of::<Writer>();
    assert_eq!(writer % 64, 0);
    assert_eq!(lock + offset_of!(Writer, tail), 64);
}
