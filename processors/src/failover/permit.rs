//! The permit of the fleet, from the side of the cluster that wants one: asks once, again when nobody answers or when a
//! refusal has run out, and gives it back when the primary stayed. One permit pays for one change of primary, however many
//! attempts that takes: each attempt asks anew under the same name and is counted from then. An operator's approval stands
//! in for it, also for the attempts that follow the approved one. Never blocks: the answer is a fact that wakes the decision.

use std::time::Duration;

use millrace_schemas::cluster::Mode;
use millrace_schemas::event::Subject;
use millrace_schemas::ids::fleet;
use millrace_schemas::ids::{ClusterId, Epoch, EventId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::{Fact, PermitAnswered, PermitAsked, PermitReturned};
use serde::{Deserialize, Serialize};

use super::{State, Verdict};
use crate::fold::Out;

/// 2 s: an answer takes milliseconds, and a bus that is slow holds an append back for at most so long between two attempts.
/// Later it was lost, with a decider that ended after it had read the question; asking again costs a record.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A permit that was asked for and not given back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Permit {
    /// Its name, the same from the first question to the end.
    id: EventId,
    /// The epoch that it was last asked for.
    epoch: Epoch,
    /// When it was last asked for.
    asked: Timestamp,
    /// Since when nobody answers.
    since: Timestamp,
    answer: Option<Answer>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Answer {
    granted: bool,
    reason: String,
    until: Timestamp,
}

/// What the fleet says to a failover now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Make it.
    Go,
    /// Nothing yet.
    Wait,
    /// No, or nothing for too long.
    No(String),
}

/// Looks at what the fleet said to the next epoch; asks where it has to be asked.
pub(super) fn look(state: &mut State, cluster: &ClusterId, reason: &str, out: &mut Out<'_>) -> Says {
    let (now, next) = (out.now, state.epoch.next());
    let held = state.permit.as_ref().filter(|permit| permit.epoch == next);
    if let Some(answer) = held.and_then(|permit| permit.answer.as_ref()).filter(|answer| now < answer.until) {
        return if answer.granted { Says::Go } else { Says::No(refusal(answer, next)) };
    }
    let open = held.filter(|permit| permit.answer.is_none());
    if open.is_none_or(|permit| now.since(permit.asked) >= ASK_AGAIN_AFTER) {
        ask(state, cluster, reason, out);
    }
    match &state.permit {
        Some(permit) if now.since(permit.since) >= ASK_AGAIN_AFTER => Says::No(unanswered(permit)),
        _ => Says::Wait,
    }
}

fn ask(state: &mut State, cluster: &ClusterId, reason: &str, out: &mut Out<'_>) {
    let (now, epoch) = (out.now, state.epoch.next());
    let before = state.permit.take();
    let id = before.as_ref().map_or_else(|| name(state, cluster, now), |permit| permit.id);
    let unanswered = before.filter(|permit| permit.epoch == epoch && permit.answer.is_none());
    let since = unanswered.map_or(now, |permit| permit.since);
    state.permit = Some(Permit { id, epoch, asked: now, since, answer: None });
    let asked = PermitAsked { permit: id, cluster: cluster.clone(), epoch, reason: reason.to_owned() };
    out.emit(Subject::cluster(fleet()), None, Fact::PermitAsked(asked));
}

/// A name that no permit of the cluster had before. Deciders of two versions that want it for one reason at one time name it
/// alike, so that the fleet counts it once.
fn name(state: &mut State, cluster: &ClusterId, now: Timestamp) -> EventId {
    state.permits += 1;
    let parts = [state.epoch.next().to_string(), now.0.to_string(), state.permits.to_string()];
    EventId::derive(&["permit", cluster.as_str(), &parts[0], &parts[1], &parts[2]])
}

/// Folds an answer. One to a question that is not asked any more says nothing: what was granted was given back.
pub(super) fn answered(state: &mut State, said: &PermitAnswered) {
    let Some(permit) = &mut state.permit else { return };
    if permit.id == said.permit && permit.epoch == said.epoch {
        permit.answer = Some(Answer { granted: said.granted, reason: said.reason.clone(), until: said.until });
    }
}

/// A change of primary was made: its permit counts for as long as the fleet counts it.
pub(super) fn spent(state: &mut State) {
    state.permit = None;
    state.approved_change = false;
}

/// Gives the permit back, and with it a question that was not answered yet or was refused.
pub(super) fn give_back(state: &mut State, cluster: &ClusterId, reason: &str, out: &mut Out<'_>) {
    let Some(permit) = state.permit.take() else { return };
    let returned = PermitReturned { permit: permit.id, cluster: cluster.clone(), reason: reason.to_owned() };
    out.emit(Subject::cluster(fleet()), None, Fact::PermitReturned(returned));
}

/// Gives back what is not needed any more: the primary is there again without us, or nothing is done without a person.
pub(super) fn let_go(state: &mut State, cluster: &ClusterId, verdict: &Verdict, out: &mut Out<'_>) {
    if !verdict.calls_for_failover() && !matches!(verdict, Verdict::Unknown { .. }) {
        // What was proposed or approved was about a primary that was gone.
        (state.proposed, state.approved, state.approved_change) = (None, None, false);
        let primary = state.primary.clone();
        let reason = verdict.sentence(primary.as_ref().map_or("the primary", |primary| primary.as_str()));
        give_back(state, cluster, &reason, out);
    } else if state.effective_mode() != Mode::Auto {
        give_back(state, cluster, "the cluster is not in mode auto any more", out);
    }
}

/// What a cluster waits for whose failover is due; a refusal, or a question that nobody answers, is told by its alert.
pub(super) fn awaited(state: &State) -> Option<String> {
    let permit =
        state.permit.as_ref().filter(|permit| permit.epoch == state.epoch.next() && permit.answer.is_none())?;
    Some(format!("waits for the fleet's permit for epoch {}, asked for at {}", permit.epoch, permit.asked))
}

fn refusal(answer: &Answer, epoch: Epoch) -> String {
    format!("{}; waits for approval of epoch {epoch}, or until {}", answer.reason, answer.until)
}

fn unanswered(permit: &Permit) -> String {
    format!(
        "the fleet's permit was asked for at {} and nobody answers: a decider of the journal of 'fleet' must run; waits for \
         it or for approval of epoch {}",
        permit.since, permit.epoch
    )
}
