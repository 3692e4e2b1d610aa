//! The body for any chat that takes JSON: a template, in whose texts `{summary}` and other names stand for what an alert says.
//! The template is parsed first and filled then, so that no words of an alert can break out of their text.

use std::collections::BTreeMap;

use millrace_schemas::event::Event;
use millrace_schemas::topics::alerts::Notice;
use serde_json::Value;

use super::style::{self, Style, alert, hides, runbook_url};

/// The names that a template may have.
pub const NAMES: [&str; 17] = [
    "title",
    "text",
    "summary",
    "rule",
    "cluster",
    "instance",
    "severity",
    "state",
    "told",
    "since",
    "until",
    "value",
    "runbook",
    "hides",
    "fingerprint",
    "id",
    "count",
];

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// Not JSON.
    #[error("the template is not JSON: {0}")]
    Json(String),
    /// A name that nothing is known for.
    #[error("the template has {{{0}}}; known are {known}", known = NAMES.join(", "))]
    Name(String),
}

/// A checked template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Value);

impl Template {
    /// Reads one, and checks the names in it.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let value: Value = serde_json::from_str(text).map_err(|error| BadTemplate::Json(error.to_string()))?;
        let known = NAMES.iter().map(|name| (*name, String::new())).collect();
        filled(&value, &known)?;
        Ok(Self(value))
    }
}

/// The body for one alert, or for several in one message.
pub fn body(events: &[Event<Notice>], style: &Style, template: &Template) -> Value {
    filled(&template.0, &names(events, style)).expect("a template's names were checked when it was read")
}

fn names(events: &[Event<Notice>], style: &Style) -> BTreeMap<&'static str, String> {
    let mut names: BTreeMap<&'static str, String> = NAMES.iter().map(|name| (*name, String::new())).collect();
    names.extend([
        ("title", style::title(events)),
        ("text", style::lines(events).join("\n")),
        ("summary", style::title(events)),
        ("severity", style::joint_severity(events).name().to_owned()),
        ("state", style::state(style::joint_state(events)).to_owned()),
        ("id", style::message_id(events).to_string()),
        ("count", events.len().to_string()),
    ]);
    let [event] = events else { return names };
    let alert = alert(event);
    names.extend([
        ("summary", alert.summary.clone()),
        ("rule", alert.name.clone()),
        ("cluster", event.subject.cluster.to_string()),
        ("since", alert.starts_at.to_string()),
        ("runbook", runbook_url(alert, style).unwrap_or_else(|| alert.runbook.clone())),
        ("fingerprint", alert.fingerprint.to_string()),
    ]);
    names.extend(alert.instance.as_ref().map(|instance| ("instance", instance.to_string())));
    names.extend(alert.told.map(|told| ("told", told.name().to_owned())));
    names.extend(alert.ends_at.map(|at| ("until", at.to_string())));
    names.extend(alert.value.map(|value| ("value", value.to_string())));
    names.extend(hides(alert).map(|hidden| ("hides", hidden)));
    names
}

fn filled(value: &Value, names: &BTreeMap<&'static str, String>) -> Result<Value, BadTemplate> {
    Ok(match value {
        Value::String(text) => Value::String(filled_text(text, names)?),
        Value::Array(items) => Value::Array(items.iter().map(|item| filled(item, names)).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, field)| Ok((key.clone(), filled(field, names)?)));
            Value::Object(fields.collect::<Result<_, BadTemplate>>()?)
        }
        other => other.clone(),
    })
}

/// Braces around anything but small letters are no name, and stay.
fn filled_text(text: &str, names: &BTreeMap<&'static str, String>) -> Result<String, BadTemplate> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let end = after.find(|char: char| !char.is_ascii_lowercase()).filter(|end| after[*end..].starts_with('}'));
        match end {
            Some(end) if end > 0 => {
                let name = &after[..end];
                out.push_str(names.get(name).ok_or_else(|| BadTemplate::Name(name.to_owned()))?);
                rest = &after[end + 1..];
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}
