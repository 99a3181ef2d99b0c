//! The mapped tail of a real file: zeros written ahead, prefaulted, then stored into.
//!
//! Writing zeros before mapping them is what keeps a full disk an error and never a signal: the
//! space is the file's before the first store. Nothing here is `unsafe`; the memory is the
//! island's. A store or a publish takes no lock and makes no system call.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::super::island::{Mapping, Writer};
use super::super::{MapReader, TailMap, sealed};
use super::file::Inner;
use super::os;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The writer's side.
#[derive(Debug)]
pub(super) struct RealTail {
    writer: Writer,
    file: Arc<Inner>,
}

impl RealTail {
    pub(super) fn new(writer: Writer, file: Arc<Inner>) -> Self {
        RealTail { writer, file }
    }
}

impl sealed::Sealed for RealTail {}

impl TailMap for RealTail {
    fn allocated(&self) -> u64 {
        self.writer.bounds().allocated()
    }

    fn allocate(&mut self, end: u64) -> io::Result<()> {
        if !self.writer.bounds().check_allocate(end)? {
            return Ok(());
        }
        let from = self.allocated();
        let file = self.file.descriptor()?;
        let ready =
            zero_ahead(&file, from, end).and_then(|()| self.writer.mapping().populate(from, end));
        if let Err(error) = ready {
            // Should this fail too, the next call cuts before it writes.
            let _ = file.set_len(from);
            return Err(error);
        }
        self.writer.raise_allocated(end);
        Ok(())
    }

    fn written(&mut self, end: u64) {
        self.writer.raise_allocated(end);
    }

    #[inline]
    fn window(&mut self, position: u64, len: usize) -> &mut [u8] {
        self.writer.window(position, len)
    }

    #[inline]
    fn publish(&mut self, end: u64) {
        self.writer.publish(end);
    }

    fn reader(&self) -> Arc<dyn MapReader> {
        Arc::new(RealReader { mapping: self.writer.mapping().clone() })
    }
}

impl Drop for RealTail {
    fn drop(&mut self) {
        self.file.retire_map();
    }
}

/// Makes the file exactly `end` bytes long with zeros from `from` on.
fn zero_ahead(file: &File, from: u64, end: u64) -> io::Result<()> {
    let len = file.metadata()?.len();
    if len < from {
        let reason = format!("the file was cut to {len} bytes under its map of {from}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    if len > from {
        file.set_len(from)?;
    }
    let mut at = from;
    while at < end {
        let want = usize::try_from(end - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        match os::write_at(file, &ZEROS[..want], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => at += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The readers' side: views are the mapped memory itself.
#[derive(Debug)]
struct RealReader {
    mapping: Arc<Mapping>,
}

impl sealed::Sealed for RealReader {}

impl MapReader for RealReader {
    fn published(&self) -> u64 {
        self.mapping.published()
    }

    fn view(&self, start: u64, end: u64) -> Bytes {
        self.mapping.view(start, end)
    }
}
