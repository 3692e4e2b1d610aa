//! The body of Alertmanager's own API: `POST /api/v2/alerts`. Alertmanager takes an alert for resolved at the time that it is
//! given, and forgets all alerts when it is started again. So a firing one is given a time soon after now, and posted again
//! before that, as Prometheus does.

use std::time::Duration;

use millrace_schemas::event::Event;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{AlertState, Notice};
use serde_json::{Value, json};

use super::style::{Style, alert, annotations, labels};

/// 5 minutes: Alertmanager's own `resolve_timeout`. An alert whose labels changed ends as what it was by then.
pub const HOLDS: Duration = Duration::from_mins(5);
/// 1 minute between two posts of what still fires: four may fail before it ends.
pub const AGAIN_EVERY: Duration = Duration::from_mins(1);
/// The path behind the address of an Alertmanager.
pub(super) const PATH: &str = "api/v2/alerts";

/// The body for alerts as they are at `now`.
pub fn body(events: &[Event<Notice>], style: &Style, now: Timestamp) -> Value {
    let one = |event: &Event<Notice>| {
        let alert = alert(event);
        let ends = match alert.state {
            AlertState::Firing => now + HOLDS,
            AlertState::Resolved => alert.ends_at.unwrap_or(now),
        };
        // What changes with every notification would make Alertmanager's own notifications differ.
        let mut annotations = annotations(event, style);
        annotations.remove("event_id");
        annotations.remove("told");
        json!({
            "labels": labels(event),
            "annotations": annotations,
            "startsAt": alert.starts_at.to_string(),
            "endsAt": ends.to_string(),
        })
    };
    events.iter().map(one).collect()
}
