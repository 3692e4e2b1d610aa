//! Golden journals: what was decided on them once is decided on them for ever, live, replayed, interrupted at any record, and
//! with every record three times. `MILLRACE_GOLDEN=write cargo test --test main replay` makes journals that are missing, from
//! the simulation, and renews the decisions; journals that are there are never overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use millrace::simulation::{Options, Outcome, run};
use millrace_processors::failover::Failover;
use millrace_processors::fold::Fold;
use millrace_processors::permits::Permits;
use millrace_processors::routes::Routes;
use millrace_processors::{Processor, fold::Saved};
use millrace_schemas::event::Event;
use millrace_schemas::record::{Bytes, Headers, NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Order;
use millrace_schemas::topics::journal::Fact;
use millrace_schemas::topics::routes::Routing;
use serde::{Deserialize, Serialize};

/// A record of a journal as a line of text.
#[derive(Serialize, Deserialize)]
struct Line {
    offset: u64,
    appended: i64,
    key: String,
    headers: Headers,
    value: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journals")
}

fn writing() -> bool {
    std::env::var("MILLRACE_GOLDEN").is_ok_and(|value| value == "write")
}

type Wanted = fn(&Outcome) -> bool;

fn holds(outcome: &Outcome, text: &str) -> bool {
    let has = |record: &Record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).contains(text);
    outcome.journal.iter().chain(&outcome.actions).any(has)
}

/// A new primary, and the old one brought back.
fn smooth(one: &Outcome) -> bool {
    let troubled =
        ["\"is\":\"refused\"", "\"is\":\"abandoned\"", "\"is\":\"timed-out\""].iter().any(|word| holds(one, word));
    !troubled
        && one.refused_by_fleet == 0
        && one.promotions == 1
        && holds(one, "\"do\":\"rejoin\"")
        && holds(one, "\"step\":\"catch-up\"")
        && holds(one, "enrol")
}

/// The journals, each with what a schedule must show to become it.
const JOURNALS: [(&str, Wanted); 6] = [
    ("failover-mariadb", |one| smooth(one) && holds(one, "\"flavour\":\"mariadb\"") && holds(one, "fail-over")),
    ("failover-mysql", |one| smooth(one) && holds(one, "\"flavour\":\"mysql\"") && holds(one, "fail-over")),
    ("created-then-failover", |one| one.promotions == 2 && holds(one, "create-cluster")),
    ("refused-then-done", |one| one.promotions >= 1 && holds(one, "\"is\":\"refused\"") && holds(one, "timed-out")),
    ("refused-by-the-fleet", |one| {
        one.promotions >= 1 && one.refused_by_fleet > 0 && holds(one, "approve") && holds(one, "permit-returned")
    }),
    ("three-epochs", |one| one.promotions >= 3),
];

/// 60 s of simulated time: long enough for two failovers, short enough to read.
const SECONDS_MAX: u64 = 60;

fn make(wanted: Wanted) -> Vec<Line> {
    let fits =
        |outcome: &Outcome| outcome.violation.is_none() && outcome.took.as_secs() < SECONDS_MAX && wanted(outcome);
    let outcome = (0..20_000).map(|seed| run(seed, Options::default())).find(fits).expect("some seed shows it");
    let line = |record: &Record| Line {
        offset: record.offset,
        appended: record.appended.0,
        key: record.key.clone(),
        headers: record.headers.clone(),
        value: String::from_utf8(record.value.as_deref().unwrap_or_default().to_vec()).expect("JSON"),
    };
    outcome.journal.iter().map(line).collect()
}

fn read(name: &str, wanted: Wanted) -> Vec<Record> {
    let file = folder().join(format!("{name}.jsonl"));
    if writing() && !file.exists() {
        let lines: Vec<String> = make(wanted).iter().map(|line| serde_json::to_string(line).expect("JSON")).collect();
        fs::create_dir_all(folder()).expect("a folder");
        fs::write(&file, lines.join("\n") + "\n").expect("written");
    }
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let record = |line: &str| {
        let line: Line = serde_json::from_str(line).expect("a line of a journal");
        Record {
            topic: Topic::Journal,
            partition: 0,
            offset: line.offset,
            appended: Timestamp(line.appended),
            key: line.key,
            headers: line.headers,
            value: Some(Bytes::from(line.value.into_bytes())),
        }
    };
    text.lines().map(record).collect()
}

/// Folds the journal; `pause` stores and restores before the record at that place.
fn decide<P: Processor + Default>(journal: &[Record], pause: Option<usize>) -> Vec<(u64, NewRecord)> {
    let mut fold = Fold::new(P::default(), 0);
    let mut out = Vec::new();
    for (at, record) in journal.iter().enumerate() {
        if pause == Some(at) {
            let saved: Vec<Saved> = fold.save();
            fold = Fold::new(P::default(), 0);
            fold.restore(&saved).expect("it reads what it wrote");
        }
        out.extend(fold.fold(record).out.into_iter().map(|one| (record.offset, one)));
    }
    out
}

/// What a decider says in the journal itself: about a permit, or for people.
fn word(fact: &Fact) -> String {
    match fact {
        Fact::PermitAsked(asked) => {
            format!("{} asks the fleet for epoch {}: {}", asked.cluster, asked.epoch, asked.reason)
        }
        Fact::PermitAnswered(answer) => {
            let word = if answer.granted { "permitted" } else { "refused" };
            format!("epoch {} is {word} until {}: {}", answer.epoch, answer.until, answer.reason)
        }
        Fact::PermitReturned(returned) => format!("{} gives its permit back: {}", returned.cluster, returned.reason),
        Fact::Finding(finding) => format!("{} {:?}: {}", finding.rule, finding.state, finding.summary),
        other => panic!("a decider says {other:?}"),
    }
}

/// A decision in a line for people.
fn sentence(offset: u64, record: &NewRecord) -> String {
    let value = record.value.as_deref().unwrap_or_default();
    let mut line = format!("{offset:>5} {}: ", record.topic);
    match record.topic {
        Topic::Actions => match Event::<Order>::from_json(value, true).expect("an order").payload {
            Order::Action(action) => {
                let _ = write!(line, "{} in epoch {}: {}", action.kind.name(), action.epoch, action.reason);
            }
            Order::Step(step) => panic!("a decider asks for the step {}", step.step.name()),
        },
        Topic::Routes => {
            let Routing::Route(route) = Event::<Routing>::from_json(value, false).expect("a route").payload;
            let primary = route.primary.map_or("nobody".to_owned(), |member| member.instance.to_string());
            let _ = write!(line, "since epoch {} write to {primary}", route.epoch);
        }
        Topic::Journal => line.push_str(&word(&Event::<Fact>::from_json(value, true).expect("a fact").payload)),
        other => panic!("a decider writes to {other}"),
    }
    line
}

#[test]
fn what_was_decided_once_is_decided_again() {
    for (name, wanted) in JOURNALS {
        let journal = read(name, wanted);
        let mut decisions = decide::<Failover>(&journal, None);
        decisions.extend(decide::<Permits>(&journal, None));
        decisions.extend(decide::<Routes>(&journal, None));
        decisions.sort_by_key(|(offset, _)| *offset);
        let text: String = decisions.iter().map(|(offset, record)| sentence(*offset, record) + "\n").collect();
        let file = folder().join(format!("{name}.decisions.txt"));
        if writing() {
            fs::write(&file, &text).expect("written");
        }
        let known = fs::read_to_string(&file).unwrap_or_default();
        assert!(known == text, "{name}: decided otherwise than {}:\n{text}", file.display());
        assert!(text.contains("fail-over"), "{name}: a golden journal has a failover in it");
    }
}

#[test]
fn a_fold_interrupted_before_any_record_decides_the_same() {
    for (name, wanted) in JOURNALS {
        let journal = read(name, wanted);
        let (whole, routes) = (decide::<Failover>(&journal, None), decide::<Routes>(&journal, None));
        let permits = decide::<Permits>(&journal, None);
        for pause in 0..journal.len() {
            assert!(
                decide::<Failover>(&journal, Some(pause)) == whole,
                "{name}: stored and restored before record {pause}"
            );
            assert!(decide::<Permits>(&journal, Some(pause)) == permits, "{name}: permits, before record {pause}");
            assert!(decide::<Routes>(&journal, Some(pause)) == routes, "{name}: routes, before record {pause}");
        }
    }
}

/// Folds the journal from `early` on, as a copy does whose stored states were overwritten by another's: `ahead` stands at `late`
/// already, everything else at `early`.
fn decide_from<P: Processor + Default>(
    journal: &[Record],
    early: usize,
    late: usize,
    ahead: &str,
) -> Vec<(u64, NewRecord)> {
    let (mut fold, mut saved) = (Fold::new(P::default(), 0), Vec::new());
    for (at, record) in journal.iter().enumerate() {
        if at == early {
            saved = fold.save();
        }
        if at == late {
            let newer: Vec<Saved> = fold.save().into_iter().filter(|one| one.entity == ahead).collect();
            saved.retain(|one| one.entity != ahead);
            saved.extend(newer);
            break;
        }
        fold.fold(record);
    }
    let mut fold = Fold::new(P::default(), 0);
    fold.restore(&saved).expect("it reads what it wrote");
    let folded = journal[early..].iter().map(|record| (record.offset, fold.fold(record).out));
    folded.flat_map(|(offset, out)| out.into_iter().map(move |one| (offset, one))).collect()
}

/// Whose state it comes from: what is said about another cluster names its own in the source.
fn owner(record: &NewRecord) -> String {
    let value: serde_json::Value = serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
    let source = value["source"].as_str().expect("a source");
    source.split('/').nth(3).unwrap_or(&record.partition_key).to_owned()
}

#[test]
fn states_that_were_stored_at_different_offsets_decide_the_same() {
    for (name, wanted) in JOURNALS {
        let journal = read(name, wanted);
        let whole = decide::<Failover>(&journal, None);
        let clusters: BTreeSet<&str> = journal.iter().map(|record| record.key.as_str()).collect();
        for early in (1..journal.len()).step_by(7) {
            for (late, ahead) in [early + 1, early + 9, early + 40]
                .into_iter()
                .flat_map(|late| clusters.iter().map(move |one| (late, one)))
            {
                if late >= journal.len() {
                    continue;
                }
                let [from, ahead_from] = [early, late].map(|at| journal[at].offset);
                let due = |(offset, record): &&(u64, NewRecord)| {
                    *offset >= if owner(record) == **ahead { ahead_from } else { from }
                };
                let expected: Vec<_> = whole.iter().filter(due).cloned().collect();
                let decided = decide_from::<Failover>(&journal, early, late, ahead);
                assert!(decided == expected, "{name}: {ahead} stored before record {late}, the others before {early}");
            }
        }
    }
}

/// What is decided, without the names that come from the offsets of the input.
fn essence(decisions: &[(u64, NewRecord)]) -> Vec<String> {
    let mut seen = Vec::new();
    for (_, record) in decisions {
        let line = sentence(0, record);
        if seen.last() != Some(&line) {
            seen.push(line);
        }
    }
    seen
}

#[test]
fn every_record_three_times_decides_the_same() {
    for (name, wanted) in JOURNALS {
        let journal = read(name, wanted);
        let mut thrice = Vec::new();
        let mut behind: BTreeMap<usize, Record> = BTreeMap::new();
        for (at, record) in journal.iter().enumerate() {
            thrice.extend([record.clone(), record.clone()]);
            // The third comes ten records later: a producer that tried again.
            behind.insert(at + 10, record.clone());
            thrice.extend(behind.remove(&at).map(|old| Record { appended: record.appended, ..old }));
        }
        for (offset, record) in thrice.iter_mut().enumerate() {
            record.offset = offset as u64;
        }
        assert_eq!(essence(&decide::<Failover>(&thrice, None)), essence(&decide::<Failover>(&journal, None)), "{name}");
    }
}
