//! What Kafka's layout allows: batches as Tidelog writes them, stored into maps or into a file and
//! read back, with their checksums and nothing else.
//!
//! A batch of one record is 61 bytes of header and the record; a lingering one has as many records
//! as fit into 64 KiB. No clock is read, nothing is indexed, synced, recovered or told to readers,
//! and a stream has one mutex: bounds of the format, not neighbours. "Warm" has every page of its
//! maps in the page table before it begins; "new pages" has half a mebibyte of zeros written and
//! brought in ahead of the writer, by himself, each time he comes to the end of the last.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use memmap2::{Advice, MmapMut};

use super::{Job, Side};

pub(super) const HEADER: usize = 61;
/// What a checksum covers begins here.
const SUMMED: usize = 21;
pub(super) const LINGERING: usize = 64 << 10;
const WINDOW: usize = 512 << 10;
/// What is written ahead; its own pages are there from the first time on.
static ZEROS: [u8; WINDOW] = [0; WINDOW];

pub(super) struct Stream {
    map: MmapMut,
    file: File,
    at: usize,
    /// Up to here there are pages.
    ready: usize,
    offset: u64,
}

pub(super) struct Batches {
    pub(super) streams: Vec<Mutex<Stream>>,
    is_warm: bool,
}

fn stream(job: &Job<'_>, topic: usize, is_warm: bool) -> Mutex<Stream> {
    let path = job.dir.join(topic.to_string());
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let file = file.expect("a new file");
    let size = job.room.next_multiple_of(4096);
    let warm = if is_warm { size } else { 0 };
    for at in (0..warm).step_by(WINDOW) {
        file.write_all_at(&ZEROS[..WINDOW.min(size - at)], at as u64).expect("room");
    }
    file.set_len(size as u64).expect("a length");
    // SAFETY: nobody else has the file, and nobody truncates it
    let mut map = unsafe { MmapMut::map_mut(&file) }.expect("a map");
    map.advise(Advice::Random).expect("advice");
    (0..warm).step_by(4096).for_each(|at| map[at] = 0);
    Mutex::new(Stream { map, file, at: 0, ready: warm, offset: 0 })
}

pub(super) fn open(job: &Job<'_>, is_warm: bool) -> Batches {
    std::fs::create_dir_all(job.dir).expect("a directory");
    let streams = (0..job.topics).map(|topic| stream(job, topic, is_warm)).collect();
    Batches { streams, is_warm }
}

pub fn open_warm(job: &Job<'_>) -> Box<dyn Side> {
    Box::new(open(job, true))
}

pub fn open_new(job: &Job<'_>) -> Box<dyn Side> {
    Box::new(open(job, false))
}

impl Stream {
    /// Sees to it that so many bytes more have pages.
    fn reserve(&mut self, size: usize) {
        while self.ready < self.at + size {
            let window = WINDOW.min(self.map.len() - self.ready);
            self.file.write_all_at(&ZEROS[..window], self.ready as u64).expect("room");
            self.map.advise_range(Advice::PopulateWrite, self.ready, window).expect("pages");
            self.ready += window;
        }
    }

    /// Writes a batch of `count` records behind the others, with its header; the first's offset.
    pub(super) fn write(&mut self, batch: &mut [u8], count: u32) -> u64 {
        let offset = self.offset;
        header(batch, offset, count);
        self.file.write_all_at(batch, self.at as u64).expect("a write");
        self.at += batch.len();
        self.offset += u64::from(count);
        offset
    }

    /// Writes the header of the batch of `count` records that lies at the end, and takes it.
    fn seal(&mut self, size: usize, count: u32) {
        let batch = &mut self.map[self.at..self.at + size];
        header(batch, self.offset, count);
        self.at += size;
        self.offset += u64::from(count);
    }
}

/// Writes the header of a batch whose records lie behind it.
fn header(batch: &mut [u8], offset: u64, count: u32) {
    const TIME: [u8; 8] = 1_700_000_000_000_u64.to_be_bytes();
    let length = (batch.len() - 12) as u32;
    batch[..8].copy_from_slice(&offset.to_be_bytes());
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..17].copy_from_slice(&[0, 0, 0, 0, 2]);
    batch[SUMMED..23].copy_from_slice(&[0; 2]);
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&TIME);
    batch[35..43].copy_from_slice(&TIME);
    batch[43..57].copy_from_slice(&[0xff; 14]);
    batch[57..HEADER].copy_from_slice(&count.to_be_bytes());
    let sum = sum(&batch[SUMMED..]);
    batch[17..SUMMED].copy_from_slice(&sum.to_be_bytes());
}

/// CRC-32C: of what is short by a loop of the processor's own instruction, which is what takes
/// least; of the rest as the crate has it.
fn sum(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() < 768 && is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instruction
        return unsafe { by_words(bytes) };
    }
    crc32c::crc32c(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn by_words(bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u64, _mm_crc32_u8};
    let mut words = bytes.chunks_exact(8);
    let word = |sum, word: &[u8]| {
        _mm_crc32_u64(sum, u64::from_le_bytes(word.try_into().expect("eight bytes")))
    };
    let sum = words.by_ref().fold(u64::from(u32::MAX), word);
    !words.remainder().iter().fold(sum as u32, |sum, byte| _mm_crc32_u8(sum, *byte))
}

/// Appends a number as the format has it: seven bits a byte, the sign last.
fn number(into: &mut [u8], at: &mut usize, number: usize) {
    let mut rest = number << 1;
    while rest > 0x7f {
        into[*at] = rest as u8 | 0x80;
        *at += 1;
        rest >>= 7;
    }
    into[*at] = rest as u8;
    *at += 1;
}

/// How long a number is.
fn length(number: usize) -> usize {
    match number << 1 {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        _ => 3,
    }
}

/// A record without a key or headers, of the batch's time: how many bytes it takes.
pub(super) fn record(into: &mut [u8], delta: usize, value: &[u8]) -> usize {
    let body = 4 + length(delta) + length(value.len()) + value.len();
    let mut at = 0;
    number(into, &mut at, body);
    into[at..at + 2].fill(0);
    at += 2;
    number(into, &mut at, delta);
    into[at] = 1; // no key
    at += 1;
    number(into, &mut at, value.len());
    into[at..at + value.len()].copy_from_slice(value);
    at += value.len();
    into[at] = 0;
    at + 1
}

fn read_number(bytes: &[u8], at: &mut usize) -> usize {
    let (mut found, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        found |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return found >> 1;
        }
    }
}

impl Side for Batches {
    fn append(&self, topic: usize, value: &[u8]) {
        let mut stream = self.streams[topic].lock().expect("no panic");
        let most = HEADER + 16 + value.len();
        stream.reserve(most);
        let at = stream.at;
        let taken = record(&mut stream.map[at + HEADER..at + most], 0, value);
        stream.seal(HEADER + taken, 1);
    }

    /// Into maps that are warm in place, else by a write of each batch into new pages.
    fn linger(&self, values: &mut dyn Iterator<Item = &'static [u8]>) {
        let mut stream = self.streams[0].lock().expect("no panic");
        let mut batch = vec![0; LINGERING];
        let (mut size, mut count) = (HEADER, 0);
        let mut values = values.peekable();
        while let Some(value) = values.next() {
            let at = stream.at;
            let into = if self.is_warm { &mut stream.map[at..] } else { &mut batch[..] };
            size += record(&mut into[size..], count, value);
            count += 1;
            if values.peek().is_some_and(|next| size + 16 + next.len() <= LINGERING) {
                continue;
            }
            if !self.is_warm {
                stream.write(&mut batch[..size], count as u32);
            } else {
                stream.seal(size, count as u32);
            }
            (size, count) = (HEADER, 0);
        }
    }

    fn read(&self, topic: usize, each: &mut dyn FnMut(&[u8])) {
        let stream = self.streams[topic].lock().expect("no panic");
        let mut rest = &stream.map[..stream.at];
        while !rest.is_empty() {
            let word = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().expect("four"));
            let (batch, behind) = rest.split_at(12 + word(8) as usize);
            assert_eq!((sum(&batch[SUMMED..]), batch[16]), (word(17), 2), "its checksum");
            let mut at = HEADER;
            for _ in 0..word(57) {
                let length = read_number(batch, &mut at);
                let end = at + length;
                at += 2;
                read_number(batch, &mut at);
                at += 1;
                let size = read_number(batch, &mut at);
                each(&batch[at..at + size]);
                at = end;
            }
            rest = behind;
        }
    }
}
