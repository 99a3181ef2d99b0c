//! What a group with a filter wants of the log: found out ahead of the takes.
//!
//! A filter is the host's code and runs under no lock: a stretch is read, its records are asked
//! for, and what is not wanted is noted if the place stands as it did. A take then goes no further
//! than that, and finishes what is not wanted in bulk, without a state of its own for any record.
//! Where the topic keeps tags, stretches without those wanted are not read.
//!
//! Invariant: what is noted is about the log as it is; where that was cut, it is forgotten. Damage
//! ends a stretch: the take that comes to it passes it. Called by `share_consumer`, before a take.

use super::place::{Place, Slot};
use super::take::TakeRequest;
use crate::error::Result;
use crate::ids::Offset;
use crate::log::{Ahead, Cursor, FetchLimits, TagReader};
use crate::record::{RecordFilter, Records, TakeRules};
use crate::state_log::runs::Runs;

/// So many bytes are looked through before a take.
const MOST: usize = 4 << 20;
/// Read at once.
const STRETCH: usize = 1 << 20;
/// Bytes that are passed over cost as much as one that is looked at.
const PASSED_OVER: u64 = 64;

#[derive(Debug)]
pub(super) struct Sieve {
    pub(super) filter: RecordFilter,
    /// What is not wanted, and offsets that have nothing.
    unwanted: Runs<()>,
    /// Everything below it was looked at, and cannot be read where `is_blocked` says so.
    until: i64,
    is_blocked: bool,
    cursor: Option<Cursor>,
    tags: TagReader,
}

/// What is known of an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sifted {
    /// Nothing: there is no filter.
    All,
    /// It cannot be read, so nobody can be asked whether it is wanted.
    Blocked,
    /// All below is wanted; nothing is known where that is the offset itself.
    Wanted { until: i64 },
    /// Nothing below is.
    Unwanted { end: i64 },
}

/// Where a stretch begins.
struct Begun {
    filter: RecordFilter,
    from: i64,
    cursor: Option<Cursor>,
    tags: TagReader,
    limits: FetchLimits,
    rules: TakeRules,
}

/// What came of a stretch.
struct Looked {
    next: i64,
    /// Of what was read.
    wanted: Vec<i64>,
    cursor: Option<Cursor>,
    bytes: usize,
    is_blocked: bool,
}

impl Sieve {
    pub(super) fn new(filter: RecordFilter, from: i64) -> Self {
        let (unwanted, tags) = (Runs::default(), TagReader::default());
        Sieve { filter, unwanted, until: from, is_blocked: false, cursor: None, tags }
    }

    pub(super) fn at(&self, offset: i64) -> Sifted {
        if self.is_blocked && offset == self.until {
            return Sifted::Blocked;
        }
        if offset >= self.until {
            return Sifted::Wanted { until: offset };
        }
        match self.unwanted.within(offset, self.until - 1).next() {
            Some((first, last, ())) if first == offset => Sifted::Unwanted { end: last + 1 },
            Some((first, ..)) => Sifted::Wanted { until: first },
            None => Sifted::Wanted { until: self.until },
        }
    }

    /// Forgets what lies below, or above, what the state knows.
    fn follow(&mut self, end: i64) {
        if self.until < end {
            (self.until, self.is_blocked, self.cursor) = (end, false, None);
        }
        self.unwanted.clear_below(end);
    }

    /// The log was cut.
    pub(super) fn cut(&mut self, end: i64) {
        if self.until > end {
            (self.until, self.is_blocked, self.cursor) = (end, false, None);
            self.unwanted.clear_from(end);
        }
    }

    /// How many are known to be wanted, from an offset on; at least.
    fn known(&self, from: i64) -> usize {
        let all = self.until.saturating_sub(from);
        let unwanted = self.unwanted.iter().map(|(first, last, ())| last - first + 1);
        usize::try_from(all - unwanted.sum::<i64>()).unwrap_or(0)
    }

    fn note(&mut self, looked: Looked, tags: TagReader) {
        let mut expected = self.until;
        for at in looked.wanted {
            if expected < at {
                self.unwanted.set(expected, at - 1, ());
            }
            expected = at + 1;
        }
        if expected < looked.next {
            self.unwanted.set(expected, looked.next - 1, ());
        }
        self.until = looked.next;
        (self.cursor, self.is_blocked, self.tags) = (looked.cursor, looked.is_blocked, tags);
    }
}

impl Place {
    /// Asks the filter of a group ahead of a take, as far as that take may go. Never waits.
    pub(crate) fn sift(&self, request: &TakeRequest) -> Result<()> {
        let mut bytes = 0;
        while bytes < MOST {
            let Some(begun) = self.begin_stretch(request)? else { return Ok(()) };
            let (from, looked, tags) = self.look_through(begun)?;
            let Some(looked) = looked else { return Ok(()) };
            bytes += looked.bytes.max(1);
            let mut slot = self.slot.lock();
            if slot.may_be_cut(&self.partition)? {
                return Ok(()); // the take sees to it
            }
            let Some(sieve) = &mut slot.sieve else { return Ok(()) };
            if sieve.until != from {
                continue; // somebody else was faster
            }
            let is_blocked = looked.is_blocked;
            sieve.note(looked, tags);
            if is_blocked {
                return Ok(());
            }
        }
        Ok(())
    }

    fn begin_stretch(&self, request: &TakeRequest) -> Result<Option<Begun>> {
        let mut slot = self.slot.lock();
        self.notice_cuts(&mut slot)?;
        let Slot { state, settings, sieve, .. } = &mut *slot;
        let Some(sieve) = sieve else { return Ok(None) };
        let end = state.end();
        sieve.follow(end);
        sieve.is_blocked = false; // it may be mended
        if sieve.known(end) >= request.max_records {
            return Ok(None);
        }
        let isolation = settings.isolation;
        let (bytes, records) = (STRETCH, u64::MAX);
        Ok(Some(Begun {
            filter: sieve.filter.clone(),
            from: sieve.until,
            cursor: sieve.cursor.clone(),
            tags: std::mem::take(&mut sieve.tags),
            limits: FetchLimits { bytes, records, durable_only: false, isolation },
            rules: TakeRules { max_records: usize::MAX, until: None, plain: settings.plain },
        }))
    }

    /// Reads a stretch and asks the filter; nothing where there is nothing now.
    fn look_through(&self, begun: Begun) -> Result<(i64, Option<Looked>, TagReader)> {
        let Begun { filter, from, cursor, mut tags, mut limits, rules } = begun;
        let at = Offset::new(from);
        if let Some(wanted) = filter.tag_bits() {
            let reader = (wanted, &mut tags);
            match self.partition.look_ahead(at, cursor.as_ref(), limits, reader) {
                Ahead::Unknown => {}
                Ahead::Wanted(bytes) => limits.bytes = limits.bytes.min(bytes),
                Ahead::Skipped(skipped) => {
                    let bytes = usize::try_from(skipped.bytes / PASSED_OVER).unwrap_or(MOST);
                    let next = skipped.next_offset.get();
                    let looked = Looked {
                        next,
                        wanted: Vec::new(),
                        cursor: Some(skipped.cursor),
                        bytes,
                        is_blocked: false,
                    };
                    return Ok((from, Some(looked), tags));
                }
            }
        }
        let blocked =
            Looked { next: from, wanted: Vec::new(), cursor: None, bytes: 0, is_blocked: true };
        let fetched = match self.partition.fetch(at, cursor.as_ref(), limits) {
            Ok(fetched) => fetched,
            Err(error) if error.is_corrupt() => return Ok((from, Some(blocked), tags)),
            Err(error) => return Err(self.named(error)),
        };
        let Some(batches) = fetched.batches() else {
            let next = fetched.next_offset.get();
            let looked = Looked { next, cursor: fetched.cursor, is_blocked: false, ..blocked };
            return Ok((from, Some(looked).filter(|looked| looked.next > from), tags));
        };
        let size = batches.bytes.len();
        let mut records = Records::default();
        let taken = records.take_in(&self.origin, batches, at, rules);
        if taken.next_offset <= at {
            return Ok((from, Some(blocked), tags));
        }
        let chosen = records.choose(&filter, usize::MAX);
        let wanted = chosen.records.iter().map(|record| record.offset().get()).collect();
        let cursor = fetched.cursor.filter(|_| taken.next_offset == fetched.next_offset);
        let (next, bytes) = (taken.next_offset.get(), size.max(taken.plain_bytes));
        Ok((from, Some(Looked { next, wanted, cursor, bytes, is_blocked: false }), tags))
    }
}
