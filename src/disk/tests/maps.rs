//! What a mapped tail is on each disk: windows, published ends, views, and maps that grow.

use super::*;

/// A mapped tail over a file that holds `head`; `None` on disks that do not map.
fn tail(
    place: &Place,
    head: &[u8],
    capacity: u64,
) -> Option<(Arc<dyn DiskFile>, Box<dyn TailMap>)> {
    let file = place.disk.open(&place.root.join("tail"), Access::Create).unwrap();
    file.set_len(0).unwrap();
    write_all_at(&*file, head, 0).unwrap();
    let map = file.map_tail(head.len() as u64, capacity).unwrap();
    assert_eq!(map.is_some(), place.is_mapped);
    Some((file, map?))
}

#[test]
fn stores_show_through_reads_and_views() {
    everywhere(|place| {
        let Some((file, mut map)) = tail(place, b"head", 1 << 20) else { return };
        assert_eq!(map.allocated(), 4);
        let reader = map.reader();
        assert_eq!(
            (reader.published(), reader.view(0, 4).unwrap()),
            (4, Bytes::from_static(b"head"))
        );
        map.allocate(5000).unwrap();
        map.allocate(100).unwrap();
        assert_eq!((map.allocated(), file.len().unwrap()), (5000, 5000));
        assert!(map.window(4, 4996).iter().all(|byte| *byte == 0));
        map.window(4, 3).copy_from_slice(b"one");
        map.window(7, 3).copy_from_slice(b"two");
        assert_eq!(reader.published(), 4);
        map.publish(10);
        let view = reader.view(2, 10).unwrap();
        assert_eq!(view, b"adonetwo"[..]);
        assert_eq!(reader.view(3, 3).unwrap().len(), 0);
        let bytes = content(&*file);
        assert_eq!(&bytes[..10], b"headonetwo");
        assert!(bytes[10..].iter().all(|byte| *byte == 0));
        file.sync_data().unwrap();
        map.allocate(9000).unwrap();
        map.window(4999, 2).copy_from_slice(b"zz");
        map.publish(5001);
        drop(map);
        file.set_len(5001).unwrap();
        place.disk.remove_file(&place.root.join("tail")).unwrap();
        assert_eq!(reader.view(4998, 5001).unwrap(), b"\0zz"[..]);
        drop((file, reader));
        assert_eq!(view, b"adonetwo"[..]);
    });
}

#[test]
fn large_appends_go_by_position_beside_the_map() {
    everywhere(|place| {
        let Some((file, mut map)) = tail(place, b"", 1 << 20) else { return };
        map.allocate(4096).unwrap();
        map.window(0, 2).copy_from_slice(b"ab");
        map.publish(2);
        // A window that was stored into and given up, as after a failed append.
        map.window(2, 10).fill(7);
        map.window(2, 10).fill(0);
        let large: Vec<u8> = (0..20_000).map(|at| (at % 251) as u8 + 1).collect();
        write_all_at(&*file, &large, 2).unwrap();
        let end = 2 + large.len() as u64;
        map.written(end);
        assert_eq!(map.allocated(), end);
        map.publish(end);
        assert_eq!(map.reader().view(2, end).unwrap(), large);
        map.allocate(end + 4096).unwrap();
        map.window(end, 3).copy_from_slice(b"end");
        map.publish(end + 3);
        // Within the window nothing is said.
        write_all_at(&*file, b"inside", end + 3).unwrap();
        map.publish(end + 9);
        assert_eq!(map.reader().view(end, end + 9).unwrap(), b"endinside"[..]);
        assert_eq!(&content(&*file)[2..2 + large.len()], large);
        file.sync_data().unwrap();
    });
}

/// Who writes by position into a window that is lent has the last word on those bytes alone.
#[test]
fn a_write_by_position_into_a_lent_window_takes_its_own_bytes() {
    everywhere(|place| {
        for position in [0_usize, 3, 8] {
            let Some((file, mut map)) = tail(place, b"", 4096) else { return };
            map.allocate(64).unwrap();
            map.window(0, 16).fill(b'w');
            write_all_at(&*file, b"by", position as u64).unwrap();
            map.publish(16);
            let mut expected = [b'w'; 16];
            expected[position..position + 2].copy_from_slice(b"by");
            assert_eq!(map.reader().view(0, 16).unwrap(), expected[..], "at {position}");
        }
    });
}

#[test]
fn a_map_goes_on_in_a_larger_one() {
    everywhere(|place| {
        let Some((file, mut map)) = tail(place, b"head", 4096) else { return };
        map.allocate(4096).unwrap();
        map.window(4, 3).copy_from_slice(b"one");
        map.publish(7);
        let (before, view) = (map.reader(), map.reader().view(0, 7).unwrap());
        assert_eq!(kind(map.enlarge(4095)), io::ErrorKind::InvalidInput);
        assert_eq!(kind(map.allocate(4097)), io::ErrorKind::InvalidInput);
        map.enlarge(1 << 20).unwrap();
        assert_eq!((map.capacity(), map.allocated()), (1 << 20, 4096));
        assert!(file.map_tail(7, 1 << 20).is_err(), "it is mapped still");
        map.window(7, 3).copy_from_slice(b"two"); // in the page of the first map
        map.allocate(9000).unwrap();
        map.window(10, 8000).fill(3);
        map.publish(8010);
        assert_eq!(map.reader().published(), 8010);
        assert_eq!(map.reader().view(4, 11).unwrap(), b"onetwo\x03"[..]);
        assert!(before.published() == 7 || before.published() == 8010);
        assert_eq!(before.view(0, 7).unwrap(), b"headone"[..]);
        assert_eq!(view, b"headone"[..]);
        file.sync_data().unwrap();
        drop(map);
        assert_eq!(content(&*file)[..11], b"headonetwo\x03"[..]);
    });
}

#[test]
fn a_map_needs_a_file_that_ends_where_it_begins() {
    everywhere(|place| {
        let Some((file, map)) = tail(place, b"head", 4096) else { return };
        assert!(file.map_tail(4, 4096).is_err(), "it is mapped already");
        drop(map);
        assert_eq!(kind(file.map_tail(3, 4096)), io::ErrorKind::InvalidInput);
        assert_eq!(kind(file.map_tail(4, 3)), io::ErrorKind::InvalidInput);
        let mut map = file.map_tail(4, 4096).unwrap().unwrap();
        assert_eq!(kind(map.allocate(4097)), io::ErrorKind::InvalidInput);
        map.allocate(4096).unwrap();
        drop(map);
        file.set_len(4).unwrap();
        let mut map = file.map_tail(4, 8192).unwrap().unwrap();
        map.allocate(8192).unwrap();
        drop(map);
        file.sync_data().unwrap();
        let reader = place.disk.open(&place.root.join("tail"), Access::Read).unwrap();
        assert!(reader.map_tail(8192, 9000).is_err());
    });
}

#[test]
fn allocation_goes_on_with_zeros_after_a_failed_large_append() {
    everywhere(|place| {
        let Some((file, mut map)) = tail(place, b"", 1 << 20) else { return };
        map.allocate(100).unwrap();
        // A large append that failed half way.
        write_all_at(&*file, &[9; 5000], 50).unwrap();
        map.window(50, 50).fill(0);
        file.set_len(100).unwrap();
        map.allocate(3000).unwrap();
        assert_eq!(content(&*file), vec![0; 3000]);
        assert!(map.window(0, 3000).iter().all(|byte| *byte == 0));
    });
}

#[test]
fn many_small_appends_are_read_while_they_are_made() {
    everywhere(|place| {
        let Some((_file, mut map)) = tail(place, b"", 64 << 20) else { return };
        let reader = map.reader();
        let count: u64 = 100_000;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut seen = 0;
                while seen < count * 8 {
                    let published = reader.published();
                    let view = reader.view(seen, published).unwrap();
                    for (at, number) in (seen / 8..).zip(view.chunks(8)) {
                        assert_eq!(number, at.to_be_bytes());
                    }
                    seen = published;
                }
            });
            for number in 0..count {
                let position = number * 8;
                if position + 8 > map.allocated() {
                    map.allocate(position + 65_536).unwrap();
                }
                map.window(position, 8).copy_from_slice(&number.to_be_bytes());
                map.publish(position + 8);
            }
        });
    });
}
