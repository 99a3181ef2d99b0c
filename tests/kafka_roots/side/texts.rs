//! What both sides say, in the driver's words: records, answers and errors as texts.

use tidelog::{ErrorKind, FoundOffset, LeaderEpoch, Record, Records, Timestamp};

pub(super) fn with_records<T>(texts: &[String], then: impl FnOnce(&[Record<'_>]) -> T) -> T {
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

pub(super) fn parse(text: &str) -> (i64, Option<String>, Option<String>) {
    let parts: Vec<_> = text.split(':').collect();
    let key = (parts[1] != "-").then(|| parts[1].to_owned());
    let value = parts[2].split_once('*').map(|(name, len)| {
        let len: usize = len.parse().expect("a length");
        format!("{name}{}", "x".repeat(len.saturating_sub(name.len())))
    });
    (parts[0].parse().expect("a time"), key, value)
}

pub(super) fn texts(records: &Records) -> String {
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

pub(super) fn said(result: tidelog::Result<String>) -> String {
    match result {
        Ok(text) => format!("ok {text}").trim_end().to_owned(),
        Err(error) => format!("error {}", kind(error.kind())),
    }
}

pub(super) fn kind(kind: ErrorKind) -> String {
    format!("{kind:?}")
}

pub(super) fn found_text(found: tidelog::Result<Option<FoundOffset>>) -> String {
    said(found.map(|found| {
        found.map_or("none".to_owned(), |found| {
            let time = found.timestamp().map_or(-1, Timestamp::as_millis);
            let epoch = found.epoch().map_or(-1, LeaderEpoch::get);
            format!("{} {time} {epoch}", found.offset())
        })
    }))
}
