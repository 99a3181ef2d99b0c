//! What is known of each log before its directory is looked at, and from whom.
//!
//! Where this library wrote last, the state log says it; where another hand did, that hand's
//! checkpoint files do, and what they say is recorded as ours from then on.
//!
//! Called by `open`.

use std::collections::HashMap;

use super::root::RootOpening;
use super::root::fact::Fact;
use super::root::last_writer::LastWriter;
use super::root::state::RootState;
use crate::ids::{Offset, PartitionId};
use crate::log::checkpoint::OffsetLine;
use crate::log::{KnownFacts, LastStop, LogId};

/// Where each log's facts come from: the state log, or what another hand wrote.
pub(super) struct Known<'a> {
    opening: &'a RootOpening,
    state: &'a RootState,
    recovery_points: Lines<'a>,
    log_starts: Lines<'a>,
    high_watermarks: Lines<'a>,
}

/// The lines of a checkpoint, to be found by partition.
type Lines<'a> = HashMap<(&'a str, PartitionId), Offset>;

fn by_partition(lines: &[OffsetLine]) -> Lines<'_> {
    lines.iter().map(|line| ((&*line.topic, line.partition), line.offset)).collect()
}

impl<'a> Known<'a> {
    pub(super) fn new(opening: &'a RootOpening, state: &'a RootState) -> Self {
        let exports = &opening.exports.contents;
        Known {
            opening,
            state,
            recovery_points: by_partition(&exports.recovery_points),
            log_starts: by_partition(&exports.log_starts),
            high_watermarks: by_partition(&exports.high_watermarks),
        }
    }

    /// What is known of one log. What another hand wrote becomes ours by the `facts` added.
    pub(super) fn of(&self, name: &str, id: LogId, facts: &mut Vec<Fact>) -> KnownFacts {
        let recorded = self.state.topic(id.topic).and_then(|topic| topic.partition(id.partition));
        let ours = |last_stop| KnownFacts {
            recovery_point: recorded.map_or(Offset::ZERO, |kept| kept.recovery_point),
            log_start: recorded.map_or(Offset::ZERO, |kept| kept.log_start),
            last_stop,
            adopted: self.state.topic(id.topic).is_some_and(|topic| topic.foreign),
            ours_from: None, // the recovery point may still be theirs
            compacted: recorded.map_or(Offset::ZERO, |kept| kept.compacted),
            sparse: recorded.map_or(Offset::ZERO, |kept| kept.sparse),
            host_led: recorded.filter(|kept| kept.host_led).map(|kept| kept.high_watermark),
            sync_failed: recorded.is_some_and(|kept| kept.sync_failed.is_some()),
        };
        match self.opening.last_writer {
            LastWriter::OursClean => ours(LastStop::Clean),
            LastWriter::OursUnclean { same_boot: true } => ours(LastStop::KilledSameBoot),
            LastWriter::OursUnclean { same_boot: false } => ours(LastStop::PowerCut),
            LastWriter::AnotherHand { .. } => {
                let mut known = self.theirs(name, id.partition);
                if recorded.is_some_and(|kept| kept.host_led) {
                    let of = self.high_watermarks.get(&(name, id.partition)).copied();
                    known.host_led = of.or(Some(Offset::ZERO));
                }
                let (id, partition) = (id.topic, id.partition);
                let (point, start) = (known.recovery_point, known.log_start);
                facts.push(Fact::RecoveryPoint { id, partition, offset: point });
                facts.push(Fact::LogStart { id, partition, offset: start });
                known
            }
        }
    }

    /// What another hand's checkpoints say of a partition.
    fn theirs(&self, name: &str, partition: PartitionId) -> KnownFacts {
        let of = |lines: &Lines| lines.get(&(name, partition)).copied().unwrap_or(Offset::ZERO);
        let last_stop = match self.opening.exports.has_clean_mark() {
            true => LastStop::AnotherHandClean,
            false => LastStop::AnotherHand,
        };
        let (recovery_point, log_start) = (of(&self.recovery_points), of(&self.log_starts));
        let compacted = Offset::ZERO; // theirs may have gaps anywhere
        KnownFacts {
            recovery_point,
            log_start,
            last_stop,
            adopted: true,
            ours_from: None,
            compacted,
            sparse: Offset::ZERO, // and again
            host_led: None,       // where the host leads, the caller says so
            sync_failed: false,   // by them, as far as anybody knows
        }
    }
}
