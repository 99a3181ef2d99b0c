//! Fuzz targets of the root: the state log's bytes, and following one that is being written.
//!
//! `state_log` takes arbitrary bytes, or facts in frames whose checksums and sequences are mended:
//! what is understood folds to a state whose snapshot folds to the same, and reads the same when
//! it is written again. `followed` plays a writer that appends, stops half way, takes a frame back
//! and begins anew: a look sees what a plain reading of the file sees.
//!
//! Called by `crate::fuzzing`.

use std::path::Path;

use super::fact::Fact;
use super::followed::FollowedRoot;
use super::frame::{FRAME_HEAD, Fault, HEADER_LEN, Header, TornTail, frame_crc, put_frame, scan};
use super::marker::{self, StoreId};
use super::state::RootState;
use crate::disk::{Access, Disk, MemoryDisk, names, write_all_at};
use crate::feed::Feed;
use crate::ids::{LeaderEpoch, Offset, PartitionId, TopicId};
use crate::sync::Arc;

const MEND: u8 = 1;
const FLIP: u8 = 2;
/// More partitions than these are not folded: each takes memory, as it does for whoever asked.
const MOST_PARTITIONS: u64 = 5_000;

/// The state log's bytes.
pub(crate) fn state_log(input: &[u8]) {
    let mut feed = Feed::new(input);
    let flags = feed.byte();
    let bytes = match flags & MEND {
        0 => feed.rest().to_vec(),
        _ => mended(&mut feed, flags),
    };
    let mut rest = bytes.get(HEADER_LEN..).unwrap_or_default();
    while let Ok(fact) = Fact::decode(&mut rest) {
        let mut again = Vec::new();
        fact.encode(&mut again);
        assert_eq!(Fact::decode(&mut &again[..]), Ok(fact));
    }
    let found = match scan(&bytes) {
        Ok(found) => found,
        Err(Fault::Newer { found }) => return assert!(found != super::frame::VERSION),
        Err(Fault::Damage { position, .. }) => return assert!(position <= bytes.len() as u64),
    };
    assert_eq!(Header::parse(&found.header.encode()), Ok(found.header));
    let whole = found.torn.map_or(bytes.len() as u64, |torn| torn.position);
    if let Some(TornTail { position, bytes: torn, .. }) = found.torn {
        assert_eq!(position + torn, bytes.len() as u64);
        assert!(found.next_sequence > found.header.snapshot_through);
    }
    assert!(found.last.is_none_or(|last| (last as u64) < whole));
    let cut = scan(&bytes[..usize::try_from(whole).expect("small")]).expect("its whole part");
    assert!(cut.torn.is_none() && cut.next_sequence == found.next_sequence);
    assert_eq!(cut.facts, found.facts);
    fold(&found.facts, &found.header);
}

/// A header, then frames: each its length, a byte that says what is wrong with it, its facts.
fn mended(feed: &mut Feed<'_>, flags: u8) -> Vec<u8> {
    let first_sequence = u64::from(feed.byte()) + 1;
    let header = Header {
        store_id: StoreId::from_bytes([5; 16]),
        generation: u64::from(feed.byte()),
        first_sequence,
        snapshot_through: first_sequence - 1 + u64::from(feed.byte() >> 6),
    };
    let mut bytes = header.encode().to_vec();
    for sequence in first_sequence.. {
        if feed.is_empty() {
            break;
        }
        let (length, wrong) = (usize::from(feed.byte()), feed.byte());
        let at = bytes.len();
        let vouched = sequence.saturating_sub(u64::from(wrong >> 4));
        put_frame(&mut bytes, sequence, vouched, &[]).expect("it is small");
        bytes.extend_from_slice(feed.bytes(length));
        seal(&mut bytes[at..]);
        if flags & FLIP != 0 && wrong & 7 == 1 {
            let place = at + usize::from(wrong) % (bytes.len() - at);
            bytes[place] ^= wrong | 1;
        }
    }
    bytes
}

/// Sets the length and the checksum of a frame whose facts stand behind its head.
fn seal(frame: &mut [u8]) {
    let length = u32::try_from(frame.len() - FRAME_HEAD).expect("small");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    let crc = frame_crc(frame);
    frame[4..8].copy_from_slice(&crc.to_be_bytes());
}

fn fold(facts: &[Fact], header: &Header) {
    let asked = facts.iter().map(|fact| match fact {
        Fact::TopicCreated { partitions: count, .. }
        | Fact::PartitionsAdded { total: count, .. } => u64::from(*count),
        _ => 0,
    });
    if asked.sum::<u64>() > MOST_PARTITIONS {
        return;
    }
    let state = RootState::fold(facts);
    let snapshot = state.snapshot();
    assert_eq!(RootState::fold(&snapshot), state, "a snapshot says all there is");
    for topic in state.topics() {
        assert!(!state.is_deleted(topic.id), "a topic that lives is not deleted");
        assert_eq!(state.topic_named(&topic.name).map(|named| named.id), Some(topic.id));
    }
    if let Ok(next) = state.next_epoch(None) {
        assert!(state.highest_epoch() < Some(next) && state.reign() < Some(next));
    }
    let mut bytes = Header { snapshot_through: header.first_sequence, ..*header }.encode().to_vec();
    put_frame(&mut bytes, header.first_sequence, 0, &snapshot).expect("it was smaller before");
    let again = scan(&bytes).expect("it was just written");
    assert_eq!(again.facts, snapshot, "facts read as they were written");
}

const ROOT: &str = "/store";

/// The writer of a followed state log.
struct Writer {
    disk: MemoryDisk,
    header: Header,
    bytes: Vec<u8>,
    /// Where the last whole frame begins, if it may be taken back.
    last: Option<usize>,
    next: u64,
    names: u8,
}

impl Writer {
    fn write(&self) {
        let path = Path::new(ROOT).join(names::STATE_LOG);
        let file = self.disk.open(&path, Access::Create).expect("room");
        file.set_len(0).expect("room");
        write_all_at(&*file, &self.bytes, 0).expect("room");
    }

    fn facts(&mut self, feed: &mut Feed<'_>) -> Vec<Fact> {
        let id = |number: u8| TopicId::from_bytes([number | 1; 16]).expect("not zero");
        let count = feed.byte() & 3;
        let mut facts = Vec::new();
        for _ in 0..count {
            let (kind, which, offset) = (feed.byte(), id(feed.byte() & 15), feed.short());
            let (partition, offset) = (PartitionId::new(0), Offset::new(i64::from(offset)));
            facts.push(match kind & 7 {
                0 => {
                    self.names += 1;
                    let (name, config) = (format!("t{}", self.names & 3), Vec::new());
                    let (adopted, internal) = (kind & 8 != 0, kind & 16 != 0);
                    let partitions = u32::from(kind >> 6);
                    Fact::TopicCreated { id: which, name, config, partitions, adopted, internal }
                }
                1 => Fact::TopicDeleted { id: which, name: "t1".to_owned() },
                2 => Fact::TopicForgotten { id: which },
                3 => Fact::LogStart { id: which, partition, offset },
                4 => Fact::HighestEpoch { epoch: LeaderEpoch::new(i32::from(kind)) },
                5 => Fact::SyncFailed { id: which, partition, offset },
                _ => Fact::RecoveryPoint { id: which, partition, offset },
            });
        }
        facts
    }

    fn append(&mut self, feed: &mut Feed<'_>) {
        let facts = self.facts(feed);
        self.last = Some(self.bytes.len());
        put_frame(&mut self.bytes, self.next, self.next - 1, &facts).expect("small");
        self.next += 1;
    }

    fn take_back(&mut self) {
        if let Some(last) = self.last.take() {
            self.bytes.truncate(last);
            self.next -= 1;
        }
    }

    fn begin_anew(&mut self) {
        let state = RootState::fold(&scan(&self.bytes).expect("whole").facts);
        let generation = self.header.generation + 1;
        let next = self.next;
        self.header =
            Header { generation, first_sequence: next, snapshot_through: next, ..self.header };
        self.bytes = self.header.encode().to_vec();
        put_frame(&mut self.bytes, next, next, &state.snapshot()).expect("small");
        (self.next, self.last) = (next + 1, None);
    }
}

/// A state log that is followed while it is written.
pub(crate) fn followed(input: &[u8]) {
    let mut feed = Feed::new(input);
    let disk = MemoryDisk::new();
    disk.create_dir_all(ROOT.as_ref()).expect("room");
    let store_id = StoreId::from_bytes([5; 16]);
    marker::write(&disk, ROOT.as_ref(), store_id).expect("room");
    let header = Header { store_id, generation: 1, first_sequence: 1, snapshot_through: 0 };
    let bytes = header.encode().to_vec();
    let mut writer = Writer { disk: disk.clone(), header, bytes, last: None, next: 1, names: 0 };
    writer.write();
    let root = FollowedRoot::open(Arc::new(disk), ROOT.as_ref()).expect("a new store");
    let mut serial = root.known().serial;
    for _ in 0..20 {
        if feed.is_empty() {
            break;
        }
        let step = feed.byte();
        match step & 7 {
            0 => writer.take_back(),
            1 => writer.begin_anew(),
            _ => writer.append(&mut feed),
        }
        let whole = writer.bytes.len();
        if step & 8 != 0 {
            // half of the next frame, or what a window of it leaves
            let facts = writer.facts(&mut feed);
            put_frame(&mut writer.bytes, writer.next, writer.next - 1, &facts).expect("small");
            let most = writer.bytes.len() - whole;
            writer.bytes.truncate(whole + usize::from(step >> 4) % most);
        }
        writer.write();
        if step & 0x80 == 0 {
            let known = root.look().expect("a writer that keeps the order");
            let plain = scan(&writer.bytes).expect("whole but for its end");
            assert_eq!(*known.state, RootState::fold(&plain.facts), "a look sees what is there");
            assert!(known.serial >= serial);
            serial = known.serial;
        }
        writer.bytes.truncate(whole);
    }
}

/// Inputs of `state_log`: every kind of fact, in frames that are whole and mended.
pub(crate) fn state_log_seeds() -> Vec<Vec<u8>> {
    let id = TopicId::from_bytes([7; 16]).expect("not zero");
    let (partition, offset) = (PartitionId::new(0), Offset::new(9));
    let digests = super::exports::our_clean_mark();
    let digests = [(super::fact::ExportFile::CleanShutdown, digests)].into_iter().collect();
    let config = vec![("segment.bytes".to_owned(), "4096".to_owned())];
    let epoch = LeaderEpoch::new(4);
    let (adopted, internal) = (true, false);
    let facts = [
        Fact::TopicCreated {
            id,
            name: "orders".to_owned(),
            config: config.clone(),
            partitions: 2,
            adopted,
            internal,
        },
        Fact::Opened { leader_epoch: epoch, boot_id: [3; 16] },
        Fact::TopicAltered { id, config },
        Fact::PartitionsAdded { id, total: 3 },
        Fact::RecoveryPoint { id, partition, offset },
        Fact::LogStart { id, partition, offset },
        Fact::Compacted { id, partition, offset },
        Fact::SyncFailed { id, partition, offset },
        Fact::HighestEpoch { epoch },
        Fact::OthersWrote { id },
        Fact::CleanClose { digests },
        Fact::TopicDeleted { id, name: "orders".to_owned() },
        Fact::TopicForgotten { id },
    ];
    let store_id = StoreId::from_bytes([5; 16]);
    let header = Header { store_id, generation: 1, first_sequence: 1, snapshot_through: 0 };
    let mut whole = [&[0][..], &header.encode()].concat();
    let mut mended = vec![MEND, 0, 0, 0];
    for (sequence, fact) in (1..).zip(&facts) {
        put_frame(&mut whole, sequence, sequence - 1, std::slice::from_ref(fact)).expect("small");
        let mut bytes = Vec::new();
        fact.encode(&mut bytes);
        mended.extend([u8::try_from(bytes.len()).expect("small"), 0]);
        mended.extend(bytes);
    }
    let mut flipped = mended.clone();
    flipped[0] |= FLIP;
    vec![whole, mended, flipped]
}

/// Inputs of `followed`: a few steps.
pub(crate) fn followed_seeds() -> Vec<Vec<u8>> {
    let append = |step: u8, kind: u8| vec![step, 2, kind | 0x40, 3, 0, 9, 6, 3, 0, 9];
    vec![
        [append(2, 0), append(2, 8), vec![0], append(0x1a, 0), vec![1], append(3, 1)].concat(),
        [append(0x2a, 0), vec![0, 1, 0], append(0x82, 3), append(2, 5)].concat(),
    ]
}
