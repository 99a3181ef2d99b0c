//! Floors look down only, and the doors to the outside world stay where they are.
//!
//! The table below is the house: each room of `src/` and the height it stands on. An import from
//! a lower or an equal height fails, whichever way it is written: `use` with or without braces, a
//! path in the middle of code, or `super::super`. The root's re-exports are for users of the
//! crate: code inside names the room. Comments, literals and doc examples do not count.
//!
//! The last tests plant one violation of each kind and see it found.

#[path = "common/source.rs"]
mod source;

use std::path::Path;

use source::{Finding, Source, Token, assert_none, closing, read_tree, tokens};

/// Each room with its height. Rooms of one height do not know each other; within a floor the
/// units digit says which lies below. The words at the bottom are one vocabulary: errors carry
/// offsets and offsets report errors, so they alone may name each other.
const HOUSE: &[(&str, u32)] = &[
    ("bin", 90),
    ("fuzzing", 90), // only built for fuzzing
    ("store", 80),
    ("worker", 71),
    ("producer", 70),
    ("consumer", 70),
    ("share_consumer", 70),
    ("inspect", 70),
    ("group", 60),
    ("share", 60),
    ("schedule", 60),
    ("prepared", 60),
    ("dead_letters", 52),
    ("deduplication", 60),
    ("priority", 60),
    ("txn", 51),
    ("state_log", 50),
    ("engine", 40),
    ("compact", 31),
    ("tier", 31),
    ("log", 30),
    ("segment", 20),
    ("journal", 20),
    ("clock", 11),
    ("record", 10),
    ("disk", 10),
    ("wait", 10),
    ("ids", WORDS),
    ("time", WORDS),
    ("config", WORDS),
    ("error", WORDS),
    ("stats", WORDS),
    ("sweep", WORDS),
    ("sync", WORDS),
    ("seeds", WORDS), // only with tests, for the tests of any room
    ("feed", WORDS),  // only built for fuzzing, for the targets beside the decoders
];

const WORDS: u32 = 0;

/// What only some files may name in product code: the path, who may, and what others do instead.
/// A name that ends in `/` stands for all files below it.
const DOORS: &[(&[&str], &[&str], &str)] = &[
    (
        &["std::fs", "std::os::unix::fs", "rustix", "libc", "memmap2"],
        &["disk/"],
        "go through the traits of crate::disk",
    ),
    (
        &[
            "std::sync::Mutex",
            "std::sync::RwLock",
            "std::sync::Condvar",
            "std::sync::Once",
            "std::sync::*",
            "parking_lot",
        ],
        &["sync.rs", "sync/"],
        "take locks from crate::sync",
    ),
    (
        &["Instant::now", "SystemTime::now"],
        &["clock.rs", "time.rs", "wait/"],
        "time enters through crate::time::Clock",
    ),
];

/// Where the keyword `unsafe` may stand, in tests too.
const ISLAND: &[&str] = &["disk/island.rs", "disk/island/"];

/// A path that a file names, as written but for `crate`, `self` and `super`.
struct Named {
    at: usize,
    /// Whether it starts in this crate; `parts` then starts below the crate's root.
    ours: bool,
    parts: Vec<String>,
}

fn check(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in read_tree(root) {
        imports(&source, &mut findings);
        doors(&source, &mut findings);
    }
    findings
}

/// The height of the room a path leads to, with the room.
fn room(parts: &[String]) -> Option<(&'static str, u32)> {
    let first = parts.first()?;
    HOUSE.iter().copied().find(|(name, _)| name == first)
}

fn imports(source: &Source, findings: &mut Vec<Finding>) {
    let modules = source.modules();
    if modules.is_empty() {
        return; // the root declares the rooms and lends their names to users
    }
    let Some((from, height)) = room(&modules) else {
        let what = format!("room `{}` stands on no floor: name it in HOUSE", modules[0]);
        findings.push(source.finding(0, what));
        return;
    };
    for named in paths(&source.code, &modules).into_iter().filter(|named| named.ours) {
        let shown = format!("crate::{}", named.parts.join("::"));
        let what = match room(&named.parts) {
            None => format!("`{shown}` is not a room: name the room it comes from"),
            Some((to, _)) if to == from => continue,
            Some((_, below)) if below < height || (below == WORDS && height == WORDS) => continue,
            Some((to, above)) if above > height => {
                format!("uphill: `{from}` ({height}) imports `{shown}` of `{to}` ({above})")
            }
            Some((to, beside)) => {
                format!("sideways: `{from}` imports `{shown}` of `{to}`, both at {beside}")
            }
        };
        findings.push(source.finding(named.at, what));
    }
}

fn doors(source: &Source, findings: &mut Vec<Finding>) {
    let may = |names: &[&str]| {
        let fits = |name: &&str| match name.ends_with('/') {
            true => source.name.starts_with(name),
            false => source.name == *name,
        };
        names.iter().any(fits)
    };
    for token in tokens(&source.code) {
        if token.text == "unsafe" && !may(ISLAND) {
            findings.push(source.finding(token.at, "`unsafe` outside src/disk/island.rs"));
        }
    }
    if source.test_only {
        return;
    }
    for named in paths(&source.product, &source.modules()) {
        let parts: Vec<&str> = named.parts.iter().map(String::as_str).collect();
        for (guarded, keepers, instead) in DOORS {
            let hit = guarded.iter().find(|path| leads_through(&parts, named.ours, path));
            if let Some(path) = hit
                && !may(keepers)
            {
                let what = format!("`{path}` outside {}: {instead}", keepers.join(", "));
                findings.push(source.finding(named.at, what));
            }
        }
    }
}

/// Whether a path begins with a guarded one, or, for a `Type::function`, ends with it.
fn leads_through(parts: &[&str], ours: bool, guarded: &str) -> bool {
    let guarded: Vec<&str> = guarded.split("::").collect();
    if guarded[0].starts_with(char::is_uppercase) {
        return parts.ends_with(&guarded);
    }
    !ours && parts.starts_with(&guarded)
}

/// Every path of two parts or more, with the trees of `use` spread out.
fn paths(code: &str, modules: &[String]) -> Vec<Named> {
    let all = tokens(code);
    let mut found = Vec::new();
    let mut inner: Vec<(String, usize)> = Vec::new(); // inline modules and where they end
    let mut at = 0;
    while at < all.len() {
        inner.retain(|(_, end)| at <= *end);
        let here = || -> Vec<String> {
            modules.iter().chain(inner.iter().map(|(name, _)| name)).cloned().collect()
        };
        let after_path = at > 0 && all[at - 1].text == "::";
        if all[at].text == "mod" && all.get(at + 2).is_some_and(|token| token.text == "{") {
            inner.push((all[at + 1].text.to_owned(), closing(&all, at + 2)));
            at += 3;
        } else if all[at].text == "use" && !after_path {
            at = spread(&all, at + 1, &here(), &mut Vec::new(), &mut found);
        } else if all[at].is_word() && !after_path {
            let start = at;
            let mut parts = vec![all[at].text.to_owned()];
            while at + 2 < all.len() && all[at + 1].text == "::" && all[at + 2].is_word() {
                parts.push(all[at + 2].text.to_owned());
                at += 2;
            }
            if parts.len() > 1 {
                found.extend(resolve(&parts, &here(), all[start].at));
            }
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one tree of a `use` from `at` and returns the index behind it.
fn spread(
    all: &[Token<'_>],
    mut at: usize,
    here: &[String],
    above: &mut Vec<String>,
    found: &mut Vec<Named>,
) -> usize {
    let depth = above.len();
    let start = all.get(at).map_or(0, |token| token.at);
    while at < all.len() {
        let token = all[at];
        match token.text {
            "::" => at += 1,
            "{" => {
                let close = closing(all, at);
                at += 1;
                while at < close {
                    at = spread(all, at, here, above, found);
                    at += usize::from(all.get(at).is_some_and(|token| token.text == ","));
                }
                above.truncate(depth);
                return close + 1;
            }
            "as" => at += 2,
            "self" if !above.is_empty() => at += 1,
            "*" => {
                above.push("*".to_owned());
                at += 1;
            }
            _ if token.is_word() => {
                above.push(token.text.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    found.extend(resolve(above, here, start));
    above.truncate(depth);
    at
}

/// Follows `crate`, `self` and `super` from the module `here`.
fn resolve(parts: &[String], here: &[String], at: usize) -> Option<Named> {
    let mut base: Option<Vec<String>> = None;
    let mut rest = parts;
    while let Some(first) = rest.first() {
        let next = match (first.as_str(), &base) {
            ("crate", None) => Vec::new(),
            ("self", None) => here.to_vec(),
            ("super", None) => here[..here.len().saturating_sub(1)].to_vec(),
            ("super", Some(base)) => base[..base.len().saturating_sub(1)].to_vec(),
            _ => break,
        };
        base = Some(next);
        rest = &rest[1..];
    }
    let ours = base.is_some();
    let mut parts = base.unwrap_or_default();
    parts.extend(rest.iter().cloned());
    (!parts.is_empty() || ours).then_some(Named { at, ours, parts })
}

#[test]
fn the_house_stands() {
    assert_none(&check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
}

#[test]
fn every_room_has_one_floor() {
    let mut names: Vec<&str> = HOUSE.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), HOUSE.len(), "a room is named twice");
}

/// Checks a tree of one file and returns what was found in it.
fn planted(name: &str, text: &str) -> Vec<String> {
    let tree = tempfile::tempdir().expect("a temporary directory");
    let path = tree.path().join(name);
    std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("made");
    std::fs::write(&path, text).expect("written");
    check(tree.path()).iter().map(Finding::to_string).collect()
}

fn assert_planted(name: &str, text: &str, wanted: &str) {
    let found = planted(name, text);
    assert!(found.len() == 1 && found[0].contains(wanted), "{text}\nwanted {wanted}: {found:?}");
}

#[test]
fn an_uphill_import_is_found_however_it_is_written() {
    for text in [
        "use crate::engine::Partition;\n",
        "use crate::{ids::Offset, engine::{hold::Hold}};\n",
        "fn f() -> crate::engine::Partition { todo() }\n",
        "use super::super::engine::Partition;\n",
        "fn f() { super::super::engine::open() }\n",
        "mod inner { use super::super::super::engine::Partition; }\n",
        "pub(crate) use crate::engine as below;\n",
        "macro_rules! m { () => { $crate::engine::open() } }\n",
        "#[cfg(test)] mod tests { use crate::engine::Partition; }\n",
        "use crate::engine;\n",
    ] {
        assert_planted("log/roll.rs", text, "uphill: `log` (30) imports `crate::engine");
    }
}

#[test]
fn a_sideways_import_is_found() {
    assert_planted("record/x.rs", "use crate::disk::Disk;\n", "sideways: `record`");
    assert_planted("producer/mod.rs", "use crate::consumer::Consumer;\n", "sideways");
    assert_planted("group/mod.rs", "use crate::share::Share;\n", "sideways");
}

#[test]
fn within_a_floor_the_lower_half_may_be_used_and_not_the_other_way() {
    assert_eq!(planted("compact/mod.rs", "use crate::log::Log;\n"), [""; 0]);
    assert_eq!(planted("txn/mod.rs", "use crate::state_log::StateLog;\n"), [""; 0]);
    assert_planted("log/mod.rs", "use crate::compact::plan;\n", "uphill");
    assert_planted("state_log/mod.rs", "use crate::txn::State;\n", "uphill");
    assert_eq!(planted("ids.rs", "use crate::error::Error;\n"), [""; 0]);
    assert_planted("ids.rs", "use crate::record::Record;\n", "uphill");
}

#[test]
fn the_root_s_names_are_not_for_rooms() {
    for text in [
        "use crate::Offset;\n",
        "use crate::{Error, ids::Offset};\n",
        "fn f(at: crate::Offset) {}\n",
        "use crate::*;\n",
        "use super::super::Offset;\n",
    ] {
        assert_planted("log/roll.rs", text, "is not a room");
    }
    assert_planted("cellar/mod.rs", "\n", "stands on no floor");
}

#[test]
fn what_is_no_import_is_let_be() {
    let text = r##"
        //! use crate::engine::Partition;
        /// ```
        /// use tidelog::Offset; crate::engine::open();
        /// ```
        pub(crate) struct Segment;
        /* crate::store::Store */
        pub(in crate::log) const WORDS: &str = "crate::store::Store";
        const RAW: &str = r#"use crate::engine::Partition;"#;
        use super::plan::Plan;
        use self::reader::{self, Reader};
        use crate::segment::{self, Segment as Below};
        use crate::record::*;
        mod tests { use super::*; use super::super::roll; }
    "##;
    assert_eq!(planted("log/roll.rs", text), [""; 0]);
}

#[test]
fn the_outside_world_has_one_door_each() {
    let cases = [
        ("use std::fs::File;\n", "`std::fs` outside disk/"),
        ("use std::{fs, io};\n", "`std::fs` outside disk/"),
        ("fn f() { std::fs::remove_file(p); }\n", "`std::fs` outside disk/"),
        ("use std::os::unix::fs::FileExt;\n", "`std::os::unix::fs` outside"),
        ("use std::sync::{Arc, Mutex};\n", "`std::sync::Mutex` outside sync.rs"),
        ("static M: std::sync::RwLock<u8> = f();\n", "`std::sync::RwLock` outside"),
        ("use parking_lot::Condvar;\n", "`parking_lot` outside sync.rs"),
        ("fn f() { let now = Instant::now(); }\n", "`Instant::now` outside clock.rs"),
        ("fn f() { std::time::SystemTime::now(); }\n", "`SystemTime::now` outside"),
        ("fn f() { unsafe { g() } }\n", "`unsafe` outside"),
    ];
    for (text, wanted) in cases {
        assert_planted("log/roll.rs", text, wanted);
        let in_tests = format!("#[cfg(test)]\nmod tests {{ {text} }}\n");
        let expected = usize::from(text.contains("unsafe"));
        assert_eq!(planted("log/roll.rs", &in_tests).len(), expected, "{in_tests}");
    }
    assert_eq!(planted("disk/real.rs", "use std::fs::File;\n"), [""; 0]);
    assert_eq!(planted("disk/island.rs", "fn f() { unsafe { g() } }\n"), [""; 0]);
    assert_eq!(planted("sync.rs", "use parking_lot::Mutex;\n"), [""; 0]);
    assert_eq!(planted("wait/mod.rs", "fn f() { Instant::now(); }\n"), [""; 0]);
}
