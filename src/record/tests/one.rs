//! A batch as a leader has it, for tests of other rooms.

use super::*;

/// The bytes of one batch of one record at `base`, appended at `millis`.
pub(crate) fn one_batch(base: i64, epoch: i32, value: &[u8], millis: i64) -> Vec<u8> {
    let rules = BatchRules {
        timestamps: TimestampRule::Append { now: Timestamp::from_millis(millis) },
        max_bytes: 1 << 20,
        keyed: false,
        tagged: false,
        packing: Packing::default(),
    };
    let records = [Record::new(value)];
    let batch = BorrowedBatch::measure(&records, &rules).unwrap();
    let mut bytes = vec![0; batch.size()];
    let (base_offset, leader_epoch) = (Offset::new(base), LeaderEpoch::new(epoch));
    let stamp = Stamp { base_offset, leader_epoch, producer: None };
    batch.write(stamp, &mut bytes, crc32c::crc32c_append);
    bytes
}
