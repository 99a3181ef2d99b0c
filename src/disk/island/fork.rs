//! The page by which a process knows whether it is a forked child: the kernel empties it in one.
//!
//! One page for all disks of a process, kept for as long as that runs, so that a look at it is one
//! load. It holds the number of the process among its ancestors that looked: who finds it empty, as
//! a child does, gives it the next. Numbers only rise and go on where the parent was, so no child
//! takes the number of a disk that its parent made. Called by `disk::fork`.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

const LEN: usize = 4096;
const NO_ADVICE: libc::c_int = -1;

/// The page's first bytes; null until somebody asked.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The last number that was given; raised before it shows in the page, so that a child goes on.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Where the number of this process stands, and which it is. Takes no lock, for a fork would copy
/// it as it is held.
///
/// # Errors
/// Those of the system: kernels before 4.14 have no such page.
pub(in crate::disk) fn mark() -> io::Result<(&'static AtomicU64, u64)> {
    let cell = page()?;
    loop {
        let number = cell.load(Ordering::Acquire);
        if number != 0 {
            return Ok((cell, number));
        }
        let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = cell.compare_exchange(0, next, Ordering::Release, Ordering::Relaxed);
    }
}

fn page() -> io::Result<&'static AtomicU64> {
    let mut known = PAGE.load(Ordering::Acquire);
    if known.is_null() {
        let made = new_page()?;
        let first = made.as_mut_ptr().cast::<AtomicU64>();
        match PAGE.compare_exchange(known, first, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                std::mem::forget(made);
                known = first;
            }
            Err(other) => known = other, // which was quicker; `made` is unmapped
        }
    }
    debug_assert!(known.is_aligned());
    // SAFETY: not null and from `PAGE`, which holds the begin of a page that was mapped readable
    // and writable and is never unmapped; it is reached through this type only, for which all bytes
    // zero, as it begins, are a value.
    Ok(unsafe { &*known })
}

/// A page that a fork empties.
fn new_page() -> io::Result<MmapRaw> {
    let page = MmapRaw::from(MmapOptions::new().len(LEN).map_anon()?);
    debug_assert_eq!(page.len(), LEN);
    // SAFETY: the range is exactly the anonymous private mapping just made, owned by `page`; the
    // advice changes nothing in this process, and the other is none.
    let advise = |advice| unsafe { libc::madvise(page.as_mut_ptr().cast(), LEN, advice) };
    if advise(NO_ADVICE) == 0 {
        return Err(io::ErrorKind::Unsupported.into()); // who takes any may heed none
    }
    if advise(libc::MADV_WIPEONFORK) != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(page)
}
