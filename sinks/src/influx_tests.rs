//! The way to a store against a real VictoriaMetrics, by both APIs and both clients, and what answers mean.

use std::collections::BTreeMap;

use millrace_schemas::time::Timestamp;
use millrace_test_servers::Store;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;
use crate::line::{self, Point};

/// 2026-01-01, 00:00 UTC: within what the store keeps.
const AT_MS: i64 = 1_767_225_600_000;

fn v2() -> Api {
    Api::V2 { org: "o".to_owned(), bucket: "b".to_owned() }
}

/// The series of a measurement in the store, by their label `a`, with their values.
fn stored(store: &Store, name: &str) -> BTreeMap<String, Vec<f64>> {
    store.flush();
    let answer = store.get(&format!("/api/v1/export?match[]={name}"));
    let read = |line: &str| -> (String, Vec<f64>) {
        let one: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let values = one["values"].as_array().expect("values").iter().map(|value| value.as_f64().expect("a number"));
        (one["metric"]["a"].as_str().unwrap_or_default().to_owned(), values.collect())
    };
    answer.lines().map(read).collect()
}

#[test]
fn lines_are_stored_by_both_apis_and_both_clients() {
    let store = Store::start();
    let ways = [
        ("crate", store.url(), v2()),
        ("own", format!("{}/influx", store.url()), v2()),
        ("old", store.url(), Api::V1 { database: "d".to_owned() }),
    ];
    for (name, url, api) in ways {
        let influx = Influx::new(&url, &api, "").expect("a way");
        assert_eq!(matches!(influx.way, Way::Crate { .. }), name == "crate");
        influx.send(&format!("way_{name},a=x f=1.5 {AT_MS}\n")).expect("taken");
        assert_eq!(stored(&store, &format!("way_{name}_f")), BTreeMap::from([("x".to_owned(), vec![1.5])]));
    }
}

#[test]
fn a_bad_line_is_found_and_all_others_are_stored() {
    let store = Store::start();
    let influx = Influx::new(&store.url(), &v2(), "").expect("a way");
    let mut lines: Vec<String> = (0..1_000).map(|at| format!("many,a={at} f={at} {AT_MS}\n")).collect();
    lines[17] = "this is none\n".to_owned();
    lines[613] = format!("many,a=613 {AT_MS}\n");
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut bad = Vec::new();
    influx.deliver(&lines, &mut bad).expect("it is there");
    assert_eq!(bad.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [17, 613]);
    assert!(bad.iter().all(|(_, words)| !words.is_empty()), "{bad:?}");
    let stored = stored(&store, "many_f");
    assert_eq!(stored.len(), 998);
    assert!(!stored.contains_key("17") && stored["18"] == [18.0]);
}

#[test]
fn what_the_encoder_writes_is_what_the_store_has() {
    let store = Store::start();
    let influx = Influx::new(&store.url(), &v2(), "").expect("a way");
    // Each label is another, so that each has a series; what is replaced has no twin.
    let labels =
        ["plain", "a b", "a,b", "a=b", "C:\\dir", "\"quoted\"", "é\u{1F600}", "#", "a\\b", "tail/", "x'y", "{}[]()|"];
    let mut lines = String::new();
    for (at, label) in (0..).zip(labels) {
        let labels = vec![("a", label.to_owned()), ("empty", String::new())];
        let fields = vec![("f", f64::from(at)), ("g", 1e-9)];
        line::encode(&Point { measurement: "exact", labels, fields, at: Timestamp(AT_MS * 1_000) }, &mut lines)
            .expect("legal");
    }
    for (label, replaced) in [("new\nline", 1), ("slash\\", 1), ("slash\\,comma", 1), ("two\\\\", 2)] {
        let labels = vec![("a", label.to_owned())];
        let point = Point { measurement: "exact", labels, fields: vec![("f", 99.0)], at: Timestamp(AT_MS * 1_000) };
        assert_eq!(line::encode(&point, &mut lines), Ok(replaced));
    }
    influx.send(&lines).expect("every line is one");
    let stored = stored(&store, "exact_f");
    for (at, label) in (0..).zip(labels) {
        assert_eq!(stored.get(label), Some(&vec![f64::from(at)]), "{label:?} in {stored:?}");
    }
    for label in ["new line", "slash/", "slash/,comma", "two//"] {
        assert_eq!(stored.get(label), Some(&vec![99.0]), "{label:?} in {stored:?}");
    }
    assert_eq!(stored.len(), labels.len() + 4);
}

/// 2,000 labels that are made up: as many as a store takes in one request.
const MADE_UP: usize = 2_000;

#[test]
fn whatever_a_label_is_the_store_reads_it_as_we_say() {
    let store = Store::start();
    let influx = Influx::new(&store.url(), &v2(), "").expect("a way");
    let (mut runner, label) = (TestRunner::default(), "\\PC{1,30}|[a-c\\\\,= \n\t\"#{}]{1,15}");
    let mut expected = BTreeMap::new();
    let mut lines = String::new();
    for at in 0..MADE_UP {
        let label = label.new_tree(&mut runner).expect("one").current();
        // Labels that are carried alike are one series, whose last number counts: each has a moment of its own.
        let at_ms = AT_MS + at as i64;
        let point = Point {
            measurement: "made_up",
            labels: vec![("a", label.clone())],
            fields: vec![("f", at as f64)],
            at: Timestamp(at_ms * 1_000),
        };
        line::encode(&point, &mut lines).expect("legal");
        expected.entry(line::tests::carried(&label)).or_insert_with(Vec::new).push(at as f64);
    }
    influx.send(&lines).expect("every line is one");
    let stored = stored(&store, "made_up_f");
    for (label, values) in &expected {
        assert_eq!(stored.get(label), Some(values), "{label:?}");
    }
    assert_eq!(stored.len(), expected.len());
}

#[test]
fn a_store_that_is_away_is_no_reason_to_call_a_line_bad() {
    let port = millrace_test_servers::free_port();
    let influx = Influx::new(&format!("http://127.0.0.1:{}", port.number), &v2(), "t").expect("a way");
    let failed = influx.send("m f=1 1\n").expect_err("nobody listens");
    assert!(matches!(&failed, Failed::Away { why, .. } if why.contains("refused")), "{failed}");
    let check = |status, bad| assert_eq!(matches!(answered(status, "words", None), Failed::Bad(_)), bad, "{status}");
    for status in [400, 413, 422] {
        check(status, true);
    }
    for status in [401, 403, 404, 429, 500, 502, 503] {
        check(status, false);
    }
}

#[test]
fn an_address_that_is_none_is_named() {
    let error = Influx::new("nowhere", &v2(), "").expect_err("no address");
    assert!(error.to_string().starts_with("nowhere: "), "{error}");
}

/// Answers one request with `answer`.
fn once(answer: &'static str) -> String {
    use std::io::Read as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/behind", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it comes");
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(answer.as_bytes());
    });
    url
}

#[test]
fn a_store_that_wants_to_be_asked_later_says_when() {
    let busy = once("HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 4\r\n\r\nslow");
    let influx = Influx::new(&busy, &v2(), "t").expect("a way");
    let failed = influx.send("m f=1 1\n").expect_err("it is busy");
    assert_eq!(failed, Failed::Away { why: "it answers 429: slow".to_owned(), after: Some(Duration::from_secs(3)) });
}
