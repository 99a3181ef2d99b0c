//! What came of a lie: the directory is opened, read, appended to, verified, closed, opened and
//! read again, and every record compared.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

impl Source {
    /// What comes of a lie in each stance.
    pub(super) fn felt(&self, lie: &Lie) -> [Felt; 5] {
        STANCES.map(|stance| {
            let mut planted = self.files(stance);
            (lie.plant)(&mut planted);
            let context = format!("{}, {stance:?}", lie.name);
            let felt = self.check(stance, &planted, lie, true, &context);
            if lie.takes_markers {
                return felt;
            }
            let committed = self.check(stance, &planted, lie, false, &context);
            // what was aborted is not read, so that nothing may be felt of it; and what says of
            // itself that it is of no transaction, or of another, is shown as that
            let alike = committed == felt || committed == Felt::Whole || felt == Felt::Whole;
            assert!(alike, "{context}: {felt:?} uncommitted, {committed:?} committed");
            felt
        })
    }

    fn check(
        &self,
        stance: Stance,
        planted: &Files,
        lie: &Lie,
        uncommitted: bool,
        context: &str,
    ) -> Felt {
        let disk = disk_of(planted);
        let log = match opened(&disk, stance, self.saved, uncommitted) {
            Ok(log) => log,
            Err(error) => {
                let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::NewerVersion];
                assert!(kinds.contains(&error.kind()), "{context}: {error}");
                assert!(error.path().is_some(), "{context}: {error} has no path");
                let left = files(&disk);
                let logs = planted.iter().filter(|(name, _)| name.ends_with(".log"));
                for (_, batch) in logs.flat_map(|(_, log)| split(log)) {
                    assert!(left.values().any(|it| holds(it, batch)), "{context}: {error}");
                }
                return Felt::Refused;
            }
        };
        let expected = if uncommitted { &self.all } else { &self.committed };
        let (found, faults) = read_all(&log, &lie.about);
        if lie.about.is_empty() {
            assert!(log.end_offset().get() <= self.end, "{context}: it ends later");
        }
        let felt = self.judge(stance, (&disk, &log), lie, expected, (&found, &faults), context);
        if felt == Felt::Whole && expected.len() == found.len() {
            find_by_time(&log, &self.all, context); // aborted ones count, as in Kafka
        }
        let appended = self.append((stance, uncommitted), &log, felt, context);
        let report = log.verifier().run();
        let report = report.unwrap_or_else(|error| panic!("{context}: {error}"));
        if felt == Felt::Error && uncommitted {
            assert!(!report.is_clean(), "{context}: {faults:?} are not found by verify");
        }
        log.close().unwrap_or_else(|error| panic!("{context}: {error}"));
        let log = opened(&disk, stance, self.saved, uncommitted);
        let log = log.unwrap_or_else(|error| panic!("{context}, again: {error}"));
        let (mut again, again_faults) = read_all(&log, &lie.about);
        let record = again.remove(&appended);
        let is_shown = uncommitted || log.last_stable_offset().get() > appended;
        assert!(record.is_some() || !is_shown, "{context}: {appended} is gone");
        let value = record.and_then(|(.., value)| value);
        assert!(value.is_none_or(|value| value == b"appended"), "{context}");
        for (offset, record) in &found {
            let now = again.get(offset);
            assert_eq!(now, Some(record), "{context}: at {offset} again, {again_faults:?}");
        }
        let is_known = |(offset, record): (&i64, &_)| expected.get(offset) == Some(record);
        let more = again.iter().filter(|(offset, _)| !found.contains_key(offset));
        assert!(more.clone().all(is_known), "{context}: the second open finds other records");
        felt
    }

    fn append(
        &self,
        (stance, uncommitted): (Stance, bool),
        log: &Log,
        felt: Felt,
        context: &str,
    ) -> i64 {
        let record = Record::new("appended").timestamp(Timestamp::from_millis(START + 5_000));
        let receipt = log.append(&[record]);
        let receipt = receipt.unwrap_or_else(|error| panic!("{context}, append: {error}"));
        let at = receipt.first_offset();
        if !stance.may_cut() && felt != Felt::Cut {
            assert!(at.get() >= self.end, "{context}: offset {at} is given a second time");
        }
        if !uncommitted && log.last_stable_offset() <= at {
            return at.get(); // a marker was cut off: the transaction is open again
        }
        let read = log.read(at, 1 << 20);
        let read = read.unwrap_or_else(|error| panic!("{context}, read of the append: {error}"));
        let first = read.iter().next().expect("the record");
        assert_eq!((first.offset(), first.value()), (at, Some(&b"appended"[..])), "{context}");
        at.get()
    }

    fn judge(
        &self,
        stance: Stance,
        (disk, log): (&MemoryDisk, &Log),
        lie: &Lie,
        expected: &Contents,
        (found, faults): (&Contents, &[String]),
        context: &str,
    ) -> Felt {
        let about = |offset: &i64| lie.about.contains(offset);
        let mut changed = false;
        for (offset, record) in found {
            match expected.get(offset) {
                Some(known) if known == record => {}
                _ if about(offset) => changed = true,
                known => panic!("{context}: at {offset} {record:?}, not {known:?}"),
            }
        }
        let gone: Vec<i64> =
            expected.keys().filter(|offset| !found.contains_key(offset)).copied().collect();
        let lost: Vec<i64> = gone.iter().filter(|offset| !about(offset)).copied().collect();
        if lost.is_empty() {
            return match (faults.is_empty(), changed, gone.is_empty()) {
                (false, ..) => Felt::Error,
                (true, true, _) => Felt::Changed,
                (true, false, false) if log.end_offset().get() <= gone[0] => Felt::Cut,
                (true, false, false) => Felt::Gone,
                (true, false, true) => Felt::Whole,
            };
        }
        let report = log.report();
        assert!(stance.may_cut(), "{context}: {lost:?} are gone, {faults:?}, {report:?}");
        assert!(!report.torn_tails().is_empty(), "{context}: {lost:?} are cut in silence");
        let left = files(disk);
        for (_, _, batch) in &self.batches {
            if lost.iter().any(|offset| (base_of(batch)..=last_of(batch)).contains(offset)) {
                // or it stands, of a transaction whose marker was cut off
                let saved = left.values().any(|it| holds(it, batch));
                assert!(saved, "{context}: {} is saved nowhere", base_of(batch));
            }
        }
        Felt::Cut
    }
}

/// Lookups by time find what a scan does.
fn find_by_time(log: &Log, expected: &Contents, context: &str) {
    for wanted in (START + 1..START + 3_000).step_by(211) {
        let mut all = expected.iter();
        let first = all.find(|(_, (time, ..))| *time >= Some(wanted)).map(|(offset, _)| *offset);
        let found = log.offset_for_timestamp(Timestamp::from_millis(wanted));
        let found = found.unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(found.map(|(offset, _)| offset.get()), first, "{context}: at {wanted}");
    }
}
pub(super) fn opened(
    disk: &Arc<MemoryDisk>,
    stance: Stance,
    saved: i64,
    uncommitted: bool,
) -> tidelog::Result<Log> {
    let mut builder = builder(disk);
    if uncommitted {
        builder = builder.read_uncommitted();
    }
    match stance {
        Stance::Closed | Stance::Killed | Stance::OthersKilled => {}
        Stance::OthersClosed => builder = builder.closed_cleanly(),
        Stance::OthersKilledSaved => builder = builder.recovery_point(off(saved)),
    }
    builder.open()
}

fn holds(bytes: &[u8], batch: &[u8]) -> bool {
    bytes.windows(batch.len()).any(|there| there == batch)
}

/// All that can be read, and what kept the rest from it.
pub(super) fn read_all(log: &Log, about: &Range<i64>) -> (Contents, Vec<String>) {
    let (mut contents, mut faults) = (Contents::new(), Vec::new());
    let mut next = log.start_offset();
    for _ in 0..1_000 {
        match log.read(next, 4_096) {
            Ok(records) if records.is_empty() => return (contents, faults),
            Ok(records) => {
                for record in &records {
                    assert!(record.offset() >= next, "{} behind {next}", record.offset());
                    next = record.offset().next();
                    let time = record.timestamp().map(Timestamp::as_millis);
                    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                    let record_ = (time, owned(record.key()), owned(record.value()));
                    let twice = contents.insert(record.offset().get(), record_);
                    assert!(twice.is_none(), "{} is read twice", record.offset());
                }
            }
            Err(error) if error.is_corrupt() => {
                assert!(error.path().is_some(), "{error} has no path");
                faults.push(error.to_string());
                let gone = log.skip_damage(next).expect("what is damaged can be skipped");
                assert!(gone.end > next, "{gone:?} from {next}");
                next = gone.end;
            }
            Err(error) => {
                let kinds = [ErrorKind::Unsupported, ErrorKind::TooLarge];
                assert!(kinds.contains(&error.kind()), "{error}");
                assert!(next.get() < about.end, "at {next}: {error}");
                faults.push(error.to_string());
                next = off(about.end);
            }
        }
    }
    panic!("it does not end: at {next}, {faults:?}");
}

/// Holds lies to a table: one line for each, a word for each stance. All of them are tried.
pub(super) fn hold(source: &Source, table: &[(Lie, [Felt; 5])]) {
    let mut wrong = Vec::new();
    for (lie, expected) in table {
        match catch_unwind(AssertUnwindSafe(|| source.felt(lie))) {
            Ok(felt) if felt == *expected => {}
            Ok(felt) => wrong.push(format!("{}: {felt:?}, not {expected:?}", lie.name)),
            Err(_) => wrong.push(format!("{}: see above", lie.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
