//! What all channels say alike: labels, annotations, and the words for people. Pure: events in, text out.

use std::collections::{BTreeMap, BTreeSet};

use millrace_schemas::event::Event;
use millrace_schemas::ids::{EventId, InstanceId};
use millrace_schemas::topics::alerts::{Alert, AlertState, Hidden, Notice, Severity, Told};

/// 20 alerts of a bundle are named in words for people; a body for programs has all of them.
pub const NAMED_MAX: usize = 20;

/// How a channel says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// The channel's name.
    pub receiver: String,
    /// Where the pages of alerts are: what the path of a runbook is put behind.
    pub runbooks: Option<String>,
}

/// The alert of an event.
pub fn alert(event: &Event<Notice>) -> &Alert {
    let Notice::Alert(alert) = &event.payload;
    alert
}

/// Its labels. They are the same over its life as long as it is as bad.
pub fn labels(event: &Event<Notice>) -> BTreeMap<String, String> {
    let alert = alert(event);
    let mut labels = alert.labels.clone();
    labels.insert("alertname".to_owned(), alert.name.clone());
    labels.insert("cluster".to_owned(), event.subject.cluster.to_string());
    labels.insert("severity".to_owned(), alert.severity.name().to_owned());
    labels.extend(alert.instance.iter().map(|instance| ("instance".to_owned(), instance.to_string())));
    labels
}

/// What else is known of it.
pub fn annotations(event: &Event<Notice>, style: &Style) -> BTreeMap<String, String> {
    let alert = alert(event);
    let mut all = BTreeMap::from([
        ("summary", alert.summary.clone()),
        ("runbook", alert.runbook.clone()),
        ("event_id", event.id.to_string()),
    ]);
    all.extend(runbook_url(alert, style).map(|url| ("runbook_url", url)));
    all.extend(hides(alert).map(|hidden| ("hides", hidden)));
    all.extend(alert.told.map(|told| ("told", told.name().to_owned())));
    all.extend(alert.value.map(|value| ("value", value.to_string())));
    all.extend(alert.acknowledged_by.clone().map(|by| ("acknowledged_by", by)));
    all.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

/// The address of the page that says what to do, where it is known.
pub fn runbook_url(alert: &Alert, style: &Style) -> Option<String> {
    if alert.runbook.contains("://") {
        return Some(alert.runbook.clone());
    }
    let base = style.runbooks.as_ref()?;
    Some(format!("{}/{}", base.trim_end_matches('/'), alert.runbook.trim_start_matches('/')))
}

/// What it hides, in words: `ReplicationStopped on db2, db3; LagHigh`.
pub fn hides(alert: &Alert) -> Option<String> {
    let mut rules: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Hidden { rule, instance } in &alert.hides {
        rules.entry(rule).or_default().extend(instance.as_ref().map(InstanceId::as_str));
    }
    let one = |(rule, instances): (&str, Vec<&str>)| match &instances[..] {
        [] => rule.to_owned(),
        some => format!("{rule} on {}", some.join(", ")),
    };
    let all: Vec<String> = rules.into_iter().map(one).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Firing or resolved.
pub const fn state(state: AlertState) -> &'static str {
    match state {
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
    }
}

/// `c1/db1`, or `c1`.
pub fn place(event: &Event<Notice>) -> String {
    let cluster = &event.subject.cluster;
    alert(event).instance.as_ref().map_or_else(|| cluster.to_string(), |instance| format!("{cluster}/{instance}"))
}

/// In one line: `firing: critical PrimaryDown of c1/db1`; for several, how many of which state.
pub fn title(events: &[Event<Notice>]) -> String {
    if let [event] = events {
        let alert = alert(event);
        let mark = match (alert.told, alert.state) {
            (Some(Told::Escalated), _) => "escalated",
            (Some(Told::Repeated), AlertState::Firing) => "still firing",
            (Some(Told::Acknowledged), AlertState::Firing) => "taken",
            (_, holds) => state(holds),
        };
        return format!("{mark}: {} {} of {}", alert.severity.name(), alert.name, place(event));
    }
    let firing = events.iter().filter(|event| alert(event).state == AlertState::Firing).count();
    let clusters: BTreeSet<_> = events.iter().map(|event| &event.subject.cluster).collect();
    let of = match clusters.first() {
        Some(only) if clusters.len() == 1 => format!("of {only}"),
        _ => format!("of {} clusters", clusters.len()),
    };
    format!("{} alerts {of}: {firing} firing, {} resolved", events.len(), events.len() - firing)
}

/// An alert in a line of a list.
pub fn line(event: &Event<Notice>) -> String {
    format!("{}: {}", title(std::slice::from_ref(event)), alert(event).summary)
}

/// Several, each in a line; of many the first, and how many more there are.
pub fn lines(events: &[Event<Notice>]) -> Vec<String> {
    let mut lines: Vec<String> = events.iter().take(NAMED_MAX).map(line).collect();
    if events.len() > NAMED_MAX {
        lines.push(format!("and {} more", events.len() - NAMED_MAX));
    }
    lines
}

/// Firing, if one of them is.
pub fn joint_state(events: &[Event<Notice>]) -> AlertState {
    let firing = events.iter().any(|event| alert(event).state == AlertState::Firing);
    if firing { AlertState::Firing } else { AlertState::Resolved }
}

/// As bad as the worst of them.
pub fn joint_severity(events: &[Event<Notice>]) -> Severity {
    events.iter().map(|event| alert(event).severity).max().unwrap_or(Severity::Info)
}

/// Names a message: the event's own id, or one that follows from those of all its events. It is the same when it is sent again.
pub fn message_id(events: &[Event<Notice>]) -> EventId {
    if let [event] = events {
        return event.id;
    }
    let ids: Vec<String> = events.iter().map(|event| event.id.to_string()).collect();
    EventId::derive(&ids.iter().map(String::as_str).collect::<Vec<_>>())
}
