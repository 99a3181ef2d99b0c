//! What a writer changes under a reader: cut, grown again, replaced, made again.

use super::*;

/// The host's epochs are no reigns of ours: any may come.
pub(super) fn led_by_a_host(facts: &mut FollowFacts) {
    facts.reign = Some(LeaderEpoch::new(i32::MAX));
    facts.gapless = false;
}

/// Batches of one size and of an epoch, one record each.
fn of_epoch(epoch: i32, range: std::ops::Range<i64>) -> Vec<u8> {
    range.flat_map(|base| one_batch(base, epoch, &[7; 300], base + 1)).collect()
}

/// Whatever the lengths of what went and of what came.
#[test]
fn what_a_host_had_cut_off_is_not_shown_in_place_of_what_took_its_place() {
    for (size, count) in [(1, 2), (300, 2), (299, 2), (301, 2), (600, 2), (300, 1), (300, 9)] {
        let it = Beside::new();
        it.record(led_by_a_host);
        it.fill(3);
        it.record(|facts| facts.high_watermark = Some(Offset::new(1)));
        it.look(0);
        it.log.truncate_to(Offset::new(1), Some(LeaderEpoch::new(4)), &Anywhere).unwrap();
        for _ in 0..count {
            append(&it.log, &vec![8; size], 6).unwrap();
        }
        it.record(|facts| facts.high_watermark = Some(Offset::new(1 + count)));
        it.look(0);
        assert_eq!(it.all(), (0..=count).collect::<Vec<_>>(), "{count} of {size}");
        assert_eq!(it.followed.epoch_entries(), it.log.epoch_entries(), "{count} of {size}");
    }
}

/// What the reader knows is as it was: the truncation is seen where it goes on to the next file.
#[test]
fn a_segment_that_follows_another_than_was_read_is_not_gone_on_to() {
    let it = Beside::new();
    it.record(led_by_a_host);
    it.fill(2);
    it.look(0);
    it.log.truncate_to(Offset::new(1), Some(LeaderEpoch::new(4)), &Anywhere).unwrap();
    it.fill(2);
    assert_eq!(it.bases(), [0, 2], "the control: the next one begins where the first ended");
    it.look(0);
    assert_eq!(it.all(), [0, 1, 2]);
    assert_eq!(it.followed.epoch_entries(), it.log.epoch_entries());
}

#[test]
fn a_log_that_was_cut_off_ends_there_whoever_leads_it() {
    let it = Beside::new();
    it.record(led_by_a_host);
    let path = Bench::log_path(0);
    it.bench.put(&path, &batches(0, 3));
    it.look(0);
    it.bench.put(&path, &batches(0, 1));
    it.look(0);
    assert_eq!(it.followed.offsets().end.get(), 1);
    assert_eq!(it.all(), [0]);
}

/// In place, as a recovery cuts, and batch for batch of the same size.
#[test]
fn what_was_cut_and_has_grown_again_is_of_its_own_epochs() {
    for looks in [true, false] {
        let it = Beside::new();
        let path = Bench::log_path(0);
        it.bench.put(&path, &of_epoch(0, 0..3));
        it.look(0);
        it.bench.put(&path, &[of_epoch(0, 0..1), of_epoch(4, 1..3)].concat());
        it.record(|facts| facts.reign = Some(LeaderEpoch::new(4)));
        if looks {
            it.look(0);
        }
        assert_eq!(it.read(1).0, [1, 2]);
        let epochs = [(0, 0), (4, 1)].map(|(epoch, at)| (LeaderEpoch::new(epoch), Offset::new(at)));
        assert_eq!(it.followed.epoch_entries(), epochs, "looked at {looks}");
        let check = |offset, epoch| {
            let (offset, epoch) = (Offset::new(offset), LeaderEpoch::new(epoch));
            it.followed.check_epoch("read", offset, epoch).map_err(|error| error.kind())
        };
        assert_eq!([check(0, 0), check(1, 0), check(1, 4), check(3, 4)], [Ok(()); 4]);
        assert_eq!([check(2, 0), check(4, 4)], [Err(ErrorKind::LogTruncated); 2]);
    }
}

#[test]
fn bytes_that_stay_unfinished_are_looked_for_in_another_file() {
    let it = Beside::new();
    let path = Bench::log_path(0);
    let all = batches(0, 2);
    it.bench.put(&path, &all[..all.len() - 5]);
    it.look(0);
    it.bench.disk.remove_file(&path).unwrap();
    it.bench.put(&path, &all);
    it.look(5);
    assert_eq!(it.all(), [0, 1]);
}

#[test]
fn an_empty_segment_that_was_made_anew_is_looked_into_and_counted() {
    let it = Beside::new();
    it.fill(1);
    it.log.roll_active(Timestamp::from_millis(9)).unwrap();
    it.look(0);
    assert_eq!(it.followed.size(), it.log.size());
    let path = Bench::log_path(1);
    it.bench.disk.remove_file(&path).unwrap();
    it.bench.put(&path, &batch(1, b"in another file"));
    it.look(0);
    assert_eq!(it.all(), [0, 1]);
}

#[test]
fn a_log_begins_with_its_directory() {
    let it = Beside::new();
    let name = LogName { topic: Arc::from("orders"), partition: PartitionId::new(0) };
    let dir = Path::new("/late-0");
    let source = it.recorded.clone();
    let reading = ((name, it.bench.id), (0, PlainLimit::DEFAULT));
    let followed = FollowedLog::new(&it.bench.disk, dir, reading.0, reading.1, source);
    assert!(!followed.look(Duration::ZERO).unwrap());
    it.bench.disk.create_dir_all(dir).unwrap();
    it.bench.put(&dir.join(segment_file(Offset::ZERO, SegmentFile::Log)), &batches(0, 2));
    assert!(followed.look(Duration::ZERO).unwrap());
    assert_eq!(followed.offsets().end.get(), 2);
}

/// At once: what newer facts promise does not wait as unfinished bytes do.
#[test]
fn what_newer_facts_promise_and_is_not_there_is_damage_at_the_next_look() {
    let it = Beside::new();
    it.fill(2);
    it.look(0);
    it.fill(10);
    let bases = it.bases();
    it.bench.disk.remove_file(&Bench::log_path(bases[1])).unwrap();
    it.record(|facts| facts.recovery_point = Offset::new(12));
    it.look(0);
    assert_eq!(it.followed.offsets().end.get(), 12);
    assert!(it.read(0).1.unwrap().is_corrupt());
}

/// Under another name for a moment, which no fact tells of.
#[test]
fn a_file_that_is_being_renamed_is_read_where_it_lies() {
    let it = Beside::new();
    it.fill(9);
    it.record(|facts| {
        facts.recovery_point = Offset::new(9);
        facts.compacted = Offset::new(9);
    });
    it.look(0);
    let path = Bench::log_path(0);
    it.bench.disk.rename(&path, &path.with_extension("log.swap")).unwrap();
    assert_eq!(it.all(), (0..9).collect::<Vec<_>>());
}
