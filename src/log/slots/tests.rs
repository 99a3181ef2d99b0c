//! What slots say, whole, torn, cut short, of an earlier version, and after every power cut.

use super::*;
use crate::disk::MemoryDisk;

fn slot() -> Slot {
    Slot {
        topic: TopicId::random(),
        recovery_point: Offset::new(7),
        log_start: Offset::new(3),
        epoch: LeaderEpoch::new(2),
        clean: false,
        adopted: false,
        sparse: true,
        sync_failed: false,
        boot_id: [9; 16],
        host_led: Some(Offset::new(5)),
    }
}

fn made() -> (MemoryDisk, SlotKeeper, Slot) {
    let disk = MemoryDisk::new();
    let dir = Path::new("/log");
    disk.create_dir_all(dir).unwrap();
    let slot = slot();
    let keeper = SlotKeeper::create(&disk, dir, slot).unwrap();
    (disk, keeper, slot)
}

#[test]
fn the_newest_whole_slot_is_read() {
    let (disk, keeper, slot) = made();
    let dir = Path::new("/log");
    for point in 8..20 {
        keeper.update(Durable::Now, |slot| slot.recovery_point = Offset::new(point)).unwrap();
        let (_, read) = read(&disk, dir).unwrap().unwrap();
        assert_eq!(read, Slot { recovery_point: Offset::new(point), ..slot });
    }
}

#[test]
fn a_slot_of_numbers_that_no_log_reaches_is_not_whole() {
    let (disk, keeper, slot) = made();
    let dir = Path::new("/log");
    keeper.update(Durable::Now, |slot| slot.recovery_point = Offset::new(8)).unwrap();
    let (newest, _) = read(&disk, dir).unwrap().unwrap();
    let before_all = Slot { epoch: LeaderEpoch::new(-5), ..slot };
    for (sequence, slot) in [(u64::MAX, slot), (MAX_SEQUENCE, slot), (newest + 1, before_all)] {
        let file = disk.open(&dir.join(KEEPER), Access::Write).unwrap();
        write_all_at(&*file, &slot.encode(sequence), slot_at(newest + 1) as u64).unwrap();
        let (found, read) = read(&disk, dir).unwrap().unwrap();
        assert_eq!((found, read.recovery_point), (newest, Offset::new(8)), "{sequence}");
    }
}

#[test]
fn a_flip_of_any_bit_leaves_a_whole_slot_or_a_typed_error() {
    let (disk, keeper, slot) = made();
    let dir = Path::new("/log");
    keeper.update(Durable::Now, |slot| slot.recovery_point = Offset::new(8)).unwrap();
    let file = disk.open(&dir.join(KEEPER), Access::Write).unwrap();
    let mut bytes = vec![0; FILE_LEN];
    crate::disk::read_full_at(&*file, &mut bytes, 0).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            write_all_at(&*file, &flipped, 0).unwrap();
            let (_, read) = read(&disk, dir).unwrap().unwrap();
            let whole = [slot, Slot { recovery_point: Offset::new(8), ..slot }];
            assert!(whole.contains(&read), "byte {at} bit {bit}: {read:?}");
        }
    }
    write_all_at(&*file, &[0; FILE_LEN], 0).unwrap();
    assert!(read(&disk, dir).unwrap_err().is_corrupt());
}

#[test]
fn a_file_cut_anywhere_or_too_long_has_a_whole_slot_or_is_a_typed_error() {
    let (disk, keeper, _) = made();
    let dir = Path::new("/log");
    for point in [8, 9] {
        keeper.update(Durable::Now, |slot| slot.recovery_point = Offset::new(point)).unwrap();
    }
    let file = disk.open(&dir.join(KEEPER), Access::Write).unwrap();
    let mut bytes = vec![0; FILE_LEN];
    crate::disk::read_full_at(&*file, &mut bytes, 0).unwrap();
    for len in 0..=FILE_LEN {
        file.set_len(0).unwrap();
        write_all_at(&*file, &bytes[..len], 0).unwrap();
        let found = read(&disk, dir);
        if len < SLOT_LEN {
            assert!(found.unwrap_err().is_corrupt(), "{len}");
        } else {
            let point = if len < FILE_LEN { 8 } else { 9 };
            assert_eq!(found.unwrap().unwrap().1.recovery_point.get(), point, "{len}");
        }
    }
    write_all_at(&*file, b"more", FILE_LEN as u64).unwrap();
    assert!(read(&disk, dir).unwrap_err().is_corrupt());
}

/// It ends at its first checksum, and whatever lies in the byte for who leads says nothing.
#[test]
fn a_slot_of_version_1_leads_itself() {
    for word in [0, 1] {
        let mut bytes = slot().encode(3)[..FIRST_SLOT_LEN].to_vec();
        BigEndian::write_u32(&mut bytes[4..8], 1);
        bytes[55] = word;
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        BigEndian::write_u32(&mut bytes[CRC_AT..], crc);
        let (sequence, read) = Slot::decode(&bytes).unwrap().unwrap();
        let expected = Slot { host_led: None, topic: read.topic, ..slot() };
        assert_eq!((sequence, read), (3, expected));
    }
}

/// A kill leaves what was written, a power cut what was there before.
#[cfg(feature = "sim")]
#[test]
fn a_slot_whose_sync_failed_may_be_there_or_not() {
    use crate::disk::{Crash, Fault, Operation, Plan, SimDisk};
    for is_killed in [true, false] {
        let (disk, dir) = (SimDisk::new(1), Path::new("/log"));
        disk.create_dir_all(dir).unwrap();
        let keeper = SlotKeeper::create(&disk, dir, slot()).unwrap();
        disk.fail(Plan::new(Fault::Error(5)).on(Operation::Sync));
        let done = keeper.update(Durable::Now, |slot| slot.recovery_point = Offset::new(8));
        let error = done.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        let disk = if is_killed { disk.kill() } else { disk.crash(Crash::Nothing) };
        let (_, read) = read(&disk, dir).unwrap().unwrap();
        assert_eq!(read.recovery_point.get(), if is_killed { 8 } else { 7 });
    }
}

/// It was nobody's, and room may come back: a keeper that no sync has failed goes on.
#[cfg(feature = "sim")]
#[test]
fn an_epoch_that_finds_no_room_is_drawn_once_there_is_some() {
    use crate::disk::{Fault, Operation, Plan, SimDisk};
    let (disk, dir) = (SimDisk::new(1), Path::new("/log"));
    disk.create_dir_all(dir).unwrap();
    let keeper = SlotKeeper::create(&disk, dir, slot()).unwrap();
    disk.fail(Plan::new(Fault::Error(28)).on(Operation::Write).for_ever());
    let error = keeper.draw_epoch(None).unwrap_err();
    assert!(error.is_full() && !error.is_poisoned(), "{error}");
    assert_eq!(error.outcome(), Outcome::NotWritten, "{error}");
    disk.heal();
    assert_eq!(keeper.draw_epoch(None).unwrap(), LeaderEpoch::new(3));
}

#[test]
fn a_slot_has_its_bytes_and_each_word_comes_back() {
    let topic = TopicId::from_bytes([6; 16]).unwrap();
    let all = Slot { topic, clean: true, adopted: true, sync_failed: true, ..slot() };
    let hex: String = all.encode(9).iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = concat!(
        "54444c4b000000020000000000000009",
        "06060606060606060606060606060606",
        "000000000000000700000000000000030000000201030101",
        "09090909090909090909090909090909",
        "5df4854a",
        "0000000000000005448379ca",
    );
    assert_eq!(hex, golden);
    for bits in 0..32 {
        let [clean, adopted, sparse, sync_failed, leads] =
            [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
        let host_led = leads.then_some(Offset::ZERO);
        let slot = Slot { clean, adopted, sparse, sync_failed, host_led, ..all };
        assert_eq!(Slot::decode(&slot.encode(bits)), Ok(Some((bits, slot))));
    }
}

#[cfg(feature = "sim")]
#[test]
fn after_every_cut_a_slot_stands_that_is_no_older_than_the_last_that_was_synced() {
    use crate::disk::{Crash, SimDisk};
    let (disk, dir) = (SimDisk::new(1), Path::new("/log"));
    disk.create_dir_all(dir).unwrap();
    let keeper = SlotKeeper::create(&disk, dir, slot()).unwrap();
    disk.record();
    let mut synced = vec![(0, 7)];
    let id = LogId { topic: slot().topic, partition: crate::ids::PartitionId::new(0) };
    for point in 8..24 {
        let durable = if point % 4 == 0 { Durable::Now } else { Durable::Later };
        let fact = LogFact::RecoveryPoint(Offset::new(point));
        keeper.record(&[(id, fact)], durable).unwrap();
        if durable == Durable::Now {
            synced.push((disk.operations(), point));
        }
    }
    for moment in disk.moments() {
        let least = synced.iter().rev().find(|(at, _)| *at < moment.operation());
        let random = (0..6).map(Crash::Random);
        for crash in [Crash::Nothing, Crash::Everything].into_iter().chain(random) {
            let (_, read) = read(&moment.crash(crash), dir).unwrap().unwrap();
            let found = read.recovery_point.get();
            assert!(found >= least.unwrap().1, "{crash:?} before {}", moment.operation());
        }
    }
}
