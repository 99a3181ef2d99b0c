//! One script on both sides: a log of ours, and Kafka's that is told to do the same.
//!
//! Ours goes first: a step that depends on the state takes its offsets and epochs from ours, and
//! names them in the line for Kafka. Where the two differ on purpose (docs/kafka.md) the step is
//! put so that they need not: a truncation goes to where ours ended, and of the batches from before
//! a reopening only the last is sent again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidelog::disk::{IoMode, RealDisk};
use tidelog::{
    ErrorKind, LeaderEpoch, Log, LogReceipt, ManualClock, Offset, OffsetSpec, ProducerEpoch,
    ProducerId, ProducerIdentity, Record, Records, Sequence, Timestamp, TopicConfig,
};

use crate::driver::Kafka;
use crate::script::{Drawn, How, Op, Script};

const START: i64 = 1_700_000_000_000;

/// A batch that a producer sent.
#[derive(Clone, Debug)]
struct Sent {
    epoch: i16,
    first: i32,
    records: Vec<Drawn>,
    texts: Vec<String>,
    base: i64,
    /// Sent before the log was opened or cut last.
    before: bool,
}

/// What the script knows of a producer.
#[derive(Clone, Debug, Default)]
struct Known {
    sent: Vec<Sent>,
    highest: i16,
    /// What the sides know of it may differ: it begins anew.
    unsure: bool,
}

pub struct Sides<'k> {
    kafka: &'k mut Kafka,
    dir: PathBuf,
    config: TopicConfig,
    settings: String,
    codec: String,
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
            told: Vec::new(),
        };
        sides.tell(&format!("time {START}"));
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
        let stable = log.first_unstable_offset().unwrap_or(end);
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
            Op::Produce(who, how, records) => self.produce(usize::from(*who), *how, records),
            Op::Pass(millis) => {
                self.clock.advance(Duration::from_millis(millis.unsigned_abs()));
                let line = format!("time {}", self.now());
                self.same(&line, "ok".to_owned())
            }
            Op::Flush => {
                self.log().flush().expect("it syncs");
                self.same("flush", "ok".to_owned())
            }
            Op::Truncate(place) => self.truncate(*place),
            Op::StartAt(place) => {
                let target = self.place(*place).max(0);
                self.log().truncate_fully_and_start_at(Offset::new(target)).expect("it is cut");
                self.started_at(target)
            }
            Op::Delete(place) => {
                let target = self.place(*place).max(0);
                let deleted = self.log().delete_records_before(Offset::new(target));
                self.same(&format!("delete {target}"), said(deleted.map(|()| String::new())))?;
                self.layouts_differ |= self.times_unknown;
                self.retain() // Kafka leaves the segments below to its next run
            }
            Op::Retain => self.retain(),
            Op::At(_) if self.begins_within_a_segment() => Ok(()),
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
        if self.begins_within_a_segment() {
            return Ok(());
        }
        let found = self.log().find_offset(OffsetSpec::MaxTimestamp);
        self.same("newest", found_text(found))
    }

    /// Kafka counts the records of a segment that lie below the log's start: it names the newest
    /// among them, and where one of them is late enough it looks no further.
    fn begins_within_a_segment(&self) -> bool {
        let start = self.log().start_offset().get().unsigned_abs();
        let within = self.bases().first().is_some_and(|base| *base < start);
        within || (self.layouts_differ && start > 0) || self.times_unknown
    }

    /// Kafka counts anew, from here on, the bytes after which an index gets an entry: a full index
    /// is met elsewhere.
    fn entries_differ(&mut self) {
        self.layouts_differ |= self.settings.contains("segment.index.bytes=240");
    }

    fn retain(&mut self) -> Step {
        if self.layouts_differ || self.times_unknown {
            return Ok(());
        }
        self.log().apply_retention().expect("a run");
        self.same("retain", "ok".to_owned())?;
        self.segments()
    }

    fn now(&self) -> i64 {
        use tidelog::Clock as _;
        self.clock.wall().as_millis()
    }

    fn texts(&mut self, records: &[Drawn]) -> Vec<String> {
        let mut texts = Vec::new();
        for record in records {
            self.values += 1;
            let at = self.now() + record.time;
            let key = record.key.map_or("-".to_owned(), |key| format!("k{key}"));
            let value = record.len.map(|len| format!("v{}*{len}", self.values));
            texts.push(format!("{at}:{key}:{}", value.unwrap_or("-".to_owned())));
        }
        texts
    }

    fn append(&mut self, records: &[Drawn]) -> Step {
        let texts = self.texts(records);
        let appended = with_records(&texts, |records| self.log().append(records));
        self.appended("-1 -1 -1 plain", &texts, appended).map(drop)
    }

    fn appended(
        &mut self,
        producer: &str,
        texts: &[String],
        appended: tidelog::Result<LogReceipt>,
    ) -> Result<Option<LogReceipt>, String> {
        let receipt = appended.as_ref().ok().copied();
        if let Some(receipt) = receipt.filter(|receipt| !receipt.is_duplicate()) {
            self.epoch = receipt.epoch().get();
        }
        let ours = said(appended.map(|receipt| {
            format!("{} {}", receipt.first_offset(), receipt.next_offset().get() - 1)
        }));
        let line = format!("append {} {} {producer} {}", self.epoch, self.codec, texts.join(" "));
        if ["error InvalidRecord", "error TooLarge"].contains(&&*ours) {
            self.refused_by_kafka_too(&line)?; // be it for the other reason, where both are there
        } else {
            self.same(&line, ours)?;
        }
        if receipt.is_none_or(|receipt| receipt.is_duplicate()) && !self.layouts_differ {
            self.layouts_differ = self.segments().is_err();
        }
        self.segments()?;
        Ok(receipt)
    }

    fn produce(&mut self, who: usize, how: How, records: &[Drawn]) -> Step {
        let known = &self.producers[who];
        let last = known.sent.last();
        let epoch = last.map_or(known.highest, |last| last.epoch);
        let next = last.map_or(0, |last| last.first + i32::try_from(last.records.len()).unwrap());
        let (epoch, first, again) = match how {
            _ if known.unsure => (known.highest + 1, 0, None),
            How::Again(back) => {
                let known = known.sent.iter().rev().filter(|sent| sent.epoch == epoch);
                let again = known.clone().nth(back).filter(|sent| !sent.before);
                match again.or(last) {
                    Some(again) => (again.epoch, again.first, Some(again.clone())),
                    None => (epoch, next, None),
                }
            }
            How::Gap if last.is_some() => (epoch, next + 3, None),
            How::Stale if last.is_some() && epoch > 0 => (epoch - 1, next, None),
            How::Higher => (known.highest + 1, 0, None),
            How::HigherAmid if last.is_some() => (known.highest + 1, 5, None),
            How::Overlap if next > 1 => (epoch, next - 1, None),
            _ => (epoch, next, None),
        };
        let (records, texts) = match &again {
            Some(again) => (again.records.clone(), again.texts.clone()),
            None => (records.to_vec(), self.texts(records)),
        };
        let id = 40 + i64::try_from(who).unwrap();
        let us = ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(epoch));
        let sequence = Sequence::FIRST.after(first.unsigned_abs());
        let appended =
            with_records(&texts, |records| self.log().append_produced(records, us, sequence));
        let producer = format!("{id} {epoch} {first} plain");
        let Some(receipt) = self.appended(&producer, &texts, appended)? else { return Ok(()) };
        if !receipt.is_duplicate() {
            let base = receipt.first_offset().get();
            let known = &mut self.producers[who];
            if known.unsure || known.sent.last().is_some_and(|last| last.epoch != epoch) {
                known.sent.clear();
            }
            known.unsure = false;
            known.highest = known.highest.max(epoch);
            known.sent.push(Sent { epoch, first, records, texts, base, before: false });
        }
        Ok(())
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
            known.sent.retain(|sent| sent.base < end);
            known.unsure |= lost && start > 0; // a snapshot may speak of what lies below
            known.check(start);
            known.sent.iter_mut().for_each(|sent| sent.before = true);
        }
        let latest = self.log().find_offset(OffsetSpec::Latest).expect("it is open");
        self.epoch = latest.and_then(|latest| latest.epoch()).map_or(0, LeaderEpoch::get);
        let at_a_base = self.bases().contains(&end.unsigned_abs());
        self.same(&format!("truncate {end}"), "ok".to_owned())?;
        let kafkas = self.tell("segments");
        self.layouts_differ |= at_a_base || kafkas.contains(&format!(" {end} |"));
        self.entries_differ();
        self.times_unknown |= self.lives > 0;
        self.dump()
    }

    /// No record is left, and the log begins at `target`.
    fn started_at(&mut self, target: i64) -> Step {
        for known in &mut self.producers {
            known.sent.clear();
        }
        (self.layouts_differ, self.times_unknown) = (false, false);
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
        if self.producers.iter().any(|known| known.unsure) {
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

impl Known {
    /// A producer whose records are all below the start is known to us, and not to Kafka once it
    /// has learned anew who there is.
    fn check(&mut self, start: i64) {
        self.unsure |= self.sent.last().is_some_and(|sent| sent.base < start);
    }
}

fn with_records<T>(texts: &[String], then: impl FnOnce(&[Record<'_>]) -> T) -> T {
    let parsed: Vec<_> = texts.iter().map(|text| parse(text)).collect();
    let records: Vec<_> = parsed
        .iter()
        .map(|(time, key, value)| {
            let record = value.as_ref().map_or_else(Record::tombstone, Record::new);
            let record = key.as_ref().into_iter().fold(record, Record::key);
            record.timestamp(Timestamp::from_millis(*time))
        })
        .collect();
    then(&records)
}

fn parse(text: &str) -> (i64, Option<String>, Option<String>) {
    let parts: Vec<_> = text.split(':').collect();
    let key = (parts[1] != "-").then(|| parts[1].to_owned());
    let value = parts[2].split_once('*').map(|(name, len)| {
        let len: usize = len.parse().expect("a length");
        format!("{name}{}", "x".repeat(len.saturating_sub(name.len())))
    });
    (parts[0].parse().expect("a time"), key, value)
}

fn texts(records: &Records) -> String {
    let texts = records.iter().map(|record| {
        let key =
            record.key().map_or("-".to_owned(), |key| String::from_utf8(key.to_vec()).unwrap());
        let value =
            record.value().map_or("-".to_owned(), |value| format!("{:x}", crc32c::crc32c(value)));
        let time = record.timestamp().map_or(-1, Timestamp::as_millis);
        format!("{}@{time}/{key}/{value}", record.offset())
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn said(result: tidelog::Result<String>) -> String {
    match result {
        Ok(text) => format!("ok {text}").trim_end().to_owned(),
        Err(error) => format!("error {}", kind(error.kind())),
    }
}

fn kind(kind: ErrorKind) -> String {
    format!("{kind:?}")
}

fn found_text(found: tidelog::Result<Option<tidelog::FoundOffset>>) -> String {
    said(found.map(|found| {
        found.map_or("none".to_owned(), |found| {
            let time = found.timestamp().map_or(-1, Timestamp::as_millis);
            let epoch = found.epoch().map_or(-1, LeaderEpoch::get);
            format!("{} {time} {epoch}", found.offset())
        })
    }))
}
