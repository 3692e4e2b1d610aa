//! The body of Alertmanager's webhook, version 4, which many programs take; it is also what a command gets on its standard input.
//! What is not in that format is in the annotations: the event's id, and what an alert hides.

use std::collections::BTreeMap;

use millrace_schemas::event::Event;
use millrace_schemas::topics::alerts::Notice;
use serde_json::{Value, json};

use super::style::{self, Style, alert, annotations, labels};

/// What Alertmanager writes where there is no time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The body for one alert, or for several in one message.
pub fn body(events: &[Event<Notice>], style: &Style) -> Value {
    let group = group(events);
    let key: Vec<String> = group.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{{}}}", key.join(", ")),
        "truncatedAlerts": 0,
        "status": style::state(style::joint_state(events)),
        "receiver": style.receiver,
        "groupLabels": group,
        "commonLabels": common(events.iter().map(labels)),
        "commonAnnotations": common(events.iter().map(|event| annotations(event, style))),
        "externalURL": "",
        "alerts": events.iter().map(|event| one(event, style)).collect::<Vec<_>>(),
    })
}

fn one(event: &Event<Notice>, style: &Style) -> Value {
    let alert = alert(event);
    json!({
        "status": style::state(alert.state),
        "labels": labels(event),
        "annotations": annotations(event, style),
        "startsAt": alert.starts_at.to_string(),
        "endsAt": alert.ends_at.map_or_else(|| NEVER.to_owned(), |at| at.to_string()),
        "generatorURL": "",
        "fingerprint": alert.fingerprint.to_string(),
    })
}

/// Alerts go together by their cluster.
fn group(events: &[Event<Notice>]) -> BTreeMap<String, String> {
    common(events.iter().map(|event| BTreeMap::from([("cluster".to_owned(), event.subject.cluster.to_string())])))
}

/// What all have, with the same value.
fn common(mut all: impl Iterator<Item = BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut common = all.next().unwrap_or_default();
    for one in all {
        common.retain(|name, value| one.get(name) == Some(value));
    }
    common
}
