//! Laps over the two halves: what is written over, what a torn or damaged file still says.

use super::*;
use crate::journal::frame::{ALIGN, frame_size};
use crate::journal::ring::{Placed, Ring};

/// A ring and the file that its runs make.
struct Written {
    ring: Ring,
    file: Vec<u8>,
    durable: u64,
}

impl Written {
    fn new() -> Self {
        let file = vec![0; usize::try_from(FILE_HEAD + 2 * HALF).unwrap()];
        Written { ring: Ring::new(reign(3), HALF), file, durable: 0 }
    }

    fn add(&mut self, number: u8, end: i64) -> Placed {
        self.ring.add(&extent(number, end - 1, end), &[number; 200], self.durable)
    }

    /// In how many writes.
    fn sync(&mut self) -> usize {
        let runs = self.ring.take(Vec::new());
        for run in &runs {
            let at = usize::try_from(run.at).unwrap();
            self.file[at..at + run.bytes.len()].copy_from_slice(&run.bytes);
        }
        self.durable = self.ring.last_sequence();
        runs.len()
    }

    /// The logs and ends of what is found.
    fn found(&self) -> Option<Vec<(LogId, i64)>> {
        let frames =
            scan(&Bytes::from(self.file.clone()), HALF, &reign(3)).0.ok()?.unwrap_or_default();
        let of = |frame: &Frame| (frame.extent.log, frame.extent.end.get());
        Some(frames.iter().map(of).collect())
    }
}

#[test]
fn laps_take_turns_and_wait_for_who_pins_them() {
    let mut written = Written::new();
    let mut end = 0;
    let mut turns = Vec::new();
    loop {
        end += 1;
        match written.add(0, end) {
            Placed::At { turned, .. } if !turned.is_empty() => turns.push(end),
            Placed::At { .. } => assert!(turns.len() < 2, "a lap that is pinned is written over"),
            other => break assert_eq!(other, Placed::Pinned),
        }
        written.sync();
    }
    let in_a_half = i64::try_from((HALF - HEAD as u64) / 320).unwrap();
    assert_eq!((turns, end), (vec![in_a_half + 1], 2 * in_a_half + 1));
    assert_eq!(written.ring.pinning(), [log(0)]);
    let all: Vec<_> = (1..end).map(|end| (log(0), end)).collect();
    assert_eq!(written.found().unwrap(), all);
    written.ring.synced(log(0), Offset::new(in_a_half - 1));
    assert_eq!(written.add(0, end), Placed::Pinned, "one frame is still needed");
    written.ring.synced(log(0), Offset::new(in_a_half));
    assert!(matches!(written.add(0, end), Placed::At { .. }));
    written.sync();
    let all: Vec<_> = (in_a_half + 1..=end).map(|end| (log(0), end)).collect();
    assert_eq!(written.found().unwrap(), all, "the first lap counts no more");
}

/// Until the end of a lap is on the disk, what lies in the lap before counts there: a truncation
/// that went without a bar would have it come back.
#[test]
fn frames_count_until_the_end_of_their_lap_is_on_the_disk() {
    let mut written = Written::new();
    let _ = written.add(1, 1); // it pins its lap
    let mut end = 0;
    let mut next = |written: &mut Written| {
        end += 1;
        let placed = written.add(0, end);
        written.ring.synced(log(0), Offset::new(end));
        placed
    };
    while let Placed::At { .. } = next(&mut written) {
        written.sync();
    }
    written.ring.synced(log(1), Offset::new(1));
    let placed = next(&mut written); // what ends the lap is gathered with it
    assert!(matches!(placed, Placed::At { .. }), "{placed:?}");
    assert!(written.found().unwrap().contains(&(log(1), 1)), "the disk still says so");
    assert!(written.ring.has_frames(log(1)), "it needs a bar");
    written.sync();
    assert!(!written.found().unwrap().contains(&(log(1), 1)), "the disk says so no more");
    let lap = written.ring.lap();
    while written.ring.lap() == lap {
        assert!(matches!(next(&mut written), Placed::At { .. }));
        written.sync();
    }
    assert!(!written.ring.has_frames(log(1)), "nothing is left to bar");
}

/// A log that pins its half for good leaves room to bar all others that have frames.
#[test]
fn there_is_room_for_a_bar_of_each_log_that_has_frames() {
    for count in 1..=6 {
        let mut written = Written::new();
        let _ = written.add(0, 1); // never synced
        let mut end = 0;
        loop {
            end += 1;
            let number = 1 + u8::try_from(end % count).unwrap();
            match written.add(number, end) {
                Placed::At { .. } => {}
                other => break assert_eq!(other, Placed::Pinned),
            }
            written.sync();
            written.ring.synced(log(number), Offset::new(end));
        }
        for number in 1..=u8::try_from(count).unwrap() {
            assert!(written.ring.has_frames(log(number)), "{number} of {count}");
            let placed = written.ring.bar(log(number), written.durable);
            assert!(matches!(placed, Placed::At { .. }), "{number} of {count}: {placed:?}");
            assert!(!written.ring.has_frames(log(number)), "{number} of {count}");
            written.sync();
        }
        assert_eq!(written.found().unwrap(), [(log(0), 1)], "all others are taken back");
    }
}

/// A ring that is in its third lap, the half of the first written over.
fn third_lap() -> Written {
    let mut written = Written::new();
    for end in 1..=30 {
        let placed = written.add(0, end);
        if placed == Placed::Pinned {
            written.ring.synced(log(0), Offset::new(end - 1));
            let _ = written.add(0, end);
        }
        written.sync();
    }
    let _ = written.add(1, 1);
    written.sync();
    written
}

#[test]
fn a_torn_beginning_of_a_lap_takes_nothing_that_counts() {
    let mut written = third_lap();
    let before = written.file.clone();
    // on to the fourth lap, whose first write is torn anywhere
    let mut end = 30;
    loop {
        end += 1;
        written.ring.synced(log(0), Offset::new(end - 1));
        written.ring.synced(log(1), Offset::new(1));
        let placed = written.ring.add(&extent(0, end - 1, end), &[0; 200], written.durable);
        let runs = written.ring.take(Vec::new());
        if let [first, second] = &runs[..] {
            let mut file = written.file.clone();
            let at = usize::try_from(first.at).unwrap();
            file[at..at + first.bytes.len()].copy_from_slice(&first.bytes);
            let at = usize::try_from(second.at).unwrap();
            for cut in (0..=second.bytes.len()).step_by(8) {
                let mut torn = file.clone();
                torn[at..at + cut].copy_from_slice(&second.bytes[..cut]);
                scan(&Bytes::from(torn), HALF, &reign(3)).0.unwrap();
            }
            break;
        }
        assert!(matches!(placed, Placed::At { .. }));
        for run in runs {
            let at = usize::try_from(run.at).unwrap();
            written.file[at..at + run.bytes.len()].copy_from_slice(&run.bytes);
        }
        written.durable = written.ring.last_sequence();
    }
    assert_ne!(before, written.file);
}

#[test]
fn every_flipped_bit_of_a_journal_is_damage_or_of_no_consequence() {
    let written = third_lap();
    let whole = written.found().unwrap();
    let last = whole.len();
    let (mut damage, mut shorter, mut same) = (0, 0, 0);
    for bit in (usize::try_from(FILE_HEAD).unwrap() * 8)..written.file.len() * 8 {
        if bit % 8 != bit / 8 % 8 {
            continue; // one bit of each byte
        }
        let mut flipped = Written { file: written.file.clone(), ..Written::new() };
        flipped.file[bit / 8] ^= 1 << (bit % 8);
        match flipped.found() {
            None => damage += 1,
            Some(found) if found == whole => same += 1,
            // the last frame alone: no later one knows that it was durable
            Some(found) => {
                assert_eq!(found[..], whole[..last - 1], "bit {bit}");
                shorter += 1;
            }
        }
    }
    println!("{damage} damage, {shorter} torn, {same} without consequence");
    assert!(damage > 0 && shorter > 0 && same > 0);
}

#[test]
fn every_cut_of_a_journal_is_damage_or_ends_it_earlier() {
    let written = third_lap();
    let whole = written.found().unwrap();
    for cut in (0..written.file.len()).step_by(ALIGN) {
        let bytes = Bytes::from(written.file[..cut].to_vec());
        if let Ok(frames) = scan(&bytes, HALF, &reign(3)).0 {
            let frames = frames.unwrap_or_default();
            let found: Vec<_> =
                frames.iter().map(|frame| (frame.extent.log, frame.extent.end.get())).collect();
            assert!(whole.starts_with(&found) || found.len() < whole.len(), "cut at {cut}");
        }
    }
}

#[test]
fn frames_of_one_sync_lie_one_behind_the_other() {
    for together in 1..=9 {
        let mut written = Written::new();
        let (mut all, mut writes) = (Vec::new(), 1);
        for end in 1..=18 {
            let Placed::At { turned, .. } = written.add(0, end) else { panic!("there is room") };
            writes += usize::from(!turned.is_empty());
            all.push((log(0), end));
            if end % together == 0 {
                assert_eq!(written.sync(), writes, "{together} together, up to {end}");
                assert_eq!(written.found().unwrap(), all, "{together} together, up to {end}");
                writes = 1;
            }
        }
    }
}

/// Of however many logs: what else would be kept for bars is left to frames.
#[test]
fn the_room_for_bars_takes_a_quarter_of_a_half_at_most() {
    let mut ring = Ring::new(reign(3), HALF);
    let (mut frames, mut laps) = (0, Vec::new());
    for number in 0..120 {
        let lap = ring.lap();
        let placed = ring.add(&extent(number, 0, 1), &[number], ring.last_sequence());
        assert!(matches!(placed, Placed::At { .. }), "{number}: {placed:?}");
        if ring.lap() > lap {
            laps.push(std::mem::take(&mut frames));
        }
        frames += 1;
        ring.synced(log(number), Offset::new(1));
    }
    let room = HALF - HALF / 4 - HEAD as u64;
    assert_eq!(laps, [room / frame_size(1).unwrap() as u64; 5]);
}

/// Of what lies in the file only what may count is held, however often it went around.
#[test]
fn what_counts_no_more_is_not_held() {
    let mut written = Written::new();
    for end in 1..200 {
        match written.add(0, end) {
            Placed::At { .. } => {}
            other => panic!("nothing pins a lap: {other:?}"),
        }
        written.sync();
        written.ring.synced(log(0), Offset::new(end));
        let (counted, held) = scan(&Bytes::from(written.file.clone()), HALF, &reign(3));
        let counts = counted.unwrap().unwrap_or_default().len();
        assert!(held <= counts + (HALF as usize) / 320, "{held} held, {counts} count");
    }
}
