//! Torn writes (row 4 of `docs/reliability.md`): each write of a scenario cut at every sector, at
//! every page, and for short ones at every byte; in the gap lie zeros, what lay there before,
//! garbage, or a whole valid batch of an earlier time. And files that grew without their data.
//!
//! Everything before the torn write is on the device; the write itself was promised by nobody yet.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tidelog::disk::{Access, Disk, IoMode, SimDisk};

use crate::common::budget::Budget;
use crate::common::crew::{each, portion};
use crate::common::suite::Suite;
use crate::points::mix;
use crate::runs::Run;
use crate::scenarios::{SCENARIOS, light};
use crate::verdict::Promise;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What lies where the end of a write is missing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gap {
    Zeros,
    Before,
    Garbage,
    /// A valid batch that lies elsewhere.
    Tenant,
    /// Nothing: the file ends there.
    Short,
}

const GAPS: [Gap; 5] = [Gap::Zeros, Gap::Before, Gap::Garbage, Gap::Tenant, Gap::Short];

fn files(disk: &SimDisk) -> Files {
    let (mut found, mut dirs) = (Files::new(), vec![PathBuf::from("/")]);
    while let Some(dir) = dirs.pop() {
        for entry in disk.list(&dir).expect("listed") {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                dirs.push(path);
                continue;
            }
            let mut bytes = vec![0; usize::try_from(entry.len).expect("small")];
            let file = disk.open(&path, Access::Read).expect("listed");
            file.read_at(&mut bytes, 0).expect("read");
            found.insert(path, bytes);
        }
    }
    found
}

/// A write, as the difference it made to a file.
struct Write<'a> {
    path: &'a Path,
    before: &'a [u8],
    after: &'a [u8],
    range: Range<usize>,
    /// All it wrote over was nothing or zeros.
    is_append: bool,
}

fn writes<'a>(before: &'a Files, after: &'a Files) -> Vec<Write<'a>> {
    let mut found = Vec::new();
    if before.keys().any(|path| !after.contains_key(path)) {
        return found; // a name was moved or removed: that is no write
    }
    for (path, after) in after {
        let Some(before) = before.get(path) else { continue };
        let same = |at: &usize| before.get(*at).copied().unwrap_or(0) == after[*at];
        let Some(start) = (0..after.len()).find(|at| !same(at)) else { continue };
        let end = (start..after.len()).rfind(|at| !same(at)).map_or(start, |at| at + 1);
        let is_append = before.iter().skip(start).all(|byte| *byte == 0);
        found.push(Write { path, before, after, range: start..end, is_append });
    }
    found
}

impl Write<'_> {
    /// Where it is cut.
    fn cuts(&self) -> Vec<usize> {
        let Range { start, end } = self.range;
        let step = if end - start <= 256 { 1 } else { 512 };
        let boundaries = (start / step + 1..).map(|at| at * step).take_while(|at| *at < end);
        [start].into_iter().chain(boundaries).collect()
    }

    /// The file with the write cut and the gap filled; none where that would touch what was there.
    fn torn(&self, cut: usize, gap: Gap, tenant: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = self.after.to_vec();
        let end = self.range.end;
        if !self.is_append && !matches!(gap, Gap::Before) {
            return None;
        }
        match gap {
            Gap::Zeros => bytes[cut..end].fill(0),
            Gap::Short => bytes.truncate(cut.max(self.before.len())),
            Gap::Before => {
                for (at, byte) in bytes.iter_mut().enumerate().take(end).skip(cut) {
                    *byte = self.before.get(at).copied().unwrap_or(0);
                }
            }
            Gap::Garbage => {
                for (at, byte) in bytes.iter_mut().enumerate().take(end).skip(cut) {
                    *byte = mix(at as u64) as u8;
                }
            }
            Gap::Tenant => {
                let len = tenant.len().min(end - cut);
                bytes[cut..cut + len].copy_from_slice(&tenant[..len]);
                bytes[cut + len..end].fill(0);
            }
        }
        Some(bytes)
    }
}

/// A valid batch: the first of any log.
fn tenant(files: &Files) -> Vec<u8> {
    let logs = files.iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind == "log"));
    let first = logs.map(|(_, bytes)| bytes).find(|bytes| bytes.len() > 61 && bytes[16] == 2);
    first.map_or(Vec::new(), |bytes| {
        let len = u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes"));
        bytes[..bytes.len().min(12 + len as usize)].to_vec()
    })
}

/// Puts these bytes in place of a file's, of which those below `from` are the same.
fn put(disk: &SimDisk, path: &Path, bytes: &[u8], from: usize) {
    let file = disk.open(path, Access::Write).expect("it was there");
    file.set_len(bytes.len() as u64).expect("cut");
    file.write_at(&bytes[from..], from as u64).expect("written");
    file.sync_data().expect("synced");
}

/// The control: a record that was promised is torn, and missed.
fn losses() -> u64 {
    let scenario = SCENARIOS.iter().find(|one| one.name == "append-power").expect("it is there");
    let run = Run::of(scenario, IoMode::Positioned);
    let last = run.moments.last().expect("the end");
    let mut disk = last.cut(|_| true);
    let path = Path::new("/store/a-0/00000000000000000000.log");
    let mut bytes = files(&disk)[path].clone();
    bytes[100] ^= 1;
    put(&disk, path, &bytes, 0);
    let (_, model) = run.model(last);
    u64::from(run.judge(&mut disk, &model, Promise::Power).is_err())
}

#[test]
fn a_write_torn_anywhere_is_recovered_from() {
    let suite = Suite::new("torn-writes");
    let stride = usize::try_from(Budget::get().pick(197, 27, 1)).unwrap_or(1);
    each(&portion(light()), |(scenario, mode)| {
        let run = Run::of(scenario, *mode);
        let stride = stride * scenario.thinned(4);
        let mut number = 0;
        let mut before = files(&run.moments[0].cut(|_| true));
        for pair in run.moments.windows(2) {
            let after = files(&pair[1].cut(|_| true));
            let (_, model) = run.model(&pair[1]);
            let tenant = tenant(&before);
            for write in writes(&before, &after) {
                for (cut, gap) in
                    write.cuts().into_iter().flat_map(|cut| GAPS.map(|gap| (cut, gap)))
                {
                    number += 1;
                    if number % stride != 0 {
                        continue;
                    }
                    let Some(bytes) = write.torn(cut, gap, &tenant) else { continue };
                    let mut disk = pair[1].cut(|_| true);
                    put(&disk, write.path, &bytes, cut.min(bytes.len()));
                    if !suite.state(&run.name, disk.image_hash()) {
                        continue;
                    }
                    if let Err(error) = run.judge(&mut disk, &model, Promise::Power) {
                        let at = pair[0].operation();
                        let place = write.path.display();
                        suite.fail(error, format!("{} call {at}, {place} {cut} {gap:?}", run.name));
                    }
                }
            }
            before = after;
        }
    });
    suite.control(losses());
    suite.end();
}
