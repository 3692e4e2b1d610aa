//! `millrace backtest` over the file of a bus: a statement that takes four times as long for a while, and threads that pile up, are told
//! with their times, and nothing that the bus has is changed. The records are as agents and processors append them.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use millrace::bus::Bus as _;
use millrace::bus::local::LocalBus;
use millrace_schemas::event::{Event, Payload, Subject};
use millrace_schemas::ids::{ClusterId, DigestId, EventId, HostId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::NewRecord;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::digests::{DigestEntry, Entry};
use millrace_schemas::topics::examples;
use millrace_schemas::topics::samples::{Sample, Taken};
use millrace_schemas::topics::windows::FINAL;
use serde_json::Value;

use crate::real::site::millrace;

/// 2023-11-14T22:13:20Z, where a window begins.
const START: i64 = 1_700_000_000;
/// Windows that are usual, and those that are not.
const USUAL: i64 = 100;
const BAD: i64 = 12;

fn subject() -> Subject {
    let (cluster, instance) = (ClusterId::parse("c1").expect("legal"), InstanceId::parse("db1").expect("legal"));
    Subject::instance(cluster, instance)
}

fn event<P: Payload>(source: &str, number: i64, payload: P) -> NewRecord {
    let event = Event {
        id: EventId::derive(&[source, &number.to_string()]),
        source: source.to_owned(),
        sequence: Sequence { incarnation: 1, counter: number as u64 },
        at: Timestamp((START + number * 10) * 1_000_000),
        appended: Timestamp::ZERO,
        subject: subject(),
        cause: None,
        payload,
    };
    event.to_record()
}

fn is_bad(number: i64) -> bool {
    (USUAL..USUAL + BAD).contains(&number)
}

fn sample(number: i64) -> NewRecord {
    let values = [("mysql_global_status_threads_running".to_owned(), if is_bad(number) { 90.0 } else { 6.0 })].into();
    let host = HostId::parse("h1").expect("legal");
    let taken = Timestamp((START + number * 10 + 5) * 1_000_000);
    event("agent/h1", number, Taken::Sample(Sample { host, taken, values, left_out: 0 }))
}

/// A window; while it is open its header says so, and half of it is there.
fn window(number: i64, closed: bool) -> NewRecord {
    let us = if is_bad(number) { 8_000 } else { 2_000 };
    let count = if closed { 500 } else { 250 };
    let windows = examples::window(START + number * 10, count, us, closed);
    let mut record = examples::windowed("c1", number as u64, &windows);
    record.headers.insert(FINAL.to_owned(), closed.to_string());
    record
}

fn digest() -> NewRecord {
    let entry = DigestEntry {
        digest: DigestId([3; 16]),
        text: "SELECT * FROM orders WHERE customer = ?".to_owned(),
        kind: "select".to_owned(),
        tables: vec!["shop.orders".to_owned()],
        truncated: false,
        first_seen: Timestamp(START * 1_000_000),
        parsed: true,
    };
    event("digests.1", 0, Entry::Digest(entry))
}

fn backtest(arguments: &[&str], bus: &Path) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        millrace().arg("backtest").args(arguments).arg("--bus").arg(bus).output().expect("it runs");
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    (status.code(), String::from_utf8(stdout).expect("text"))
}

#[test]
fn what_would_have_fired_is_told_of_a_bus_and_nothing_is_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bus.db");
    let bus = LocalBus::open(&file, Arc::default()).expect("a new bus opens");
    let all = USUAL + BAD + 20;
    let records = (0..all).flat_map(|number| [window(number, false), window(number, true), sample(number)]);
    let records: Vec<NewRecord> = std::iter::once(digest()).chain(records).collect();
    for some in records.chunks(100) {
        bus.append(some.to_vec()).wait().expect("it is there");
    }
    drop(bus);
    let (code, told) = backtest(&[], &file);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.lines().all(|line| line.chars().count() <= 80), "{told}");
    for part in [
        "+ c1 StatementRegressed: statements on shop.orders",
        "- c1 StatementRegressed: over after 2 min",
        "+ c1 Anomaly: 90 threads run on db1",
    ] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    let records = records.len();
    assert!(told.ends_with(&format!("\n{records} records, 2 findings, 0 alarms of series\n")), "{told}");

    let (_, first) = backtest(&["-o", "json"], &file);
    let json: Value = serde_json::from_str(&first).expect("JSON");
    let findings = json["findings"].as_array().expect("a list");
    assert_eq!((findings.len(), &json["records"]), (4, &records.into()), "{json}");
    let statements: Vec<&Value> =
        findings.iter().map(|one| &one["finding"]).filter(|one| one["rule"] == "StatementRegressed").collect();
    let [began, over] = statements.as_slice() else { panic!("{json}") };
    assert_eq!((&began["state"], &over["state"]), (&"firing".into(), &"resolved".into()));
    let since = (START + USUAL * 10) * 1_000_000;
    assert_eq!((&began["since"], &began["labels"]["table"]), (&since.into(), &"shop.orders".into()));
    assert_eq!(backtest(&["-o", "json"], &file).1, first, "nothing was written");

    // A file of rules, and a span of time in which nothing was said.
    let rules = folder.path().join("rules.toml");
    std::fs::write(
        &rules,
        "[[rule]]\nname = \"Threads\"\njudge = \"threshold\"\nmetric = \"mysql_global_status_threads_running\"\nabove = 50\n\
         summary = \"{instance} runs {value}\"\n",
    )
    .expect("writable");
    let (_, told) = backtest(&["--rules", rules.to_str().expect("text")], &file);
    assert!(told.contains("! c1 Threads: db1 runs 90"), "{told}");
    let (code, told) = backtest(&["--to", "2023-11-14T00:00:00Z"], &file);
    assert_eq!((code, told), (Some(0), format!("{records} records, 0 findings, 0 alarms of series\n")));
}
