//! A writer that goes on while its directory is taken in, or while what it has is read.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::stepped::{Call, Stepped};
use super::*;

/// Renames a file away, or back.
fn hide(disk: &dyn Disk, path: &Path, hidden: bool) {
    let aside = path.with_extension("aside");
    let (from, to) = if hidden { (path, &*aside) } else { (&*aside, path) };
    let is_there = disk.metadata(from).unwrap().is_some();
    if is_there {
        disk.rename(from, to).unwrap();
    }
}

impl Beside {
    /// A log of two files, of three records each.
    fn in_two() -> Self {
        let it = Beside::new();
        it.bench.put(&Bench::log_path(0), &batches(0, 3));
        it.bench.put(&Bench::log_path(3), &batches(3, 6));
        it
    }

    /// Read on another disk by one who comes only now.
    fn on(self, before: impl FnMut(Call, &Path) -> io::Result<()> + Send + 'static) -> Self {
        let disk = Stepped::over(&self.bench.disk, before);
        Beside { followed: Beside::follow_on(&disk, &self.bench, &self.recorded), ..self }
    }
}

/// What is asked for the second time comes after the directory was listed.
fn after_listing(asked: Asked, asks: &mut u32) -> bool {
    *asks += u32::from(asked == Asked::Facts);
    asked == Asked::Facts && *asks == 2
}

#[test]
fn what_changed_while_a_directory_was_taken_in_has_it_taken_in_again() {
    let changes: [fn(&mut FollowFacts); 3] = [
        |facts| facts.reign = Some(LeaderEpoch::new(1)),
        |facts| facts.gapless = false,
        |facts| facts.compacted = Offset::new(1),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let it = Beside::in_two();
        hide(&*it.bench.disk, &Bench::log_path(3), true);
        let (disk, mut asks) = (it.bench.disk.clone(), 0);
        it.meanwhile(move |asked, facts| {
            if after_listing(asked, &mut asks) {
                hide(&*disk, &Bench::log_path(3), false);
                change(facts);
            }
            Ok(())
        });
        it.look(0);
        assert_eq!(it.all(), [0, 1, 2, 3, 4, 5], "change {at}");
    }
}

/// The epoch is recorded before its first batch, but a reader may have asked before that.
#[test]
fn a_batch_of_an_epoch_that_is_recorded_meanwhile_is_shown() {
    let it = Beside::new();
    let bytes = [one_batch(0, 0, b"old", 1), one_batch(1, 3, b"new", 1)].concat();
    it.bench.put(&Bench::log_path(0), &bytes);
    let mut asks = 0;
    it.meanwhile(move |asked, facts| {
        asks += u32::from(asked == Asked::Facts);
        if asks == 3 {
            facts.reign = Some(LeaderEpoch::new(3));
        }
        Ok(())
    });
    it.look(0);
    assert_eq!(it.all(), [0, 1]);
}

/// Of its batches those are shown that are known of, and where it was cut it ends.
#[test]
fn what_stays_unexplained_is_shown_as_far_as_it_can_be() {
    let it = Beside::new();
    let (old, new) = (one_batch(0, 0, b"old", 1), one_batch(1, 3, b"n", 1));
    let path = Bench::log_path(0);
    it.bench.put(&path, &[&old[..], &new].concat());
    it.look(0);
    assert_eq!(it.all(), [0]);
    it.bench.put(&path, &[&old[..], &batch(1, b"longer than what comes then")].concat());
    it.record(|facts| facts.reign = Some(LeaderEpoch::new(1)));
    it.look(0);
    assert_eq!(it.all(), [0, 1]);
    it.bench.put(&path, &[&old[..], &new].concat());
    it.look(0);
    assert_eq!(it.all(), [0]);
}

#[test]
fn a_reader_that_is_outrun_is_shown_what_it_saw_last() {
    let it = Beside::in_two();
    let outruns = Arc::new(AtomicBool::new(true));
    let goes_on = outruns.clone();
    it.meanwhile(move |asked, facts| {
        if goes_on.load(Ordering::Relaxed) && asked == Asked::Facts {
            facts.reign = facts.reign.map(|epoch| LeaderEpoch::new(epoch.get() + 1));
        }
        Ok(())
    });
    it.look(0);
    assert_eq!(it.all(), [0, 1, 2, 3, 4, 5], "nothing was seen before");
    it.bench.put(&Bench::log_path(6), &batches(6, 9));
    it.record(|facts| facts.reign = Some(LeaderEpoch::new(100)));
    it.look(0);
    assert_eq!(it.all(), [0, 1, 2, 3, 4, 5]);
    outruns.store(false, Ordering::Relaxed);
    it.record(|facts| facts.reign = Some(LeaderEpoch::new(200)));
    it.look(0);
    assert_eq!(it.all(), (0..9).collect::<Vec<_>>());
}

/// Gone for a moment; for good; for good while the writer goes on.
#[test]
fn a_file_that_vanishes_while_a_directory_is_taken_in_is_looked_for_again() {
    for (times, goes_on, seen_before) in
        [(1, false, true), (99, false, true), (99, true, true), (99, true, false)]
    {
        let it = Beside::in_two();
        if seen_before {
            it.look(0);
        }
        let (disk, mut asks) = (it.bench.disk.clone(), 0);
        it.meanwhile(move |asked, facts| {
            asks += i32::from(asked == Asked::Facts);
            if asked == Asked::Facts {
                let behind_listing = asks % 2 == 0;
                hide(&*disk, &Bench::log_path(3), behind_listing && asks <= 2 * times);
                if goes_on {
                    facts.recovery_point = facts.recovery_point.next();
                }
            }
            Ok(())
        });
        it.record(|facts| facts.reign = Some(LeaderEpoch::new(7)));
        let looked = it.followed.look(Duration::ZERO);
        let case = format!("{times} times, goes on {goes_on}, seen {seen_before}: {looked:?}");
        *it.recorded.happens.lock() = None;
        let stays = times == 1 || goes_on && seen_before;
        assert_eq!(looked.is_ok(), stays, "{case}");
        if stays {
            hide(&*it.bench.disk, &Bench::log_path(3), false);
            assert_eq!(it.all(), [0, 1, 2, 3, 4, 5], "{case}");
        }
    }
}

/// Where segments are replaced by others a name may be in none of one listing.
#[test]
fn where_files_are_replaced_two_listings_have_to_agree() {
    // in which listings the file is missing
    for missing in [&[1][..], &[2], &[2, 4, 6]] {
        let it = Beside::in_two();
        it.record(|facts| {
            facts.recovery_point = Offset::new(1);
            facts.compacted = Offset::new(1);
        });
        let (disk, mut listings) = (it.bench.disk.clone(), 0);
        let it = it.on(move |call, _| {
            if call == Call::Names {
                listings += 1;
                hide(&*disk, &Bench::log_path(3), missing.contains(&listings));
            }
            Ok(())
        });
        it.look(0);
        assert_eq!(it.all(), [0, 1, 2, 3, 4, 5], "{missing:?}");
    }
}

#[test]
fn a_directory_that_cannot_be_listed_is_an_error() {
    let it = Beside::in_two().on(|call, _| match call {
        Call::Names => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    });
    assert!(it.followed.look(Duration::ZERO).is_err());
}

/// The descriptors of a disk may lead to nothing any more, since they are opened anew when needed.
#[test]
fn a_file_that_vanishes_while_it_is_followed_leads_to_the_directory() {
    for (vanishes, at) in [(Call::Open, 1), (Call::Length, 1), (Call::Length, 2)] {
        let until = Arc::new(AtomicUsize::new(0));
        let left = until.clone();
        let it = Beside::new();
        it.bench.put(&Bench::log_path(0), &batches(0, 3));
        let it = it.on(move |call, path| {
            let of_log = path.extension().is_some_and(|extension| extension == "log");
            let counts = call == vanishes && of_log && left.load(Ordering::Relaxed) > 0;
            match counts && left.fetch_sub(1, Ordering::Relaxed) == 1 {
                true => Err(io::ErrorKind::NotFound.into()),
                false => Ok(()),
            }
        });
        it.look(0);
        if vanishes == Call::Open {
            it.bench.put(&Bench::log_path(3), &batches(3, 6));
        }
        until.store(at, Ordering::Relaxed);
        it.look(0);
        let end = if vanishes == Call::Open { 6 } else { 3 };
        assert_eq!(until.load(Ordering::Relaxed), 0, "the control: {vanishes:?} {at}");
        assert_eq!(it.all(), (0..end).collect::<Vec<_>>(), "{vanishes:?} {at}");
    }
}

/// Only a file that vanishes may be the writer's doing each time anew.
#[test]
fn damage_is_told_of_whatever_the_writer_does_meanwhile() {
    let it = Beside::in_two();
    let mut bytes = it.bench.bytes(&Bench::log_path(0));
    bytes[batch(0, b"value 0").len() - 1] ^= 1;
    it.bench.put(&Bench::log_path(0), &bytes);
    it.record(|facts| facts.recovery_point = Offset::new(6));
    it.look(0);
    it.meanwhile(|_, facts| {
        facts.recovery_point = facts.recovery_point.next();
        Ok(())
    });
    assert!(it.read(0).1.expect("damage").is_corrupt());
}

#[test]
fn a_reader_whose_files_go_faster_than_it_opens_them_has_nothing_yet() {
    for goes_on in [true, false] {
        let it = Beside::in_two();
        it.record(|facts| facts.recovery_point = Offset::new(6));
        let it = it.on(|call, path| match call {
            Call::Open if path.ends_with("00000000000000000000.log") => {
                Err(io::ErrorKind::NotFound.into())
            }
            _ => Ok(()),
        });
        it.look(0);
        it.meanwhile(move |_, facts| {
            if goes_on {
                facts.high_watermark = Some(facts.high_watermark.unwrap_or(Offset::new(6)).next());
            }
            Ok(())
        });
        let isolation = IsolationLevel::ReadUncommitted;
        let limits = FetchLimits { bytes: 1, records: 1, durable_only: false, isolation };
        match it.followed.fetch(Offset::ZERO, None, limits, Duration::ZERO) {
            Ok(fetched) => assert!(goes_on && fetched.is_outrun && fetched.chunk.is_none()),
            Err(error) => assert!(!goes_on, "{error}"),
        }
    }
}
