//! An alert that gets worse and better again: words enter, and of all series of stores at most one fires at any moment, whoever reads
//! which part of the topic.

use std::collections::BTreeMap;

use millrace_schemas::event::Subject;
use millrace_schemas::ids::EventId;
use millrace_schemas::marks::Sequence;
use millrace_schemas::metrics::SERIES_PER_INSTANCE;
use millrace_schemas::topics::alerts::{Quiet, Severity};
use millrace_schemas::topics::examples;

use super::*;

const S: i64 = 1_000_000;

fn word(second: i64, severity: Severity, before: Option<Severity>, state: AlertState, quiet: Option<Quiet>) -> Record {
    let Notice::Alert(example) = examples::notices().remove(0);
    let alert = Alert { severity, severity_before: before, state, quiet, ..example };
    let event = Event {
        id: EventId::derive(&["severity", &second.to_string()]),
        source: "alerts.1".to_owned(),
        sequence: Sequence { incarnation: 1, counter: second.unsigned_abs() },
        at: Timestamp(second * S),
        appended: Timestamp::ZERO,
        subject: Subject::cluster(ClusterId::parse("c1").expect("legal")),
        cause: None,
        payload: Notice::Alert(alert),
    };
    // A little later, as whatever is appended.
    event.to_record().stored(0, second.unsigned_abs(), Timestamp(second * S + 7))
}

/// The fields of a point.
type Fields = Vec<(&'static str, f64)>;

/// What each severity's series says last: that it fires, and that nobody is told.
fn says(stored: &BTreeMap<String, Fields>) -> Vec<(&str, f64, f64)> {
    let value = |fields: &[(&str, f64)], name| fields.iter().find(|(field, _)| *field == name).expect("a field").1;
    stored
        .iter()
        .map(|(severity, fields)| (severity.as_str(), value(fields, "firing"), value(fields, "quiet")))
        .collect()
}

#[test]
fn the_series_of_the_severity_that_an_alert_had_is_over_with_the_word_that_changes_it() {
    use AlertState::{Firing, Resolved};
    use Severity::{Critical, Warning};
    let words = [
        word(1, Warning, None, Firing, Some(Quiet::Shown)),
        word(2, Critical, Some(Warning), Firing, None),
        word(3, Critical, None, Firing, None),
        word(4, Warning, Some(Critical), Firing, None),
        word(5, Warning, None, Resolved, None),
    ];
    let expected = [
        vec![("warning", 1.0, 1.0)],
        vec![("critical", 1.0, 0.0), ("warning", 0.0, 0.0)],
        vec![("critical", 1.0, 0.0), ("warning", 0.0, 0.0)],
        vec![("critical", 0.0, 0.0), ("warning", 1.0, 0.0)],
        vec![("critical", 0.0, 0.0), ("warning", 0.0, 0.0)],
    ];
    let mut stored = BTreeMap::new();
    let mut lines = Vec::new();
    for (word, expected) in words.iter().zip(expected) {
        // A sink that was started again between any two words makes the same of them.
        let points = Points::new(SERIES_PER_INSTANCE).of(word).expect("readable");
        assert!(points.iter().all(|point| point.at == Timestamp(word.appended.0 - 7)), "{points:?}");
        lines.push(points.len());
        for point in points {
            let severity = point.labels.iter().find(|(name, _)| *name == "severity").expect("a label").1.clone();
            stored.insert(severity, point.fields);
        }
        assert_eq!(says(&stored), expected);
    }
    assert_eq!(lines, [1, 2, 1, 2, 1], "it is said once");
}
