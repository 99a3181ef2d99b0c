//! A length of two gigabytes anywhere in any file, where memory for it is not to be had: right
//! records or a typed error, as for a flipped bit, and never an allocation that takes the host
//! along. What checksums keep from the decoders, the fuzz targets give them.
#![cfg(target_os = "linux")]

use rustix::process::{Resource, getrlimit, setrlimit};

use super::common::child::{self, Wrapper};
use super::*;

const MIB: u64 = 1 << 20;
/// As the formats spell it: big-endian, little-endian, a varint.
const LENGTHS: [&[u8]; 3] =
    [&[0x7f, 0xff, 0xff, 0x9b], &[0x9b, 0xff, 0xff, 0x7f], &[0xfe, 0xff, 0xff, 0xff, 0x0f]];

/// Every `stride`th place of every file, each with a length written over it.
fn lies(fixture: &Fixture, stride: usize) -> Vec<State<'_>> {
    let files = fixture.files.iter().filter(|(path, _)| !path.ends_with("tidelog.reserve"));
    let places = files.flat_map(|(path, bytes)| {
        let used = bytes.len().min(1 << 19); // a half of the journal
        (0..used).flat_map(move |at| LENGTHS.map(|length| (path, at, length)))
    });
    let fits = |(path, at, length): &(&PathBuf, usize, &[u8])| {
        let bytes = &fixture.files[*path];
        bytes.get(*at..at + length.len()).is_some_and(|there| there.iter().any(|byte| *byte > 0))
    };
    let mut states = Vec::new();
    for (path, at, length) in places.filter(fits).step_by(stride) {
        let change = Change::Block { at, with: length.to_vec(), what: "lying" };
        states.push(State { fixture, path, change });
    }
    states
}

#[test]
fn a_length_of_two_gigabytes_anywhere_takes_no_memory() {
    const TEST: &str = "lengths::a_length_of_two_gigabytes_anywhere_takes_no_memory";
    if child::part().is_none() {
        let dir = tempfile::tempdir().unwrap();
        child::run(TEST, "small", dir.path(), &Wrapper::none());
        return;
    }
    let mut limit = getrlimit(Resource::Data);
    limit.current = Some(512 * MIB);
    setrlimit(Resource::Data, limit).unwrap();
    let much = Vec::<u8>::new().try_reserve_exact(1 << 30);
    assert!(much.is_err(), "the control: there is none");
    let rests = [Rest::Closed, Rest::Killed, Rest::Journaled, Rest::Grouped, Rest::Transactional];
    let fixtures = rests.map(|rest| Fixture::new("lengths", 24, rest));
    let stride = Budget::get().pick(499, 47, 1) as usize;
    let states: Vec<_> = fixtures.iter().flat_map(|fixture| lies(fixture, stride)).collect();
    assert_none(&run("hostile-lengths", &states));
    child::done();
}
