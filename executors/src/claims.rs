//! Who acts, and what is to be appended next: a pure fold over `actions` and `journal`. The first claim of an action in the
//! journal holds until it is not renewed for 3 s; its holder issues the steps that the runbook wants, calls the ones that
//! nobody answered timed out, and ends the action. Any executor can go on from these records alone.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::ids::{ClusterId, Epoch, EventId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::actions::{Action, Order, StepOutcome, StepRequest, StepResult};
use millrace_schemas::topics::journal::{Claimed, Ended, Fact, Outcome, Renewed};
use serde::{Deserialize, Serialize};

use crate::runbooks::{self, Next, Results};

/// 3 s without renewal and a claim lapses: three missed renewals.
pub const LAPSE: Duration = Duration::from_secs(3);
/// 600 s past its deadline nobody starts an action, however late its copies come.
const ENDED_KEPT: Duration = Duration::from_mins(10);
/// 1 s between renewals.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);

/// An action that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    action: Action,
    holder: Option<String>,
    renewed: Timestamp,
    issued: BTreeMap<u32, StepRequest>,
    results: Results,
}

impl Open {
    /// A result counts for the step that the runbook asks of that very instance: no agent says how a step of another ended.
    fn awaits(&self, result: &StepResult) -> bool {
        match runbooks::next(&self.action, &self.results) {
            Next::Steps(planned) => {
                planned.iter().any(|step| step.number == result.number && step.instance == result.instance)
            }
            Next::End(_) => false,
        }
    }
}

/// What is known of all actions that have not ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    open: BTreeMap<EventId, Open>,
    /// The role change that was claimed first in the highest epoch of each cluster.
    epochs: BTreeMap<ClusterId, (Epoch, EventId)>,
    /// Actions that have ended, until their deadlines: a copy that comes late must not begin them again.
    #[serde(default)]
    ended: BTreeMap<EventId, Timestamp>,
    /// The newest append time seen.
    now: Timestamp,
}

/// What an executor is to append.
#[derive(Clone, Debug, PartialEq)]
pub enum Do {
    /// To the journal.
    Say(ClusterId, Fact),
    /// To `actions`.
    Ask(ClusterId, StepRequest),
}

impl Do {
    /// Names it, so that who appends it knows it again while it is on its way: the same for the same thing, however often the
    /// book asks for it.
    pub fn name(&self) -> String {
        match self {
            Self::Ask(_, request) => format!("step {} {}", request.action, request.number),
            Self::Say(_, Fact::Claimed(claimed)) => format!("claim {}", claimed.action.id),
            Self::Say(_, Fact::Renewed(renewed)) => format!("renew {}", renewed.action),
            Self::Say(_, Fact::StepDone(result)) => format!("result {} {}", result.action, result.number),
            Self::Say(_, Fact::Ended(ended)) => format!("end {}", ended.action),
            Self::Say(cluster, _) => format!("other {cluster}"),
        }
    }
}

impl Book {
    /// The newest append time seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Time passes also when nothing about actions is appended.
    pub fn pass(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Folds a record of `actions`.
    pub fn order(&mut self, order: &Order, appended: Timestamp) {
        self.pass(appended);
        match order {
            Order::Action(action) => self.take(action),
            Order::Step(request) => {
                if let Some(open) = self.open.get_mut(&request.action) {
                    open.issued.entry(request.number).or_insert_with(|| (**request).clone());
                }
            }
        }
    }

    /// Folds a fact of `journal`.
    pub fn fact(&mut self, cluster: &ClusterId, fact: &Fact, appended: Timestamp) {
        self.pass(appended);
        match fact {
            Fact::Claimed(claimed) => self.claim(cluster, claimed, appended),
            Fact::Renewed(renewed) => {
                if let Some(open) = self.open.get_mut(&renewed.action)
                    && open.holder.as_ref() == Some(&renewed.executor)
                {
                    open.renewed = appended;
                }
            }
            Fact::StepDone(result) => {
                if let Some(open) = self.open.get_mut(&result.action).filter(|open| open.awaits(result)) {
                    // The first result in the log counts.
                    open.results.entry(result.number).or_insert_with(|| (**result).clone());
                }
            }
            Fact::Ended(ended) => self.end(ended.action),
            _ => {}
        }
    }

    fn end(&mut self, action: EventId) {
        // An end that is read before its action: remembered long enough for the action to come.
        let until = self
            .open
            .remove(&action)
            .map_or(self.now + ENDED_KEPT, |open| open.action.deadline.max(self.now) + ENDED_KEPT);
        self.ended.insert(action, until);
        let now = self.now;
        self.ended.retain(|_, until| now <= *until);
    }

    fn take(&mut self, action: &Action) {
        if self.ended.contains_key(&action.id) {
            return;
        }
        let superseded = self.epochs.get(&action.cluster).is_some_and(|(epoch, _)| *epoch > action.epoch);
        if !superseded {
            self.open.entry(action.id).or_insert_with(|| Open {
                action: action.clone(),
                holder: None,
                renewed: Timestamp::ZERO,
                issued: BTreeMap::new(),
                results: Results::new(),
            });
        }
    }

    fn claim(&mut self, cluster: &ClusterId, claimed: &Claimed, appended: Timestamp) {
        let action = &claimed.action;
        if appended > action.deadline && !self.open.contains_key(&action.id) {
            return; // nobody starts it any more: a copy of a claim, of an action that ended long ago
        }
        if action.kind.changes_roles() {
            let first = self.epochs.get(cluster).copied();
            if first.is_some_and(|(epoch, id)| epoch > action.epoch || (epoch == action.epoch && id != action.id)) {
                return; // an older epoch, or another action was claimed first in this one
            }
            self.epochs.insert(cluster.clone(), (action.epoch, action.id));
            // A newer epoch cancels whatever the cluster was at.
            self.open.retain(|_, open| open.action.cluster != *cluster || open.action.epoch >= action.epoch);
        }
        self.take(action);
        if let Some(open) = self.open.get_mut(&action.id) {
            let lapsed = appended.since(open.renewed) > LAPSE;
            if open.holder.is_none() || lapsed || open.holder.as_ref() == Some(&claimed.executor) {
                open.holder = Some(claimed.executor.clone());
                open.renewed = appended;
            }
        }
    }

    /// What executor `me` is to append now. Asking again before it was appended gives the same again.
    pub fn next(&self, me: &str) -> Vec<Do> {
        self.open.values().flat_map(|open| self.next_of(open, me)).collect()
    }

    fn next_of(&self, open: &Open, me: &str) -> Vec<Do> {
        let cluster = &open.action.cluster;
        let say = |fact| vec![Do::Say(cluster.clone(), fact)];
        let free = open.holder.is_none() || self.now.since(open.renewed) > LAPSE;
        if open.holder.as_deref() != Some(me) {
            // Not to be started after its deadline; what was started is taken over, so that it ends.
            let startable = open.holder.is_some() || self.now <= open.action.deadline;
            let action = Box::new(open.action.clone());
            let claim = || say(Fact::Claimed(Claimed { action, executor: me.to_owned() }));
            return if free && startable { claim() } else { Vec::new() };
        }
        let mut todo = self.proceed(open);
        if self.now.since(open.renewed) >= RENEW_EVERY {
            todo.extend(say(Fact::Renewed(Renewed { action: open.action.id, executor: me.to_owned() })));
        }
        todo
    }

    fn proceed(&self, open: &Open) -> Vec<Do> {
        let action = &open.action;
        let cluster = &action.cluster;
        let ended = |outcome| Fact::Ended(Ended { action: action.id, epoch: action.epoch, outcome });
        match runbooks::next(action, &open.results) {
            Next::End(outcome) => vec![Do::Say(cluster.clone(), ended(outcome))],
            Next::Steps(_) if self.now > action.deadline => {
                let may_have_opened = open.issued.values().any(|request| request.step.opens());
                let reason = "its deadline passed before its steps were done".to_owned();
                vec![Do::Say(cluster.clone(), ended(Outcome::Abandoned { reason, may_have_opened }))]
            }
            Next::Steps(planned) => planned.into_iter().filter_map(|step| self.one_step(open, step)).collect(),
        }
    }

    /// Asks for a step that was not asked for yet, or calls it timed out.
    fn one_step(&self, open: &Open, planned: runbooks::Planned) -> Option<Do> {
        if open.results.contains_key(&planned.number) {
            return None;
        }
        let action = &open.action;
        let cluster = action.cluster.clone();
        let Some(issued) = open.issued.get(&planned.number) else {
            return Some(Do::Ask(
                cluster,
                StepRequest {
                    action: action.id,
                    epoch: action.epoch,
                    number: planned.number,
                    host: planned.host,
                    instance: planned.instance,
                    deadline: self.now + planned.within,
                    until: planned.step.until(),
                    step: planned.step,
                },
            ));
        };
        let result = || Box::new(issued.result(StepOutcome::TimedOut {}, 0));
        (self.now > issued.deadline).then(|| Do::Say(cluster, Fact::StepDone(result())))
    }
}

#[cfg(test)]
mod tests;
