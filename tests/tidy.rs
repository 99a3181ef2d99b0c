//! What a reader may rely on in every room: its size, its names, its head, its examples.
//!
//! Sizes are a ratchet: a room above the line stands in `LARGE` with its reason, and an entry that
//! is no longer needed fails too. Nothing unfinished, no `.unwrap()` in product code, a SAFETY
//! comment at every `unsafe`, an example at every public item.
//!
//! The last tests plant one violation of each kind and see it found.

#[path = "common/source.rs"]
mod source;

use std::collections::HashSet;
use std::path::Path;

use source::{Finding, Source, Token, assert_none, closing, read_tree, tokens};

const ROOM_LINES: usize = 500;
const ROOM_LINES_AT_MOST: usize = 800;
const FACADE_LINES: usize = 150;
const FUNCTION_LINES: usize = 70;
const LINE_COLUMNS: usize = 100;
const HEAD_LINES: usize = 3;

/// Files above their line: the file, how many lines it may have, and why one duty needs them.
const LARGE: &[(&str, usize, &str)] = &[];

/// Functions above their line: the file, the function, why.
const LONG: &[(&str, &str, &str)] = &[];

/// Words in names that say nothing of a duty.
const EMPTY_WORDS: &[&str] = &["manager", "helper", "helpers", "util", "utils", "impl"];

/// "record" is the word; these identifiers are Kafka's own keys or another crate's names.
const FOREIGN_WORDS: &[&str] = &[
    "max_message_bytes",
    "message_timestamp_type",
    "message_timestamp_before_max",
    "message_timestamp_after_max",
    "event_listener",
    "eventfd",
];

/// Public items without an example: the file, the item, why.
const WITHOUT_EXAMPLE: &[(&str, &str, &str)] =
    &[("disk/mod.rs", "Sealed", "closes the family: other crates cannot name it")];

/// Rooms whose traits are sealed: their methods are the library's to call, not the host's.
const SEALED: &str = "disk/";

fn check(root: &Path) -> Vec<Finding> {
    let sources = read_tree(root);
    let public = Public::of(&sources);
    let mut findings = Vec::new();
    for source in &sources {
        head(source, &mut findings);
        columns(source, &mut findings);
        unfinished(source, &mut findings);
        safety(source, &mut findings);
        if !source.test_only {
            room_size(source, &mut findings);
            functions(source, &mut findings);
            names(source, &mut findings);
            unwraps(source, &mut findings);
            public.examples(source, &mut findings);
        }
    }
    findings
}

/// Entries of a table of large files that are no longer needed.
fn stale(root: &Path, table: &[(&str, usize, &str)]) -> Vec<Finding> {
    let named = |source: &Source| table.iter().any(|(name, _, _)| *name == source.name);
    let small = |source: &Source| named(source) && !is_large(source);
    let sources = read_tree(root);
    let small = sources.iter().filter(|source| small(source));
    small.map(|source| source.finding(0, "within its size: strike it in LARGE")).collect()
}

/// Examples, benches and tests: what holds there too.
fn check_outside(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in read_tree(root) {
        columns(&source, &mut findings);
        unfinished(&source, &mut findings);
    }
    findings
}

/// Lines of product code, with its comments; tests are not counted.
fn product_lines(source: &Source) -> usize {
    let tests: usize = {
        let (code, product) = (source.code.lines(), source.product.lines());
        code.zip(product).filter(|(code, product)| code.trim() != product.trim()).count()
    };
    source.text.lines().count() - tests
}

fn size_line(source: &Source) -> (&'static str, usize) {
    match source.name.rsplit('/').next() {
        Some("mod.rs") => ("facade", FACADE_LINES),
        _ => ("room", ROOM_LINES),
    }
}

fn is_large(source: &Source) -> bool {
    product_lines(source) > size_line(source).1
}

fn room_size(source: &Source, findings: &mut Vec<Finding>) {
    let lines = product_lines(source);
    let (kind, line) = size_line(source);
    let allowed = LARGE.iter().find(|(name, _, _)| *name == source.name);
    let line = allowed.map_or(line, |(_, lines, _)| *lines).min(ROOM_LINES_AT_MOST);
    if lines > line {
        let what = format!("a {kind} of {lines} lines without tests, {line} at most: split it");
        findings.push(source.finding(0, what));
    }
}

fn functions(source: &Source, findings: &mut Vec<Finding>) {
    let all = tokens(&source.product);
    for (at, pair) in all.windows(2).enumerate() {
        if pair[0].text != "fn" || !pair[1].is_word() {
            continue;
        }
        let Some(close) = body_end(&all, at) else { continue };
        let lines = source.line(all[close].at) - source.line(pair[0].at) + 1;
        let name = pair[1].text;
        let allowed =
            LONG.iter().any(|(file, function, _)| *file == source.name && *function == name);
        if lines > FUNCTION_LINES && !allowed {
            let what = format!("fn `{name}` has {lines} lines, {FUNCTION_LINES} at most");
            findings.push(source.finding(pair[0].at, what));
        }
    }
}

/// The token that closes a function's body; `None` where it has none.
fn body_end(all: &[Token<'_>], mut at: usize) -> Option<usize> {
    while at < all.len() {
        match all[at].text {
            ";" => return None,
            "{" => return Some(closing(all, at)),
            "(" | "[" => at = closing(all, at) + 1,
            _ => at += 1,
        }
    }
    None
}

fn columns(source: &Source, findings: &mut Vec<Finding>) {
    let mut at = 0;
    for line in source.text.split_inclusive('\n') {
        let wide = line.trim_end_matches('\n').chars().count();
        if wide > LINE_COLUMNS {
            let what = format!("a line of {wide} columns, {LINE_COLUMNS} at most");
            findings.push(source.finding(at, what));
        }
        at += line.len();
    }
}

fn head(source: &Source, findings: &mut Vec<Finding>) {
    let lines = source.text.lines().take_while(|line| line.starts_with("//!")).count();
    // a file of tests says what it tests, which is a line
    let tests = source.name.ends_with("tests.rs") || source.name.contains("tests/");
    if lines < (if tests { 1 } else { HEAD_LINES }) {
        let what = format!(
            "opens with {lines} lines of `//!`, {HEAD_LINES} at least: what it owns, its \
             invariants, who calls it"
        );
        findings.push(source.finding(0, what));
    }
}

/// The words of a name in any case: `RecordBatch`, `record_batch`, `MAX_BATCH`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut was_lower = false;
    for letter in name.chars() {
        if letter == '_' || letter == '/' || letter == '.' {
            words.push(String::new());
        } else {
            if words.is_empty() || (letter.is_uppercase() && was_lower) {
                words.push(String::new());
            }
            words.last_mut().expect("pushed above").extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase() || letter.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn names(source: &Source, findings: &mut Vec<Finding>) {
    let in_path = words(source.name.trim_end_matches(".rs"));
    let empty =
        in_path.iter().find(|word| EMPTY_WORDS.contains(&word.as_str()) || *word == "types");
    if let Some(word) = empty {
        findings.push(source.finding(0, format!("`{word}` in a file's name: name its duty")));
    }
    let all = tokens(&source.product);
    for pair in all.windows(2) {
        let declares = matches!(pair[0].text, "struct" | "enum" | "trait" | "type" | "union");
        let parts = words(pair[1].text);
        let empty = parts.iter().find(|word| EMPTY_WORDS.contains(&word.as_str()));
        if let (true, Some(word)) = (declares && pair[1].is_word(), empty) {
            let what = format!("`{word}` in the name of type `{}`: name its duty", pair[1].text);
            findings.push(source.finding(pair[1].at, what));
        }
    }
    for token in all.iter().filter(|token| token.is_word()) {
        let foreign = FOREIGN_WORDS.contains(&token.text);
        let wrong =
            |word: &String| matches!(word.as_str(), "message" | "messages" | "event" | "events");
        if !foreign && words(token.text).iter().any(wrong) {
            let what = format!("`{}`: the word is record (or add it to FOREIGN_WORDS)", token.text);
            findings.push(source.finding(token.at, what));
        }
    }
}

fn unfinished(source: &Source, findings: &mut Vec<Finding>) {
    for token in tokens(&source.prose) {
        if matches!(token.text, "TODO" | "FIXME" | "XXX") {
            findings.push(source.finding(token.at, format!("unfinished: {}", token.text)));
        }
    }
    let all = tokens(&source.code);
    for three in all.windows(3) {
        let [first, second, third] = [three[0].text, three[1].text, three[2].text];
        let mark = match (first, second, third) {
            ("todo" | "unimplemented", "!", "(" | "[" | "{") => first,
            ("#", "[", "ignore") => "#[ignore]",
            _ => continue,
        };
        findings.push(source.finding(three[0].at, format!("unfinished: {mark}")));
    }
}

fn unwraps(source: &Source, findings: &mut Vec<Finding>) {
    for four in tokens(&source.product).windows(4) {
        let texts: Vec<&str> = four.iter().map(|token| token.text).collect();
        if texts == [".", "unwrap", "(", ")"] {
            let what = "`.unwrap()` in product code: return an error, or `expect` with the \
                        reason why only a fault of ours could break it";
            findings.push(source.finding(four[1].at, what));
        }
    }
}

/// How far above an `unsafe` its comment may begin.
const COMMENT_REACH: usize = 12;

fn safety(source: &Source, findings: &mut Vec<Finding>) {
    let lines: Vec<&str> = source.prose.lines().collect();
    let mut last = 0;
    for token in tokens(&source.code).iter().filter(|token| token.text == "unsafe") {
        let line = source.line(token.at);
        // The comment belongs to one `unsafe`: it stands below the one before.
        let from = last.max(line.saturating_sub(COMMENT_REACH + 1));
        let explained = lines[from..line]
            .iter()
            .any(|text| text.contains("// SAFETY:") || text.contains("/// # Safety"));
        if !explained {
            findings.push(source.finding(token.at, "`unsafe` without a `// SAFETY:` above it"));
        }
        last = line;
    }
}

/// The names that users of the crate can reach.
struct Public {
    names: HashSet<String>,
}

impl Public {
    /// What the root lends, and what the facades of its public rooms declare or lend.
    fn of(sources: &[Source]) -> Self {
        let mut names = HashSet::new();
        let root = sources.iter().find(|source| source.name == "lib.rs");
        for file in root.into_iter().chain(sources.iter().filter(|source| {
            root.is_some_and(|root| {
                let room = source.name.trim_end_matches(".rs").trim_end_matches("/mod");
                root.product.contains(&format!("pub mod {room};"))
            })
        })) {
            let all = tokens(&file.product);
            for (at, token) in all.iter().enumerate() {
                if token.text != "pub" {
                    continue;
                }
                let words = all[at + 1..].iter();
                if all.get(at + 1).is_some_and(|next| next.text == "use") {
                    let end = words.take_while(|word| word.text != ";");
                    names.extend(end.map(|word| word.text.to_owned()));
                } else if all.get(at + 1).is_none_or(|next| next.text != "(") {
                    names.extend(words.take(3).map(|word| word.text.to_owned()));
                }
            }
        }
        Public { names }
    }

    fn examples(&self, source: &Source, findings: &mut Vec<Finding>) {
        let all = tokens(&source.product);
        let mut owner = Owners::default();
        for at in 0..all.len() {
            owner.step(&all, at);
            let Some((kind, name)) = declared(&all, at, owner.in_trait(at)) else { continue };
            let reached = match (kind, owner.at(at)) {
                ("fn" | "const" | "type", Some((holder, _))) => self.names.contains(holder),
                _ => self.names.contains(name),
            };
            let sealed = owner.in_trait(at) && source.name.starts_with(SEALED);
            let allowed =
                WITHOUT_EXAMPLE.iter().any(|(file, item, _)| *file == source.name && *item == name);
            if reached && !sealed && !allowed && !has_example(source, all[at].at) {
                let what = format!("pub {kind} `{name}` has no example in its documentation");
                findings.push(source.finding(all[at].at, what));
            }
        }
    }
}

/// Which `impl` or `trait` a token stands in.
#[derive(Default)]
struct Owners<'a> {
    /// The type or trait, whether it is a trait's declaration, and where it ends.
    stack: Vec<(&'a str, bool, usize)>,
}

impl<'a> Owners<'a> {
    fn step(&mut self, all: &[Token<'a>], at: usize) {
        self.stack.retain(|(_, _, end)| at <= *end);
        let begins =
            at == 0 || matches!(all[at - 1].text, "}" | "{" | ";" | "]" | "pub" | "unsafe");
        if !begins || !matches!(all[at].text, "impl" | "trait") {
            return;
        }
        let Some(open) = (at..all.len()).find(|&next| all[next].text == "{") else { return };
        let head = &all[at + 1..open];
        let is_trait = all[at].text == "trait";
        if head.iter().any(|token| token.text == "for") && !is_trait {
            return; // a trait's implementation: its words stand at the trait
        }
        let mut depth = 0;
        let holder = head.iter().find(|token| {
            depth += i32::from(token.text == "<") - i32::from(token.text == ">");
            depth == 0 && token.is_word()
        });
        let name = holder.map_or("", |token| token.text);
        self.stack.push((name, is_trait, closing(all, open)));
    }

    fn at(&self, at: usize) -> Option<(&'a str, bool)> {
        let (name, is_trait, end) = *self.stack.last()?;
        (at <= end).then_some((name, is_trait))
    }

    fn in_trait(&self, at: usize) -> bool {
        self.at(at).is_some_and(|(_, is_trait)| is_trait)
    }
}

/// The kind and name of the public item that starts at `at`.
fn declared<'a>(all: &[Token<'a>], at: usize, in_trait: bool) -> Option<(&'a str, &'a str)> {
    let first = all.get(at)?.text;
    let mut next = match first {
        "pub" => at + 1,
        "fn" if in_trait => at,
        _ => return None,
    };
    while matches!(all.get(next)?.text, "unsafe" | "async" | "extern")
        || (all.get(next)?.text == "const" && all.get(next + 1)?.text == "fn")
    {
        next += 1;
    }
    let kind = all.get(next)?.text;
    let named = matches!(kind, "fn" | "struct" | "enum" | "trait");
    (named && all.get(next + 1)?.is_word()).then(|| (kind, all[next + 1].text))
}

/// Whether the documentation right above the item at byte `at` holds an example.
fn has_example(source: &Source, at: usize) -> bool {
    let above: Vec<&str> = source.text[..at].lines().map(str::trim).collect();
    let own_line = source.text[..at].ends_with('\n') || source.text[..at].is_empty();
    let skip = usize::from(!own_line);
    for line in above.iter().rev().skip(skip) {
        if line.starts_with("///") {
            if line.contains("```") {
                return true;
            }
        } else if *line == "#[doc(hidden)]" {
            return true;
        } else if line.is_empty() || line.ends_with(['{', '}', ';']) {
            return false;
        }
    }
    false
}

#[test]
fn src_is_tidy() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_none(&check(&src));
    assert_none(&stale(&src, LARGE));
}

#[test]
fn tests_examples_and_benches_are_tidy() {
    for dir in ["tests", "examples", "benches"] {
        assert_none(&check_outside(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)));
    }
}

#[test]
fn exceptions_carry_a_reason() {
    let reasons = LARGE.iter().map(|(_, _, reason)| reason);
    let reasons = reasons.chain(LONG.iter().map(|(_, _, reason)| reason));
    for reason in reasons.chain(WITHOUT_EXAMPLE.iter().map(|(_, _, reason)| reason)) {
        assert!(reason.len() >= 20, "say why: {reason}");
    }
}

const HEAD: &str = "//! What it owns.\n//! Its invariants.\n//! Who calls it.\n";

/// Checks a tree of a root that lends `Lent` and one file under a good head.
fn planted(name: &str, text: &str) -> Vec<String> {
    let tree = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in [("lib.rs", "pub use room::{Lent, Disk};\npub mod open;\n"), (name, text)] {
        let path = tree.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("made");
        std::fs::write(&path, format!("{HEAD}{text}")).expect("written");
    }
    check(tree.path()).iter().map(Finding::to_string).collect()
}

fn assert_planted(name: &str, text: &str, wanted: &str) {
    let found = planted(name, text);
    assert!(found.len() == 1 && found[0].contains(wanted), "wanted {wanted}: {found:?}");
}

#[test]
fn large_rooms_facades_functions_and_lines_are_found() {
    assert_eq!(planted("a.rs", &"const A: u8 = 0;\n".repeat(497)), [""; 0]);
    assert_planted("a.rs", &"const A: u8 = 0;\n".repeat(498), "a room of 501 lines");
    assert_planted("a/mod.rs", &"const A: u8 = 0;\n".repeat(148), "a facade of 151 lines");
    let inline = format!(
        "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
        "const A: u8 = 0;\n".repeat(490),
        "fn a() {}\n".repeat(200)
    );
    assert_eq!(planted("a.rs", &inline), [""; 0]);
    let body = |lines| format!("fn long(a: [u8; 2]) -> u8 {{\n{}}}\n", "    f();\n".repeat(lines));
    assert_eq!(planted("a.rs", &body(68)), [""; 0]);
    assert_planted("a.rs", &body(69), "fn `long` has 71 lines");
    assert_planted("a.rs", &format!("// {}\n", "ä".repeat(98)), "a line of 101 columns");
}

#[test]
fn an_exception_that_is_no_longer_needed_is_found() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(tree.path().join("a.rs"), HEAD).expect("written");
    let found = stale(tree.path(), &[("a.rs", 600, "it was large once upon a time")]);
    assert!(found.len() == 1 && found[0].what.contains("strike it"), "{found:?}");
}

#[test]
fn a_missing_head_is_found() {
    let tree = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(tree.path().join("a.rs"), "//! One.\n//! Two.\nfn f() {}\n").expect("written");
    let found = check(tree.path());
    assert!(found.len() == 1 && found[0].what.starts_with("opens with 2 lines"), "{found:?}");
}

#[test]
fn empty_names_and_wrong_words_are_found() {
    assert_planted("log/types.rs", "", "`types` in a file's name");
    assert_planted("log/file_utils.rs", "", "`utils` in a file's name");
    assert_planted("a.rs", "struct LogManager;\n", "`manager` in the name of type");
    assert_planted("a.rs", "enum ReaderImpl {}\n", "`impl` in the name of type");
    assert_planted("a.rs", "fn f(message: u8) {}\n", "`message`: the word is record");
    assert_planted("a.rs", "struct LogEvent;\n", "`LogEvent`: the word is record");
    let fine = "struct Implied; impl Implied { fn eventual(max_message_bytes: u8) {} } // event\n";
    assert_eq!(planted("a.rs", fine), [""; 0]);
}

#[test]
fn unfinished_marks_are_found() {
    for mark in ["TODO", "FIXME", "XXX"] {
        let found = format!("unfinished: {mark}");
        assert_planted("a.rs", &format!("// {mark}: later\n"), &found);
    }
    assert_planted("a.rs", "fn f() { todo!() }\n", "unfinished: todo");
    assert_planted("a.rs", "fn f() { unimplemented!(\"x\") }\n", "unfinished: unimplemented");
    assert_planted("a/tests.rs", "#[ignore = \"slow\"]\nfn f() {}\n", "unfinished: #[ignore]");
    assert_eq!(planted("a.rs", "const A: &str = \"TODO todo!()\";\n"), [""; 0]);
}

#[test]
fn unwraps_in_product_code_are_found() {
    assert_planted("a.rs", "fn f() { g()\n    .unwrap(); }\n", "`.unwrap()` in product code");
    let fine = "/// `x.unwrap()`\nfn f() { g().unwrap_or(1); }\n\
                #[cfg(test)]\nmod tests { fn f() { g().unwrap(); } }\n";
    assert_eq!(planted("a.rs", fine), [""; 0]);
}

#[test]
fn unsafe_without_its_reason_is_found() {
    assert_planted("a.rs", "fn f() { unsafe { g() } }\n", "without a `// SAFETY:`");
    let shared = "fn f() {\n    // SAFETY: held.\n    unsafe { g() };\n    unsafe { h() };\n}\n";
    assert_planted("a.rs", shared, "a.rs:7: `unsafe` without");
    let fine = "fn f() {\n    // SAFETY: the lock is held,\n    // all the while.\n    \
                let x =\n        unsafe { g() };\n}\n/// # Safety\n/// Once.\nunsafe fn h() {}\n";
    assert_eq!(planted("a.rs", fine), [""; 0]);
}

#[test]
fn public_items_without_an_example_are_found() {
    let example = "/// It.\n///\n/// ```\n/// f();\n/// ```\n";
    assert_planted("room.rs", "/// It.\npub struct Lent;\n", "pub struct `Lent` has no example");
    let method = format!(
        "{example}#[derive(Debug)]\npub struct Lent;\n\
                          impl<'a> Lent<'a> {{\n    /// It.\n    #[must_use]\n    \
                          pub const fn get(&self) {{}}\n}}\n"
    );
    assert_planted("room.rs", &method, "pub fn `get` has no example");
    assert_planted("open.rs", "/// It.\npub enum Own {}\n", "pub enum `Own` has no example");
    let in_trait = format!("{example}pub trait Lent {{\n    /// It.\n    fn call(&self);\n}}\n");
    assert_planted("room.rs", &in_trait, "pub fn `call` has no example");
    let sealed = in_trait.replace("Lent", "Disk");
    assert_eq!(planted("disk/mod.rs", &sealed), [""; 0]);
    let hidden = format!(
        "{example}pub struct Lent;\nimpl Clone for Lent {{ fn clone() {{}} }}\n\
                          pub struct Inner;\nimpl Inner {{ pub fn get() {{}} }}\n\
                          pub(crate) fn f() {{}}\n"
    );
    assert_eq!(planted("room.rs", &hidden), [""; 0]);
}
