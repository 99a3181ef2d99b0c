//! Where the next frame goes, and what may be written over: the journal's two halves.
//!
//! Frames are gathered into runs of bytes, each for one place of the file; whoever syncs takes the
//! runs and writes them. A *lap* is one filling of a half; laps take the halves in turn. A half is
//! written over only when no log pins it: each has synced its segments beyond its frames there.
//! The last frame of a lap says so (`oldest`) and is synced before the next lap's first byte is
//! written, so a torn beginning of a lap is never taken for a loss. Room for that frame is always
//! kept, and for one bar of each log that has frames: a log that can sync its segments no more pins
//! its half for good, and others are to be truncated all the same.
//!
//! Pure but for the bytes it holds; under the journal's lock.

use std::collections::{HashMap, HashSet};

use super::frame::{ALIGN, Content, Extent, FILE_HEAD, HEAD, Reign, Standing, frame_size, put};
use crate::ids::{LogId, Offset};

/// What a lap's last frame takes.
const LAP_END: u64 = HEAD as u64;
const _: () = assert!(HEAD.is_multiple_of(ALIGN));
/// A frame takes at most this part of a half.
const PART: u64 = 8;
/// Bars that may come have room kept for them in at most this part of a half.
const BARS: u64 = 4;

/// Bytes for one place of the file.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It has this sequence; a lap began with it if there are logs, which pin the one before.
    At { sequence: u64, turned: Vec<LogId> },
    /// It is too large for a journal of this size.
    TooLarge,
    /// The half it would go to is pinned.
    Pinned,
}

/// The state of both halves.
#[derive(Debug)]
pub(super) struct Ring {
    reign: Reign,
    half: u64,
    lap: u64,
    /// Where in its half the next frame goes.
    place: u64,
    next_sequence: u64,
    /// The first sequence of the lap in each half.
    first: [u64; 2],
    /// Logs whose segments are not synced beyond their frames in each half, and how far those go.
    pins: [HashMap<LogId, Offset>; 2],
    /// Logs that have frames no bar has taken back, and the lap of the last one.
    framed: HashMap<LogId, u64>,
    runs: Vec<Run>,
}

impl Ring {
    pub(super) fn new(reign: Reign, half: u64) -> Self {
        Ring {
            reign,
            half,
            lap: 0,
            place: 0,
            next_sequence: 1,
            first: [1, 1],
            pins: Default::default(),
            framed: HashMap::new(),
            runs: Vec::new(),
        }
    }

    /// Begins the reign with the end of a lap that has nothing else in it: whoever looks for frames
    /// of the reign finds one from then on.
    pub(super) fn begin(&mut self) {
        self.turn(0);
    }

    /// Ends the lap at hand and begins the next.
    fn turn(&mut self, durable_through: u64) {
        // what the end of the lap before took back counts until that end is on the disk
        if durable_through + 1 >= self.first[self.this()] {
            let lap = self.lap;
            self.framed.retain(|_, last| *last + 1 >= lap);
        }
        self.put(Content::LapEnd, durable_through);
        self.lap += 1;
        self.place = 0;
        self.first[self.this()] = self.next_sequence;
    }

    /// The half of the lap at hand; the other is the one before's.
    fn this(&self) -> usize {
        usize::from(!self.lap.is_multiple_of(2))
    }

    /// The lap at hand.
    #[cfg(test)]
    pub(super) fn lap(&self) -> u64 {
        self.lap
    }

    /// The last sequence that was given out.
    pub(super) fn last_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// The oldest frame that is needed: the lap before counts while somebody pins it.
    fn oldest(&self) -> u64 {
        let this = self.this();
        let before = &self.pins[1 - this];
        if self.lap == 0 || before.is_empty() { self.first[this] } else { self.first[1 - this] }
    }

    /// Whether a frame of that many bytes of batches is ever taken.
    pub(super) fn takes(half: u64, batches: u64) -> bool {
        batches <= half / PART
    }

    /// Gathers a frame; frames up to `durable_through` are known to be on the disk.
    pub(super) fn add(&mut self, extent: &Extent, batches: &[u8], durable_through: u64) -> Placed {
        let size = frame_size(batches.len()).map(|size| size as u64);
        let size = size.filter(|_| Self::takes(self.half, batches.len() as u64));
        let most = self.half - self.half / BARS;
        let Some(size) = size.filter(|size| size + LAP_END <= most) else {
            return Placed::TooLarge;
        };
        let framed = self.framed.len() as u64 + u64::from(!self.has_frames(extent.log));
        let bars = (framed * LAP_END).min(self.half / BARS);
        let Some(turned) = self.make_room(size + bars, durable_through) else {
            return Placed::Pinned;
        };
        self.framed.insert(extent.log, self.lap);
        let pins = &mut self.pins[usize::from(!self.lap.is_multiple_of(2))];
        pins.insert(extent.log, extent.end);
        let sequence = self.next_sequence;
        self.put(Content::Records(*extent, batches), durable_through);
        Placed::At { sequence, turned }
    }

    /// Whether frames of the log may count, so that it takes a bar to end that.
    pub(super) fn has_frames(&self, log: LogId) -> bool {
        self.framed.contains_key(&log)
    }

    /// Gathers a bar: earlier frames of the log count no more. It counts as long as any of them.
    pub(super) fn bar(&mut self, log: LogId, durable_through: u64) -> Placed {
        let Some(turned) = self.make_room(LAP_END, durable_through) else { return Placed::Pinned };
        let sequence = self.next_sequence;
        self.framed.remove(&log);
        self.put(Content::Bar(log), durable_through);
        Placed::At { sequence, turned }
    }

    /// Sees to it that so many bytes fit into the lap at hand; returns who pins the lap that ended
    /// for it. `None` while the lap before is pinned.
    fn make_room(&mut self, size: u64, durable_through: u64) -> Option<Vec<LogId>> {
        if self.place + size + LAP_END <= self.half {
            return Some(Vec::new());
        }
        if !self.pins[1 - self.this()].is_empty() {
            return None;
        }
        self.turn(durable_through);
        Some(self.pins[1 - self.this()].keys().copied().collect())
    }

    fn put(&mut self, content: Content<'_>, durable_through: u64) {
        let half_at = FILE_HEAD + if self.this() == 0 { 0 } else { self.half };
        let at = half_at + self.place;
        let standing = Standing {
            lap: self.lap,
            sequence: self.next_sequence,
            durable_through,
            oldest: self.oldest(),
        };
        let goes_on = self.runs.last().is_some_and(|run| run.at + run.bytes.len() as u64 == at);
        // a lap in the second half goes on where the first ends: it must not be one write with it
        if !goes_on || self.place == 0 {
            self.runs.push(Run { at, bytes: Vec::new() });
        }
        let run = self.runs.last_mut().expect("one was pushed if there was none");
        let before = run.bytes.len();
        put(&mut run.bytes, at, &self.reign, &standing, content);
        self.place += (run.bytes.len() - before) as u64;
        self.next_sequence += 1;
    }

    /// Takes what was gathered, in order, each run to be synced before the next is written.
    /// `spare` is used for what comes next.
    pub(super) fn take(&mut self, spare: Vec<u8>) -> Vec<Run> {
        let half_at = FILE_HEAD + if self.this() == 0 { 0 } else { self.half };
        let next = Run { at: half_at + self.place, bytes: spare };
        std::mem::replace(&mut self.runs, vec![next])
            .into_iter()
            .filter(|run| !run.bytes.is_empty())
            .collect()
    }

    /// The log's segments are synced up to `offset`.
    pub(super) fn synced(&mut self, log: LogId, offset: Offset) {
        for pins in &mut self.pins {
            if pins.get(&log).is_some_and(|end| *end <= offset) {
                pins.remove(&log);
            }
        }
    }

    /// Who pins the lap that is written over next.
    pub(super) fn pinning(&self) -> Vec<LogId> {
        self.pins[1 - self.this()].keys().copied().collect()
    }

    /// Who pins anything.
    pub(super) fn pinning_any(&self) -> Vec<LogId> {
        let logs: HashSet<_> = self.pins.iter().flat_map(|pins| pins.keys().copied()).collect();
        logs.into_iter().collect()
    }
}
