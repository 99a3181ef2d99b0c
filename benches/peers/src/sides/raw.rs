//! What the machine allows: frames of length and CRC-32C stored into a warm map, or written by
//! position into a file whose space is there; and below, limits that are no log at all.
//!
//! A frame is eight bytes and the value. Nobody reserves, indexes, locks out a second writer or
//! recovers here: these are bounds, not neighbours.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use memmap2::MmapMut;

use super::{Job, Side};

const FRAME: usize = 8;

fn new_file(job: &Job<'_>) -> File {
    std::fs::create_dir_all(job.dir).expect("a directory");
    let path = job.dir.join("raw");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    file.expect("a new file")
}

/// A file of zeros, whose pages are in the page cache.
fn file(job: &Job<'_>) -> File {
    let file = new_file(job);
    let zeros = vec![0; 1 << 20];
    (0..job.room)
        .step_by(1 << 20)
        .for_each(|at| file.write_all_at(&zeros, at as u64).expect("room"));
    file
}

fn frame(into: &mut [u8], value: &[u8]) {
    into[..4].copy_from_slice(&(value.len() as u32).to_le_bytes());
    into[4..8].copy_from_slice(&crc32c::crc32c(value).to_le_bytes());
    into[8..8 + value.len()].copy_from_slice(value);
}

fn read(bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
    let mut at = 0;
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    while at + FRAME <= bytes.len() && word(at) > 0 {
        let value = &bytes[at + FRAME..at + FRAME + word(at) as usize];
        assert_eq!(crc32c::crc32c(value), word(at + 4), "its checksum");
        each(value);
        at += FRAME + value.len();
    }
}

struct Map(Mutex<(MmapMut, usize)>);

pub fn open_map(job: &Job<'_>) -> Box<dyn Side> {
    let file = file(job);
    // SAFETY: nobody else has the file, and nobody truncates it
    let mut map = unsafe { MmapMut::map_mut(&file) }.expect("a map");
    // warm: every page is in the table already
    (0..job.room).step_by(4096).for_each(|at| map[at] = 0);
    Box::new(Map(Mutex::new((map, 0))))
}

impl Side for Map {
    fn append(&self, _topic: usize, value: &[u8]) {
        let mut state = self.0.lock().expect("no panic");
        let (map, at) = &mut *state;
        frame(&mut map[*at..*at + FRAME + value.len()], value);
        *at += FRAME + value.len();
    }

    fn read(&self, _topic: usize, each: &mut dyn FnMut(&[u8])) {
        read(&self.0.lock().expect("no panic").0, each);
    }
}

struct Positioned {
    file: File,
    state: Mutex<(Vec<u8>, u64)>,
}

pub fn open_file(job: &Job<'_>) -> Box<dyn Side> {
    let file = file(job);
    if job.synced {
        file.sync_all().expect("a sync");
    }
    Box::new(Positioned { file, state: Mutex::new((Vec::new(), 0)) })
}

/// What a log that is not written over can come to: each write takes pages that are new.
pub fn open_new_file(job: &Job<'_>) -> Box<dyn Side> {
    Box::new(Positioned { file: new_file(job), state: Mutex::new((Vec::new(), 0)) })
}

impl Side for Positioned {
    fn append(&self, topic: usize, value: &[u8]) {
        self.append_many(topic, &[value]);
    }

    fn append_many(&self, _topic: usize, values: &[&[u8]]) {
        let mut state = self.state.lock().expect("no panic");
        let (buffer, end) = &mut *state;
        let size = values.iter().map(|value| FRAME + value.len()).sum();
        buffer.resize(size, 0);
        let mut at = 0;
        for value in values {
            frame(&mut buffer[at..at + FRAME + value.len()], value);
            at += FRAME + value.len();
        }
        self.file.write_all_at(buffer, *end).expect("a write");
        *end += size as u64;
    }

    fn append_synced(&self, topic: usize, value: &[u8]) {
        self.append(topic, value);
        self.file.sync_data().expect("a sync");
    }

    fn read(&self, _topic: usize, each: &mut dyn FnMut(&[u8])) {
        let mut bytes = vec![0; self.state.lock().expect("no panic").1 as usize];
        self.file.read_exact_at(&mut bytes, 0).expect("a read");
        read(&bytes, each);
    }
}
