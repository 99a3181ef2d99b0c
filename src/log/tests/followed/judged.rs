//! Which files and batches make up a log that is taken in, as its next writer would judge them.

use super::*;
use crate::log::keeper::FAR;

/// The records of each file, by its base offset; one that is negative is damaged.
type Files<'a> = &'a [(i64, &'a [i64])];

impl Beside {
    fn of(files: Files<'_>) -> Self {
        let it = Beside::new();
        for (base, records) in files {
            let mut bytes = Vec::new();
            for record in *records {
                bytes.extend(batch(record.abs(), b"a value"));
                if *record < 0 {
                    *bytes.last_mut().unwrap() ^= 1;
                }
            }
            it.bench.put(&Bench::log_path(*base), &bytes);
        }
        it
    }

    /// Where the log begins and ends, what can be read from there, and whether up to damage.
    fn shown(&self) -> (i64, i64, Vec<i64>, bool) {
        self.look(0);
        let OffsetSnapshot { start, end, .. } = self.followed.offsets();
        let (found, error) = self.read(start.get());
        assert!(error.as_ref().is_none_or(crate::error::Error::is_corrupt), "{error:?}");
        (start.get(), end.get(), found, error.is_some())
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    foreign: bool,
    start: i64,
    point: i64,
    compacted: i64,
    sparse: i64,
}

fn shown(files: Files<'_>, told: Told) -> (i64, i64, Vec<i64>, bool) {
    let it = Beside::of(files);
    it.record(|facts| {
        facts.gapless = !told.foreign;
        facts.log_start = Offset::new(told.start);
        facts.recovery_point = Offset::new(told.point);
        facts.compacted = Offset::new(told.compacted);
        facts.sparse = Offset::new(told.sparse);
    });
    it.shown()
}

#[test]
fn a_gap_between_segments_ends_the_log_unless_somebody_may_have_left_it() {
    let far = i64::try_from(FAR).unwrap();
    let none = Told::default();
    for (next, told, goes_on) in [
        (5, none, false),
        (5, Told { foreign: true, ..none }, true),
        (5, Told { compacted: 5, ..none }, true),
        (5, Told { compacted: 4, ..none }, false),
        (5, Told { sparse: 5, ..none }, false),
        (far, Told { sparse: far, ..none }, false),
        (far + 1, Told { sparse: far + 1, ..none }, true),
        (far + 1, Told { sparse: far, ..none }, false),
    ] {
        let expected = match goes_on {
            true => (0, next + 1, vec![0, next], false),
            false => (0, 1, vec![0], false),
        };
        assert_eq!(shown(&[(0, &[0]), (next, &[next])], told), expected, "{next} {told:?}");
    }
}

#[test]
fn a_gap_within_a_segment_ends_the_log_unless_somebody_may_have_left_it() {
    let none = Told::default();
    for (told, goes_on) in [
        (none, false),
        (Told { foreign: true, ..none }, true),
        (Told { compacted: 5, ..none }, true),
        (Told { compacted: 4, ..none }, false),
        (Told { sparse: 5, ..none }, true),
    ] {
        let expected = match goes_on {
            true => (0, 6, vec![0, 5], false),
            false => (0, 1, vec![0], false),
        };
        assert_eq!(shown(&[(0, &[0, 5])], told), expected, "{told:?}");
    }
}

#[test]
fn a_log_whose_front_is_lost_begins_again_unless_it_was_promised() {
    let none = Told::default();
    let rest: Files<'_> = &[(5, &[5, 6])];
    assert_eq!(shown(rest, none), (0, 0, vec![], false));
    assert_eq!(shown(rest, Told { point: 7, ..none }), (0, 7, vec![], true));
    assert_eq!(shown(rest, Told { foreign: true, ..none }), (5, 7, vec![5, 6], false));
    let start_within = Told { start: 6, point: 6, ..none };
    assert_eq!(shown(rest, start_within), (6, 7, vec![6], false));
}

#[test]
fn an_empty_file_counts_where_the_log_begins_or_ends() {
    let none = Told::default();
    let surrounded: Files<'_> = &[(0, &[0, 1, 2, 3, 4]), (3, &[]), (5, &[5]), (6, &[6])];
    assert_eq!(shown(surrounded, none), (0, 7, (0..7).collect(), false));
    assert_eq!(shown(&surrounded[..3], none), (0, 6, (0..6).collect(), false));
    let in_front: Files<'_> = &[(0, &[]), (5, &[5]), (6, &[6])];
    assert_eq!(shown(in_front, Told { foreign: true, ..none }), (0, 7, vec![5, 6], false));
    let behind = Beside::of(&[(0, &[0, 1, 2]), (3, &[])]);
    behind.look(0);
    assert_eq!(behind.followed.size().1, 2);
}

#[test]
fn what_is_damaged_ends_the_log_unless_more_was_promised() {
    let none = Told::default();
    let files: Files<'_> = &[(0, &[0, 1, 2]), (3, &[3, -4, 5]), (6, &[6, 7])];
    assert_eq!(shown(files, none), (0, 4, (0..4).collect(), false));
    assert_eq!(shown(files, Told { point: 4, ..none }), (0, 4, (0..4).collect(), false));
    assert_eq!(shown(files, Told { point: 5, ..none }), (0, 8, (0..4).collect(), true));
    // below its start nothing is promised
    assert_eq!(shown(files, Told { start: 5, point: 5, ..none }), (5, 5, vec![], false));
    // nor what lies behind a file that reaches too far
    let reaches: Files<'_> = &[(0, &[0, 1, 2, 3, 4]), (3, &[3, 4, 5])];
    assert_eq!(shown(reaches, none), (0, 5, (0..5).collect(), false));
}

/// Of each segment: where an index names what lies behind the damage, else in the next one.
#[test]
fn behind_damage_reading_goes_on_at_the_next_place_that_is_named() {
    for damaged in 0..12_i64 {
        let it = Beside::new();
        it.fill(12);
        let point = if damaged < 9 { 9 } else { 12 };
        it.record(|facts| facts.recovery_point = Offset::new(point));
        let base = *it.bases().iter().rfind(|base| **base <= damaged).unwrap();
        let path = Bench::log_path(base);
        let mut bytes = it.bench.bytes(&path);
        let size = usize::try_from(it.log.size().0).unwrap() / 12;
        bytes[size * usize::try_from(damaged - base + 1).unwrap() - 9] ^= 1;
        it.bench.put(&path, &bytes);
        it.look(0);
        let (found, error) = it.read(0);
        assert_eq!(found, (0..damaged).collect::<Vec<_>>());
        assert!(error.unwrap().is_corrupt());
        let resume = it.followed.resume_above(Offset::new(damaged), Duration::ZERO).unwrap();
        let (rest, error) = it.read(resume.get());
        assert!(resume.get() > damaged && error.is_none(), "{damaged}: {resume} {error:?}");
        assert_eq!(rest, (resume.get()..12).collect::<Vec<_>>(), "{damaged}");
    }
}

/// The point lies within the segment, so that it is looked through.
#[test]
fn behind_damage_what_an_index_names_can_still_be_read() {
    let it = Beside::new();
    for _ in 0..20 {
        append(&it.log, &[7; 100], 5).unwrap();
    }
    it.log.checkpoint().unwrap();
    let [_, base, next, ..] = it.bases()[..] else { panic!("{:?}", it.bases()) };
    assert!(next - base > 3, "the control");
    let path = Bench::log_path(base);
    assert!(it.bench.exists(&Bench::path(base, SegmentFile::OffsetIndex)), "the control");
    let mut bytes = it.bench.bytes(&path);
    let size = usize::try_from(it.log.size().0).unwrap() / 20;
    bytes[2 * size - 9] ^= 1;
    it.bench.put(&path, &bytes);
    it.record(|facts| facts.recovery_point = Offset::new(base + 2));
    it.look(0);
    let resume = it.followed.resume_above(Offset::new(base + 1), Duration::ZERO).unwrap();
    assert!(resume.get() < next, "{resume} in {base}..{next}: {:?}", it.bench.names());
    assert_eq!(it.read(resume.get()).0, (resume.get()..20).collect::<Vec<_>>());
}

/// As `leftovers` tidies: where one is not whole none counts whose origin stands.
#[test]
fn a_rewrite_counts_unless_it_is_undone_or_its_origin_is_better() {
    let swap = |it: &Beside, base, bytes: &[u8]| {
        it.bench.put(&Bench::log_path(base).with_extension("log.swap"), bytes);
    };
    let torn = |base, end| {
        let bytes = batches(base, end);
        bytes[..bytes.len() - 5].to_vec()
    };
    let all = |it: Beside| {
        it.record(|facts| {
            facts.recovery_point = Offset::new(6);
            facts.compacted = Offset::new(6);
        });
        it.look(0);
        it.read(0).0
    };
    // a rewrite above it that is undone
    let it = Beside::of(&[(0, &[0, 1, 2]), (3, &[3, 4, 5])]);
    swap(&it, 0, &batch(2, b"is left"));
    it.bench.put(&Bench::log_path(3).with_extension("log.cleaned"), &[]);
    assert_eq!(all(it), [2, 3, 4, 5]);
    // its origin holds what it begins with
    let it = Beside::of(&[(0, &[0, 1, 2]), (3, &[3, 4, 5])]);
    swap(&it, 1, &torn(1, 3));
    assert_eq!(all(it), [0, 1, 2, 3, 4, 5]);
    // there is none: what stands before it ends there
    let it = Beside::of(&[(0, &[0, 1, 2])]);
    swap(&it, 3, &torn(3, 6));
    assert_eq!(all(it), [0, 1, 2, 3, 4]);
    // its origin begins with it, whatever became of that
    let it = Beside::of(&[(0, &[0, 1, 2]), (3, &[-3, 4, 5])]);
    swap(&it, 3, &torn(3, 6));
    assert_eq!(all(it), [0, 1, 2]);
}

/// Its metadata says whose it is, also of what has yet to get its name.
#[test]
fn a_rewrite_in_a_directory_of_another_topic_is_not_read() {
    let it = Beside::of(&[]);
    it.bench.put(&Bench::log_path(0).with_extension("log.swap"), &batches(0, 3));
    it.record(|facts| facts.compacted = Offset::new(3));
    let path = Path::new(DIR).join(PARTITION_METADATA);
    it.bench.put(&path, &format_partition_metadata(TopicId::random()));
    let error = it.followed.look(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[test]
fn a_file_of_epochs_that_is_torn_says_nothing_and_one_that_cannot_be_read_is_an_error() {
    let it = Beside::of(&[(0, &[0, 1, 2])]);
    let path = Path::new(DIR).join(crate::disk::names::LEADER_EPOCHS);
    it.bench.put(&path, b"torn by a power cut");
    it.look(0);
    assert_eq!(it.all(), [0, 1, 2]);
    it.bench.disk.remove_file(&path).unwrap();
    it.bench.disk.create_dir_all(&path).unwrap();
    let late = it.late();
    assert!(late.followed.look(Duration::ZERO).is_err());
}
