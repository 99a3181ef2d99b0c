//! Lingering batches, bare but for what a record costs whose sender gets a receipt and may be one
//! of several: what that promise comes to when it is kept in this way, where `batches` is a bound
//! of the format.
//!
//! Each record is stamped with a time, by the processor's counter as Tidelog does it, joins its
//! batch under a mutex, and gets a share of the batch's outcome, which is kept and looked at once
//! all are sent. A second thread, which naps as Tidelog's does, writes the headers, the checksums
//! and the file, while the sender fills the next, in as many buffers as it is ahead by. Nothing has
//! rules, limits, errors or a way around: what those take, this does not show.

use std::hint::black_box;
use std::sync::mpsc::{channel, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::batches::{self, record, Batches, HEADER, LINGERING};
use super::{Job, Side};

/// How long the second thread sleeps that found nothing.
const NAP: Duration = Duration::from_micros(100);

struct Receipts(Batches);

/// A record's share of what becomes of its batch, which is where that begins.
struct Receipt {
    batch: Arc<OnceLock<u64>>,
    index: u32,
    time: u64,
}

/// A batch that takes records, or is to be written.
struct Open {
    bytes: Vec<u8>,
    size: usize,
    count: u32,
    outcome: Arc<OnceLock<u64>>,
}

impl Open {
    fn new(bytes: Vec<u8>) -> Self {
        Open { bytes, size: HEADER, count: 0, outcome: Arc::default() }
    }
}

pub fn open(job: &Job<'_>) -> Box<dyn Side> {
    Box::new(Receipts(batches::open(job, false)))
}

#[cfg(target_arch = "x86_64")]
fn time() -> u64 {
    // SAFETY: every such processor has the counter
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn time() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos() as u64)
}

impl Receipts {
    /// Writes what comes, until nothing will.
    fn write(&self, batches: &Receiver<Open>, spare: &Sender<Vec<u8>>) {
        loop {
            match batches.try_recv() {
                Ok(Open { mut bytes, size, count, outcome }) => {
                    let mut stream = self.0.streams[0].lock().expect("no panic");
                    outcome.set(stream.write(&mut bytes[..size], count)).expect("once");
                    let _ = spare.send(bytes); // nobody needs the last ones
                }
                Err(TryRecvError::Empty) => std::thread::sleep(NAP),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }
}

impl Side for Receipts {
    fn append(&self, topic: usize, value: &[u8]) {
        self.0.append(topic, value);
    }

    fn linger(&self, values: &mut dyn Iterator<Item = &'static [u8]>) {
        let (full, batches) = channel();
        let (spare, spares) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || self.write(&batches, &spare));
            let open = Mutex::new(Open::new(vec![0; LINGERING]));
            let next = || spares.try_recv().unwrap_or_else(|_| vec![0; LINGERING]);
            let take = |value: &[u8]| {
                let time = time();
                let mut open = open.lock().expect("no panic");
                if open.size + 16 + value.len() > LINGERING {
                    let last = std::mem::replace(&mut *open, Open::new(next()));
                    full.send(last).expect("the other thread");
                }
                let Open { bytes, size, count, outcome } = &mut *open;
                *size += record(&mut bytes[*size..], *count as usize, value);
                *count += 1;
                Receipt { batch: outcome.clone(), index: *count - 1, time }
            };
            let receipts: Vec<Receipt> = values.map(take).collect();
            full.send(open.into_inner().expect("no panic")).expect("the other thread");
            for receipt in receipts {
                let first = receipt.batch.wait();
                black_box((first + u64::from(receipt.index), receipt.time));
            }
            drop(full);
        });
    }

    fn read(&self, topic: usize, each: &mut dyn FnMut(&[u8])) {
        self.0.read(topic, each);
    }
}
