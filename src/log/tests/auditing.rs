//! What a look through a log's files finds: each fault once, where it is, and none that is none.

use super::*;
use crate::disk::names::{LEADER_EPOCHS, PARTITION_METADATA};
use crate::log::{AuditFacts, Finding, FindingKind, PartitionAudit};
use FindingKind::{Batch, Epochs, Gap, Index, Metadata, TornTail};

/// Nothing found.
const NONE: [(FindingKind, Option<(i64, i64)>); 0] = [];

/// Three segments under epoch 0, the last of which goes on under epoch 3; closed.
struct Closed {
    bench: Bench,
    bases: Vec<i64>,
    /// Where epoch 3 begins.
    begun: i64,
    end: i64,
}

fn closed() -> Closed {
    let mut bench = Bench::new();
    bench.config = bench.config.segment_bytes(1024);
    let (log, _) = bench.open(facts(0, LastStop::Clean));
    while log.size().1 < 3 {
        append(&log, &[b'x'; 200], 1).unwrap();
    }
    let bases = log.segments.load().iter().map(|segment| segment.base().get()).collect();
    for _ in 0..2 {
        append(&log, b"more", 1).unwrap();
    }
    log.begin_epoch(LeaderEpoch::new(3));
    let begun = append(&log, b"under another epoch", 2).unwrap();
    append(&log, b"the last", 2).unwrap();
    let end = log.close().unwrap().get();
    Closed { bench, bases, begun, end }
}

impl Closed {
    fn facts(&self) -> AuditFacts {
        self.bench.audit_facts(self.end)
    }

    fn found(&self, facts: AuditFacts) -> Vec<Finding> {
        let (disk, dir, id) = (&self.bench.disk, Path::new(DIR), self.bench.id);
        let audit = PartitionAudit::list(disk, dir, id, facts).unwrap();
        audit.audit_all(PlainLimit::DEFAULT).findings
    }

    /// Of what kind each finding is, and which offsets it names.
    fn kinds(&self, facts: AuditFacts) -> Vec<(FindingKind, Option<(i64, i64)>)> {
        let offsets = |finding: &Finding| finding.offsets().map(|o| (o.start.get(), o.end.get()));
        self.found(facts).iter().map(|finding| (finding.kind(), offsets(finding))).collect()
    }

    fn remove_segment(&self, number: usize) {
        let digits = format!("{:020}", self.bases[number]);
        for name in self.bench.names().iter().filter(|name| name.starts_with(&digits)) {
            self.bench.disk.remove_file(&Path::new(DIR).join(name)).unwrap();
        }
    }

    fn add_to_segment(&self, number: usize, more: &[u8]) -> u64 {
        let path = Bench::log_path(self.bases[number]);
        let bytes = self.bench.bytes(&path);
        self.bench.put(&path, &[&bytes, more].concat());
        bytes.len() as u64
    }
}

#[test]
fn a_log_that_was_closed_has_no_faults() {
    let log = closed();
    assert_eq!(log.kinds(log.facts()), NONE);
    let path = Path::new(DIR).join("nothing");
    let audit = PartitionAudit::list(&log.bench.disk, &path, log.bench.id, log.facts()).unwrap();
    assert_eq!((audit.segments().len(), audit.bytes()), (0, 0));
}

#[test]
fn what_is_missing_in_front_is_a_gap_from_where_the_log_starts() {
    let log = closed();
    log.remove_segment(0);
    let first = log.bases[1];
    let gaps = |facts: AuditFacts| {
        let mut kinds = log.kinds(facts);
        kinds.retain(|(kind, _)| *kind == Gap);
        kinds
    };
    assert_eq!(gaps(log.facts()), [(Gap, Some((0, first)))]);
    assert_eq!(log.found(log.facts())[0].path(), Path::new(DIR));
    assert_eq!(gaps(AuditFacts { log_start: Offset::new(first), ..log.facts() }), NONE);
    assert_eq!(gaps(AuditFacts { log_start: Offset::new(first - 1), ..log.facts() }).len(), 1);
    assert_eq!(gaps(AuditFacts { gapless: false, ..log.facts() }), NONE);
    (1..3).for_each(|number| log.remove_segment(number));
    assert_eq!(gaps(log.facts()), [(Gap, Some((0, log.end)))], "nothing is left");
}

#[test]
fn what_is_missing_behind_is_a_gap_up_to_what_was_promised() {
    let log = closed();
    let promised =
        |more: i64| AuditFacts { recovery_point: Offset::new(log.end + more), ..log.facts() };
    assert_eq!(log.kinds(promised(4)), [(Gap, Some((log.end, log.end + 4)))]);
    let path = Bench::log_path(log.bases[2]);
    let found = &log.found(promised(4))[0];
    let len = log.bench.bytes(&path).len() as u64;
    assert_eq!((found.path(), found.position()), (&*path, len));
    // what a fault of that file names already is not named again
    let mut bytes = log.bench.bytes(&path);
    *bytes.last_mut().unwrap() ^= 1;
    log.bench.put(&path, &bytes);
    let kinds = log.kinds(promised(0));
    assert_eq!(kinds[0], (Batch, Some((log.end - 1, log.end))));
    assert!(!kinds.iter().any(|(kind, _)| *kind == Gap), "{kinds:?}");
}

#[test]
fn a_gap_between_segments_is_one_but_where_it_may_have_been_made() {
    let log = closed();
    log.remove_segment(1);
    let [_, from, to] = log.bases[..] else { panic!("{:?}", log.bases) };
    let gap = [(Gap, Some((from, to)))];
    assert_eq!(log.kinds(log.facts()), gap);
    let first = Bench::log_path(0);
    let found = &log.found(log.facts())[0];
    assert_eq!((found.path(), found.position()), (&*first, log.bench.bytes(&first).len() as u64));
    let compacted = |to: i64| AuditFacts { compacted: Offset::new(to), ..log.facts() };
    assert_eq!(log.kinds(compacted(to)), NONE);
    assert_eq!(log.kinds(compacted(to - 1)), gap);
    let sparse = AuditFacts { sparse: Offset::new(to), ..log.facts() };
    assert_eq!(log.kinds(sparse), gap, "a leader's, so narrow, lies within a segment");
    assert_eq!(log.kinds(AuditFacts { gapless: false, ..log.facts() }), NONE);
}

#[test]
fn bytes_that_do_not_belong_there_are_a_fault_of_their_file() {
    let log = closed();
    let more = batch(log.end, b"torn");
    let len = log.add_to_segment(2, &more[..more.len() - 3]);
    let found = log.found(log.facts());
    assert_eq!(found.iter().map(Finding::kind).collect::<Vec<_>>(), [TornTail]);
    assert_eq!((found[0].position(), found[0].bytes()), (len, more.len() as u64 - 3));
    assert!(!found[0].what().is_empty() && !TornTail.loses_records());
    assert_eq!(log.kinds(AuditFacts { is_live: true, ..log.facts() }), NONE, "it is being written");
    let promised = AuditFacts { recovery_point: Offset::new(log.end + 1), ..log.facts() };
    assert_eq!(log.kinds(promised)[0].0, Batch, "it was whole once");

    let log = closed();
    log.add_to_segment(0, &batch(log.bases[1], b"of the next"));
    let kinds: Vec<_> = log.kinds(log.facts()).into_iter().map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&Batch) && Batch.loses_records(), "{kinds:?}");
}

#[test]
fn an_index_that_lies_is_a_fault_but_where_it_is_still_to_be_written() {
    let log = closed();
    let spoil = |base: i64| {
        let path = Bench::path(base, SegmentFile::OffsetIndex);
        let mut bytes = log.bench.bytes(&path);
        assert!(bytes.len() >= 8, "the control: {}", bytes.len());
        bytes[7] ^= 1;
        log.bench.put(&path, &bytes);
    };
    spoil(log.bases[2]);
    let live = AuditFacts { is_live: true, ..log.facts() };
    assert_eq!(log.kinds(log.facts()), [(Index, None)]);
    assert_eq!(log.kinds(live), NONE);
    spoil(log.bases[0]);
    assert_eq!(log.kinds(live), [(Index, None)]);
}

#[test]
fn epochs_are_held_against_their_file_as_far_as_it_was_promised() {
    let log = closed();
    let path = Path::new(DIR).join(LEADER_EPOCHS);
    let whole = log.bench.bytes(&path);
    let with = |lines: &[(i32, i64)]| {
        let lines: Vec<_> = lines.iter().map(|(epoch, at)| format!("{epoch} {at}\n")).collect();
        let text = format!("0\n{}\n{}", lines.len(), lines.concat());
        log.bench.put(&path, text.as_bytes());
        log.kinds(log.facts())
    };
    let begun = log.begun;
    assert_eq!(with(&[(0, 0), (3, begun)]), NONE);
    assert_eq!(log.bench.bytes(&path), whole, "the control");
    assert_eq!(with(&[(0, 0), (3, begun), (9, log.end)]), NONE, "it may know more");
    let fault = [(Epochs, None)];
    for wrong in [&[(0, 0)][..], &[(0, 0), (3, begun - 1)], &[(0, 0), (3, begun + 1)]] {
        assert_eq!(with(wrong), fault, "{wrong:?}");
        let below = AuditFacts { recovery_point: Offset::new(begun), ..log.facts() };
        assert_eq!(log.kinds(below), NONE, "{wrong:?}, of which nothing was promised");
    }
    // what compaction has taken may have begun it, but nothing behind it
    let compacted = AuditFacts { compacted: Offset::new(begun), ..log.facts() };
    with(&[(0, 0), (3, begun - 1)]);
    assert_eq!(log.kinds(compacted), NONE);
    for elsewhere in [begun + 1, log.bases[2]] {
        with(&[(0, 0), (3, elsewhere)]);
        assert_eq!(log.kinds(compacted), fault, "{elsewhere}");
    }
    log.bench.put(&path, b"spoilt");
    assert_eq!(log.kinds(log.facts()), fault);
    assert_eq!(log.found(log.facts())[0].path(), path);
}

#[test]
fn the_name_of_the_topic_is_there_and_is_its_own() {
    let log = closed();
    let path = Path::new(DIR).join(PARTITION_METADATA);
    let fault = [(Metadata, None)];
    log.bench.put(&path, &super::super::checkpoint::format_partition_metadata(TopicId::random()));
    let may_lack = AuditFacts { may_lack_id: true, ..log.facts() };
    assert_eq!((log.kinds(log.facts()), log.kinds(may_lack)), (fault.to_vec(), fault.to_vec()));
    log.bench.put(&path, b"spoilt");
    assert_eq!(log.kinds(may_lack), fault);
    log.bench.disk.remove_file(&path).unwrap();
    assert_eq!((log.kinds(log.facts()), log.kinds(may_lack)), (fault.to_vec(), NONE.to_vec()));
    let nothing = AuditFacts { recovery_point: Offset::ZERO, ..log.facts() };
    assert!(!log.kinds(nothing).contains(&fault[0]), "it is made again from the catalog");
}

impl Closed {
    fn audit(&self, facts: AuditFacts) -> PartitionAudit {
        PartitionAudit::list(&self.bench.disk, Path::new(DIR), self.bench.id, facts).unwrap()
    }
}

#[test]
fn a_look_through_counts_what_it_reads() {
    let log = closed();
    let audit = log.audit(log.facts());
    let lens = log.bases.iter().map(|base| log.bench.bytes(&Bench::log_path(*base)).len() as u64);
    assert_eq!((audit.bytes(), audit.segments().len()), (lens.sum(), 3));
    let done = audit.audit_all(PlainLimit::DEFAULT);
    let end = u64::try_from(log.end).unwrap();
    assert_eq!((done.records, done.batches, done.findings.len()), (end, end, 0));
}

/// One that was called off says nothing of where its file ends.
#[test]
fn a_look_that_was_called_off_finds_nothing_that_it_has_not_seen() {
    let log = closed();
    let audit = log.audit(log.facts());
    let audits = (0..3).map(|at| audit.audit(at, PlainLimit::DEFAULT, &|_| at != 1));
    let done = audit.conclude(audits.collect());
    assert!(done.findings.is_empty(), "{:?}", done.findings);
    assert!(done.records < u64::try_from(log.end).unwrap(), "the control");
}

/// Retention takes files while it looks; nothing else does.
#[test]
fn a_file_that_goes_meanwhile_is_no_fault_of_a_log_that_is_being_written() {
    for (is_live, is_gone, expected) in [(true, true, 0), (true, false, 1), (false, true, 1)] {
        let log = closed();
        let audit = log.audit(AuditFacts { is_live, ..log.facts() });
        let path = Bench::log_path(0);
        log.bench.disk.remove_file(&path).unwrap();
        if !is_gone {
            log.bench.disk.create_dir_all(&path).unwrap(); // nothing that can be read
        }
        let mut found = audit.audit_all(PlainLimit::DEFAULT).findings;
        found.retain(|finding| finding.kind() == FindingKind::Unreadable);
        assert_eq!(found.len(), expected, "live {is_live}, gone {is_gone}: {found:?}");
    }
}

#[test]
fn what_ends_below_the_log_start_is_no_fault_and_a_cut_file_is_one() {
    let log = closed();
    let path = Bench::log_path(0);
    let bytes = log.bench.bytes(&path);
    log.bench.put(&path, &bytes[..bytes.len() - 3]);
    let about = |facts: AuditFacts| {
        let mut kinds = log.kinds(facts);
        kinds.retain(|(kind, _)| matches!(kind, Batch | Gap | FindingKind::Digest));
        kinds
    };
    let second = log.bases[1];
    let found = about(log.facts());
    assert_eq!(found.len(), 1, "and no gap besides: {found:?}");
    assert_eq!(found[0].1, Some((second - 1, second)), "{found:?}");
    assert_eq!(about(AuditFacts { log_start: Offset::new(second), ..log.facts() }), NONE);
    let log = closed();
    log.add_to_segment(2, b"torn");
    assert_eq!(log.kinds(log.facts()), [(TornTail, None)], "no offset is lost by it");
}

#[test]
fn an_epoch_that_began_below_the_log_start_needs_no_line() {
    let log = closed();
    let path = Path::new(DIR).join(LEADER_EPOCHS);
    log.bench.put(&path, b"0\n1\n0 0\n");
    let from = |start: i64| AuditFacts { log_start: Offset::new(start), ..log.facts() };
    assert_eq!(log.kinds(from(0)), [(Epochs, None)], "the control");
    assert_eq!(log.kinds(from(log.begun)), NONE);
}

/// What `repair` does with what was found.
#[test]
fn a_log_is_mended_where_its_files_lie() {
    let log = closed();
    let audit = log.audit(log.facts());
    let second = Bench::log_path(log.bases[1]);
    assert_eq!(audit.owned(&second).unwrap().base().get(), log.bases[1]);
    assert!(audit.owned(&Bench::log_path(7777)).is_none());
    let epochs = Path::new(DIR).join(LEADER_EPOCHS);
    let whole = log.bench.bytes(&epochs);
    log.bench.put(&epochs, b"garbage");
    let found = audit.audit_all(PlainLimit::DEFAULT);
    assert_eq!(found.findings.iter().map(Finding::kind).collect::<Vec<_>>(), [Epochs]);
    audit.mend_epochs(&found.epochs).unwrap();
    assert_eq!(log.bench.bytes(&epochs), whole);
    let half_done = second.with_extension("log.cleaned");
    log.bench.put(&half_done, b"a rewrite that was cut short");
    audit.tidy().unwrap();
    assert!(!log.bench.exists(&half_done));
    assert_eq!(log.kinds(log.facts()), NONE);
}

#[test]
fn a_lone_log_is_looked_through_by_what_its_keeper_file_says() {
    use crate::disk::names::KEEPER;
    use crate::log::audit::{list_lone, unlisted};
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let dir = Path::new("/wal");
    let config = TopicConfig::new().segment_bytes(1024);
    let log = Log::builder(dir).disk(disk.clone()).config(config).open().unwrap();
    while log.log.size().1 < 3 {
        log.append(&[Record::new(&[1; 400][..])]).unwrap();
    }
    let second = log.log.segments.load()[1].path();
    log.close().unwrap();
    let looked = || {
        let (mut found, audits) = list_lone(&disk, dir, false).unwrap();
        let all = audits.iter().flat_map(|audit| audit.audit_all(PlainLimit::DEFAULT).findings);
        found.extend(all);
        found.iter().map(Finding::kind).collect::<Vec<_>>()
    };
    assert_eq!(looked(), []);
    assert_eq!(list_lone(&disk, dir, false).unwrap().1.len(), 1);
    disk.remove_file(&second).unwrap();
    assert!(looked().contains(&Gap), "nothing may be missing in it: {:?}", looked());
    let keeper = dir.join(KEEPER);
    disk.open(&keeper, Access::Write).unwrap().set_len(3).unwrap();
    assert_eq!(looked(), [FindingKind::State]);
    disk.remove_file(&keeper).unwrap();
    disk.create_dir_all(&keeper).unwrap();
    let error = list_lone(&disk, dir, false).unwrap_err();
    assert_eq!(unlisted(dir, &error).kind(), FindingKind::Unreadable, "{error}");
    let corrupt = crate::error::Error::corrupt("list", dir, 0, "it lies");
    assert_eq!(unlisted(dir, &corrupt).kind(), FindingKind::State);
}

/// Between the offset where one segment ends and the next begins a leader may have left many out.
#[test]
fn a_leaders_wide_gap_is_none_and_a_gap_says_where_it_is() {
    let far = super::super::keeper::FAR.cast_signed();
    let bench = Bench::new();
    bench.put(&Bench::log_path(0), &batches(0, 1));
    bench.put(&Bench::log_path(far + 1), &batch(far + 1, b"behind it"));
    let gaps = |sparse: i64| {
        let known = AuditFacts { sparse: Offset::new(sparse), ..bench.audit_facts(far + 2) };
        let audit = PartitionAudit::list(&bench.disk, Path::new(DIR), bench.id, known).unwrap();
        let mut found = audit.audit_all(PlainLimit::DEFAULT).findings;
        found.retain(|finding| finding.kind() == Gap);
        found
    };
    assert_eq!(gaps(far + 1).len(), 0);
    let found = gaps(0);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].what().contains("the next segment begins"), "{found:?}");
}

/// It may begin anywhere, so nothing is missed in front of it.
#[test]
fn a_log_with_gaps_that_has_lost_all_its_segments_misses_what_was_promised() {
    let log = closed();
    (0..3).for_each(|number| log.remove_segment(number));
    let with_gaps = AuditFacts { gapless: false, ..log.facts() };
    assert_eq!(log.kinds(with_gaps), [(Gap, Some((0, log.end)))]);
    let foreign = AuditFacts { foreign: true, ..with_gaps };
    assert_eq!(log.kinds(foreign), NONE, "another hand may have deleted them");
}
