//! Rules: what is judged, by which numbers. Two thin processors over one engine, one over `samples` and one over `journal`, since
//! order holds within a topic only. In: samples, heartbeats, loads of windows. Out: findings in the journal. What people are told
//! of them is not decided here.

mod backups;
mod check;
mod draft;
mod engine;
pub mod export;
mod facts;
mod measure;
mod members;
mod memory;
pub mod rule;
mod set;
mod silence;
pub mod summary;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::event::Event;
use millrace_schemas::ids::{ClusterId, HostId, InstanceId};
use millrace_schemas::metrics::{
    BACKUP_AGE, ERRANT, Metric, PROMOTABLE, REPLICA_DELAY, REPLICA_RUNNING, SEMI_SYNC_ACTIVE, UNDECIDED,
};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::{Fact, Heartbeat};
use millrace_schemas::topics::samples::Taken;
use serde::{Deserialize, Serialize};

pub use rule::Rule;
pub use set::{Rules, SHIPPED};

use crate::fold::{Out, Processor};
use crate::lateness::Lateness;
use backups::Backups;
use engine::{Engine, Judged, Moment};
use facts::Numbers;
use members::Members;
use rule::{Input, Judge};

/// Samples are 10 s apart: nothing for longer than three and a half of them was an outage, not silence.
const OUTAGE: Duration = Duration::from_secs(35);
/// 10 s: so often a cluster's time is looked at where nothing is due, so that an outage is told from others' silence.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// 64 hosts of a cluster: as many as it has members.
const HOSTS: usize = 64;

/// Judges `samples`.
#[derive(Clone, Debug)]
pub struct Sampled(Engine);

/// Judges `journal`.
#[derive(Clone, Debug)]
pub struct Journal(Engine);

impl Sampled {
    /// By these rules.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self(Engine { rules, input: Input::Samples })
    }
}

impl Journal {
    /// By these rules.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self(Engine { rules, input: Input::Journal })
    }
}

/// What is known of a cluster's samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SampledState {
    judged: Judged,
    /// The newest time that was looked at.
    clock: Timestamp,
    /// Silence means nothing before this.
    quiet_from: Timestamp,
    cluster: Option<ClusterId>,
    #[serde(default, skip_serializing_if = "Backups::is_empty")]
    backups: Backups,
}

/// What is known of a cluster's journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalState {
    judged: Judged,
    members: Members,
    lateness: BTreeMap<String, Lateness>,
    cluster: Option<ClusterId>,
}

impl SampledState {
    /// What follows from the samples of a cluster together, for the metrics.
    pub fn derived(&self, now: Timestamp) -> Option<(&'static Metric, f64)> {
        (!self.backups.is_empty()).then(|| (&BACKUP_AGE, self.backups.age(now)))
    }

    /// Numbers that no rule judged, because it had too many series.
    pub fn beyond(&self) -> u64 {
        self.judged.beyond
    }
}

impl JournalState {
    /// Numbers that no rule judged, because it had too many series.
    pub fn beyond(&self) -> u64 {
        self.judged.beyond
    }

    /// What follows from the heartbeats of a cluster together, for the metrics: series by their labels beside the cluster.
    pub fn derived(&self, now: Timestamp) -> Vec<(&'static Metric, Option<InstanceId>, f64)> {
        let of_cluster = self.members.cluster(now).values;
        let whole = [&PROMOTABLE, &UNDECIDED].into_iter();
        let whole = whole.filter_map(|metric| Some((metric, None, *of_cluster.get(metric.name)?)));
        whole.chain(self.members.derived(now)).collect()
    }
}

impl Processor for Sampled {
    const NAME: &'static str = "rules.samples";
    const VERSION: u32 = 1;
    type In = Taken;
    type State = SampledState;

    fn step(&self, state: &mut SampledState, event: &Event<Taken>, out: &mut Out<'_>) {
        let Taken::Sample(sample) = &event.payload;
        let Some(instance) = &event.subject.instance else { return };
        let cluster = &event.subject.cluster;
        state.clock = state.clock.max(event.appended);
        state.cluster.get_or_insert_with(|| cluster.clone());
        let at = Moment { cluster, now: event.appended, cause: Some(event.id) };
        let numbers = facts::of_sample(instance, sample);
        self.0.spoke(&mut state.judged, &numbers, at, out);
        self.0.take(&mut state.judged, &numbers, facts::over_in(sample), at, out);
        if let Some(of_cluster) = state.backups.heard(instance, sample, at.now) {
            self.0.take(&mut state.judged, &of_cluster, &[], at, out);
        }
    }

    fn wake(&self, state: &SampledState) -> Option<Timestamp> {
        let due = self.0.silent_from(&state.judged, state.quiet_from)?;
        Some(due.min(state.clock + LOOK_EVERY))
    }

    fn tick(&self, state: &mut SampledState, now: Timestamp, out: &mut Out<'_>) {
        state.clock = state.clock.max(now);
        let Some(cluster) = state.cluster.clone() else { return };
        let at = Moment { cluster: &cluster, now, cause: None };
        self.0.silent(&mut state.judged, state.quiet_from, at, out);
    }

    fn resume(&self, state: &mut SampledState, now: Timestamp) {
        if now.since(state.clock) > OUTAGE {
            state.quiet_from = now;
        }
        state.clock = state.clock.max(now);
    }

    fn unknown_evidence(&self, _: &mut SampledState, _: &ClusterId, _: &str, _: &mut Out<'_>) {}
}

impl Processor for Journal {
    const NAME: &'static str = "rules.journal";
    const VERSION: u32 = 1;
    type In = Fact;
    type State = JournalState;

    fn step(&self, state: &mut JournalState, event: &Event<Fact>, out: &mut Out<'_>) {
        let cluster = &event.subject.cluster;
        let at = Moment { cluster, now: event.appended, cause: Some(event.id) };
        let instance = event.subject.instance.as_ref();
        match (&event.payload, instance) {
            (Fact::Heartbeat(heartbeat), Some(instance)) => {
                state.cluster.get_or_insert_with(|| cluster.clone());
                self.heartbeat(state, instance, heartbeat, at, out);
            }
            (Fact::ProcessChanged(change), Some(instance)) => state.members.process(instance, change, at.now),
            (Fact::Load(load), Some(instance)) => {
                if let Some(mut numbers) = facts::of_load(instance, load) {
                    numbers.role = state.members.role(instance);
                    self.0.take(&mut state.judged, &numbers, &[], at, out);
                }
            }
            (Fact::Claimed(_) | Fact::Ended(_) | Fact::PermitAnswered(_), _) => state.members.decided(),
            (Fact::Finding(_), _) if event.source.starts_with("failover.") => state.members.decided(),
            _ => {}
        }
    }

    fn wake(&self, state: &JournalState) -> Option<Timestamp> {
        self.silences(state).map(|(_, due, _)| due).min()
    }

    fn tick(&self, state: &mut JournalState, now: Timestamp, out: &mut Out<'_>) {
        let Some(cluster) = state.cluster.clone() else { return };
        let at = Moment { cluster: &cluster, now, cause: None };
        let due = self.silences(state).filter(|(_, due, _)| *due <= now);
        let due: Vec<_> = due
            .map(|(rule, _, (instance, host, heard))| {
                let (instance, host) = (Some(instance.clone()), Some(host.clone()));
                (rule, Numbers { instance, host, ..Numbers::default() }, heard)
            })
            .collect();
        for (rule, numbers, heard) in due {
            let silent = now.since(heard).as_secs_f64();
            self.0.holds(&mut state.judged, rule, (&numbers, heard, silent), at, out);
        }
    }

    fn resume(&self, state: &mut JournalState, now: Timestamp) {
        state.members.resume(now);
    }

    fn unknown_evidence(&self, _: &mut JournalState, _: &ClusterId, _: &str, _: &mut Out<'_>) {}
}

impl Journal {
    fn heartbeat(
        &self,
        state: &mut JournalState,
        instance: &InstanceId,
        heartbeat: &Heartbeat,
        at: Moment<'_>,
        out: &mut Out<'_>,
    ) {
        for rule in self.0.own() {
            match rule.judge {
                Judge::Always => {
                    self.0.holds(&mut state.judged, rule, (&Numbers::default(), at.now, 0.0), at, out);
                }
                Judge::Absence => state.judged.finish(rule, Some(instance), "it speaks again", at, out),
                _ => {}
            }
        }
        if state.lateness.len() >= HOSTS && !state.lateness.contains_key(heartbeat.host.as_str()) {
            return;
        }
        let lateness = state.lateness.entry(heartbeat.host.to_string()).or_default();
        if lateness.is_late(at.now, heartbeat.boot_us) {
            state.members.lives(instance, at.now); // what it says was true some time ago
            return;
        }
        let mut numbers = facts::of_heartbeat(instance, heartbeat);
        state.members.heartbeat(heartbeat, at.now, &mut numbers);
        self.0.take(&mut state.judged, &numbers, &not_applying(heartbeat), at, out);
        self.0.take(&mut state.judged, &state.members.cluster(at.now), &[], at, out);
    }

    /// For each rule about silence and each instance that it is not told of yet: when it will have been silent for too long, and
    /// who it is, with when it was heard of last.
    fn silences<'a, 's>(
        &'a self,
        state: &'s JournalState,
    ) -> impl Iterator<Item = (&'a Rule, Timestamp, (&'s InstanceId, &'s HostId, Timestamp))> {
        let rules = self.0.own().filter(|rule| rule.judge == Judge::Absence && rule.metric.is_none());
        rules.flat_map(move |rule| {
            state.members.all().filter_map(move |(instance, host, heard)| {
                let fits = rule.role.is_none() || rule.role == state.members.role(instance);
                if !fits || state.judged.is_firing(rule, instance) {
                    return None;
                }
                let limit = rule.limit_for(state.cluster.as_ref()?, Some(instance))?;
                Some((rule, heard + limit.lasts, (instance, host, heard)))
            })
        })
    }
}

/// Metrics that a server is known not to have now: it is no replica any more, or acknowledges nothing.
fn not_applying(heartbeat: &Heartbeat) -> Vec<&'static str> {
    let Some(server) = &heartbeat.server else { return Vec::new() };
    let mut over = Vec::new();
    if server.receiver.is_none() {
        over.extend([REPLICA_RUNNING.name, REPLICA_DELAY.name, ERRANT.name]);
    }
    if !server.semi_sync.source_enabled {
        over.push(SEMI_SYNC_ACTIVE.name);
    }
    over
}
