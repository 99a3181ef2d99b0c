//! The facts a store keeps of itself, and the bytes of each: the one place that knows them.
//!
//! The state log is a sequence of facts, a [`RootState`](super::state::RootState) their fold. A
//! fact says what has become so, never how to get there, and names a topic by its id: a late word
//! about a deleted topic then cannot reach a new one of its name.
//!
//! Layout, big-endian: u8 kind, then the fields in order of declaration. Strings and lists carry a
//! u32 length first. A kind that is not listed here is an error: new kinds raise the version of
//! the state log's header. Every length is held against the bytes that are there before use.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};

/// The most partitions a topic may have; bounds what one damaged number could make us allocate.
pub(crate) const MAX_PARTITIONS: u32 = 100_000;

/// A file of the root that exists for Kafka's sake, and is written from the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ExportFile {
    RecoveryPoints,
    LogStarts,
    HighWatermarks,
    CleanShutdown,
}

impl ExportFile {
    pub(crate) const ALL: [ExportFile; 4] = [
        ExportFile::RecoveryPoints,
        ExportFile::LogStarts,
        ExportFile::HighWatermarks,
        ExportFile::CleanShutdown,
    ];

    const fn code(self) -> u8 {
        match self {
            ExportFile::RecoveryPoints => 0,
            ExportFile::LogStarts => 1,
            ExportFile::HighWatermarks => 2,
            ExportFile::CleanShutdown => 3,
        }
    }
}

/// What a file's bytes are known by: their number and their CRC-32C. It tells another program's
/// file from ours; against forgery it is not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest {
    pub(crate) len: u64,
    pub(crate) crc32c: u32,
}

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Digest { len: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) }
    }
}

/// The digests of a set of exports; a file without an entry does not exist.
pub(crate) type ExportDigests = BTreeMap<ExportFile, Digest>;

/// One thing that has become so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The store was opened for writing under a new epoch, in this life of the machine.
    Opened { leader_epoch: LeaderEpoch, boot_id: [u8; 16] },
    /// The store was closed cleanly and left these exports behind.
    CleanClose { digests: ExportDigests },
    /// These exports are about to be written: each file is as before or as said here.
    ExportBegun { digests: ExportDigests },
    /// The exports are as said here.
    Exported { digests: ExportDigests },
    /// A topic exists. `config` holds settings by Kafka's names.
    TopicCreated {
        id: TopicId,
        name: String,
        config: Vec<(String, String)>,
        partitions: u32,
        adopted: bool,
        internal: bool,
    },
    /// The topic's settings are these, all of them. An adopted topic stays marked so until the
    /// host has set its policy, which this is.
    TopicAltered { id: TopicId, config: Vec<(String, String)> },
    /// The topic has this many partitions.
    PartitionsAdded { id: TopicId, total: u32 },
    /// The topic is gone; its directories may still be there.
    TopicDeleted { id: TopicId, name: String },
    /// Nothing of a deleted topic is left on the disk.
    TopicForgotten { id: TopicId },
    /// All below this offset is durable and was verified.
    RecoveryPoint { id: TopicId, partition: PartitionId, offset: Offset },
    /// Records below this offset are no longer part of the partition.
    LogStart { id: TopicId, partition: PartitionId, offset: Offset },
    /// No epoch below or at this one may be given out.
    HighestEpoch { epoch: LeaderEpoch },
    /// Another program has written to the topic: its offsets may have gaps from then on.
    OthersWrote { id: TopicId },
    /// Compaction may have taken records below this offset of the partition: gaps there are no
    /// damage.
    Compacted { id: TopicId, partition: PartitionId, offset: Offset },
    /// A leader may have left out offsets below this one of the partition: gaps there are no
    /// damage.
    Sparse { id: TopicId, partition: PartitionId, offset: Offset },
    /// Where the host has set the high watermark of a partition that it leads.
    HighWatermark { id: TopicId, partition: PartitionId, offset: Offset },
    /// The host leads the partitions from `first` up to `end`, or the store does again.
    Leadership { id: TopicId, first: PartitionId, end: PartitionId, host_led: bool },
    /// A sync of the partition failed when all below this offset was durable: what lies above the
    /// recovery point is not to be trusted to the page cache until that has risen above it.
    SyncFailed { id: TopicId, partition: PartitionId, offset: Offset },
    /// No producer id below this one may be given out any more.
    ProducerIds { end: i64 },
    /// The journal of the reign at hand holds frames that may be relied on.
    JournalBegun,
    /// It is not needed any more: everything in it is in synced segments.
    JournalEnded,
}

const OPENED: u8 = 1;
const CLEAN_CLOSE: u8 = 2;
const EXPORT_BEGUN: u8 = 3;
const EXPORTED: u8 = 4;
const TOPIC_CREATED: u8 = 5;
const TOPIC_ALTERED: u8 = 6;
const PARTITIONS_ADDED: u8 = 7;
const TOPIC_DELETED: u8 = 8;
const TOPIC_FORGOTTEN: u8 = 9;
const RECOVERY_POINT: u8 = 10;
const LOG_START: u8 = 11;
const HIGHEST_EPOCH: u8 = 12;
const OTHERS_WROTE: u8 = 13;
const COMPACTED: u8 = 14;
const SYNC_FAILED: u8 = 15;
const JOURNAL_BEGUN: u8 = 16;
const JOURNAL_ENDED: u8 = 17;
const PRODUCER_IDS: u8 = 18;
const SPARSE: u8 = 19;
const HIGH_WATERMARK: u8 = 20;
const LEADERSHIP: u8 = 21;

const ADOPTED: u8 = 1;
const INTERNAL: u8 = 2;

impl Fact {
    /// Appends the fact's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Fact::Opened { leader_epoch, boot_id } => {
                out.push(OPENED);
                out.extend(leader_epoch.get().to_be_bytes());
                out.extend(boot_id);
            }
            Fact::CleanClose { digests } => put_digests(out, CLEAN_CLOSE, digests),
            Fact::ExportBegun { digests } => put_digests(out, EXPORT_BEGUN, digests),
            Fact::Exported { digests } => put_digests(out, EXPORTED, digests),
            Fact::TopicCreated { id, name, config, partitions, adopted, internal } => {
                put_id(out, TOPIC_CREATED, id);
                put_text(out, name);
                put_config(out, config);
                out.extend(partitions.to_be_bytes());
                let flag = |set: &bool, bit| if *set { bit } else { 0 };
                out.push(flag(adopted, ADOPTED) | flag(internal, INTERNAL));
            }
            Fact::TopicAltered { id, config } => {
                put_id(out, TOPIC_ALTERED, id);
                put_config(out, config);
            }
            Fact::PartitionsAdded { id, total } => {
                put_id(out, PARTITIONS_ADDED, id);
                out.extend(total.to_be_bytes());
            }
            Fact::TopicDeleted { id, name } => {
                put_id(out, TOPIC_DELETED, id);
                put_text(out, name);
            }
            Fact::TopicForgotten { id } => put_id(out, TOPIC_FORGOTTEN, id),
            Fact::RecoveryPoint { id, partition, offset } => {
                put_place(out, RECOVERY_POINT, id, *partition, *offset);
            }
            Fact::LogStart { id, partition, offset } => {
                put_place(out, LOG_START, id, *partition, *offset);
            }
            Fact::HighestEpoch { epoch } => {
                out.push(HIGHEST_EPOCH);
                out.extend(epoch.get().to_be_bytes());
            }
            Fact::OthersWrote { id } => {
                out.push(OTHERS_WROTE);
                out.extend(id.as_bytes());
            }
            Fact::Compacted { id, partition, offset } => {
                put_place(out, COMPACTED, id, *partition, *offset);
            }
            Fact::SyncFailed { id, partition, offset } => {
                put_place(out, SYNC_FAILED, id, *partition, *offset);
            }
            Fact::Sparse { id, partition, offset } => {
                put_place(out, SPARSE, id, *partition, *offset);
            }
            Fact::HighWatermark { id, partition, offset } => {
                put_place(out, HIGH_WATERMARK, id, *partition, *offset);
            }
            Fact::Leadership { id, first, end, host_led } => {
                put_range(out, LEADERSHIP, id, *first..*end);
                out.push(u8::from(*host_led));
            }
            Fact::ProducerIds { end } => {
                out.push(PRODUCER_IDS);
                out.extend(end.to_be_bytes());
            }
            Fact::JournalBegun => out.push(JOURNAL_BEGUN),
            Fact::JournalEnded => out.push(JOURNAL_ENDED),
        }
    }

    /// Takes one fact off the front of `bytes`; an error says what was wrong.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Result<Fact, &'static str> {
        let mut input = Input(bytes);
        let fact = input.fact()?;
        *bytes = input.0;
        match fact.refusal() {
            None => Ok(fact),
            Some(reason) => Err(reason),
        }
    }

    /// What forbids this fact, on the way to the disk and back.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        match self {
            Fact::TopicCreated { partitions: count, .. }
            | Fact::PartitionsAdded { total: count, .. }
                if *count > MAX_PARTITIONS =>
            {
                Some(TOO_MANY_PARTITIONS)
            }
            Fact::TopicCreated { name, config, .. } if !fits(name, config) => Some(TOO_LONG),
            Fact::TopicAltered { config, .. } if !fits("", config) => Some(TOO_LONG),
            Fact::TopicDeleted { name, .. } if !fits(name, &[]) => Some(TOO_LONG),
            Fact::RecoveryPoint { offset, .. }
            | Fact::LogStart { offset, .. }
            | Fact::Compacted { offset, .. }
            | Fact::Sparse { offset, .. }
            | Fact::HighWatermark { offset, .. }
            | Fact::SyncFailed { offset, .. }
                if *offset < Offset::ZERO =>
            {
                Some(NEGATIVE)
            }
            Fact::Opened { leader_epoch: epoch, .. } | Fact::HighestEpoch { epoch }
                if epoch.get() < 0 =>
            {
                Some(NEGATIVE)
            }
            Fact::ProducerIds { end } if *end < 0 => Some(NEGATIVE),
            Fact::Leadership { end, .. } if end.get() > MAX_PARTITIONS => Some(TOO_MANY_PARTITIONS),
            _ => None,
        }
    }
}

/// Whether a topic's texts leave room for others in a frame.
fn fits(name: &str, config: &[(String, String)]) -> bool {
    let config = config.iter().map(|(key, value)| key.len() + value.len());
    name.len().saturating_add(config.sum()) <= MAX_TOPIC_TEXT
}

/// The most a topic's name and settings may take together.
const MAX_TOPIC_TEXT: usize = 1 << 20;
const TOO_LONG: &str = "a topic's name and settings take more than 1 MiB";
const TOO_MANY_PARTITIONS: &str = "more partitions than a topic may have";
const NEGATIVE: &str = "a negative epoch, offset or range";
const SHORT: &str = "the fact ends early";

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend(text.as_bytes());
}

/// Lengths of what is about to be recorded; the frame's own bound is far below 4 GiB.
fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_id(out: &mut Vec<u8>, kind: u8, id: &TopicId) {
    out.push(kind);
    out.extend(id.as_bytes());
}

fn put_place(out: &mut Vec<u8>, kind: u8, id: &TopicId, partition: PartitionId, offset: Offset) {
    put_id(out, kind, id);
    out.extend(partition.get().to_be_bytes());
    out.extend(offset.get().to_be_bytes());
}

fn put_range(out: &mut Vec<u8>, kind: u8, id: &TopicId, range: Range<PartitionId>) {
    put_id(out, kind, id);
    out.extend(range.start.get().to_be_bytes());
    out.extend(range.end.get().to_be_bytes());
}

fn put_config(out: &mut Vec<u8>, config: &[(String, String)]) {
    put_len(out, config.len());
    for (key, value) in config {
        put_text(out, key);
        put_text(out, value);
    }
}

fn put_digests(out: &mut Vec<u8>, kind: u8, digests: &ExportDigests) {
    out.push(kind);
    put_len(out, digests.len());
    for (file, digest) in digests {
        out.push(file.code());
        out.extend(digest.len.to_be_bytes());
        out.extend(digest.crc32c.to_be_bytes());
    }
}

/// Bytes that are being read, from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn word(&mut self) -> Result<u32, &'static str> {
        self.array().map(u32::from_be_bytes)
    }

    /// A length or count, of things that take at least `least` bytes each.
    fn length(&mut self, least: usize) -> Result<usize, &'static str> {
        let length = usize::try_from(self.word()?).map_err(|_| SHORT)?;
        if length > self.0.len() / least { Err(SHORT) } else { Ok(length) }
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let length = self.length(1)?;
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(head).map(str::to_owned).map_err(|_| "a text is not UTF-8")
    }

    fn id(&mut self) -> Result<TopicId, &'static str> {
        TopicId::from_bytes(self.array()?).ok_or("a topic id is zero")
    }

    fn epoch(&mut self) -> Result<LeaderEpoch, &'static str> {
        self.array().map(i32::from_be_bytes).map(LeaderEpoch::new)
    }

    fn offset(&mut self) -> Result<Offset, &'static str> {
        self.array().map(i64::from_be_bytes).map(Offset::new)
    }

    fn partition(&mut self) -> Result<PartitionId, &'static str> {
        self.word().map(PartitionId::new)
    }

    fn place(&mut self) -> Result<(TopicId, PartitionId, Offset), &'static str> {
        Ok((self.id()?, self.partition()?, self.offset()?))
    }

    fn flag(&mut self) -> Result<bool, &'static str> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a flag that is neither set nor not"),
        }
    }

    fn config(&mut self) -> Result<Vec<(String, String)>, &'static str> {
        let count = self.length(8)?;
        (0..count).map(|_| Ok((self.text()?, self.text()?))).collect()
    }

    fn digests(&mut self) -> Result<ExportDigests, &'static str> {
        let count = self.length(13)?;
        let mut digests = ExportDigests::new();
        for _ in 0..count {
            let code = self.byte()?;
            let file = ExportFile::ALL.into_iter().find(|file| file.code() == code);
            let file = file.ok_or("a digest of an unknown file")?;
            let len = u64::from_be_bytes(self.array()?);
            let digest = Digest { len, crc32c: self.word()? };
            if digests.insert(file, digest).is_some() {
                return Err("two digests of one file");
            }
        }
        Ok(digests)
    }

    fn topic_created(&mut self) -> Result<Fact, &'static str> {
        let (id, name, config) = (self.id()?, self.text()?, self.config()?);
        let partitions = self.word()?;
        let flags = self.byte()?;
        if flags & !(ADOPTED | INTERNAL) != 0 {
            return Err("an unknown flag of a topic");
        }
        let (adopted, internal) = (flags & ADOPTED != 0, flags & INTERNAL != 0);
        Ok(Fact::TopicCreated { id, name, config, partitions, adopted, internal })
    }

    fn fact(&mut self) -> Result<Fact, &'static str> {
        Ok(match self.byte()? {
            OPENED => Fact::Opened { leader_epoch: self.epoch()?, boot_id: self.array()? },
            CLEAN_CLOSE => Fact::CleanClose { digests: self.digests()? },
            EXPORT_BEGUN => Fact::ExportBegun { digests: self.digests()? },
            EXPORTED => Fact::Exported { digests: self.digests()? },
            TOPIC_CREATED => self.topic_created()?,
            TOPIC_ALTERED => Fact::TopicAltered { id: self.id()?, config: self.config()? },
            PARTITIONS_ADDED => Fact::PartitionsAdded { id: self.id()?, total: self.word()? },
            TOPIC_DELETED => Fact::TopicDeleted { id: self.id()?, name: self.text()? },
            TOPIC_FORGOTTEN => Fact::TopicForgotten { id: self.id()? },
            RECOVERY_POINT => {
                let (id, partition, offset) = self.place()?;
                Fact::RecoveryPoint { id, partition, offset }
            }
            LOG_START => {
                let (id, partition, offset) = self.place()?;
                Fact::LogStart { id, partition, offset }
            }
            HIGHEST_EPOCH => Fact::HighestEpoch { epoch: self.epoch()? },
            OTHERS_WROTE => Fact::OthersWrote { id: self.id()? },
            COMPACTED => {
                let (id, partition, offset) = self.place()?;
                Fact::Compacted { id, partition, offset }
            }
            SYNC_FAILED => {
                let (id, partition, offset) = self.place()?;
                Fact::SyncFailed { id, partition, offset }
            }
            SPARSE => {
                let (id, partition, offset) = self.place()?;
                Fact::Sparse { id, partition, offset }
            }
            HIGH_WATERMARK => {
                let (id, partition, offset) = self.place()?;
                Fact::HighWatermark { id, partition, offset }
            }
            LEADERSHIP => Fact::Leadership {
                id: self.id()?,
                first: self.partition()?,
                end: self.partition()?,
                host_led: self.flag()?,
            },
            PRODUCER_IDS => Fact::ProducerIds { end: self.offset()?.get() },
            JOURNAL_BEGUN => Fact::JournalBegun,
            JOURNAL_ENDED => Fact::JournalEnded,
            _ => return Err("an unknown kind of fact"),
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
