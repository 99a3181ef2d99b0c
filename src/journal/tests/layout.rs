//! The bytes of the file's head and of frames, and what of them counts.

use super::*;
use crate::journal::frame::{ALIGN, FILE_LEN, HeadFault, parse};
use crate::journal::replay::WINDOW;

fn one_frame(at: u64, batches: &[u8]) -> Vec<u8> {
    let standing = Standing { lap: 2, sequence: 9, durable_through: 8, oldest: 5 };
    let mut bytes = Vec::new();
    put(&mut bytes, at, &reign(3), &standing, Content::Records(extent(1, 4, 6), batches));
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_head_of_the_file_has_its_bytes() {
    let head = FileHead { store: STORE, half: HALF };
    let bytes = head.encode();
    let golden = "544944454a524e4c00000001070707070707070707070707070707070000000000001000b80f31f7";
    assert_eq!(hex(&bytes), golden);
    assert_eq!(FileHead::parse(&bytes), Ok(head));
    for cut in 0..FILE_LEN {
        assert!(matches!(FileHead::parse(&bytes[..cut]), Err(HeadFault::Damage(_))), "{cut}");
    }
    for bit in 0..FILE_LEN * 8 {
        let mut bytes = bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(FileHead::parse(&bytes), Err(HeadFault::Damage(_))), "bit {bit}");
    }
    let mut newer = bytes;
    newer[8..12].copy_from_slice(&2u32.to_be_bytes());
    let crc = crc32c::crc32c(&newer[..36]);
    newer[36..].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(FileHead::parse(&newer), Err(HeadFault::Newer { found: 2 }));
}

#[test]
fn a_file_that_is_longer_than_its_head_says_is_damage() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    let path = Path::new(ROOT).join(JOURNAL);
    let file = disk.open(&path, Access::Create).unwrap();
    write_all_at(&*file, &FileHead { store: STORE, half: HALF }.encode(), 0).unwrap();
    file.set_len(FILE_HEAD + 2 * HALF + 1).unwrap();
    assert_eq!(read(&disk, &path, &reign(1)).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_frame_has_its_bytes_and_counts_in_its_place_alone() {
    let bytes = one_frame(4096, b"batch");
    let golden = concat!(
        "544a4652",
        "0000007d",
        "CRC",
        "00000001",
        "07070707070707070707070707070707",
        "00000003",
        "00000001",
        "0000000000000002",
        "0000000000000009",
        "0000000000000008",
        "0000000000000005",
        "02020202020202020202020202020202",
        "0000000000000000",
        "0000000000000000",
        "0000000000000004",
        "0000000000000006",
        "6261746368",
        "000000",
    );
    assert_eq!(hex(&bytes), golden.replace("CRC", "fbe09869"));
    let parsed = parse(&bytes, 4096, &reign(3)).unwrap();
    assert_eq!(parsed.size, bytes.len());
    assert_eq!(parsed.content, Content::Records(extent(1, 4, 6), b"batch"));
    assert_eq!(parse(&bytes, 4104, &reign(3)), None, "elsewhere");
    assert_eq!(parse(&bytes, 4096, &reign(2)), None, "of an earlier open");
    let other = Reign { store: [8; 16], ..reign(3) };
    assert_eq!(parse(&bytes, 4096, &other), None, "of another store");
    for cut in 0..bytes.len() {
        assert_eq!(parse(&bytes[..cut], 4096, &reign(3)), None, "cut at {cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(parse(&bytes, 4096, &reign(3)), None, "bit {bit}");
    }
}

#[test]
fn what_is_put_aside_reads_back() {
    let frames: Vec<_> = (0..3u8)
        .map(|number| Frame {
            extent: extent(number, 1, 4),
            batches: Bytes::from(vec![number; 100 + usize::from(number)]),
        })
        .collect();
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(ROOT)).unwrap();
    let path = Path::new(ROOT).join("aside");
    let aside = Reign::aside(STORE);
    let file = disk.open(&path, Access::Create).unwrap();
    write_all_at(&*file, &encode_aside(&frames, &aside), 0).unwrap();
    assert_eq!(read(&disk, &path, &aside).unwrap().unwrap(), frames);
    file.set_len(file.len().unwrap() - 8).unwrap();
    assert!(read(&disk, &path, &aside).unwrap_err().is_corrupt(), "all of it was durable");
}

/// A frame's checksum covers its place, so it counts nowhere else; nor does one count whose place
/// is not where the one before it leads.
#[test]
fn a_frame_counts_only_where_the_one_before_it_leads() {
    let size = one_frame(FILE_HEAD, b"batch").len() as u64;
    let file = |second_at: u64, lap: u64, first: Content<'_>| {
        let mut bytes = vec![0; usize::try_from(FILE_HEAD).unwrap()];
        let mut standing = Standing { lap: 0, sequence: 1, durable_through: 0, oldest: 1 };
        put(&mut bytes, FILE_HEAD, &reign(3), &standing, first);
        bytes.resize(usize::try_from(second_at).unwrap(), 0);
        (standing.lap, standing.sequence) = (lap, 2);
        put(&mut bytes, second_at, &reign(3), &standing, Content::Records(extent(1, 0, 1), b"2"));
        bytes.resize(usize::try_from(FILE_HEAD + 2 * HALF).unwrap(), 0);
        let frames = scan(&Bytes::from(bytes), HALF, &reign(3)).0.unwrap().unwrap();
        frames.iter().map(|frame| frame.extent.end.get()).collect::<Vec<_>>()
    };
    let records = Content::Records(extent(0, 4, 6), b"batch");
    let (next, other_half) = (FILE_HEAD + size, FILE_HEAD + HALF);
    assert_eq!(file(next, 0, records), [6, 1]);
    assert_eq!(file(next + 64, 0, records), [6], "further behind");
    assert_eq!(file(other_half, 1, records), [6], "in the next lap, and this one has no end");
    assert_eq!(file(next, 2, records), [6], "where it leads, of another lap");
    assert_eq!(file(other_half, 1, Content::LapEnd), [1]);
    assert_eq!(file(other_half, 3, Content::LapEnd), [0; 0], "a lap is missing");
    assert_eq!(file(FILE_HEAD + HEAD as u64, 0, Content::LapEnd), [0; 0], "it was the lap's last");
}

/// The file is read a part at a time: frames that end, or whose heads lie, across two of them, and
/// frames that are longer than one.
#[test]
fn frames_are_found_across_the_parts_that_are_read() {
    let half = 8 * WINDOW as u64;
    for short in (0..=2 * HEAD).step_by(ALIGN) {
        let mut bytes = vec![0; usize::try_from(FILE_HEAD).unwrap()];
        let first = WINDOW - HEAD - short;
        let sizes = [first, 16, 3 * WINDOW, 1, WINDOW - HEAD, 0];
        for (sequence, size) in (1..).zip(sizes) {
            let standing = Standing { lap: 0, sequence, durable_through: 0, oldest: 1 };
            let batches = vec![u8::try_from(sequence).unwrap(); size];
            let content = Content::Records(extent(0, 4, 6), &batches);
            let at = bytes.len() as u64;
            put(&mut bytes, at, &reign(3), &standing, content);
        }
        bytes.resize(usize::try_from(FILE_HEAD + 2 * half).unwrap(), 0);
        let frames = scan(&Bytes::from(bytes), half, &reign(3)).0.unwrap().unwrap();
        let found: Vec<usize> = frames.iter().map(|frame| frame.batches.len()).collect();
        assert_eq!(found, sizes, "the first ends {short} bytes before the part");
    }
}

/// Numbers that only a hostile hand writes are compared like any others.
#[test]
fn the_last_sequence_there_is_counts_up_to_nothing() {
    let mut bytes = vec![0; usize::try_from(FILE_HEAD).unwrap()];
    for (lap, sequence) in [(u64::MAX - 1, u64::MAX), (u64::MAX - 1, u64::MAX)] {
        let standing = Standing { lap, sequence, durable_through: 0, oldest: u64::MAX };
        let at = bytes.len() as u64;
        put(&mut bytes, at, &reign(3), &standing, Content::Records(extent(0, 4, 6), b"batch"));
    }
    bytes.resize(usize::try_from(FILE_HEAD + 2 * HALF).unwrap(), 0);
    let frames = scan(&Bytes::from(bytes), HALF, &reign(3)).0.unwrap().unwrap();
    assert_eq!(frames.len(), 1);
}

#[test]
fn what_was_durable_and_is_gone_is_told_with_its_place() {
    let mut bytes = vec![0; usize::try_from(FILE_HEAD).unwrap()];
    let standing = Standing { lap: 0, sequence: 1, durable_through: 2, oldest: 1 };
    let content = Content::Records(extent(0, 4, 6), b"batch");
    put(&mut bytes, FILE_HEAD, &reign(3), &standing, content);
    let position = bytes.len() as u64;
    bytes.resize(usize::try_from(FILE_HEAD + 2 * HALF).unwrap(), 0);
    let gap = scan(&Bytes::from(bytes), HALF, &reign(3)).0.unwrap_err();
    assert_eq!((gap.position, gap.sequence), (position, 2));
}

/// One that has a body all the same was written by nobody.
#[test]
fn only_a_frame_of_records_has_more_than_its_head() {
    for (kind, counts) in [(1_u32, true), (2, false), (3, false), (4, false)] {
        let mut frame = one_frame(4096, b"12345678");
        frame[12..16].copy_from_slice(&kind.to_be_bytes());
        let crc = crc32c::crc32c(&4096_u64.to_be_bytes());
        let crc = crc32c::crc32c_append(crc, &frame[..8]);
        let crc = crc32c::crc32c_append(crc, &frame[12..]);
        frame[8..12].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(parse(&frame, 4096, &reign(3)).is_some(), counts, "kind {kind}");
    }
}

/// What one damaged number could make us read is bounded.
#[test]
fn a_half_of_the_file_has_bytes_and_no_more_than_a_gibibyte() {
    for (half, makes_sense) in [(0, false), (1, true), (1 << 30, true), ((1 << 30) + 1, false)] {
        let head = FileHead { store: STORE, half };
        assert_eq!(FileHead::parse(&head.encode()).is_ok(), makes_sense, "a half of {half}");
    }
}
