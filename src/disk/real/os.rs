//! What differs between operating systems, each as one small function.
//!
//! Linux is what is tested. Elsewhere files are read and written by position, the directory lock
//! is std's, and there is no boot identity and no page that a fork empties. Called by the rest of
//! `real/`.

use std::fs::File;
use std::io;
use std::path::Path;

use super::super::IoMode;
use crate::error::NotBegun;

/// Which file a descriptor shows, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn device(self) -> u64 {
        self.device
    }
}

/// Device and inode of what lies at a path.
#[cfg(unix)]
pub(super) fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
pub(super) fn identity_of(_path: &Path) -> io::Result<(u64, u64)> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
pub(super) fn identity(of: &std::fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity { device: of.dev(), inode: of.ino() }
}

#[cfg(not(unix))]
pub(super) fn identity(_of: &std::fs::Metadata) -> Identity {
    Identity { device: 0, inode: 0 }
}

/// How many names lead to a file.
#[cfg(unix)]
pub(super) fn links(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::MetadataExt;
    match metadata.is_dir() {
        true => 1,
        false => u32::try_from(metadata.nlink()).unwrap_or(u32::MAX),
    }
}

#[cfg(not(unix))]
pub(super) fn links(_metadata: &std::fs::Metadata) -> u32 {
    1
}

#[cfg(unix)]
pub(super) fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, position)
}

#[cfg(unix)]
pub(super) fn write_at(file: &File, bytes: &[u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, position)
}

/// So many pieces the system takes in one call.
#[cfg(target_os = "linux")]
pub(super) const MOST_PIECES: usize = 1_024;

/// Writes up to `len` zeros at `position`, taken from `zeros` as often as one call allows.
#[cfg(target_os = "linux")]
pub(super) fn write_zeros(
    file: &File,
    zeros: &[u8],
    len: usize,
    position: u64,
) -> io::Result<usize> {
    const SLICES: usize = 16;
    let mut slices = [io::IoSlice::new(&[]); SLICES];
    let mut left = len;
    for slice in &mut slices {
        let part = left.min(zeros.len());
        *slice = io::IoSlice::new(&zeros[..part]);
        left -= part;
    }
    Ok(rustix::io::pwritev(file, &slices, position)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn write_zeros(
    file: &File,
    zeros: &[u8],
    len: usize,
    position: u64,
) -> io::Result<usize> {
    write_at(file, &zeros[..len.min(zeros.len())], position)
}

#[cfg(windows)]
pub(super) fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, position)
}

#[cfg(windows)]
pub(super) fn write_at(file: &File, bytes: &[u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, position)
}

/// How many descriptors the pool may hold: a quarter of the process's limit, 64 to 4,096.
pub(super) fn descriptor_budget() -> usize {
    const LOW: u64 = 64;
    const HIGH: u64 = 4096;
    #[cfg(target_os = "linux")]
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(target_os = "linux"))]
    let limit = Some(256);
    let budget = limit.map_or(HIGH, |limit| (limit / 4).clamp(LOW, HIGH));
    usize::try_from(budget).unwrap_or(64)
}

/// Whether an open failed for want of descriptors, of the process or of the machine.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    cfg!(unix) && matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// How many bytes this user may still write below `dir`.
#[cfg(target_os = "linux")]
pub(super) fn available(dir: &Path) -> io::Result<Option<u64>> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.checked_mul(found.f_frsize))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn available(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

/// How many bytes are free, on a file system that keeps blocks beyond a file's end for what is
/// written there later; `None` on all others. tmpfs would fill the pages.
#[cfg(target_os = "linux")]
pub(super) fn free_for_room(file: &File) -> io::Result<Option<u64>> {
    const EXT4: u64 = 0xEF53; // and its forebears, which take no such call
    let found = rustix::fs::fstatfs(file)?;
    if found.f_type as u64 & 0xFFFF_FFFF != EXT4 {
        return Ok(None);
    }
    let block = u64::try_from(found.f_bsize).unwrap_or(0);
    Ok(Some(found.f_bavail.saturating_mul(block)))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn free_for_room(_file: &File) -> io::Result<Option<u64>> {
    Ok(None)
}

/// Room for `bytes` bytes from `from` on, beyond the file's end too, whose length stays.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, from, bytes)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_file: &File, _from: u64, _bytes: u64) -> io::Result<()> {
    Ok(())
}

/// How many bytes of the device a file has.
#[cfg(unix)]
pub(super) fn allocated(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512)
}

#[cfg(not(unix))]
pub(super) fn allocated(_metadata: &std::fs::Metadata) -> u64 {
    0
}

/// The mode that suits the file system under `path`, or under its nearest ancestor that exists.
///
/// Only file systems known to overwrite in place are written through a mapping.
#[cfg(target_os = "linux")]
pub(super) fn mode_for(path: &Path) -> io::Result<IoMode> {
    // The magic numbers of statfs: ext2/3/4, XFS, tmpfs.
    const IN_PLACE: [u64; 3] = [0xEF53, 0x5846_5342, 0x0102_1994];
    let mut at = path;
    loop {
        let here = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        match rustix::fs::statfs(here) {
            Ok(found) => {
                // The field's type differs between architectures; the numbers fit 32 bits.
                let magic = found.f_type as u64 & 0xFFFF_FFFF;
                let in_place = IN_PLACE.contains(&magic);
                return Ok(if in_place { IoMode::Mapped } else { IoMode::Positioned });
            }
            Err(rustix::io::Errno::NOENT) => match at.parent() {
                Some(parent) => at = parent,
                None => return Err(io::ErrorKind::NotFound.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn mode_for(_path: &Path) -> io::Result<IoMode> {
    Ok(IoMode::Positioned)
}

/// Whether one sync of the whole file system that `file` lies on stands for those of its files.
#[cfg(target_os = "linux")]
pub(super) fn syncs_whole(file: &File) -> io::Result<bool> {
    // The magic numbers of statfs: ext2/3/4, XFS.
    const ONE_JOURNAL: [u64; 2] = [0xEF53, 0x5846_5342];
    const REPORTS_SINCE: (u32, u32) = (5, 8);
    let found = rustix::fs::fstatfs(file)?;
    let magic = found.f_type as u64 & 0xFFFF_FFFF;
    let system = rustix::system::uname();
    let mut numbers = system.release().to_bytes().split(|byte| !byte.is_ascii_digit());
    let mut number = || std::str::from_utf8(numbers.next()?).ok()?.parse::<u32>().ok();
    let release = number().zip(number());
    Ok(ONE_JOURNAL.contains(&magic) && release.is_some_and(|release| release >= REPORTS_SINCE))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn syncs_whole(_file: &File) -> io::Result<bool> {
    Ok(false)
}

/// Syncs the whole file system that `file` lies on, and makes sure that it still takes syncs: one
/// that an error has shut down, or made read-only, may let the first pass in silence.
///
/// # Errors
/// What was lost since `file` was opened or this was called last; that nothing can be said.
#[cfg(target_os = "linux")]
pub(super) fn sync_whole(file: &File) -> io::Result<()> {
    rustix::fs::syncfs(file)?;
    if rustix::fs::fstatvfs(file)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Err(io::ErrorKind::ReadOnlyFilesystem.into());
    }
    file.sync_all()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn sync_whole(_file: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The kernel's identity, drawn anew at each start of the machine.
#[cfg(target_os = "linux")]
pub(super) fn boot_id() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let id = uuid::Uuid::try_parse(text.trim())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the boot id is no UUID"))?;
    Ok(*id.as_bytes())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn boot_id() -> io::Result<[u8; 16]> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system names no boot"))
}

/// The error of a sync that got no further than its handle.
pub(super) fn not_begun(error: io::Error) -> io::Error {
    if is_out_of_descriptors(&error) { io::Error::other(NotBegun(error)) } else { error }
}

/// A directory opened to have its names synced; `None` where that is not done.
#[cfg(unix)]
pub(super) fn open_dir(dir: &Path) -> io::Result<Option<File>> {
    File::open(dir).map(Some)
}

#[cfg(not(unix))]
pub(super) fn open_dir(_dir: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

/// Whether the system tells its own time by the processor's counter of ticks: then that runs at
/// one rate on all processors, asleep or not, and may be read.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn tells_time_by_ticks() -> bool {
    static TELLS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    *TELLS.get_or_init(|| std::fs::read_to_string(SOURCE).is_ok_and(|name| name.trim() == "tsc"))
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn tells_time_by_ticks() -> bool {
    false
}

/// The counter, for who knows that there is one.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn ticks() -> u64 {
    0
}
