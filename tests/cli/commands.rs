//! The commands that operate a store: groups, settings, numbers, copies, repairs; and what else
//! producing and consuming can do.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::common::golden::Scenario;
use super::{DAMAGED, DONE, FAILED, USAGE, done, dump, fed, lines, raw};

/// A store with a topic of two partitions, three and one records in them, and a group that has
/// read the first two of the first.
fn store() -> (tempfile::TempDir, String) {
    let held = tempfile::tempdir().unwrap();
    let root = held.path().join("store").to_str().unwrap().to_owned();
    done(&["create", &root, "orders", "--partitions", "2"]);
    for (partition, input) in [("0", "a\nb\nc\n"), ("1", "d\n")] {
        assert_eq!(fed(&["produce", &root, "orders", "--partition", partition], input).2, DONE);
    }
    done(&["consume", &root, "orders", "--group", "billing", "--max", "2"]);
    (held, root)
}

fn committed(root: &str) -> Vec<(Value, Value)> {
    let described = lines(&done(&["groups", "describe", "--json", root, "billing"]));
    described.iter().map(|it| (it["partition"].clone(), it["committed"].clone())).collect()
}

#[test]
fn groups_are_listed_described_moved_and_deleted() {
    let (_held, root) = store();
    let topics = lines(&done(&["topics", "--json", "--internal", &root]));
    let internal = topics.iter().find(|it| it["topic"] == "__consumer_offsets");
    assert_eq!(internal.map(|it| &it["internal"]), Some(&json!(true)));
    let listed = lines(&done(&["groups", "list", "--json", &root]));
    assert_eq!((listed.len(), &listed[0]["group"]), (1, &json!("billing")));
    let text = done(&["groups", "list", &root]);
    assert!(text.starts_with("GROUP") && text.contains("billing"), "{text}");
    let before = committed(&root);
    let described = lines(&done(&["groups", "describe", "--json", &root, "billing"]));
    assert_eq!(described[0]["topic"], "orders");
    let lag: i64 = described.iter().map(|it| it["lag"].as_i64().unwrap()).sum();
    assert_eq!(lag, listed[0]["lag"].as_i64().unwrap());

    let all = ["groups", "reset", "--json", &root, "billing", "--topic", "orders"];
    let dry = lines(&done(&[&all[..], &["--to-latest", "--dry-run"]].concat()));
    let moves: Vec<_> = dry.iter().map(|it| (&it["partition"], &it["new"])).collect();
    assert_eq!(moves, [(&json!(0), &json!(3)), (&json!(1), &json!(1))]);
    assert_eq!(committed(&root), before, "nothing was changed");
    done(&[&all[..], &["--to-latest"]].concat());
    assert_eq!(committed(&root), [(json!(0), json!(3)), (json!(1), json!(1))]);
    let one = ["groups", "reset", &root, "billing", "--partition", "orders:0"];
    let text = done(&[&one[..], &["--shift", "-9"]].concat());
    assert!(text.contains("the nearest there is"), "{text}");
    assert_eq!(committed(&root), [(json!(0), json!(0)), (json!(1), json!(1))]);
    done(&[&one[..], &["--to-offset", "2"]].concat());
    assert_eq!(done(&["consume", &root, "orders", "--group", "billing"]), "c\n");

    let (_, err, code) = raw(&one);
    assert_eq!(code, USAGE, "{err}");
    assert!(err.contains("--to-earliest"), "{err}");
    let (_, err, code) = raw(&[&one[..], &["--to-latest", "--to-earliest"]].concat());
    assert_eq!(code, USAGE, "{err}");
    let (_, err, code) = raw(&["groups", "describe", &root, "bill"]);
    assert_eq!(code, FAILED);
    assert!(err.contains("billing"), "it names those there are: {err}");

    done(&["groups", "delete", &root, "billing", "--topic", "orders"]);
    assert!(committed(&root).is_empty());
    done(&["groups", "delete", &root, "billing"]);
    assert_eq!(done(&["groups", "list", "--json", &root]), "");
}

#[test]
fn settings_are_shown_changed_and_taken_back() {
    let (_held, root) = store();
    let changed = ["config", "describe", "--json", "--changed", &root, "orders"];
    assert_eq!(done(&changed), "");
    let alter = ["config", "alter", &root, "orders"];
    let set = ["--set", "retention.ms=1000", "--set", "flush.messages=10"];
    done(&[&alter[..], &set].concat());
    let now = lines(&done(&changed));
    let now: Vec<_> = now.iter().map(|it| (&it["key"], &it["value"])).collect();
    assert_eq!(
        now,
        [(&json!("retention.ms"), &json!("1000")), (&json!("flush.messages"), &json!("10"))]
    );
    done(&[&alter[..], &["--unset", "retention.ms", "--unset", "flush.messages"]].concat());
    assert_eq!(done(&changed), "");
    let all = done(&["config", "describe", &root, "orders"]);
    for key in ["segment.bytes", "preallocate", "tidelog.max.bytes"] {
        assert!(all.contains(key), "{key}: {all}");
    }
    for (arguments, told) in [
        (&[][..], "--set KEY=VALUE"),
        (&["--set", "preallocate=true"][..], "small windows"),
        (&["--set", "min.insync.replicas=2"][..], "one copy"),
        (&["--unset", "retention"][..], "known: segment.bytes"),
    ] {
        let (_, err, code) = raw(&[&alter[..], arguments].concat());
        assert_eq!(code, USAGE, "{err}");
        assert!(err.contains(told), "{err}");
    }
}

#[test]
fn a_backup_is_a_store_and_numbers_are_shown_of_both() {
    let (held, root) = store();
    let copy = held.path().join("copy").to_str().unwrap().to_owned();
    let made = lines(&done(&["backup", "--json", &root, &copy]));
    assert_eq!(made[0]["path"], json!(copy));
    assert!(
        made[0]["filesLinked"].as_u64().unwrap() + made[0]["filesCopied"].as_u64().unwrap() > 0
    );
    for root in [&root, &copy] {
        let stats = lines(&done(&["stats", "--json", root]));
        let sums = stats.last().unwrap();
        assert_eq!((&sums["partitions"], &sums["offsets"]), (&json!(2), &json!(4)), "{root}");
        assert_eq!((&sums["groups"], &stats[0]["logEndOffset"]), (&json!(1), &json!(3)));
        let text = done(&["stats", root]);
        assert!(text.contains("TOPIC") && text.contains("4 offsets"), "{text}");
        assert_eq!(done(&["consume", root, "orders", "--partition", "0"]), "a\nb\nc\n");
    }
    let (_, err, code) = raw(&["backup", &root, &copy]);
    assert_eq!(code, USAGE, "it is there already: {err}");
}

#[test]
fn a_repair_shows_its_plan_and_carries_it_out() {
    let (held, root) = store();
    let log = held.path().join("store/orders-0/00000000000000000000.log");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, &bytes).unwrap();
    assert_eq!(raw(&["verify", &root]).2, DAMAGED);
    let planned = lines(&done(&["repair", "--json", "--dry-run", &root]));
    assert_eq!(planned[0]["kind"], "CutOut");
    assert_eq!(planned.last().unwrap()["done"], false);
    assert_eq!(fs::read(&log).unwrap(), bytes, "nothing was changed");
    let text = done(&["repair", &root]);
    assert!(text.contains("kept: ") && text.contains("done"), "{text}");
    let left = dump(&Path::new(&root).join("orders-0"), &[]);
    assert_eq!((left.code, left.out.len()), (DONE, 2), "what can be read is all there");
    let (text, _, code) = raw(&["repair", &root]);
    assert!(text.contains("0 steps"), "{text}");
    assert_eq!(code, DAMAGED, "that a record is missing no repair mends");
}

#[test]
fn what_is_produced_has_its_codec_headers_and_batch() {
    let (_held, root) = store();
    done(&["create", &root, "zipped"]);
    let produce = ["produce", &root, "zipped", "--codec", "zstd"];
    let input = "one\ntwo\nthree\n";
    let header = ["--header", "source=test"];
    assert_eq!(fed(&[&produce[..], &header].concat(), input).0, "3 records written\n");
    assert_eq!(fed(&[&produce[..], &["--batch", "1"]].concat(), input).2, DONE);
    let batches = dump(&Path::new(&root).join("zipped-0"), &["--batches"]).out;
    let batches: Vec<_> = batches.iter().map(|it| (&it["count"], &it["codec"])).collect();
    let zstd = json!("zstd");
    let (three, one) = (json!(3), json!(1));
    assert_eq!(batches, [(&three, &zstd), (&one, &zstd), (&one, &zstd), (&one, &zstd)]);
    let consumed = lines(&done(&["consume", "--json", &root, "zipped"]));
    assert_eq!(consumed[0]["headers"], json!([["source", "dGVzdA=="]]));
    for (arguments, told) in [
        (["--codec", "brotli"], "gzip, snappy"),
        (["--header", "source"], "KEY=VALUE"),
        (["--batch", "0"], "1..=100000"),
    ] {
        let (_, err, code) = fed(&[&produce[..3], &arguments].concat(), "");
        assert_eq!(code, USAGE, "{err}");
        assert!(err.contains(told), "{err}");
    }
    let (_, err, code) =
        fed(&["produce", "--json", "--batch", "9", &root, "zipped"], "{}\n{}\nx\n");
    assert_eq!(code, USAGE);
    assert!(err.contains("line 3") && err.contains("2 records were written"), "{err}");
}

#[test]
fn a_range_is_consumed_by_offset_or_time() {
    let (_held, root) = store();
    let input: String = (0..5)
        .map(|at| format!("{{\"value\":\"eA==\",\"partition\":1,\"timestamp\":{}}}\n", 1000 + at))
        .collect();
    assert_eq!(fed(&["produce", "--json", &root, "orders"], &input).2, DONE);
    let consume = ["consume", "--json", &root, "orders", "--partition", "1"];
    let offsets = |arguments: &[&str]| -> Vec<i64> {
        let consumed = lines(&done(&[&consume[..], arguments].concat()));
        consumed.iter().map(|it| it["offset"].as_i64().unwrap()).collect()
    };
    assert_eq!(offsets(&["--from", "1", "--to", "4"]), [1, 2, 3]);
    assert_eq!(offsets(&["--to", "1"]), [0]);
    assert_eq!(offsets(&["--from-time", "1003"]), [0, 1, 2, 3, 4, 5], "the first has today's");
    done(&["create", &root, "dated"]);
    assert_eq!(
        fed(&["produce", "--json", &root, "dated"], &input.replace(",\"partition\":1", "")).2,
        DONE
    );
    let dated = lines(&done(&["consume", "--json", &root, "dated", "--from-time", "1003"]));
    assert_eq!(dated.len(), 2);
}

#[test]
fn a_group_follows_what_comes() {
    let (_held, root) = store();
    let program = env!("CARGO_BIN_EXE_tidelog");
    let mut child = Command::new(program)
        .args(["consume", &root, "orders", "--follow", "--max", "5"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    printed.read_line(&mut first).unwrap(); // it reads beside the writer that comes now
    assert_eq!(fed(&["produce", &root, "orders", "--partition", "0"], "e\n").2, DONE);
    let rest: Vec<String> = printed.lines().map(|line| line.unwrap()).collect();
    assert_eq!((rest.len(), rest.last().unwrap().as_str()), (4, "e"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn dead_letters_are_counted_and_sent_back_once() {
    let (_held, root) = store();
    let letter = ["--header", "dlq.topic=orders", "--header", "dlq.group=g"];
    let produce = ["produce", &root, "g.dlq", "--partition", "0"];
    done(&["create", &root, "g.dlq"]);
    assert_eq!(fed(&[&produce[..], &letter].concat(), "x\ny\n").2, DONE);
    assert_eq!(fed(&produce, "by hand\n").2, DONE);
    let redrive = ["redrive", &root, "g.dlq", "--max", "1"];
    let counted = done(&[&redrive[..], &["--dry-run", "--group", "g"]].concat());
    assert_eq!(counted, "1 would be sent back, 0 passed over\n");
    assert_eq!(done(&redrive), "1 sent back, 0 passed over\n");
    let line = &lines(&done(&["redrive", &root, "g.dlq", "--json"]))[0];
    assert_eq!((&line["records"], &line["stranded"]), (&json!(1), &json!(1)));
    assert_eq!(done(&["consume", &root, "orders", "--partition", "0"]), "a\nb\nc\nx\ny\n");
    assert_eq!(
        done(&["redrive", &root, "g.dlq", "--to", "orders"]),
        "1 sent back, 0 passed over\n"
    );
    let by_group = ["redrive", &root, "--group", "g", "--dry-run"];
    assert_eq!(done(&by_group), "0 would be sent back, 0 passed over\n");
    let (_, err, code) = raw(&["redrive", &root, "nothing"]);
    assert_eq!(code, FAILED, "{err}");
    let (_, err, code) = raw(&["redrive", &root]);
    assert_eq!(code, USAGE, "{err}");
    let (_, err, code) = raw(&["redrive", &root, "g.dlq", "--cause", "none"]);
    assert_eq!(code, USAGE, "{err}");
}

#[test]
fn a_group_that_stops_is_shown_and_goes_on() {
    let (_held, root) = store();
    let open = || tidelog::Store::open(&root).unwrap();
    let stopping = |store: &tidelog::Store| {
        let builder = store.share_consumer("jobs").assign([("orders", 0)]);
        builder.stop_when_exhausted().build().unwrap()
    };
    let own = open();
    let mut consumer = stopping(&own);
    for record in consumer.try_poll().unwrap().iter().take(2) {
        consumer.reject_because(record, "no such account").unwrap();
    }
    drop(consumer);
    own.close().unwrap();
    let shown = done(&["groups", "stopped", &root, "jobs"]);
    assert!(shown.contains("no such account") && shown.lines().count() == 3, "{shown}");
    let line = &lines(&done(&["groups", "stopped", &root, "jobs", "--json"]))[1];
    assert_eq!((&line["offset"], &line["attempts"]), (&json!(1), &json!(1)));
    let ended = done(&["groups", "skip", &root, "jobs", "orders", "0", "0"]);
    assert_eq!(ended, "orders-0 offset 0 given up\n");
    let ended = done(&["groups", "release", &root, "jobs", "orders", "0", "1"]);
    assert_eq!(ended, "orders-0 offset 1 released\n");
    let (_, err, code) = raw(&["groups", "skip", &root, "jobs", "orders", "0", "0"]);
    assert_eq!(code, FAILED, "{err}");
    let own = open();
    let leased = stopping(&own).try_poll().unwrap();
    let offsets: Vec<i64> = leased.iter().map(|record| record.offset().get()).collect();
    assert_eq!(offsets, [1, 2]);
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = done(&["completions", shell]);
        for command in
            ["groups", "txns", "config", "stats", "backup", "repair", "dry-run", "from-time"]
        {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let (help, _, _) = raw(&["--help"]);
    assert!(help.contains("Exit codes: 0 done, 1 it failed, 2 wrong use, 3"), "{help}");
}

#[test]
fn transactions_are_produced_listed_and_aborted() {
    let (_held, root) = store();
    let produce = ["produce", &root, "orders", "--partition", "0", "--transactional", "t1"];
    assert_eq!(fed(&produce, "x\ny\n").0, "2 records written\n");
    assert_eq!(done(&["consume", &root, "orders", "--partition", "0"]), "a\nb\nc\nx\ny\n");
    let json = [&produce[..], &["--json"]].concat();
    let (out, err, code) = fed(&json, "{\"value\":\"eA==\"}\nno\n");
    assert_eq!((out.as_str(), code), ("", USAGE), "{err}");
    assert!(err.contains("line 2") && err.contains("the transaction was aborted"), "{err}");
    assert_eq!(done(&["consume", &root, "orders", "--partition", "0"]), "a\nb\nc\nx\ny\n");
    let all = ["consume", &root, "orders", "--partition", "0", "--read-uncommitted"];
    assert_eq!(done(&all), "a\nb\nc\nx\ny\nx\n");

    let listed = lines(&done(&["txns", "list", "--json", &root]));
    let states: Vec<_> = listed.iter().map(|it| (&it["transactionalId"], &it["phase"])).collect();
    assert_eq!(states, [(&json!("t1"), &json!("CompleteAbort"))]);
    let text = done(&["txns", "list", &root]);
    assert!(text.starts_with("TRANSACTIONAL ID") && text.contains("CompleteAbort"), "{text}");
    assert!(done(&["txns", "describe", &root, "t1"]).contains("CompleteAbort"));
    assert_eq!(done(&["txns", "list", "--open", "--json", &root]), "");
    let (_, err, code) = raw(&["txns", "abort", &root, "t1"]);
    assert_eq!(code, FAILED, "none is open: {err}");
    let (_, err, code) = raw(&["txns", "describe", &root, "t2"]);
    assert_eq!(code, FAILED, "{err}");
    for wrong in [&["txns", "abort", &root][..], &["txns", "abort", &root, "--producer-id", "1"]] {
        let (_, err, code) = raw(wrong);
        assert_eq!(code, USAGE, "{err}");
    }
}

/// Kafka left one open in partitions, which nobody here ever ends.
#[test]
fn a_hanging_transaction_is_found_and_aborted() {
    let scenario = Scenario::load("groups-root");
    let root = scenario.path();
    let root = root.to_str().unwrap();
    let open = lines(&done(&["txns", "list", "--open", "--json", root]));
    assert!(!open.is_empty(), "the golden root has one");
    for hanging in &open {
        let place = format!("{}:{}", hanging["topic"].as_str().unwrap(), hanging["partition"]);
        match hanging["transactionalId"].as_str() {
            Some(id) => drop(raw(&["txns", "abort", root, id])),
            None => {
                let producer = hanging["producerId"].to_string();
                let abort = ["--partition", &place, "--producer-id", &producer];
                done(&[&["txns", "abort", root][..], &abort].concat());
            }
        }
    }
    assert_eq!(done(&["txns", "list", "--open", "--json", root]), "");
}
