//! What would have fired: rules and anomalies over what was recorded. Records of a bus or an archive enter, findings leave, with the time
//! at which each would have been said. The processors are those that judge live. Everything that is there is folded, since a judgement
//! rests on what came before; who asks for a span of time is shown what falls into it. Nothing is written anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_processors::Folds;
use millrace_processors::anomalies::{Anomalies, Gate, Settings};
use millrace_processors::fold::Fate;
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
    /// How many records were folded.
    pub records: u64,
    /// How many could not be read.
    pub unreadable: u64,
}

/// What is recorded, each in the order of its partitions.
#[derive(Debug, Default)]
pub struct Recorded {
    /// The texts and tables of digests.
    pub digests: Vec<Record>,
    /// Windows.
    pub windows: Vec<Record>,
    /// Samples.
    pub samples: Vec<Record>,
    /// The journal.
    pub journal: Vec<Record>,
}

/// Folds it all.
pub fn test(recorded: Recorded, rules: &Arc<Rules>, settings: &Settings) -> Tested {
    let mut tested = Tested::default();
    let mut names = Dictionary::default();
    recorded.digests.iter().for_each(|record| names.learn(record));
    let mut samples = Folds::new(Sampled::new(Arc::clone(rules)));
    for record in &recorded.samples {
        let folded = samples.fold(record);
        tested.take(folded.out, &folded.fate, record.appended);
    }
    // What is unusual is judged anew. Where no windows were kept, as in an archive, what was said of them then stands.
    let anew = !recorded.windows.is_empty();
    let mut windows: BTreeMap<u32, Anomalies> = BTreeMap::new();
    let mut journal = recorded.journal;
    journal.retain(|record| !(anew && was_unusual(record)));
    for record in &recorded.windows {
        let judge =
            windows.entry(record.partition).or_insert_with(|| Anomalies::new(record.partition, settings.clone()));
        let folded = judge.fold(record, &names);
        tested.take(Vec::new(), &folded.fate, record.appended);
        journal.extend(folded.out.into_iter().map(|new| landed(new, record)));
    }
    journal.sort_by_key(|record| record.appended);
    let (mut judged, mut gate) =
        (Folds::new(Journal::new(Arc::clone(rules))), Folds::new(Gate { settings: settings.clone() }));
    for (offset, record) in (0..).zip(&journal) {
        // Records of two topics are one journal now, with offsets of its own.
        let record = Record { offset, ..record.clone() };
        let read = Event::from_record(&record);
        let (by_rules, by_gate) = (judged.fold_read(&record, &read), gate.fold_read(&record, &read));
        tested.take(by_rules.out, &by_rules.fate, record.appended);
        tested.take(by_gate.out, &Fate::Folded, record.appended);
    }
    tested.said.sort_by_key(|said| said.at);
    tested
}

/// A fact as it would lie in the journal, appended when the window came.
fn landed(new: NewRecord, window: &Record) -> Record {
    Record {
        topic: new.topic,
        partition: window.partition,
        offset: 0,
        appended: window.appended,
        key: new.key,
        headers: new.headers,
        value: new.value,
    }
}

/// True for what was said of windows while it ran.
fn was_unusual(record: &Record) -> bool {
    Event::<Fact>::from_record(record).is_ok_and(|event| matches!(event.payload, Fact::Unusual(_)))
}

impl Tested {
    fn take(&mut self, out: Vec<NewRecord>, fate: &Fate, at: Timestamp) {
        self.records += 1;
        self.unreadable += u64::from(matches!(fate, Fate::Dead(_)));
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
    use millrace_schemas::ids::{DigestId, EventId, InstanceId};
    use millrace_schemas::marks::Sequence;
    use millrace_schemas::record::{Bytes, Headers};
    use millrace_schemas::sketch::Sketch;
    use millrace_schemas::topics::Topic;
    use millrace_schemas::topics::alerts::AlertState;
    use millrace_schemas::topics::journal::Load;
    use millrace_schemas::topics::queries::{Row, Source};
    use millrace_schemas::topics::windows::{TOTAL, Window, encode};

    use super::*;

    const START: i64 = 1_700_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn window(number: i64, us: u64) -> Record {
        let mut rt_last = Sketch::new();
        rt_last.add_n(us, 500);
        let row = |digest| Row {
            second: START + number * 10,
            instance: InstanceId::parse("db1").expect("legal"),
            schema: String::new(),
            user: "app".to_owned(),
            digest,
            source: Source::Wire,
            sample_factor: 1,
            count: 500,
            errors: 0,
            rows_sent: 1,
            rows_affected: 0,
            rows_examined: None,
            lock_us: None,
            bytes_in: 1,
            bytes_out: 1,
            rt_sum_us: us * 500,
            rt_min_us: us,
            rt_max_us: us,
            rt_first: Sketch::new(),
            rt_last: rt_last.clone(),
            folded: 0,
            killed: None,
            timed_out: None,
        };
        let rows = [TOTAL, DigestId([3; 16])].map(|digest| Window {
            width_seconds: 10,
            revision: 2,
            closed: true,
            row: row(digest),
        });
        Record {
            topic: Topic::Windows,
            partition: 0,
            offset: number as u64,
            appended: at(START + number * 10 + 12),
            key: "db1".to_owned(),
            headers: Headers::from([("cluster".to_owned(), "c1".to_owned())]),
            value: Some(Bytes::from(encode(&rows).expect("encodes"))),
        }
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
        let recorded = || Recorded {
            windows: (0..130)
                .map(|number| window(number, if (100..120).contains(&number) { 9_000 } else { 2_000 }))
                .collect(),
            journal: (0..130).map(|number| load(number, if (40..70).contains(&number) { 400 } else { 0 })).collect(),
            ..Recorded::default()
        };
        let rules = Arc::new(Rules::read("").expect("shipped"));
        let tested = test(recorded(), &rules, &Settings::default());
        let names: Vec<(&str, AlertState)> =
            tested.said.iter().map(|said| (said.finding.rule.as_str(), said.finding.state)).collect();
        let expected = ["ErrorsHigh", "Anomaly"].map(|rule| [(rule, AlertState::Firing), (rule, AlertState::Resolved)]);
        assert_eq!(names, expected.concat(), "{:#?}", tested.said);
        assert_eq!(tested.said[2].at, at(START + 101 * 10 + 12));
        assert_eq!(test(recorded(), &rules, &Settings::default()), tested);
    }
}
