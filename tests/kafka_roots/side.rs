//! One script on both sides: a log of ours, and Kafka's that is told to do the same.
//!
//! Ours goes first: a step that depends on the state takes its offsets and epochs from ours, and
//! names them in the line for Kafka. Where the two differ on purpose (docs/kafka.md) the step is
//! put so that they need not: a truncation goes to where ours ended, and of the batches from before
//! a reopening only the last is sent again.

mod producing;
mod texts;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidelog::disk::{IoMode, RealDisk};
use tidelog::{
    Clock as _, LeaderEpoch, Log, ManualClock, Offset, OffsetSpec, Sequence, Timestamp, TopicConfig,
};

use crate::driver::Kafka;
use crate::script::{Op, Script};
use producing::Known;
use texts::{found_text, said, texts};

const START: i64 = 1_700_000_000_000;

pub struct Sides<'k> {
    kafka: &'k mut Kafka,
    dir: PathBuf,
    config: TopicConfig,
    settings: String,
    codec: String,
    committed: bool,
    clock: ManualClock,
    log: Option<Log>,
    lives: u32,
    kafka_dir: PathBuf,
    point: String,
    producers: [Known; 3],
    values: u32,
    epoch: i32,
    /// Kafka's segments begin elsewhere: it has rolled for a batch that it then refused, or has
    /// kept an empty segment at a cut.
    layouts_differ: bool,
    /// Kafka no longer knows the newest timestamp of a segment that it took up and then cut.
    times_unknown: bool,
    transacted: bool,
    /// A producer has begun anew that one side may have forgotten.
    forgotten: bool,
    /// Every line Kafka was told.
    pub told: Vec<String>,
}

type Step = Result<(), String>;

impl<'k> Sides<'k> {
    pub fn begin(kafka: &'k mut Kafka, dir: &Path, script: &Script) -> Self {
        let mut config = TopicConfig::new();
        let mut settings = String::new();
        for (name, value) in &script.settings {
            config = config.set(name, value).expect("a setting of Kafka's");
            write!(settings, " {name}={value}").expect("a string");
        }
        let clock = ManualClock::new(Timestamp::from_millis(START));
        let mut sides = Sides {
            kafka,
            dir: dir.to_owned(),
            config,
            codec: script.setting("compression.type").unwrap_or("none").to_owned(),
            committed: script.committed,
            settings,
            clock,
            log: None,
            lives: 0,
            kafka_dir: dir.join("kafka").join("orders-0"),
            point: "0".to_owned(),
            producers: Default::default(),
            values: 0,
            epoch: 0,
            layouts_differ: false,
            times_unknown: false,
            transacted: false,
            forgotten: false,
            told: Vec::new(),
        };
        sides.tell(&format!("time {START}"));
        let isolation = if script.committed { "TXN_COMMITTED" } else { "HIGH_WATERMARK" };
        sides.tell(&format!("isolation {isolation}"));
        sides.open("clean", "0 0").expect("an empty directory opens");
        sides
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("it is open")
    }

    fn our_dir(&self) -> PathBuf {
        self.dir.join(format!("ours-{}", self.lives)).join("orders-0")
    }

    fn tell(&mut self, line: &str) -> String {
        self.told.push(line.to_owned());
        self.kafka.ask(line)
    }

    fn open(&mut self, how: &str, places: &str) -> Step {
        let disk = RealDisk::new(IoMode::Positioned).expect("a disk");
        let builder = Log::builder(self.our_dir()).config(self.config.clone());
        let builder = builder.clock(std::sync::Arc::new(self.clock.clone()));
        let builder = if self.committed { builder } else { builder.read_uncommitted() };
        let log = builder.disk(std::sync::Arc::new(disk)).open().expect("it opens");
        self.log = Some(log);
        let line =
            format!("open {} {how} {places}{}", self.kafka_dir.display(), self.settings.clone());
        self.same(&line, "ok".to_owned())
    }

    /// Kafka's answer must be what ours is.
    fn same(&mut self, line: &str, ours: String) -> Step {
        let log = self.log();
        let (start, end) = (log.start_offset(), log.end_offset());
        let stable = log.last_stable_offset();
        let ours = format!("{} | {start} {end} {stable}", ours.trim_end());
        let kafkas = self.tell(line);
        if ours == kafkas {
            return Ok(());
        }
        Err(format!("{line}\n  ours:  {ours}\n  kafka: {kafkas}"))
    }

    fn refused_by_kafka_too(&mut self, line: &str) -> Step {
        let kafkas = self.tell(line);
        let refused = ["error InvalidRecord |", "error TooLarge |"];
        match refused.iter().any(|refusal| kafkas.starts_with(refusal)) {
            true => Ok(()),
            false => Err(format!("{line}\n  ours:  refused\n  kafka: {kafkas}")),
        }
    }

    /// The place that so many thousandths name.
    fn place(&self, thousandths: i64) -> i64 {
        let (start, end) = (self.log().start_offset().get(), self.log().end_offset().get());
        start + (end - start) * thousandths / 1000 + i64::from(thousandths > 1000)
    }

    pub fn step(&mut self, op: &Op) -> Step {
        match op {
            Op::Append(records) => self.append(records),
            Op::Produce(who, how, records) => self.produce(usize::from(*who), *how, records, false),
            Op::Transact(who, how, records) => self.produce(usize::from(*who), *how, records, true),
            Op::End(who, kind, epoch, coordinator) => {
                self.end(usize::from(*who), *kind, *epoch, *coordinator)
            }
            Op::Aborted(from, to) => {
                let (from, to) = (self.place(*from), self.place(*to));
                if from >= to {
                    return Ok(());
                }
                let aborted = self.log().aborted_transactions(Offset::new(from)..Offset::new(to));
                let aborted = aborted.iter().map(|it| format!("{}:{}", it.producer_id, it.first));
                let aborted = aborted.collect::<Vec<_>>().join(" ");
                self.same(&format!("aborted {from} {to}"), format!("ok {aborted}"))
            }
            Op::Pass(millis) => {
                self.clock.advance(Duration::from_millis(millis.unsigned_abs()));
                let line = format!("time {}", self.now());
                self.same(&line, "ok".to_owned())
            }
            Op::Flush => {
                self.log().flush().expect("it syncs");
                self.same("flush", "ok".to_owned())
            }
            // a transaction that is open again may lie below the start, where Kafka knows it still
            Op::Truncate(_) if self.transacted && self.log().start_offset() > Offset::ZERO => {
                Ok(())
            }
            Op::Truncate(place) => self.truncate(*place),
            Op::StartAt(place) => {
                let target = self.place(*place).max(0);
                self.log().truncate_fully_and_start_at(Offset::new(target)).expect("it is cut");
                self.started_at(target)
            }
            Op::Delete(place) => {
                // Kafka may forget a transaction whose records are all below the start
                let stable = self.log().last_stable_offset();
                let target = self.place(*place).max(0);
                let target = if stable < self.log().end_offset() {
                    target.min(stable.get())
                } else {
                    target
                };
                let deleted = self.log().delete_records_before(Offset::new(target));
                self.same(&format!("delete {target}"), said(deleted.map(|()| String::new())))?;
                self.retain() // Kafka leaves the segments below to its next run
            }
            Op::Retain => self.retain(),
            Op::At(_) if self.lookups_differ() => Ok(()),
            Op::At(time) => {
                let time = self.now() + time;
                let found =
                    self.log().find_offset(OffsetSpec::AtOrAfter(Timestamp::from_millis(time)));
                self.same(&format!("at {time}"), found_text(found))
            }
            Op::Newest => self.newest(),
            // Kafka knows an epoch by batches that it refused
            Op::Earliest | Op::Epoch(_) if self.log().start_offset() == self.log().end_offset() => {
                Ok(())
            }
            Op::Earliest => {
                let found = self.log().find_offset(OffsetSpec::Earliest);
                self.same("earliest", found_text(found))
            }
            Op::Epoch(above) => {
                let epoch = (i64::from(self.epoch) + above).max(0);
                let epoch = LeaderEpoch::new(i32::try_from(epoch).expect("few epochs"));
                let end = self.log().end_offset_for_epoch(epoch).expect("it is open");
                let end = end.map_or("none".to_owned(), |(epoch, end)| format!("{epoch} {end}"));
                self.same(&format!("epoch {epoch}"), format!("ok {end}"))
            }
            Op::Read(_, bytes) if self.layouts_differ && *bytes > 1 => Ok(()),
            Op::Read(place, bytes) => {
                let bytes = if self.codec == "none" { *bytes } else { 1 }; // sizes differ
                let from = self.place(*place);
                let read = self.log().read(Offset::new(from), bytes);
                self.same(&format!("read {from} {bytes}"), said(read.map(|read| texts(&read))))
            }
            Op::Dump => self.dump(),
            Op::Epochs => self.producers_listed(),
            Op::Close => self.reopen(false),
            Op::Kill => self.reopen(true),
        }
    }

    fn newest(&mut self) -> Step {
        if self.lookups_differ() {
            return Ok(());
        }
        let found = self.log().find_offset(OffsetSpec::MaxTimestamp);
        self.same("newest", found_text(found))
    }

    /// Kafka counts the records of a segment that lie below the log's start: it names the newest
    /// among them, and where one of them is late enough it looks no further. Those of open
    /// transactions a broker hides, not its log.
    fn lookups_differ(&self) -> bool {
        let start = self.log().start_offset().get().unsigned_abs();
        let within = self.bases().first().is_some_and(|base| *base < start);
        let hides = self.committed && self.log().last_stable_offset() < self.log().end_offset();
        within || hides || (self.layouts_differ && start > 0) || self.times_unknown
    }

    /// Kafka counts anew, from here on, the bytes after which an index gets an entry: a full index
    /// is met elsewhere.
    fn entries_differ(&mut self) {
        self.layouts_differ |= self.settings.contains("segment.index.bytes=240");
    }

    fn retain(&mut self) -> Step {
        let is_open = self.log().last_stable_offset() < self.log().end_offset();
        if self.layouts_differ || self.times_unknown || is_open {
            self.layouts_differ |= self.log().start_offset().get() > 0;
            return Ok(());
        }
        self.log().apply_retention().expect("a run");
        self.same("retain", "ok".to_owned())?;
        self.segments()
    }

    fn now(&self) -> i64 {
        self.clock.wall().as_millis()
    }

    fn truncate(&mut self, place: i64) -> Step {
        let target = self.place(place).max(0);
        let whole = target >= self.log().end_offset().get();
        let end = self.log().truncate_to(Offset::new(target)).expect("it is cut").get();
        let start = self.log().start_offset().get();
        if whole {
            return self.same(&format!("truncate {target}"), "ok".to_owned());
        }
        if end == start {
            return self.started_at(end);
        }
        for known in &mut self.producers {
            let lost = known.sent.iter().any(|sent| sent.base >= end);
            known.unsure |= known.raised.take_if(|raised| *raised >= end).is_some();
            known.sent.retain(|sent| sent.base < end);
            known.unsure |= lost && start > 0; // a snapshot may speak of what lies below
            known.check(start);
            known.sent.iter_mut().for_each(|sent| sent.before = true);
        }
        self.epoch = (0..=self.epoch).rev().find_map(|epoch| self.latest_below(epoch)).unwrap_or(0);
        let at_a_base = self.bases().contains(&end.unsigned_abs());
        self.same(&format!("truncate {end}"), "ok".to_owned())?;
        let kafkas = self.tell("segments");
        self.layouts_differ |= at_a_base || kafkas.contains(&format!(" {end} |"));
        self.entries_differ();
        self.times_unknown |= self.lives > 0;
        self.dump()
    }

    fn latest_below(&self, epoch: i32) -> Option<i32> {
        let found = self.log().end_offset_for_epoch(LeaderEpoch::new(epoch)).expect("it is open");
        found.map(|(epoch, _)| epoch.get())
    }

    /// No record is left, and the log begins at `target`.
    fn started_at(&mut self, target: i64) -> Step {
        for known in &mut self.producers {
            (known.raised, known.coordinator) = (None, 0);
            known.sent.clear();
        }
        (self.layouts_differ, self.times_unknown) = (false, false);
        (self.transacted, self.forgotten) = (false, false);
        self.same(&format!("startat {target}"), "ok".to_owned())?;
        self.segments()?;
        self.producers_listed()
    }

    fn dump(&mut self) -> Step {
        let log = self.log();
        let (mut next, end) = (log.start_offset(), log.end_offset());
        let mut all = Vec::new();
        while next < end {
            let records = log.read(next, 1 << 20).expect("it reads");
            let Some(last) = records.iter().last() else { break };
            next = Offset::new(last.offset().get() + 1);
            all.push(texts(&records));
        }
        self.same("dump", format!("ok {}", all.join(" ")))
    }

    fn segments(&mut self) -> Step {
        if self.layouts_differ {
            return Ok(());
        }
        let mut bases = self.bases();
        if bases.is_empty() {
            bases.push(0); // ours makes its files with the first record
        }
        let bases: Vec<_> = bases.iter().map(u64::to_string).collect();
        self.same("segments", format!("ok {}", bases.join(" ")))
    }

    /// Where our segments begin.
    fn bases(&self) -> Vec<u64> {
        let mut bases = Vec::new();
        for file in std::fs::read_dir(self.our_dir()).expect("it is there") {
            let name = file.expect("an entry").file_name().into_string().expect("a name");
            let base = name.strip_suffix(".log");
            bases.extend(base.map(|base| base.parse::<u64>().expect("a base")));
        }
        bases.sort_unstable();
        bases
    }

    fn producers_listed(&mut self) -> Step {
        if self.forgotten || self.producers.iter().any(|known| known.unsure) {
            return Ok(()); // they may differ
        }
        let listed = self.log().producers().into_iter().map(|known| {
            let (id, epoch) = (known.identity().id(), known.identity().epoch());
            let sequence = known.last_sequence().map_or(-1, Sequence::get);
            let time = known.last_timestamp().map_or(-1, Timestamp::as_millis);
            let coordinator = known.coordinator_epoch().unwrap_or(-1);
            let start = known.transaction_start().map_or(-1, Offset::get);
            format!("{id}:{epoch}:{sequence}:{time}:{coordinator}:{start}")
        });
        let listed: Vec<_> = listed.collect();
        self.same("producers", format!("ok {}", listed.join(" ")))
    }

    fn reopen(&mut self, killed: bool) -> Step {
        let start = self.log().start_offset().get();
        let log = self.log.take().expect("it is open");
        let from = self.our_dir();
        self.lives += 1;
        let to = self.our_dir();
        if !killed {
            log.close().expect("it closes");
        }
        std::fs::create_dir_all(&to).expect("a directory");
        for file in std::fs::read_dir(&from).into_iter().flatten().filter_map(Result::ok) {
            std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
        }
        drop(log);
        std::fs::remove_dir_all(&from).expect("it goes");
        for known in &mut self.producers {
            known.check(if killed { start } else { 0 });
            known.sent.iter_mut().for_each(|sent| sent.before = true);
        }
        self.entries_differ();
        let answer = self.tell(if killed { "kill" } else { "close" });
        if killed {
            self.point = answer.split(' ').nth(1).expect("a recovery point").to_owned();
            let places = format!("{start} {}", self.point);
            self.open("killed", &places)?;
        } else {
            let places = format!("{start} {}", i64::MAX);
            self.open("clean", &places)?;
        }
        self.dump()
    }
}
