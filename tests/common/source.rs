//! Rust source read as text, for the tests that hold the house in order.
//!
//! No parser: a lexer that tells code from comments and literals, and a token list over it. It
//! keeps every byte's place, so a finding names its line. What it must get right (and its own
//! tests below hold): nested comments, raw strings, lifetimes beside character literals, and
//! which parts of a file are compiled for tests only.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One thing found wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub line: usize,
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Fails with every finding on a line of its own.
pub fn assert_none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{} found:\n{}", findings.len(), lines.join("\n"));
}

/// A source file in three readings, all of one length, byte for byte.
pub struct Source {
    /// The path below the root that was asked for, with forward slashes.
    pub name: String,
    /// As it stands.
    pub text: String,
    /// Comments and literals blanked.
    pub code: String,
    /// Literals blanked, comments kept.
    pub prose: String,
    /// `code` with all that only tests compile blanked.
    pub product: String,
    /// Whether tests alone compile the whole file.
    pub test_only: bool,
}

impl Source {
    pub fn parse(name: &str, text: &str) -> Self {
        let (code, prose) = blank(text);
        let product = without_tests(&code);
        let test_only = name.split('/').any(|part| part == "tests" || part == "tests.rs");
        let (name, text) = (name.to_owned(), text.to_owned());
        Source { name, text, code, prose, product, test_only }
    }

    /// The line, from 1, of a byte.
    pub fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    pub fn finding(&self, at: usize, what: impl Into<String>) -> Finding {
        Finding { file: self.name.clone(), line: self.line(at), what: what.into() }
    }

    /// The modules this file stands for: `log/roll.rs` is `["log", "roll"]`, `lib.rs` is `[]`.
    pub fn modules(&self) -> Vec<String> {
        let stem = self.name.trim_end_matches(".rs");
        let mut parts: Vec<String> = stem.split('/').map(str::to_owned).collect();
        if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            parts.pop();
        }
        parts
    }
}

/// Every `.rs` file below `root`, in order of name.
pub fn read_tree(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(root, &mut paths);
    paths.sort();
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).expect("found below the root");
            let name = name.to_string_lossy().replace('\\', "/");
            Source::parse(&name, &fs::read_to_string(path).expect("a source file is readable"))
        })
        .collect();
    let for_tests: HashSet<String> = sources.iter().flat_map(test_files).collect();
    for source in &mut sources {
        source.test_only |= for_tests.contains(&source.name);
    }
    sources
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("a directory entry is readable").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The files that `#[cfg(test)] mod x;` names.
fn test_files(source: &Source) -> Vec<String> {
    let mut files = Vec::new();
    for (start, end) in test_items(&source.code) {
        let item = tokens(&source.code[start..end]);
        let words: Vec<&str> = item.iter().map(|token| token.text).collect();
        if let Some(at) = words.iter().position(|&word| word == "mod")
            && words.get(at + 2) == Some(&";")
        {
            let mut parts = source.modules();
            parts.push(words[at + 1].to_owned());
            files.push(format!("{}.rs", parts.join("/")));
            files.push(format!("{}/mod.rs", parts.join("/")));
        }
    }
    files
}

/// A word, a `::`, or one sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub at: usize,
}

impl Token<'_> {
    pub fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// The tokens of blanked code.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = code.char_indices().peekable();
    while let Some((at, sign)) = rest.next() {
        if sign.is_whitespace() {
            continue;
        }
        let mut end = at + sign.len_utf8();
        if sign.is_alphanumeric() || sign == '_' {
            while let Some(&(next, letter)) = rest.peek() {
                if !(letter.is_alphanumeric() || letter == '_') {
                    break;
                }
                end = next + letter.len_utf8();
                rest.next();
            }
        } else if sign == ':' && code[end..].starts_with(':') {
            end += 1;
            rest.next();
        }
        found.push(Token { text: &code[at..end], at });
    }
    found
}

/// The index of the token that closes the bracket opened at `open`.
pub fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    tokens.len() - 1
}

/// The byte ranges of items under a `cfg` that asks for `test`.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let all = tokens(code);
    let mut items = Vec::new();
    let mut at = 0;
    while at + 1 < all.len() {
        if all[at].text != "#" || all[at + 1].text != "[" {
            at += 1;
            continue;
        }
        let close = closing(&all, at + 1);
        let attribute: String = all[at + 2..close].iter().map(|token| token.text).collect();
        at = if asks_for_test(&attribute) {
            let last = item_end(&all, close + 1);
            items.push((all[at].at, all[last].at + 1));
            last + 1
        } else {
            close + 1
        };
    }
    items
}

fn asks_for_test(attribute: &str) -> bool {
    attribute == "test"
        || attribute == "cfg(test)"
        || attribute.strip_prefix("cfg(all(").is_some_and(|inner| {
            inner.trim_end_matches(')').split(',').any(|condition| condition == "test")
        })
}

/// The index of the last token of the item that starts at `at`, further attributes included.
fn item_end(all: &[Token<'_>], mut at: usize) -> usize {
    while at + 1 < all.len() && all[at].text == "#" {
        at = closing(all, at + 1) + 1;
    }
    let import = all.get(at).is_some_and(|token| token.text == "use");
    while at < all.len() {
        match all[at].text {
            ";" | "," => return at,
            "{" if !import => return closing(all, at),
            "{" | "(" | "[" => at = closing(all, at) + 1,
            _ => at += 1,
        }
    }
    all.len() - 1
}

fn without_tests(code: &str) -> String {
    let mut product = code.as_bytes().to_vec();
    for (start, end) in test_items(code) {
        erase(&mut product, start, end);
    }
    String::from_utf8(product).expect("whole characters are blanked")
}

fn erase(bytes: &mut [u8], start: usize, end: usize) {
    for byte in &mut bytes[start..end] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// The text without comments and literals, and the text without literals.
fn blank(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let (mut code, mut prose) = (bytes.to_vec(), bytes.to_vec());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (len, literal) = if rest.starts_with(b"//") {
            (rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with(b"/*") {
            (block_comment(rest), false)
        } else if let Some(len) = literal_len(text, at) {
            (len, true)
        } else {
            at += 1;
            continue;
        };
        erase(&mut code, at, at + len);
        if literal {
            erase(&mut prose, at, at + len);
        }
        at += len;
    }
    let whole = |bytes| String::from_utf8(bytes).expect("whole characters are blanked");
    (whole(code), whole(prose))
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the string or character literal that starts at `at`, if one does.
fn literal_len(text: &str, at: usize) -> Option<usize> {
    let rest = &text.as_bytes()[at..];
    let in_word = at > 0 && {
        let before = text.as_bytes()[at - 1];
        before.is_ascii_alphanumeric() || before == b'_'
    };
    match rest[0] {
        b'"' => Some(quoted(rest, 0)),
        b'\'' => character(&text[at..]),
        b'r' | b'b' | b'c' if !in_word => {
            let prefix = rest.iter().take_while(|byte| matches!(byte, b'r' | b'b' | b'c')).count();
            let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
            let quote = prefix + hashes;
            let raw = rest[..prefix].contains(&b'r');
            match rest.get(quote) {
                Some(b'"') if raw && prefix <= 2 => Some(raw_string(rest, quote, hashes)),
                Some(b'"') if hashes == 0 && prefix == 1 => Some(quoted(rest, quote)),
                Some(b'\'') if rest[..quote] == *b"b" => {
                    character(&text[at + 1..]).map(|len| len + 1)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn quoted(rest: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8], open: usize, hashes: usize) -> usize {
    let end: Vec<u8> = [b'"'].into_iter().chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = &rest[open + 1..];
    let found = inside.windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |at| open + 1 + at + end.len())
}

/// A character literal's length; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut inside = rest[1..].chars();
    let first = inside.next()?;
    if first == '\\' {
        let end = rest[3..].find('\'')?;
        return Some(3 + end + 1);
    }
    (inside.next()? == '\'').then(|| 1 + first.len_utf8() + 1)
}

mod lexer {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = r####"
            let a = "crate::x \" still"; // crate::y
            /* crate::z /* nested */ crate::w */ let b = r#"crate::v " "#;
            let c: &'static str = b"crate::u"; let d = '"'; let e = '\''; let f = b'"';
            let g = "after"; let keep = 'a: loop { break 'a; };
        "####;
        let source = Source::parse("x.rs", text);
        assert_eq!(source.code.len(), text.len());
        assert!(!source.code.contains("crate"), "{}", source.code);
        assert!(source.code.contains("let keep = 'a: loop { break 'a; };"), "{}", source.code);
        assert!(source.code.contains("&'static str"));
        assert!(source.prose.contains("crate::y") && !source.prose.contains("crate::v"));
    }

    #[test]
    fn what_tests_alone_compile_is_not_product() {
        let text = "fn a() {}\n#[cfg(test)]\nuse x::{y, z};\n#[cfg(all(test, loom))]\n\
                    mod tests { fn b() { c() } }\n#[cfg(any(test, sim))]\nfn d() {}\nfn e() {}\n";
        let product = Source::parse("x.rs", text).product;
        for kept in ["fn a", "fn d", "fn e"] {
            assert!(product.contains(kept), "{product}");
        }
        for gone in ["use x", "fn b"] {
            assert!(!product.contains(gone), "{product}");
        }
    }

    #[test]
    fn modules_follow_the_path() {
        let modules = |name| Source::parse(name, "").modules().join("::");
        assert_eq!(modules("lib.rs"), "");
        assert_eq!(modules("log/mod.rs"), "log");
        assert_eq!(modules("log/roll.rs"), "log::roll");
    }
}
