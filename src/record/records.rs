//! Records that were fetched: owned as a whole, lent one by one.
//!
//! [`Records`] owns the bytes of whole batches, one part per partition, and nothing of the store:
//! it can be kept, sent to another thread, and outlive both the log's retention and the store.
//! Every record was checked when its batch was taken in, so lending cannot fail; compressed batches
//! were decompressed then, at most about one limit's worth of them in one part, and what came out
//! belongs to the part like the bytes it came from. `iter` lends.

use std::sync::Arc;

use bytes::Bytes;

use super::batch::Batch;
use super::codec::PlainLimit;
use super::fault::BatchFault;
use super::header::BatchHeader;
use super::iter::RecordsIter;
use super::lend::LentRecords;
use crate::ids::{LeaderEpoch, Offset, PartitionId};
use crate::stats::PinCounter;

/// Where records come from, and who counts what is held of them, behind one pointer: each part of
/// what is handed out keeps it.
#[derive(Debug)]
pub(crate) struct RecordsOrigin {
    pub(super) topic: Arc<str>,
    pub(super) partition: PartitionId,
    pinned: Arc<PinCounter>,
}

impl RecordsOrigin {
    pub(crate) fn of(
        topic: &Arc<str>,
        partition: PartitionId,
        pinned: &Arc<PinCounter>,
    ) -> Arc<Self> {
        Arc::new(RecordsOrigin { topic: topic.clone(), partition, pinned: pinned.clone() })
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.topic
    }
}

/// What one partition contributed.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) origin: Arc<RecordsOrigin>,
    /// Whole batches; those below `from` are stepped over.
    pub(super) bytes: Bytes,
    /// Of most parts there is none.
    beside: Option<Box<Beside>>,
    pub(super) from: Offset,
    /// Records at or beyond it were not wanted.
    pub(super) end: Offset,
    /// All records of all its batches are lent, but those of markers: none is compressed.
    pub(super) is_whole: bool,
    /// Bytes that its origin counts as held.
    pinned: u64,
}

/// What belongs to the bytes of a part.
#[derive(Debug)]
struct Beside {
    /// The base offsets of batches that are left out, in order: of transactions that were aborted.
    aborted: Vec<Offset>,
    /// The records of those that are compressed and reach beyond `from`, in order.
    plain: Vec<Vec<u8>>,
}

/// Records as a fetch returned them.
///
/// Iterate over `&records`: each [`RecordView`](crate::RecordView) borrows from it. Within a
/// partition they come in the order of their offsets.
///
/// ```
/// use tidelog::{Record, Store, TopicConfig};
/// let store = Store::in_memory()?;
/// store.ensure_topic("orders", TopicConfig::new())?;
/// store.producer().build()?.topic("orders")?.send(Record::new("hello"))?;
/// let mut consumer = store.consumer("billing").subscribe(["orders"]).build()?;
/// let records = consumer.try_poll()?;
/// assert_eq!(records.len(), 1);
/// for record in &records {
///     assert_eq!(record.value(), Some(&b"hello"[..]));
/// }
/// # Ok::<(), tidelog::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Records {
    /// Apart from the others, so that what one partition gave needs no memory of its own.
    first: Option<Part>,
    others: Vec<Part>,
    len: usize,
}

/// Whole, verified batches, as a fetch hands them up.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    pub(crate) bytes: Bytes,
    /// The base offsets of those that no reader is to see, in order.
    pub(crate) aborted: Vec<Offset>,
    /// What was found when they were read, if every record can be lent as it lies.
    pub(crate) sound: Option<Sound>,
}

impl Batches {
    /// The header of the batch at a position, whatever is wrong with its records: its checksum
    /// fits, so what the header says of offsets holds.
    pub(crate) fn header_at(&self, position: usize) -> Option<BatchHeader> {
        BatchHeader::parse(self.bytes.get(position..)?, usize::MAX).ok()
    }
}

/// Batches whose records have all been checked, and need no unpacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sound {
    /// Records, those of control batches left out.
    pub(crate) records: usize,
    pub(crate) first_offset: Offset,
    pub(crate) next_offset: Offset,
    /// That of the last batch that has one.
    pub(crate) epoch: Option<LeaderEpoch>,
}

impl From<Bytes> for Batches {
    fn from(bytes: Bytes) -> Self {
        Batches { bytes, aborted: Vec::new(), sound: None }
    }
}

/// What became of bytes that were to be taken in.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Records now among the others.
    pub(crate) records: usize,
    /// Where the next fetch goes on.
    pub(crate) next_offset: Offset,
    /// Bytes that were decompressed for them.
    pub(crate) plain_bytes: usize,
    /// The epoch of the last batch.
    pub(crate) epoch: Option<LeaderEpoch>,
    /// What stopped it before the end of the bytes, and at which position of them.
    pub(crate) fault: Option<(usize, BatchFault)>,
}

/// Which batches are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakeRules {
    /// At most this many records.
    pub(crate) max_records: usize,
    /// Only records below it, where there is such a bound.
    pub(crate) until: Option<Offset>,
    /// What one batch may take decompressed; the batch that brings all to it is the last.
    pub(crate) plain: PlainLimit,
}

impl TakeRules {
    /// Whether everything below `end` is wanted.
    #[inline]
    fn reach(&self, end: Offset) -> bool {
        self.until.is_none_or(|until| end <= until)
    }

    /// Whether all of some batches is wanted.
    #[inline]
    fn want_all(&self, sound: Sound, from: Offset) -> bool {
        let is_within = sound.first_offset >= from && sound.records <= self.max_records;
        is_within && self.reach(sound.next_offset)
    }

    /// Whether more is wanted.
    fn want(&self, taken: &Taken) -> bool {
        taken.records < self.max_records
            && self.until.is_none_or(|until| taken.next_offset < until)
            && (taken.plain_bytes == 0 || taken.plain_bytes < self.plain.of(0))
    }
}

impl Records {
    /// Takes in verified batches from `from` on, up to the first one that cannot be lent.
    pub(crate) fn take_in(
        &mut self,
        origin: &Arc<RecordsOrigin>,
        batches: impl Into<Batches>,
        from: Offset,
        rules: TakeRules,
    ) -> Taken {
        let batches = batches.into();
        match batches.sound {
            Some(sound) if batches.aborted.is_empty() && rules.want_all(sound, from) => {
                let Sound { records, next_offset, epoch, .. } = sound;
                self.take_whole(origin, batches.bytes, from, sound);
                Taken { records, next_offset, plain_bytes: 0, epoch, fault: None }
            }
            _ => self.take_some(origin, batches, from, rules),
        }
    }

    /// Takes in all of some batches as they lie, whose records all lie at or above `from`.
    #[inline(always)] // see `log::rest`
    pub(crate) fn take_whole(
        &mut self,
        origin: &Arc<RecordsOrigin>,
        bytes: Bytes,
        from: Offset,
        sound: Sound,
    ) {
        debug_assert!(sound.first_offset >= from, "{sound:?} from {from}");
        if sound.records > 0 {
            let pinned = bytes.len() as u64;
            origin.pinned.add(pinned);
            let (origin, end) = (origin.clone(), sound.next_offset);
            let part = Part { origin, bytes, beside: None, from, end, is_whole: true, pinned };
            self.push(part, sound.records);
        }
    }

    /// The same batch by batch: some is not wanted, or has to be unpacked.
    #[inline(never)] // large, and seldom what is to be done
    fn take_some(
        &mut self,
        origin: &Arc<RecordsOrigin>,
        batches: Batches,
        from: Offset,
        rules: TakeRules,
    ) -> Taken {
        let Batches { mut bytes, aborted, sound } = batches;
        let mut taken =
            Taken { records: 0, next_offset: from, plain_bytes: 0, epoch: None, fault: None };
        let (mut position, mut plain) = (0, Vec::new());
        while position < bytes.len() && rules.want(&taken) {
            let Some(batch) = Batch::trust(&bytes[position..]) else {
                let available = bytes.len() - position;
                taken.fault = Some((position, BatchFault::Short { needed: 61, available }));
                break;
            };
            let header = batch.header();
            if is_among(&aborted, header.base_offset()) {
                taken.next_offset = header.end_offset().max(taken.next_offset);
                taken.epoch = header.leader_epoch().or(taken.epoch);
                position += header.size();
                continue;
            }
            match lendable(&batch, from, rules, (taken.records, sound.is_some())) {
                Ok(Lendable { records, next, unpacked }) => {
                    taken.records += records;
                    taken.plain_bytes += unpacked.as_ref().map_or(0, Vec::len);
                    plain.extend(unpacked);
                    taken.next_offset = next.max(taken.next_offset);
                    taken.epoch = batch.header().leader_epoch().or(taken.epoch);
                }
                Err(fault) => {
                    taken.fault = Some((position, fault));
                    break;
                }
            }
            position += batch.header().size();
        }
        if taken.records > 0 {
            bytes.truncate(position);
            let pinned = (bytes.len() + taken.plain_bytes) as u64;
            origin.pinned.add(pinned);
            let beside = match aborted.is_empty() && plain.is_empty() {
                true => None,
                false => Some(Box::new(Beside { aborted, plain })),
            };
            let (origin, end) = (origin.clone(), taken.next_offset);
            let part = Part { origin, bytes, beside, from, end, is_whole: false, pinned };
            self.push(part, taken.records);
        }
        taken
    }

    /// Takes in what another has, behind what is there.
    pub(crate) fn absorb(&mut self, other: Records) {
        let Records { first, others, len } = other;
        self.len += len;
        first.into_iter().chain(others).for_each(|part| self.push(part, 0));
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.first.iter().chain(&self.others)
    }

    #[inline]
    pub(super) fn push(&mut self, part: Part, records: usize) {
        self.len += records;
        match &self.first {
            None => self.first = Some(part),
            Some(_) => self.others.push(part),
        }
    }

    /// How many records there are.
    ///
    /// ```
    /// let records = tidelog::Records::default();
    /// assert_eq!(records.len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    ///
    /// ```
    /// assert!(tidelog::Records::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lends the records, partition by partition.
    ///
    /// ```
    /// assert_eq!(tidelog::Records::default().iter().count(), 0);
    /// ```
    pub fn iter(&self) -> RecordsIter<'_> {
        RecordsIter::of(self.first.as_ref(), &self.others)
    }
}

impl Part {
    /// Some records of this part, in batches that are neither compressed nor left out.
    pub(super) fn chosen(&self, bytes: Vec<u8>, end: Offset) -> Part {
        let (origin, from, pinned) = (self.origin.clone(), self.from, bytes.len() as u64);
        origin.pinned.add(pinned);
        let bytes = bytes.into();
        Part { origin, bytes, beside: None, from, end, is_whole: true, pinned }
    }

    pub(super) fn aborted(&self) -> &[Offset] {
        self.beside.as_ref().map_or(&[], |beside| &beside.aborted)
    }

    pub(super) fn plain(&self) -> &[Vec<u8>] {
        self.beside.as_ref().map_or(&[], |beside| &beside.plain)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.origin.pinned.give_back(self.pinned);
    }
}

/// What of a batch can be lent.
struct Lendable {
    /// At most as many as are still wanted.
    records: usize,
    /// Where reading goes on behind them.
    next: Offset,
    /// Its records, if they had to be decompressed.
    unpacked: Option<Vec<u8>>,
}

/// Looks through a batch of which records may be lent, unless it lies below `from`, or is known to
/// be sound.
fn lendable(
    batch: &Batch<'_>,
    from: Offset,
    rules: TakeRules,
    (taken, is_sound): (usize, bool),
) -> Result<Lendable, BatchFault> {
    let header = batch.header();
    let mut room = Vec::new();
    let packed = batch.is_packed();
    if packed && is_below(batch, from) {
        return Ok(Lendable { records: 0, next: header.end_offset(), unpacked: None });
    }
    let batch = batch.unpacked(&mut room, rules.plain)?;
    if !is_sound {
        batch.check_records()?;
    }
    let (mut records, mut next) = (0, header.end_offset());
    let all = if header.is_control() { 0 } else { header.count() as usize }; // u32 fits
    let fits = all <= rules.max_records - taken && rules.reach(header.end_offset());
    if header.base_offset() >= from && fits {
        return Ok(Lendable { records: all, next, unpacked: packed.then_some(room) });
    }
    for record in LentRecords::of(&batch).ok_or(BatchFault::Packed(header.codec()))? {
        if record.offset() < from {
            continue;
        }
        let beyond = rules.until.is_some_and(|until| record.offset() >= until);
        if beyond || taken + records == rules.max_records {
            next = record.offset();
            break;
        }
        records += 1;
    }
    Ok(Lendable { records, next, unpacked: packed.then_some(room) })
}

/// Whether a batch of that base offset is among those, which are in order.
#[inline]
pub(super) fn is_among(aborted: &[Offset], base: Offset) -> bool {
    !aborted.is_empty() && aborted.binary_search(&base).is_ok()
}

/// Whether a batch ends before `from`: if it is compressed it stays so.
pub(super) fn is_below(batch: &Batch<'_>, from: Offset) -> bool {
    batch.header().end_offset() <= from
}
