//! The summary of a day: once for the fleet, whoever says it, and nothing is told twice or lost.

use std::collections::BTreeMap;

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId, InstanceId, fleet};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::NewRecord;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{AlertState, Finding, Severity, Unusual, UnusualDay, fingerprint};
use millrace_schemas::topics::journal::Fact;

use super::super::{Daily, Gate, SUMMARY, Settings, TimeOfDay, seconds};
use super::traffic::MONDAY;
use crate::fold::Fold;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A journal of one partition, and both processors of two processes.
struct Fleet {
    gates: [Fold<Gate>; 2],
    dailies: [Fold<Daily>; 2],
    offset: u64,
}

impl Fleet {
    fn new(settings: &Settings) -> Self {
        let gate = || Fold::new(Gate { settings: settings.clone() }, 0);
        Self { gates: [gate(), gate()], dailies: [Fold::new(Daily, 0), Fold::new(Daily, 0)], offset: 0 }
    }

    fn append(&mut self, new: &NewRecord, at: i64) -> Vec<Finding> {
        let record = new.clone().stored(0, self.offset, seconds(at));
        self.offset += 1;
        let event = Event::<Fact>::from_record(&record).expect("an event");
        let mut found = Vec::new();
        if let Fact::Finding(finding) = event.payload
            && finding.rule == SUMMARY
        {
            found.push(*finding);
        }
        // Both processes append what they say: the second time it is the same, and nobody takes it in again.
        let gates = self.gates.each_mut().map(|gate| gate.fold(&record).out);
        let dailies = self.dailies.each_mut().map(|daily| daily.fold(&record).out);
        assert_eq!(gates[0], gates[1]);
        assert_eq!(dailies[0], dailies[1]);
        for new in gates.iter().chain(&dailies).flatten() {
            found.extend(self.append(new, at));
        }
        found
    }

    fn say(&mut self, cluster: &str, at: i64, fact: Fact) -> Vec<Finding> {
        let event = Event {
            id: EventId::derive(&["fact", &self.offset.to_string()]),
            source: "anomalies.windows.1/windows/0".to_owned(),
            sequence: Sequence { incarnation: 1, counter: self.offset },
            at: seconds(at),
            appended: Timestamp::ZERO,
            subject: Subject::instance(
                ClusterId::parse(cluster).expect("legal"),
                InstanceId::parse("db1").expect("legal"),
            ),
            cause: None,
            payload: fact,
        };
        self.append(&event.to_record(), at)
    }

    /// Something is unusual of a cluster, and over at once.
    fn unusual(&mut self, cluster: &str, at: i64, of: &str, times: f64) {
        let labels: BTreeMap<String, String> = [("of".to_owned(), of.to_owned())].into();
        let about = InstanceId::parse("db1").expect("legal");
        let name = ClusterId::parse(cluster).expect("legal");
        for state in [AlertState::Firing, AlertState::Resolved] {
            let finding = Finding {
                fingerprint: fingerprint(&name, "Anomaly", Some(&about), &labels),
                rule: "Anomaly".to_owned(),
                instance: Some(about.clone()),
                labels: labels.clone(),
                severity: Severity::Info,
                state,
                since: seconds(at),
                summary: format!("{of} of {cluster} were {times} times as many"),
                value: Some(times),
                notifies: false,
            };
            let unusual = Unusual { finding, windows: Vec::new() };
            assert_eq!(self.say(cluster, at, Fact::Unusual(Box::new(unusual))), []);
        }
    }

    fn tick(&mut self, at: i64) -> Vec<Finding> {
        self.say("c1", at, Fact::Tick {})
    }
}

/// Both copies of a finding are one: the same fingerprint, and the same words.
fn once(found: &[Finding]) -> &Finding {
    assert_eq!(found.len(), 2, "each process says it: {found:#?}");
    assert_eq!(found[0], found[1]);
    &found[0]
}

#[test]
fn a_day_is_summed_up_once_for_the_fleet_the_worst_first() {
    let mut fleet_of = Fleet::new(&Settings::default());
    fleet_of.unusual("c1", MONDAY + 10 * HOUR, "queries", 3.5);
    fleet_of.unusual("c2", MONDAY + 12 * HOUR, "threads", 8.0);
    fleet_of.unusual("c1", MONDAY + 14 * HOUR, "errors", 0.1);
    assert_eq!(fleet_of.tick(MONDAY + DAY + 7 * HOUR - 1), []);
    assert_eq!(fleet_of.tick(MONDAY + DAY + 7 * HOUR + 60), [], "the partitions of a fleet may be a little apart");
    let found = fleet_of.tick(MONDAY + DAY + 7 * HOUR + 121);
    let told = once(&found);
    assert!(told.notifies && told.severity == Severity::Info && told.state == AlertState::Firing, "{told:?}");
    assert_eq!(told.fingerprint, fingerprint(&fleet(), SUMMARY, None, &BTreeMap::new()));
    assert_eq!(
        told.summary,
        "3 things were unusual in the day until 2023-11-14 07:00 UTC, of 2 clusters:\n\
         c1 (2): errors of c1 were 0.1 times as many; queries of c1 were 3.5 times as many\n\
         c2 (1): threads of c2 were 8 times as many"
    );
    assert_eq!(fleet_of.tick(MONDAY + DAY + 8 * HOUR), []);
    // A day without anything takes it back, and then nothing is said.
    assert_eq!(once(&fleet_of.tick(MONDAY + 2 * DAY + 8 * HOUR)).state, AlertState::Resolved);
    assert_eq!(fleet_of.tick(MONDAY + 3 * DAY + 8 * HOUR), []);
}

#[test]
fn what_comes_too_late_is_told_the_next_day_and_a_restart_tells_nothing_twice() {
    let mut one = Fleet::new(&Settings::default());
    one.unusual("c2", MONDAY + 6 * HOUR, "threads", 8.0);
    assert_eq!(one.tick(MONDAY + 7 * HOUR + 1), []);
    assert!(once(&one.tick(MONDAY + 7 * HOUR + 130)).summary.contains("threads of c2"));
    let late = UnusualDay {
        cluster: ClusterId::parse("c3").expect("legal"),
        until: seconds(MONDAY + 7 * HOUR),
        count: 1,
        findings: Vec::new(),
    };
    assert_eq!(one.say("fleet", MONDAY + 9 * HOUR, Fact::UnusualDay(Box::new(late))), []);
    one.unusual("c1", MONDAY + 10 * HOUR, "queries", 3.5);
    let mut other = Fleet::new(&Settings::default());
    for (gate, daily) in other.gates.iter_mut().zip(&mut other.dailies) {
        gate.restore(&one.gates[0].save()).expect("reads");
        daily.restore(&one.dailies[0].save()).expect("reads");
    }
    other.offset = one.offset;
    for fleet in [&mut one, &mut other] {
        assert_eq!(fleet.tick(MONDAY + DAY + 7 * HOUR + 1), []);
        let found = fleet.tick(MONDAY + DAY + 7 * HOUR + 130);
        let told = &once(&found).summary;
        assert!(
            told.starts_with("2 things were unusual in the day until 2023-11-14 07:00 UTC, of 2 clusters:\n"),
            "{told}"
        );
        assert!(told.contains("c1 (1): queries of c1 were 3.5") && told.contains("c3 (1)"), "{told}");
        assert_eq!(fleet.tick(MONDAY + DAY + 8 * HOUR), []);
    }
}

#[test]
fn nobody_who_does_not_want_it_is_told() {
    let mut quiet = Fleet::new(&Settings { summary_at: None, ..Settings::default() });
    quiet.unusual("c1", MONDAY + 10 * HOUR, "queries", 3.5);
    assert_eq!(quiet.tick(MONDAY + 2 * DAY), []);
}

#[test]
fn a_long_day_is_bounded_and_says_how_much_more_there_was() {
    let mut busy = Fleet::new(&Settings::default());
    for number in 0..60 {
        busy.unusual(
            &format!("c{}", number % 3),
            MONDAY + 10 * HOUR + number,
            &format!("n{number}"),
            2.0 + number as f64,
        );
    }
    busy.tick(MONDAY + DAY + 7 * HOUR);
    let found = busy.tick(MONDAY + DAY + 7 * HOUR + 130);
    let told = once(&found);
    assert!(told.summary.starts_with("60 things were unusual"), "{}", told.summary);
    assert!(told.summary.ends_with("\nand 40 more") && told.summary.len() < 4_000, "{}", told.summary);
    assert!(told.summary.contains("c2 (20): n59 of c2 were 61 times as many; n56"), "{}", told.summary);
}

#[test]
fn times_of_day_are_read_and_come_after() {
    let at: TimeOfDay = "07:00".parse().expect("a time");
    assert_eq!(at, TimeOfDay::MORNING);
    let after = |second: i64| at.after(seconds(second)).0 / 1_000_000 - MONDAY;
    assert_eq!(
        [after(MONDAY), after(MONDAY + 7 * HOUR - 1), after(MONDAY + 7 * HOUR)],
        [7 * HOUR, 7 * HOUR, DAY + 7 * HOUR]
    );
    for wrong in ["7", "24:00", "07:60", "7:00", "+7:00", ""] {
        assert!(wrong.parse::<TimeOfDay>().is_err(), "{wrong}");
    }
}
