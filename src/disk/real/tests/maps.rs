//! What becomes of maps: given back when nothing in them is unsynced, and what their views are.

use super::*;
#[cfg(target_os = "linux")]
use crate::disk::tests::{mappings_of, resident_bytes_of};

/// How often this thread has waited for the device because it looked at a page.
#[cfg(target_os = "linux")]
fn major_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, behind_the_name) = stat.rsplit_once(')').unwrap();
    behind_the_name.split_whitespace().nth(9).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_map_is_given_back_once_nothing_in_it_is_unsynced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    let disk = RealDisk::new(IoMode::Mapped).unwrap();
    let file = disk.open(&path, Access::Create).unwrap();
    let mapped = || mappings_of(&path);
    // Synced while it lived.
    let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    map.allocate(4096).unwrap();
    map.publish(100);
    file.sync_data().unwrap();
    drop(map);
    assert_eq!(mapped(), 0);
    // Stored into after its last sync: kept until the next one.
    let mut map = file.map_tail(4096, 1 << 20).unwrap().unwrap();
    map.allocate(8192).unwrap();
    file.sync_data().unwrap();
    map.publish(5000);
    drop(map);
    assert_eq!(mapped(), 1);
    file.sync_data().unwrap();
    assert_eq!(mapped(), 0);
    // Written by position beside it: the same.
    let map = file.map_tail(8192, 1 << 20).unwrap().unwrap();
    file.sync_data().unwrap();
    write_all_at(&*file, b"x", 8192).unwrap();
    drop(map);
    assert_eq!(mapped(), 1);
    file.sync_data().unwrap();
    assert_eq!(mapped(), 0);
    // A reader keeps its own.
    let map = file.map_tail(8193, 1 << 20).unwrap().unwrap();
    let view = map.reader().view(8192, 8193).unwrap();
    file.sync_data().unwrap();
    drop(map);
    assert_eq!(mapped(), 1);
    assert_eq!(view, b"x"[..]);
    drop(view);
    assert_eq!(mapped(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_map_that_was_left_for_a_larger_one_goes_with_the_next_sync() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    let disk = RealDisk::new(IoMode::Mapped).unwrap();
    let file = disk.open(&path, Access::Create).unwrap();
    let mapped = || mappings_of(&path);
    let mut map = file.map_tail(0, 8192).unwrap().unwrap();
    map.allocate(8192).unwrap();
    file.sync_data().unwrap();
    map.enlarge(1 << 20).unwrap();
    assert_eq!(mapped(), 1, "nothing in it was unsynced");
    map.publish(100);
    map.enlarge(2 << 20).unwrap();
    assert_eq!(mapped(), 2);
    file.sync_data().unwrap();
    assert_eq!(mapped(), 1);
    let mut capacity = 2 << 20;
    for end in 101..120 {
        map.publish(end);
        capacity += 4096;
        map.enlarge(capacity).unwrap();
    }
    assert!(mapped() <= 6, "those that wait for a sync are bounded");
    drop(map);
    file.sync_data().unwrap();
    assert_eq!(mapped(), 0);
}

#[test]
fn a_view_of_what_the_device_cannot_give_is_an_error_and_no_signal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let Ok(disk) = RealDisk::new(IoMode::Mapped) else { return };
    let file = disk.open(&path, Access::Create).unwrap();
    let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    map.allocate(64 << 10).unwrap();
    map.window(0, 64 << 10).fill(7);
    map.publish(64 << 10);
    map.rest();
    let reader = map.reader();
    assert_eq!(reader.view(100, 40_000).unwrap(), vec![7; 39_900]);
    // what another program cut away stands for what the device does not read
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(8192).unwrap();
    assert_eq!(reader.view(100, 8000).unwrap(), vec![7; 7900]);
    let error = reader.view(100, 40_000).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
}

#[test]
#[cfg(target_os = "linux")]
fn pages_that_are_on_the_device_alone_are_brought_in_before_they_are_lent() {
    use rustix::fs::{Advice, fadvise};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let Ok(disk) = RealDisk::new(IoMode::Mapped) else { return };
    let file = disk.open(&path, Access::Create).unwrap();
    let mut map = file.map_tail(0, 4 << 20).unwrap().unwrap();
    map.allocate(3 << 20).unwrap();
    map.window(0, 3 << 20).fill(7);
    map.publish(3 << 20);
    map.rest();
    let reader = map.reader();
    file.sync_data().unwrap();
    map.rest();
    fadvise(fs::File::open(&path).unwrap(), 0, None, Advice::DontNeed).unwrap();
    let asked = major_faults();
    let view = reader.view(100, 3 << 20).unwrap();
    let before = major_faults();
    assert!(before - asked < 384, "768 pages were waited for one by one");
    assert!(view.iter().all(|byte| *byte == 7));
    assert_eq!(major_faults(), before, "what the device gave only when it was looked at");
}

/// Bytes of a mapped file that this process's pages have and the system was not told to write.
#[cfg(target_os = "linux")]
fn dirty_bytes_of(path: &Path) -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut of_file, mut dirty) = (false, 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Shared_Dirty:" | "Private_Dirty:") if of_file => {
                dirty += words.next().unwrap().parse::<u64>().unwrap() << 10;
            }
            Some(word) if !word.ends_with(':') => {
                of_file = line.ends_with(&*path.to_string_lossy());
            }
            _ => {}
        }
    }
    dirty
}

/// A sync that only said so would be found out by a power cut.
#[test]
#[cfg(target_os = "linux")]
fn a_sync_has_the_system_write_what_was_stored_through_a_map() {
    const TMPFS: u64 = 0x0102_1994;
    let directory = tempfile::tempdir().unwrap();
    if rustix::fs::statfs(directory.path()).unwrap().f_type as u64 == TMPFS {
        println!("SKIP 1: the file system has nothing to write to");
        return;
    }
    let path = directory.path().join("f");
    let disk = RealDisk::new(IoMode::Mapped).unwrap();
    let file = disk.open(&path, Access::Create).unwrap();
    let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    map.allocate(64 << 10).unwrap();
    file.sync_data().unwrap();
    map.window(0, 64 << 10).fill(7);
    map.publish(64 << 10);
    assert!(dirty_bytes_of(&path) >= 64 << 10, "the control");
    file.sync_data().unwrap();
    assert_eq!(dirty_bytes_of(&path), 0);
}

/// For the processor: the map itself, and what it shares with readers, which is another where the
/// file is mapped anew.
#[test]
#[cfg(target_os = "linux")]
fn where_a_map_lies_is_told_and_changes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(IoMode::Mapped).unwrap();
    let file = disk.open(&directory.path().join("f"), Access::Create).unwrap();
    let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    let [own, shared] = map.lines().unwrap();
    assert_eq!(own, std::ptr::from_ref(&*map).cast::<()>().addr());
    map.enlarge(2 << 20).unwrap();
    let [still, other] = map.lines().unwrap();
    assert!(still == own && other != shared && ![0, own].contains(&other));
}

/// A sync looks at each page that is mapped and dirty; those far behind a writer need not be.
#[test]
#[cfg(target_os = "linux")]
fn pages_far_behind_the_writer_are_let_go_and_come_back_when_they_are_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    let disk = RealDisk::new(IoMode::Mapped).unwrap();
    let file = disk.open(&path, Access::Create).unwrap();
    let mut map = file.map_tail(0, 32 << 20).unwrap().unwrap();
    let step = 1 << 20;
    for at in (0..16).map(|number| number * step) {
        map.allocate(at + step).unwrap();
        map.window(at, 1 << 20).fill(u8::try_from(at / step).unwrap() + 1);
        map.publish(at + step);
    }
    let resident = resident_bytes_of(&path);
    assert!(resident < 4 << 20, "{resident} of {} bytes", 16 * step);
    let view = map.reader().view(0, 16 * step).unwrap();
    for (at, bytes) in view.chunks(1 << 20).enumerate() {
        let expected = u8::try_from(at).unwrap() + 1;
        assert!(bytes.iter().all(|byte| *byte == expected), "piece {at}");
    }
}

/// However the end of a view lies to the pages: one too many is refused only where it is not there.
#[test]
#[cfg(target_os = "linux")]
fn views_end_anywhere_and_are_refused_where_the_file_was_cut() {
    const PAGE: u64 = 4096;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    let disk = RealDisk::new(IoMode::Mapped).unwrap();
    let file = disk.open(&path, Access::Create).unwrap();
    write_all_at(&*file, &vec![7; 4 * 4096], 0).unwrap();
    let map = file.map_tail(4 * PAGE, 4 * PAGE).unwrap().unwrap();
    let reader = map.reader();
    for start in [0, 1, PAGE, PAGE + 9] {
        for end in [PAGE + 10, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 1, 4 * PAGE - 1, 4 * PAGE] {
            assert_eq!(reader.view(start, end).unwrap().len() as u64, end - start);
        }
    }
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(PAGE).unwrap();
    for end in [2 * PAGE, 3 * PAGE, 3 * PAGE + 1, 4 * PAGE] {
        let error = reader.view(0, end).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "up to {end}");
    }
}
