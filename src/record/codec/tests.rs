//! Each codec against bytes that others wrote, against itself, and against bytes nobody would.

use super::*;
use proptest::prelude::*;

const CODECS: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn built() -> impl Iterator<Item = Codec> {
    CODECS.into_iter().filter(|codec| is_built(*codec))
}

fn packed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    pack(codec, None, plain, &mut out).unwrap();
    out
}

fn unpacked(codec: Codec, packed: &[u8], limit: usize) -> Result<Vec<u8>, BatchFault> {
    let mut out = vec![7; 3]; // what was in it is gone
    unpack(codec, packed, PlainLimit::bytes(limit), &mut out).map(|()| out)
}

/// Bytes that shrink and bytes that do not, of every length class a codec divides by.
fn samples() -> Vec<Vec<u8>> {
    let mut noise = 1_u32;
    let mut noise = |len: usize| -> Vec<u8> {
        let next = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        };
        std::iter::repeat_with(next).take(len).collect()
    };
    let mut samples = vec![Vec::new(), b"x".to_vec()];
    for len in [100, 32 << 10, (32 << 10) + 1, 64 << 10, (64 << 10) + 1, 300_000] {
        samples.push(vec![b'a'; len]);
        samples.push(b"tidelog ".iter().copied().cycle().take(len).collect());
        samples.push(noise(len));
    }
    samples
}

#[test]
fn what_is_compressed_comes_back() {
    for codec in built() {
        for plain in samples() {
            let small = packed(codec, &plain);
            let back = unpacked(codec, &small, plain.len().max(1));
            assert!(
                back.as_ref() == Ok(&plain),
                "{codec} of {} bytes: {:?}",
                plain.len(),
                back.err()
            );
            if plain.len() > 1000 && plain.windows(9).all(|nine| nine[0] == nine[8]) {
                assert!(small.len() < plain.len() / 10, "{codec}: {}", small.len());
            }
        }
    }
}

#[test]
fn levels_are_taken() {
    let plain: Vec<u8> = (0..40_000_u32).flat_map(|number| (number % 977).to_be_bytes()).collect();
    let levels = [(Codec::Gzip, 1), (Codec::Gzip, 9), (Codec::Zstd, -5), (Codec::Zstd, 19)];
    let mut sizes = Vec::new();
    for (codec, level) in levels.into_iter().filter(|(codec, _)| is_built(*codec)) {
        let mut out = Vec::new();
        pack(codec, Some(level), &plain, &mut out).unwrap();
        assert!(unpacked(codec, &out, plain.len()).as_ref() == Ok(&plain), "{codec} {level}");
        sizes.push((codec, level, out.len()));
    }
    for two in sizes.windows(2).filter(|two| two[0].0 == two[1].0) {
        assert!(two[0].2 > two[1].2, "{sizes:?}");
    }
}

#[test]
fn what_expands_beyond_the_limit_is_refused_and_never_held() {
    let plain = vec![0; 10 << 20];
    for codec in built() {
        let bomb = packed(codec, &plain);
        for limit in [1, 1000, (10 << 20) - 1] {
            let mut out = Vec::new();
            let fault = unpack(codec, &bomb, PlainLimit::bytes(limit), &mut out).unwrap_err();
            assert_eq!(fault, BatchFault::Expands { codec, limit });
            assert!(fault.to_string().contains(&limit.to_string()), "{fault}");
            assert!(out.capacity() <= 2 * (limit + bomb.len() * 4), "{codec} {limit}");
        }
        assert!(unpacked(codec, &bomb, 10 << 20).is_ok_and(|back| back == plain), "{codec}");
    }
    if is_built(Codec::Zstd) {
        let small = packed(Codec::Zstd, &plain);
        assert!(small.len() <= 1024, "10 MiB in {}", small.len());
        let fault = unpack(Codec::Zstd, &small, PlainLimit::DEFAULT, &mut Vec::new()).unwrap_err();
        assert_eq!(fault, BatchFault::Expands { codec: Codec::Zstd, limit: 8 << 20 });
    }
    assert_eq!(PlainLimit::DEFAULT.of(1024), 8 << 20);
    assert_eq!(PlainLimit::DEFAULT.of(1 << 20), 32 << 20);
}

#[test]
fn every_cut_and_every_flip_is_met_without_a_panic() {
    let plain: Vec<u8> = samples().into_iter().nth(3).unwrap().into_iter().take(200).collect();
    for codec in built() {
        let whole = packed(codec, &plain);
        for len in 0..whole.len() {
            let cut = unpacked(codec, &whole[..len], 1 << 16);
            assert!(cut.is_err() || cut.is_ok_and(|out| out.len() < plain.len()), "{codec} {len}");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(out) = unpacked(codec, &flipped, 1 << 16) {
                assert!(out.len() <= 1 << 16, "{codec} bit {bit}");
            }
        }
    }
}

#[test]
fn a_codec_that_is_not_built_in_names_its_feature() {
    for codec in CODECS.into_iter().filter(|codec| !is_built(*codec)) {
        let fault = unpacked(codec, b"any", 100).unwrap_err();
        assert_eq!(fault, BatchFault::NotBuilt(codec));
        assert!(fault.to_string().contains(&format!("without the feature `{codec}`")), "{fault}");
        assert_eq!(pack(codec, None, b"any", &mut Vec::new()), Err(BatchFault::NotBuilt(codec)));
    }
    assert!(is_built(Codec::None));
}

/// The frame header Kafka writes, and all that its reader refuses (`kafka-format.md` 1.5).
#[test]
#[cfg(feature = "lz4")]
fn lz4_frames_are_kafkas() {
    let frame = packed(Codec::Lz4, &[b'a'; 1000]);
    assert_eq!(frame[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    assert_eq!(frame[frame.len() - 4..], [0; 4]);
    let body = &frame[7..];
    let checksum = |described: &[u8]| twox_hash::XxHash32::oneshot(0, described).to_be_bytes()[2];
    let framed = |described: &[u8], check: u8| [&frame[..4], described, &[check], body].concat();
    let mended =
        |described: &[u8]| unpacked(Codec::Lz4, &framed(described, checksum(described)), 1 << 20);
    for sound in
        [&[0x60, 0x40][..], &[0x60, 0x70], &[0x64, 0x40], &[0x68, 0x50, 1, 2, 3, 4, 5, 6, 7, 8]]
    {
        assert_eq!(mended(sound).as_deref(), Ok(&[b'a'; 1000][..]), "{sound:x?}");
    }
    for refused in [
        [0x40, 0x40],
        [0x20, 0x40],
        [0x61, 0x40],
        [0x62, 0x40],
        [0x60, 0x41],
        [0x60, 0xc0],
        [0x60, 0x30],
    ] {
        assert!(mended(&refused).is_err_and(|fault| fault.is_damage()), "{refused:x?}");
    }
    let wrong = unpacked(Codec::Lz4, &framed(&[0x60, 0x40], 0x83), 1 << 20).unwrap_err();
    assert!(wrong.to_string().contains("checksum of the frame header"), "{wrong}");
    let block = &body[4..body.len() - 4];
    let summed = |sum: u32| {
        [
            &frame[..4],
            &[0x70, 0x40, checksum(&[0x70, 0x40])],
            &body[..body.len() - 4],
            &sum.to_le_bytes(),
            &[0; 4],
        ]
        .concat()
    };
    let sum = twox_hash::XxHash32::oneshot(0, block);
    assert!(unpacked(Codec::Lz4, &summed(sum), 1 << 20).is_ok());
    let wrong = unpacked(Codec::Lz4, &summed(sum ^ 1), 1 << 20).unwrap_err();
    assert!(wrong.to_string().contains("checksum of a block"), "{wrong}");
    let huge = [&frame[..7], &(65_537_u32 | 1 << 31).to_le_bytes(), &[0; 65_537], &[0; 4]].concat();
    assert!(unpacked(Codec::Lz4, &huge, 1 << 20).is_err(), "larger than 64 KiB");
    assert_eq!(unpacked(Codec::Lz4, &[&frame[..], b"behind"].concat(), 1000).unwrap().len(), 1000);
}

#[test]
#[cfg(feature = "snappy")]
fn snappy_is_framed_as_java_frames_it_and_read_without_a_frame_too() {
    let frame = packed(Codec::Snappy, &[b'a'; 1000]);
    assert_eq!(frame[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let len = i32::from_be_bytes(frame[16..20].try_into().unwrap());
    assert_eq!(usize::try_from(len).unwrap(), frame.len() - 20);
    assert_eq!(unpacked(Codec::Snappy, &frame[20..], 1000).unwrap(), [b'a'; 1000], "one raw block");
    let twice = unpacked(Codec::Snappy, &[&frame[..], &frame].concat(), 2000).unwrap();
    assert_eq!(twice, [b'a'; 2000]);
    // 8 MiB, says a block of six bytes
    let lie = [0x80, 0x80, 0x80, 0x04, 0, 0];
    assert!(unpacked(Codec::Snappy, &lie, 16 << 20).is_err_and(|fault| fault.is_damage()));
    let negative = [&frame[..16], &(-1i32).to_be_bytes()].concat();
    assert!(unpacked(Codec::Snappy, &negative, 1000).is_err_and(|fault| fault.is_damage()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn anything_comes_back_and_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for codec in built() {
            let small = packed(codec, &bytes);
            prop_assert_eq!(unpacked(codec, &small, 600).unwrap(), &bytes[..]);
            let _ = unpacked(codec, &bytes, 1 << 16);
        }
    }
}
