//! A read on from a cursor that a deletion or a truncation overtakes: what was aborted is forgotten
//! with its records, so that what was read before would be shown.

use std::io;

use super::*;
use crate::disk::sealed::Sealed;
use crate::disk::{DirLock, DiskFile, Entry, ForkCheck, Metadata, TailMap};
use crate::sync::Mutex;

type Change = Box<dyn FnOnce() + Send>;

/// What a test has planned for the moment at which a log file has been read from.
#[derive(Clone, Default)]
struct Planned(Arc<Mutex<Option<Change>>>);

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Planned")
    }
}

/// A disk without maps, on which the next read of a log is followed by what was planned.
#[derive(Debug)]
struct Overtaking(MemoryDisk, Planned);

#[derive(Debug)]
struct File(Arc<dyn DiskFile>, Planned);

impl Sealed for Overtaking {}
impl Sealed for File {}

impl Disk for Overtaking {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File(self.0.open(path, access)?, self.1.clone())))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.0.metadata(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.0.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn lock(&self, lock_file: &Path) -> io::Result<Box<dyn DirLock>> {
        self.0.lock(lock_file)
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        self.0.boot_id()
    }

    fn fork_check(&self) -> ForkCheck {
        ForkCheck::never()
    }
}

impl DiskFile for File {
    fn path(&self) -> PathBuf {
        self.0.path()
    }

    fn renamed(&self, path: &Path) {
        self.0.renamed(path);
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let got = self.0.read_at(buffer, position)?;
        let is_log = self.0.path().extension().is_some_and(|kind| kind == "log");
        let planned = is_log.then(|| self.1.0.lock().take()).flatten();
        planned.into_iter().for_each(|change| change());
        Ok(got)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.0.write_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn map_tail(&self, _: u64, _: u64) -> io::Result<Option<Box<dyn TailMap>>> {
        Ok(None)
    }
}

/// Reads on at 1, where what was aborted begins, with a change right behind the read; the values
/// that are shown then.
fn read_overtaken(change: impl FnOnce(&Log) + Send + 'static) -> Result<Vec<String>> {
    let planned = Planned::default();
    let log = Arc::new(open(Arc::new(Overtaking(MemoryDisk::new(), planned.clone()))));
    log.append(&[Record::new("plain")]).unwrap();
    begin(&log, 1, &["aborted"]).unwrap();
    log.append_marker(of(1, 0), 0, MarkerKind::Abort).unwrap();
    while log.log.size().1 < 2 {
        log.append(&[Record::new(&[b'x'; 300][..])]).unwrap();
    }
    let isolation = IsolationLevel::ReadCommitted;
    let of_size = |bytes| FetchLimits { isolation, ..FetchLimits::all(bytes) };
    let cursor = log.log.fetch(Offset::ZERO, None, of_size(1)).unwrap().cursor.unwrap();
    assert_eq!(cursor.offset, Offset::new(1), "the control");
    let read = || -> Result<Vec<String>> {
        let fetched = log.log.fetch(cursor.offset, Some(&cursor), of_size(1))?;
        let plain = PlainLimit::DEFAULT;
        let rules = TakeRules { max_records: usize::MAX, until: None, plain };
        let batches = fetched.batches().unwrap();
        let mut records = Records::default();
        records.take_in(&log.log.origin(), batches, cursor.offset, rules);
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        Ok(records.iter().map(|record| text(record.value())).collect())
    };
    assert_eq!(read().unwrap(), [""; 0], "the control: it was aborted");
    let changed = log.clone();
    *planned.0.lock() = Some(Box::new(move || change(&changed)));
    let shown = read();
    assert!(planned.0.lock().is_none(), "the control: it came to pass");
    shown
}

#[test]
fn what_was_aborted_is_not_shown_by_a_read_that_its_deletion_overtakes() {
    let shown = read_overtaken(|log| {
        let second = log.log.segments.load()[1].base();
        log.delete_records_before(second).unwrap();
        assert!(log.aborted_transactions(Offset::ZERO..log.end_offset()).is_empty());
    });
    assert_eq!(shown.unwrap_err().kind(), ErrorKind::OffsetOutOfRange);
}

#[test]
fn what_was_aborted_is_not_shown_by_a_read_that_a_truncation_overtakes() {
    let shown = read_overtaken(|log| {
        log.truncate_to(Offset::new(1)).unwrap();
        log.append(&[Record::new("in its place")]).unwrap();
    });
    assert_eq!(shown.unwrap(), ["in its place"]);
}
