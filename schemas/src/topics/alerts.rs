//! Topic `alerts`: findings for people, at least once, with stable fingerprints; and the words of the journal from which they
//! follow: what a processor found ([`Finding`]) and what an operator said of it ([`Word`]).

use std::collections::BTreeMap;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topic;
use crate::event::{Payload, Subject};
use crate::ids::{ClusterId, EventId, InstanceId};
use crate::time::Timestamp;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Notice {
    /// The state of an alert.
    #[serde(rename = "millrace.alert.v1")]
    Alert(Alert),
}

impl Payload for Notice {
    const TOPIC: Topic = Topic::Alerts;
    const KINDS: &'static [&'static str] = &["millrace.alert.v1"];
    fn key(&self, subject: &Subject) -> String {
        let Self::Alert(alert) = self;
        format!("{}/{}", subject.cluster, alert.fingerprint)
    }
}

/// Something is not as it should be, or is so again. Said by processors in the journal; the life of alerts makes of it what
/// people are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Names it over its life: [`fingerprint`] of what it is about.
    pub fingerprint: EventId,
    /// The rule: `PrimaryDown`, `LagHigh`.
    pub rule: String,
    /// The instance, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// What else it is about, by the names of the catalogue's labels: `digest`, `mountpoint`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How bad.
    pub severity: Severity,
    /// It holds, or it is over.
    pub state: AlertState,
    /// Since when: append time of the fact with which it began.
    pub since: Timestamp,
    /// In one sentence.
    pub summary: String,
    /// The number that was judged, in the unit of its metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// False: it is shown, but nobody is notified.
    pub notifies: bool,
}

/// Something is unusual by the windows alone, or is so no more: what would be found if nothing explains it. Who folds the journal
/// knows whether something does, and makes a [`Finding`] of it where not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unusual {
    /// What would be said.
    pub finding: Finding,
    /// The starts of the 10-s windows that showed it, the newest last.
    pub windows: Vec<Timestamp>,
}

/// What was found unusual of a cluster in a day, for the summary of the fleet. Appended under the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnusualDay {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// When the day ended.
    pub until: Timestamp,
    /// How many things.
    pub count: u64,
    /// The worst of them, those first, as they were found.
    pub findings: Vec<Finding>,
}

/// The name of a finding over its life.
pub fn fingerprint(
    cluster: &ClusterId,
    rule: &str,
    instance: Option<&InstanceId>,
    labels: &BTreeMap<String, String>,
) -> EventId {
    let mut parts = vec![cluster.as_str(), rule, instance.map_or("", InstanceId::as_str)];
    for (name, value) in labels {
        parts.extend([name.as_str(), value.as_str()]);
    }
    EventId::derive(&parts)
}

/// What an operator says of alerts, in the journal of their cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "word", rename_all = "kebab-case")]
pub enum Word {
    /// Notify nobody of what matches.
    Silence(Silence),
    /// End a silence.
    Unsilence {
        /// Its id.
        silence: EventId,
    },
    /// Somebody has taken it: no repeats and no escalation until it is over.
    Acknowledge {
        /// The alert.
        fingerprint: EventId,
        /// Who, as they call themselves.
        by: String,
    },
    /// Let an alert of this rule fire for a moment, marked as a test: whoever would be told is told.
    Test {
        /// The rule.
        rule: String,
        /// The instance, when it is to be about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<InstanceId>,
        /// How bad it is to be.
        severity: Severity,
        /// It is over then.
        until: Timestamp,
        /// Who, as they call themselves.
        by: String,
    },
}

/// The rule that always holds: who hears nothing of it for longer than its repeats knows that nobody would tell anything.
pub const WATCHDOG: &str = "Watchdog";

/// The labels of an alert that is a test.
pub fn test_labels() -> BTreeMap<String, String> {
    BTreeMap::from([("test".to_owned(), "true".to_owned())])
}

/// A silence, or, where it begins later, a maintenance window. What is absent matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silence {
    /// Names it.
    pub id: EventId,
    /// This rule only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// This instance only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// From then on.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// Who, as they call themselves.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// The state of an alert. Repeats have the same fingerprint and the same `starts_at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Names the alert over its life.
    pub fingerprint: EventId,
    /// The rule: `PrimaryDown`, `FailoverDone`.
    pub name: String,
    /// The instance, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// What else it is about, by the names of the catalogue's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How bad.
    pub severity: Severity,
    /// How bad it was by the word before, in the first word with another severity: series are kept by severity, and that one ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_before: Option<Severity>,
    /// Firing or resolved.
    pub state: AlertState,
    /// When it began: append time of the fact that did it.
    pub starts_at: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// In one sentence.
    pub summary: String,
    /// The page that says what to do.
    pub runbook: String,
    /// The number that was judged, in the unit of its metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Why channels are told of it now; absent: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
    /// Why nobody is notified, when nobody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Quiet>,
    /// What it hides: alerts that follow from the same cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hides: Vec<Hidden>,
    /// Who has taken it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
}

/// Why channels are told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// It began, or is no longer quiet.
    Began,
    /// What it says or how bad it is changed.
    Changed,
    /// It still holds.
    Repeated,
    /// Nobody acknowledged it for too long.
    Escalated,
    /// Somebody has taken it.
    Acknowledged,
    /// It is over.
    Resolved,
}

impl Told {
    /// As channels and people have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Changed => "changed",
            Self::Repeated => "repeated",
            Self::Escalated => "escalated",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

/// Why nobody is notified of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Quiet {
    /// Its rule only shows what it finds.
    Shown,
    /// It follows from another one.
    HiddenBy {
        /// The rule of that one.
        rule: String,
        /// Its fingerprint.
        fingerprint: EventId,
    },
    /// An operator does not want to hear of it.
    Silenced {
        /// The silence.
        silence: EventId,
        /// Who silenced it.
        by: String,
        /// Until then.
        until: Timestamp,
    },
}

/// An alert that another one hides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Hidden {
    /// Its rule.
    pub rule: String,
    /// The instance, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// As labels and people have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl FromStr for Severity {
    type Err = String;

    /// As it is named; what else stands there is told with what could.
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Info, Self::Warning, Self::Critical];
        let known = all.into_iter().find(|severity| severity.name() == text);
        known.ok_or_else(|| format!("\"{text}\" is no severity: \"info\", \"warning\" or \"critical\""))
    }
}

/// Firing or resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// It holds.
    Firing,
    /// It no longer holds.
    Resolved,
}
