//! What follows from the heartbeats of a cluster together: who is the primary, who could be promoted, who is open and should not
//! be, which transactions of a replica its primary does not have, and whether anybody decides. Heartbeats enter, numbers leave.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::cluster::Process;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::ids::{HostId, InstanceId};
use millrace_schemas::metrics::{ERRANT, Metric, PROMOTABLE, UNDECIDED, WRONGLY_OPEN};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::{Heartbeat, ProcessChanged};
use serde::{Deserialize, Serialize};

use super::facts::Numbers;
use super::rule::Role;

/// 64 members: clusters have three to twenty; what names more is no cluster.
const MEMBERS: usize = 64;
/// 5 s without a heartbeat: what a member is now is not known any more.
const FRESH: Duration = Duration::from_secs(5);
/// 60 s behind: a replica that needs longer than that to catch up replaces nobody soon.
const BEHIND_US: u64 = 60_000_000;
/// A day without a word: a member is forgotten, so that one that was removed counts no more.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// The members of a cluster, as their heartbeats say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Members {
    seen: BTreeMap<InstanceId, Member>,
    /// The one that is open, or was last.
    primary: Option<InstanceId>,
    /// The primary is down and held since then, and nobody has said anything about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undecided: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    host: HostId,
    /// When its last heartbeat was appended.
    at: Timestamp,
    open: bool,
    follows: bool,
    promotable: bool,
    /// What it had executed by its last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    executed: Option<GtidSet>,
    /// What it had executed when the primary spoke last: older than what the primary says next, whatever the phases of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<GtidSet>,
    /// Of that, what the primary did not have when it spoke again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errant: Option<u64>,
}

impl Members {
    /// What an instance is among the others.
    pub(super) fn role(&self, instance: &InstanceId) -> Option<Role> {
        let primary = self.primary.as_ref()?;
        Some(if instance == primary { Role::Primary } else { Role::Replica })
    }

    /// Every member that is known, with its host and when it was heard of.
    pub(super) fn all(&self) -> impl Iterator<Item = (&InstanceId, &HostId, Timestamp)> {
        self.seen.iter().map(|(instance, member)| (instance, &member.host, member.at))
    }

    /// Nothing was appended for a while: nobody's silence before `now` counts.
    pub(super) fn resume(&mut self, now: Timestamp) {
        for member in self.seen.values_mut() {
            member.at = now;
        }
        self.undecided = self.undecided.map(|_| now);
    }

    /// An agent speaks, but late: it lives.
    pub(super) fn lives(&mut self, instance: &InstanceId, now: Timestamp) {
        if let Some(member) = self.seen.get_mut(instance) {
            member.at = now;
        }
    }

    /// Takes a heartbeat in, and adds to the numbers of its instance what follows for it.
    pub(super) fn heartbeat(&mut self, heartbeat: &Heartbeat, now: Timestamp, numbers: &mut Numbers) {
        let Some(instance) = numbers.instance.clone() else { return };
        self.seen.retain(|_, member| now.since(member.at) < FORGOTTEN);
        if self.seen.len() >= MEMBERS && !self.seen.contains_key(&instance) {
            return;
        }
        self.update(&instance, heartbeat, now);
        numbers.role = self.role(&instance);
        if heartbeat.server.is_some() {
            for (metric, value) in self.of_member(&instance, now) {
                numbers.add(metric, value);
            }
        }
    }

    fn of_member(&self, instance: &InstanceId, now: Timestamp) -> impl Iterator<Item = (&'static Metric, f64)> {
        let member = self.seen.get(instance);
        let mut others = self.seen.iter().filter(|(other, _)| *other != instance);
        // A replica that is open is wrong itself, and makes nobody else so.
        let beside = others.any(|(_, other)| other.open && !other.follows && now.since(other.at) < FRESH);
        let wrong = member.map(|member| f64::from(u8::from(member.open && (member.follows || beside))));
        let errant = member.filter(|_| self.role(instance) == Some(Role::Replica)).and_then(|member| member.errant);
        let wrong = wrong.map(|wrong| (&WRONGLY_OPEN, wrong));
        wrong.into_iter().chain(errant.map(|errant| (&ERRANT, errant as f64)))
    }

    /// The same of every member that was heard of lately, for the metrics.
    pub(super) fn derived(&self, now: Timestamp) -> impl Iterator<Item = (&'static Metric, Option<InstanceId>, f64)> {
        let fresh = self.seen.iter().filter(move |(_, member)| now.since(member.at) < FRESH);
        fresh.flat_map(move |(instance, _)| {
            self.of_member(instance, now).map(|(metric, value)| (metric, Some(instance.clone()), value))
        })
    }

    fn update(&mut self, instance: &InstanceId, heartbeat: &Heartbeat, now: Timestamp) {
        let server = heartbeat.server.as_ref();
        let receiver = server.and_then(|server| server.receiver.as_ref());
        let promotable = receiver.is_some_and(|receiver| {
            receiver.receiving && receiver.applying && receiver.delay_us.is_none_or(|delay| delay < BEHIND_US)
        });
        let open = server.is_some_and(|server| server.open);
        let executed = server.and_then(|server| server.executed.clone());
        // Who was it stays it while it is open: a second one that opens does not make two.
        let primary = self.primary.as_ref().filter(|primary| *primary != instance);
        let stands = primary.and_then(|primary| self.seen.get(primary));
        let stands = stands.is_some_and(|member| member.open && now.since(member.at) < FRESH);
        if open && receiver.is_none() && !stands {
            self.primary = Some(instance.clone());
        }
        if self.primary.as_ref() == Some(instance) {
            if let Some(executed) = &executed {
                self.compare(instance, executed);
            }
            if matches!(heartbeat.process, Process::Running { .. }) {
                self.undecided = None;
            }
        }
        let host = heartbeat.host.clone();
        let (before, errant) =
            self.seen.get_mut(instance).map_or((None, None), |member| (member.before.take(), member.errant));
        let follows = receiver.is_some();
        let member = Member { host, at: now, open, follows, promotable, executed, before, errant };
        self.seen.insert(instance.clone(), member);
    }

    /// The primary says what it has executed: what others had the last time that it spoke is older than that.
    fn compare(&mut self, primary: &InstanceId, executed: &GtidSet) {
        for (_, member) in self.seen.iter_mut().filter(|(instance, _)| *instance != primary) {
            let extra = member.before.as_ref().and_then(|before| before.extra_to(executed).ok());
            member.errant = extra.map(|extra| extra.count());
            member.before.clone_from(&member.executed);
        }
    }

    /// A process ended or began.
    pub(super) fn process(&mut self, instance: &InstanceId, change: &ProcessChanged, now: Timestamp) {
        if self.primary.as_ref() != Some(instance) {
            return;
        }
        match change.process {
            Process::Exited { requested: false, held: true, .. } => {
                self.undecided.get_or_insert(now);
            }
            Process::Running { .. } => self.undecided = None,
            Process::Exited { .. } | Process::Unknown => {}
        }
    }

    /// A decider has said something about the cluster.
    pub(super) fn decided(&mut self) {
        self.undecided = None;
    }

    /// The numbers of the cluster as a whole. One server alone has nobody to replace it, and no primary nothing to be replaced.
    pub(super) fn cluster(&self, now: Timestamp) -> Numbers {
        let mut numbers = Numbers::default();
        if let Some(primary) = &self.primary
            && self.seen.len() > 1
        {
            let others = self.seen.iter().filter(|(instance, _)| *instance != primary);
            let promotable = others.filter(|(_, member)| member.promotable && now.since(member.at) < FRESH).count();
            numbers.add(&PROMOTABLE, promotable as f64);
        }
        numbers.add(&UNDECIDED, self.undecided.map_or(0.0, |since| now.since(since).as_secs_f64()));
        numbers
    }
}
