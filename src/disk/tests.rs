//! What every disk must promise: one suite, run over all forms.

mod maps;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::replace::{read_file, replace_file};
use super::*;
use bytes::Bytes;

/// A disk, a directory of it to work in, and what keeps that directory alive.
struct Place {
    name: &'static str,
    disk: Arc<dyn Disk>,
    root: PathBuf,
    is_mapped: bool,
    _directory: Option<tempfile::TempDir>,
}

fn places() -> Vec<Place> {
    let mut places = Vec::new();
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        if mode == IoMode::Mapped && !cfg!(target_os = "linux") {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        places.push(Place {
            name: if mode == IoMode::Mapped { "mapped" } else { "positioned" },
            disk: Arc::new(RealDisk::new(mode).unwrap()),
            root: directory.path().to_owned(),
            is_mapped: mode == IoMode::Mapped,
            _directory: Some(directory),
        });
    }
    let simulated = |name, disk: Arc<dyn Disk>| {
        let root = PathBuf::from("/a/root");
        disk.create_dir_all(&root).unwrap();
        Place { name, disk, root, is_mapped: true, _directory: None }
    };
    places.push(simulated("memory", Arc::new(MemoryDisk::new())));
    #[cfg(feature = "sim")]
    places.push(simulated("sim", Arc::new(SimDisk::new(7))));
    places
}

fn everywhere(test: impl Fn(&Place)) {
    for place in places() {
        println!("on {}", place.name);
        test(&place);
    }
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.err().expect("it fails").kind()
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(read_full_at(file, &mut bytes, 0).unwrap(), bytes.len());
    bytes
}

#[test]
fn opening_minds_what_exists() {
    everywhere(|place| {
        let (disk, path) = (&place.disk, place.root.join("f"));
        assert_eq!(kind(disk.open(&path, Access::Read)), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.open(&path, Access::Write)), io::ErrorKind::NotFound);
        let made = disk.open(&path, Access::CreateNew).unwrap();
        assert_eq!(made.path(), path);
        assert!(made.is_empty().unwrap());
        assert_eq!(kind(disk.open(&path, Access::CreateNew)), io::ErrorKind::AlreadyExists);
        write_all_at(&*made, b"kept", 0).unwrap();
        assert!(!made.is_empty().unwrap());
        let again = disk.open(&path, Access::Create).unwrap();
        assert_eq!(content(&*again), b"kept");
        let reader = disk.open(&path, Access::Read).unwrap();
        assert!(reader.write_at(b"x", 0).is_err());
        let missing = place.root.join("no/f");
        assert_eq!(kind(disk.open(&missing, Access::Create)), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.open(&place.root, Access::Read)), io::ErrorKind::IsADirectory);
    });
}

#[test]
fn reads_and_writes_name_their_position() {
    everywhere(|place| {
        let file = place.disk.open(&place.root.join("f"), Access::Create).unwrap();
        write_all_at(&*file, b"abc", 5).unwrap();
        assert_eq!(content(&*file), b"\0\0\0\0\0abc");
        let mut buffer = [9; 4];
        assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 2);
        assert_eq!(&buffer, b"bc\x09\x09");
        assert_eq!(file.read_at(&mut buffer, 8).unwrap(), 0);
        assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0);
        assert_eq!(read_full_at(&*file, &mut buffer, 7).unwrap(), 1);
        file.set_len(6).unwrap();
        file.set_len(8).unwrap();
        assert_eq!(content(&*file), b"\0\0\0\0\0a\0\0");
        file.sync_data().unwrap();
        assert!(file.write_at(b"x", u64::MAX - 1).is_err());
        assert_eq!(file.len().unwrap(), 8);
    });
}

#[test]
fn pieces_are_written_one_behind_the_other() {
    use std::io::IoSlice;
    everywhere(|place| {
        let file = place.disk.open(&place.root.join("f"), Access::Create).unwrap();
        let numbers: Vec<u8> = (0..=u8::MAX).cycle().take(9_000).collect();
        // more than one call takes, and empty ones anywhere
        let mut pieces: Vec<_> = numbers.chunks(3).map(IoSlice::new).collect();
        for at in [3_000, 1_025, 500, 500, 0] {
            pieces.insert(at, IoSlice::new(b""));
        }
        write_all_pieces_at(&*file, &mut pieces, 2).unwrap();
        assert!(content(&*file)[2..] == numbers);
        write_all_pieces_at(&*file, &mut [IoSlice::new(b""), IoSlice::new(b"")], 1).unwrap();
        write_all_pieces_at(&*file, &mut [], 1).unwrap();
        write_all_pieces_at(&*file, &mut [IoSlice::new(b"x"), IoSlice::new(b"y")], 0).unwrap();
        assert_eq!(content(&*file)[..4], *b"xy\0\x01");
        assert_eq!(file.len().unwrap(), 9_002);
        let end = [IoSlice::new(b"x"), IoSlice::new(b"y")];
        assert!(file.write_pieces_at(&end, u64::MAX - 1).is_err());
        assert_eq!(file.write_pieces_at(&[], 5).unwrap(), 0);
        let written = file.write_pieces_at(&end, 9_002).unwrap();
        assert!(written > 0 && content(&*file)[9_002..] == b"xy"[..written], "{written} of two");
        let mut late = vec![IoSlice::new(b""); 2_000];
        late.push(IoSlice::new(b"z"));
        assert_eq!(file.write_pieces_at(&late, 0).unwrap(), 1);
    });
}

#[test]
fn directories_are_made_listed_and_removed() {
    everywhere(|place| {
        let (disk, root) = (&place.disk, &place.root);
        let dir = root.join("x/y");
        disk.create_dir_all(&dir).unwrap();
        disk.create_dir_all(&dir).unwrap();
        let file = disk.open(&dir.join("f"), Access::Create).unwrap();
        write_all_at(&*file, b"12345", 0).unwrap();
        let entry = |name: &str, is_dir, len| Entry { name: name.to_owned(), is_dir, len };
        assert_eq!(disk.list(root).unwrap(), [entry("x", true, 0)]);
        assert_eq!(disk.list(&dir).unwrap(), [entry("f", false, 5)]);
        assert_eq!(disk.names(&dir).unwrap(), ["f"]);
        assert_eq!(kind(disk.names(&root.join("z"))), io::ErrorKind::NotFound);
        let found = disk.metadata(&dir.join("f")).unwrap().unwrap();
        assert_eq!((found.len, found.is_dir), (5, false));
        assert!(found.modified.as_millis() > 0);
        assert!(disk.metadata(&dir).unwrap().unwrap().is_dir);
        assert_eq!(disk.metadata(&root.join("z")).unwrap(), None);
        assert_eq!(kind(disk.list(&root.join("z"))), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.remove_dir(&dir)), io::ErrorKind::DirectoryNotEmpty);
        assert!(disk.create_dir_all(&dir.join("f/g")).is_err());
        disk.remove_file(&dir.join("f")).unwrap();
        assert_eq!(kind(disk.remove_file(&dir.join("f"))), io::ErrorKind::NotFound);
        disk.remove_dir(&dir).unwrap();
        assert_eq!(kind(disk.remove_dir(&dir)), io::ErrorKind::NotFound);
        disk.sync_dir(root).unwrap();
        assert!(disk.sync_dir(&dir).is_err());
    });
}

/// A store on it takes a restart for one only where there was one.
#[test]
fn a_disk_in_memory_has_a_root_and_a_boot_of_its_own() {
    let disk = MemoryDisk::new();
    assert_eq!(
        kind(disk.open(std::path::Path::new("/"), Access::Read)),
        io::ErrorKind::IsADirectory
    );
    assert_eq!(disk.boot_id().unwrap(), disk.boot_id().unwrap());
    assert_ne!(disk.boot_id().unwrap(), MemoryDisk::new().boot_id().unwrap());
}

#[test]
fn a_second_name_leads_to_the_same_file() {
    everywhere(|place| {
        let (disk, root) = (&place.disk, &place.root);
        let (one, two, dir) = (root.join("one"), root.join("two"), root.join("dir"));
        let links = |path: &PathBuf| disk.metadata(path).unwrap().map(|found| found.links);
        disk.create_dir_all(&dir).unwrap();
        let file = disk.open(&one, Access::Create).unwrap();
        write_all_at(&*file, b"before", 0).unwrap();
        assert_eq!((links(&one), links(&dir)), (Some(1), Some(1)));
        disk.link(&one, &two).unwrap();
        assert_eq!((links(&one), links(&two)), (Some(2), Some(2)));
        write_all_at(&*file, b"behind", 0).unwrap();
        assert_eq!(content(&*disk.open(&two, Access::Read).unwrap()), b"behind");
        assert_eq!(kind(disk.link(&one, &two)), io::ErrorKind::AlreadyExists);
        assert_eq!(kind(disk.link(&root.join("no"), &root.join("x"))), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.link(&one, &root.join("no/x"))), io::ErrorKind::NotFound);
        assert_eq!(kind(disk.link(&dir, &root.join("x"))), io::ErrorKind::PermissionDenied);
        disk.rename(&one, &two).unwrap(); // two names of one file: nothing is done
        assert_eq!((links(&one), links(&two)), (Some(2), Some(2)));

        // a copy renamed over one name parts them; handles go with the file they have
        let copy = disk.open(&root.join("copy"), Access::Create).unwrap();
        write_all_at(&*copy, b"copied", 0).unwrap();
        disk.rename(&root.join("copy"), &two).unwrap();
        assert_eq!((links(&one), links(&two)), (Some(1), Some(1)));
        write_all_at(&*file, b"onward", 0).unwrap();
        assert_eq!(content(&*disk.open(&two, Access::Read).unwrap()), b"copied");
        disk.link(&one, &dir.join("one")).unwrap();
        disk.remove_file(&one).unwrap();
        assert_eq!(links(&dir.join("one")), Some(1));
        assert_eq!(content(&*file), b"onward");
        disk.sync_dir(&dir).unwrap();
    });
}

#[test]
fn removed_and_replaced_files_stay_readable() {
    everywhere(|place| {
        let (disk, root) = (&place.disk, &place.root);
        let open = |name: &str, bytes: &[u8]| {
            let file = disk.open(&root.join(name), Access::Create).unwrap();
            write_all_at(&*file, bytes, 0).unwrap();
            file
        };
        let removed = open("a", b"aaaa");
        disk.remove_file(&root.join("a")).unwrap();
        let remade = open("a", b"A");
        let replaced = open("b", b"bbbb");
        let mover = open("c", b"cccc");
        disk.rename(&root.join("c"), &root.join("b")).unwrap();
        mover.renamed(&root.join("b"));
        assert_eq!(mover.path(), root.join("b"));
        assert_eq!(content(&*removed), b"aaaa");
        assert_eq!(content(&*remade), b"A");
        assert_eq!(content(&*replaced), b"bbbb");
        assert_eq!(content(&*mover), b"cccc");
        assert_eq!(content(&*disk.open(&root.join("b"), Access::Read).unwrap()), b"cccc");
        assert_eq!(kind(disk.rename(&root.join("c"), &root.join("d"))), io::ErrorKind::NotFound);
        write_all_at(&*removed, b"still", 0).unwrap();
        removed.sync_data().unwrap();
        assert_eq!(content(&*removed), b"still");
    });
}

#[test]
fn a_renamed_directory_takes_its_files_along() {
    everywhere(|place| {
        let (disk, root) = (&place.disk, &place.root);
        disk.create_dir_all(&root.join("old/deep")).unwrap();
        let file = disk.open(&root.join("old/deep/f"), Access::Create).unwrap();
        write_all_at(&*file, b"x", 0).unwrap();
        disk.rename(&root.join("old"), &root.join("new")).unwrap();
        assert_eq!(disk.metadata(&root.join("old")).unwrap(), None);
        assert_eq!(content(&*file), b"x");
        let again = disk.open(&root.join("new/deep/f"), Access::Write).unwrap();
        assert_eq!(content(&*again), b"x");
        let into_itself = disk.rename(&root.join("new"), &root.join("new/deep/new"));
        assert!(into_itself.is_err());
    });
}

#[test]
fn a_lock_has_one_holder() {
    everywhere(|place| {
        let path = place.root.join(".lock");
        let mut first = place.disk.lock(&path).unwrap();
        assert_eq!(kind(place.disk.lock(&path)), io::ErrorKind::WouldBlock);
        first.unlock().unwrap();
        first.unlock().unwrap();
        let second = place.disk.lock(&path).unwrap();
        drop(first);
        assert_eq!(kind(place.disk.lock(&path)), io::ErrorKind::WouldBlock);
        drop(second);
        drop(place.disk.lock(&path).unwrap());
        assert_eq!(place.disk.boot_id().unwrap(), place.disk.boot_id().unwrap());
        assert!(!place.disk.fork_check().is_forked_child());
    });
}

#[test]
fn a_file_is_replaced_whole() {
    everywhere(|place| {
        let (disk, path) = (&*place.disk, place.root.join("checkpoint"));
        assert_eq!(read_file(disk, &path, 10).unwrap(), None);
        let stale = disk.open(&place.root.join("checkpoint.tmp"), Access::Create).unwrap();
        write_all_at(&*stale, b"left by a crash, longer", 0).unwrap();
        drop(stale);
        for bytes in [&b"first"[..], b"2nd", b""] {
            replace_file(disk, &path, bytes).unwrap();
            assert_eq!(read_file(disk, &path, 10).unwrap().unwrap(), bytes);
            assert_eq!(disk.list(&place.root).unwrap().len(), 1);
        }
        replace_file(disk, &path, b"12345678901").unwrap();
        assert_eq!(kind(read_file(disk, &path, 10)), io::ErrorKind::InvalidData);
        let no_room = place.root.join("none/checkpoint");
        assert!(replace_file(disk, &no_room, b"x").is_err());
    });
}

/// Longer than what is copied at a time.
#[cfg(feature = "sim")]
mod copies {
    use super::super::copy::{copy_file, copy_file_while, own};
    use super::super::{Crash, SimDisk};
    use super::*;
    use std::path::Path;

    const LEN: usize = 700 << 10;

    fn filled() -> (SimDisk, Vec<u8>) {
        let sim = SimDisk::new(1);
        let bytes: Vec<_> = (0..LEN).map(|at| u8::try_from(at / 100 % 251).unwrap()).collect();
        let file = sim.open(Path::new("/from"), Access::Create).unwrap();
        write_all_at(&*file, &bytes, 0).unwrap();
        file.sync_data().unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        (sim, bytes)
    }

    #[test]
    fn a_file_begins_with_another_where_every_byte_of_that_is_there() {
        use super::super::copy::begins_with;
        let (sim, bytes) = filled();
        let from = sim.open(Path::new("/from"), Access::Read).unwrap();
        let begins = |start: usize, end: usize, change: Option<usize>| {
            let mut begun = bytes[start..end].to_vec();
            change.into_iter().for_each(|at| begun[at] ^= 1);
            let path = Path::new("/begun");
            let file = sim.open(path, Access::Create).unwrap();
            file.set_len(0).unwrap();
            write_all_at(&*file, &begun, 0).unwrap();
            begins_with(&sim, &*from, start as u64, path).unwrap()
        };
        let len = bytes.len();
        assert!(begins(0, len, None) && begins(100, len, None) && begins(7, 7, None));
        assert!(begins(100, 200, None) && begins(0, 128 << 10, None));
        for at in [0, 1, (128 << 10) - 1, 128 << 10, len - 1] {
            assert!(!begins(0, len, Some(at)), "byte {at} is another");
        }
        write_all_at(&*sim.open(Path::new("/begun"), Access::Write).unwrap(), b"more", len as u64)
            .unwrap();
        assert!(!begins_with(&sim, &*from, 0, Path::new("/begun")).unwrap(), "it is longer");
    }

    /// A root has no name; what this user may not open, or no call is for, cannot be helped; but
    /// the directory itself is to have one after a power cut.
    #[test]
    fn the_names_on_the_way_are_synced_as_far_as_they_can_be() {
        use super::super::directory::sync_way_to;
        let (denied, invalid, lost) = (13, 22, 5);
        let syncs = |dir: &str| {
            let sim = SimDisk::new(1);
            sim.create_dir_all(Path::new(dir)).unwrap();
            let before = sim.operations();
            sync_way_to(&sim, Path::new(dir)).unwrap();
            sim.operations() - before
        };
        assert_eq!(["/", "/a", "/a/b", "/a/b/c"].map(syncs), [1, 1, 2, 3]);
        for (code, fails) in [
            (denied, [false, false, false]),
            (invalid, [true, false, false]),
            (lost, [true, true, true]),
        ] {
            for (above, fails) in fails.into_iter().enumerate() {
                let sim = SimDisk::new(1);
                sim.create_dir_all(Path::new("/a/b/c")).unwrap();
                let nth = above as u64 + 1;
                sim.fail(Plan::new(Fault::Error(code)).on(Operation::SyncDir).nth(nth));
                let synced = sync_way_to(&sim, Path::new("/a/b/c"));
                assert_eq!(synced.is_err(), fails, "error {code}, {above} above: {synced:?}");
            }
        }
    }

    fn read(sim: &SimDisk, path: &str) -> Vec<u8> {
        content(&*sim.open(Path::new(path), Access::Read).unwrap())
    }

    #[test]
    fn a_copy_is_on_the_disk_once_it_is_made() {
        let (sim, bytes) = filled();
        let from = sim.open(Path::new("/from"), Access::Read).unwrap();
        let to = Path::new("/to");
        let stopped = copy_file_while(&sim, &*from, 0..u64::MAX, to, &|_| false).unwrap();
        assert!(stopped > 0 && stopped < LEN as u64, "{stopped}");
        assert_eq!(read(&sim, "/to"), bytes[..usize::try_from(stopped).unwrap()]);
        assert_eq!(copy_file(&sim, &*from, 100..500_000, to).unwrap(), 499_900);
        assert_eq!(read(&sim, "/to"), bytes[100..500_000]);
        assert_eq!(copy_file(&sim, &*from, 100..u64::MAX, to).unwrap(), LEN as u64 - 100);
        sim.sync_dir(Path::new("/")).unwrap();
        assert_eq!(read(&sim.crash(Crash::Nothing), "/to"), bytes[100..]);
    }

    #[test]
    fn what_can_have_no_second_name_is_copied_and_any_other_failure_is_told() {
        use super::super::copy::keep_as;
        use super::super::{Fault, Operation, Plan};
        let (lost, other_device) = (5, 18);
        let cases = [(None, Some(2)), (Some(other_device), Some(1)), (Some(lost), None)];
        for (failure, links) in cases {
            let (sim, bytes) = filled();
            if let Some(number) = failure {
                sim.fail(Plan::new(Fault::Error(number)).on(Operation::Link));
            }
            let kept = keep_as(&sim, Path::new("/from"), Path::new("/to"));
            assert_eq!(kept.is_ok(), links.is_some(), "error {failure:?}: {kept:?}");
            let found = sim.metadata(Path::new("/to")).unwrap();
            assert_eq!(found.map(|found| found.links), links, "error {failure:?}");
            if links.is_some() {
                assert_eq!(read(&sim, "/to"), bytes, "error {failure:?}");
            }
        }
    }

    /// A call may do less than it was asked for.
    #[test]
    fn short_reads_and_writes_are_gone_on_with_where_they_ended() {
        use super::super::{Fault, Plan};
        let sim = SimDisk::new(1);
        let file = sim.open(Path::new("/a"), Access::Create).unwrap();
        sim.fail(Plan::new(Fault::ShortWrite(3)).for_ever());
        sim.fail(Plan::new(Fault::ShortRead(2)).for_ever());
        write_all_at(&*file, b"0123456789", 5).unwrap();
        let mut found = [1; 15];
        assert_eq!(read_full_at(&*file, &mut found, 0).unwrap(), 15);
        assert_eq!(&found, b"\0\0\0\0\x000123456789");
        let mut beyond = [1; 9];
        assert_eq!(read_full_at(&*file, &mut beyond, 10).unwrap(), 5);
        assert_eq!(&beyond, b"56789\x01\x01\x01\x01");
    }

    /// A signal that came in between is nobody's failure.
    #[test]
    fn interrupted_reads_and_writes_are_made_again() {
        use super::super::{Fault, Operation, Plan};
        const EINTR: i32 = 4;
        let sim = SimDisk::new(1);
        let file = sim.open(Path::new("/a"), Access::Create).unwrap();
        sim.fail(Plan::new(Fault::Error(EINTR)).on(Operation::Write));
        write_all_at(&*file, b"once", 0).unwrap();
        sim.fail(Plan::new(Fault::Error(EINTR)).on(Operation::Read));
        let mut found = [0; 4];
        assert_eq!(read_full_at(&*file, &mut found, 0).unwrap(), 4);
        assert_eq!(&found, b"once");
    }

    /// Only what is not there is not there.
    #[test]
    fn a_small_file_that_cannot_be_opened_is_no_missing_one() {
        use super::super::{Fault, Operation, Plan};
        let sim = SimDisk::new(1);
        let path = Path::new("/a");
        assert_eq!(read_file(&sim, path, 9).unwrap(), None);
        replace_file(&sim, path, b"a").unwrap();
        sim.fail(Plan::new(Fault::Error(5)).on(Operation::Open));
        assert_eq!(read_file(&sim, path, 9).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(read_file(&sim, path, 9).unwrap().unwrap(), b"a");
    }

    /// Whatever a power cut takes on the way, both names have all of it.
    #[test]
    fn a_file_with_a_second_name_is_copied_before_it_is_written_to() {
        let (sim, bytes) = filled();
        let (from, other) = (Path::new("/from"), Path::new("/other"));
        let before = sim.operations();
        own(&sim, from).unwrap();
        assert_eq!(sim.operations() - before, 1, "one name: it is only looked at");
        sim.link(from, other).unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        sim.record();
        own(&sim, from).unwrap();
        for moment in sim.moments() {
            for crash in [Crash::Nothing, Crash::Everything, Crash::Random(1), Crash::Random(2)] {
                let cut = moment.crash(crash);
                assert_eq!(read(&cut, "/from"), bytes, "{crash:?} {}", moment.operation());
                assert_eq!(read(&cut, "/other"), bytes, "{crash:?} {}", moment.operation());
            }
        }
        sim.open(from, Access::Write).unwrap().write_at(b"ours", 0).unwrap();
        assert_eq!(read(&sim, "/other"), bytes);
        let after = sim.crash(Crash::Nothing);
        assert_eq!(after.metadata(from).unwrap().unwrap().links, 1, "it is durably one's own");
    }
}

/// How many mappings of a file this process has.
#[cfg(target_os = "linux")]
pub(in crate::disk) fn mappings_of(path: &std::path::Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.ends_with(&*path.to_string_lossy())).count()
}

/// How much of a mapped file's pages this process has.
#[cfg(target_os = "linux")]
pub(in crate::disk) fn resident_bytes_of(path: &std::path::Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let own = maps.lines().skip_while(|line| !line.ends_with(&*path.to_string_lossy()));
    let resident = own.skip(1).find_map(|line| line.strip_prefix("Rss:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
