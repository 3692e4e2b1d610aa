//! What stores get of each topic: names and labels of the catalogue, times of the record, and nothing twice in a line.

use std::collections::{BTreeMap, BTreeSet};

use millrace_schemas::event::{Event, Payload, Subject};
use millrace_schemas::ids::EventId;
use millrace_schemas::marks::Sequence;
use millrace_schemas::metrics::{SERIES_PER_INSTANCE, named};
use millrace_schemas::record::{Bytes, Headers};
use millrace_schemas::sketch::Sketch;
use millrace_schemas::topics::alerts::{Alert, AlertState, Quiet, WATCHDOG};
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::windows::{self as batches, TOTAL, Window};
use millrace_schemas::topics::{examples, samples};

use super::*;

const AT: Timestamp = Timestamp(1_700_000_000_000_000);

fn record<P: Payload>(payload: P) -> Record {
    let cluster = ClusterId::parse("c1").expect("legal");
    let event = Event {
        id: EventId::derive(&["test"]),
        source: "agent/h2".to_owned(),
        sequence: Sequence { incarnation: 1, counter: 1 },
        at: AT,
        appended: Timestamp::ZERO,
        subject: Subject::instance(cluster, InstanceId::parse("db2").expect("legal")),
        cause: None,
        payload,
    };
    event.to_record().stored(0, 0, Timestamp(AT.0 + 5))
}

/// Rows of one closed window, as a record.
fn window(start: i64, rows: Vec<Row>) -> Record {
    let window = |row| Window { width_seconds: 10, revision: 1, closed: true, row };
    let rows: Vec<Window> = rows.into_iter().map(|row| window(Row { second: start, ..row })).collect();
    examples::windowed("c1", 0, &rows).stored(0, 0, AT)
}

fn row(digest: DigestId, count: u64, rt_us: u64) -> Row {
    let mut rt_last = Sketch::new();
    rt_last.add_n(rt_us, count);
    let like = examples::rows().remove(0);
    Row { digest, count, rt_sum_us: rt_us * count, rt_last, errors: 0, folded: 0, ..like }
}

fn digest(number: u8) -> DigestId {
    DigestId([number; 16])
}

/// Every field of every point: the series as Prometheus writes it, its value and its time.
fn series(points: &[Point]) -> BTreeMap<String, (f64, i64)> {
    let mut all = BTreeMap::new();
    for point in points {
        for (field, value) in &point.fields {
            let metric = named(&format!("{}_{field}", point.measurement)).expect("only what the catalogue has");
            assert_eq!(
                metric.labels,
                point.labels.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
                "{}",
                metric.name
            );
            let labels: Vec<String> = point.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let before = all.insert(format!("{} {}", metric.name, labels.join(" ")), (*value, point.at.0));
            assert_eq!(before, None, "{} twice at one moment", metric.name);
        }
    }
    all
}

#[test]
fn a_sample_gives_its_numbers_with_the_labels_of_its_place() {
    let mut points = Points::new(SERIES_PER_INSTANCE);
    let samples::Taken::Sample(mut sample) = examples::taken().remove(0);
    sample.values.insert("of_the_future".to_owned(), 1.0);
    sample.taken = Timestamp(AT.0 - 77);
    let got = series(&points.of(&record(samples::Taken::Sample(sample))).expect("readable"));
    let check = |name: &str, value| assert_eq!(got.get(name), Some(&(value, AT.0 - 77)), "{name} in {got:?}");
    check("mysql_global_status_commands_total cluster=c1 instance=db2 host=h2 command=select", 4_711.0);
    check("mysql_global_status_questions cluster=c1 instance=db2 host=h2", 9_001.0);
    check("millrace_host_cpu_seconds_total host=h2 mode=idle", 81_234.5);
    assert_eq!((got.len(), points.unknown), (5, 1));
}

#[test]
fn a_heartbeat_gives_what_an_instance_is_now() {
    let mut points = Points::new(SERIES_PER_INSTANCE);
    let facts = examples::facts();
    let heartbeat = facts.iter().find(|fact| matches!(fact, Fact::Heartbeat(_))).expect("one").clone();
    let got = series(&points.of(&record(heartbeat.clone())).expect("readable"));
    let place = "cluster=c1 instance=db2 host=h2";
    let check = |name: String, value| assert_eq!(got.get(&name), Some(&(value, AT.0)), "{name} in {got:?}");
    check(format!("mysql_up {place}"), 1.0);
    check(format!("millrace_instance_role {place} role=replica"), 1.0);
    check(format!("millrace_instance_role {place} role=primary"), 0.0);
    check(format!("millrace_replica_source {place} source=127.0.0.1:33061"), 1.0);
    check(format!("millrace_replica_delay_seconds {place}"), 0.001_2);
    check(format!("millrace_replica_running {place}"), 1.0);
    check(format!("mysql_version_info {place} version=10.11.19-MariaDB"), 1.0);

    let Fact::Heartbeat(mut silent) = heartbeat else { panic!("it was one") };
    silent.server = None;
    let got = series(&points.of(&record(Fact::Heartbeat(silent))).expect("readable"));
    assert_eq!(got, BTreeMap::from([(format!("mysql_up {place}"), (0.0, AT.0))]), "nothing else is known");
    for fact in facts.into_iter().filter(|fact| !matches!(fact, Fact::Heartbeat(_))) {
        assert_eq!(points.of(&record(fact)).expect("readable"), []);
    }
}

#[test]
fn a_closed_window_gives_the_instance_and_each_digest() {
    let mut points = Points::new(SERIES_PER_INSTANCE);
    let rows = vec![row(TOTAL, 5, 2_000), row(digest(7), 3, 2_000), row(digest(8), 2, 1_000)];
    let start = 1_700_000_010;
    let got = series(&points.of(&window(start, rows)).expect("readable"));
    let end = (start + 10) * 1_000_000;
    let check = |name: String, value| assert_eq!(got.get(&name), Some(&(value, end)), "{name} in {got:?}");
    check("millrace_load_queries cluster=c1 instance=db1".to_owned(), 5.0);
    let labels = format!("cluster=c1 instance=db1 schema=shop user=app digest={}", digest(7));
    check(format!("millrace_statements_queries {labels}"), 3.0);
    check(format!("millrace_statements_seconds {labels}"), 0.006);
    let p99 = got[&format!("millrace_statements_p99_seconds {labels}")].0;
    assert!((0.001_98..=0.002_02).contains(&p99), "{p99}");
    assert_eq!(got.len(), 30);

    let open = batches::encode(&[Window { width_seconds: 10, revision: 1, closed: false, row: row(TOTAL, 1, 1) }]);
    let wide = batches::encode(&[Window { width_seconds: 60, revision: 1, closed: true, row: row(TOTAL, 1, 1) }]);
    for bytes in [open, wide] {
        let record =
            Record { value: Some(Bytes::from(bytes.expect("encodes"))), ..window(start, vec![row(TOTAL, 1, 1)]) };
        assert_eq!(points.of(&record).expect("readable"), []);
    }
}

#[test]
fn what_is_over_the_budget_is_folded_exactly_and_the_same_each_time() {
    // Room for two digests: the whole, `other` and their number are 21 series, and each digest has 10, its text and its tables.
    let budget = 21 + 2 * 12;
    let whole = budget * 5 / 4; // a fifth is for slow statements
    let rows = || {
        let small = (1..=5).map(|at| row(digest(at), u64::from(at), 1_000));
        small.chain([row(TOTAL, 15, 1_000), Row { folded: 7, ..row(DigestId::OTHER, 100, 1) }]).collect::<Vec<_>>()
    };
    let start = 1_700_000_010;
    let got = series(&Points::new(whole).of(&window(start, rows())).expect("readable"));
    let queries: BTreeMap<_, _> =
        got.iter().filter(|(name, _)| name.starts_with("millrace_statements_queries")).collect();
    let place = "millrace_statements_queries cluster=c1 instance=db1";
    let named = |at: u8| format!("{place} schema=shop user=app digest={}", digest(at));
    let expected = [(named(4), 4.0), (named(5), 5.0), (format!("{place} schema= user= digest=other"), 106.0)];
    assert_eq!(queries.len(), expected.len(), "{queries:?}");
    for (name, value) in expected {
        assert_eq!(queries.get(&name).map(|got| got.0), Some(value), "{name}");
    }
    let folded = got.get("millrace_statements_folded cluster=c1 instance=db1").map(|got| got.0);
    assert_eq!(folded, Some(3.0 + 7.0));
    assert!(got.len() <= budget, "{} series", got.len());

    // In two records, and those again: what is folded is the sum, and nothing changes by reading twice.
    let mut points = Points::new(whole);
    let (first, second) = (rows().split_off(4), rows()[..4].to_vec());
    let mut read = || {
        let parts = [window(start, first.clone()), window(start, second.clone())];
        let parts = parts.map(|part| series(&points.of(&part).expect("readable")));
        points.begin();
        parts
    };
    let parts = read();
    assert_eq!(read(), parts);
    let other = format!("{place} schema= user= digest=other");
    assert_eq!(parts.each_ref().map(|part| part.get(&other).map(|got| got.0)), [Some(100.0), Some(103.0 + 3.0)]);
    let digests: BTreeSet<_> = parts.iter().flat_map(BTreeMap::keys).filter(|name| name.starts_with(place)).collect();
    assert_eq!(digests.len(), 3);
}

#[test]
fn a_digest_is_told_with_the_beginning_of_its_text_and_restated_with_its_windows() {
    let mut points = Points::new(SERIES_PER_INSTANCE);
    let Entry::Digest(entry) = examples::entries().remove(0);
    let long = DigestEntry { text: format!("{}é", "x".repeat(199)), ..entry.clone() };
    let kind = long.kind.clone();
    let got = points.of(&record(Entry::Digest(long))).expect("readable");
    let name = format!("millrace_digest_info digest={} kind={kind} text={}", entry.digest, "x".repeat(199));
    let tables = format!("millrace_digest_tables_info digest={} tables=t", entry.digest);
    let both = [name.clone(), tables].map(|name| (name, (1.0, AT.0 + 5)));
    assert_eq!(series(&got), BTreeMap::from(both), "whole characters only");
    let mut restated = |start: i64| {
        let points = points.of(&window(start, vec![row(entry.digest, 1, 1)])).expect("readable");
        series(&points).get(&name).copied()
    };
    assert_eq!(restated(1_700_000_010), None);
    assert_eq!(restated(1_700_000_100), Some((1.0, 1_700_000_110_000_000)), "each five minutes");
    let tombstone = Record { value: None, ..record(Entry::Digest(entry)) };
    assert_eq!(points.of(&tombstone).expect("readable"), []);
}

#[test]
fn what_is_no_record_of_its_topic_is_told() {
    let mut points = Points::new(SERIES_PER_INSTANCE);
    for topic in TOPICS {
        let garbage = Record { topic, value: Some(Bytes::from_static(b"{")), ..window(0, vec![row(TOTAL, 1, 1)]) };
        assert!(matches!(points.of(&garbage), Err(Unreadable::Malformed(_))), "{topic}");
    }
    let nobody = Record { headers: Headers::new(), ..window(0, vec![row(TOTAL, 1, 1)]) };
    assert!(matches!(points.of(&nobody), Err(Unreadable::Malformed(_))));
}

#[test]
fn a_word_about_an_alert_is_a_point_and_the_watchdog_s_is_none() {
    let mut points = Points::new(SERIES_PER_INSTANCE);
    let example = || {
        let Notice::Alert(alert) = examples::notices().remove(0);
        alert
    };
    let made = points.of(&record(Notice::Alert(example()))).expect("readable");
    let labels = [("cluster", "c1"), ("instance", "db1"), ("alertname", "PrimaryDown"), ("severity", "critical")];
    let labels = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
    let fields = vec![("firing", 1.0), ("quiet", 0.0)];
    let at = AT;
    assert_eq!(made, [Point { measurement: "millrace_alert", labels, fields, at }]);
    let over = Alert { state: AlertState::Resolved, quiet: Some(Quiet::Shown), ..example() };
    let made = points.of(&record(Notice::Alert(over))).expect("readable");
    assert_eq!(made[0].fields, [("firing", 0.0), ("quiet", 1.0)]);
    let watchdog = Alert { name: WATCHDOG.to_owned(), ..example() };
    assert_eq!(points.of(&record(Notice::Alert(watchdog))).expect("readable"), []);
}

#[test]
fn what_becomes_one_point_has_one_measurement_and_the_same_labels() {
    for metrics in [&windows::LOAD[..], &windows::BY_DIGEST, &seconds::OF_SECOND, &slow::BY_DIGEST] {
        let heads: Vec<_> = metrics.iter().map(|metric| (metric.measurement, metric.labels)).collect();
        assert!(heads.iter().all(|head| head == &heads[0]), "{heads:?}");
    }
}

#[test]
fn windows_that_are_open_are_not_unpacked() {
    let mut open = window(AT.0 / 1_000_000, vec![row(digest(1), 1, 1_000)]);
    open.headers.insert(batches::FINAL.to_owned(), "false".to_owned());
    open.value = Some(Bytes::from_static(b"not rows"));
    let mut points = Points::new(SERIES_PER_INSTANCE);
    assert_eq!(points.of(&open).expect("it is not looked at"), []);
    open.headers.insert(batches::FINAL.to_owned(), "true".to_owned());
    assert!(matches!(points.of(&open), Err(Unreadable::Malformed(_))));
}
