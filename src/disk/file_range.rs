//! A stretch of an open file, for hosts that hand it to the system: `sendfile`, `splice`.
//!
//! It keeps the file open, whatever becomes of its name. The library never cuts a file below what
//! readers may see, nor changes a byte there: what takes its place is another file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stretch of a segment's file, kept open and unchanged for as long as this lives.
///
/// Retention, truncation, compaction and deletion take the file's name away or put another file in
/// its place; this one stays as it was, and so does the room it takes on the disk.
///
/// ```
/// use std::os::unix::fs::FileExt as _;
/// use tidelog::{Log, Offset, RawLimits, Record};
/// let dir = tempfile::tempdir().unwrap();
/// let log = Log::open(dir.path())?;
/// log.append(&[Record::new("hello")])?;
/// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
/// let range = read.file_range()?.unwrap(); // a real file
/// log.truncate_fully_and_start_at(Offset::ZERO)?;
/// let mut bytes = vec![0; range.len() as usize]; // or sendfile(socket, range.file(), ...)
/// range.file().read_exact_at(&mut bytes, range.position()).unwrap();
/// assert_eq!(bytes, read.bytes());
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileRange {
    file: Arc<File>,
    path: PathBuf,
    position: u64,
    len: u64,
}

impl FileRange {
    pub(crate) fn new(file: Arc<File>, path: PathBuf, position: u64, len: u64) -> Self {
        FileRange { file, path, position, len }
    }

    /// The open file, to be read by position only. It must not be written to, nor cut.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let log = Log::open(dir.path())?;
    /// log.append(&[Record::new("hello")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// let range = read.file_range()?.unwrap();
    /// assert!(range.file().metadata().unwrap().len() >= range.position() + range.len());
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The path that the file had when it was read from; it may be gone, or another's.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let log = Log::open(dir.path())?;
    /// log.append(&[Record::new("hello")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert!(read.file_range()?.unwrap().path().ends_with("00000000000000000000.log"));
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in the file it begins, in bytes.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let log = Log::open(dir.path())?;
    /// log.append(&[Record::new("hello")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert_eq!(read.file_range()?.unwrap().position(), 0);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes it has, at least one.
    ///
    /// ```
    /// # use tidelog::{Log, Offset, RawLimits, Record};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let log = Log::open(dir.path())?;
    /// log.append(&[Record::new("hello")])?;
    /// let read = log.read_batches(Offset::ZERO, RawLimits::to_end(1 << 20))?;
    /// assert_eq!(read.file_range()?.unwrap().len(), read.bytes().len() as u64);
    /// # Ok::<(), tidelog::Error>(())
    /// ```
    #[allow(clippy::len_without_is_empty)] // it never is
    pub fn len(&self) -> u64 {
        self.len
    }
}
