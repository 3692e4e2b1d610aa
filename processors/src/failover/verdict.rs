//! What the evidence says about the primary. Pure: the state of a cluster and the time in, one verdict out.
//! The table of the design is the `match` below; unsampled time is `Unknown`, never `Fine`.

use std::time::Duration;

use millrace_schemas::cluster::{Member, Process};
use millrace_schemas::ids::InstanceId;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::Canary;
use serde::Serialize;

use super::State;
use super::evidence::{SILENT_AFTER, Seen};

/// 60 s: a person who stopped the primary on purpose gets a minute to start it again.
pub const STOPPED_GRACE: Duration = Duration::from_mins(1);
/// 1.5 s without an acknowledger: the second canary in a row that hangs.
const BLOCKED_AFTER_US: u64 = 1_500_000;
/// 3 s closed although it should be open: three heartbeats in a row.
const CLOSED_AFTER: Duration = Duration::from_secs(3);

/// What the evidence says about a cluster's primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Verdict {
    /// The cluster is being made, or has no primary yet.
    NoPrimaryYet,
    /// It is open and says so.
    Fine,
    /// Not enough is known.
    Unknown {
        /// What is missing.
        why: String,
    },
    /// The process exited, nobody asked for it, and its guard holds it down.
    Dead {
        /// How it exited.
        how: String,
    },
    /// It exited or runs closed, its guard started it again after nobody came.
    Closed,
    /// Its agent is silent, and a quorum of its acknowledgers neither receives from it nor sees its heartbeat rows.
    Isolated {
        /// Who says so.
        witnesses: Vec<InstanceId>,
    },
    /// Its agent is silent, its replicas still stream from it.
    AgentDead,
    /// Somebody asked it to stop.
    StoppedOnPurpose {
        /// True once the grace time is over.
        overdue: bool,
    },
    /// Commits wait for an acknowledgement that nobody gives.
    WritesBlocked,
    /// It answers, but writes hang or fail.
    Stalled {
        /// What the canary said.
        what: String,
    },
}

impl Verdict {
    /// True when the cluster needs another primary, or this one opened again.
    pub fn calls_for_failover(&self) -> bool {
        matches!(
            self,
            Self::Dead { .. } | Self::Closed | Self::Isolated { .. } | Self::StoppedOnPurpose { overdue: true }
        )
    }

    /// In a sentence that begins with the primary's name.
    pub fn sentence(&self, primary: &str) -> String {
        match self {
            Self::NoPrimaryYet => "the cluster has no primary yet".to_owned(),
            Self::Fine => format!("{primary} is open and answers"),
            Self::Unknown { why } => format!("{primary}: unknown, {why}"),
            Self::Dead { how } => format!("{primary} {how} and is held down by its guard"),
            Self::Closed => format!("{primary} runs, but is closed to clients"),
            Self::Isolated { witnesses } => {
                let names: Vec<_> = witnesses.iter().map(InstanceId::as_str).collect();
                format!("the agent of {primary} is silent, and {} no longer see its heartbeat rows", names.join(", "))
            }
            Self::AgentDead => format!("the agent of {primary} is silent, but its replicas still stream from it"),
            Self::StoppedOnPurpose { .. } => format!("{primary} was asked to shut down"),
            Self::WritesBlocked => format!("writes on {primary} wait for an acknowledgement that nobody gives"),
            Self::Stalled { what } => format!("{primary} answers, but its canary write fails: {what}"),
        }
    }
}

/// The verdict on the settled primary of a cluster.
pub fn of(state: &State, now: Timestamp) -> Verdict {
    let Some(primary) = &state.primary else { return Verdict::NoPrimaryYet };
    let Some(seen) = state.members.get(primary) else {
        return Verdict::Unknown { why: "nothing was ever heard of it".to_owned() };
    };
    if !seen.known {
        return Verdict::Unknown { why: "no fresh fact of its agent yet".to_owned() };
    }
    match &seen.process {
        Process::Exited { requested: false, held: true, code, signal } => Verdict::Dead { how: how(*code, *signal) },
        Process::Exited { requested: false, held: false, .. } => {
            Verdict::Unknown { why: "it exited and its guard is starting it again".to_owned() }
        }
        Process::Exited { requested: true, .. } => {
            Verdict::StoppedOnPurpose { overdue: now.since(seen.process_since) >= STOPPED_GRACE }
        }
        Process::Running { .. } | Process::Unknown if seen.is_silent(now) => silent(state, primary, now),
        Process::Running { .. } | Process::Unknown => speaking(seen, now),
    }
}

fn how(code: Option<i32>, signal: Option<i32>) -> String {
    match (code, signal) {
        (_, Some(signal)) => format!("exited on signal {signal}"),
        (Some(code), None) => format!("exited with code {code}"),
        (None, None) => "exited".to_owned(),
    }
}

/// The agent of the primary is silent. It is the agent that writes the heartbeat rows, so their age alone would take a dead
/// agent for a dead server; a receiver that is connected hears the server itself, each half second (`replica_net_timeout` is
/// 2 s, so one whose source hangs or is gone does not say so for longer).
fn silent(state: &State, primary: &InstanceId, now: Timestamp) -> Verdict {
    let Some(spec) = &state.spec else { return Verdict::NoPrimaryYet };
    let window = u64::try_from(SILENT_AFTER.as_micros()).unwrap_or(u64::MAX);
    let source = spec.member(primary).map(Member::endpoint);
    let streams = |instance: &InstanceId| {
        let seen = state.members.get(instance).filter(|seen| !seen.is_silent(now))?;
        let receiver =
            seen.server.as_ref()?.receiver.as_ref().filter(|receiver| Some(&receiver.source) == source.as_ref())?;
        let fresh = receiver.delay_us? <= window;
        Some(fresh || receiver.receiving)
    };
    let heard: Vec<(InstanceId, bool)> = spec
        .acknowledgers_of(primary)
        .filter_map(|instance| streams(instance).map(|streams| (instance.clone(), streams)))
        .collect();
    if heard.iter().any(|(_, streams)| *streams) {
        return Verdict::AgentDead;
    }
    if !heard.is_empty() && heard.len() >= spec.quorum(primary) {
        return Verdict::Isolated { witnesses: heard.into_iter().map(|(instance, _)| instance).collect() };
    }
    Verdict::Unknown {
        why: "its agent is silent, and too few of its acknowledgers can say whether it lives".to_owned(),
    }
}

fn speaking(seen: &Seen, now: Timestamp) -> Verdict {
    let Some(server) = &seen.server else {
        let why = seen.server_error.clone().unwrap_or_else(|| "its agent has not asked it yet".to_owned());
        return Verdict::Unknown { why };
    };
    if !server.open {
        let closed = seen.closed_since.is_some_and(|since| now.since(since) >= CLOSED_AFTER);
        return if closed { Verdict::Closed } else { Verdict::Unknown { why: "it has just closed".to_owned() } };
    }
    match &seen.canary {
        Canary::Waiting { since_us } if *since_us >= BLOCKED_AFTER_US => {
            if server.semi_sync.source_active && server.semi_sync.acknowledgers == 0 {
                Verdict::WritesBlocked
            } else {
                Verdict::Stalled { what: format!("it has been waiting for {} ms", since_us / 1_000) }
            }
        }
        Canary::Failed { error } => Verdict::Stalled { what: error.clone() },
        Canary::Off | Canary::Written { .. } | Canary::Waiting { .. } => Verdict::Fine,
    }
}
