//! What the terminal's live table and the pages list, as plain values: replicas with their delay, alerts that fire.

use std::cmp::Reverse;

use millrace_processors::failover::verdict;
use millrace_schemas::cluster::Process;
use millrace_schemas::ids::{ClusterId, InstanceId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{Alert, AlertState, Quiet, Severity, WATCHDOG};
use serde::Serialize;

use super::{Said, View};

/// A member of a cluster and how far it is behind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplicaLine {
    /// The cluster.
    pub cluster: ClusterId,
    /// The instance.
    pub instance: InstanceId,
    /// `primary`, `replica` or `quarantined`.
    pub role: &'static str,
    /// What is the matter; `ok` when nothing is, `unknown` when nobody knows.
    pub health: String,
    /// Whom it follows.
    pub source: Option<String>,
    /// Age of the newest heartbeat row of the primary on it; absent when unknown.
    pub delay_us: Option<u64>,
    /// When its agent was last heard.
    pub heard: Option<Timestamp>,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertLine {
    /// The cluster.
    pub cluster: ClusterId,
    /// The rule.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// In one sentence.
    pub summary: String,
    /// The page that says what to do.
    pub runbook: String,
    /// Since when.
    pub starts_at: Timestamp,
    /// Why nobody is notified, when nobody is.
    pub quiet: Option<String>,
    /// Who has taken it.
    pub acknowledged_by: Option<String>,
    /// What it hides: rules with the instances that they are about.
    pub hides: Vec<String>,
}

/// What alerts are sorted by: those that people are told of before those that are quiet, the worst first, of those the newest.
pub fn urgency(alert: &Alert) -> impl Ord + use<> {
    (alert.quiet.is_some(), Reverse(alert.severity), Reverse(alert.starts_at))
}

impl AlertLine {
    /// As it was last said.
    pub fn of(cluster: &ClusterId, alert: &Alert) -> Self {
        let hides = alert.hides.iter().map(|hidden| {
            let about = hidden.instance.as_ref().map_or_else(String::new, |instance| format!(" of {instance}"));
            format!("{}{about}", hidden.rule)
        });
        Self {
            cluster: cluster.clone(),
            name: alert.name.clone(),
            severity: alert.severity,
            summary: alert.summary.clone(),
            runbook: alert.runbook.clone(),
            starts_at: alert.starts_at,
            quiet: alert.quiet.as_ref().map(quiet),
            acknowledged_by: alert.acknowledged_by.clone(),
            hides: hides.collect(),
        }
    }

    /// What became of it beyond its words: who has it, what it hides, why it is quiet.
    pub fn remarks(&self) -> Vec<String> {
        let taken = self.acknowledged_by.as_ref().map(|by| format!("taken by {by}"));
        let hides = (!self.hides.is_empty()).then(|| format!("hides {}", self.hides.join(", ")));
        self.quiet.clone().into_iter().chain(taken).chain(hides).collect()
    }
}

fn quiet(quiet: &Quiet) -> String {
    match quiet {
        Quiet::Shown => "shown only, its rule notifies nobody".to_owned(),
        Quiet::HiddenBy { rule, .. } => format!("follows from {rule}"),
        Quiet::Silenced { by, until, .. } => format!("silenced by {by} until {until}"),
    }
}

impl View {
    /// All members of all clusters, primaries first.
    pub fn replicas(&self) -> Vec<ReplicaLine> {
        let clusters: Vec<ClusterId> = self.clusters().map(|(cluster, _)| cluster.clone()).collect();
        clusters.iter().flat_map(|cluster| self.members(cluster)).collect()
    }

    /// The members of one cluster, the primary first.
    pub fn members(&self, cluster: &ClusterId) -> Vec<ReplicaLine> {
        let Some(state) = self.cluster(cluster) else { return Vec::new() };
        let Some(spec) = &state.spec else { return Vec::new() };
        let mut lines: Vec<ReplicaLine> = spec
            .members
            .iter()
            .map(|member| {
                let instance = &member.instance;
                let beat = self.beat(instance);
                let receiver = beat.and_then(|beat| beat.heartbeat.server.as_ref()?.receiver.clone());
                let role = if state.quarantined.contains_key(instance) {
                    "quarantined"
                } else if state.primary.as_ref() == Some(instance) {
                    "primary"
                } else {
                    "replica"
                };
                ReplicaLine {
                    cluster: cluster.clone(),
                    instance: instance.clone(),
                    role,
                    health: self.health(cluster, instance, role),
                    source: receiver.as_ref().map(|receiver| receiver.source.clone()),
                    delay_us: receiver.and_then(|receiver| receiver.delay_us),
                    heard: beat.map(|beat| beat.at),
                }
            })
            .collect();
        lines.sort_by_key(|line| (line.role != "primary", line.instance.clone()));
        lines
    }

    fn health(&self, cluster: &ClusterId, instance: &InstanceId, role: &str) -> String {
        let Some(state) = self.cluster(cluster) else { return "unknown".to_owned() };
        let Some(seen) = state.members.get(instance).filter(|seen| seen.known) else { return "unknown".to_owned() };
        match &seen.process {
            Process::Exited { requested: true, .. } => return "stopped".to_owned(),
            Process::Exited { .. } => return "down".to_owned(),
            Process::Running { .. } | Process::Unknown => {}
        }
        if seen.is_silent(self.now) {
            return "agent silent".to_owned();
        }
        let Some(server) = &seen.server else { return "unknown".to_owned() };
        if role == "primary" {
            let fine = verdict::of(state, self.now) == verdict::Verdict::Fine;
            return if fine { "ok" } else { "trouble" }.to_owned();
        }
        if server.open {
            return "open, should be read-only".to_owned();
        }
        match &server.receiver {
            _ if role == "quarantined" => "closed".to_owned(),
            None => "follows nobody".to_owned(),
            Some(receiver) if !receiver.receiving => "not receiving".to_owned(),
            Some(receiver) if !receiver.applying => "not applying".to_owned(),
            Some(_) => match &server.stopped_channel {
                Some(other) => format!("channel {} stopped", other.channel),
                None => "ok".to_owned(),
            },
        }
    }

    /// The alerts that fire: those that people are told of, the worst first, then the quiet ones. The watchdog, which always
    /// fires, is for channels alone.
    pub fn alerts(&self) -> Vec<AlertLine> {
        let fires = |said: &&Said| said.alert.state == AlertState::Firing && said.alert.name != WATCHDOG;
        let mut firing: Vec<&Said> = self.said().filter(fires).collect();
        firing.sort_by_key(|said| urgency(&said.alert));
        firing.into_iter().map(|said| AlertLine::of(&said.cluster, &said.alert)).collect()
    }
}
