//! What the failover processor finds for people: said once per cause with a stable fingerprint, and explicitly over. The life of
//! alerts makes of it what they are told.

use std::collections::BTreeMap;

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId, InstanceId};
use millrace_schemas::topics::actions::{Action, ActionKind};
use millrace_schemas::topics::alerts::{AlertState, Finding, Severity, fingerprint};
use millrace_schemas::topics::journal::{Fact, Outcome};

use super::{State, Verdict};
use crate::fold::Out;

/// What a finding says.
pub(super) trait Says {
    const NAME: &'static str;
    const SEVERITY: Severity;
    fn summary(&self) -> String;
}

pub(super) struct ClusterPaused<'a> {
    pub(super) kind: &'a str,
}

impl Says for ClusterPaused<'_> {
    const NAME: &'static str = "ClusterPaused";
    const SEVERITY: Severity = Severity::Critical;
    fn summary(&self) -> String {
        format!(
            "the journal holds evidence of unknown kind {}: nothing is done until an operator sets the mode again; upgrade first",
            self.kind
        )
    }
}

pub(super) struct FailoverRefused<'a> {
    pub(super) reason: &'a str,
    pub(super) refusal: &'a str,
}

impl Says for FailoverRefused<'_> {
    const NAME: &'static str = "FailoverRefused";
    const SEVERITY: Severity = Severity::Critical;
    fn summary(&self) -> String {
        format!("{}, but no failover: {}", self.reason, self.refusal)
    }
}

struct OnVerdict {
    summary: String,
}

macro_rules! verdict_alert {
    ($name:ident, $severity:ident) => {
        struct $name(OnVerdict);
        impl Says for $name {
            const NAME: &'static str = stringify!($name);
            const SEVERITY: Severity = Severity::$severity;
            fn summary(&self) -> String {
                self.0.summary.clone()
            }
        }
    };
}

verdict_alert!(PrimaryDown, Critical);
verdict_alert!(WritesBlocked, Critical);
verdict_alert!(AgentSilent, Warning);
verdict_alert!(PrimaryStopped, Warning);
verdict_alert!(FailoverDone, Info);
verdict_alert!(ErrantTransactions, Warning);

/// Everything that this processor finds, and how bad it is.
pub const FINDINGS: [(&str, Severity); 8] = [
    (PrimaryDown::NAME, PrimaryDown::SEVERITY),
    (WritesBlocked::NAME, WritesBlocked::SEVERITY),
    (AgentSilent::NAME, AgentSilent::SEVERITY),
    (PrimaryStopped::NAME, PrimaryStopped::SEVERITY),
    (ClusterPaused::NAME, ClusterPaused::SEVERITY),
    (FailoverRefused::NAME, FailoverRefused::SEVERITY),
    (FailoverDone::NAME, FailoverDone::SEVERITY),
    (ErrantTransactions::NAME, ErrantTransactions::SEVERITY),
];

/// Raises and resolves what follows from the verdict alone.
pub(super) fn follow(state: &mut State, cluster: &ClusterId, verdict: &Verdict, out: &mut Out<'_>) {
    let Some(primary) = state.primary.clone() else { return };
    let says = OnVerdict { summary: verdict.sentence(primary.as_str()) };
    let on = Some(&primary);
    match verdict {
        Verdict::Dead { .. } | Verdict::Isolated { .. } | Verdict::Closed => {
            raise(state, cluster, on, &PrimaryDown(says), out);
        }
        Verdict::WritesBlocked | Verdict::Stalled { .. } => raise(state, cluster, on, &WritesBlocked(says), out),
        Verdict::AgentDead => raise(state, cluster, on, &AgentSilent(says), out),
        Verdict::StoppedOnPurpose { .. } => raise(state, cluster, on, &PrimaryStopped(says), out),
        Verdict::Fine => {
            for name in
                [PrimaryDown::NAME, WritesBlocked::NAME, AgentSilent::NAME, PrimaryStopped::NAME, FailoverRefused::NAME]
            {
                resolve_all(state, cluster, name, out);
            }
        }
        Verdict::NoPrimaryYet | Verdict::Unknown { .. } => {}
    }
}

/// Raises what follows from the end of an action.
pub(super) fn ended(state: &mut State, action: &Action, outcome: &Outcome, event: &Event<Fact>, out: &mut Out<'_>) {
    let cluster = &event.subject.cluster;
    match (&action.kind, outcome) {
        (ActionKind::FailOver(_), Outcome::Done { primary }) => {
            resolve_all(state, cluster, PrimaryDown::NAME, out);
            resolve_all(state, cluster, FailoverRefused::NAME, out);
            let summary = format!("{primary} is the primary since epoch {}, because {}", action.epoch, action.reason);
            raise(state, cluster, Some(primary), &FailoverDone(OnVerdict { summary }), out);
        }
        (ActionKind::FailOver(_) | ActionKind::CreateCluster(_), Outcome::Refused { reason, unblock }) => {
            let refusal = format!("{reason}; {unblock} would unblock it");
            raise(state, cluster, None, &FailoverRefused { reason: &action.reason, refusal: &refusal }, out);
        }
        (ActionKind::FailOver(_) | ActionKind::CreateCluster(_), Outcome::Abandoned { reason, .. }) => {
            raise(state, cluster, None, &FailoverRefused { reason: &action.reason, refusal: reason }, out);
        }
        (ActionKind::Rejoin(rejoin), Outcome::Refused { reason, .. }) => {
            let says =
                ErrantTransactions(OnVerdict { summary: format!("{} stays quarantined: {reason}", rejoin.instance) });
            raise(state, cluster, Some(&rejoin.instance), &says, out);
        }
        (ActionKind::Rejoin(rejoin), Outcome::Done { .. }) => {
            // All members are in their places again: the switch is history, and the console's and the archive's to tell.
            resolve_all(state, cluster, FailoverDone::NAME, out);
            resolve(state, cluster, name(cluster, ErrantTransactions::NAME, Some(&rejoin.instance)), out);
        }
        (ActionKind::Rejoin(_), Outcome::Abandoned { .. }) | (ActionKind::CreateCluster(_), Outcome::Done { .. }) => {}
    }
}

/// The name of a finding of this rule; it has no labels but the instance.
fn name(cluster: &ClusterId, rule: &str, instance: Option<&InstanceId>) -> EventId {
    fingerprint(cluster, rule, instance, &BTreeMap::new())
}

/// Says that something holds, unless it was said in the same words already.
pub(super) fn raise<S: Says>(
    state: &mut State,
    cluster: &ClusterId,
    instance: Option<&InstanceId>,
    says: &S,
    out: &mut Out<'_>,
) {
    let fingerprint = name(cluster, S::NAME, instance);
    let before = state.firing.get(&fingerprint);
    let summary = says.summary();
    if before.is_some_and(|before| before.summary == summary) {
        return;
    }
    let finding = Finding {
        fingerprint,
        rule: S::NAME.to_owned(),
        instance: instance.cloned(),
        labels: BTreeMap::new(),
        severity: S::SEVERITY,
        state: AlertState::Firing,
        since: before.map_or(out.now, |before| before.since),
        summary,
        value: None,
        notifies: true,
    };
    state.firing.insert(fingerprint, finding.clone());
    out.emit(Subject { cluster: cluster.clone(), instance: instance.cloned() }, None, Fact::Finding(Box::new(finding)));
}

/// Says that whatever was found by this name is over.
pub(super) fn resolve_all(state: &mut State, cluster: &ClusterId, rule: &str, out: &mut Out<'_>) {
    let found: Vec<EventId> =
        state.firing.iter().filter(|(_, finding)| finding.rule == rule).map(|(fingerprint, _)| *fingerprint).collect();
    for fingerprint in found {
        resolve(state, cluster, fingerprint, out);
    }
}

fn resolve(state: &mut State, cluster: &ClusterId, fingerprint: EventId, out: &mut Out<'_>) {
    let Some(mut finding) = state.firing.remove(&fingerprint) else { return };
    finding.state = AlertState::Resolved;
    let subject = Subject { cluster: cluster.clone(), instance: finding.instance.clone() };
    out.emit(subject, None, Fact::Finding(Box::new(finding)));
}
