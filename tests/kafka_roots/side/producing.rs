//! Appends of a script: with and without a producer, in a transaction or not, and the markers; with
//! what the script knows of each producer, to send what comes next, or what must not.

use tidelog::{LogReceipt, MarkerKind, ProducerEpoch, ProducerId, ProducerIdentity, Sequence};

use super::texts::{said, with_records};
use super::{Sides, Step};
use crate::script::{Drawn, How};

/// A batch that a producer sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) epoch: i16,
    pub(super) first: i32,
    pub(super) records: Vec<Drawn>,
    pub(super) texts: Vec<String>,
    pub(super) base: i64,
    /// Sent before the log was opened or cut last.
    pub(super) before: bool,
}

/// What the script knows of a producer.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) sent: Vec<Sent>,
    pub(super) highest: i16,
    /// What the sides know of it may differ: it begins anew.
    pub(super) unsure: bool,
    /// Where the marker lies with which its epoch rose last.
    pub(super) raised: Option<i64>,
    pub(super) coordinator: i32,
}

impl Sides<'_> {
    pub(super) fn texts(&mut self, records: &[Drawn]) -> Vec<String> {
        let mut texts = Vec::new();
        for record in records {
            self.values += 1;
            let at = self.now() + record.time;
            let key = record.key.map_or("-".to_owned(), |key| format!("k{key}"));
            let value = record.len.map(|len| format!("v{}*{len}", self.values));
            texts.push(format!("{at}:{key}:{}", value.unwrap_or("-".to_owned())));
        }
        texts
    }

    pub(super) fn append(&mut self, records: &[Drawn]) -> Step {
        let texts = self.texts(records);
        let appended = with_records(&texts, |records| self.log().append(records));
        self.appended("-1 -1 -1 plain", &texts, appended).map(drop)
    }

    pub(super) fn appended(
        &mut self,
        producer: &str,
        texts: &[String],
        appended: tidelog::Result<LogReceipt>,
    ) -> Result<Option<LogReceipt>, String> {
        let receipt = appended.as_ref().ok().copied();
        if let Some(receipt) = receipt.filter(|receipt| !receipt.is_duplicate()) {
            self.epoch = receipt.epoch().get();
        }
        let ours = said(appended.map(|receipt| {
            format!("{} {}", receipt.first_offset(), receipt.next_offset().get() - 1)
        }));
        let line = format!("append {} {} {producer} {}", self.epoch, self.codec, texts.join(" "));
        if ["error InvalidRecord", "error TooLarge"].contains(&&*ours) {
            self.refused_by_kafka_too(&line)?; // be it for the other reason, where both are there
        } else {
            self.same(&line, ours)?;
        }
        if receipt.is_none_or(|receipt| receipt.is_duplicate()) && !self.layouts_differ {
            self.layouts_differ = self.segments().is_err();
        }
        self.segments()?;
        Ok(receipt)
    }

    pub(super) fn produce(
        &mut self,
        who: usize,
        how: How,
        records: &[Drawn],
        within: bool,
    ) -> Step {
        let known = &self.producers[who];
        let last = known.sent.last();
        let epoch = last.map_or(known.highest, |last| last.epoch);
        let next = last.map_or(0, |last| last.first + i32::try_from(last.records.len()).unwrap());
        let (epoch, first, again) = match how {
            _ if known.unsure => (known.highest + 1, 0, None),
            How::Again(back) => {
                let known = known.sent.iter().rev().filter(|sent| sent.epoch == epoch);
                let again = known.clone().nth(back).filter(|sent| !sent.before);
                match again.or(last) {
                    Some(again) => (again.epoch, again.first, Some(again.clone())),
                    None => (epoch, next, None),
                }
            }
            How::Gap if last.is_some() => (epoch, next + 3, None),
            How::Stale if last.is_some() && epoch > 0 => (epoch - 1, next, None),
            How::Higher => (known.highest + 1, 0, None),
            How::HigherAmid if last.is_some() => (known.highest + 1, 5, None),
            How::Overlap if next > 1 => (epoch, next - 1, None),
            _ => (epoch, next, None),
        };
        let (records, texts) = match &again {
            Some(again) => (again.records.clone(), again.texts.clone()),
            None => (records.to_vec(), self.texts(records)),
        };
        let id = 40 + i64::try_from(who).unwrap();
        let us = ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(epoch));
        let sequence = Sequence::FIRST.after(first.unsigned_abs());
        let appended = with_records(&texts, |records| match within {
            true => self.log().append_transactional(records, us, sequence),
            false => self.log().append_produced(records, us, sequence),
        });
        self.transacted |= within;
        let word = if within { "txn" } else { "plain" };
        let producer = format!("{id} {epoch} {first} {word}");
        let Some(receipt) = self.appended(&producer, &texts, appended)? else { return Ok(()) };
        if !receipt.is_duplicate() {
            let base = receipt.first_offset().get();
            let known = &mut self.producers[who];
            if known.unsure || known.sent.last().is_some_and(|last| last.epoch != epoch) {
                known.sent.clear();
            }
            self.forgotten |= std::mem::take(&mut known.unsure);
            known.highest = known.highest.max(epoch);
            known.sent.push(Sent { epoch, first, records, texts, base, before: false });
        }
        Ok(())
    }

    /// Ends a producer's transaction, or says so of one that has none.
    pub(super) fn end(
        &mut self,
        who: usize,
        kind: MarkerKind,
        epoch: i16,
        coordinator: i32,
    ) -> Step {
        let known = &self.producers[who];
        let last = known.sent.last().map_or(known.highest, |last| last.epoch);
        let epoch = if known.unsure { known.highest + 1 } else { (last + epoch).max(0) };
        let coordinator = (known.coordinator + coordinator).max(0);
        let id = 40 + i64::try_from(who).unwrap();
        let us = ProducerIdentity::new(ProducerId::new(id), ProducerEpoch::new(epoch));
        let ended = self.log().append_marker(us, coordinator, kind);
        let receipt = ended.as_ref().ok().copied();
        if let Some(receipt) = receipt {
            self.epoch = receipt.epoch().get();
            let base = receipt.first_offset().get();
            let known = &mut self.producers[who];
            if epoch != last || known.unsure {
                known.sent.clear();
                known.raised = Some(base);
            }
            self.forgotten |= std::mem::take(&mut known.unsure);
            known.highest = known.highest.max(epoch);
            known.coordinator = known.coordinator.max(coordinator);
        }
        let ours = said(ended.map(|receipt| {
            format!("{} {}", receipt.first_offset(), receipt.next_offset().get() - 1)
        }));
        let kind = if kind == MarkerKind::Commit { "COMMIT" } else { "ABORT" };
        let (leader, now) = (self.epoch, self.now());
        self.same(&format!("marker {leader} {id} {epoch} {kind} {coordinator} {now}"), ours)?;
        if receipt.is_none() && !self.layouts_differ {
            self.layouts_differ = self.segments().is_err();
        }
        self.segments()
    }
}

impl Known {
    /// A producer whose records are all below the start is known to us, and not to Kafka once it
    /// has learned anew who there is.
    pub(super) fn check(&mut self, start: i64) {
        self.unsure |= self.sent.last().is_some_and(|sent| sent.base < start);
    }
}
