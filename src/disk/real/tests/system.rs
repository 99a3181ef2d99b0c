//! What the system alone decides: how many descriptors there may be, what a forked child holds,
//! where links lead, which boot it is.

use super::*;

#[test]
#[cfg(target_os = "linux")]
fn a_forked_child_knows_itself_and_frees_nothing() {
    use super::super::super::island::in_forked_child;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".lock");
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    let mut lock = disk.lock(&path).unwrap();
    assert!(!disk.fork_check().is_forked_child());
    let code = in_forked_child(|| {
        let is_told = disk.fork_check().is_forked_child();
        let unlocked = lock.unlock();
        i32::from(!(is_told && unlocked.is_ok()))
    });
    assert_eq!(code, 0);
    assert_eq!(disk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    lock.unlock().unwrap();
    drop(disk.lock(&path).unwrap());
}

#[test]
#[cfg(target_os = "linux")]
fn each_process_is_told_from_all_its_ancestors_and_not_from_itself() {
    use super::super::super::island::in_forked_child;
    let made = || RealDisk::new(IoMode::Positioned).unwrap().fork_check();
    let is_told = |checks: &[ForkCheck]| checks.iter().all(ForkCheck::is_forked_child);
    let first = [made(), made()];
    let code = in_forked_child(|| {
        let told = is_told(&first); // before and after the child has disks of its own
        let second = [made(), made()];
        let told = told && is_told(&first);
        let third = in_forked_child(|| {
            let own = made();
            i32::from(!is_told(&second) || !is_told(&first) || own.is_forked_child())
        });
        i32::from(!told || second.iter().any(ForkCheck::is_forked_child)) + 2 * third
    });
    assert_eq!(code, 0);
    assert!(!first.iter().any(ForkCheck::is_forked_child));
}

/// Its copy of the open file would go on holding what is not freed but closed.
#[test]
#[cfg(target_os = "linux")]
fn a_forked_child_that_lives_on_holds_nothing_that_its_parent_has_freed() {
    use super::super::super::island::in_forked_child;
    use std::io::{Read as _, Write as _};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".lock");
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    for is_dropped in [false, true] {
        let mut lock = disk.lock(&path).unwrap();
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let child = scope.spawn(|| {
                in_forked_child(|| {
                    let mut theirs = &theirs;
                    let told = theirs.write_all(b"f").and_then(|()| theirs.read_exact(&mut [0]));
                    i32::from(told.is_err())
                })
            });
            ours.read_exact(&mut [0]).unwrap();
            let freed = match is_dropped {
                true => {
                    drop(lock);
                    Ok(())
                }
                false => lock.unlock(),
            };
            let again = disk.lock(&path);
            ours.write_all(b"d").unwrap();
            assert_eq!(child.join().unwrap(), 0);
            freed.unwrap();
            assert!(again.is_ok(), "dropped: {is_dropped}, {again:?}");
        });
    }
}

/// A quarter of the limit, 64 to 4,096.
#[test]
#[cfg(target_os = "linux")]
fn descriptors_are_a_quarter_of_what_the_process_may_have() {
    let directory = tempfile::tempdir().unwrap();
    for (limit, expected) in [(100, 64), (1024, 256), (20_000, 4096)] {
        let path = directory.path().join(limit.to_string());
        let ran = child("system::descriptors_child", &path).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(said.contains(&format!("budget {expected} of {limit}")), "{said}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn descriptors_child() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(path) = argument() else { return };
    let wanted: u64 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(wanted), maximum: most };
    setrlimit(Resource::Nofile, limit).unwrap();
    println!("budget {} of {wanted}", os::descriptor_budget());
}

#[test]
#[cfg(unix)]
fn a_link_that_leads_nowhere_is_listed_and_one_that_leads_to_itself_is_an_error() {
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    symlink("nowhere", directory.path().join("link")).unwrap();
    let found = disk.list(directory.path()).unwrap();
    assert_eq!(found.iter().map(|entry| &*entry.name).collect::<Vec<_>>(), ["link"]);
    symlink("loop", directory.path().join("loop")).unwrap();
    assert!(disk.list(directory.path()).is_err());
}

#[test]
#[cfg(target_os = "linux")]
fn the_boot_is_the_one_that_the_kernel_names() {
    let disk = RealDisk::new(IoMode::Positioned).unwrap();
    let hex: String = disk.boot_id().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let named = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(hex, named.trim().replace('-', ""));
}
