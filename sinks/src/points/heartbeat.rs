//! A heartbeat enters, what people watch by the second leaves: whether the server answers and is open, its role, its delay.

use millrace_schemas::event::Event;
use millrace_schemas::metrics::{
    CANARY_SECONDS, INSTANCE_OPEN, INSTANCE_ROLE, INSTANCE_UP, Metric, REPLICA_DELAY, REPLICA_RUNNING, REPLICA_SOURCE,
    SEMI_SYNC_ACTIVE, VERSION_INFO,
};
use millrace_schemas::topics::journal::{Canary, Fact, ServerState};

use super::{Lines, place};
use crate::line::Point;

/// What an instance can be; the others are said to be 0, so that no series goes on saying 1 after a change.
const ROLES: [&str; 3] = ["primary", "replica", "closed"];

/// The points of a fact; none of what is no heartbeat.
pub(super) fn points(event: &Event<Fact>) -> Vec<Point> {
    let (Fact::Heartbeat(heartbeat), Some(instance)) = (&event.payload, &event.subject.instance) else {
        return Vec::new();
    };
    let place = place(&event.subject.cluster, instance, &heartbeat.host);
    let mut lines = Lines::default();
    let mut add = |metric: &'static Metric, own: &[&str], value| lines.add(metric, place.labels(metric, own), value);
    let flag = |on: bool| f64::from(u8::from(on));
    add(&INSTANCE_UP, &[], flag(heartbeat.server.is_some()));
    if let Canary::Written { took_us } = heartbeat.canary {
        add(&CANARY_SECONDS, &[], took_us as f64 / 1e6);
    }
    if let Some(server) = &heartbeat.server {
        add(&INSTANCE_OPEN, &[], flag(server.open));
        add(&VERSION_INFO, &[&server.version], 1.0);
        for role in ROLES {
            add(&INSTANCE_ROLE, &[role], flag(role == role_of(server)));
        }
        if server.semi_sync.source_enabled {
            add(&SEMI_SYNC_ACTIVE, &[], flag(server.semi_sync.source_active));
        }
        if let Some(receiver) = &server.receiver {
            add(&REPLICA_SOURCE, &[&receiver.source], 1.0);
            add(&REPLICA_RUNNING, &[], flag(receiver.receiving && receiver.applying));
            if let Some(delay) = receiver.delay_us {
                add(&REPLICA_DELAY, &[], delay as f64 / 1e6);
            }
        }
    }
    lines.at(event.at)
}

fn role_of(server: &ServerState) -> &'static str {
    match (server.open, &server.receiver) {
        (true, _) => "primary",
        (false, Some(_)) => "replica",
        (false, None) => "closed",
    }
}
