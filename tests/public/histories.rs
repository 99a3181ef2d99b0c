//! Histories (row 15 of `docs/reliability.md`): writers that contend for the same partitions and a
//! reader, in threads, on a disk that dies under them again and again; what they were told, and
//! what was read, held against what is there: lost, phantom, doubled, reordered, torn, or an offset
//! that names another record.
//!
//! What returns after the disk has died is no promise. Of threads the schedule is not the seed's:
//! a failure may want several runs to come back.
#![cfg(feature = "sim")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::budget::{for_each_seed, seeds};
use crate::common::suite::Suite;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidelog::disk::{Crash, IoMode, SimDisk};
use tidelog::{Durability, Journal, ManualClock, Record, Store, Threads, Timestamp, TopicConfig};

const WRITERS: u32 = 3;
const PARTITIONS: u32 = 2;
/// Appends that a history has at least, over all lives of its store.
const OPERATIONS: u64 = 2_000;

/// A batch that was acknowledged.
#[derive(Clone, Debug)]
struct Ack {
    partition: u32,
    offset: i64,
    epoch: i32,
    power: bool,
    values: Vec<String>,
}

impl Ack {
    fn end(&self) -> i64 {
        self.offset + i64::try_from(self.values.len()).expect("few")
    }
}

/// What is known of a history, by whoever takes part in it.
#[derive(Default)]
struct History {
    /// Batches by their first value: those that may be there.
    begun: Mutex<BTreeMap<String, (u32, Vec<String>)>>,
    acks: Mutex<Vec<Ack>>,
    /// What an offset named in an epoch: by partition, offset, epoch.
    named: Mutex<BTreeMap<(u32, i64, i32), String>>,
    serial: [AtomicI64; WRITERS as usize],
}

/// The records of a partition: epoch and value, from offset 0.
type Found = BTreeMap<u32, Vec<(i32, String)>>;

fn open(disk: &SimDisk) -> tidelog::Result<Store> {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let builder = Store::builder("/store").disk(Arc::new(disk.clone())).clock(clock);
    builder.threads(Threads::Host).journal(Journal::Bytes(1 << 20)).open()
}

impl History {
    fn write(&self, disk: &SimDisk, store: &Store, writer: u32, seed: u64) -> tidelog::Result<()> {
        let mut random = StdRng::seed_from_u64(seed ^ u64::from(writer) << 40);
        let producer = store.producer().build()?;
        let topic = producer.topic("t")?;
        let durable = topic.with_durability(Durability::Power);
        loop {
            let (partition, power) = (random.random_range(0..PARTITIONS), random.random_bool(0.3));
            let serials = (0..random.random_range(1..4))
                .map(|_| self.serial[writer as usize].fetch_add(1, Ordering::Relaxed));
            let values: Vec<String> = serials.map(|at| format!("{writer}:{at:06}")).collect();
            let begun = (partition, values.clone());
            self.begun.lock().expect("whole").insert(values[0].clone(), begun);
            let records: Vec<Record<'_>> = values.iter().map(Record::new).collect();
            let to = if power { &durable } else { &topic };
            let receipt = to.send_batch_to(partition, &records)?;
            if disk.is_cut() {
                return Ok(()); // it died before this returned
            }
            let (offset, epoch) = (receipt.base_offset().get(), receipt.leader_epoch().get());
            let ack = Ack { partition, offset, epoch, power, values };
            self.acks.lock().expect("whole").push(ack);
        }
    }

    /// Follows to the end of this life; an error where an offset has come to name another record.
    fn read(&self, disk: &SimDisk, store: &Store, over: &AtomicBool) -> Result<(), String> {
        let reader = store.reader().subscribe(["t"]).build();
        let Ok(mut reader) = reader else { return Ok(()) };
        let mut next = [0; PARTITIONS as usize];
        while !over.load(Ordering::Relaxed) {
            let Ok(records) = reader.try_poll() else { return Ok(()) };
            if disk.is_cut() {
                return Ok(());
            }
            for record in &records {
                let (at, offset) = (record.partition().get(), record.offset().get());
                if std::mem::replace(&mut next[at as usize], offset + 1) != offset {
                    return Err(format!("I3: {at}:{offset} was read out of turn"));
                }
                let epoch = record.leader_epoch().map_or(-1, |epoch| epoch.get());
                self.name(at, offset, epoch, record.value().unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn name(&self, at: u32, offset: i64, epoch: i32, value: &[u8]) -> Result<(), String> {
        let value = String::from_utf8_lossy(value).into_owned();
        let mut named = self.named.lock().expect("whole");
        let before = named.insert((at, offset, epoch), value.clone());
        match before {
            Some(before) if before != value => {
                Err(format!("I4: {at}:{offset} in epoch {epoch} named {before}, now {value}"))
            }
            _ => Ok(()),
        }
    }

    /// One life of the store: everybody works until the disk dies.
    fn live(&self, disk: &SimDisk, random: &mut StdRng) -> Result<(), String> {
        let store = open(disk).map_err(|error| format!("I8: {error}"))?;
        if store.describe("t").is_err() {
            let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(4096);
            store.create_topic("t", config).map_err(|error| format!("I7: {error}"))?;
        }
        disk.cut_after(random.random_range(20..900));
        let (seed, over) = (random.random(), AtomicBool::new(false));
        let (store, over) = (&store, &over);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || self.read(disk, store, over));
            let writers = (0..WRITERS)
                .map(|writer| scope.spawn(move || self.write(disk, store, writer, seed)));
            for writer in writers.collect::<Vec<_>>() {
                let _ = writer.join().expect("no panic"); // the disk has died
            }
            over.store(true, Ordering::Relaxed);
            reader.join().expect("no panic")
        })
    }

    /// Compares what is there with what was told, and forgets what a power cut may have taken.
    fn judge(&self, found: &Found, power_was_cut: bool) -> Result<(), String> {
        let begun = self.begun.lock().expect("whole");
        for (partition, records) in found {
            let (mut seen, mut serials) = (BTreeSet::new(), [-1; WRITERS as usize]);
            let mut rest: &[String] = &[];
            for (epoch, value) in records {
                if let Some((first, others)) = rest.split_first() {
                    rest = others;
                    if first != value {
                        return Err(format!("I3: {partition}: a batch is torn before {value}"));
                    }
                } else {
                    match begun.get(value) {
                        Some((of, values)) if of == partition => rest = &values[1..],
                        _ => return Err(format!("I2: {partition}: {value} was never sent there")),
                    }
                }
                if !seen.insert(value) {
                    return Err(format!("I3: {partition}: {value} is there twice, epoch {epoch}"));
                }
                let (writer, serial) = value.split_once(':').expect("a value of ours");
                let writer: usize = writer.parse().expect("a number");
                let serial: i64 = serial.parse().expect("a number");
                if std::mem::replace(&mut serials[writer], serial) > serial {
                    return Err(format!("I3: {partition}: {value} comes after a later one"));
                }
            }
            if !rest.is_empty() {
                return Err(format!("I3: {partition} ends in a torn batch"));
            }
        }
        let mut acks = self.acks.lock().expect("whole");
        let promised = |acks: &[Ack], partition| {
            let counts = |ack: &&Ack| ack.partition == partition && (ack.power || !power_was_cut);
            acks.iter().filter(counts).map(Ack::end).max().unwrap_or(0)
        };
        let promised: Vec<i64> = (0..PARTITIONS).map(|at| promised(&acks, at)).collect();
        let there = |ack: &Ack| {
            let records = &found[&ack.partition];
            let from = usize::try_from(ack.offset).expect("no hole before it");
            let place = records.get(from..from + ack.values.len());
            place.is_some_and(|place| {
                let wanted = ack.values.iter().map(|value| (ack.epoch, value.as_str()));
                place.iter().map(|(epoch, value)| (*epoch, value.as_str())).eq(wanted)
            })
        };
        let lost = |ack: &&Ack| ack.end() <= promised[ack.partition as usize] && !there(ack);
        if let Some(lost) = acks.iter().find(lost) {
            return Err(format!("I1, I4: {lost:?} is lost, power cut: {power_was_cut}"));
        }
        acks.retain(there);
        Ok(())
    }
}

fn find(disk: &SimDisk) -> tidelog::Result<Found> {
    let store = open(disk)?;
    let mut found: Found = (0..PARTITIONS).map(|partition| (partition, Vec::new())).collect();
    if store.describe("t").is_ok() {
        let mut reader = store.reader().subscribe(["t"]).build()?;
        for records in reader.read_to_end()? {
            for record in &records? {
                let records = found.get_mut(&record.partition().get()).expect("of ours");
                assert_eq!(record.offset().get(), records.len() as i64, "dense");
                let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into();
                records.push((record.leader_epoch().map_or(-1, |epoch| epoch.get()), value));
            }
        }
    }
    store.close()?;
    Ok(found)
}

/// Whether a promise that was never made is missed.
fn control(history: &History, found: &Found) -> bool {
    let end = found[&0].len() as i64;
    let values = vec!["0:999999".to_owned()];
    let forged = Ack { partition: 0, offset: end, epoch: 0, power: true, values };
    let acks = history.acks.lock().expect("whole").iter().cloned().chain([forged]).collect();
    let begun = history.begun.lock().expect("whole").clone();
    let other = History { acks: Mutex::new(acks), begun: Mutex::new(begun), ..History::default() };
    other.judge(found, true).is_err()
}

fn play(seed: u64, suite: &Suite) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut disk = SimDisk::new(seed);
    let mode = if random.random_bool(0.5) { IoMode::Mapped } else { IoMode::Positioned };
    disk.set_mode(mode);
    let history = History::default();
    let appended = || history.serial.iter().map(|one| one.load(Ordering::Relaxed)).sum::<i64>();
    while appended().unsigned_abs() < OPERATIONS {
        history.live(&disk, &mut random)?;
        let power_is_cut = random.random_bool(0.5);
        disk = match power_is_cut {
            true => disk.crash(Crash::Random(random.random())),
            false => disk.kill(),
        };
        suite.state(seed, disk.image_hash());
        let found = find(&disk).map_err(|error| format!("I7, I8: {error}"))?;
        history.judge(&found, power_is_cut)?;
        for (at, records) in &found {
            for (offset, (epoch, value)) in (0..).zip(records) {
                history.name(*at, offset, *epoch, value.as_bytes())?;
            }
        }
        suite.control(u64::from(control(&history, &found)));
    }
    Ok(())
}

#[test]
fn no_history_loses_doubles_or_reorders_what_was_told() {
    let suite = Suite::new("histories");
    let test = "no_history_loses_doubles_or_reorders_what_was_told";
    for_each_seed("public", test, seeds(12, 100, 2_000), |seed| {
        if let Err(error) = play(seed, &suite) {
            let command = "cargo test --all-features --test public histories";
            suite.fail(error, format!("TIDELOG_SEED={seed} {command}"));
        }
    });
    suite.end();
}
