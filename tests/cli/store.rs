//! A store made, written, read, changed and verified from the command line, and what wrong use is
//! told.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{DAMAGED, DONE, FAILED, USAGE, done, dump, fed, lines, raw};

#[test]
fn wrong_use_says_what_to_do() {
    let (_, err, code) = raw(&["dump"]);
    assert_eq!(code, USAGE);
    assert!(err.contains("<PATH>") && err.contains("--help"), "{err}");
    let (_, err, code) = raw(&["dump", "--jsn", "x"]);
    assert_eq!(code, USAGE);
    assert!(err.contains("--json"), "{err}");
    let (_, err, code) = raw(&["dump", "/nowhere/at/all"]);
    assert_eq!(code, FAILED);
    assert!(err.contains("/nowhere/at/all"), "{err}");
    let (out, _, code) = raw(&["completions", "bash"]);
    assert_eq!(code, DONE);
    assert!(out.contains("tidelog"));
}

#[test]
fn a_store_is_run_from_the_command_line() {
    let held = tempfile::tempdir().unwrap();
    let root = held.path().join("store");
    let root = root.to_str().unwrap();
    assert_eq!(raw(&["topics", root]).2, FAILED, "there is no store yet");
    assert!(!Path::new(root).exists(), "looking makes nothing");
    done(&["create", root, "orders", "--partitions", "2", "--config", "retention.ms=86400000"]);
    done(&["create", root, "gone"]);
    done(&["delete", root, "gone"]);
    done(&["alter", root, "orders", "--partitions", "3", "--config", "segment.bytes=1048576"]);
    let listed = lines(&done(&["topics", "--json", root]));
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["topic"], "orders");
    assert_eq!(listed[0]["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(listed[0]["config"]["retention.ms"], "86400000");
    assert_eq!(listed[0]["config"]["segment.bytes"], "1048576");
    assert!(done(&["topics", root]).contains("orders"));

    let produce = ["produce", root, "orders", "--partition", "1", "--key-separator", ":"];
    let (out, err, code) = fed(&produce, "a:one\nb:two\nplain\n");
    assert_eq!((out.as_str(), code), ("3 records written\n", DONE), "{err}");
    let json = r#"{"key": null, "value": "dHdv", "headers": [["h", null], ["i", "aQ=="]],
        "partition": 1, "timestamp": 1700000000000}"#;
    let json = json.replace('\n', "");
    let (out, err, code) = fed(&["produce", root, "orders", "--json", "--power"], &json);
    assert_eq!(code, DONE, "{err}");
    assert_eq!(lines(&out)[0]["offset"], 3);

    assert_eq!(done(&["consume", root, "orders"]), "one\ntwo\nplain\ntwo\n");
    let from = ["consume", root, "orders", "--json", "--partition", "1", "--from", "3"];
    let consumed = lines(&done(&from));
    assert_eq!((consumed.len(), &consumed[0]["value"]), (1, &Value::from("dHdv")));
    assert_eq!(consumed[0]["headers"], serde_json::json!([["h", null], ["i", "aQ=="]]));
    assert_eq!(consumed[0]["timestamp"], 1_700_000_000_000_i64);
    let dumped = dump(Path::new(root), &[]).out;
    let dumped: Vec<&Value> = dumped.iter().filter(|line| line["topic"] == "orders").collect();
    for key in ["offset", "timestamp", "key", "value", "headers"] {
        assert_eq!(dumped[3][key], consumed[0][key], "{key}");
    }

    let group = ["consume", root, "orders", "--group", "billing"];
    let some = [&group[..], &["--max", "2"]].concat();
    assert_eq!(done(&some), "one\ntwo\n");
    assert_eq!(done(&group), "plain\ntwo\n");
    assert_eq!(done(&group), "");
    assert_eq!(lines(&done(&["verify", "--json", root])).last().unwrap()["clean"], true);
}

#[test]
fn wrong_settings_names_and_lines_say_what_is_right() {
    let held = tempfile::tempdir().unwrap();
    let root = held.path().to_str().unwrap();
    done(&["create", root, "orders"]);
    for (arguments, told) in [
        (&["create", root, "a/b"][..], "a/b"),
        (&["create", root, "a", "--config", "retention.ms"][..], "KEY=VALUE"),
        (&["create", root, "a", "--config", "retention.mss=1"][..], "retention.mss"),
        (&["create", root, "a", "--config", "retention.ms=soon"][..], "soon"),
        (&["consume", root, "orders", "--partition", "9"][..], "1 partitions"),
        (&["consume", root, "orders", "--from", "9"][..], "--partition"),
    ] {
        let (_, err, code) = raw(arguments);
        assert_eq!(code, USAGE, "{arguments:?}: {err}");
        assert!(err.contains(told), "{arguments:?}: {err}");
    }
    for line in ["x", "[]", r#"{"key": 1}"#, r#"{"key": "?"}"#, r#"{"partition": -1}"#] {
        let (_, err, code) = fed(&["produce", "--json", root, "orders"], line);
        assert_eq!(code, USAGE, "{line}: {err}");
        assert!(err.contains("line 1"), "{line}: {err}");
    }
    for arguments in [&["delete", root, "none"][..], &["produce", "/nowhere", "orders"]] {
        assert_eq!(fed(arguments, "").2, FAILED, "{arguments:?}");
    }
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn verify_ends_with_the_code_for_damage() {
    let held = tempfile::tempdir().unwrap();
    let root = held.path().to_str().unwrap();
    done(&["create", root, "orders"]);
    assert_eq!(fed(&["produce", root, "orders"], "one\ntwo\n").2, DONE);
    let log = held.path().join("orders-0/00000000000000000000.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[65] ^= 1;
    fs::write(&log, bytes).unwrap();
    let (out, err, code) = raw(&["verify", root]);
    assert_eq!(code, DAMAGED, "{err}");
    assert!(out.contains("orders-0"), "{out}");
}
