//! The body of an incoming webhook as Slack has it, and Mattermost and Rocket.Chat after it. Attachments, not blocks: the others do
//! not know blocks.

use millrace_schemas::event::Event;
use millrace_schemas::topics::alerts::{AlertState, Notice, Severity};
use serde_json::{Value, json};

use super::style::{self, Style, alert, hides, runbook_url};

/// Microseconds in a second: the time of an attachment is in seconds.
const MICROSECONDS: i64 = 1_000_000;

/// The body for one alert, or for several in one message.
pub fn body(events: &[Event<Notice>], style: &Style) -> Value {
    let title = escaped(&style::title(events));
    let attachment = if let [event] = events {
        one(event, style)
    } else {
        let lines: Vec<String> = style::lines(events).iter().map(|line| escaped(line)).collect();
        json!({ "color": color(events), "text": lines.join("\n"), "fallback": title })
    };
    json!({ "text": title, "attachments": [attachment] })
}

fn one(event: &Event<Notice>, style: &Style) -> Value {
    let alert = alert(event);
    let field = |title: &str, value: String, short: bool| json!({ "title": title, "value": value, "short": short });
    let mut fields = vec![
        field("Severity", alert.severity.name().to_owned(), true),
        field("Since", alert.starts_at.to_string(), true),
    ];
    fields.extend(alert.ends_at.map(|at| field("Until", at.to_string(), true)));
    fields.extend(alert.acknowledged_by.as_ref().map(|by| field("Taken by", escaped(by), true)));
    fields.extend(hides(alert).map(|hidden| field("Hides", escaped(&hidden), false)));
    let mut attachment = json!({
        "color": color(std::slice::from_ref(event)),
        "title": escaped(&format!("{} of {}", alert.name, style::place(event))),
        "text": escaped(&alert.summary),
        "fallback": escaped(&alert.summary),
        "fields": fields,
        "ts": event.at.0 / MICROSECONDS,
    });
    if let Some(url) = runbook_url(alert, style) {
        attachment["title_link"] = url.into();
    }
    attachment
}

fn color(events: &[Event<Notice>]) -> &'static str {
    match (style::joint_state(events), style::joint_severity(events)) {
        (AlertState::Resolved, _) => "good",
        (AlertState::Firing, Severity::Critical) => "danger",
        (AlertState::Firing, Severity::Warning) => "warning",
        (AlertState::Firing, Severity::Info) => "#439fe0",
    }
}

/// Slack reads these three characters as its own.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
