//! A word about an alert enters, a point leaves: that it fires, or that it is over, and whether people hear of it. Stores have one for
//! each word, so that dashboards mark when something began; what fires now is told at `/metrics`. The time is that of which the word
//! speaks: who was killed and appends a word again speaks of the same.

use millrace_schemas::event::Event;
use millrace_schemas::ids::InstanceId;
use millrace_schemas::metrics::{ALERT_FIRING, ALERT_QUIET};
use millrace_schemas::topics::alerts::{AlertState, Notice, WATCHDOG};

use super::{Lines, Place};
use crate::line::Point;

/// The points of a word. The watchdog's say nothing but that time passes.
pub(super) fn points(event: &Event<Notice>) -> Vec<Point> {
    let Notice::Alert(alert) = &event.payload;
    if alert.name == WATCHDOG {
        return Vec::new();
    }
    let instance = alert.instance.as_ref().map_or("", InstanceId::as_str);
    let place = Place { cluster: event.subject.cluster.as_str(), instance, host: "" };
    let own = [alert.name.as_str(), alert.severity.name()];
    let flag = |on: bool| f64::from(u8::from(on));
    let mut lines = Lines::default();
    lines.add(&ALERT_FIRING, place.labels(&ALERT_FIRING, &own), flag(alert.state == AlertState::Firing));
    lines.add(&ALERT_QUIET, place.labels(&ALERT_QUIET, &own), flag(alert.quiet.is_some()));
    lines.at(event.at)
}
