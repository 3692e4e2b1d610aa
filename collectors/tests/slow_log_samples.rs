//! Real slow logs against what the servers counted: `MILLRACE_SAMPLES` names a folder of logs with their truth. Ignored without.

use std::collections::BTreeMap;
use std::path::PathBuf;

use millrace_collectors::slow_log::{Dialect, Entries, Found, SlowEntry};
use millrace_schemas::digest::{DigestId, Scanner, server_text};

fn samples() -> PathBuf {
    std::env::var_os("MILLRACE_SAMPLES").map(PathBuf::from).expect("MILLRACE_SAMPLES names the folder of the captures")
}

fn check(name: &str, dialect: Dialect) {
    let folder = samples();
    let packed = std::fs::File::open(folder.join(format!("{name}.slow.log.zst"))).expect("the log");
    let log = zstd::stream::decode_all(packed).expect("unpacks");
    let truth = std::fs::read(folder.join(format!("{name}.slow.truth.json"))).expect("the truth");
    let truth: serde_json::Value = serde_json::from_slice(&truth).expect("JSON");
    assert_eq!(Dialect::of_log(&log), Some(dialect));
    let (mut entries, mut unreadable): (Vec<SlowEntry>, _) = (Vec::new(), Vec::new());
    let mut reader = Entries::new(dialect, 0);
    let mut found = |found: Found<'_>| match found {
        Found::Entry(entry) => entries.push(entry.clone()),
        Found::Unreadable(part) => unreadable.push(part),
    };
    for part in log.chunks(100_000) {
        reader.take(part, &mut found);
    }
    reader.end(&mut found);
    assert_eq!(unreadable, []);
    let slow = truth["status_delta"]["Slow_queries"].as_u64().expect("a count");
    assert_eq!(entries.len() as u64, slow, "{name}");
    let forged = entries.iter().filter(|entry| entry.user == "fake").count();
    let quits = entries.iter().filter(|entry| entry.admin_command.is_some()).count();
    let longest = entries.iter().map(|entry| entry.sql_bytes).max();
    assert_eq!((forged, quits), (0, if dialect == Dialect::MySql { 8 } else { 0 }));
    assert!(longest > Some(200_000), "{longest:?}");
    assert!(entries.iter().all(|entry| entry.schema == "sbtest" || entry.schema.is_empty()));
    assert!(entries.iter().any(|entry| entry.query_time_us > 290_000));
    let differences = differences(&entries, &truth);
    assert!(differences.is_empty(), "{name}: {differences:#?}");
}

/// Digests whose counts differ from the server's by more than its own counters err.
fn differences(entries: &[SlowEntry], truth: &serde_json::Value) -> Vec<String> {
    let mut scanner = Scanner::new();
    let mut counts: BTreeMap<DigestId, (i64, i64, String)> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.admin_command.is_none()) {
        let text = scanner.digest(&entry.sql).text;
        counts.entry(scanner.match_key(text.as_bytes())).or_insert((0, 0, text)).0 += 1;
    }
    for digest in truth["digests"].as_array().expect("digests") {
        let (_, text) = server_text(digest["DIGEST_TEXT"].as_str().expect("a text"));
        let key = scanner.match_key(text.as_bytes());
        counts.entry(key).or_insert((0, 0, text.to_owned())).1 += digest["COUNT_STAR"].as_i64().expect("a count");
    }
    let differ = counts.into_values().filter(|(ours, theirs, _)| (ours - theirs).abs() > 2);
    differ
        .map(|(ours, theirs, text)| format!("log {ours}, server {theirs}: {}", &text[..text.len().min(200)]))
        .collect()
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn mysql_is_exact() {
    check("mysql97-extra-text", Dialect::MySql);
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn mariadb_is_exact() {
    check("mariadb1011-verbose-text", Dialect::MariaDb);
}
