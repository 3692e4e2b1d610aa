//! `millrace alerts` as an operator uses it, while the processors run: what fires is listed, taken, silenced and over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{AlertState, Finding, Notice, Severity, Told, fingerprint};
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{Command, Fact};
use serde_json::Value;

use super::world::World;
use crate::real::site::PATIENCE;

fn cluster() -> ClusterId {
    ClusterId::parse("c1").expect("legal")
}

/// Says `fact` as the test.
fn say(world: &World, number: u64, fact: Fact) {
    let event = Event {
        id: EventId::derive(&["alerts", &number.to_string()]),
        source: "rules.1/samples/0".to_owned(),
        sequence: Sequence { incarnation: number, counter: 0 },
        at: Timestamp(1),
        appended: Timestamp::ZERO,
        subject: Subject::cluster(cluster()),
        cause: None,
        payload: fact,
    };
    world.bus.append(vec![event.to_record()]).wait().expect("it is there");
}

fn finding(state: AlertState) -> Finding {
    let instance = Some(InstanceId::parse("db1").expect("legal"));
    Finding {
        fingerprint: fingerprint(&cluster(), "DiskFullSoon", instance.as_ref(), &BTreeMap::new()),
        rule: "DiskFullSoon".to_owned(),
        instance,
        labels: BTreeMap::new(),
        severity: Severity::Critical,
        state,
        since: Timestamp(1_700_000_000_000_000),
        summary: "the disk of db1 is full in 5 hours if it goes on".to_owned(),
        value: Some(5.0),
        notifies: true,
    }
}

/// Waits until the newest word about the alert is `told`.
fn was_told(world: &World, told: Told) {
    let until = Instant::now() + PATIENCE;
    loop {
        let last = world.has(Topic::Alerts).last().map(|record| {
            let Notice::Alert(alert) = Event::<Notice>::from_record(record).expect("an alert").payload;
            alert.told
        });
        if last == Some(Some(told)) {
            return;
        }
        assert!(Instant::now() < until, "{last:?}, not {told:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_fires_is_listed_taken_silenced_and_over() {
    let world = World::new();
    world.check(&["alerts", "list"], 0, "no alert fires");
    say(&world, 1, Fact::Command(Command::Enrol(Box::new(examples::spec()))));
    say(&world, 2, Fact::Finding(Box::new(finding(AlertState::Firing))));
    was_told(&world, Told::Began);

    let listed = world.check(&["alerts", "list"], 0, "CRITICAL  DiskFullSoon  c1/db1  since 2023-11-14T22:13:20Z\n");
    assert!(listed.lines().all(|line| line.chars().count() <= 80), "{listed}");
    let name = finding(AlertState::Firing).fingerprint.to_string();
    let digits = &name[..8];
    assert!(listed.starts_with(digits), "{listed}");
    world.check(&["alerts", "ack", "00000000"], 4, "there is no alert that fires 00000000");
    world.check(&["alerts", "ack", "it"], 2, "give 4 or more of the digits");
    world.check(&["alerts", "ack", digits, "--by", "ada"], 0, "ada has taken");
    world.check(&["alerts", "list"], 0, "taken by ada");

    world.check(&["alerts", "silence", "c2", "--for", "2h", "--reason", "x"], 1, "there is no cluster c2");
    world.check(&["alerts", "silence", "c1", "--for", "0s", "--reason", "x"], 2, "no time at all");
    world.check(&["alerts", "silence", "c1", "--for", "1 year", "--reason", "x"], 2, "'1 year'");
    let all =
        ["alerts", "silence", "c1", "--rule", "DiskFullSoon", "--for", "2h", "--reason", "a disk comes", "--by", "bob"];
    let said = world.check(&all, 0, "nobody is notified of DiskFullSoon of c1");
    let silence = said.split_whitespace().nth(1).expect("an id").trim_end_matches(':').to_owned();
    world.check(&["alerts", "list"], 0, "silenced by bob until");
    world.check(&["alerts", "list"], 0, "a disk comes");
    let json: Value = serde_json::from_str(&world.check(&["alerts", "list", "-o", "json"], 0, "")).expect("JSON");
    assert_eq!((&json["schema_version"], &json["alerts"][0]["quiet"]["is"]), (&1.into(), &"silenced".into()), "{json}");
    assert_eq!(json["silences"][0]["reason"], "a disk comes", "{json}");
    world.check(&["alerts", "unsilence", &silence], 0, "is over");

    world.check(&["alerts", "test", "LagHihg", "c1"], 2, "there is no rule 'LagHihg'");
    world.check(&["alerts", "test", "LagHigh", "c2"], 1, "there is no cluster c2");
    world.check(&["alerts", "test", "LagHigh", "c1", "--for", "2h"], 2, "60 minutes at most");
    let said = world.check(&["alerts", "test", "LagHigh", "c1", "--for", "1s", "--by", "ada"], 0, "LagHigh, warning");
    was_told(&world, Told::Began);
    let test = said.split_whitespace().next().expect("an id").to_owned();
    world.check(&["alerts", "show", &test], 0, "a test of LagHigh by ada: nothing is wrong");
    was_told(&world, Told::Resolved);

    say(&world, 3, Fact::Finding(Box::new(finding(AlertState::Resolved))));
    was_told(&world, Told::Resolved);
    world.check(&["alerts", "list"], 0, "no alert fires");
    let shown = world.check(&["alerts", "show", digits], 0, "what to do: docs/alerts.md#diskfullsoon");
    for expected in ["told, began", "told, resolved", "over since", &name] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
}
