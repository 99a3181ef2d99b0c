//! What only the journal has, shown behind the segments until somebody writes.

use super::*;
use crate::journal::Extent;

impl Beside {
    /// A log of the batches `0..3`, of which a power cut may have left less.
    fn left(count: usize, promised: i64) -> Self {
        let it = Beside::new();
        let bytes = batches(0, 3);
        it.bench.put(&Bench::log_path(0), &bytes[..count * bytes.len() / 3]);
        it.record(|facts| facts.recovery_point = Offset::new(promised));
        it
    }

    /// What the journal has: batches, from where one lies in its segment.
    fn hold(&self, (segment, position): (i64, usize), batches: &[Vec<u8>]) {
        let header = |bytes: &Vec<u8>| *crate::record::Batch::verify(bytes).unwrap().header();
        let extent = Extent {
            log: self.bench.id,
            segment: Offset::new(segment),
            position: position as u64,
            first: header(&batches[0]).base_offset(),
            end: header(batches.last().unwrap()).end_offset(),
        };
        self.recorded.held.lock().push(Frame { extent, batches: batches.concat().into() });
    }

    fn error(&self) -> crate::error::Error {
        self.followed.look(Duration::ZERO).unwrap_err()
    }
}

fn numbered(base: i64) -> Vec<u8> {
    batch(base, format!("value {base}").as_bytes())
}

#[test]
fn what_the_journal_has_goes_on_behind_what_is_there_also_twice() {
    let all: Vec<_> = (0..5).map(numbered).collect();
    let size = all[0].len();
    for count in 0..=3 {
        let it = Beside::left(count, 0);
        it.hold((0, size), &all[1..3]);
        it.hold((0, 2 * size), &all[2..5]);
        it.hold((0, 3 * size), &all[3..5]);
        if count == 0 {
            let error = it.error();
            assert!(error.is_corrupt(), "offset 0 is gone: {error}");
            continue;
        }
        it.look(0);
        assert_eq!(it.all(), [0, 1, 2, 3, 4], "{count} are there");
        assert_eq!(it.followed.offsets().durable.get(), 5, "{count} are there");
    }
}

/// It goes on elsewhere in a log that has damage alone.
#[test]
fn what_the_journal_has_elsewhere_fits_behind_damage_only() {
    for (count, promised, fits) in [(3, 3, false), (3, 2, false), (3, 0, false), (1, 3, true)] {
        let it = Beside::left(count, promised);
        it.hold((0, 99), &[numbered(3)]);
        if fits {
            it.look(0);
            assert_eq!(it.read(3).0, [3]);
            continue;
        }
        let error = it.error();
        assert!(error.is_corrupt(), "{count} of {promised}: {error}");
    }
}

#[test]
fn what_is_below_the_recovery_point_is_passed_over() {
    let it = Beside::left(3, 3);
    it.hold((0, 0), &[batch(0, b"another"), batch(1, b"another"), batch(2, b"another")]);
    it.look(0);
    assert_eq!(it.all(), [0, 1, 2]);
}

#[test]
fn what_a_leader_left_out_is_not_missed_behind_what_is_there() {
    for (gapless, sparse, fits) in [(true, 0, false), (true, 5, true), (false, 0, true)] {
        let it = Beside::left(3, 0);
        it.record(|facts| (facts.gapless, facts.sparse) = (gapless, Offset::new(sparse)));
        it.hold((0, batches(0, 3).len()), &[numbered(5)]);
        if fits {
            it.look(0);
            assert_eq!(it.all(), [0, 1, 2, 5], "{gapless} {sparse}");
            continue;
        }
        assert!(it.error().is_corrupt());
    }
}

#[test]
fn what_the_journal_has_of_an_epoch_that_is_not_recorded_is_an_error() {
    for held in [&[one_batch(3, 9, b"a", 1)][..], &[numbered(3), one_batch(4, 9, b"a", 1)]] {
        let it = Beside::left(3, 0);
        it.hold((0, batches(0, 3).len()), held);
        assert!(it.error().is_corrupt());
        it.record(|facts| facts.reign = Some(LeaderEpoch::new(9)));
        it.look(0);
        let expected: Vec<_> = (0..).take(3 + held.len()).collect();
        assert_eq!(it.all(), expected);
        let latest = it.followed.epoch_entries().last().map(|(epoch, _)| *epoch);
        assert_eq!(latest, Some(LeaderEpoch::new(9)));
    }
}

/// Somebody has given it back to the log, and goes on there.
#[test]
fn what_was_given_back_is_read_where_it_is() {
    let it = Beside::left(3, 0);
    it.hold((0, batches(0, 3).len()), &[numbered(3)]);
    it.look(0);
    assert_eq!(it.all(), [0, 1, 2, 3]);
    it.bench.put(&Bench::log_path(0), &batches(0, 6));
    it.recorded.held.lock().clear();
    it.look(0);
    assert_eq!(it.all(), [0, 1, 2, 3], "nothing that is recorded says so");
    it.record(|facts| facts.recovery_point = Offset::new(4));
    it.look(0);
    assert_eq!(it.all(), (0..6).collect::<Vec<_>>());
}

#[test]
fn what_does_not_fit_is_an_error_unless_somebody_has_given_it_back_meanwhile() {
    for given_back in [true, false] {
        let it = Beside::left(3, 0);
        it.hold((0, 99), &[numbered(3)]);
        let recorded = Arc::downgrade(&it.recorded);
        let mut laid = false;
        it.meanwhile(move |asked, facts| {
            laid |= asked == Asked::Held;
            if asked == Asked::Facts && laid && given_back {
                facts.reign = Some(LeaderEpoch::new(1));
                recorded.upgrade().unwrap().held.lock().clear();
            }
            Ok(())
        });
        let looked = it.followed.look(Duration::ZERO);
        match given_back {
            true => assert_eq!((looked.unwrap(), it.all()), (true, vec![0, 1, 2])),
            false => assert!(looked.unwrap_err().is_corrupt()),
        }
    }
}

/// Whatever else happens meanwhile.
#[test]
fn a_journal_that_cannot_be_read_is_an_error() {
    let it = Beside::left(3, 0);
    it.meanwhile(|asked, facts| {
        if asked == Asked::Held {
            facts.reign = facts.reign.map(|epoch| LeaderEpoch::new(epoch.get() + 1));
            let error = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
            return Err(crate::error::Error::io("replay journal", Path::new("/journal"), error));
        }
        Ok(())
    });
    assert!(!it.error().is_corrupt());
}
