//! The `.txnindex` files of a log: Kafka's record of its aborted transactions, each in the segment
//! that holds the marker.
//!
//! A file is brought up to date, and synced, before a recovery point may rise above its markers: so
//! what lies below that is told by the files, and what lies above is made again from the log
//! (`relearn`). Entries are added behind those that are there; where a file is not what it should
//! be, it is replaced whole. `tidelog.aborted` then vouches for all of them. Names are durable with
//! the directory sync of the same checkpoint.
//!
//! By whoever has the turn, or while the log is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use super::aborted::Aborted;
use super::aborted_vouch::{Vouched, Vouchers};
use super::core::PartitionLog;
use crate::disk::names::SegmentFile;
use crate::disk::replace::{read_file, replace_file_name_later};
use crate::disk::{Access, Disk, write_all_at};
use crate::error::{Error, Result};
use crate::ids::Offset;
use crate::segment::{
    AbortedTransaction, Segment, parse_transaction_index, transaction_index_bytes,
};
use crate::sync::atomic::Ordering;
use std::sync::Arc;

/// The largest index that is read: more than thirty million transactions.
const MAX_INDEX: usize = 1 << 30;
const WRITE: &str = "write transaction index";

/// How far the files tell what the log holds.
#[derive(Debug, Default)]
pub(super) struct AbortedFiles {
    /// Every marker below it is in its file.
    saved_to: Offset,
    /// The segments whose files are to be replaced, or removed.
    stale: BTreeSet<Offset>,
    /// Another file has taken the place of one that was vouched for, or none is.
    unvouched: bool,
}

/// What the files of a log tell.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) by_segment: BTreeMap<Offset, Vec<AbortedTransaction>>,
    is_vouched: bool,
    /// The segments whose files cannot be taken for what they say.
    bad: BTreeSet<Offset>,
    /// Those whose files hold what nobody has vouched for: right, but perhaps never synced.
    unsure: BTreeSet<Offset>,
}

impl Told {
    /// From where on the log alone tells, if any file is bad.
    pub(super) fn first_bad(&self) -> Option<Offset> {
        self.bad.first().copied()
    }
}

/// Writes the index of a segment whole; its name awaits the directory's sync.
pub(super) fn write_index(
    disk: &dyn Disk,
    path: &Path,
    entries: &[AbortedTransaction],
) -> Result<()> {
    let bytes = transaction_index_bytes(entries);
    replace_file_name_later(disk, path, &bytes).map_err(|error| Error::io(WRITE, path, error))
}

impl PartitionLog {
    /// Each segment with where its offsets end, oldest first.
    fn spans(&self) -> Vec<(Arc<Segment>, Range<Offset>)> {
        let segments = self.segments.load_full();
        let ends = segments.iter().skip(1).map(|next| next.base());
        let ends = ends.chain([Offset::new(i64::MAX)]);
        let spans = segments.iter().zip(ends);
        spans.map(|(segment, end)| (segment.clone(), segment.base()..end)).collect()
    }

    /// Brings the files up to date with every marker below `end`, synced.
    pub(super) fn save_aborted(&self, end: Offset) -> Result<()> {
        let mut files = self.aborted_files.lock();
        let saved_to = files.saved_to;
        let none_stale = files.stale.is_empty() && !files.unvouched;
        let aborted = self.aborted.read().clone_unless_saved(saved_to, none_stale);
        if let Some(aborted) = aborted {
            let mut vouchers = Vouchers::new();
            for (segment, span) in self.spans() {
                let base = segment.base();
                let all = aborted.marked_in(span.start..span.end.min(end));
                let saved = all.partition_point(|entry| entry.last < saved_to);
                let is_stale = files.stale.contains(&base);
                if is_stale || saved < all.len() {
                    let saved = (!is_stale).then_some(saved);
                    self.latching(self.save_index(&segment, all, saved))?;
                    self.names_changed.store(true, Ordering::Release);
                    files.stale.remove(&base);
                }
                if !all.is_empty() {
                    vouchers.insert(base, Vouched::of(&transaction_index_bytes(all)));
                }
            }
            self.latching(self.write_aborted_vouchers(&vouchers))?;
            self.names_changed.store(true, Ordering::Release);
            files.stale.clear(); // of segments that have gone
            files.unvouched = false;
        }
        files.saved_to = saved_to.max(end);
        Ok(())
    }

    /// A sync that has failed is never tried again.
    fn latching(&self, done: Result<()>) -> Result<()> {
        done.inspect_err(|error| {
            if error.is_of_a_sync_begun() {
                self.latch.trip(error);
            }
        })
    }

    /// Compaction has put another segment in place, with an index of its own.
    pub(super) fn indexes_were_replaced(&self) {
        if self.has_aborted.load(Ordering::Acquire) {
            self.aborted_files.lock().unvouched = true;
        }
    }

    /// Writes all entries of a segment; the first `saved` are in its file, if that is known.
    fn save_index(
        &self,
        segment: &Segment,
        all: &[AbortedTransaction],
        saved: Option<usize>,
    ) -> Result<()> {
        let disk = &*self.place.disk;
        let path = self.place.path(segment.base(), SegmentFile::TransactionIndex);
        let fail = |error| Error::io(WRITE, &path, error);
        let Some(saved) = saved else {
            if all.is_empty() {
                return match disk.remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fail(error)),
                    _ => Ok(()),
                };
            }
            return write_index(disk, &path, all);
        };
        let file = disk.open(&path, Access::Create).map_err(fail)?;
        let from = transaction_index_bytes(&all[..saved]).len() as u64;
        if file.len().map_err(fail)? > from {
            file.set_len(from).map_err(fail)?; // what an earlier try has left
        }
        write_all_at(&*file, &transaction_index_bytes(&all[saved..]), from).map_err(fail)?;
        file.sync_data().map_err(fail)
    }

    /// Reads the files that lie beside these segments, as they are. What was vouched for counts
    /// unless another hand wrote here last.
    pub(super) fn read_aborted(&self, indexed: &BTreeSet<Offset>, foreign: bool) -> Result<Told> {
        let end = self.offsets.end();
        let vouchers = if foreign { None } else { self.read_aborted_vouchers()? };
        let is_vouched = vouchers.is_some();
        let (bad, unsure) = (BTreeSet::new(), BTreeSet::new());
        let mut told = Told { by_segment: BTreeMap::new(), is_vouched, bad, unsure };
        let spans = self.spans();
        // one whose segment has joined another's: the joint index may not have got its name
        let listed = vouchers.iter().flat_map(|vouchers| vouchers.keys());
        for lone in listed.filter(|lone| **lone < end) {
            let holds = |(_, span): &&(Arc<Segment>, Range<Offset>)| span.contains(lone);
            let holder = spans.iter().find(holds).map(|(segment, _)| segment.base());
            told.bad.extend(holder.filter(|base| base != lone));
        }
        for (segment, span) in spans {
            let base = segment.base();
            let vouched = vouchers.as_ref().and_then(|vouchers| vouchers.get(&base));
            if vouched.is_none() && !indexed.contains(&base) {
                continue;
            }
            let path = self.place.path(base, SegmentFile::TransactionIndex);
            let read = read_file(&*self.place.disk, &path, MAX_INDEX);
            let bytes = match read {
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Vec::new(),
                read => read
                    .map_err(|error| Error::io("read transaction index", &path, error))?
                    .unwrap_or_default(),
            };
            let changed = vouched.is_some_and(|vouched| !vouched.fits(&bytes));
            if !bytes.is_empty() && vouched.is_none_or(|vouched| *vouched != Vouched::of(&bytes)) {
                told.unsure.insert(base);
            }
            let (entries, fault) = match parse_transaction_index(base, &bytes) {
                Ok(entries) => (entries, None),
                Err(fault) => (Vec::new(), Some(fault.what)),
            };
            // behind the log's end there may be what a power cut took from the log alone
            let beyond =
                entries.last().is_some_and(|last| last.last >= span.end && span.end <= end);
            let fault = fault.or(beyond.then_some("an entry of another segment"));
            let fault = fault.or(changed.then_some("it is not what was written"));
            // Kafka makes one with its first entry: without any it may have lost all
            let fault = fault.or((foreign && bytes.is_empty()).then_some("it is empty"));
            if let Some(what) = fault {
                log::warn!("{} is made again: {what}", path.display());
                told.bad.insert(base);
            }
            told.by_segment.insert(base, entries);
        }
        Ok(told)
    }

    /// Takes over what a log was found to hold when it was opened. What no sync may have seen is
    /// written again before a recovery point rises above it.
    pub(super) fn take_aborted(&self, aborted: Aborted, told: &Told) {
        let spans = self.spans();
        let is_stale = |(segment, span): &(Arc<Segment>, Range<Offset>)| {
            let told = told.by_segment.get(&segment.base());
            let held = aborted.marked_in(span.clone());
            (told.map_or(&[][..], Vec::as_slice) != held).then_some(segment.base())
        };
        let mut stale: BTreeSet<_> = spans.iter().filter_map(is_stale).collect();
        stale.extend(told.bad.iter().chain(&told.unsure));
        let unvouched = !aborted.is_empty() && !told.is_vouched;
        let saved_to = self.offsets.end();
        *self.aborted_files.lock() = AbortedFiles { saved_to, stale, unvouched };
        self.has_aborted.store(!aborted.is_empty(), Ordering::Release);
        *self.aborted.write() = aborted;
    }
}
