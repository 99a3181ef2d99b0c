//! Transactions of one log: what readers get, what is refused, what a spoilt index or damage does.
//! `lives` plays random ones beside a reference.

mod lives;
mod overtaken;

use super::*;
use crate::config::Durability;
use crate::disk::replace::read_file;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::record::{MarkerKind, ProducerIdentity};

fn of(id: i64, epoch: i16) -> ProducerIdentity {
    ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(epoch))
}

fn begin(log: &Log, id: i64, values: &[&str]) -> Result<LogReceipt> {
    let records: Vec<_> = values.iter().map(|value| Record::new(*value)).collect();
    let next = log.next_sequence(of(id, 0))?;
    log.append_transactional(&records, of(id, 0), next)
}

fn in_memory() -> Log {
    let disk = Arc::new(MemoryDisk::new());
    Log::builder(DIR).disk(disk).open().unwrap()
}

fn open(disk: Arc<dyn Disk>) -> Log {
    let config = TopicConfig::new().segment_bytes(1024).index_interval_bytes(100);
    Log::builder(DIR).disk(disk).config(config).open().unwrap()
}

fn values(log: &Log, from: i64) -> Vec<String> {
    let read = log.read(Offset::new(from), 1 << 20).unwrap();
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
    read.iter().map(|record| text(record.value())).collect()
}

#[test]
fn readers_see_what_was_committed_and_never_what_is_open() {
    let log = in_memory();
    log.append(&[Record::new("plain")]).unwrap();
    begin(&log, 1, &["a", "b"]).unwrap();
    begin(&log, 2, &["c"]).unwrap();
    log.append(&[Record::new("behind")]).unwrap();
    assert_eq!(log.last_stable_offset(), Offset::new(1));
    assert_eq!(values(&log, 0), ["plain"]);
    log.append_marker(of(1, 0), 0, MarkerKind::Commit).unwrap();
    assert_eq!(log.last_stable_offset(), Offset::new(3), "2 is open");
    assert_eq!(values(&log, 0), ["plain", "a", "b"]);
    log.append_marker(of(2, 0), 0, MarkerKind::Abort).unwrap();
    assert_eq!((log.last_stable_offset(), log.first_unstable_offset()), (log.end_offset(), None));
    assert_eq!(values(&log, 0), ["plain", "a", "b", "behind"]);
    assert_eq!(values(&log, 3), ["behind"], "a position within what was aborted");
    let aborted = log.aborted_transactions(Offset::ZERO..Offset::new(4));
    let [entry] = &aborted[..] else { panic!("{aborted:?}") };
    assert_eq!((entry.first.get(), entry.last.get(), entry.last_stable.get()), (3, 6, 7));
    assert!(log.aborted_transactions(Offset::ZERO..Offset::new(3)).is_empty());
}

/// Kafka's rules (`kafka-format.md` 2.8).
#[test]
fn what_does_not_belong_is_refused() {
    let log = in_memory();
    begin(&log, 1, &["a"]).unwrap();
    let refused = |result: Result<LogReceipt>| result.unwrap_err().kind();
    let (us, next) = (of(1, 0), Sequence::FIRST.after(1));
    let outside = log.append_produced(&[Record::new("b")], us, next);
    assert_eq!(refused(outside), ErrorKind::InvalidTransactionState);
    let again = log.append_transactional(&[Record::new("a")], us, Sequence::FIRST).unwrap();
    assert!(again.is_duplicate());
    let marker =
        |epoch, coordinator| log.append_marker(of(1, epoch), coordinator, MarkerKind::Commit);
    marker(1, 5).unwrap();
    assert_eq!(refused(marker(0, 5)), ErrorKind::InvalidProducerEpoch);
    assert_eq!(refused(marker(1, 4)), ErrorKind::Fenced);
    assert_eq!(refused(marker(1, -1)), ErrorKind::InvalidArgument);
    marker(1, 5).unwrap(); // none is open: legal
    let old = log.append_transactional(&[Record::new("b")], us, next);
    assert_eq!(refused(old), ErrorKind::InvalidProducerEpoch);
    let first = log.append_transactional(&[Record::new("b")], of(1, 1), Sequence::FIRST);
    assert_eq!(first.unwrap().first_offset().get(), 3);
    let unknown = log.append_marker(of(9, 3), 0, MarkerKind::Abort).unwrap();
    assert_eq!(unknown.sequence(), None);
    assert!(log.aborted_transactions(Offset::ZERO..log.end_offset()).is_empty());
}

/// Every file of a directory.
fn files(disk: &dyn Disk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name);
    let read = |name: String| {
        let bytes = read_file(disk, &Path::new(DIR).join(&name), 1 << 20).unwrap().unwrap();
        (name, bytes)
    };
    names.filter(|name| name != ".lock").map(read).collect()
}

fn disk_of(files: &[(String, Vec<u8>)]) -> Arc<dyn Disk> {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR)).unwrap();
    for (name, bytes) in files {
        let file = disk.open(&Path::new(DIR).join(name), Access::Create).unwrap();
        write_all_at(&*file, bytes, 0).unwrap();
    }
    Arc::new(disk)
}

/// Kafka's file has no checksum: `tidelog.aborted` has one for it.
#[test]
fn a_spoilt_index_shows_nobody_what_was_aborted() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(disk.clone());
    for round in 0..40 {
        let id = 1 + round % 3;
        begin(&log, id, &[&format!("{round} of {id}")]).unwrap();
        let kind = if round % 4 == 0 { MarkerKind::Commit } else { MarkerKind::Abort };
        let ended = 1 + (round * 7 + 1) % 3;
        log.append_marker_with(of(ended, 0), 0, kind, Durability::Process).unwrap();
    }
    let all = Offset::ZERO..log.end_offset();
    let expected = (values(&log, 0), log.aborted_transactions(all.clone()));
    log.close().unwrap();
    let whole = files(&*disk);
    let spoils: Vec<_> = (0..whole.len())
        .filter(|at| whole[*at].0.ends_with(".txnindex") || whole[*at].0 == "tidelog.aborted")
        .collect();
    assert!(spoils.len() > 2 && expected.1.len() > 10, "the control: {spoils:?}");
    let check = |files: &[(String, Vec<u8>)], shown: &str| {
        let disk = disk_of(files);
        for _ in 0..2 {
            let log = open(disk.clone());
            let found = (values(&log, 0), log.aborted_transactions(all.clone()));
            assert_eq!(found, expected, "{shown}");
            log.close().unwrap();
        }
        assert!(self::files(&*disk).iter().any(|(name, _)| name == "tidelog.aborted"), "{shown}");
    };
    check(&whole, "as it was");
    for at in spoils {
        let (name, bytes) = &whole[at];
        let with = |bytes: Vec<u8>| {
            let mut files = whole.clone();
            files[at].1 = bytes;
            files
        };
        for byte in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1 << (byte % 8);
            check(&with(flipped), &format!("{name}, a bit of byte {byte}"));
        }
        for len in [0, bytes.len() / 2, bytes.len().saturating_sub(34), bytes.len() - 1] {
            check(&with(bytes[..len].to_vec()), &format!("{name} cut to {len}"));
        }
        check(&with([&bytes[..], bytes].concat()), &format!("{name} twice"));
        let mut gone = whole.clone();
        gone.remove(at);
        check(&gone, &format!("{name} is gone"));
    }
}

/// Markers and aborted batches before the damage are no loss, and index entries that name them no
/// place to go on.
#[test]
fn damage_behind_what_is_not_shown_is_told_from_where_it_begins() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(disk.clone());
    for _ in 0..5 {
        begin(&log, 1, &["aborted"]).unwrap();
        log.append_marker(of(1, 0), 0, MarkerKind::Abort).unwrap();
    }
    let damaged = log.end_offset();
    log.append(&[Record::new("damaged")]).unwrap();
    for value in ["next", "and after it"] {
        log.append(&[Record::new(value)]).unwrap();
    }
    let path = Bench::log_path(0);
    let bytes = read_file(&*disk, &path, 1 << 20).unwrap().unwrap();
    let at = bytes.windows(7).position(|it| it == b"damaged").unwrap();
    log.close().unwrap();
    let file = disk.open(&path, Access::Write).unwrap();
    write_all_at(&*file, b"?", at as u64).unwrap();
    let log = open(disk);
    assert!(log.read(Offset::ZERO, 1 << 20).unwrap_err().is_corrupt());
    let gone = log.skip_damage(Offset::ZERO).unwrap();
    assert_eq!(gone.start, damaged, "nothing that readers are shown lies before it");
    assert!(gone.end > damaged, "reading goes on behind it");
    assert!(log.read(gone.end, 1 << 20).is_ok());
}

/// What no checkpoint has saved yet goes along.
#[test]
fn a_copy_has_the_transactions_of_its_moment() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let log = open(disk.clone());
    for round in 0..30 {
        begin(&log, 1 + round % 2, &["value"]).unwrap();
        let kind = if round % 3 == 0 { MarkerKind::Commit } else { MarkerKind::Abort };
        log.append_marker_with(of(1 + round % 2, 0), 0, kind, Durability::Process).unwrap();
        if round == 10 {
            log.maintain().unwrap();
        }
    }
    begin(&log, 1, &["open"]).unwrap();
    let all = Offset::ZERO..log.end_offset();
    let expected =
        (values(&log, 0), log.aborted_transactions(all.clone()), log.last_stable_offset());
    let to = Path::new("/copy-0");
    let cut = cut_all(&[&log.log]).pop().unwrap();
    log.append_marker(of(1, 0), 0, MarkerKind::Abort).unwrap(); // after the moment
    log.flush().unwrap();
    let secured = cut.secure(to, Sharing::Nothing).unwrap();
    secured.copy(to, &|_, _| true).unwrap();
    secured.finish(to, log.log.setup.clone(), false, &|_, _| true).unwrap();
    let copy = Log::builder(to).disk(disk).recovery_point(all.end).closed_cleanly();
    let copy = copy.open().unwrap();
    let found = (values(&copy, 0), copy.aborted_transactions(all), copy.last_stable_offset());
    assert_eq!(found, expected);
}

/// What an index holds beyond what was vouched for may never have been synced: it is written again
/// before a recovery point rises above its markers.
#[test]
#[cfg(feature = "sim")]
fn an_index_that_no_sync_may_have_seen_is_written_again() {
    use crate::disk::{Crash, SimDisk};
    let disk = SimDisk::new(1);
    let abort = |log: &Log| {
        begin(log, 1, &["aborted"]).unwrap();
        log.append_marker_with(of(1, 0), 0, MarkerKind::Abort, Durability::Process).unwrap();
    };
    let log = open(Arc::new(disk.clone()));
    abort(&log);
    log.close().unwrap(); // so there is an index, and what vouches for it
    drop(log);
    let log = open(Arc::new(disk.clone()));
    abort(&log);
    let all = Offset::ZERO..log.end_offset();
    let expected = log.aborted_transactions(all.clone());
    assert_eq!(expected.len(), 2);
    disk.record();
    log.close().unwrap();
    let moments = disk.moments();
    assert!(moments.len() > 10, "the control: a close makes calls");
    for moment in moments {
        let killed = moment.kill();
        open(Arc::new(killed.clone())).close().unwrap();
        let log = open(Arc::new(killed.crash(Crash::Nothing)));
        assert_eq!(log.aborted_transactions(all.clone()), expected, "{}", moment.operation());
        assert!(values(&log, 0).is_empty(), "{}", moment.operation());
    }
}
