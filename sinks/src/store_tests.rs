//! The way to a store against a real VictoriaMetrics, by every API and both clients; remote write against a real Prometheus; and
//! what answers mean.

use std::collections::BTreeMap;

use millrace_schemas::time::Timestamp;
use millrace_test_servers::{Store as Server, signed};
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
fn stored(store: &Server, name: &str) -> BTreeMap<String, Vec<f64>> {
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
    let store = Server::start();
    let ways = [
        ("crate", store.url(), v2()),
        ("own", format!("{}/influx", store.url()), v2()),
        ("old", store.url(), Api::V1 { database: "d".to_owned() }),
    ];
    for (name, url, api) in ways {
        let influx = Store::new(&url, &api, "", None).expect("a way");
        assert_eq!(matches!(influx.way, Way::Crate(_)), name == "crate");
        influx.send(format!("way_{name},a=x f=1.5 {AT_MS}\n").as_bytes()).expect("taken");
        assert_eq!(stored(&store, &format!("way_{name}_f")), BTreeMap::from([("x".to_owned(), vec![1.5])]));
    }
}

/// Each API over TLS, by who names the authority that signed the store's certificate; by nobody else.
#[test]
fn a_store_with_a_certificate_of_a_private_authority_is_written_to_by_who_names_it() {
    let (folder, strangers) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let [authority, certificate, key] = signed(folder.path());
    let [stranger, ..] = signed(strangers.path());
    let (store, port) = Server::tls([&certificate, &key]);
    let url = format!("https://localhost:{port}");
    for (name, api) in [("v2", v2()), ("v1", Api::V1 { database: "d".to_owned() }), ("remote", Api::Remote)] {
        let mut points = Vec::new();
        let at = Timestamp(AT_MS * 1_000);
        let point = Point { measurement: "tls", labels: vec![("a", name.to_owned())], fields: vec![("f", 1.5)], at };
        api.encode(&point, &mut points).expect("a point");
        let send = |ca_file| Store::new(&url, &api, "", ca_file).expect("a way").send(&points);
        for ca_file in [None, Some(&*stranger)] {
            let failed = send(ca_file).expect_err("nobody believes who signed it");
            assert!(matches!(&failed, Failed::Away { why, .. } if why.contains("certificate")), "{name}: {failed}");
        }
        assert!(!stored(&store, "tls_f").contains_key(name), "nothing was sent");
        send(Some(&authority)).expect("taken");
        assert_eq!(stored(&store, "tls_f").get(name), Some(&vec![1.5]));
        let unusable = Store::new(&url, &api, "", Some(&key)).expect_err("that file has no certificate");
        assert!(unusable.to_string().contains("there is none in it"), "{unusable}");
    }
}

#[test]
fn a_bad_line_is_found_and_all_others_are_stored() {
    let store = Server::start();
    let influx = Store::new(&store.url(), &v2(), "", None).expect("a way");
    let mut lines: Vec<String> = (0..1_000).map(|at| format!("many,a={at} f={at} {AT_MS}\n")).collect();
    lines[17] = "this is none\n".to_owned();
    lines[613] = format!("many,a=613 {AT_MS}\n");
    let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let mut left = Left::default();
    influx.deliver(&lines, &mut left).expect("it is there");
    let bad = left.bad;
    assert_eq!(bad.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [17, 613]);
    assert!(bad.iter().all(|(_, words)| !words.is_empty()), "{bad:?}");
    let stored = stored(&store, "many_f");
    assert_eq!(stored.len(), 998);
    assert!(!stored.contains_key("17") && stored["18"] == [18.0]);
}

#[test]
fn what_the_encoder_writes_is_what_the_store_has() {
    let store = Server::start();
    let influx = Store::new(&store.url(), &v2(), "", None).expect("a way");
    // Each label is another, so that each has a series; what is replaced has no twin.
    let labels =
        ["plain", "a b", "a,b", "a=b", "C:\\dir", "\"quoted\"", "é\u{1F600}", "#", "a\\b", "tail/", "x'y", "{}[]()|"];
    let mut lines = Vec::new();
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
    let store = Server::start();
    let influx = Store::new(&store.url(), &v2(), "", None).expect("a way");
    let (mut runner, label) = (TestRunner::default(), "\\PC{1,30}|[a-c\\\\,= \n\t\"#{}]{1,15}");
    let mut expected = BTreeMap::new();
    let mut lines = Vec::new();
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
    let influx = Store::new(&format!("http://127.0.0.1:{}", port.number), &v2(), "t", None).expect("a way");
    let failed = influx.send(b"m f=1 1\n").expect_err("nobody listens");
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
    let error = Store::new("nowhere", &v2(), "", None).expect_err("no address");
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
    let influx = Store::new(&busy, &v2(), "t", None).expect("a way");
    let failed = influx.send(b"m f=1 1\n").expect_err("it is busy");
    assert_eq!(failed, Failed::Away { why: "it answers 429: slow".to_owned(), after: Some(Duration::from_secs(3)) });
}

/// A point of the series `a`, `after` seconds after the beginning.
fn point(a: &str, value: f64, begins_ms: i64, after: i64) -> Point {
    let labels = vec![("a", a.to_owned())];
    Point {
        measurement: "remote",
        labels,
        fields: vec![("f", value)],
        at: Timestamp((begins_ms + after * 1_000) * 1_000),
    }
}

fn encoded(point: &Point) -> Vec<u8> {
    let mut bytes = Vec::new();
    Api::Remote.encode(point, &mut bytes).expect("a point");
    bytes
}

#[test]
fn remote_write_stores_what_lines_store() {
    let server = Server::start();
    let way = Store::new(&server.url(), &Api::Remote, "", None).expect("a way");
    let points: Vec<Vec<u8>> =
        [("x", 1.5), ("a b,c=\"d\"\\", 2.5)].map(|(a, value)| encoded(&point(a, value, AT_MS, 0))).into();
    way.send(&points.concat()).expect("taken");
    let expected = BTreeMap::from([("x".to_owned(), vec![1.5]), ("a b,c=\"d\"\\".to_owned(), vec![2.5])]);
    assert_eq!(stored(&server, "remote_f"), expected, "labels are carried as they are");
}

#[test]
fn prometheus_takes_points_and_says_which_are_too_late() {
    let server = Server::prometheus();
    let way = Store::new(&server.url(), &Api::Remote, "", None).expect("a way");
    let begins = jiff::Timestamp::now().as_millisecond() - 60_000;
    let sent = [("x", 1.0, 0), ("y", 2.0, 0), ("x", 3.0, 10)]
        .map(|(a, value, after)| encoded(&point(a, value, begins, after)));
    way.send(&sent.concat()).expect("taken");
    // After a break everything since the last position is sent again, some of it older than what is there.
    let again: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    let new = encoded(&point("y", 4.0, begins, 20));
    let all: Vec<&[u8]> = again.into_iter().chain([new.as_slice()]).collect();
    let mut left = Left::default();
    way.deliver(&all, &mut left).expect("it is there");
    assert_eq!(left, Left { bad: Vec::new(), late: 1 }, "the first of x; equal ones are taken");
    let values = |a: &str| -> Vec<f64> {
        let answer = server.get(&format!("/api/v1/query?query=remote_f%7Ba%3D%22{a}%22%7D%5B5m%5D"));
        let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        let values = json["data"]["result"][0]["values"].as_array().expect("values").clone();
        values.iter().map(|pair| pair[1].as_str().expect("text").parse().expect("a number")).collect()
    };
    assert_eq!((values("x"), values("y")), (vec![1.0, 3.0], vec![2.0, 4.0]), "each once");
}

#[test]
fn a_late_point_is_no_bad_one() {
    let check = |status, text: &str, expected: Option<Option<u64>>| {
        let found = match answered(status, text, None) {
            Failed::Late { dropped, .. } => Some(dropped),
            _ => None,
        };
        assert_eq!(found, expected, "{text}");
    };
    check(400, "out of order sample", Some(None));
    check(400, "too old sample", Some(None));
    check(400, "partial write: points beyond retention policy dropped=17\"}", Some(Some(17)));
    let outside = |old, all| {
        let series = "s".repeat(WORDS);
        format!(
            "partial write: dropped {old} points outside retention policy of 1h - oldest {series} dropped={all} for database: 9"
        )
    };
    check(422, &outside(17, 17), Some(Some(17)));
    check(422, &outside(17, 18), Some(None)); // another one is no old one: it is to be found
    check(422, "partial write: field type conflict: input field dropped=1", None);
    assert!(matches!(answered(500, "out of order sample", None), Failed::Away { .. }));
}
