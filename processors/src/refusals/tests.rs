//! What is told of records that nobody believes: once, to the cluster that is known, and not more than a person can read.

use millrace_schemas::event::Payload as _;
use millrace_schemas::record::Bytes;

use super::*;

const S: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp((1_000 + seconds) * S)
}

/// A tick of `source` about `cluster`, under the number `counter`.
fn record(offset: u64, seconds: i64, source: &str, cluster: &str, counter: u64) -> Record {
    let event = Event {
        id: EventId::derive(&["refusals", &offset.to_string()]),
        source: source.to_owned(),
        sequence: Sequence { incarnation: 1, counter },
        at: at(seconds),
        appended: Timestamp::ZERO,
        subject: Subject::cluster(ClusterId::parse(cluster).expect("legal")),
        cause: None,
        payload: Fact::Tick {},
    };
    assert!(!event.payload.is_evidence());
    event.to_record().stored(3, offset, at(seconds))
}

fn finding(record: &NewRecord) -> (String, Finding) {
    let event = Event::<Fact>::from_json(record.value.as_deref().expect("a finding"), false).expect("readable");
    let Fact::Finding(finding) = event.payload else { panic!("{:?}", event.payload) };
    (event.subject.cluster.to_string(), *finding)
}

/// Shop is known: somebody who is believed speaks about it.
fn knowing_shop() -> Refusals {
    let mut refusals = Refusals::default();
    assert_eq!(refusals.believed(&record(0, 0, "ticker/p1", "shop", 0)), None);
    refusals
}

#[test]
fn an_alert_fires_once_for_each_reason_and_is_resolved_when_it_is_quiet() {
    let mut refusals = knowing_shop();
    let mut refuse = |offset, seconds, why: &Refusal| {
        let (out, fate) = refusals.refused(&record(offset, seconds, "x", "shop", 0), why).expect("new");
        assert_eq!(fate, Fate::Dead);
        out.iter().map(finding).collect::<Vec<_>>()
    };
    let first = refuse(1, 0, &Refusal::Unsigned);
    let [(cluster, fired)] = &first[..] else { panic!("{first:?}") };
    assert_eq!((cluster.as_str(), fired.state, fired.severity), ("shop", AlertState::Firing, Severity::Critical));
    assert!(fired.summary.contains("offset 1") && fired.summary.contains("not signed"), "{}", fired.summary);
    assert!(refuse(2, 5, &Refusal::Unsigned).is_empty());
    assert_eq!(refuse(3, 6, &Refusal::Expired { appended: at(6), until: at(1) }).len(), 1);
    assert!(refusals.pass(Topic::Journal, 3, at(604)).is_empty());
    let over = refusals.pass(Topic::Journal, 3, at(605));
    assert_eq!(over.len(), 1, "the other was seen a second later");
    let (cluster, resolved) = finding(&over[0]);
    assert_eq!((cluster.as_str(), resolved.state), ("shop", AlertState::Resolved));
    assert_eq!((resolved.fingerprint, resolved.since), (fired.fingerprint, fired.since));
    assert_eq!(refusals.pass(Topic::Journal, 3, at(700)).len(), 1);
    assert!(refusals.pass(Topic::Journal, 3, at(9_000)).is_empty());
}

#[test]
fn a_cluster_that_nobody_knows_is_told_of_under_the_fleet() {
    let mut refusals = knowing_shop();
    let mut told = |offset: u64, key: &str| {
        let mut record = record(offset, 0, "x", "shop", 0);
        key.clone_into(&mut record.key);
        let (out, _) = refusals.refused(&record, &Refusal::Unsigned).expect("new");
        out.iter().map(|one| finding(one).0).collect::<Vec<_>>()
    };
    assert_eq!(told(1, "c1"), ["fleet"]);
    assert_eq!(told(2, "c2"), Vec::<String>::new(), "strangers cannot fill the alerts");
    assert_eq!(told(3, "no id at all"), Vec::<String>::new());
    assert_eq!(told(4, "shop/1234"), ["shop"]);
}

#[test]
fn a_flood_fills_nothing() {
    let mut refusals = knowing_shop();
    let (mut dead, mut left) = (0, 0);
    for offset in 1..=1_000 {
        let seconds = if offset <= 600 { 1 } else { 2 };
        match refusals.refused(&record(offset, seconds, "x", "shop", 0), &Refusal::Unsigned).expect("new").1 {
            Fate::Dead => dead += 1,
            Fate::Left => left += 1,
        }
    }
    assert_eq!((dead, left), (200, 800));
}

#[test]
fn copies_are_found_and_what_hot_processors_say_twice_is_none() {
    let mut refusals = Refusals::default();
    let mut check = |offset, source, counter, replayed: bool| {
        let found = refusals.believed(&record(offset, 0, source, "shop", counter));
        let expected = replayed.then(|| Refusal::Replayed { source_name: source.to_owned() });
        assert_eq!(found, expected, "{source} {counter}");
    };
    check(0, "operator/ops", 0, false);
    check(1, "operator/ops", 1, false);
    check(2, "operator/ops", 0, true);
    check(3, "agent/h1", 0, false);
    check(4, "agent/h1", 0, true);
    check(5, "executor/e1", 7, false);
    check(6, "executor/e1", 7, true);
    check(7, "permits.1/journal/0", 3, false);
    check(8, "permits.1/journal/0", 3, false);
}

#[test]
fn what_is_read_again_is_told_once_also_after_a_restart() {
    let mut refusals = knowing_shop();
    let bad = record(1, 0, "x", "shop", 0);
    assert!(refusals.refused(&bad, &Refusal::Unsigned).is_some());
    assert_eq!(refusals.refused(&bad, &Refusal::Unsigned), None);
    let saved = serde_json::to_vec(&refusals).expect("plain data");
    let mut again: Refusals = serde_json::from_slice(&saved).expect("as it was saved");
    assert_eq!(again, refusals);
    assert_eq!(again.refused(&bad, &Refusal::Unsigned), None);
    assert_eq!(again.believed(&record(0, 0, "ticker/p1", "shop", 0)), None, "read again, and no copy");
    assert!(again.believed(&record(2, 0, "ticker/p1", "shop", 0)).is_some());
    assert_eq!(again.pass(Topic::Journal, 3, at(9_000)).len(), 1, "what fired before is resolved after");
}

#[test]
fn the_same_input_gives_the_same_ids() {
    let told = || {
        let mut refusals = knowing_shop();
        let (mut out, _) = refusals.refused(&record(1, 0, "x", "shop", 0), &Refusal::Unsigned).expect("new");
        out.extend(refusals.pass(Topic::Journal, 3, at(9_000)));
        out
    };
    assert_eq!(told(), told());
    assert_eq!(told().len(), 2);
    let value: Bytes = told()[0].value.clone().expect("a finding");
    assert!(String::from_utf8_lossy(&value).contains("refusals.2/journal/3"));
}
