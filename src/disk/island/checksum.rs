//! CRC-32C of short pieces, such as a batch of one record.
//!
//! The crate `crc32c` is made for long ones, of which it takes three stretches at a time. Of a few
//! hundred bytes it takes twice as long as the plain loop here: it goes byte by byte to an even
//! address first, and a call is dearer than the piece. A writer and a reader meet it at each batch.
//! Here because the processor's instruction may be used only where it was asked for, which no
//! compiler proves. Called by `segment`.

/// From here on three stretches at a time are quicker.
#[cfg(any(test, target_arch = "x86_64"))]
const LONG: usize = 768;

/// The CRC-32C of `bytes`, as the crate `crc32c` computes it.
#[inline]
pub(crate) fn crc32c_of(bytes: &[u8]) -> u32 {
    crc32c_append(0, bytes)
}

/// The CRC-32C of bytes that are followed by `bytes`, of which the ones before come to `sum`.
#[inline]
pub(crate) fn crc32c_append(sum: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() < LONG && std::arch::is_x86_feature_detected!("sse4.2") {
        debug_assert!(std::arch::is_x86_feature_detected!("sse4.2"));
        // SAFETY: the processor has the instructions that the function is compiled for: it was
        // asked right before.
        return unsafe { short(sum, bytes) };
    }
    crc32c::crc32c_append(sum, bytes)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse4.2")]
fn short(sum: u32, bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u16, _mm_crc32_u32, _mm_crc32_u64};
    let mut sum = u64::from(!sum);
    let (words, mut rest) = bytes.as_chunks::<8>();
    for word in words {
        sum = _mm_crc32_u64(sum, u64::from_le_bytes(*word));
    }
    let mut sum = u32::try_from(sum).unwrap_or(0); // the instruction leaves the upper half empty
    if let Some((four, left)) = rest.split_first_chunk::<4>() {
        (sum, rest) = (_mm_crc32_u32(sum, u32::from_le_bytes(*four)), left);
    }
    if let Some((two, left)) = rest.split_first_chunk::<2>() {
        (sum, rest) = (_mm_crc32_u16(sum, u16::from_le_bytes(*two)), left);
    }
    if let Some(one) = rest.first() {
        sum = _mm_crc32_u8(sum, *one);
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_at_every_alignment_is_summed_as_the_crate_sums_it() {
        let noise: Vec<u8> = (0..LONG as u32 + 64).map(|n| ((n * 7919) >> 3) as u8).collect();
        for from in 0..16 {
            for len in 0..LONG + 40 {
                let piece = &noise[from..from + len];
                assert_eq!(crc32c_of(piece), crc32c::crc32c(piece), "{from} {len}");
                let (front, rest) = piece.split_at(len / 3);
                assert_eq!(crc32c_append(crc32c_of(front), rest), crc32c_of(piece));
            }
        }
        assert_eq!(crc32c_of(b"123456789"), 0xe306_9283); // RFC 3720, the check value
    }
}
