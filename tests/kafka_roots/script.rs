//! What a script does, drawn from a seed: no operation names an offset, so that one that is left
//! out, as while a failing script is made shorter, leaves the others their meaning.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::MarkerKind;

/// A record: its time against the clock, its key, how long its value is.
#[derive(Clone, Debug)]
pub struct Drawn {
    pub time: i64,
    pub key: Option<u8>,
    pub len: Option<usize>,
}

/// Which sequence a producer's batch begins with, and under which epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    Next,
    /// The one sent so many batches ago, again.
    Again(usize),
    Gap,
    /// The next one, under the epoch before.
    Stale,
    /// From the beginning, under a higher epoch.
    Higher,
    /// From the middle on, under a higher epoch.
    HigherAmid,
    /// Half of it was sent.
    Overlap,
}

/// One step. Places are thousandths of the log, from its start to its end.
#[derive(Clone, Debug)]
pub enum Op {
    Append(Vec<Drawn>),
    Produce(u8, How, Vec<Drawn>),
    /// The same within a transaction.
    Transact(u8, How, Vec<Drawn>),
    /// A marker; its epochs, of the producer and of the coordinator, against those known.
    End(u8, MarkerKind, i16, i32),
    Aborted(i64, i64),
    Pass(i64),
    Flush,
    Truncate(i64),
    StartAt(i64),
    Delete(i64),
    Retain,
    At(i64),
    Newest,
    Earliest,
    Epoch(i64),
    Read(i64, usize),
    Dump,
    Epochs,
    Close,
    Kill,
}

/// A topic's settings by Kafka's names, and what is done.
#[derive(Clone, Debug)]
pub struct Script {
    pub settings: Vec<(&'static str, &'static str)>,
    pub ops: Vec<Op>,
    /// Readers see what was committed.
    pub committed: bool,
}

fn one<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())]
}

impl Script {
    pub fn drawn(seed: u64) -> Script {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut settings = vec![
            ("segment.bytes", one(random, &["1024", "2000", "10000", "1000000"])),
            ("index.interval.bytes", one(random, &["0", "100", "4096"])),
            ("segment.index.bytes", one(random, &["240", "65536"])),
            ("segment.ms", one(random, &["1000", "60000", "604800000"])),
            ("retention.ms", one(random, &["-1", "-1", "20000"])),
            ("retention.bytes", one(random, &["-1", "-1", "3000"])),
            ("message.timestamp.after.max.ms", one(random, &["9223372036854775807", "3600000"])),
            ("message.timestamp.before.max.ms", one(random, &["9223372036854775807", "4000"])),
            ("max.message.bytes", one(random, &["1048588", "700"])),
            ("file.delete.delay.ms", "0"),
        ];
        if random.random_bool(0.2) {
            settings.push(("message.timestamp.type", "LogAppendTime"));
        }
        let codecs = [
            ("gzip", cfg!(feature = "gzip")),
            ("snappy", cfg!(feature = "snappy")),
            ("lz4", cfg!(feature = "lz4")),
            ("zstd", cfg!(feature = "zstd")),
        ];
        let (codec, is_built) = one(random, &codecs);
        if random.random_bool(0.2) && is_built {
            settings.push(("compression.type", codec));
            settings[0].1 = "1000000"; // how small a batch gets is its coder's
        }
        let by_log = settings.iter().any(|(_, value)| *value == "LogAppendTime");
        let spreads: &[i64] = if by_log { &[0] } else { &[0, 10, 5_000] }; // sizes depend on them
        let steps = random.random_range(10..90);
        let mut ops: Vec<_> = (0..steps).map(|_| op(random, spreads)).collect();
        if settings[2].1 == "240" {
            ops.retain(|op| !matches!(op, Op::Kill)); // Kafka does not recover a full index
        }
        Script { settings, ops, committed: random.random_bool(0.7) }
    }

    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

fn op(random: &mut StdRng, spreads: &[i64]) -> Op {
    match random.random_range(0..100) {
        0..30 => Op::Append(records(random, spreads)),
        30..38 => Op::Produce(random.random_range(0..3), how(random), records(random, spreads)),
        38..44 => Op::Transact(random.random_range(0..3), how(random), records(random, spreads)),
        44..48 => Op::End(
            random.random_range(0..3),
            one(random, &[MarkerKind::Commit, MarkerKind::Abort]),
            one(random, &[0, 0, 0, 1, 1, -1]),
            one(random, &[0, 0, 0, 1, -1]),
        ),
        48..54 => Op::Pass(one(random, &[1, 100, 2_000, 30_000])),
        54..56 => Op::Flush,
        56..60 => Op::Truncate(random.random_range(-100..1100)),
        60 => Op::StartAt(random.random_range(-500..1500)),
        61..65 => Op::Delete(random.random_range(-50..1050)),
        65..69 => Op::Retain,
        69..76 => Op::At(random.random_range(-40_000..6_000)),
        76..79 => Op::Newest,
        79 => Op::Earliest,
        80 => Op::Aborted(random.random_range(0..1000), random.random_range(0..1000)),
        81..84 => Op::Epoch(random.random_range(-5..3)),
        84..91 => Op::Read(random.random_range(-50..1050), one(random, &[1, 200, 500, 5_000])),
        91..94 => Op::Dump,
        94 => Op::Epochs,
        95..98 => Op::Close,
        _ => Op::Kill,
    }
}

fn how(random: &mut StdRng) -> How {
    match random.random_range(0..20) {
        0..10 => How::Next,
        10..13 => How::Again(random.random_range(0..7)),
        13 => How::Gap,
        14 => How::Stale,
        15..17 => How::Higher,
        17 => How::HigherAmid,
        _ => How::Overlap,
    }
}

fn records(random: &mut StdRng, spreads: &[i64]) -> Vec<Drawn> {
    let count = one(random, &[1, 1, 1, 2, 3, 8]);
    let spread = one(random, spreads);
    let time = |random: &mut StdRng| match random.random_range(0..40) {
        0 if spreads.len() > 1 => 3_700_000,
        _ => random.random_range(-spread..=spread),
    };
    let draw = |_| Drawn {
        time: time(random),
        key: random.random_bool(0.6).then(|| random.random_range(0..6)),
        len: random.random_bool(0.9).then(|| one(random, &[1, 10, 60, 150, 400])),
    };
    (0..count).map(draw).collect()
}
