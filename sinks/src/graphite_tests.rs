//! Names and lines of Graphite, and a real VictoriaMetrics that takes them.

use std::collections::BTreeMap;

use millrace_schemas::time::Timestamp;
use millrace_test_servers::Store as Server;

use super::*;
use crate::store::{Api, Store};

/// 2026-01-01, 00:00 UTC: within what the store keeps.
const AT_US: i64 = 1_767_225_600_000_000;

fn point(labels: &[(&'static str, &str)], fields: &[(&'static str, f64)]) -> Point {
    let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
    Point { measurement: "m", labels, fields: fields.to_vec(), at: Timestamp(AT_US + 999_999) }
}

#[test]
fn a_name_is_a_path_or_has_tags_and_no_two_are_one() {
    let check = |labels: &[(&'static str, &str)], tagged, expected: &str, cut| {
        let mut out = Vec::new();
        assert_eq!(encode(&point(labels, &[("f", 1.5)]), tagged, &mut out), Ok(cut));
        assert_eq!(String::from_utf8(out).expect("text"), format!("{expected} 1.5 1767225600\n"));
    };
    let all = [("cluster", "c.1"), ("instance", "db1"), ("host", ""), ("user", "a b;%é")];
    check(&all, false, "c%2E1.db1.m_f.-.a%20b%3B%25%C3%A9", 0);
    check(&all, true, "m_f;cluster=c.1;instance=db1;user=a%20b%3B%25é", 0);
    check(&[("digest", "-")], false, "-.-.m_f.%2D", 0);
    check(&[("digest", "~\n")], true, "m_f;digest=%7E%0A", 0);
    check(&[("text", &"x".repeat(300))], false, &format!("-.-.m_f.{}", "x".repeat(200)), 1);
    check(&[("text", &format!("{}(((", "x".repeat(197)))], false, &format!("-.-.m_f.{}%28", "x".repeat(197)), 1);
    check(&[("text", &format!("{}(((", "x".repeat(199)))], false, &format!("-.-.m_f.{}", "x".repeat(199)), 1);
}

#[test]
fn each_field_is_a_line_and_what_is_no_number_is_none() {
    let mut out = Vec::new();
    encode(&point(&[], &[("f", 1.0), ("g", -2.5)]), true, &mut out).expect("legal");
    assert_eq!(out, b"m_f 1 1767225600\nm_g -2.5 1767225600\n");
    assert_eq!(encode(&point(&[], &[("f", f64::NAN)]), true, &mut out), Err(Refused::NotANumber("f")));
    assert_eq!(encode(&point(&[], &[]), false, &mut out), Err(Refused::NoField));
    assert_eq!(out.len(), 37, "nothing was added");
}

/// Names and labels of what a store has below `prefix`, with their values.
fn stored(server: &Server, name: &str) -> BTreeMap<String, Vec<f64>> {
    server.flush();
    let read = |line: &str| -> (String, Vec<f64>) {
        let one: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let values = one["values"].as_array().expect("values").iter().map(|value| value.as_f64().expect("a number"));
        let label = one["metric"]["user"].as_str().or(one["metric"]["__name__"].as_str());
        (label.unwrap_or_default().to_owned(), values.collect())
    };
    server.get(&format!("/api/v1/export?match[]=%7B__name__=~%22{name}%22%7D")).lines().map(read).collect()
}

#[test]
fn a_real_store_reads_every_name_as_it_is_written_and_what_comes_twice_once() {
    let (server, address) = Server::graphite();
    for (tagged, users) in [(false, ["a b", "x.y;z"]), (true, ["a b", "~;=é"])] {
        let api = Api::Graphite { tagged };
        let way = Store::new(&format!("tcp://{address}"), &api, "", None).expect("a way");
        let (mut lines, mut expected) = (Vec::new(), BTreeMap::new());
        for (at, user) in (1_i32..).zip(users) {
            let point = point(&[("cluster", "c1"), ("instance", "db1"), ("user", user)], &[("f", at.into())]);
            api.encode(&point, &mut lines).expect("legal");
            let name = if tagged {
                let mut value = String::new();
                escaped(user, |char| matches!(char, ';' | '~'), &mut value);
                value
            } else {
                let mut path = String::from("c1.db1.m_f.");
                part(user, &mut path);
                path
            };
            expected.insert(name, vec![f64::from(at)]);
        }
        // A connection that broke is no reason to be told twice of the same moment.
        for _ in 0..2 {
            way.send(&lines).expect("read to its end");
        }
        assert_eq!(stored(&server, if tagged { "m_f" } else { "c1[.].*" }), expected, "tagged: {tagged}");
    }
}

#[test]
fn who_is_not_there_or_does_not_read_is_away() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("an address"));
    let way = Store::new(&url, &Api::Graphite { tagged: false }, "", None).expect("a way");
    let cut = std::thread::spawn(move || {
        // It closes with lines unread: the kernel says so to who sent them.
        let (stream, _) = listener.accept().expect("it comes");
        std::thread::sleep(std::time::Duration::from_millis(200));
        drop(stream);
    });
    let lines = b"m 1 1\n".repeat(100);
    assert!(matches!(way.send(&lines), Err(Failed::Away { .. })), "what was not read is not taken");
    cut.join().expect("it ends");
    let failed = way.send(&lines).expect_err("nobody listens any more");
    assert!(matches!(&failed, Failed::Away { why, .. } if why.contains("refused")), "{failed}");
}
