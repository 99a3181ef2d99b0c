//! okaywal: an entry of one chunk a call, always synced, with 64 times the sizes of its defaults,
//! so that checkpoints are rare. What was checkpointed is gone, so it is not read back.

use std::io;

use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use super::{Job, Side};

#[derive(Debug)]
struct Forget;

impl LogManager for Forget {
    fn recover(&mut self, _entry: &mut Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: EntryId,
        _entries: &mut SegmentReader,
        _log: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}

struct Wal(WriteAheadLog);

pub fn open(job: &Job<'_>) -> Box<dyn Side> {
    let configuration = Configuration::default_for(job.dir).preallocate_bytes(64 << 20);
    let configuration = configuration.checkpoint_after_bytes(48 << 20);
    Box::new(Wal(configuration.open(Forget).expect("a new log")))
}

impl Side for Wal {
    fn append(&self, topic: usize, value: &[u8]) {
        self.append_synced(topic, value);
    }

    fn append_synced(&self, _topic: usize, value: &[u8]) {
        let mut entry = self.0.begin_entry().expect("an entry");
        entry.write_chunk(value).expect("a chunk");
        entry.commit().expect("a commit");
    }

    fn read(&self, _topic: usize, _each: &mut dyn FnMut(&[u8])) {
        unreachable!("the side does not take part")
    }
}
