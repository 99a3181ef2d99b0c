//! Backups and who looks on: one breaks them off, at any time; the power is cut meanwhile; a
//! callback panics. Nothing is left that an open takes for a store, and the store is as it was.
//! Another appends meanwhile, and the copy does not show it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[test]
fn a_backup_that_is_broken_off_at_any_time_leaves_nothing() {
    for sharing in [Sharing::Links, Sharing::Nothing] {
        let mut times = 0;
        loop {
            let (mut history, expected) = prepared(7);
            let told = Arc::new(AtomicU64::new(0));
            let count = told.clone();
            let watch = Watch::telling(move |progress| {
                assert!(progress.bytes_done() <= progress.bytes_total());
                match count.fetch_add(1, Ordering::Relaxed) < times {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            });
            let done = history.engine().unwrap().backup(Path::new(TARGET), sharing, &watch);
            let context = format!("{sharing:?}, broken off at call {times}");
            if done.is_ok() {
                let [done, total] = [watch.progress().bytes_done(), watch.progress().bytes_total()];
                assert!(done == total && total > 0, "{context}: {:?}", watch.progress());
                assert!(times > 10, "{context}");
                break;
            }
            assert_eq!(done.unwrap_err().kind(), ErrorKind::Cancelled, "{context}");
            for path in [TARGET, UNFINISHED] {
                assert!(history.disk.metadata(Path::new(path)).unwrap().is_none(), "{context}");
            }
            let again = back_up(&history, sharing);
            again.unwrap_or_else(|error| panic!("{context}: again: {error}"));
            let disk: Arc<dyn Disk> = Arc::new(history.disk.clone());
            check_target(&disk, &expected).unwrap_or_else(|what| panic!("{context}: {what}"));
            history.verify(Promise::Process, &context);
            times += 1;
        }
    }
    // broken off, and the power goes before it is taken away: no open takes it for a store
    let (mut history, _) = prepared(7);
    let disk = history.disk.clone();
    let watch = Watch::telling(move |progress| {
        if progress.segments_done() == 0 {
            return ControlFlow::Continue(());
        }
        disk.cut_after(1);
        ControlFlow::Break(())
    });
    let stopped = history.engine().unwrap().backup(Path::new(TARGET), Sharing::Nothing, &watch);
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
    history.engine = None;
    history.disk = history.disk.crash(Crash::Everything);
    assert!(history.disk.metadata(Path::new(UNFINISHED)).unwrap().is_some());
    let disk: Arc<dyn Disk> = Arc::new(history.disk.clone());
    let error = Engine::open(options(disk), Path::new(UNFINISHED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
    history.open().unwrap();
    history.verify(Promise::Power, "the source");
    back_up(&history, Sharing::Links).unwrap();
}

#[test]
fn a_progress_callback_that_panics_fails_the_backup_alone() {
    let (history, _) = prepared(1);
    let watch = Watch::telling(|_| panic!("in the callback"));
    let failed = history.engine().unwrap().backup(Path::new(TARGET), Sharing::Links, &watch);
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Panicked);
    back_up(&history, Sharing::Links).unwrap();
}

#[test]
fn what_is_appended_while_it_is_made_is_not_in_a_backup() {
    for sharing in [Sharing::Links, Sharing::Nothing] {
        let (history, expected) = prepared(4);
        let topics = history.engine().unwrap().topics();
        let partitions: Vec<_> =
            topics.iter().flat_map(|topic| topic.partitions().to_vec()).collect();
        let watch = Watch::telling(move |progress| {
            let is_cut = progress.partitions_total() > 0;
            for partition in partitions.iter().filter(|_| is_cut) {
                append(partition, "too late", Process).unwrap();
            }
            ControlFlow::Continue(())
        });
        history.engine().unwrap().backup(Path::new(TARGET), sharing, &watch).unwrap();
        assert_ne!(contents(&history.engine().unwrap()), expected, "nobody looked on");
        let disk: Arc<dyn Disk> = Arc::new(history.disk.clone());
        assert_eq!(check_target(&disk, &expected), Ok(true), "{sharing:?}");
    }
}
