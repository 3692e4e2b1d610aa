//! The body of the Events API of `PagerDuty`, version 2. The fingerprint is the key by which it knows an alert again. Each alert is
//! an event of its own; several at once are one event that says which, and that nobody resolves: so only what fires may be in it.

use millrace_schemas::event::Event;
use millrace_schemas::topics::alerts::{AlertState, Notice};
use serde_json::{Value, json};

use super::style::{self, Style, alert, annotations, labels, runbook_url};

/// Where `PagerDuty` takes events; a site in its other region configures that one.
pub const URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// 1,024 characters: its limit of a summary.
const SUMMARY_MAX: usize = 1_024;

/// The body for one alert, or for several that fire.
pub fn body(events: &[Event<Notice>], style: &Style, routing_key: &str) -> Value {
    let [event] = events else { return bundle(events, routing_key) };
    let alert = alert(event);
    let action = match (alert.state, &alert.acknowledged_by) {
        (AlertState::Resolved, _) => "resolve",
        (AlertState::Firing, Some(_)) => "acknowledge",
        (AlertState::Firing, None) => "trigger",
    };
    let mut details = annotations(event, style);
    details.extend(labels(event));
    let mut body = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": alert.fingerprint.to_string(),
        "client": "Millrace",
        "payload": {
            "summary": cut(&format!("{} of {}: {}", alert.name, style::place(event), alert.summary)),
            "source": style::place(event),
            "severity": alert.severity.name(),
            "timestamp": alert.starts_at.to_string(),
            "component": "mysql",
            "group": event.subject.cluster.as_str(),
            "class": alert.name,
            "custom_details": details,
        },
    });
    if let Some(url) = runbook_url(alert, style) {
        body["links"] = json!([{ "href": url, "text": "what to do" }]);
    }
    body
}

fn bundle(events: &[Event<Notice>], routing_key: &str) -> Value {
    let alerts: Vec<Value> = events.iter().map(|event| style::line(event).into()).collect();
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": style::message_id(events).to_string(),
        "client": "Millrace",
        "payload": {
            "summary": cut(&style::title(events)),
            "source": "millrace",
            "severity": style::joint_severity(events).name(),
            "component": "mysql",
            "class": "bundle",
            "custom_details": { "alerts": alerts },
        },
    })
}

fn cut(text: &str) -> String {
    text.chars().take(SUMMARY_MAX).collect()
}
