//! Whom the system tells which pages are in memory.

use std::os::unix::fs::chown;

use super::*;

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
