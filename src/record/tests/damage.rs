//! Bytes that no sound writer left: each kind is refused by name, none makes a reader panic.
//!
//! Flips under the checksum are found by it. Damage a checksum was computed over, as a faulty or
//! hostile writer would, is found by the bounds of the header and of each record.

use proptest::prelude::*;

use super::model::{Model, batch, body, field, model, models, number, sealed};
use super::{COMMIT, TWO_RECORDS, create, encoded, hex, stamp};
use crate::config::TimestampType;
use crate::error::ErrorKind;
use crate::ids::Offset;
use crate::record::batch::Batch;
use crate::record::fault::BatchFault;
use crate::record::header::{BatchHeader, Codec, at};
use crate::record::lend::{LentRecords, are_sound};
use crate::record::plain::check_agreement;
use crate::record::single::Record;
use crate::time::Timestamp;

fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchFault> {
    BatchHeader::parse(bytes, usize::MAX)
}

/// Reads everything there is to read; the first fault met.
fn read_all(bytes: &[u8]) -> Result<u32, BatchFault> {
    check_agreement(bytes);
    let batch = Batch::verify(bytes)?;
    let control = batch.control();
    let checked = batch.check_records();
    both_walks_agree(&batch, &checked);
    let mut count = 0;
    let mut last = None;
    let mut records = batch.records()?;
    while let Some(record) = records.next() {
        let record = match record {
            Ok(record) => record,
            Err(fault) => {
                assert!(records.next().is_none(), "after a fault there is nothing more");
                assert!(checked.is_err(), "{fault:?}");
                return Err(fault);
            }
        };
        assert!(last < Some(record.offset()), "offsets rise");
        assert!(batch.header().last_offset() >= record.offset());
        last = Some(record.offset());
        let _ = record.headers().count();
        count += 1;
    }
    checked?;
    control?;
    Ok(count)
}

/// The quick check says no more and no less than the slow one, and what is lent of records that it
/// lets pass is what the slow walk reads.
fn both_walks_agree(batch: &Batch<'_>, checked: &Result<(), BatchFault>) {
    let Ok(records) = batch.records() else { return };
    assert_eq!(*checked, records.clone().check());
    let count = if batch.header().is_control() { 0 } else { batch.header().count() };
    let sound = are_sound(records.left(), count, batch.header().last_offset_delta());
    assert_eq!(sound, checked.is_ok());
    let mut lent = LentRecords::of(batch).expect("it has records");
    if !sound {
        lent.for_each(drop); // whatever it makes of them
        return;
    }
    for record in records {
        let (record, lent) = (record.unwrap(), lent.next().expect("one for one"));
        assert_eq!((record.offset(), record.key()), (lent.offset(), lent.key()));
        assert_eq!(record.value(), lent.value());
        if batch.header().timestamp_type() == TimestampType::CreateTime {
            let base = batch.header().raw_base_timestamp();
            let timestamp = Timestamp::from_wire(base.wrapping_add(lent.timestamp_delta()));
            assert_eq!(record.timestamp(), timestamp);
        }
        let headers: Vec<_> = lent.headers().collect();
        assert_eq!(record.headers().collect::<Vec<_>>(), headers);
        assert_eq!(lent.header(), *batch.header());
    }
    assert!(lent.next().is_none());
}

#[test]
fn every_flipped_bit_under_the_checksum_is_found() {
    let bytes = hex(TWO_RECORDS);
    for bit in at::CRC * 8..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let fault = Batch::verify(&flipped).unwrap_err();
        let known = matches!(fault, BatchFault::Crc { .. } | BatchFault::Header(_));
        assert!(known, "bit {bit}: {fault:?}");
    }
}

#[test]
fn headers_are_bounded() {
    let good = hex(TWO_RECORDS);
    assert!(parse(&good).is_ok());
    assert_eq!(parse(&[]), Err(BatchFault::Short { needed: BatchHeader::LEN, available: 0 }));
    assert_eq!(parse(&[0; 12]), Err(BatchFault::Zeros), "however few they are");
    for length in 12..BatchHeader::LEN {
        let short = BatchFault::Short { needed: BatchHeader::LEN, available: length };
        assert_eq!(parse(&good[..length]), Err(short));
    }
    let short = BatchFault::Short { needed: good.len(), available: good.len() - 1 };
    assert_eq!(Batch::verify(&good[..good.len() - 1]).unwrap_err(), short);
    let limited = BatchHeader::parse(&good, good.len() - 1).unwrap_err();
    assert!(matches!(limited, BatchFault::Size { .. }));
    assert_eq!(parse(&[0; 61]), Err(BatchFault::Zeros));

    let with = |at: usize, field: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + field.len()].copy_from_slice(field);
        parse(&bytes).unwrap_err()
    };
    for length in [i32::MIN, -1, 0, 48] {
        let size = i64::from(length) + 12;
        let fault = with(at::LENGTH, &length.to_be_bytes());
        assert!(matches!(fault, BatchFault::Size { size: found, .. } if found == size));
    }
    assert_eq!(with(at::MAGIC, &[1]), BatchFault::Legacy { magic: 1, last: None });
    assert_eq!(with(at::MAGIC, &[0]), BatchFault::Legacy { magic: 0, last: None });
    assert_eq!(with(at::MAGIC, &[3]), BatchFault::Magic(3));
    assert_eq!(with(at::MAGIC, &[0x80]), BatchFault::Magic(-128));
    let header = |fault| assert!(matches!(fault, BatchFault::Header(_)), "{fault:?}");
    header(with(at::BASE_OFFSET, &(-1i64).to_be_bytes()));
    header(with(at::BASE_OFFSET, &(i64::MAX - 1).to_be_bytes()));
    header(with(at::LAST_OFFSET_DELTA, &(-1i32).to_be_bytes()));
    header(with(at::LAST_OFFSET_DELTA, &0i32.to_be_bytes()));
    header(with(at::COUNT, &(-1i32).to_be_bytes()));
    header(with(at::COUNT, &3i32.to_be_bytes()));
    for bits in 5..8i16 {
        header(with(at::ATTRIBUTES, &bits.to_be_bytes()));
    }
}

#[test]
fn a_header_torn_off_into_zeros_is_damage_and_no_old_format() {
    let good = hex(TWO_RECORDS);
    for kept in at::LEADER_EPOCH..=at::MAGIC {
        let mut torn = good.clone();
        torn[kept..].fill(0);
        let fault = parse(&torn).unwrap_err();
        let error = fault.into_error("read", std::path::Path::new("x"), 0, None);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "torn at {kept}: {error}");
    }
}

#[test]
fn records_are_bounded() {
    let good = body(0, 0, Some(b"k"), Some(b"v"), &[0]);
    assert_eq!(read_all(&batch(0, 0, 0, 0, 1, &good)), Ok(1));
    let refused = |what: &str, last_delta: i32, count: i32, records: &[u8]| {
        let fault = read_all(&batch(0, last_delta, 0, 0, count, records)).unwrap_err();
        assert!(matches!(fault, BatchFault::Record { .. }), "{what}: {fault:?}");
    };
    refused("more records counted", 1, 2, &good);
    refused("bytes left over", 0, 1, &[&good[..], &[0]].concat());
    refused("fewer records counted", 1, 1, &[&good[..], &good[..]].concat());
    refused("none counted", 0, 0, &good);
    refused("offset repeated", 1, 2, &[&good[..], &good[..]].concat());
    refused("offset beyond the last", 0, 1, &body(0, 1, None, None, &[0]));
    refused("offset below the base", 0, 1, &body(0, -1, None, None, &[0]));
    refused("empty record", 0, 1, &[0]);
    refused("negative length", 0, 1, &number(-2));
    refused("null record", 0, 1, &number(-1));
    refused("length past the batch", 0, 1, &number(1_000));
    refused("endless length", 0, 1, &[0x80; 11]);
    refused("endless timestamp", 0, 1, &field(Some(&[&[0][..], &[0xff; 12]].concat())));
    refused("negative header count", 0, 1, &body(0, 0, None, None, &number(-1)));
    refused("absurd header count", 0, 1, &body(0, 0, None, None, &number(i64::from(i32::MAX))));
    refused(
        "more headers than bytes",
        0,
        1,
        &body(0, 0, None, None, &[number(2), number(0)].concat()),
    );
    refused("no header count", 0, 1, &body(0, 0, None, None, &[]));
    refused("bytes behind no headers", 0, 1, &body(0, 0, None, None, &[0, 0]));
    for length in [i64::from(i32::MIN), -2, 1, i64::from(i32::MAX)] {
        let record = [&[0, 0, 0][..], &number(length), &number(-1), &[0]].concat();
        refused("key length", 0, 1, &field(Some(&record)));
        let record = [&[0, 0, 0][..], &number(-1), &number(length), &[0]].concat();
        refused("value length", 0, 1, &field(Some(&record[..record.len() - 1])));
    }
    let header = |name: Option<&[u8]>, value: &[u8]| {
        body(0, 0, None, None, &[&number(1), &field(name)[..], value].concat())
    };
    assert_eq!(read_all(&batch(0, 0, 0, 0, 1, &header(Some(b"n"), &number(-1)))), Ok(1));
    let checked = |what: &str, records: &[u8]| {
        let bytes = batch(0, 0, 0, 0, 1, records);
        let fault = Batch::verify(&bytes).unwrap().check_records().unwrap_err();
        assert!(matches!(fault, BatchFault::Record { index: 0, .. }), "{what}: {fault:?}");
    };
    checked("null header name", &header(None, &number(-1)));
    checked("header name not UTF-8", &header(Some(&[0xff, 0xfe]), &number(-1)));
    checked("header value past the record", &header(Some(b"n"), &number(5)));
    checked("negative header value length", &header(Some(b"n"), &number(-2)));
    checked("bytes behind the headers", &header(Some(b"n"), &[number(-1), number(0)].concat()));
    checked("header without a value", &header(Some(b"n"), &[]));
}

#[test]
fn control_records_are_bounded() {
    use crate::record::ControlRecord;
    let control = |attributes: i16, key: Option<&[u8]>, value: Option<&[u8]>| {
        let bytes = batch(attributes, 0, 0, 0, 1, &body(0, 0, key, value, &[0]));
        Batch::verify(&bytes).unwrap().control()
    };
    let value = Some(&[0, 0, 0, 0, 0, 9][..]);
    let abort = Ok(Some(ControlRecord::Abort { coordinator_epoch: 9 }));
    assert_eq!(control(0x30, Some(&[0, 0, 0, 0]), value), abort);
    let longer = Some(&[0, 1, 0, 0, 0, 9, 7, 7][..]);
    assert_eq!(control(0x30, Some(&[0, 1, 0, 0, 5, 5]), longer), abort, "a later version");
    assert_eq!(control(0x20, Some(&[0, 0, 0, 2]), None), Ok(Some(ControlRecord::Other(2))));
    for key in [None, Some(&[][..]), Some(&[0, 0, 0][..]), Some(&[0xff, 0xff, 0, 1][..])] {
        assert!(matches!(control(0x30, key, value), Err(BatchFault::Record { .. })), "{key:?}");
    }
    for value in [None, Some(&[][..]), Some(&[0; 5][..]), Some(&[0xff, 0xff, 0, 0, 0, 1][..])] {
        let found = control(0x30, Some(&[0, 0, 0, 1]), value);
        assert!(matches!(found, Err(BatchFault::Record { .. })), "{value:?}");
    }
    let packed = control(0x34, Some(&[0, 0, 0, 1]), value);
    assert_eq!(packed, Err(BatchFault::Packed(Codec::Zstd)));
    let marker = body(0, 0, Some(&[0, 0, 0, 1]), value, &[0]);
    let second = body(0, 1, Some(&[0, 0, 0, 1]), value, &[0]);
    let two = batch(0x30, 1, 0, 0, 2, &[marker.clone(), second].concat());
    assert!(Batch::verify(&two).unwrap().control().is_err(), "one record, no more");
    let over = batch(0x30, 0, 0, 0, 1, &[&marker[..], &[0]].concat());
    assert!(Batch::verify(&over).unwrap().control().is_err(), "bytes left over");
}

#[test]
fn a_timestamp_that_wraps_is_none_a_writer_made() {
    let bytes = batch(0, 0, i64::MAX, i64::MAX, 1, &body(1, 0, None, None, &[0]));
    let batch = Batch::verify(&bytes).unwrap();
    assert_eq!(batch.records().unwrap().next().unwrap().unwrap().timestamp(), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        limit: usize,
    ) {
        let _ = BatchHeader::parse(&bytes, limit);
        let _ = read_all(&bytes);
        // and again as a batch whose checksum fits
        if bytes.len() >= at::RECORDS {
            bytes[at::MAGIC] = 2;
            bytes[at::ATTRIBUTES + 1] &= 0x78;
            bytes[at::BASE_OFFSET] &= 0x7f;
            bytes[at::LAST_OFFSET_DELTA] = 0;
            bytes[at::COUNT..at::COUNT + 3].fill(0);
            let _ = read_all(&sealed(bytes));
        }
    }

    #[test]
    fn a_changed_byte_under_the_checksum_is_found(
        models in models(),
        place: prop::sample::Index,
        change in 1u8..,
    ) {
        let records: Vec<_> = models.iter().map(Model::record).collect();
        let mut bytes = encoded(&records, &create(), stamp(3, 1));
        let place = at::CRC + place.index(bytes.len() - at::CRC);
        bytes[place] ^= change;
        prop_assert!(Batch::verify(&bytes).is_err());
    }

    #[test]
    fn damage_with_a_fitting_checksum_is_read_within_bounds(
        models in prop::collection::vec(model(), 1..5),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let records: Vec<_> = models.iter().map(Model::record).collect();
        let mut bytes = encoded(&records, &create(), stamp(3, 1));
        let mut short = bytes.clone();
        short.truncate(at::RECORDS + cut.index(bytes.len() - at::RECORDS));
        prop_assert!(read_all(&sealed(short)).is_err(), "a record is cut");
        for (place, byte) in changes {
            let place = at::RECORDS + place.index(bytes.len() - at::RECORDS);
            bytes[place] = byte;
        }
        let _ = read_all(&sealed(bytes));
    }

    #[test]
    fn a_cut_batch_is_short(models in models(), cut: prop::sample::Index) {
        let records: Vec<Record<'_>> = models.iter().map(Model::record).collect();
        let bytes = encoded(&records, &create(), stamp(0, 0));
        let cut = cut.index(bytes.len());
        let found = Batch::verify(&bytes[..cut]);
        let short = matches!(found, Err(BatchFault::Short { available, .. }) if available == cut);
        // what little is there may be nothing but the zeros of an offset
        prop_assert!(short || matches!(found, Err(BatchFault::Zeros)), "{:?}", found);
    }
}

#[test]
fn a_marker_cut_anywhere_is_short() {
    let bytes = hex(COMMIT);
    for cut in 8..bytes.len() {
        assert!(matches!(Batch::verify(&bytes[..cut]), Err(BatchFault::Short { .. })), "{cut}");
    }
    assert_eq!(Batch::verify(&bytes).unwrap().header().base_offset(), Offset::new(7));
}
