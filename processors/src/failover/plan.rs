//! From a verdict to an action: fills in everything that the runbook needs, mints the epoch, or says why not.

use millrace_schemas::cluster::{Mode, Process};
use millrace_schemas::event::Subject;
use millrace_schemas::ids::{ClusterId, EventId, InstanceId};
use millrace_schemas::topics::actions::{Action, ActionKind, FailOver, Order, Rejoin};
use millrace_schemas::topics::journal::Outcome;

use super::{
    ACTION_DEADLINE, CREATE_DEADLINE, Current, Failover, STEPS_PER_ACTION, State, Verdict, alerts, candidates, permit,
};
use crate::fold::{Out, Processor as _};

/// Emits a fail-over, asks the fleet for its permit, or raises the alert that says why it cannot be done.
pub(super) fn fail_over(state: &mut State, cluster: &ClusterId, verdict: &Verdict, out: &mut Out<'_>) {
    let now = out.now;
    let (Some(spec), Some(primary)) = (state.spec.clone(), state.primary.clone()) else { return };
    let sorted = candidates::of(state, &spec, now);
    let reason = verdict.sentence(primary.as_str());
    let refusal = match refusal(state, &primary, &sorted, verdict) {
        Some(refusal) => Some(refusal),
        None => match permitted(state, cluster, &reason, out) {
            permit::Says::Go => None,
            permit::Says::Wait => return,
            permit::Says::No(refusal) => {
                state.proposed = Some(state.epoch.next());
                Some(refusal)
            }
        },
    };
    if let Some(refusal) = refusal {
        alerts::raise(
            state,
            cluster,
            Some(&primary),
            &alerts::FailoverRefused { reason: &reason, refusal: &refusal },
            out,
        );
        return;
    }
    let kind = ActionKind::FailOver(Box::new(FailOver {
        spec,
        old_primaries: state.may_be_open.iter().cloned().collect(),
        silent: sorted.silent,
        candidates: sorted.allowed,
        excluded: sorted.excluded,
        restarted: restarted(state),
    }));
    let evidence = evidence_of(state, &primary);
    act(state, cluster, reason, evidence, kind, out);
}

/// What stands for the failover: an operator's approval, of this epoch or of an attempt before it, or the fleet's permit.
fn permitted(state: &mut State, cluster: &ClusterId, reason: &str, out: &mut Out<'_>) -> permit::Says {
    state.approved_change |= state.approved == Some(state.epoch.next());
    if state.approved_change {
        permit::give_back(state, cluster, "an operator approved the failover", out);
        return permit::Says::Go;
    }
    permit::look(state, cluster, reason, out)
}

/// Why the failover must not be emitted now, were the fleet to permit it.
fn refusal(
    state: &mut State,
    primary: &InstanceId,
    sorted: &candidates::Candidates,
    verdict: &Verdict,
) -> Option<String> {
    let next = state.epoch.next();
    let approved = state.approved == Some(next);
    match state.effective_mode() {
        Mode::Observe => {
            let why = state.paused.clone().unwrap_or_else(|| "the cluster is only observed".to_owned());
            return Some(format!("{why}; would promote one of: {}", names(&sorted.allowed)));
        }
        Mode::Approve if !approved => {
            state.proposed = Some(next);
            return Some(format!("waits for an operator to approve epoch {next}"));
        }
        Mode::Approve | Mode::Auto => {}
    }
    if left_down(state, primary) {
        return None;
    }
    if sorted.allowed.is_empty() {
        let reasons: Vec<_> = sorted.excluded.iter().map(|one| format!("{}: {}", one.instance, one.reason)).collect();
        return Some(format!("no member may be promoted ({})", reasons.join("; ")));
    }
    quorum_missing(state, primary, sorted, verdict)
}

/// Members that may have lost what they acknowledged.
fn restarted(state: &State) -> Vec<InstanceId> {
    let found = state.quarantined.iter().filter(|(_, quarantine)| quarantine.restarted);
    found.map(|(instance, _)| instance.clone()).collect()
}

/// True when our own last attempt held the primary down and did not bring it to an end: nobody leaves a server down, so the
/// next one is made even if it can only be refused again, for its runbook lets go what it holds.
fn left_down(state: &State, primary: &InstanceId) -> bool {
    let down =
        state.members.get(primary).is_some_and(|seen| matches!(seen.process, Process::Exited { held: true, .. }));
    let ours = state.last.as_ref().is_some_and(|past| match &past.action.kind {
        ActionKind::FailOver(fail_over) => {
            fail_over.old_primaries.contains(primary) && !matches!(past.outcome, Outcome::Done { .. })
        }
        ActionKind::CreateCluster(_) | ActionKind::Rejoin(_) => false,
    });
    down && ours
}

/// Names the members whose return would complete the quorum.
fn quorum_missing(
    state: &State,
    primary: &InstanceId,
    sorted: &candidates::Candidates,
    verdict: &Verdict,
) -> Option<String> {
    let spec = state.spec.as_ref()?;
    let answers = |instance: &&InstanceId| {
        let running = state.members.get(*instance).is_some_and(|seen| matches!(seen.process, Process::Running { .. }));
        // Who is quarantined may have lost what it acknowledged: it counts again once it has been brought back.
        running && !sorted.silent.contains(instance) && !state.quarantined.contains_key(*instance)
    };
    let (there, away): (Vec<_>, Vec<_>) = spec.acknowledgers_of(primary).partition(answers);
    let quorum = spec.quorum(primary);
    // The closed primary itself holds every write that it acknowledged: its own sets can stand in for the quorum.
    let stands_in = *verdict == Verdict::Closed && sorted.allowed.contains(primary);
    if there.len() >= quorum || stands_in {
        return None;
    }
    Some(format!(
        "{quorum} of its acknowledgers must answer, {} do: an acknowledged write could be lost; {} would unblock it",
        there.len(),
        names(&away.into_iter().cloned().collect::<Vec<_>>())
    ))
}

/// Emits the creation of a cluster again, after an attempt that was not finished: its steps go on where they stopped.
pub(super) fn create_again(state: &mut State, cluster: &ClusterId, out: &mut Out<'_>) {
    // An operator stops the attempts by setting the mode.
    if state.effective_mode() == Mode::Observe {
        return;
    }
    let Some(spec) = state.spec.clone() else { return };
    let Some(past) = &state.last else { return };
    let (reason, evidence) = ("its creation was not finished".to_owned(), past.action.evidence.clone());
    act(state, cluster, reason, evidence, ActionKind::CreateCluster(Box::new(spec)), out);
}

/// Emits a rejoin for the first member that is out and can be brought back.
pub(super) fn rejoin(state: &mut State, cluster: &ClusterId, out: &mut Out<'_>) {
    let now = out.now;
    if state.effective_mode() != Mode::Auto {
        return;
    }
    let (Some(spec), Some(primary)) = (state.spec.clone(), state.primary.clone()) else { return };
    let speaks =
        |instance: &InstanceId| state.members.get(instance).is_some_and(|seen| seen.known && !seen.is_silent(now));
    if !speaks(&primary) {
        return;
    }
    let ready = state
        .quarantined
        .iter()
        .find(|(instance, quarantine)| !quarantine.needs_person && now >= quarantine.not_before && speaks(instance));
    let Some((instance, quarantine)) = ready else { return };
    let (instance, reason) = (instance.clone(), format!("{instance} is out: {}", quarantine.reason));
    let evidence = evidence_of(state, &instance);
    let kind = ActionKind::Rejoin(Box::new(Rejoin { spec, instance, primary }));
    act(state, cluster, reason, evidence, kind, out);
}

/// Emits an action; role changes mint the next epoch.
pub(super) fn act(
    state: &mut State,
    cluster: &ClusterId,
    reason: String,
    evidence: Vec<EventId>,
    kind: ActionKind,
    out: &mut Out<'_>,
) {
    let subject = Subject::cluster(cluster.clone());
    let cause = evidence.first().copied();
    let id = out.mint(&subject, cause, kind.name());
    let (epoch, first_step) = if kind.changes_roles() {
        (state.epoch.next(), 0)
    } else {
        (state.epoch, state.actions_in_epoch * STEPS_PER_ACTION)
    };
    let allowed = if matches!(kind, ActionKind::CreateCluster(_)) { CREATE_DEADLINE } else { ACTION_DEADLINE };
    let action = Action {
        id,
        cluster: cluster.clone(),
        epoch,
        deadline: out.now + allowed,
        reason,
        policy: format!("{}.{}", Failover::NAME, Failover::VERSION),
        evidence,
        first_step,
        kind,
    };
    state.proposed = None;
    state.adopt(&action, None, out.now);
    state.current = Some(Current { action: action.clone(), since: out.now, executor: None });
    out.emit_as(id, subject, cause, Order::Action(Box::new(action)));
}

fn evidence_of(state: &State, instance: &InstanceId) -> Vec<EventId> {
    let Some(seen) = state.members.get(instance) else { return Vec::new() };
    let mut evidence: Vec<EventId> = [seen.process_fact, seen.fact].into_iter().flatten().collect();
    evidence.dedup();
    evidence
}

pub(super) fn names(instances: &[InstanceId]) -> String {
    if instances.is_empty() {
        return "nobody".to_owned();
    }
    instances.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(", ")
}
