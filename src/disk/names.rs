//! Every file name of the store, in one place: Kafka's and ours, written and read.
//!
//! Nothing else in the crate spells a suffix. What is read from a directory is parsed here into a
//! type or is unknown (`None`), which callers leave alone. Names made here fit 255 bytes.

use crate::error::{Cause, Error, Result};
use crate::ids::{LogId, Offset, PartitionId, TopicId};

/// What [`super::replace::replace_file`] appends while it writes beside the old file.
pub(crate) const REPLACEMENT_SUFFIX: &str = ".tmp";

/// The lock of a root, and of a directory opened as a lone log.
pub(crate) const LOCK: &str = ".lock";
/// Kafka's mark of a clean close.
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Kafka's identity of a root.
pub(crate) const META_PROPERTIES: &str = "meta.properties";
/// Kafka's export of recovery points.
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// Kafka's export of log starts.
pub(crate) const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// Kafka's export of high watermarks.
pub(crate) const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// Kafka's export of how far compaction has come.
pub(crate) const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";
/// A partition's epochs, in its directory.
pub(crate) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
/// A partition's topic id, in its directory.
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";
/// Ours: what makes a root a store.
pub(crate) const STORE_MARKER: &str = "tidelog.store";
/// Ours: the state log of a root.
pub(crate) const STATE_LOG: &str = "tidelog.state";
/// Ours: the journal of a root.
pub(crate) const JOURNAL: &str = "tidelog.journal";
/// Ours: marks a directory as a backup that is not finished.
pub(crate) const UNFINISHED_BACKUP: &str = "tidelog.backup";
/// What the name of a backup's directory ends in until it is finished.
pub(crate) const UNFINISHED_SUFFIX: &str = ".unfinished";
/// Ours: space held in reserve for a full disk, in the root.
pub(crate) const RESERVE: &str = "tidelog.reserve";
/// Ours: the two-slot state of a lone log, in its directory.
pub(crate) const KEEPER: &str = "tidelog.keeper";

/// Ours: what vouches for the indexes of aborted transactions, in a partition's directory.
pub(crate) const ABORTED: &str = "tidelog.aborted";

/// Ours: says that a partition has producers, in its directory.
pub(crate) const PRODUCERS: &str = "tidelog.producers";

/// The longest topic name: the rest of 255 is for `-`, a partition number and our suffixes.
pub(crate) const MAX_TOPIC_NAME: usize = 249;
const MAX_FILE_NAME: usize = 255;

/// The kinds of file named by a segment's base offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SegmentFile {
    Log,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    /// Producer state; its offset is an end offset (exclusive).
    ProducerSnapshot,
    /// Ours: what vouches for the headers of batches.
    Digests,
    /// Ours: which tags the batches have.
    Tags,
}

impl SegmentFile {
    pub(crate) const ALL: [SegmentFile; 7] = [
        SegmentFile::Log,
        SegmentFile::OffsetIndex,
        SegmentFile::TimeIndex,
        SegmentFile::TransactionIndex,
        SegmentFile::ProducerSnapshot,
        SegmentFile::Digests,
        SegmentFile::Tags,
    ];

    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            SegmentFile::Log => ".log",
            SegmentFile::OffsetIndex => ".index",
            SegmentFile::TimeIndex => ".timeindex",
            SegmentFile::TransactionIndex => ".txnindex",
            SegmentFile::ProducerSnapshot => ".snapshot",
            SegmentFile::Digests => ".digest",
            SegmentFile::Tags => ".tags",
        }
    }
}

/// What an interrupted operation has left a file as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Leftover {
    /// A file in its place.
    None,
    /// Waits to be unlinked.
    Deleted,
    /// A rewrite that was not finished.
    Cleaned,
    /// A finished rewrite that was not moved into its place.
    Swap,
}

impl Leftover {
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Leftover::None => "",
            Leftover::Deleted => ".deleted",
            Leftover::Cleaned => ".cleaned",
            Leftover::Swap => ".swap",
        }
    }
}

/// `tidelog.journal-<topic id>-<partition>`: what the journal holds of a partition that could not
/// be recovered.
pub(crate) fn journal_aside(log: LogId) -> String {
    format!("{JOURNAL}-{}-{}", log.topic.to_hex(), log.partition)
}

/// The partition that a file put aside by [`journal_aside`] is of.
pub(crate) fn parse_journal_aside(name: &str) -> Option<LogId> {
    let rest = name.strip_prefix(JOURNAL)?.strip_prefix('-')?;
    let (topic, partition) = rest.split_once('-')?;
    let topic = TopicId::from_hex(topic)?;
    let partition = PartitionId::new(partition.parse().ok()?);
    Some(LogId { topic, partition }).filter(|log| journal_aside(*log) == name)
}

/// `00000000000000000042.log`
pub(crate) fn segment_file(base: Offset, kind: SegmentFile) -> String {
    format!("{:020}{}", base.get(), kind.suffix())
}

/// `00000000000000000042.log.deleted`
pub(crate) fn leftover_file(base: Offset, kind: SegmentFile, leftover: Leftover) -> String {
    format!("{:020}{}{}", base.get(), kind.suffix(), leftover.suffix())
}

/// What a name in a partition's directory says, `None` where it is no segment file's.
pub(crate) fn parse_segment_file(name: &str) -> Option<(Offset, SegmentFile, Leftover)> {
    let unfinished = [Leftover::Deleted, Leftover::Cleaned, Leftover::Swap];
    let (name, leftover) = unfinished
        .into_iter()
        .find_map(|leftover| Some((name.strip_suffix(leftover.suffix())?, leftover)))
        .unwrap_or((name, Leftover::None));
    let dot = name.find('.')?;
    let (digits, suffix) = name.split_at(dot);
    let kind = SegmentFile::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let base = digits.parse::<i64>().ok().filter(|base| *base < i64::MAX)?;
    Some((Offset::new(base), kind, leftover))
}

/// The base offset that the name of a segment's sidecar begins with, be its kind one of
/// [`SegmentFile`] or another's: of any file but a log and what is on its way in or out.
pub(crate) fn parse_sidecar(name: &str) -> Option<Offset> {
    const PASSING: [&str; 5] = [".deleted", ".cleaned", ".swap", REPLACEMENT_SUFFIX, ".cut"];
    let (digits, kind) = name.split_at(name.find('.')?);
    let log = SegmentFile::Log.suffix();
    let is_log =
        kind.strip_prefix(log).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if is_log || PASSING.iter().any(|passing| name.ends_with(passing)) {
        return None;
    }
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok().map(Offset::new)
}

/// What a directory in a root is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PartitionDir {
    /// `<topic>-<p>`
    Live { topic: String, partition: PartitionId },
    /// `<topic>-<p>.<32 hex>-delete`, its topic perhaps cut short: to be removed.
    Deleting,
    /// `<topic>-<p>.<32 hex>-stray`: set aside by Kafka, of no topic it knows.
    Stray,
    /// `<topic>-<p>.<32 hex>-future`: a copy Kafka was moving between roots.
    Future,
}

/// `orders-0`
pub(crate) fn partition_dir(topic: &str, partition: PartitionId) -> String {
    format!("{topic}-{}", partition.get())
}

/// `orders-0.<32 hex>-delete`, the topic cut so that the name fits 255 bytes. `unique` keeps two
/// deletions of the same partition apart.
pub(crate) fn deleting_dir(topic: &str, partition: PartitionId, unique: TopicId) -> String {
    let rest = format!("-{}.{}-delete", partition.get(), unique.to_hex());
    let room = MAX_FILE_NAME - rest.len();
    // Topic names are ASCII; for any other text the cut falls on a character.
    let cut = (0..=topic.len().min(room)).rev().find(|at| topic.is_char_boundary(*at));
    format!("{}{rest}", &topic[..cut.unwrap_or(0)])
}

/// What a directory's name in a root says, `None` where it is no partition's.
pub(crate) fn parse_partition_dir(name: &str) -> Option<PartitionDir> {
    let marks = [
        ("-delete", PartitionDir::Deleting),
        ("-stray", PartitionDir::Stray),
        ("-future", PartitionDir::Future),
    ];
    for (suffix, dir) in marks {
        if let Some(stem) = name.strip_suffix(suffix) {
            let is_unique =
                |hex: &str| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            if let Some((live, hex)) = stem.rsplit_once('.')
                && is_unique(hex)
                && split_partition(live).is_some()
            {
                return Some(dir);
            }
        }
    }
    let (topic, partition) = split_partition(name)?;
    if check_topic_name(topic).is_err() {
        return None;
    }
    Some(PartitionDir::Live { topic: topic.to_owned(), partition })
}

/// Splits at the last `-`. Numbers are written without sign or leading zeros.
fn split_partition(name: &str) -> Option<(&str, PartitionId)> {
    let (topic, digits) = name.rsplit_once('-')?;
    let number = digits.parse::<i32>().ok()?;
    let number = u32::try_from(number).ok()?;
    (number.to_string() == digits).then_some((topic, PartitionId::new(number)))
}

/// Kafka's rules: 1 to 249 of `[A-Za-z0-9._-]`, but not `.` or `..`.
///
/// # Errors
/// `InvalidName` naming the rule.
pub(crate) fn validate_topic_name(name: &str) -> Result<()> {
    check_topic_name(name).map_err(|reason| {
        let name = name.chars().take(MAX_TOPIC_NAME).collect();
        Error::new("check topic name", Cause::InvalidName { what: "topic", name, reason })
    })
}

fn check_topic_name(name: &str) -> Result<(), &'static str> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match name {
        "" => Err("it is empty"),
        "." | ".." => Err("it stands for a directory"),
        _ if name.len() > MAX_TOPIC_NAME => Err("it is longer than 249 characters"),
        _ if !name.bytes().all(is_legal) => {
            Err("only ASCII letters, digits, `.`, `_` and `-` may be used")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_files_read_as_written() {
        for base in [0, 42, i64::MAX - 1] {
            for kind in SegmentFile::ALL {
                use Leftover::{Cleaned, Deleted, None, Swap};
                for leftover in [None, Deleted, Cleaned, Swap] {
                    let name = leftover_file(Offset::new(base), kind, leftover);
                    let parsed = parse_segment_file(&name);
                    assert_eq!(parsed, Some((Offset::new(base), kind, leftover)), "{name}");
                }
            }
        }
        assert_eq!(segment_file(Offset::new(42), SegmentFile::Log), "00000000000000000042.log");
    }

    #[test]
    fn sidecars_are_whatever_lies_beside_a_log_to_stay() {
        let base = "00000000000000000042";
        for kind in [".index", ".timeindex", ".txnindex", ".snapshot", ".digest", ".logs"] {
            assert_eq!(parse_sidecar(&format!("{base}{kind}")), Some(Offset::new(42)), "{kind}");
        }
        for kind in [".log", ".log.tmp", ".log.7.cut", ".index.deleted", ".index.swap", ".x.tmp"] {
            assert_eq!(parse_sidecar(&format!("{base}{kind}")), None, "{kind}");
        }
        for name in ["", base, "42.index", "leader-epoch-checkpoint", "partition.metadata"] {
            assert_eq!(parse_sidecar(name), None, "{name}");
        }
    }

    #[test]
    fn what_the_journal_has_of_a_partition_is_named_after_it() {
        let topic = TopicId::from_bytes([0xab; 16]).unwrap();
        let log = LogId { topic, partition: PartitionId::new(7) };
        let name = journal_aside(log);
        assert_eq!(name, format!("{JOURNAL}-{}-7", "ab".repeat(16)));
        assert_eq!(parse_journal_aside(&name), Some(log));
        for other in [JOURNAL, &name[..name.len() - 2], &format!("{name}x")] {
            assert_eq!(parse_journal_aside(other), None, "{other}");
        }
        let padded = name.replace("-7", "-07");
        assert_eq!(parse_journal_aside(&padded), None, "it has one name");
        assert_eq!(partition_dir("orders", PartitionId::new(7)), "orders-7");
    }

    #[test]
    fn other_names_are_no_segment_files() {
        for name in [
            "",
            ".log",
            "1.log",
            "000000000000000000042.log",
            "+0000000000000000042.log",
            "-0000000000000000001.log",
            "99999999999999999999.log",
            "09223372036854775807.log",
            "00000000000000000042.LOG",
            "00000000000000000042.log.bak",
            "00000000000000000042.log.deleted.deleted",
            "00000000000000000042",
            "leader-epoch-checkpoint",
            "tidelog.keeper",
        ] {
            assert_eq!(parse_segment_file(name), None, "{name}");
        }
    }

    #[test]
    fn partition_directories_split_at_the_last_dash() {
        let live = |topic: &str, number| {
            Some(PartitionDir::Live {
                topic: topic.to_owned(),
                partition: PartitionId::new(number),
            })
        };
        assert_eq!(parse_partition_dir("orders-0"), live("orders", 0));
        assert_eq!(parse_partition_dir("a-b-12"), live("a-b", 12));
        assert_eq!(parse_partition_dir("a--1"), live("a-", 1));
        for name in ["orders", "-0", "orders-", "orders-01", "orders-+1", "a b-0", "x-2147483648"] {
            assert_eq!(parse_partition_dir(name), None, "{name}");
        }
        let hex = "0123456789abcdef0123456789abcdef";
        for (suffix, dir) in [
            ("delete", PartitionDir::Deleting),
            ("stray", PartitionDir::Stray),
            ("future", PartitionDir::Future),
        ] {
            assert_eq!(parse_partition_dir(&format!("orders-3.{hex}-{suffix}")), Some(dir));
            assert_eq!(parse_partition_dir(&format!("orders-3.{}-{suffix}", &hex[1..])), None);
        }
    }

    #[test]
    fn names_of_deleted_directories_fit() {
        let id = TopicId::random();
        let long = "t".repeat(MAX_TOPIC_NAME);
        let name = deleting_dir(&long, PartitionId::new(12), id);
        assert_eq!(name.len(), MAX_FILE_NAME);
        assert_eq!(parse_partition_dir(&name), Some(PartitionDir::Deleting));
        let short = deleting_dir("t", PartitionId::new(0), id);
        assert_eq!(short, format!("t-0.{}-delete", id.to_hex()));
    }

    #[test]
    fn topic_names_follow_the_rules() {
        for name in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            validate_topic_name(name).unwrap();
        }
        for name in ["", ".", "..", "a/b", "ä", "a b", "a\0", &"x".repeat(250)] {
            let error = validate_topic_name(name).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::InvalidName, "{name}");
        }
    }
}
