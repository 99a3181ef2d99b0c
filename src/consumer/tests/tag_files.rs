//! The files that say which tags a segment has: what they are good for, and that none of them, as
//! wrong as it may be, hides a record.

use super::*;
use crate::disk::{read_full_at, write_all_at};
use crate::record::RecordFilter;
use crate::seeds::pick;
use std::path::PathBuf;

const DIR: &str = "/store/orders-0";

fn tag_files(world: &World) -> Vec<PathBuf> {
    files(world, ".tags")
}

fn files(world: &World, suffix: &str) -> Vec<PathBuf> {
    let entries = world.disk.list(Path::new(DIR)).unwrap();
    let found = entries.into_iter().filter(|entry| entry.name.ends_with(suffix));
    found.map(|entry| Path::new(DIR).join(entry.name)).collect()
}

/// Whether every segment has a file, and nothing else.
fn are_complete(world: &World) -> bool {
    let logs = files(world, ".log").into_iter().map(|path| path.with_extension("tags"));
    logs.eq(tag_files(world))
}

fn read(world: &World, path: &Path) -> Vec<u8> {
    let file = world.disk.open(path, Access::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_full_at(&*file, &mut bytes, 0).unwrap();
    bytes
}

fn write(world: &World, path: &Path, bytes: &[u8]) {
    let file = world.disk.open(path, Access::Create).unwrap();
    file.set_len(0).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
}

/// Sends numbers, every tenth of them paid.
fn send(world: &World, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let text = number.to_string();
        let tag = if number % 10 == 7 { "paid" } else { "sent" };
        send_one(&world.partition("orders", 0), &[Record::new(&text).tag(tag)], START);
    }
}

/// A store of several closed segments, opened again.
fn filled(count: u32) -> World {
    let mut world = World::with(Threads::Host);
    let config = TopicConfig::new().segment_bytes(2_000).index_interval_bytes(100);
    world.create_with("orders", config.tag_index(true));
    send(&world, 0..count);
    world.reopen();
    world
}

/// How many bytes a reader of paid records has passed over; it must find them all.
fn paid(world: &World, count: u32) -> u64 {
    let builder = world.reader().subscribe(["orders"]).filter(RecordFilter::tags(["paid"]));
    let mut reader = builder.build().unwrap();
    let (mut found, mut passed_over) = (Vec::new(), 0);
    let mut reading = reader.read_to_end().unwrap();
    while let Some(records) = reading.next() {
        found.extend(values(&records.unwrap()));
        let scans = reading.consumer().scans().iter();
        passed_over += scans.map(PartitionScan::passed_over_bytes).sum::<u64>();
    }
    let expected: Vec<_> =
        (0..count).filter(|number| number % 10 == 7).map(|number| number.to_string()).collect();
    assert_eq!(found, expected);
    passed_over
}

#[test]
fn the_files_are_made_as_segments_end_and_taken_up_by_the_next_open() {
    let mut world = filled(100);
    assert!(tag_files(&world).len() > 3 && are_complete(&world));
    let all = paid(&world, 100);
    assert!(all > 4_000, "{all}");
    // appends go on behind what the active segment's file says
    send(&world, 100..103);
    assert!(paid(&world, 103) > all);
    world.reopen();
    assert!(paid(&world, 103) > all);
    assert!(are_complete(&world));
    // a segment that goes takes its file along
    let partition = world.partition("orders", 0);
    world.engine.delete_records_before(&partition, Offset::new(103)).unwrap();
    world.clock.advance(Duration::from_secs(120));
    world.engine.run_maintenance();
    world.reopen();
    assert!(are_complete(&world) && tag_files(&world).len() < 3);
}

#[test]
fn a_file_that_is_gone_torn_or_another_s_is_as_good_as_none() {
    let mut world = filled(60);
    let files = tag_files(&world);
    let all = paid(&world, 60);
    let whole: Vec<_> = files.iter().map(|path| read(&world, path)).collect();
    // while it is open, the active one's is in memory: a close would write it again
    for wrong in ["gone", "empty", "torn", "longer", "another's", "newer"] {
        world.engine.close().unwrap();
        for (number, path) in files.iter().enumerate() {
            let bytes = &whole[number];
            match wrong {
                "gone" => world.disk.remove_file(path).unwrap(),
                "empty" => write(&world, path, &[]),
                "torn" => write(&world, path, &bytes[..bytes.len() - 1]),
                "longer" => write(&world, path, &[&bytes[..], &[0; 16]].concat()),
                "newer" => {
                    let mut newer = bytes.clone();
                    newer[7] = 2;
                    let crc = crc32c::crc32c(&newer[..56]);
                    newer[56..60].copy_from_slice(&crc.to_be_bytes());
                    write(&world, path, &newer);
                }
                _ => write(&world, path, &whole[(number + 1) % files.len()]),
            }
        }
        world.reopen();
        // the first reader that comes makes them again; what is written on keeps none till its end
        let again = paid(&world, 60);
        assert!(0 < again && again <= all, "{wrong}: {again} of {all}");
        let is_same = |(path, bytes): (&PathBuf, &Vec<u8>)| read(&world, path) == *bytes;
        let closed = files.iter().zip(&whole).take(files.len() - 1);
        let same = closed.filter(|file| is_same(*file)).count();
        let expected = if wrong == "newer" { 0 } else { files.len() - 1 };
        assert_eq!(same, expected, "{wrong}: one of a newer version is left alone");
        world.engine.close().unwrap();
        for (path, bytes) in files.iter().zip(&whole) {
            write(&world, path, bytes);
        }
        world.reopen();
        assert_eq!(paid(&world, 60), all, "{wrong}: they are good again");
    }
}

/// A file of before, whose segment has been cut and written on since, says nothing any more.
#[test]
fn a_file_of_a_log_that_went_on_is_not_believed() {
    let mut world = filled(30);
    let path = tag_files(&world).pop().unwrap();
    let old = read(&world, &path);
    // as a kill leaves it: the segment has grown, the file speaks of what it was
    send(&world, 30..33);
    world.engine.close().unwrap();
    assert_ne!(read(&world, &path), old);
    write(&world, &path, &old);
    let before = paid_after_reopening(&mut world, 33);
    assert!(before > 0, "those of other segments are good");
    let others = tag_files(&world).into_iter().filter(|other| *other != path);
    others.for_each(|other| world.disk.remove_file(&other).unwrap());
    assert_eq!(paid_after_reopening(&mut world, 33), before, "the others are made again");
}

/// Neither compaction nor a topic that asks for tags later leaves a segment without them.
#[test]
fn the_first_reader_makes_the_file_of_a_segment_that_has_none() {
    let mut world = World::with(Threads::Host);
    let config = TopicConfig::new().segment_bytes(2_000).index_interval_bytes(100);
    world.create_with("orders", config.clone());
    send(&world, 0..60);
    world.reopen();
    assert_eq!((paid(&world, 60), tag_files(&world).len()), (0, 0), "nobody asks for them");
    world.engine.alter_topic("orders", config.tag_index(true)).unwrap();
    let first = paid(&world, 60);
    assert!(first > 0 && tag_files(&world).len() + 1 >= files(&world, ".log").len());
    world.reopen();
    assert!(paid(&world, 60) >= first);
}

fn paid_after_reopening(world: &mut World, count: u32) -> u64 {
    world.reopen();
    paid(world, count)
}

/// Every bit of a file, or some of them, turned round.
#[test]
fn no_flipped_bit_hides_a_record() {
    let mut world = filled(40);
    let files = tag_files(&world);
    let all = paid(&world, 40);
    let stride = usize::try_from(pick(101, 13, 1)).unwrap();
    // that of the active segment was read when it was opened
    for path in &files[..files.len() - 1] {
        let right = read(&world, path);
        for bit in (0..right.len() * 8).step_by(stride) {
            let mut flipped = right.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            write(&world, path, &flipped);
            assert_eq!(paid(&world, 40), all);
            let is_newer = flipped[..4] == right[..4] && flipped[4..8] != right[4..8];
            let mended = read(&world, path) == right;
            assert!(mended || is_newer, "bit {bit} of {} is noticed", path.display());
        }
        write(&world, path, &right);
    }
    world.reopen();
    assert_eq!(paid(&world, 40), all);
}

/// Batches that are passed over may be of several epochs, and the last one's counts: else a cut far
/// ahead would seem to be one below the reader.
#[test]
fn a_reader_that_has_passed_over_epochs_is_not_taken_for_cut_off() {
    let mut world = filled(100);
    send(&world, 100..107);
    world.reopen();
    let builder = world.reader().subscribe(["orders"]).filter(RecordFilter::tags(["paid"]));
    let mut reader = builder.reset(Reset::None).build().unwrap();
    reader.seek_to_beginning("orders", 0).unwrap();
    let mut found = Vec::new();
    for _ in 0..50 {
        found.extend(values(&reader.try_poll().unwrap()));
    }
    assert_eq!(found.len(), 10, "{found:?}");
    assert_eq!(reader.position("orders", 0).unwrap(), Offset::new(107));
    send(&world, 107..109);
    let partition = world.partition("orders", 0);
    world.engine.truncate_to(&partition, Offset::new(107)).unwrap();
    send(&world, 107..108);
    assert_eq!(values(&reader.try_poll().unwrap()), ["107"]);
}
