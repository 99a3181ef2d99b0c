//! Transactions of one log beside a reference that keeps every batch in a list: what is open, what
//! was aborted and what readers get, through rolls, truncation, deletion, kills and power cuts.

use std::collections::BTreeMap;

use super::*;
use crate::config::Durability;
use crate::disk::replace::read_file;
use crate::ids::{ProducerEpoch, ProducerId, Sequence};
use crate::record::{MarkerKind, ProducerIdentity};
use crate::seeds::seeds;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

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

/// One batch as it lies in the log.
#[derive(Clone, Debug)]
struct Kept {
    first: i64,
    values: Vec<String>,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Plain,
    Data(i64),
    Marker(i64, MarkerKind),
}

impl Kept {
    fn end(&self) -> i64 {
        self.first + i64::try_from(self.values.len()).unwrap()
    }
}

/// What the batches of a log make.
#[derive(Debug, Default)]
struct Reference {
    open: BTreeMap<i64, i64>,
    /// Producer, first, last, last stable.
    aborted: Vec<[i64; 4]>,
    committed: Vec<(i64, String)>,
    all: Vec<(i64, String)>,
}

impl Reference {
    fn stable(&self, start: i64, end: i64) -> i64 {
        self.open.values().min().copied().unwrap_or(end).max(start)
    }
}

fn reference(batches: &[Kept], start: i64, end: i64) -> Reference {
    let mut made = Reference::default();
    let mut left_out = Vec::new();
    let mut owned: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for batch in batches {
        match batch.what {
            What::Plain => {}
            What::Data(id) => {
                made.open.entry(id).or_insert(batch.first);
                owned.entry(id).or_default().push(batch.first);
            }
            What::Marker(id, kind) => {
                let (first, data) = (made.open.remove(&id), owned.remove(&id));
                if let (Some(first), MarkerKind::Abort) = (first, kind) {
                    let stable = made.open.values().min().copied().unwrap_or(batch.end());
                    made.aborted.push([id, first, batch.first, stable]);
                    left_out.extend(data.unwrap());
                }
            }
        }
    }
    let stable = made.open.values().min().copied().unwrap_or(end);
    for batch in batches.iter().filter(|batch| !matches!(batch.what, What::Marker(..))) {
        for (offset, value) in (batch.first..).zip(&batch.values) {
            if offset >= start {
                let record = (offset, value.clone());
                made.all.push(record.clone());
                if batch.first < stable && !left_out.contains(&batch.first) {
                    made.committed.push(record);
                }
            }
        }
    }
    made
}

/// A log's life.
struct Life {
    seed: u64,
    random: StdRng,
    log: Option<Log>,
    batches: Vec<Kept>,
    start: i64,
    number: u64,
    epochs: BTreeMap<i64, i16>,
}

impl Life {
    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, Kept::end).max(self.start)
    }

    fn identity(&self, id: i64) -> ProducerIdentity {
        of(id, self.epochs.get(&id).copied().unwrap_or(0))
    }

    fn is_open(&self, id: i64) -> bool {
        self.log().open_transactions().iter().any(|open| open.identity().id().get() == id)
    }

    fn new_values(&mut self) -> Vec<String> {
        let count = self.random.random_range(1..4);
        self.number += 1;
        (0..count).map(|at| format!("{}.{at}", self.number)).collect()
    }

    fn note(&mut self, receipt: LogReceipt, values: Vec<String>, what: What) {
        let first = receipt.first_offset().get();
        assert_eq!(first, self.end(), "seed {}", self.seed);
        self.batches.push(Kept { first, values, what });
    }

    fn send(&mut self) {
        let values = self.new_values();
        let records: Vec<_> = values.iter().map(|value| Record::new(value.as_str())).collect();
        let id = self.random.random_range(0..4);
        let durability = match self.random.random_bool(0.1) {
            true => Durability::Power,
            false => Durability::Process,
        };
        if id == 0 {
            let receipt = self.log().append_with(&records, durability).unwrap();
            return self.note(receipt, values, What::Plain);
        }
        let us = self.identity(id);
        let next = self.log().next_sequence(us).unwrap();
        if self.random.random_bool(0.1) && self.is_open(id) {
            let error = self.log().append_produced(&records, us, next).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidTransactionState);
            return;
        }
        let receipt = self.log().append_transactional_with(&records, us, next, durability);
        self.note(receipt.unwrap(), values, What::Data(id));
    }

    fn end_one(&mut self) {
        let id = self.random.random_range(1..4);
        let kind = match self.random.random_bool(0.5) {
            true => MarkerKind::Commit,
            false => MarkerKind::Abort,
        };
        let bump = i16::from(self.random.random_bool(0.5));
        let epoch = self.identity(id).epoch().get() + bump;
        self.epochs.insert(id, epoch);
        let durability = match self.random.random_bool(0.5) {
            true => Durability::Power,
            false => Durability::Process,
        };
        let receipt = self.log().append_marker_with(of(id, epoch), 0, kind, durability).unwrap();
        self.note(receipt, vec![String::new()], What::Marker(id, kind));
    }

    fn truncate(&mut self) {
        let target = self.random.random_range(self.start..=self.end());
        let end = self.log().truncate_to(Offset::new(target)).unwrap().get();
        self.cut(end);
        if target <= self.start {
            (self.start, self.batches) = (target, Vec::new());
        }
    }

    /// The log ends there.
    fn cut(&mut self, end: i64) {
        self.batches.retain(|batch| batch.end() <= end);
        assert!(self.end() == end || self.batches.is_empty(), "seed {}", self.seed);
    }

    fn delete(&mut self) {
        let stable = self.log().last_stable_offset().get();
        let start = self.random.random_range(self.start..=stable);
        self.log().delete_records_before(Offset::new(start)).unwrap();
        self.start = start;
    }

    fn step(&mut self) {
        match self.random.random_range(0..40) {
            0..22 => self.send(),
            22..34 => self.end_one(),
            34 => self.log().flush().unwrap(),
            35..37 => self.log().maintain().unwrap(),
            37 => self.truncate(),
            38 => self.delete(),
            _ => {}
        }
    }

    /// Where a transaction begins below the log's start, its first record that is left counts as
    /// well: nothing else is left to tell.
    fn check(&self) {
        let (log, seed) = (self.log(), self.seed);
        assert_eq!(log.end_offset().get(), self.end(), "seed {seed}");
        let left: Vec<_> =
            self.batches.iter().filter(|batch| batch.end() > self.start).cloned().collect();
        let whole = reference(&self.batches, self.start, self.end());
        let made = reference(&left, self.start, self.end());
        let stable = log.last_stable_offset().get();
        let wanted = [&whole, &made].map(|made| made.stable(self.start, self.end()));
        assert!(wanted.contains(&stable), "seed {seed}: {stable} of {wanted:?}");
        for open in log.open_transactions() {
            let id = open.identity().id().get();
            let at = open.transaction_start().map(Offset::get);
            let known = [&whole, &made].map(|made| made.open.get(&id).copied());
            let below = known[0] <= at && at < Some(self.start);
            assert!(below || known.contains(&at), "seed {seed}: {at:?} of {known:?}");
        }
        assert!(log.open_transactions().len() >= made.open.len(), "seed {seed}");
        let aborted = log.aborted_transactions(Offset::ZERO..log.end_offset());
        let aborted = aborted.iter().map(|entry| {
            let [first, last, stable] = [entry.first, entry.last, entry.last_stable];
            [entry.producer_id.get(), first.get(), last.get(), stable.get()]
        });
        let aborted: Vec<_> = aborted.filter(|entry| entry[2] >= self.start).collect();
        for entry in &aborted {
            let known = made.aborted.contains(entry) || whole.aborted.contains(entry);
            // what was open beside it may begin below the start, too
            let mixed = made.aborted.iter().chain(&whole.aborted);
            let alike = |it: &[i64; 4]| (it[0], it[2]) == (entry[0], entry[2]) && it[1] <= entry[1];
            let mixed = self.start > 0 && mixed.clone().any(alike);
            assert!(known || mixed, "seed {seed}: {entry:?} of {whole:?}");
        }
        let markers = |aborted: &[[i64; 4]]| aborted.iter().map(|it| it[2]).collect::<Vec<_>>();
        let wanted = markers(&made.aborted);
        assert!(wanted.iter().all(|at| markers(&aborted).contains(at)), "seed {seed}");
        let made = if stable == whole.stable(self.start, self.end()) { whole } else { made };
        let mut next = log.start_offset();
        let mut read = Vec::new();
        loop {
            let records = log.read(next, 300).unwrap();
            let Some(last) = records.iter().last() else { break };
            next = last.offset().next();
            read.extend(records.iter().map(|record| {
                let value = record.value().unwrap().to_vec();
                (record.offset().get(), String::from_utf8(value).unwrap())
            }));
        }
        assert_eq!(read, made.committed, "seed {seed}");
        let all = read_from(&log.log, log.start_offset().get()).unwrap();
        let wanted: Vec<_> =
            made.all.into_iter().map(|(at, value)| (at, value.into_bytes())).collect();
        assert_eq!(all, wanted, "seed {seed}");
    }
}

fn open(disk: Arc<dyn Disk>) -> Log {
    let config = TopicConfig::new().segment_bytes(1024).index_interval_bytes(100);
    Log::builder(DIR).disk(disk).config(config).open().unwrap()
}

fn live(seed: u64, disk: Arc<dyn Disk>, mut stop: impl FnMut(&mut Life) -> Arc<dyn Disk>) {
    let mut life = Life {
        seed,
        random: StdRng::seed_from_u64(seed),
        log: Some(open(disk)),
        batches: Vec::new(),
        start: 0,
        number: 0,
        epochs: BTreeMap::new(),
    };
    for step in 0..120 {
        life.step();
        if step % 8 == 7 {
            life.check();
        }
        if life.random.random_bool(0.06) {
            let durable = life.log().durable_offset().get();
            let disk = stop(&mut life);
            life.log = Some(open(disk));
            let end = life.log().end_offset().get();
            assert!(end >= durable, "seed {seed}: {end} of {durable}");
            life.cut(end);
            life.check();
        }
    }
}

const REPLAY: &str =
    "replay: TIDELOG_SEED=N cargo test --all-features --lib log::tests::transactions";

#[test]
fn a_log_that_is_closed_and_reopened_keeps_its_transactions() {
    println!("{REPLAY}");
    for seed in seeds(30, 100, 5000) {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        live(seed, disk.clone(), |life| {
            life.log.take().unwrap().close().unwrap();
            disk.clone()
        });
    }
}

#[test]
#[cfg(feature = "sim")]
fn kills_and_power_cuts_leave_what_the_log_says() {
    use crate::disk::{Crash, SimDisk};
    println!("{REPLAY}");
    for seed in seeds(40, 150, 10_000) {
        let mut disk = SimDisk::new(seed);
        live(seed, Arc::new(disk.clone()), |life| {
            disk = match life.random.random_range(0..6) {
                0 => disk.kill(),
                1 => disk.crash(Crash::Nothing),
                2 => disk.crash(Crash::Everything),
                3 => {
                    life.log.take().unwrap().close().unwrap();
                    disk.clone()
                }
                _ => disk.crash(Crash::Random(life.random.random())),
            };
            drop(life.log.take());
            Arc::new(disk.clone())
        });
    }
}
