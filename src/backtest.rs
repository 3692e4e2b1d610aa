//! What would have fired: rules and anomalies over what was recorded. Records of a bus or an archive enter, findings leave, with the time
//! at which each would have been said. The processors are those that judge live. Everything that is there is folded, since a judgement
//! rests on what came before; who asks for a span of time is shown what falls into it. Nothing is written anywhere.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use millrace_processors::Folds;
use millrace_processors::anomalies::{self, Anomalies, Gate, Settings};
use millrace_processors::fold::Fate;
use millrace_processors::fold::Processor as _;
use millrace_processors::rules::{Journal, Rules, Sampled};
use millrace_schemas::event::Event;
use millrace_schemas::ids::ClusterId;
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::Finding;
use millrace_schemas::topics::journal::Fact;

use crate::roles::anomalies::Dictionary;

/// A finding that would have been said.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// When: the append time of the record with which it was known.
    pub at: Timestamp,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// What.
    pub finding: Finding,
}

/// What was judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tested {
    /// In the order of time.
    pub said: Vec<Said>,
    /// How many records were read.
    pub records: u64,
    /// How many could not be read.
    pub unreadable: u64,
}

/// Records as they are read, each partition in its order.
pub type Records = Box<dyn Iterator<Item = anyhow::Result<Record>>>;

/// What is recorded. It is read once, in this order, and not kept: a bus may have a week of a fleet.
pub struct Recorded {
    /// The texts and tables of digests.
    pub digests: Records,
    /// Samples.
    pub samples: Records,
    /// Windows.
    pub windows: Records,
    /// The journal.
    pub journal: Records,
}

/// Nothing was recorded.
pub fn none() -> Records {
    Box::new(std::iter::empty())
}

/// Folds it all.
pub fn test(recorded: Recorded, rules: &Arc<Rules>, settings: &Settings) -> anyhow::Result<Tested> {
    let mut tested = Tested::default();
    let mut names = Dictionary::default();
    for record in recorded.digests {
        names.learn(&record?);
        tested.records += 1;
    }
    // What is unusual is judged anew. Where no windows or samples were kept, as in an archive, what was said of them then stands.
    let (mut judges, mut unusual): (BTreeMap<u32, Anomalies>, BTreeMap<u32, VecDeque<Record>>) = Default::default();
    let mut anew = Vec::new();
    let mut samples = Folds::new(Sampled::new(Arc::clone(rules)));
    let mut signals = Folds::new(anomalies::Sampled { settings: settings.clone() });
    for record in recorded.samples {
        let record = record?;
        let read = Event::from_record(&record);
        let folded = samples.fold_read(&record, &read);
        tested.read(&folded.fate);
        tested.say(folded.out, record.appended);
        let found = signals.fold_read(&record, &read).out.into_iter().map(|new| landed(new, &record));
        unusual.entry(record.partition).or_default().extend(found);
        anew = vec![anomalies::Sampled::NAME];
    }
    for record in recorded.windows {
        let record = record?;
        let partition = record.partition;
        let judge = judges.entry(partition).or_insert_with(|| Anomalies::new(partition, settings.clone()));
        let folded = judge.fold(&record, &names);
        tested.read(&folded.fate);
        unusual.entry(partition).or_default().extend(folded.out.into_iter().map(|new| landed(new, &record)));
    }
    if !judges.is_empty() {
        anew.push(anomalies::NAME);
    }
    // Samples were read before windows.
    for found in unusual.values_mut() {
        found.make_contiguous().sort_by_key(|one| one.appended);
    }
    let mut judged = Judged {
        rules: Folds::new(Journal::new(Arc::clone(rules))),
        gate: Folds::new(Gate { settings: settings.clone() }),
        offset: 0,
    };
    for record in recorded.journal {
        let record = record?;
        let before = unusual.entry(record.partition).or_default();
        while let Some(one) = before.pop_front_if(|one| one.appended <= record.appended) {
            judged.take(one, &mut tested);
        }
        let fate = if was_unusual(&record, &anew) { Fate::Folded } else { judged.take(record, &mut tested) };
        tested.read(&fate);
    }
    for one in unusual.into_values().flatten() {
        judged.take(one, &mut tested);
    }
    tested.said.sort_by_key(|said| said.at);
    Ok(tested)
}

/// The processors of the journal.
struct Judged {
    rules: Folds<Journal>,
    gate: Folds<Gate>,
    /// Records of two topics are one journal now, with offsets of its own.
    offset: u64,
}

impl Judged {
    fn take(&mut self, record: Record, tested: &mut Tested) -> Fate {
        let record = Record { offset: self.offset, ..record };
        self.offset += 1;
        let read = Event::from_record(&record);
        let (by_rules, by_gate) = (self.rules.fold_read(&record, &read), self.gate.fold_read(&record, &read));
        tested.say(by_rules.out, record.appended);
        tested.say(by_gate.out, record.appended);
        by_rules.fate
    }
}

/// A fact as it would lie in the journal, appended when the window or the sample came.
fn landed(new: NewRecord, window: &Record) -> Record {
    new.stored(window.partition, 0, window.appended)
}

/// True for what one of these processors said while it ran.
fn was_unusual(record: &Record, by: &[&str]) -> bool {
    Event::<Fact>::from_record(record).is_ok_and(|event| {
        matches!(event.payload, Fact::Unusual(_)) && by.iter().any(|name| event.source.starts_with(name))
    })
}

impl Tested {
    fn read(&mut self, fate: &Fate) {
        self.records += 1;
        self.unreadable += u64::from(matches!(fate, Fate::Dead(_)));
    }

    fn say(&mut self, out: Vec<NewRecord>, at: Timestamp) {
        for record in out {
            let event = record.value.as_deref().and_then(|value| Event::<Fact>::from_json(value, false).ok());
            if let Some(Event { payload: Fact::Finding(finding), subject, .. }) = event {
                self.said.push(Said { at, cluster: subject.cluster, finding: *finding });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::event::Subject;
    use millrace_schemas::ids::{EventId, InstanceId};
    use millrace_schemas::marks::Sequence;
    use millrace_schemas::topics::alerts::AlertState;
    use millrace_schemas::topics::examples;
    use millrace_schemas::topics::journal::Load;

    use super::*;

    const START: i64 = 1_700_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn window(number: i64, us: u64) -> Record {
        let rows = examples::window(START + number * 10, 500, us, true);
        examples::windowed("c1", number as u64, &rows).stored(0, number as u64, at(START + number * 10 + 12))
    }

    fn load(number: i64, errors: u64) -> Record {
        let load = Load {
            start: at(START + number * 10),
            width_seconds: 10,
            statements: 500,
            errors,
            p50_us: 1_000,
            p99_us: 2_000,
        };
        let (cluster, instance) = (ClusterId::parse("c1").expect("legal"), InstanceId::parse("db1").expect("legal"));
        let new = Event {
            id: EventId::derive(&["load", &number.to_string()]),
            source: "windows.1/queries/0/db1".to_owned(),
            sequence: Sequence { incarnation: number as u64, counter: 1 },
            at: at(START),
            appended: Timestamp::ZERO,
            subject: Subject::instance(cluster, instance),
            cause: None,
            payload: Fact::Load(load),
        }
        .to_record();
        landed(new, &window(number, 1))
    }

    #[test]
    fn rules_and_anomalies_fire_over_what_was_recorded_and_twice_is_the_same() {
        let slow = |number: i64| if (100..120).contains(&number) { 9_000 } else { 2_000 };
        let failed = |number: i64| if (40..70).contains(&number) { 400 } else { 0 };
        let recorded = || Recorded {
            digests: none(),
            samples: none(),
            windows: Box::new((0..130).map(move |number| Ok(window(number, slow(number))))),
            journal: Box::new((0..130).map(move |number| Ok(load(number, failed(number))))),
        };
        let rules = Arc::new(Rules::read("").expect("shipped"));
        let tested = test(recorded(), &rules, &Settings::default()).expect("readable");
        let names: Vec<(&str, AlertState)> =
            tested.said.iter().map(|said| (said.finding.rule.as_str(), said.finding.state)).collect();
        let expected =
            ["ErrorsHigh", "StatementRegressed"].map(|rule| [(rule, AlertState::Firing), (rule, AlertState::Resolved)]);
        assert_eq!(names, expected.concat(), "{:#?}", tested.said);
        assert_eq!(tested.said[2].at, at(START + 101 * 10 + 12));
        assert_eq!(test(recorded(), &rules, &Settings::default()).expect("readable"), tested);
    }
}
