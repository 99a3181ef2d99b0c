//! What only the real disk has: the pool of descriptors, locks against other processes, forks.
//!
//! Tests that need a process of their own run this binary again, naming one test and setting
//! [`CHILD`]; without it the child's part returns at once.

mod maps;
mod system;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::super::{read_full_at, write_all_at};
use super::*;

/// Set for a process that plays a part of a test, to what it works on.
const CHILD: &str = "TIDELOG_TEST_CHILD";

fn child(test: &str, argument: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &format!("disk::real::tests::{test}"), "--nocapture"])
        .args(["--test-threads", "1"])
        .env(CHILD, argument);
    command
}

fn argument() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_full_at(file, &mut bytes, 0).unwrap();
    bytes
}

fn modes() -> Vec<IoMode> {
    match cfg!(target_os = "linux") {
        true => vec![IoMode::Mapped, IoMode::Positioned],
        false => vec![IoMode::Positioned],
    }
}

#[test]
fn an_entry_that_goes_while_its_directory_is_listed_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["stays", "goes"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let entries: Vec<_> = fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect();
    fs::remove_file(dir.path().join("goes")).unwrap();
    let seen: Vec<_> = entries.iter().filter_map(|entry| look_at(entry).unwrap()).collect();
    assert_eq!(seen, [Entry { name: "stays".to_owned(), is_dir: false, len: 5 }]);
}

#[test]
fn closed_descriptors_are_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::with_budget(IoMode::Positioned, 4);
    let path = |at: usize| directory.path().join(format!("f{at}"));
    let files: Vec<_> = (0..40)
        .map(|at| {
            let file = disk.open(&path(at), Access::Create).unwrap();
            write_all_at(&*file, &[at as u8; 10], 0).unwrap();
            file
        })
        .collect();
    for round in 0..3 {
        for (at, file) in files.iter().enumerate() {
            assert_eq!(content(&**file), [at as u8; 10], "round {round}");
            file.sync_data().unwrap();
            assert!(disk.shared.pool.open_now() <= 5);
        }
    }
    drop(files);
    assert_eq!(disk.shared.pool.open_now(), 0);
}

/// One look at all of them for each that opens took half of the time of ten thousand closes.
#[test]
fn dirty_descriptors_are_closed_several_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::with_budget(IoMode::Positioned, 64);
    let make = |at: u8| {
        let path = directory.path().join(format!("f{at}"));
        let file = disk.open(&path, Access::Create).unwrap();
        write_all_at(&*file, &[at; 10], 0).unwrap();
        file
    };
    let files: Vec<_> = (0..64).map(make).collect();
    assert_eq!(disk.shared.pool.open_now(), 64);
    let more: Vec<_> = (64..74).map(make).collect();
    assert_eq!(disk.shared.pool.open_now(), 64 - 2 * 9 + 10);
    for (at, file) in (0..).zip(files.iter().chain(&more)) {
        file.sync_data().unwrap();
        assert_eq!(content(&**file), [at; 10]);
    }
}

#[test]
fn closed_descriptors_follow_renames_and_removals() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let disk = RealDisk::with_budget(IoMode::Positioned, 2);
    let make = |name: &str| {
        let file = disk.open(&root.join(name), Access::Create).unwrap();
        write_all_at(&*file, name.as_bytes(), 0).unwrap();
        file.sync_data().unwrap();
        file
    };
    disk.create_dir_all(&root.join("d")).unwrap();
    let (moved, inside, removed, replaced) = (make("a"), make("d/b"), make("c"), make("e"));
    let others: Vec<_> = (0..10).map(|at| make(&format!("x{at}"))).collect();
    disk.rename(&root.join("a"), &root.join("a2")).unwrap();
    disk.rename(&root.join("d"), &root.join("d2")).unwrap();
    disk.remove_file(&root.join("c")).unwrap();
    disk.rename(&root.join("x9"), &root.join("e")).unwrap();
    drop(make("c"));
    for other in &others {
        content(&**other);
    }
    assert_eq!(content(&*moved), b"a");
    assert_eq!(content(&*inside), b"d/b");
    assert_eq!(inside.path(), root.join("d2/b"));
    assert_eq!(content(&*removed), b"c");
    assert_eq!(content(&*replaced), b"e");
    assert_eq!(content(&*others[9]), b"x9");
}

#[test]
fn a_file_replaced_by_another_hand_is_not_taken_for_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::with_budget(IoMode::Positioned, 2);
    let path = directory.path().join("f");
    let file = disk.open(&path, Access::Create).unwrap();
    let other = directory.path().join("g");
    fs::write(&other, b"other").unwrap();
    fs::rename(&other, &path).unwrap();
    let fill: Vec<_> = (0..6)
        .map(|at| disk.open(&directory.path().join(format!("x{at}")), Access::Create).unwrap())
        .collect();
    let error = file.len().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("replaced"), "{error}");
    drop(fill);
}

#[test]
#[cfg(target_os = "linux")]
fn a_cut_under_a_live_map_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(IoMode::Mapped).unwrap();
    let file = disk.open(&directory.path().join("f"), Access::Create).unwrap();
    let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    map.allocate(8192).unwrap();
    assert_eq!(file.set_len(4096).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    map.window(8000, 100).fill(1);
    map.publish(8100);
    let reader = map.reader();
    drop(map);
    file.set_len(8100).unwrap();
    assert_eq!(reader.view(8000, 8100).unwrap(), vec![1; 100]);
}

#[test]
#[cfg(target_os = "linux")]
fn views_are_the_mapped_memory() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(IoMode::Mapped).unwrap();
    let file = disk.open(&directory.path().join("f"), Access::Create).unwrap();
    let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    map.allocate(4096).unwrap();
    let stored_at = map.window(0, 10).as_ptr();
    map.publish(10);
    let reader = map.reader();
    assert_eq!(reader.view(0, 10).unwrap().as_ptr(), stored_at);
    assert_eq!(
        reader.view(3, 10).unwrap().as_ptr(),
        reader.view(0, 10).unwrap().slice(3..).as_ptr()
    );
}

#[test]
fn thousands_of_files_under_a_limit_of_256() {
    let directory = tempfile::tempdir().unwrap();
    for (at, _) in modes().iter().enumerate() {
        let root = directory.path().join(at.to_string());
        let ran = child("thousands_of_files_child", &root).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }
}

/// Many times the limit, whatever the budget.
fn many() -> u32 {
    u32::try_from(crate::seeds::pick(800, 3_000, 3_000)).unwrap()
}

#[test]
fn thousands_of_files_child() {
    let Some(root) = argument() else { return };
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let limit = Rlimit { current: Some(256), maximum: Some(256) };
        setrlimit(Resource::Nofile, limit).unwrap();
    }
    let is_first = root.file_name().is_some_and(|name| name == "0");
    let disk = RealDisk::new(modes()[usize::from(!is_first)]).unwrap();
    disk.create_dir_all(&root).unwrap();
    let mut files = Vec::new();
    for at in 0u32..many() {
        let file = disk.open(&root.join(at.to_string()), Access::CreateNew).unwrap();
        let map = file.map_tail(0, 1 << 20).unwrap();
        files.push((file, map));
    }
    for round in 0u64..3 {
        for (at, (file, map)) in (0u32..).zip(&mut files) {
            let (bytes, position) = (at.to_be_bytes(), round * 4);
            match map {
                Some(map) => {
                    map.allocate(4096).unwrap();
                    map.window(position, 4).copy_from_slice(&bytes);
                    map.publish(position + 4);
                }
                None => write_all_at(&**file, &bytes, position).unwrap(),
            }
            if at % 8 == 0 {
                file.sync_data().unwrap();
            }
        }
    }
    for (at, (file, _)) in (0u32..).zip(&files) {
        let mut bytes = [0; 12];
        assert_eq!(read_full_at(&**file, &mut bytes, 0).unwrap(), 12);
        assert!(bytes.chunks(4).all(|chunk| chunk == at.to_be_bytes()));
    }
    assert_eq!(disk.list(&root).unwrap().len(), many() as usize);
}

#[test]
#[cfg(target_os = "linux")]
fn a_posix_lock_holder_refuses_us() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".lock");
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    let mut holder = hold("posix_lock_child", &path);
    let error = disk.lock(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains("another holder"), "{error}");
    holder.0.kill().unwrap();
    holder.0.wait().unwrap();
    drop(disk.lock(&path).unwrap());
}

#[test]
#[cfg(target_os = "linux")]
fn a_lock_refuses_other_processes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".lock");
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    let lock = disk.lock(&path).unwrap();
    for part in ["posix_lock_refused_child", "flock_refused_child", "second_open_refused_child"] {
        let ran = child(part, &path).output().unwrap();
        assert!(ran.status.success(), "{part}: {}", String::from_utf8_lossy(&ran.stdout));
    }
    drop(lock);
    let mut holder = hold("second_open_child", &path);
    assert_eq!(disk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    holder.0.kill().unwrap();
    holder.0.wait().unwrap();
    drop(disk.lock(&path).unwrap());
}

/// A process that holds a lock until it is killed.
#[cfg(target_os = "linux")]
struct Holder(std::process::Child);

#[cfg(target_os = "linux")]
impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(target_os = "linux")]
fn hold(part: &str, path: &Path) -> Holder {
    use std::io::BufRead;
    let mut process =
        child(part, path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = io::BufReader::new(process.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).any(|line| line.contains("held"));
    let holder = Holder(process);
    assert!(held, "the child took the lock");
    holder
}

#[cfg(target_os = "linux")]
fn held_until_killed() {
    println!("held");
    loop {
        std::thread::park();
    }
}

#[cfg(target_os = "linux")]
fn lock_file(path: &Path) -> fs::File {
    fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn posix_lock_child() {
    let Some(path) = argument() else { return };
    let file = lock_file(&path);
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    held_until_killed();
}

#[test]
#[cfg(target_os = "linux")]
fn posix_lock_refused_child() {
    let Some(path) = argument() else { return };
    let file = lock_file(&path);
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::fcntl_lock(&file, operation).unwrap_err();
}

#[test]
#[cfg(target_os = "linux")]
fn flock_refused_child() {
    let Some(path) = argument() else { return };
    let file = lock_file(&path);
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&file, operation).unwrap_err();
}

#[test]
#[cfg(target_os = "linux")]
fn second_open_refused_child() {
    let Some(path) = argument() else { return };
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    assert_eq!(disk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
#[cfg(target_os = "linux")]
fn second_open_child() {
    let Some(path) = argument() else { return };
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    let _lock = disk.lock(&path).unwrap();
    held_until_killed();
}

#[test]
#[cfg(target_os = "linux")]
fn the_file_system_decides_the_mode() {
    let proc = RealDisk::for_directory("/proc/self").unwrap();
    assert_eq!(proc.mode(), IoMode::Positioned);
    let missing = std::env::temp_dir().join("tidelog-missing/deeper");
    RealDisk::for_directory(missing).unwrap();
    RealDisk::for_directory("a-relative-name-that-does-not-exist").unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_failed_allocation_leaves_the_tail_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    // A limit on file sizes stands in for a full disk; its signal must be ignored from outside.
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let plain = child("failed_allocation_child", &directory.path().join("f"));
    let ran = Command::new("sh")
        .args(["-c", script])
        .arg(plain.get_program())
        .args(plain.get_args())
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}

#[test]
#[cfg(target_os = "linux")]
fn failed_allocation_child() {
    let Some(path) = argument() else { return };
    let disk = RealDisk::new(IoMode::Mapped).unwrap();
    let file = disk.open(&path, Access::Create).unwrap();
    let mut map = file.map_tail(0, 1 << 20).unwrap().unwrap();
    map.allocate(4096).unwrap();
    map.window(0, 4).copy_from_slice(b"kept");
    map.publish(4);
    for _ in 0..2 {
        let error = map.allocate(1 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!((map.allocated(), file.len().unwrap()), (4096, 4096));
    }
    map.window(4, 4092).fill(1);
    map.publish(4096);
    map.allocate(8192).unwrap();
    assert!(map.window(4096, 4096).iter().all(|byte| *byte == 0));
    assert_eq!(&content(&*file)[..5], b"kept\x01");
    file.sync_data().unwrap();
}

/// The kernel syncs neither this device nor a directory of `/proc`, and says so: who is told that a
/// sync is done has not asked it.
#[test]
#[cfg(target_os = "linux")]
fn every_sync_asks_the_kernel_and_a_file_that_has_failed_goes_on_failing() {
    const EINVAL: Option<i32> = Some(22);
    let null = Path::new("/dev/null");
    for mode in modes() {
        for is_written in [false, true] {
            let disk = RealDisk::new(mode).unwrap();
            let file = disk.open(null, Access::Write).unwrap();
            if is_written {
                file.write_at(b"x", 0).unwrap();
            }
            for _ in 0..2 {
                let refused = file.sync_data().unwrap_err();
                assert_eq!(refused.raw_os_error(), EINVAL, "{mode:?}, written: {is_written}");
            }
        }
        let disk = RealDisk::new(mode).unwrap();
        let refused = disk.sync_dir(Path::new("/proc")).unwrap_err();
        assert_eq!(refused.raw_os_error(), EINVAL, "{mode:?}");
    }
    let proc = fs::File::open("/proc/self/status").unwrap();
    assert_eq!(os::sync_whole(&proc).unwrap_err().raw_os_error(), EINVAL);
    assert!(!os::syncs_whole(&proc).unwrap(), "only what is known to");
}

#[test]
fn what_cannot_be_looked_at_is_not_missing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    let file = directory.path().join("file");
    assert_eq!(disk.metadata(&file).unwrap(), None);
    fs::write(&file, b"x").unwrap();
    assert_eq!(disk.metadata(&file).unwrap().unwrap().len, 1);
    assert!(disk.metadata(&file.join("below")).is_err(), "a file has nothing below it");
}

/// Told by other means than the magic numbers. A kernel 5 is on either side of what counts.
#[test]
#[cfg(target_os = "linux")]
fn the_file_systems_that_are_named_are_mapped_and_synced_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let shown = Command::new("stat").args(["-f", "-c", "%T"]).arg(directory.path()).output();
    let kind = String::from_utf8(shown.unwrap().stdout).unwrap();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let major: u32 = release.split('.').next().unwrap().parse().unwrap();
    let is_named = ["ext2/ext3", "xfs"].contains(&kind.trim());
    let file = fs::File::open(directory.path()).unwrap();
    if !is_named || major != 5 {
        assert_eq!(os::syncs_whole(&file).unwrap(), is_named && major > 5, "{kind}, {release}");
    }
    let is_mapped = os::mode_for(directory.path()).unwrap() == IoMode::Mapped;
    assert_eq!(is_mapped, is_named || kind.trim() == "tmpfs", "{kind}");
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_free_is_about_what_the_system_says() {
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    let free = disk.available(directory.path()).unwrap().unwrap();
    let shown = Command::new("df").args(["--output=avail", "-B1"]).arg(directory.path()).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let told: u64 = shown.lines().nth(1).unwrap().trim().parse().unwrap();
    assert!(free / 2 <= told && told / 2 <= free, "{free} and {told}"); // others write meanwhile
    assert!(disk.available(&directory.path().join("missing")).is_err());
}
