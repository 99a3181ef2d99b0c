//! A state log that no open could read is never written, at a limit that is lowered for it.

use super::*;
use crate::ids::{Offset, TopicId};

const LIMIT: u64 = 1 << 16;

fn limited(disk: &FaultDisk) -> RootLog {
    let (log, ..) = open(disk).unwrap();
    {
        let mut inner = log.inner.lock();
        inner.capacity = Capacity::of(&inner.state, LIMIT);
    }
    log
}

fn topic(number: u8, partitions: u32) -> Fact {
    Fact::TopicCreated {
        id: topic_id(number),
        name: format!("topic-{number}"),
        config: vec![("retention.ms".to_owned(), "7".to_owned())],
        partitions,
        adopted: false,
        internal: false,
    }
}

/// All that may be known of a partition.
fn places(id: TopicId, number: u32) -> Vec<Fact> {
    let (partition, offset) = (PartitionId::new(number), Offset::new(7));
    vec![
        Fact::HighWatermark { id, partition, offset },
        Fact::RecoveryPoint { id, partition, offset },
        Fact::LogStart { id, partition, offset },
        Fact::Compacted { id, partition, offset },
        Fact::Sparse { id, partition, offset },
        Fact::SyncFailed { id, partition, offset },
    ]
}

fn len(disk: &FaultDisk) -> u64 {
    disk.metadata(&state_path()).unwrap().unwrap().len
}

#[test]
fn what_could_not_be_read_again_is_refused_before_it_is_written() {
    let disk = made();
    let log = limited(&disk);
    let mut made = Vec::new();
    let refused = loop {
        let number = u8::try_from(made.len()).expect("there is a limit") + 1;
        let before = len(&disk);
        match log.record(&[topic(number, 10)], Durable::Now) {
            Ok(()) => made.push(topic_id(number)),
            Err(error) => {
                assert_eq!(len(&disk), before, "nothing is written");
                break error;
            }
        }
    };
    assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::TooLarge, Outcome::NotWritten));
    assert_eq!(refused.path(), Some(&*state_path()), "{refused}");
    assert!(made.len() > 5, "{refused}");
    let more = Fact::PartitionsAdded { id: made[0], total: 100 };
    assert_eq!(log.record(&[more], Durable::Now).unwrap_err().kind(), ErrorKind::TooLarge);
    // all else goes on, for all that there is, again and again
    for _ in 0..20 {
        for id in &made {
            let end = PartitionId::new(10);
            let led = Fact::Leadership { id: *id, first: end, end, host_led: true };
            let facts = (0..10).flat_map(|number| places(*id, number)).chain([led]);
            log.record(&facts.collect::<Vec<_>>(), Durable::Later).unwrap();
            assert!(len(&disk) <= LIMIT, "{}", len(&disk));
        }
    }
    let expected = log.with_state(RootState::clone);
    assert_eq!(load(&disk, Path::new(ROOT), id()).unwrap().0, expected);
    // and there is room again for what takes the place of others
    let gone = [topic(1, 10), topic(2, 10)].map(|fact| match fact {
        Fact::TopicCreated { id, name, .. } => Fact::TopicDeleted { id, name },
        other => other,
    });
    log.record(&gone, Durable::Now).unwrap();
    log.record(&[topic(250, 10)], Durable::Now).unwrap();
}

#[test]
fn a_log_that_reached_the_limit_begins_anew_before_it_is_passed() {
    let disk = made();
    let log = limited(&disk);
    log.record(&[topic(1, 4)], Durable::Now).unwrap();
    for offset in 1..4_000 {
        let (id, partition) = (topic_id(1), PartitionId::new(offset % 4));
        let offset = Offset::new(i64::from(offset));
        log.record(&[Fact::RecoveryPoint { id, partition, offset }], Durable::Later).unwrap();
        assert!(len(&disk) <= LIMIT, "{offset}: {}", len(&disk));
    }
    let expected = log.with_state(RootState::clone);
    drop(log);
    let (_, state, report) = open(&disk).unwrap();
    assert_eq!(state, expected);
    assert!(report.generation > 2, "{report:?}");
}
