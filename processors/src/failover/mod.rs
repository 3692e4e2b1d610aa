//! Journal in, actions and alerts out: keeps a cluster with one primary. It creates clusters on command, decides that a
//! primary is gone, chooses who may follow it, brings closed members back, and says why it does nothing.
//! It never acts on unsampled time, never twice in an epoch, and leaves reading of GTID sets to the runbook, after the fence.

mod alerts;
pub mod candidates;
mod commands;
pub mod evidence;
pub mod explain;
mod permit;
mod plan;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_schemas::cluster::{ClusterSpec, Mode};
use millrace_schemas::event::Event;
use millrace_schemas::ids::{ClusterId, Epoch, EventId, InstanceId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::actions::{Action, ActionKind};
use millrace_schemas::topics::alerts::Finding;
use millrace_schemas::topics::journal::{Ended, Fact, Outcome};
use serde::{Deserialize, Serialize};

use crate::fold::{Out, Processor};
use crate::lateness::Lateness;
pub use alerts::FINDINGS;
pub use evidence::Seen;
pub use verdict::Verdict;

/// 1 s: silence timers and retries need no finer clock; exits are facts and do not wait for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// 60 s: longer than any runbook's own deadlines together; past it the action is abandoned and a new epoch decides.
pub const ACTION_DEADLINE: Duration = Duration::from_mins(1);
/// 180 s: creating a cluster copies data directories and starts servers.
pub const CREATE_DEADLINE: Duration = Duration::from_mins(3);
/// 5 s after a refusal the facts may have changed: another look costs an epoch number, not a server.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// 30 s between attempts to bring a member back; each may start a server.
const REJOIN_EVERY: Duration = Duration::from_secs(30);
/// 5 s: a replica that turns to a new source is attached in one; one that is not by then missed the turn.
const ASTRAY_AFTER: Duration = Duration::from_secs(5);
/// Numbers of steps that each action of an epoch has to itself.
const STEPS_PER_ACTION: u32 = 1_000;

/// The processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failover;

/// What is known of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The cluster as declared; absent until it was.
    pub spec: Option<ClusterSpec>,
    /// How much may be done; starts as declared.
    pub mode: Option<Mode>,
    /// Why the mode is lower than the operator set it.
    pub paused: Option<String>,
    /// The highest epoch that was minted or claimed.
    pub epoch: Epoch,
    /// The settled primary.
    pub primary: Option<InstanceId>,
    /// Every server that is open or may have been opened by an unfinished epoch.
    pub may_be_open: BTreeSet<InstanceId>,
    /// What is known of each member.
    pub members: BTreeMap<InstanceId, Seen>,
    /// How late the facts of each host are.
    lateness: BTreeMap<String, Lateness>,
    /// The action under way.
    pub current: Option<Current>,
    /// Actions of this epoch so far.
    actions_in_epoch: u32,
    /// What an operator may approve.
    pub proposed: Option<Epoch>,
    approved: Option<Epoch>,
    /// Members that are closed on purpose and wait for a rejoin.
    pub quarantined: BTreeMap<InstanceId, Quarantine>,
    /// A person approved the change of primary that is being tried.
    approved_change: bool,
    /// The fleet's permit for it, where no person did.
    permit: Option<permit::Permit>,
    /// How many permits were asked for so far.
    permits: u64,
    /// No decision before this time.
    not_before: Timestamp,
    /// Alerts that fire.
    firing: BTreeMap<EventId, Finding>,
    /// When the next look is due.
    look_at: Option<Timestamp>,
    /// The last ended action, for explanations.
    pub last: Option<Past>,
}

/// An action under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Current {
    /// The action.
    pub action: Action,
    /// When it was decided or first claimed.
    pub since: Timestamp,
    /// Who claimed it.
    pub executor: Option<String>,
}

/// A member that waits for a rejoin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Why it is out.
    pub reason: String,
    /// No attempt before this time.
    pub not_before: Timestamp,
    /// True when only a person can decide: it holds transactions of its own.
    pub needs_person: bool,
    /// True when it is out only because its server ended: it may have lost what it received, but holds nothing of its own.
    #[serde(default)]
    pub restarted: bool,
}

/// An action that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// The action.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

impl Processor for Failover {
    const NAME: &'static str = "failover";
    const VERSION: u32 = 3;
    type In = Fact;
    type State = State;

    fn step(&self, state: &mut State, event: &Event<Fact>, out: &mut Out<'_>) {
        let cluster = &event.subject.cluster;
        match &event.payload {
            Fact::Heartbeat(_) | Fact::ProcessChanged(_) | Fact::Gap(_) => evidence::fold(state, event),
            Fact::Command(command) => commands::fold(state, command, event, out),
            Fact::Claimed(claimed) => state.adopt(&claimed.action, Some(&claimed.executor), event.appended),
            Fact::Ended(ended) => state.end(ended, event, out),
            Fact::StepDone(result) => evidence::step_done(state, result),
            Fact::PermitAnswered(answer) => permit::answered(state, answer),
            // The last two are said to the fleet, under its own key.
            Fact::Renewed(_)
            | Fact::Load(_)
            | Fact::Tick {}
            | Fact::PermitAsked(_)
            | Fact::PermitReturned(_)
            | Fact::Finding(_)
            | Fact::Unusual(_)
            | Fact::UnusualDay(_)
            | Fact::AlertWord(_) => {}
        }
        if state.look_at.is_none() && state.spec.is_some() {
            state.look_at = Some(event.appended + LOOK_EVERY);
        }
        decide(state, cluster, out);
    }

    fn wake(&self, state: &State) -> Option<Timestamp> {
        state.look_at
    }

    fn tick(&self, state: &mut State, now: Timestamp, out: &mut Out<'_>) {
        state.look_at = Some(now + LOOK_EVERY);
        state.expire(now);
        // The cluster's id stands in no field of the state: whoever emits gets it from the wake's key, kept in the spec's action.
        if let Some(cluster) = state.cluster_id() {
            decide(state, &cluster, out);
        }
    }

    fn resume(&self, state: &mut State, now: Timestamp) {
        for seen in state.members.values_mut() {
            seen.restart_silence(now);
        }
    }

    fn unknown_evidence(&self, state: &mut State, cluster: &ClusterId, kind: &str, out: &mut Out<'_>) {
        state.paused = Some(format!("evidence of unknown kind {kind}: a newer version writes to this journal"));
        alerts::raise(state, cluster, None, &alerts::ClusterPaused { kind }, out);
    }
}

/// Looks at the cluster and decides, at most one thing at a time.
fn decide(state: &mut State, cluster: &ClusterId, out: &mut Out<'_>) {
    let now = out.now;
    if state.spec.is_none() {
        return;
    }
    let verdict = verdict::of(state, now);
    alerts::follow(state, cluster, &verdict, out);
    // Bringing a member back can wait: a failover mints an epoch, and that cancels it.
    let under_way = state.current.as_ref().map(|current| current.action.kind.changes_roles());
    if under_way == Some(true) {
        return;
    }
    permit::let_go(state, cluster, &verdict, out);
    if now < state.not_before {
        return;
    }
    if verdict.calls_for_failover() {
        plan::fail_over(state, cluster, &verdict, out);
    } else if under_way.is_none() && state.primary.is_none() {
        plan::create_again(state, cluster, out);
    } else if under_way.is_none() {
        state.find_astray(now);
        plan::rejoin(state, cluster, out);
    }
}

impl State {
    /// The mode that counts now.
    pub fn effective_mode(&self) -> Mode {
        if self.paused.is_some() { Mode::Observe } else { self.mode.unwrap_or(Mode::Observe) }
    }

    /// The cluster, once it has said anything.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.members.values().find_map(|seen| seen.cluster.clone())
    }

    /// Takes an action over as the one under way: our own, or the first claimed of its epoch, whoever emitted it.
    fn adopt(&mut self, action: &Action, executor: Option<&str>, now: Timestamp) {
        if action.epoch < self.epoch {
            return;
        }
        let known = self.current.as_ref().is_some_and(|current| current.action.id == action.id);
        let taken = self.current.as_ref().is_some_and(|current| current.executor.is_some());
        if action.epoch == self.epoch && !known && taken {
            return; // another action of this epoch was claimed first
        }
        let rival = self.current.as_ref().is_some_and(|current| current.action.first_step == action.first_step);
        if action.epoch == self.epoch
            && !known
            && !rival
            && action.first_step < self.actions_in_epoch * STEPS_PER_ACTION
        {
            return; // an action of this epoch that has ended: somebody claims it late
        }
        if action.epoch > self.epoch {
            self.actions_in_epoch = 0;
        }
        self.epoch = action.epoch;
        if !known {
            self.actions_in_epoch = self.actions_in_epoch.max(action.first_step / STEPS_PER_ACTION + 1);
            match &action.kind {
                ActionKind::CreateCluster(spec) => self.declare(spec, now),
                ActionKind::FailOver(fail_over) => self.declare(&fail_over.spec, now),
                ActionKind::Rejoin(_) => {}
            }
        }
        let since = self.current.as_ref().filter(|_| known).map_or(now, |current| current.since);
        self.current = Some(Current { action: action.clone(), since, executor: executor.map(str::to_owned) });
    }

    /// Until an attempt to make it may have opened a server, a cluster can be declared anew: what was wrong can be put right.
    pub fn may_be_declared(&self) -> bool {
        self.primary.is_none() && self.current.is_none() && self.may_be_open.is_empty()
    }

    fn forget_declaration(&mut self) {
        (self.spec, self.mode) = (None, None);
        self.members.clear();
    }

    fn declare(&mut self, spec: &ClusterSpec, now: Timestamp) {
        self.mode.get_or_insert(spec.mode);
        for member in &spec.members {
            self.members.entry(member.instance.clone()).or_insert_with(|| Seen::unheard(now));
        }
        self.spec = Some(spec.clone());
    }

    fn end(&mut self, ended: &Ended, event: &Event<Fact>, out: &mut Out<'_>) {
        let Some(current) = self.current.take_if(|current| current.action.id == ended.action) else { return };
        let now = event.appended;
        match (&current.action.kind, &ended.outcome) {
            (ActionKind::CreateCluster(_), Outcome::Done { primary }) => {
                self.primary = Some(primary.clone());
                self.may_be_open = BTreeSet::from([primary.clone()]);
                self.quarantined.remove(primary);
                if let Some(seen) = self.members.get_mut(primary) {
                    seen.promoted(now);
                }
            }
            (ActionKind::FailOver(fail_over), Outcome::Done { primary }) => {
                // The same server opened again is no change: the fleet need not count it.
                if self.primary.as_ref() == Some(primary) {
                    permit::give_back(self, &event.subject.cluster, &format!("{primary} was opened again"), out);
                }
                permit::spent(self);
                self.settle(primary, &fail_over.old_primaries, now);
            }
            (ActionKind::Rejoin(rejoin), outcome) => self.rejoined(&rejoin.instance, outcome, now),
            (kind @ (ActionKind::CreateCluster(_) | ActionKind::FailOver(_)), outcome) => {
                if let Outcome::Abandoned { may_have_opened: true, .. } = outcome {
                    self.may_be_open.extend(opens(kind).iter().cloned());
                }
                self.not_before = now + RETRY_AFTER;
            }
        }
        alerts::ended(self, &current.action, &ended.outcome, event, out);
        self.last = Some(Past { action: current.action, outcome: ended.outcome.clone(), at: now });
    }

    fn settle(&mut self, primary: &InstanceId, old: &[InstanceId], now: Timestamp) {
        self.primary = Some(primary.clone());
        self.may_be_open = BTreeSet::from([primary.clone()]);
        self.quarantined.remove(primary);
        for seen in self.members.values_mut() {
            seen.astray_since = None; // whom to follow has just changed
        }
        if let Some(seen) = self.members.get_mut(primary) {
            seen.promoted(now);
        }
        for instance in old.iter().filter(|instance| *instance != primary) {
            let reason = format!("it was the primary before epoch {}", self.epoch);
            self.quarantine(instance.clone(), &reason, false, now);
        }
    }

    fn rejoined(&mut self, instance: &InstanceId, outcome: &Outcome, now: Timestamp) {
        match outcome {
            Outcome::Done { .. } => {
                self.quarantined.remove(instance);
                let Some(seen) = self.members.get_mut(instance) else { return };
                seen.astray_since = None; // heartbeats sampled before say nothing about it
                if seen.detached {
                    // It ended again after it had caught up and before that was said.
                    self.quarantine(instance.clone(), evidence::RESTARTED, true, now);
                }
            }
            Outcome::Refused { reason, .. } => {
                self.keep_out(instance, reason, now + REJOIN_EVERY, true);
            }
            Outcome::Abandoned { reason, .. } => {
                self.keep_out(instance, reason, now + REJOIN_EVERY, false);
            }
        }
    }

    /// Finds members that should follow the primary and do not: one that missed the turn to a new source, or whose receiver
    /// was stopped by us for a role change that went another way. One that somebody else stopped is left alone.
    fn find_astray(&mut self, now: Timestamp) {
        let astray = |seen: &Seen| seen.astray_since.is_some_and(|since| now.since(since) >= ASTRAY_AFTER);
        let found =
            self.members.iter().filter(|(instance, seen)| astray(seen) && !self.quarantined.contains_key(*instance));
        let found: Vec<InstanceId> = found.map(|(instance, _)| instance.clone()).collect();
        for instance in found {
            self.quarantine(instance, "it does not follow the primary", false, now);
        }
    }

    /// Takes a member out until a rejoin has compared what it holds with the primary.
    fn quarantine(&mut self, instance: InstanceId, reason: &str, restarted: bool, now: Timestamp) {
        let quarantine = Quarantine { reason: reason.to_owned(), not_before: now, needs_person: false, restarted };
        let known = self.quarantined.entry(instance).or_insert(quarantine);
        known.restarted &= restarted;
    }

    /// A rejoin did not bring it back.
    fn keep_out(&mut self, instance: &InstanceId, reason: &str, not_before: Timestamp, needs_person: bool) {
        let restarted = !needs_person && self.quarantined.get(instance).is_some_and(|before| before.restarted);
        let quarantine = Quarantine { reason: reason.to_owned(), not_before, needs_person, restarted };
        self.quarantined.insert(instance.clone(), quarantine);
    }

    /// Gives up an action whose deadline has passed without an end: nobody leaves a server down because nobody came.
    fn expire(&mut self, now: Timestamp) {
        let Some(current) = self.current.take_if(|current| now > current.action.deadline) else { return };
        let claimed = current.executor.is_some();
        match &current.action.kind {
            kind @ (ActionKind::CreateCluster(_) | ActionKind::FailOver(_)) => {
                if claimed {
                    self.may_be_open.extend(opens(kind).iter().cloned());
                }
            }
            ActionKind::Rejoin(rejoin) => {
                let outcome =
                    Outcome::Abandoned { reason: "nobody ended it in time".to_owned(), may_have_opened: false };
                self.rejoined(&rejoin.instance, &outcome, now);
            }
        }
        let outcome = Outcome::Abandoned { reason: "its deadline passed".to_owned(), may_have_opened: claimed };
        self.last = Some(Past { action: current.action, outcome, at: now });
    }
}

/// Whom an action of this kind may open.
fn opens(kind: &ActionKind) -> &[InstanceId] {
    match kind {
        ActionKind::CreateCluster(spec) => std::slice::from_ref(&spec.primary),
        ActionKind::FailOver(fail_over) => &fail_over.candidates,
        ActionKind::Rejoin(_) => &[],
    }
}

#[cfg(test)]
mod tests;
