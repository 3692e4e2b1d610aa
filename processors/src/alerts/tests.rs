//! The life of alerts, fact by fact: who is told what, and when.

use millrace_schemas::ids::InstanceId;
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::NewRecord;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{Quiet, Told, fingerprint};

use super::*;
use crate::fold::Fold;

const S: i64 = 1_000_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// A journal of one cluster, second by second.
struct Journal {
    fold: Fold<Alerts>,
    offset: u64,
    seconds: i64,
}

/// What was said, in short.
type Said = (String, Option<Told>, Option<&'static str>);

impl Journal {
    fn new() -> Self {
        Self { fold: Fold::new(Alerts::default(), 0), offset: 0, seconds: 1_000 }
    }

    fn cluster() -> ClusterId {
        ClusterId::parse("shop").expect("legal")
    }

    fn put(&mut self, source: &str, fact: Fact) -> Vec<NewRecord> {
        let event = Event {
            id: EventId::derive(&["alerts", &self.offset.to_string()]),
            source: source.to_owned(),
            sequence: Sequence { incarnation: self.offset, counter: 0 },
            at: Timestamp(self.seconds * S),
            appended: Timestamp::ZERO,
            subject: Subject::cluster(if matches!(fact, Fact::Tick {}) { tick_cluster() } else { Self::cluster() }),
            cause: None,
            payload: fact,
        };
        let record = event.to_record().stored(0, self.offset, Timestamp(self.seconds * S));
        self.offset += 1;
        self.fold.fold(&record).out
    }

    fn say(&mut self, fact: Fact) -> Vec<Said> {
        self.put("rules.1/samples/0", fact).iter().map(short).collect()
    }

    /// Ticks for so long, a second at a time.
    fn wait(&mut self, seconds: i64) -> Vec<Said> {
        let mut said = Vec::new();
        for _ in 0..seconds {
            self.seconds += 1;
            said.extend(self.put("ticker/p1", Fact::Tick {}).iter().map(short));
        }
        said
    }

    /// Long stretches, a minute at a time.
    fn wait_minutes(&mut self, minutes: i64) -> Vec<Said> {
        let mut said = Vec::new();
        for _ in 0..minutes {
            self.seconds += MINUTE;
            said.extend(self.put("ticker/p1", Fact::Tick {}).iter().map(short));
        }
        said
    }

    fn alert(&self, rule: &str) -> Alert {
        let state = self.fold.state(&Self::cluster()).expect("it has alerts");
        state.firing().find(|alert| alert.name == rule).expect("it fires").clone()
    }

    fn begins(&mut self, rule: &str, about: Option<&str>, severity: Severity) -> Vec<Said> {
        let finding = finding(rule, about, severity, AlertState::Firing, self.seconds);
        self.say(finding)
    }

    fn ends(&mut self, rule: &str, about: Option<&str>) -> Vec<Said> {
        let finding = finding(rule, about, Severity::Warning, AlertState::Resolved, self.seconds);
        self.say(finding)
    }

    fn silence(&mut self, rule: Option<&str>, from: i64, until: i64) -> (EventId, Vec<Said>) {
        let id = EventId::derive(&["silence", &self.offset.to_string()]);
        let silence = Silence {
            id,
            rule: rule.map(str::to_owned),
            instance: None,
            from: Timestamp(from * S),
            until: Timestamp(until * S),
            by: "ada".to_owned(),
            reason: "a test".to_owned(),
        };
        let said = self.put("operator/ops", Fact::AlertWord(Word::Silence(silence)));
        (id, said.iter().map(short).collect())
    }
}

fn finding(rule: &str, about: Option<&str>, severity: Severity, state: AlertState, seconds: i64) -> Fact {
    let instance = about.map(|name| InstanceId::parse(name).expect("legal"));
    Fact::Finding(Box::new(Finding {
        fingerprint: fingerprint(&Journal::cluster(), rule, instance.as_ref(), &BTreeMap::new()),
        rule: rule.to_owned(),
        instance,
        labels: BTreeMap::new(),
        severity,
        state,
        since: Timestamp(seconds * S),
        summary: format!("{rule} of {}", about.unwrap_or("shop")),
        value: None,
        notifies: true,
    }))
}

fn short(record: &NewRecord) -> Said {
    assert_eq!(record.topic, Topic::Alerts);
    let event = Event::<Notice>::from_json(record.value.as_deref().expect("an alert"), false).expect("readable");
    let Notice::Alert(alert) = event.payload;
    let quiet = alert.quiet.map(|quiet| match quiet {
        Quiet::Shown => "shown",
        Quiet::HiddenBy { .. } => "hidden",
        Quiet::Silenced { .. } => "silenced",
    });
    (alert.name, alert.told, quiet)
}

fn said(rule: &str, told: Told) -> Said {
    (rule.to_owned(), Some(told), None)
}

fn quietly(rule: &str, quiet: Option<&'static str>) -> Said {
    (rule.to_owned(), None, quiet)
}

#[test]
fn an_alert_is_told_of_at_once_again_each_hour_louder_after_a_quarter_and_when_it_is_over() {
    let mut journal = Journal::new();
    assert_eq!(journal.begins("PrimaryDown", Some("db1"), Severity::Critical), [said("PrimaryDown", Told::Began)]);
    assert_eq!(journal.begins("PrimaryDown", Some("db1"), Severity::Critical), [], "the same words are not told again");
    assert_eq!(journal.wait(15 * MINUTE - 1), []);
    assert_eq!(journal.wait(1), [said("PrimaryDown", Told::Escalated)]);
    assert_eq!(journal.wait_minutes(59), []);
    assert_eq!(journal.wait_minutes(1), [said("PrimaryDown", Told::Repeated)], "an hour after the last word");
    assert_eq!(journal.wait_minutes(60), [said("PrimaryDown", Told::Repeated)], "and escalated only once");
    assert_eq!(journal.ends("PrimaryDown", Some("db1")), [said("PrimaryDown", Told::Resolved)]);
    assert_eq!(journal.ends("PrimaryDown", Some("db1")), [], "over once");
    assert_eq!(journal.wait_minutes(180), []);
}

#[test]
fn whoever_takes_an_alert_is_left_alone_until_it_gets_worse_or_is_over() {
    let mut journal = Journal::new();
    journal.begins("ErrorsHigh", Some("db1"), Severity::Warning);
    journal.wait(3);
    let taken = journal.alert("ErrorsHigh").fingerprint;
    let word = Word::Acknowledge { fingerprint: taken, by: "ada".to_owned() };
    let out = journal.put("operator/ops", Fact::AlertWord(word));
    assert_eq!(out.iter().map(short).collect::<Vec<_>>(), [said("ErrorsHigh", Told::Acknowledged)]);
    assert_eq!(journal.alert("ErrorsHigh").acknowledged_by.as_deref(), Some("ada"));
    assert_eq!(journal.wait_minutes(24 * 60), []);
    let worse = journal.begins("ErrorsHigh", Some("db1"), Severity::Critical);
    assert_eq!(worse, [said("ErrorsHigh", Told::Changed)]);
    assert_eq!(journal.wait_minutes(60), [], "taken is taken, also where it is critical now");
    let word = Word::Acknowledge { fingerprint: taken, by: "bob".to_owned() };
    let out = journal.put("operator/ops", Fact::AlertWord(word.clone()));
    assert_eq!(out.iter().map(short).collect::<Vec<_>>(), [said("ErrorsHigh", Told::Acknowledged)], "another one");
    assert_eq!(journal.put("operator/ops", Fact::AlertWord(word)).len(), 0, "and no news the second time");
    assert_eq!(journal.ends("ErrorsHigh", Some("db1")), [said("ErrorsHigh", Told::Resolved)]);
}

/// The severities of a record: as it is, and as it was by the word before, where that is another one.
fn severities(record: &NewRecord) -> (Severity, Option<Severity>) {
    let event = Event::<Notice>::from_json(record.value.as_deref().expect("an alert"), false).expect("readable");
    let Notice::Alert(alert) = event.payload;
    (alert.severity, alert.severity_before)
}

#[test]
fn the_first_word_with_another_severity_says_the_one_before_also_after_a_restart() {
    let mut journal = Journal::new();
    let mut all = Vec::new();
    for severity in [Severity::Warning, Severity::Critical, Severity::Critical, Severity::Info, Severity::Warning] {
        let fact = finding("ErrorsHigh", Some("db1"), severity, AlertState::Firing, journal.seconds);
        all.extend(journal.put("rules.1/samples/0", fact).iter().map(severities));
        let saved = journal.fold.save();
        journal.fold = Fold::new(Alerts::default(), 0);
        journal.fold.restore(&saved).expect("as it was saved");
    }
    journal.seconds += 12 * HOUR;
    all.extend(journal.put("ticker/p1", Fact::Tick {}).iter().map(severities));
    let over = finding("ErrorsHigh", Some("db1"), Severity::Critical, AlertState::Resolved, journal.seconds);
    all.extend(journal.put("rules.1/samples/0", over).iter().map(severities));
    let expected = [
        (Severity::Warning, None),
        (Severity::Critical, Some(Severity::Warning)),
        (Severity::Info, Some(Severity::Critical)),
        (Severity::Warning, Some(Severity::Info)),
        (Severity::Warning, None),
        (Severity::Warning, None),
    ];
    assert_eq!(all, expected);
}

#[test]
fn other_words_are_shown_at_once_and_told_once_a_minute() {
    let mut journal = Journal::new();
    let with_words = |journal: &mut Journal, words: &str| {
        let Fact::Finding(mut finding) =
            finding("FailoverRefused", None, Severity::Critical, AlertState::Firing, journal.seconds)
        else {
            unreachable!("a finding")
        };
        words.clone_into(&mut finding.summary);
        journal.say(Fact::Finding(finding))
    };
    assert_eq!(with_words(&mut journal, "one"), [said("FailoverRefused", Told::Began)]);
    journal.wait(20);
    assert_eq!(with_words(&mut journal, "two"), [quietly("FailoverRefused", None)]);
    journal.wait(20);
    assert_eq!(with_words(&mut journal, "three"), [quietly("FailoverRefused", None)]);
    assert_eq!(journal.wait(20), [said("FailoverRefused", Told::Changed)], "a minute after the first");
    let alert = journal.alert("FailoverRefused");
    assert_eq!((alert.summary.as_str(), alert.starts_at), ("three", Timestamp(1_000 * S)), "it began when it began");
}

#[test]
fn what_follows_from_a_dead_primary_is_hidden_by_it_whichever_is_known_first() {
    let mut journal = Journal::new();
    assert_eq!(journal.begins("LagHigh", Some("db2"), Severity::Warning), [quietly("LagHigh", None)], "it may follow");
    journal.wait(2);
    assert_eq!(
        journal.begins("PrimaryDown", Some("db1"), Severity::Critical).sorted(),
        [quietly("LagHigh", Some("hidden")), said("PrimaryDown", Told::Began),]
    );
    assert_eq!(
        journal.begins("ReplicationStopped", Some("db2"), Severity::Critical).sorted(),
        [quietly("PrimaryDown", None), quietly("ReplicationStopped", Some("hidden")),]
    );
    let hidden: Vec<String> = journal.alert("PrimaryDown").hides.iter().map(|hidden| hidden.rule.clone()).collect();
    assert_eq!(hidden, ["LagHigh", "ReplicationStopped"], "the cause says what it hides");
    assert_eq!(journal.wait(60), []);
    // The new primary is open; what has not recovered within half a minute is told of.
    let over = journal.ends("PrimaryDown", Some("db1"));
    assert!(over.contains(&said("PrimaryDown", Told::Resolved)), "{over:?}");
    assert_eq!(journal.wait(10), []);
    assert_eq!(
        journal.ends("LagHigh", Some("db2")).sorted(),
        [quietly("LagHigh", None), quietly("ReplicationStopped", None)],
        "nobody was told that it began; the other hides it no more"
    );
    assert_eq!(journal.wait(19), []);
    assert_eq!(journal.wait(1), [said("ReplicationStopped", Told::Began)]);
}

#[test]
fn one_replica_s_trouble_does_not_hide_another_s() {
    let mut journal = Journal::new();
    journal.begins("ReplicationStopped", Some("db2"), Severity::Critical);
    journal.begins("LagHigh", Some("db2"), Severity::Warning);
    journal.begins("LagHigh", Some("db3"), Severity::Warning);
    let told: Vec<Said> = journal.wait(5);
    assert_eq!(told.sorted(), [said("LagHigh", Told::Began), said("ReplicationStopped", Told::Began)]);
}

#[test]
fn silences_begin_and_end_by_themselves_and_who_was_told_hears_the_end() {
    let mut journal = Journal::new();
    journal.begins("ErrorsHigh", Some("db1"), Severity::Critical);
    journal.wait(3);
    let now = journal.seconds;
    let (_, out) = journal.silence(Some("ErrorsHigh"), now + 60, now + 2 * HOUR);
    assert_eq!(out, [], "a maintenance window that has not begun");
    assert_eq!(journal.wait(60), [quietly("ErrorsHigh", Some("silenced"))]);
    assert_eq!(journal.wait_minutes(118), [], "no escalation and no repeat");
    assert_eq!(journal.begins("HostMemoryLow", Some("db1"), Severity::Critical), [said("HostMemoryLow", Told::Began)]);
    let after = journal.wait_minutes(1);
    assert!(after.contains(&said("ErrorsHigh", Told::Escalated)), "the silence is over: {after:?}");
    let now = journal.seconds;
    let (id, out) = journal.silence(None, now, now + HOUR);
    assert_eq!(out.len(), 2, "both are quiet: {out:?}");
    assert_eq!(journal.ends("ErrorsHigh", Some("db1")), [said("ErrorsHigh", Told::Resolved)], "its page is closed");
    let out = journal.put("operator/ops", Fact::AlertWord(Word::Unsilence { silence: id }));
    assert_eq!(out.iter().map(short).collect::<Vec<_>>(), [quietly("HostMemoryLow", None)]);
    assert_eq!(journal.fold.state(&Journal::cluster()).expect("known").silences().count(), 0);
}

#[test]
fn what_is_only_shown_is_told_to_nobody_and_hides_nothing() {
    let mut journal = Journal::new();
    let Fact::Finding(mut shown) =
        finding("WritesBlocked", Some("db1"), Severity::Critical, AlertState::Firing, journal.seconds)
    else {
        unreachable!("a finding")
    };
    shown.notifies = false;
    assert_eq!(journal.say(Fact::Finding(shown)), [quietly("WritesBlocked", Some("shown"))]);
    journal.begins("ThreadsRunningHigh", Some("db1"), Severity::Warning);
    assert_eq!(journal.wait(3), [said("ThreadsRunningHigh", Told::Began)]);
    assert_eq!(journal.wait_minutes(30), []);
    assert_eq!(journal.ends("WritesBlocked", Some("db1")), [quietly("WritesBlocked", None)]);
}

#[test]
fn every_cause_and_every_effect_is_a_rule_that_there_is() {
    let of_deciders =
        ["PrimaryDown", "PrimaryStopped", "WritesBlocked", "AgentSilent", "ErrantTransactions", "FailoverRefused"];
    let shipped = crate::rules::Rules::shipped();
    for (cause, _, effects) in causes::CAUSES {
        for rule in [cause].iter().chain(effects) {
            let is_known = of_deciders.contains(rule) || shipped.named(rule).is_some();
            assert!(is_known, "{rule} is no rule");
        }
    }
}

#[test]
fn the_watchdog_is_told_of_each_minute() {
    let mut journal = Journal::new();
    assert_eq!(journal.begins(WATCHDOG, None, Severity::Info), [said(WATCHDOG, Told::Began)]);
    for _ in 0..10 {
        assert_eq!(journal.begins(WATCHDOG, None, Severity::Info), [], "it still holds");
        assert_eq!(journal.wait_minutes(1), [said(WATCHDOG, Told::Repeated)]);
    }
}

#[test]
fn the_watchdog_falls_silent_when_nobody_judges_any_more() {
    let mut journal = Journal::new();
    journal.begins(WATCHDOG, None, Severity::Info);
    assert_eq!(journal.wait_minutes(2), vec![said(WATCHDOG, Told::Repeated); 2]);
    assert_eq!(journal.wait_minutes(60), [], "the rules say nothing, so who waits for it raises the alarm");
    let again = journal.begins(WATCHDOG, None, Severity::Info);
    assert_eq!(again, [said(WATCHDOG, Told::Repeated)], "they are back");
}

#[test]
fn a_test_is_told_like_the_real_thing_hides_nothing_and_ends_by_itself() {
    let mut journal = Journal::new();
    let test = |journal: &Journal, rule: &str, seconds: i64| {
        Fact::AlertWord(Word::Test {
            rule: rule.to_owned(),
            instance: None,
            severity: Severity::Critical,
            until: Timestamp((journal.seconds + seconds) * S),
            by: "ada".to_owned(),
        })
    };
    let operator = |journal: &mut Journal, fact: Fact| -> Vec<Said> {
        journal.put("operator/ops", fact).iter().map(short).collect()
    };
    journal.begins("LagHigh", Some("db2"), Severity::Warning);
    journal.wait(3);
    let fact = test(&journal, "PrimaryDown", 60);
    assert_eq!(operator(&mut journal, fact), [said("PrimaryDown", Told::Began)], "and the lag is not hidden by it");
    let alert = journal.alert("PrimaryDown");
    assert_eq!(
        (alert.summary.as_str(), &alert.labels),
        ("a test of PrimaryDown by ada: nothing is wrong", &test_labels())
    );
    journal.wait(30);
    assert_eq!(
        journal.begins("PrimaryDown", Some("db1"), Severity::Critical).sorted(),
        [quietly("LagHigh", Some("hidden")), said("PrimaryDown", Told::Began),],
        "the real one is another one"
    );
    assert_eq!(journal.wait(29), []);
    assert_eq!(journal.wait(1), [said("PrimaryDown", Told::Resolved)]);

    // What could follow from another alert is told at once; a second test of the same begins anew; none lasts for more than an hour.
    let fact = test(&journal, "LagHigh", 60);
    assert_eq!(operator(&mut journal, fact), [said("LagHigh", Told::Began)]);
    let fact = test(&journal, "LagHigh", 1_000 * HOUR);
    assert_eq!(operator(&mut journal, fact), [said("LagHigh", Told::Resolved), said("LagHigh", Told::Began)]);
    let until_then = journal.wait_minutes(59);
    assert!(!until_then.contains(&said("LagHigh", Told::Resolved)), "{until_then:?}");
    assert!(journal.wait_minutes(1).contains(&said("LagHigh", Told::Resolved)));

    let now = journal.seconds;
    journal.silence(Some("ErrorsHigh"), now, now + HOUR);
    let fact = test(&journal, "ErrorsHigh", 60);
    assert_eq!(operator(&mut journal, fact), [quietly("ErrorsHigh", Some("silenced"))], "as the real one would be");
}

#[test]
fn more_alerts_than_anybody_reads_are_one() {
    let mut journal = Journal::new();
    for number in 0..LIVE_MAX {
        journal.begins("ErrorsHigh", Some(&format!("db{number}")), Severity::Info);
    }
    let out = journal.begins("ErrorsHigh", Some("one-more"), Severity::Info);
    assert_eq!(out, [said(LEFT_OUT, Told::Began)]);
    assert_eq!(journal.ends("ErrorsHigh", Some("one-more")), [said(LEFT_OUT, Told::Resolved)]);
}

#[test]
fn a_restart_at_any_point_says_the_same_bytes() {
    let story = |restarts: bool| {
        let mut journal = Journal::new();
        let mut out = Vec::new();
        for second in 0..2_000_i64 {
            journal.seconds += 7;
            let (rule, about) =
                [("LagHigh", "db2"), ("PrimaryDown", "db1"), ("ErrorsHigh", "db3")][(second % 3) as usize];
            let state = if second % 5 < 3 { AlertState::Firing } else { AlertState::Resolved };
            let seconds = journal.seconds;
            let fact = if second % 4 == 0 {
                finding(rule, Some(about), Severity::Critical, state, seconds)
            } else {
                Fact::Tick {}
            };
            out.extend(journal.put(if second % 4 == 0 { "rules.1/samples/0" } else { "ticker/p1" }, fact));
            if restarts && second % 11 == 0 {
                let saved = journal.fold.save();
                journal.fold = Fold::new(Alerts::default(), 0);
                journal.fold.restore(&saved).expect("as it was saved");
            }
        }
        out
    };
    let (through, restarted) = (story(false), story(true));
    assert!(through.len() > 200, "{}", through.len());
    assert_eq!(through, restarted);
}

/// Alerts that are said together are said by their fingerprints, which mean nothing to a reader.
trait Sorted {
    fn sorted(self) -> Vec<Said>;
}

impl Sorted for Vec<Said> {
    fn sorted(mut self) -> Vec<Said> {
        self.sort_by(|one, other| one.0.cmp(&other.0));
        self
    }
}
