//! Why a cluster is as it is, in words: the facts, the verdict, who could take over, what is under way, and if nothing is,
//! why not. For `millrace why` and the console; from the same state and functions that decide.

use std::fmt::Write as _;

use millrace_schemas::cluster::Process;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::Outcome;
use serde::Serialize;

use super::{State, Verdict, candidates, permit, plan, verdict};

/// An explanation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict, in a sentence.
    pub sentence: String,
    /// One line per member.
    pub members: Vec<String>,
    /// Who may be promoted; a primary that is well is not among them.
    pub candidates: Vec<String>,
    /// What is done about it, or why nothing is.
    pub therefore: String,
}

/// Explains the state of a cluster at `now`.
pub fn explain(state: &State, now: Timestamp) -> Explanation {
    let verdict = verdict::of(state, now);
    let primary = state.primary.as_ref().map_or("the primary", |primary| primary.as_str());
    let members = state.members.iter().map(|(instance, seen)| member(state, instance.as_str(), seen, now)).collect();
    let sorted = state.spec.as_ref().map(|spec| candidates::of(state, spec, now)).unwrap_or_default();
    let others = sorted.allowed.iter().filter(|one| state.primary.as_ref() != Some(*one));
    let mut lines: Vec<String> = others.map(|one| format!("{one}: may be promoted")).collect();
    lines.extend(sorted.excluded.iter().map(|one| format!("{}: no, {}", one.instance, one.reason)));
    Explanation {
        sentence: verdict.sentence(primary),
        therefore: therefore(state, &verdict, now),
        verdict,
        members,
        candidates: lines,
    }
}

fn member(state: &State, instance: &str, seen: &super::Seen, now: Timestamp) -> String {
    let mut line = instance.to_owned();
    let role =
        if state.primary.as_ref().is_some_and(|primary| primary.as_str() == instance) { "primary" } else { "replica" };
    let quarantined = state.quarantined.iter().find(|(other, _)| other.as_str() == instance);
    let _ = write!(line, " ({})", if quarantined.is_some() { "quarantined" } else { role });
    let process = match &seen.process {
        Process::Running { pid } => format!("runs as pid {pid}"),
        Process::Exited { signal: Some(signal), .. } => format!("exited on signal {signal}"),
        Process::Exited { code: Some(code), .. } => format!("exited with code {code}"),
        Process::Exited { .. } => "exited".to_owned(),
        Process::Unknown => "process unknown".to_owned(),
    };
    let _ = write!(line, ": {process}");
    if let Some(server) = &seen.server {
        line.push_str(if server.open { ", open" } else { ", read-only" });
        if let Some(receiver) = &server.receiver {
            let _ = write!(line, ", follows {}", receiver.source);
            if let Some(delay) = receiver.delay_us {
                let _ = write!(line, ", {} ms behind", delay / 1_000);
            }
        }
    } else if let Some(error) = &seen.server_error {
        let _ = write!(line, ", not readable: {error}");
    }
    let _ = write!(line, ", heard {:.1} s ago, promised epoch {}", now.since(seen.heard).as_secs_f64(), seen.promised);
    line
}

fn therefore(state: &State, verdict: &Verdict, now: Timestamp) -> String {
    if let Some(current) = &state.current {
        let who = current.executor.as_ref().map_or("not claimed yet".to_owned(), |who| format!("claimed by {who}"));
        return format!("{} in epoch {} is under way, {who}", current.action.kind.name(), current.action.epoch);
    }
    if verdict.calls_for_failover() {
        if now < state.not_before {
            return "no failover yet: the last attempt was refused a moment ago".to_owned();
        }
        if let Some(waits) = permit::awaited(state) {
            return format!("a failover is due, and {waits}");
        }
        let refused = state.firing.values().find(|finding| finding.rule == "FailoverRefused");
        return refused.map_or("a failover is due".to_owned(), |alert| alert.summary.clone());
    }
    if let Some((instance, quarantine)) = state.quarantined.iter().next() {
        let who = if quarantine.needs_person { "a person must decide" } else { "a rejoin is due" };
        return format!("{instance} is quarantined ({}): {who}", quarantine.reason);
    }
    match &state.last {
        Some(past) => {
            let how = match &past.outcome {
                Outcome::Done { primary } => format!("done, primary {primary}"),
                Outcome::Refused { reason, .. } => format!("refused: {reason}"),
                Outcome::Abandoned { reason, .. } => format!("abandoned: {reason}"),
            };
            format!("no failover, because {}; last: {} ({how}) at {}", plain(verdict), past.action.kind.name(), past.at)
        }
        None => format!("no failover, because {}", plain(verdict)),
    }
}

fn plain(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::NoPrimaryYet => "there is no primary yet",
        Verdict::Fine => "the primary is fine",
        Verdict::Unknown { .. } => "nothing certain is known: unsampled time is unknown, and unknown is no evidence",
        Verdict::AgentDead => "only the agent is dead, the replicas still stream",
        Verdict::StoppedOnPurpose { .. } => "the primary was stopped on purpose and its grace time runs",
        Verdict::WritesBlocked | Verdict::Stalled { .. } => "it is alive, and another primary would not be better",
        Verdict::Dead { .. } | Verdict::Closed | Verdict::Isolated { .. } => "it was just decided",
    }
}

/// Names as a list for people; empty lists read "nobody".
pub fn names(instances: &[millrace_schemas::ids::InstanceId]) -> String {
    plan::names(instances)
}
