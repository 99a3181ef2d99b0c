//! The mapped tail of a real file: zeros written ahead, prefaulted, then stored into.
//!
//! Writing zeros before mapping them is what keeps a full disk an error and never a signal: the
//! space is the file's before the first store. Nothing here is `unsafe`; the memory is the
//! island's. A store or a publish takes no lock and makes no system call. Of a busy log another
//! thread readies the next window meanwhile (`ahead`), and the larger map it lies in.

use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::super::island::{Mapping, Unused, Writer};
use super::super::{MapReader, TailMap, sealed};
use super::ahead::{Job, Taken};
use super::file::Inner;
use super::reading::{self, Pages, Reading};
use super::{Shared, Task, os};

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Published bytes that stay mapped behind the writer: what readers at the tail still look at.
const KEPT_BEHIND: u64 = 512 << 10;
/// How much is let go at a time.
const LET_GO: u64 = 1 << 20;

/// The next window, as another thread makes it ready.
#[derive(Debug)]
pub(super) struct Ahead {
    map: MapAhead,
    from: u64,
    to: u64,
}

/// The map that a window ahead lies in.
#[derive(Debug)]
enum MapAhead {
    /// The writer's own.
    Here(Arc<Mapping>),
    /// One that is made with the window: the writer's own ends where that begins.
    Larger(Arc<Larger>),
}

impl Job for Ahead {
    type File = File;

    fn bounds(&self) -> (u64, u64) {
        (self.from, self.to)
    }

    fn run(&self, file: &File, from: u64, to: u64) -> io::Result<()> {
        match &self.map {
            MapAhead::Here(mapping) => {
                zero_ahead(file, from, to)?;
                mapping.populate(from, to)
            }
            MapAhead::Larger(larger) => {
                let map = larger.map(file)?; // no zeros where there can be no map
                zero_ahead(file, from, to)?;
                map.populate(from, to)
            }
        }
    }

    fn cut(&self, file: &File, end: u64) -> io::Result<()> {
        file.set_len(end)
    }
}

/// A larger map of a file, once whoever makes its first window ready has mapped it.
#[derive(Debug)]
struct Larger {
    capacity: u64,
    made: OnceLock<Unused>,
}

impl Larger {
    /// By the only one who makes the window ready.
    fn map(&self, file: &File) -> io::Result<&Unused> {
        match self.made.get() {
            Some(made) => Ok(made),
            None => {
                let made = Unused::create(file, self.capacity)?;
                Ok(self.made.get_or_init(|| made))
            }
        }
    }
}

/// The writer's side.
#[derive(Debug)]
#[repr(align(64))] // one cache line for who appends to one of many
pub(super) struct RealTail {
    writer: Writer,
    file: Arc<Inner>,
    /// A failed extension may have left bytes beyond the allocated end.
    cut_first: bool,
    /// The pages below it have been let go.
    let_go: u64,
    /// The map to go on in, where one was asked for.
    larger: Option<Arc<Larger>>,
}

impl RealTail {
    pub(super) fn new(writer: Writer, file: Arc<Inner>) -> Self {
        let let_go = writer.bounds().published() / LET_GO * LET_GO;
        RealTail { writer, file, cut_first: false, let_go, larger: None }
    }

    /// Unmaps pages far behind the writer. A sync write-protects every dirty page it finds mapped,
    /// one interrupt of the other cores each; of pages that are only in the page cache it need
    /// not. Views of such bytes fault them in again.
    fn let_go_behind(&mut self) {
        let behind = self.writer.mapping().published().saturating_sub(KEPT_BEHIND);
        if behind >= self.let_go + LET_GO {
            let end = behind / LET_GO * LET_GO;
            if self.writer.mapping().let_go(self.let_go, end).is_ok() {
                self.let_go = end;
            }
        }
    }

    /// Takes over what another thread has made ready, as far as the map reaches.
    fn take_ahead(&mut self) {
        let ready = self.ready_ahead();
        self.larger = None;
        if ready <= self.capacity() {
            self.writer.raise_allocated(ready);
        } else {
            self.cut_first = true;
        }
    }

    /// Up to where the file is zeros by now. From here on nobody else is at it, nor at a larger
    /// map.
    fn ready_ahead(&mut self) -> u64 {
        match self.file.ahead.take(self.allocated()) {
            Taken::UpTo(end) => end,
            Taken::Littered => {
                self.cut_first = true;
                self.allocated()
            }
            Taken::Nothing => self.allocated(),
        }
    }

    /// The larger map that was asked for, if it is made.
    fn take_larger(&mut self) -> Option<Unused> {
        Arc::into_inner(self.larger.take()?)?.made.into_inner()
    }

    /// A map of `capacity` bytes with what of the file is ready: `made`, if it is large enough.
    fn map_of(&self, capacity: u64, ready: u64, made: Option<Unused>) -> io::Result<Unused> {
        if let Some(made) = made
            && made.capacity() >= capacity
        {
            return Ok(made);
        }
        let map = Unused::create(&*self.file.descriptor()?, capacity)?;
        map.populate(self.allocated(), ready.min(capacity))?;
        Ok(map)
    }

    /// The file ends where it is known to be allocated: elsewhere lie zeros that nobody took over.
    fn cut(&mut self) -> io::Result<()> {
        if self.cut_first {
            self.file.descriptor()?.set_len(self.allocated())?;
            self.cut_first = false;
        }
        Ok(())
    }

    /// Writes zeros up to `end` and has the pages in the map.
    fn extend(&mut self, end: u64) -> io::Result<()> {
        self.cut()?;
        let from = self.allocated();
        let file = self.file.descriptor()?;
        let ready =
            zero_ahead(&file, from, end).and_then(|()| self.writer.mapping().populate(from, end));
        if let Err(error) = ready {
            self.cut_first = file.set_len(from).is_err();
            return Err(error);
        }
        self.writer.raise_allocated(end);
        Ok(())
    }
}

impl sealed::Sealed for RealTail {}

impl TailMap for RealTail {
    fn allocated(&self) -> u64 {
        self.writer.bounds().allocated()
    }

    fn capacity(&self) -> u64 {
        self.writer.bounds().capacity()
    }

    fn lines(&self) -> Option<[usize; 2]> {
        Some([std::ptr::from_ref(self).addr(), Arc::as_ptr(self.writer.mapping()).addr()])
    }

    fn enlarge(&mut self, capacity: u64) -> io::Result<()> {
        self.writer.bounds().check_enlarge(capacity)?;
        self.file.make_room_for_map()?;
        let (ready, made) = (self.ready_ahead(), self.take_larger());
        let is_littered = self.cut_first;
        // zeros lie behind what is allocated, unless all there are are taken over
        self.cut_first |= made.is_some() || ready > self.allocated();
        let map = self.map_of(capacity, ready, made)?;
        self.writer.go_on_in(map)?;
        if ready > self.allocated() && ready <= self.capacity() {
            self.writer.raise_allocated(ready);
            self.cut_first = is_littered;
        }
        self.file.change_map(self.writer.mapping());
        self.let_go = self.writer.bounds().published() / LET_GO * LET_GO;
        Ok(())
    }

    fn allocate(&mut self, end: u64) -> io::Result<()> {
        if !self.writer.bounds().check_allocate(end)? {
            return Ok(());
        }
        self.take_ahead();
        if self.allocated() < end {
            self.extend(end)?;
        }
        self.let_go_behind();
        Ok(())
    }

    fn prepare(&mut self, bytes: u64, capacity: u64) {
        let from = self.allocated();
        let to = from.saturating_add(bytes);
        if from >= capacity.max(self.capacity()) || bytes == 0 || !self.file.has_servers() {
            return;
        }
        let (map, end) = if from < self.capacity() {
            (MapAhead::Here(self.writer.mapping().clone()), self.capacity())
        } else {
            let larger = Arc::new(Larger { capacity, made: OnceLock::new() });
            self.larger = Some(larger.clone());
            (MapAhead::Larger(larger), capacity)
        };
        self.file.ask_ahead(Ahead { map, from, to: to.min(end) });
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

    fn rest(&mut self) {
        self.take_ahead(); // its pages go too
        if let Err(error) = self.cut() {
            log::debug!("zeros behind {} are kept: {error}", self.file.path().display());
        }
        self.writer.let_go_all();
    }

    fn reader(&self) -> Arc<dyn MapReader> {
        let (mapping, capacity) = (self.writer.mapping().clone(), self.capacity());
        let shared = self.file.shared.clone();
        Arc::new(RealReader { mapping, capacity, shared, reading: OnceLock::new() })
    }
}

impl Drop for RealTail {
    fn drop(&mut self) {
        self.file.call_in_ahead();
        self.file.retire_map();
    }
}

/// Writes zeros from `from`, where the file ends, to `end`.
fn zero_ahead(file: &File, from: u64, end: u64) -> io::Result<()> {
    let mut at = from;
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        match os::write_zeros(file, &ZEROS, left, at) {
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
    capacity: u64,
    shared: Arc<Shared>,
    /// Once somebody has read far behind the writer.
    reading: OnceLock<Box<Reading>>,
}

impl RealReader {
    /// Has pages brought in ahead of who reads `start..end`, far behind the writer.
    #[inline(never)]
    fn bring_in_ahead(&self, start: u64, end: u64, limit: u64) {
        // a forked child has no such thread, and may have inherited the queue's lock as held
        if !self.shared.ahead.is_served() || self.shared.fork.is_forked_child() {
            return;
        }
        let reading = self.reading.get_or_init(|| Box::new(Reading::of(self.capacity)));
        if let Some(range) = reading.wanted(start, end, limit) {
            let pages = Pages { mapping: Arc::downgrade(&self.mapping), range: range.clone() };
            if !self.shared.ahead.offer_later(Task::Pages(pages)) {
                reading.not_asked(range);
            }
        }
    }
}

impl sealed::Sealed for RealReader {}

impl MapReader for RealReader {
    fn published(&self) -> u64 {
        self.mapping.published()
    }

    fn view(&self, start: u64, end: u64) -> io::Result<Bytes> {
        let limit = reading::limit(self.mapping.published());
        if end < limit {
            self.bring_in_ahead(start, end, limit);
        }
        self.mapping.view(start, end)
    }

    #[inline]
    fn is_at_hand(&self, start: u64) -> bool {
        self.mapping.is_at_hand(start)
    }
}
