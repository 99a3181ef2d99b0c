//! Whom the system tells which pages are in memory.

use std::os::unix::fs::chown;

use super::*;
use crate::disk::tests::resident_bytes_of;

/// Of another user's file it calls every page cached: nothing is to be made of that.
#[test]
fn the_page_cache_is_asked_about_files_of_ones_own_alone() {
    let own = tempfile::NamedTempFile::new().unwrap();
    assert!(is_own(&own.as_file().metadata().unwrap()));
    let others = match rustix::process::geteuid().is_root() {
        true => {
            chown(own.path(), Some(65534), None).unwrap();
            own.as_file().metadata()
        }
        false => std::fs::metadata("/"),
    };
    assert!(!is_own(&others.unwrap()));
}

/// A file of `pages` that are all published, and a map that has none of them.
fn mapped(pages: usize) -> (tempfile::NamedTempFile, Writer) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; pages * PAGE]).unwrap();
    let end = (pages * PAGE) as u64;
    let writer = Mapping::create(file.as_file(), end, end).unwrap();
    (file, writer)
}

#[test]
fn what_another_program_cuts_away_is_mapped_by_nobody_and_raises_no_signal() {
    let (file, writer) = mapped(256);
    file.as_file().set_len(PAGE as u64 * 100).unwrap();
    writer.mapping().map_cached(0, 256 * PAGE as u64);
    writer.mapping().map_cached(200 * PAGE as u64, 256 * PAGE as u64);
    writer.mapping().map_cached(7, 7);
    let resident = resident_bytes_of(file.path());
    assert!(resident <= 128 * PAGE as u64, "{resident}");
}

/// The device is asked by who reads them, for many at once.
#[test]
fn pages_that_the_cache_has_not_are_left_to_who_reads_them() {
    use rustix::fs::{Advice, fadvise, fsync};
    let (file, writer) = mapped(256);
    fsync(file.as_file()).unwrap();
    fadvise(file.as_file(), 0, None, Advice::DontNeed).unwrap();
    if writer.mapping().is_cached(0, 256 * PAGE) {
        println!("SKIP 1: the file system has nothing but its cache");
        return;
    }
    writer.mapping().map_cached(0, 256 * PAGE as u64);
    assert_eq!(resident_bytes_of(file.path()), 0);
    assert!(!writer.mapping().is_cached(0, 256 * PAGE), "nothing was read for it either");
}
