//! Mending a segment that nobody has open: indexes made again, digests taken again, and the whole
//! of it written anew without what is damaged.
//!
//! No file is changed in place, for a hard link may be another store's: what is mended is written
//! beside, synced and renamed. A rewritten segment takes the way of compaction (`rewrite`), so that
//! a stop in the middle leaves what an open finishes or takes back; the old log is kept under a
//! name that ends in `.cut`, which it has before.

use std::ops::Range;
use std::path::PathBuf;

use super::rewrite::{Rewrite, Rewritten};
use super::scan::{Walk, WalkStep};
use super::shared::Segment;
use super::sidecar::sidecar_bytes;
use super::vouchers::Vouchers;
use crate::disk::copy::keep_as;
use crate::disk::names::SegmentFile;
use crate::disk::replace::replace_file;
use crate::error::{Error, Result};

impl Segment {
    /// Makes both indexes again, where the log is whole.
    pub(crate) fn mend_indexes(&self) -> Result<()> {
        self.rebuild_indexes().map(drop)
    }

    /// Takes the digests again that are missing or damaged; those that fit stay.
    pub(crate) fn mend_digests(&self) -> Result<()> {
        let mut runs = Vec::new();
        let mut covered = 0;
        if let Some(sidecar) = self.sidecar()? {
            for run in sidecar.runs() {
                let (_, run) = run?;
                let start = u64::from(run.start);
                if start < covered || u64::from(run.end) > self.published() {
                    continue;
                }
                runs.extend(self.runs_of_file(covered, start)?);
                covered = u64::from(run.end);
                runs.push(run);
            }
        }
        runs.extend(self.runs_of_file(covered, self.published())?);
        let (place, path) = (self.place(), self.digest_path());
        let bytes = sidecar_bytes(place.identity, self.base(), &runs);
        replace_file(&*place.disk, &path, &bytes)
            .map_err(|error| Error::io("mend digests", &path, error))
    }

    /// Writes the segment anew without the bytes of `out`, which are in order, and whatever else
    /// is no batch; puts it in place of the old one, which is kept. Returns the old one's path.
    pub(crate) fn cut_out(&self, out: &[Range<u64>]) -> Result<PathBuf> {
        let place = self.place();
        let fail = |error| Error::io("repair", &place.dir, error);
        let rewritten = self.write_without(out)?;
        // before anything may take its place: stopped behind that, an open ends what was begun
        let old = place.path(self.base(), SegmentFile::Log);
        let kept = self.kept_path(out).map_err(fail)?;
        let named = keep_as(&*place.disk, &old, &kept);
        named.map_err(|error| Error::io("repair", &old, error))?;
        place.disk.sync_dir(&place.dir).map_err(fail)?;
        rewritten.rename_to_swap()?;
        place.disk.sync_dir(&place.dir).map_err(fail)?;
        rewritten.rename_in_place()?;
        place.disk.sync_dir(&place.dir).map_err(fail)?;
        Ok(kept)
    }

    /// Where the log goes whose damage at the first of `out` is cut out: beside what was kept of
    /// the same place before.
    fn kept_path(&self, out: &[Range<u64>]) -> std::io::Result<PathBuf> {
        let first = out.first().map_or(0, |out| out.start);
        let mut number = 1;
        loop {
            let path = self.aside(first, number);
            if self.place().disk.metadata(&path)?.is_none() {
                return Ok(path);
            }
            number += 1;
        }
    }

    fn write_without(&self, out: &[Range<u64>]) -> Result<Rewritten> {
        let file = self.log()?;
        let mut rewrite = Rewrite::create(self.place().clone(), self.base())?;
        let mut vouchers = Vouchers::default();
        let ends = out.iter().map(|out| out.start).chain([self.published()]);
        let starts = std::iter::once(0).chain(out.iter().map(|out| out.end));
        for (start, end) in starts.zip(ends) {
            let mut walk = Walk::new(&**file, start, end);
            while start < end
                && let WalkStep::Batch(position, batch) = walk.step()?
            {
                let origin = vouchers.of(self, position)?;
                rewrite.push(batch.header(), batch.bytes(), origin)?;
            }
        }
        rewrite.finish(Vec::new()) // the index of aborted transactions stays as it is
    }
}
